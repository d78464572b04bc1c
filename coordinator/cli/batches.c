#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/batch.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/table.h"

static void free_table(Table **table)
{
    (void)table_free(*table);
}

static int add_row(Table *table, const cJSON *object)
{
    char counts[BATCH_COUNTS_SIZE], created[64], maker[4 * USER_NAME_SIZE], file[4 * FILE_PATH_MAX + 1];
    Batch batch;

    if (batch_parse(object, &batch) < 0)
        return 0; /* of a later version, perhaps */
    const char *cells[] = {batch.id,
                           batch.state,
                           batch_counts(&batch, counts),
                           download_member(object, "createdAt", created, sizeof(created)),
                           download_member(object, "createdBy", maker, sizeof(maker)),
                           download_member(object, "fileName", file, sizeof(file))};
    return table_add(table, cells);
}

static int print_rows(const cJSON *reply)
{
    static const char *const titles[] = {"ID", "STATE", "CLIENTS", "CREATED", "BY", "FILE"};
    Table *table CLEANUP(free_table) = table_new(titles, ARRAY_SIZE(titles));
    const cJSON *row = NULL;

    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(reply, "batches"))
    {
        if (!table || add_row(table, row) < 0) {
            cli_error("out of memory");
            return EXIT_FAILED;
        }
    }
    table_print(table, stdout);
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(reply, "nextCursor")))
        cli_error("there are older ones");
    return EXIT_DONE;
}

int cli_batches(Cli *cli, int argc, char **argv)
{
    static const struct option table[] = {CLI_OPTIONS};
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "h", table, NULL)) != -1)
        code = cli_option(cli, "batches", option);
    if (code != CLI_GO_ON)
        return code;
    if (optind < argc)
        return cli_usage_error("batches", "too many arguments");
    code = cli_connect(cli);
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "GET", .path = "/batches?limit=500"}, &reply);
    if (code != EXIT_DONE)
        return code;
    return cli->json ? cli_print_json(reply.text) : print_rows(reply.json);
}
