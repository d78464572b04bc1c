#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/table.h"

static void free_table(Table **table)
{
    table_free(*table);
}

static int add_row(Table *table, const cJSON *object)
{
    char id[256], status[64], client[256], started[64], size[TEXT_BYTES_SIZE] = "-";
    char file[4 * FILE_PATH_MAX + 1];
    uint64_t bytes;

    if (json_get_u64(object, "size", &bytes) == JSON_OK)
        text_bytes(bytes, size);
    const char *cells[] = {download_member(object, "requestId", id, sizeof(id)),
                           download_member(object, "status", status, sizeof(status)),
                           size,
                           download_member(object, "startedAt", started, sizeof(started)),
                           download_member(object, "clientId", client, sizeof(client)),
                           download_member(object, "fileName", file, sizeof(file))};
    return table_add(table, cells);
}

static int print_rows(const cJSON *reply)
{
    static const char *const titles[] = {"ID", "STATUS", "SIZE", "STARTED", "CLIENT", "FILE"};
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
    return EXIT_DONE;
}

int cli_downloads(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};

    int code = cli_arguments(cli, "downloads", argc, argv, 0);
    if (code != CLI_GO_ON)
        return code;
    code = cli_connect(cli);
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "GET", .path = "/downloads"}, &reply);
    if (code != EXIT_DONE)
        return code;
    if (!cli->json)
        return print_rows(reply.json);
    (void)puts(reply.text);
    return EXIT_DONE;
}
