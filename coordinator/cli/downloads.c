#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/table.h"

#define LIMIT_MAX 500

typedef struct ListOptions {
    const char *client, *state, *batch; /* or NULL */
    uint64_t limit;
} ListOptions;

static void free_table(Table **table)
{
    table_free(*table);
}

static int add_row(Table *table, const cJSON *object)
{
    char id[256], status[64], client[256], created[64], size[TEXT_BYTES_SIZE] = "-";
    char file[4 * FILE_PATH_MAX + 1];
    uint64_t bytes;

    if (json_get_u64(object, "size", &bytes) == JSON_OK)
        text_bytes(bytes, size);
    const char *cells[] = {download_member(object, "requestId", id, sizeof(id)),
                           download_member(object, "status", status, sizeof(status)),
                           size,
                           download_member(object, "createdAt", created, sizeof(created)),
                           download_member(object, "clientId", client, sizeof(client)),
                           download_member(object, "fileName", file, sizeof(file))};
    return table_add(table, cells);
}

static int print_rows(const cJSON *reply)
{
    static const char *const titles[] = {"ID", "STATUS", "SIZE", "CREATED", "CLIENT", "FILE"};
    Table *table CLEANUP(free_table) = table_new(titles, ARRAY_SIZE(titles));
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(reply, "downloads"), *row = NULL;

    if (!cJSON_IsArray(rows)) {
        cli_error("the coordinator's answer is not understood");
        return EXIT_FAILED;
    }
    cJSON_ArrayForEach(row, rows)
    {
        if (!table || add_row(table, row) < 0) {
            cli_error("out of memory");
            return EXIT_FAILED;
        }
    }
    table_print(table, stdout);
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(reply, "nextCursor")))
        cli_error("there are older ones; see --limit");
    return EXIT_DONE;
}

static int check_options(const ListOptions *options, int extra_arguments)
{
    UploadState state;

    if (extra_arguments > 0)
        return cli_usage_error("downloads", "too many arguments");
    if (options->client && !client_id_is_valid(options->client))
        return cli_usage_error("downloads", "--client wants a client's id");
    if (options->batch && !upload_id_is_valid(options->batch))
        return cli_usage_error("downloads",
                               "--batch wants what `beckon get --no-wait` or `beckon batches` prints");
    if (options->state && (!upload_state_from_name(options->state, &state) || state == UPLOAD_DONE))
        return cli_usage_error("downloads",
                               "--status wants queued, accepted, running, completed, failed, rejected, "
                               "cancelled or expired");
    return CLI_GO_ON;
}

static int read_options(Cli *cli, ListOptions *options, int argc, char **argv)
{
    enum { CLIENT = 1, BATCH, STATUS, LIMIT };
    static const struct option table[] = {{"client", required_argument, NULL, CLIENT},
                                          {"batch", required_argument, NULL, BATCH},
                                          {"status", required_argument, NULL, STATUS},
                                          {"limit", required_argument, NULL, LIMIT},
                                          CLI_OPTIONS};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if (option == CLIENT)
            options->client = optarg;
        else if (option == BATCH)
            options->batch = optarg;
        else if (option == STATUS)
            options->state = optarg;
        else if (option != LIMIT)
            code = cli_option(cli, "downloads", option);
        else if (!text_to_u64(optarg, &options->limit) || options->limit < 1 || options->limit > LIMIT_MAX)
            code = cli_usage_error("downloads", "--limit wants a number from 1 to %d", LIMIT_MAX);
    }
    return code == CLI_GO_ON ? check_options(options, argc - optind) : code;
}

int cli_downloads(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    ListOptions options = {.limit = 100};

    int code = read_options(cli, &options, argc, argv);
    if (code != CLI_GO_ON)
        return code;
    /* What was checked above needs no escapes. */
    char *path CLEANUP(free_ptr) =
        text_format("/downloads?limit=%u%s%s%s%s%s%s", (unsigned)options.limit,
                    options.client ? "&client=" : "", options.client ? options.client : "",
                    options.state ? "&status=" : "", options.state ? options.state : "",
                    options.batch ? "&batch=" : "", options.batch ? options.batch : "");
    code = path ? cli_connect(cli) : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "GET", .path = path}, &reply);
    if (code != EXIT_DONE)
        return code;
    return cli->json ? cli_print_json(reply.text) : print_rows(reply.json);
}
