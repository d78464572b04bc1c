#include "coordinator/cli/cli.h"

#include "common/text.h"
#include "coordinator/cli/interrupt.h"
#include "protocol/ident.h"

#include <stdarg.h>
#include <string.h>

typedef struct Verb {
    const char *name;
    int (*run)(Cli *cli, int argc, char **argv);
    const char *arguments, *summary;
    const char *options; /* lines of help for its own options, or "" */
} Verb;

#define CLIENT_HELP "  --client CLIENT     if several devices have a request of this id\n"

static const Verb VERBS[] = {
    {"clients", cli_clients, "[--online]", "list the devices",
     "  --online            only those that are connected now\n"},
    {"get", cli_get, "CLIENT PATH [-o FILE|-]", "ask a device for a file and wait until it is verified",
     "Or many of them: beckon get --clients 'restaurant_*' PATH [-o FOLDER].\n\n"
     "  -o, --output FILE   fetch it too: into FILE, into a folder, or - for standard output;\n"
     "                      from many devices: as FOLDER/CLIENT/NAME\n"
     "  --clients PATTERNS  devices with such names, 'restaurant_*,kiosk-7'; may be given again\n"
     "  --label NAME=VALUE  devices with this label; given again: and that one\n"
     "  --all               every device\n"
     "  --ramp N            ask so many devices a second, 50 if it is not given\n"
     "  --max-failures N    ask nobody else after so many have failed\n"
     "  --no-wait           print the request's id and leave\n"
     "  --timeout TIME      wait no longer than this (exit code 4; the request goes on)\n"
     "  --expires TIME      the device need not begin later than this from now, 1h\n"
     "  --max-size SIZE     refuse a larger file, 2G\n"
     "  --rate SIZE         upload no faster than this a second, 500K\n"},
    {"status", cli_status, "ID", "show one request, or a batch", CLIENT_HELP},
    {"downloads", cli_downloads, "[--client CLIENT]", "list the requests, newest first",
     "  --client CLIENT     only this device's\n"
     "  --batch BATCH       only this batch's\n"
     "  --status STATUS     only those in this state: queued, accepted, running, completed, failed, ...\n"
     "  --limit N           at most so many, up to 500; 100 if it is not given\n"},
    {"batches", cli_batches, "", "list what many devices were asked for at once, newest first", ""},
    {"cancel", cli_cancel, "ID", "cancel a request, or what is left of a batch", CLIENT_HELP},
    {"rm", cli_rm, "ID", "have the receiver remove the file of a completed request", CLIENT_HELP},
    {"watch", cli_watch, "[ID]",
     "show what happens, as it happens; with ID until that request is final, or that batch", ""},
    {"doctor", cli_doctor, "[--config FILE]", "find out what is wrong, and how to mend it",
     "Looks at the coordinator and its receiver; with --config at a daemon on its own machine.\n\n"
     "  -c, --config FILE   of the daemon: agent.conf, receiver.conf or coordinator.conf\n"
     "  --user NAME         look as this user; as root the daemon's own if it is not given\n"},
    {"token", cli_token, "create|verify [FILE]", "make or examine a user's token; needs no coordinator",
     "create                signs one and prints it\n"
     "  --user NAME         whose it is\n"
     "  --scope SCOPES      some of read,pull,admin\n"
     "  --clients PATTERNS  for which devices, restaurant_*,kiosk-7; may be given again\n"
     "  --ttl TIME          how long it lasts; 12h if it is not given\n"
     "  --key FILE          the private key that signs it [BECKON_SIGNING_KEY]\n"
     "  -o, --output FILE   write it to a new file that only you may read\n"
     "verify FILE           checks one (of --token-file; -: standard input) and prints what it says\n"
     "  --key FILE          the public key; may be given again\n"},
    {"ticket", cli_ticket, "CLIENT PATH --key FILE", "print a command to publish without the coordinator",
     "  --key FILE          the coordinator's signing key [BECKON_SIGNING_KEY]\n"
     "  --id ID             of the upload, and so the topic's end; a new one if it is not given\n"
     "  --expires TIME      the device need not begin later than this from now; 1h\n"
     "  --max-size SIZE     refuse a larger file, 2G\n"
     "  --rate SIZE         upload no faster than this a second, 500K\n"
     "  --receiver NAME     to another one of the device's receivers\n"},
};

