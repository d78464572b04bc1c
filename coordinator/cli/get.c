#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/fetch.h"
#include "coordinator/cli/interrupt.h"
#include "coordinator/cli/many.h"
#include "coordinator/cli/output.h"
#include "coordinator/cli/selection.h"
#include "coordinator/cli/wait.h"

#include <errno.h>
#include <string.h>

#define START_TRIES 3
#define KNOWN_SHOWN_MAX 10

typedef struct GetOptions {
    const char *client, *path; /* client NULL: those of the selection */
    Selection selection;
    const char *output; /* or NULL */
    bool no_wait;
    uint64_t timeout_ms; /* this and the next: 0 for not given */
    uint64_t expires_ms, max_size_bytes, rate_bytes_per_s;
} GetOptions;

static int check_many(GetOptions *options, int argc, char **argv)
{
    if (argc - optind != 1)
        return cli_usage_error("get", "%s",
                               argc == optind
                                   ? "PATH is needed"
                                   : "PATH alone is needed: --clients, --label and --all say whom");
    if (options->timeout_ms)
        return cli_usage_error("get", "--timeout is for one device");
    if (options->output && strcmp(options->output, "-") == 0)
        return cli_usage_error("get", "files of many devices go into a folder: -o FOLDER");
    options->path = argv[optind];
    return cli_check_path("get", options->path);
}

static int check_arguments(GetOptions *options, int argc, char **argv)
{
    int code = selection_check(&options->selection, "get");
    if (code == CLI_GO_ON)
        code = selection_is_given(&options->selection)
                   ? check_many(options, argc, argv)
                   : cli_read_target("get", argc, argv, &options->client, &options->path);
    if (code != CLI_GO_ON)
        return code;
    if (options->no_wait && (options->output || options->timeout_ms))
        return cli_usage_error("get", "--no-wait does not go with --output or --timeout");
    return CLI_GO_ON;
}

static int read_options(Cli *cli, GetOptions *options, int argc, char **argv)
{
    enum { NO_WAIT = 1, TIMEOUT, EXPIRES, MAX_SIZE, RATE };
    static const struct option table[] = {{"output", required_argument, NULL, 'o'},
                                          {"no-wait", no_argument, NULL, NO_WAIT},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          {"expires", required_argument, NULL, EXPIRES},
                                          {"max-size", required_argument, NULL, MAX_SIZE},
                                          {"rate", required_argument, NULL, RATE},
                                          SELECTION_OPTIONS,
                                          CLI_OPTIONS};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "ho:", table, NULL)) != -1) {
        switch (option) {
        case 'o':
            options->output = optarg;
            break;
        case NO_WAIT:
            options->no_wait = true;
            break;
        case TIMEOUT:
            code = cli_read_limit("get", "timeout", text_to_duration, "10m", &options->timeout_ms);
            break;
        case EXPIRES:
            code = cli_read_limit("get", "expires", text_to_duration, "1h", &options->expires_ms);
            break;
        case MAX_SIZE:
            code = cli_read_limit("get", "max-size", text_to_size, "2G", &options->max_size_bytes);
            break;
        case RATE:
            code = cli_read_limit("get", "rate", text_to_size, "500K", &options->rate_bytes_per_s);
            break;
        default:
            code = option >= OPTION_CLIENTS && option <= OPTION_MAX_FAILURES
                       ? selection_option(&options->selection, "get", option)
                       : cli_option(cli, "get", option);
        }
    }
    if (code != CLI_GO_ON)
        return code;
    if (options->output && strcmp(options->output, "-") == 0 && cli->json)
        return cli_usage_error("get", "--json and -o - would both write to standard output");
    return check_arguments(options, argc, argv);
}

static cJSON *request_body(const GetOptions *options)
{
    cJSON *body = cJSON_CreateObject();
    bool ok = body && (!options->client || cJSON_AddStringToObject(body, "clientId", options->client)) &&
              selection_add(&options->selection, body) &&
              cJSON_AddStringToObject(body, "fileName", options->path) &&
              (!options->expires_ms || json_add_u64(body, "expires", (options->expires_ms + 999) / 1000)) &&
              (!options->max_size_bytes || json_add_u64(body, "maxSize", options->max_size_bytes)) &&
              (!options->rate_bytes_per_s || json_add_u64(body, "rate", options->rate_bytes_per_s));

    if (ok)
        return body;
    cJSON_Delete(body);
    return NULL;
}

/* Most unknown clients are typing errors. */
static void say_known_clients(const RestFailure *failure)
{
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(failure->details, "knownClients"), *name = NULL;
    char shown[4 * CLIENT_ID_SIZE];
    int left = KNOWN_SHOWN_MAX;

    cJSON_ArrayForEach(name, names)
    {
        if (!cJSON_IsString(name))
            continue;
        if (left-- == 0) {
            cli_error("  ... and more: beckon clients");
            return;
        }
        cli_error("  known: %s", text_printable(name->valuestring, shown, sizeof(shown)));
    }
}

