#include "coordinator/cli/doctor.h"

#define VERB "doctor"

/* The configuration of the one daemon that is at home here; NULL if there is none, or more than one. */
static const char *find_config(void)
{
    static const char *const files[] = {"/etc/beckon/agent.conf", "/etc/beckon/receiver.conf",
                                        "/etc/beckon/coordinator.conf"};
    const char *found = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (access(files[i], F_OK) < 0)
            continue;
        if (found)
            return NULL;
        found = files[i];
    }
    return found;
}

static int read_options(Cli *cli, const char **ret_config, const char **ret_user, int argc, char **argv)
{
    enum { CONFIG = 1, USER };
    static const struct option table[] = {
        {"config", required_argument, NULL, CONFIG}, {"user", required_argument, NULL, USER}, CLI_OPTIONS};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "hc:", table, NULL)) != -1) {
        if (option == CONFIG || option == 'c')
            *ret_config = optarg;
        else if (option == USER)
            *ret_user = optarg;
        else
            code = cli_option(cli, VERB, option);
    }
    if (code == CLI_GO_ON && optind < argc)
        code = cli_usage_error(VERB, "too many arguments");
    return code;
}

int cli_doctor(Cli *cli, int argc, char **argv)
{
    const char *config = NULL, *user = NULL;
    int code = read_options(cli, &config, &user, argc, argv);

    if (code != CLI_GO_ON)
        return code;
    if (!config && !cli->url)
        config = find_config();
    if (!config && !cli->url)
        return cli_usage_error(VERB, "what shall it look at? The coordinator: --url URL; or a daemon on this "
                                     "machine: --config FILE");
    Report report = {.json = cli->json};
    code = EXIT_DONE;
    if (config)
        code = doctor_look_at_daemon(&report, config, user);
    else
        doctor_look_at_coordinator(&report, cli);
    return code == EXIT_DONE ? report_finish(&report) : code;
}
