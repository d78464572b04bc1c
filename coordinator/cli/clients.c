#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/table.h"

#include <string.h>

#define LABELS_SIZE 512

static void free_table(Table **table)
{
    table_free(*table);
}

/* "site=berlin, role=pos" */
static void format_labels(const cJSON *client, char out[static LABELS_SIZE])
{
    const cJSON *label = NULL;
    size_t used = 0;
    char name[128], value[256];

    out[0] = '\0';
    cJSON_ArrayForEach(label, cJSON_GetObjectItemCaseSensitive(client, "labels"))
    {
        if (!cJSON_IsString(label) || !label->string)
            continue;
        int length = snprintf(out + used, LABELS_SIZE - used, "%s%s=%s", used > 0 ? ", " : "",
                              text_printable(label->string, name, sizeof(name)),
                              text_printable(label->valuestring, value, sizeof(value)));
        if (length < 0 || (size_t)length >= LABELS_SIZE - used)
            return;
        used += (size_t)length;
    }
}

static bool is_online(const cJSON *client)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(client, "online"));
}

/* Leaves the clients that are connected, so that --online means the same with --json and without. */
static void drop_offline(cJSON *reply, cJSON *clients)
{
    cJSON *client = clients->child;

    while (client) {
        cJSON *next = client->next;
        if (!is_online(client))
            cJSON_Delete(cJSON_DetachItemViaPointer(clients, client));
        client = next;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(reply, "count");
    (void)json_add_u64(reply, "count",
                       (uint64_t)cJSON_GetArraySize(clients)); /* missing only when out of memory */
}

static int print_clients(const cJSON *clients)
{
    static const char *const titles[] = {"CLIENT", "STATE", "SINCE", "LAST HEARD", "LABELS"};
    Table *table CLEANUP(free_table) = table_new(titles, ARRAY_SIZE(titles));
    const cJSON *client = NULL;

    cJSON_ArrayForEach(client, clients)
    {
        char id[256], since[64], heard[64], labels[LABELS_SIZE];
        format_labels(client, labels);
        const char *cells[] = {download_member(client, "id", id, sizeof(id)),
                               is_online(client) ? "online" : "offline",
                               download_member(client, "connectedAt", since, sizeof(since)),
                               download_member(client, "lastHeartbeat", heard, sizeof(heard)), labels};
        if (!table || table_add(table, cells) < 0) {
            cli_error("out of memory");
            return EXIT_FAILED;
        }
    }
    table_print(table, stdout);
    return EXIT_DONE;
}

static int print_json(const cJSON *reply)
{
    char *text = cJSON_PrintUnformatted(reply);

    if (!text)
        return EXIT_FAILED;
    int code = cli_print_json(text);
    cJSON_free(text);
    return code;
}

static int read_options(Cli *cli, bool *ret_online, int argc, char **argv)
{
    static const struct option table[] = {{"online", no_argument, NULL, 1}, CLI_OPTIONS};
    int option;

    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        int code = option == 1 ? CLI_GO_ON : cli_option(cli, "clients", option);
        if (code != CLI_GO_ON)
            return code;
        *ret_online |= option == 1;
    }
    return optind == argc ? CLI_GO_ON : cli_usage_error("clients", "too many arguments");
}

int cli_clients(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    bool online = false;

    int code = read_options(cli, &online, argc, argv);
    if (code != CLI_GO_ON)
        return code;
    code = cli_connect(cli);
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "GET", .path = "/clients"}, &reply);
    if (code != EXIT_DONE)
        return code;
    cJSON *clients = cJSON_GetObjectItemCaseSensitive(reply.json, "clients");
    if (!cJSON_IsArray(clients)) {
        cli_error("the coordinator's answer is not understood");
        return EXIT_FAILED;
    }
    if (online)
        drop_offline(reply.json, clients);
    return cli->json ? print_json(reply.json) : print_clients(clients);
}