/* Whatever the coordinator finds wrong with the request itself is a rejection: an unknown client, a path that
 * can't be. */
static int start_failed(const Cli *cli, int rest_error)
{
    if (rest_error == REST_E_INTERRUPTED)
        cli_error("interrupted before the coordinator answered; it may have the request: beckon downloads");
    int code = cli_rest_failed(cli, rest_error);
    bool rejected = rest_error == REST_E_REFUSED && rest_client_failure(cli->rest)->http_status >= 400;
    if (rejected)
        say_known_clients(rest_client_failure(cli->rest));
    return rejected ? EXIT_REJECTED : code;
}

/* Asks. An answer that got lost is asked for again under the same key, so that there is one request all the
 * same. */
static int start(Cli *cli, const GetOptions *options, RestReply *ret_reply, char id[static UPLOAD_ID_SIZE])
{
    cJSON *body CLEANUP(json_delete) = request_body(options);
    char key[UPLOAD_ID_SIZE];
    RestCall call = {.method = "POST", .path = "/download", .body = body, .idempotency_key = key};
    int r = REST_E_UNAVAILABLE;

    if (!body)
        return EXIT_FAILED;
    upload_id_new(key);
    for (int i = 0; i < START_TRIES && r == REST_E_UNAVAILABLE; i++)
        r = i > 0 && interrupt_wait(500 * i) ? REST_E_INTERRUPTED : rest_call(cli->rest, &call, ret_reply);
    if (r != 0)
        return start_failed(cli, r);
    const char *name = options->client ? "requestId" : "batchId";
    if (json_get_string(ret_reply->json, name, id, UPLOAD_ID_SIZE) == JSON_OK && upload_id_is_valid(id))
        return EXIT_DONE;
    cli_error("the coordinator's answer is not understood");
    rest_reply_deinit(ret_reply);
    return EXIT_FAILED;
}

static int open_output(const GetOptions *options, Output **ret_output)
{
    const char *slash = strrchr(options->path, '/');
    char shown[1024];

    if (!options->output || !options->client)
        return EXIT_DONE;
    int r = output_open(options->output, slash ? slash + 1 : options->path, ret_output);
    if (r == 0)
        return EXIT_DONE;
    cli_error("can't write to %s: %s", text_printable(options->output, shown, sizeof(shown)), strerror(-r));
    return EXIT_USAGE;
}

static void say_saved(const Output *output, const Download *download)
{
    char path[1024], size[TEXT_BYTES_SIZE], hex[SHA256_HEX_SIZE];

    text_bytes(download->size_bytes, size);
    text_hex(download->sha256, sizeof(download->sha256), hex);
    cli_error("%s: %s, verified, sha256 %s", text_printable(output_path(output), path, sizeof(path)), size,
              hex);
}

/* The request is final: tell how it ended, and bring the content if it is wanted. */
static int finish(Cli *cli, const Download *download, const char *json, Output *output, Progress *progress)
{
    int code = download_exit_code(download->state);
    char problem[2048];

    if (code != EXIT_DONE)
        cli_error("%s%s%s", upload_state_name(download->state),
                  download->problem.code == ERROR_NONE ? "" : ": ",
                  download_problem(download, problem, sizeof(problem)));
    else if (output)
        code = fetch_content(cli, download, output, progress);
    if (cli->json) {
        int printed = cli_print_json(json);
        return code == EXIT_DONE ? printed : code;
    }
    if (code == EXIT_DONE && output)
        say_saved(output, download);
    else if (code == EXIT_DONE)
        download_print(download, stdout);
    return code;
}

static void free_output(Output **output)
{
    output_free(*output);
}

static int get(Cli *cli, const GetOptions *options)
{
    Output *output CLEANUP(free_output) = NULL;
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    char id[UPLOAD_ID_SIZE];
    Download download;
    Progress progress;

    int code = open_output(options, &output);
    if (code == EXIT_DONE)
        code = cli_connect(cli);
    if (code == EXIT_DONE)
        code = start(cli, options, &reply, id);
    if (code != EXIT_DONE)
        return code;
    if (options->no_wait) {
        if (cli->json)
            return cli_print_json(reply.text);
        (void)puts(id);
        return EXIT_DONE;
    }
    rest_reply_deinit(&reply);
    if (!options->client)
        return many_follow(cli, id, options->output);
    progress_init(&progress, STDERR_FILENO);
    code = wait_for_download(cli, id, options->timeout_ms, &progress, &reply, &download);
    return code == EXIT_DONE ? finish(cli, &download, reply.text, output, &progress) : code;
}

int cli_get(Cli *cli, int argc, char **argv)
{
    GetOptions options = {.path = ""};

    int code = read_options(cli, &options, argc, argv);
    if (code == CLI_GO_ON)
        code = get(cli, &options);
    selection_deinit(&options.selection);
    return code;
}