static const char GLOBAL_HELP[] =
    "\nEvery command takes\n"
    "  --url URL           the coordinator, https://host:port [BECKON_COORDINATOR_URL]\n"
    "  --token-file FILE   holds the bearer token [BECKON_TOKEN_FILE]\n"
    "  --ca FILE           authority of the servers' certificates, PEM [BECKON_CA]\n"
    "  --json              print the server's JSON\n"
    "  -h, --help\n";

static const Verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(VERBS); i++)
        if (strcmp(VERBS[i].name, name) == 0)
            return &VERBS[i];
    return NULL;
}

static void print_help(FILE *stream)
{
    (void)fputs(
        "Usage: beckon COMMAND [ARGUMENTS]\n\nAsk a device for a file, and get it: whole and verified.\n\n",
        stream);
    for (size_t i = 0; i < ARRAY_SIZE(VERBS); i++)
        (void)fprintf(stream, "  %-10s %-24s %s\n", VERBS[i].name, VERBS[i].arguments, VERBS[i].summary);
    (void)fputs(GLOBAL_HELP, stream);
    (void)fputs(
        "  -V, --version\n\nExit codes: 0 done and verified, 1 failed, 2 usage, 3 rejected or not allowed, "
        "4 timed out waiting.\n",
        stream);
}

static void print_verb_help(const Verb *verb)
{
    (void)printf("Usage: beckon %s %s\n\n%s.\n\n%s%s", verb->name, verb->arguments, verb->summary,
                 verb->options, GLOBAL_HELP);
}

void cli_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("beckon: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

int cli_print_json(const char *json)
{
    char *shown CLEANUP(free_ptr) = text_printable_json(json);

    if (!shown) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    (void)puts(shown);
    return EXIT_DONE;
}

int cli_usage_error(const char *verb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "beckon %s: ", verb);
    (void)vfprintf(stderr, format, arguments);
    (void)fprintf(stderr, "\nUsage: beckon %s %s\n", verb, find_verb(verb)->arguments);
    va_end(arguments);
    return EXIT_USAGE;
}

int cli_option(Cli *cli, const char *verb, int option)
{
    switch (option) {
    case OPTION_URL:
        cli->url = optarg;
        return CLI_GO_ON;
    case OPTION_TOKEN_FILE:
        cli->token_file = optarg;
        return CLI_GO_ON;
    case OPTION_CA:
        cli->ca = optarg;
        return CLI_GO_ON;
    case OPTION_JSON:
        cli->json = true;
        return CLI_GO_ON;
    case 'h':
        print_verb_help(find_verb(verb));
        return EXIT_DONE;
    default: /* getopt_long() has said what is wrong */
        (void)fprintf(stderr, "Try: beckon %s --help\n", verb);
        return EXIT_USAGE;
    }
}

int cli_read_limit(const char *verb, const char *name, bool (*parse)(const char *, uint64_t *),
                   const char *example, uint64_t *ret_value)
{
    if (parse(optarg, ret_value) && *ret_value > 0)
        return CLI_GO_ON;
    return cli_usage_error(verb, "--%s wants something like %s", name, example);
}

int cli_read_target(const char *verb, int argc, char **argv, const char **ret_client, const char **ret_path)
{
    if (argc - optind != 2)
        return cli_usage_error(verb, "%s",
                               argc - optind < 2 ? "CLIENT and PATH are needed"
                                                 : "too many arguments; a path with spaces needs quotes");
    const char *client = argv[optind], *path = argv[optind + 1];
    if (!client_id_is_valid(client))
        return cli_usage_error(verb, "a client's id has letters, digits, dots, dashes and underscores only");
    *ret_client = client;
    *ret_path = path;
    return cli_check_path(verb, path);
}

