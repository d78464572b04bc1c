#include "common/program.h"

#include "common/loop.h"

#include <getopt.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'k'},
    {"show-config", no_argument, NULL, 's'},  {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0},
};

static void print_help(const Program *program)
{
    printf("Usage: %s [--config FILE]\n"
           "%s\n\n"
           "  -c, --config FILE   read the configuration from FILE (default %s)\n"
           "      --check-config  report every mistake in the configuration and exit\n"
           "      --show-config   print what counts (file, environment, defaults) as JSON and exit\n"
           "  -h, --help          show this help and exit\n"
           "  -V, --version       show the version and exit\n\n"
           "Every key can also be set in the environment, as BECKON_<SECTION>_<KEY>.\n",
           program->name, program->summary, program->default_config);
}

/* The [log] section; a mistake in it is one like any other. */
static int setup_log(const Program *program)
{
    LogLevel level = LOG_LEVEL_INFO;
    bool json = program->log->format && strcmp(program->log->format, "json") == 0;
    int mistakes = 0;

    if (program->log->level && !log_level_parse(program->log->level, &level)) {
        config_mistake("log", "level", "[log] level: '%s' is not error, warn, info or debug",
                       program->log->level);
        mistakes++;
    }
    if (program->log->format && !json && strcmp(program->log->format, "text") != 0) {
        config_mistake("log", "format", "[log] format: '%s' is not text or json", program->log->format);
        mistakes++;
    }
    if (mistakes == 0)
        log_setup(program->name, level, json);
    return mistakes;
}

static int load(const Program *program, const char *file)
{
    int mistakes = config_load(file, program->keys, program->key_count, program->config);

    mistakes += setup_log(program);
    if (mistakes == 0 && program->check)
        mistakes = program->check(program->config);
    return mistakes;
}

/* glibc raises this limit when it frees something larger, and from then on keeps as much: one huge packet of
 * a broker's would stay with us for years. musl never does. */
static void return_large_buffers(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
}

void program_keep_secrets(void)
{
    const struct rlimit none = {0};

    (void)setrlimit(RLIMIT_CORE, &none); /* for the children too; these two can't fail */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they trace their own process */
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

int program_start(const Program *program, int argc, char **argv)
{
    const char *file = access(program->default_config, F_OK) == 0 ? program->default_config : NULL;
    bool check_only = false, show_only = false;

    program_keep_secrets();
    loop_block_signals();
    log_setup(program->name, LOG_LEVEL_INFO, false);
    return_large_buffers();
    for (int option; (option = getopt_long(argc, argv, "c:hV", long_options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            file = optarg;
            break;
        case 'k':
            check_only = true;
            break;
        case 's':
            show_only = true;
            break;
        case 'h':
            print_help(program);
            return 0;
        case 'V':
            printf("%s %s\n", program->name, BECKON_VERSION);
            return 0;
        default:
            fprintf(stderr, "Try '%s --help'.\n", program->name);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument '%s'. Try '%s --help'.\n", program->name, argv[optind],
                program->name);
        return 2;
    }
    int mistakes = load(program, file);
    if (show_only)
        return config_show(program->keys, program->key_count, program->config, stdout) < 0 || mistakes > 0;
    if (mistakes > 0) {
        log_error("%d mistake%s in the configuration: not started", mistakes, mistakes == 1 ? "" : "s");
        return 1;
    }
    if (check_only) {
        printf("%s: the configuration is good\n", file ? file : "environment");
        return 0;
    }
    return PROGRAM_RUN;
}