int cli_check_path(const char *verb, const char *path)
{
    size_t length = strlen(path);

    if (length == 0 || length > FILE_PATH_MAX || !text_is_utf8(path, length))
        return cli_usage_error(verb, "a path must be UTF-8 and have 1 to %d bytes", FILE_PATH_MAX);
    return CLI_GO_ON;
}

int cli_connect(Cli *cli)
{
    RestConfig config = {
        .url = cli->url, .token_file = cli->token_file, .ca_file = cli->ca, .interrupted = interrupt_pending};

    if (!cli->url) {
        cli_error("no coordinator: give --url https://HOST:PORT or set BECKON_COORDINATOR_URL");
        return EXIT_USAGE;
    }
    if (!cli->token_file) {
        cli_error("no token: give --token-file FILE or set BECKON_TOKEN_FILE");
        return EXIT_USAGE;
    }
    Problem problem;
    if (rest_client_new(&config, &cli->rest, &problem) < 0) {
        cli_error("%s", problem.message);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

int exit_code_of_refusal(long http_status)
{
    return http_status == 401 || http_status == 403 ? EXIT_REJECTED : EXIT_FAILED;
}

int cli_rest_failed(const Cli *cli, int rest_error)
{
    const RestFailure *failure = rest_client_failure(cli->rest);
    char message[4 * sizeof(failure->problem.message)];

    if (rest_error == REST_E_INTERRUPTED)
        return EXIT_INTERRUPTED;
    (void)text_printable(failure->problem.message, message, sizeof(message));
    cli_error("%s", message);
    return rest_error == REST_E_REFUSED ? exit_code_of_refusal(failure->http_status) : EXIT_FAILED;
}

int cli_call(Cli *cli, const RestCall *call, RestReply *ret_reply)
{
    int r = rest_call(cli->rest, call, ret_reply);
    return r == 0 ? EXIT_DONE : cli_rest_failed(cli, r);
}

/* The options before the verb. Returns CLI_GO_ON with optind at the verb, or an exit code. */
static int read_leading_options(Cli *cli, int argc, char **argv)
{
    static const struct option options[] = {{"version", no_argument, NULL, 'V'}, CLI_OPTIONS};
    int option;

    while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
        if (option == 'V') {
            (void)puts("beckon " BECKON_VERSION);
            return EXIT_DONE;
        }
        if (option == 'h') {
            print_help(stdout);
            return EXIT_DONE;
        }
        if (option == '?') {
            (void)fputs("Try: beckon --help\n", stderr);
            return EXIT_USAGE;
        }
        (void)cli_option(cli, NULL, option);
    }
    return CLI_GO_ON;
}

int cli_run(int argc, char **argv)
{
    Cli cli = {.url = getenv("BECKON_COORDINATOR_URL"),
               .token_file = getenv("BECKON_TOKEN_FILE"),
               .ca = getenv("BECKON_CA")};
    int code = read_leading_options(&cli, argc, argv);

    if (code != CLI_GO_ON)
        return code;
    if (optind >= argc) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const Verb *verb = find_verb(argv[optind]);
    if (!verb) {
        char shown[256];
        cli_error("no such command: %s; try beckon --help",
                  text_printable(argv[optind], shown, sizeof(shown)));
        return EXIT_USAGE;
    }
    argc -= optind;
    argv += optind;
    optind = 0; /* glibc and musl: begin anew */
    code = verb->run(&cli, argc, argv);
    cli.rest = rest_client_free(cli.rest);
    if (fflush(stdout) != 0 && code == EXIT_DONE) {
        cli_error("writing to standard output failed");
        code = EXIT_FAILED;
    }
    return code;
}
