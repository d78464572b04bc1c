#include "coordinator/cli/batch.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"

static void print_history(const cJSON *reply)
{
    const cJSON *step = NULL;
    char at[64], event[64], reason[128];

    cJSON_ArrayForEach(step, cJSON_GetObjectItemCaseSensitive(reply, "history"))
    {
        (void)download_member(step, "reason", reason, sizeof(reason));
        (void)printf("  %s  %s%s%s\n", download_member(step, "at", at, sizeof(at)),
                     download_member(step, "event", event, sizeof(event)), reason[0] == '-' ? "" : ": ",
                     reason[0] == '-' ? "" : reason);
    }
}

int cli_status(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    Download download;
    Batch batch;
    const char *id;
    bool is_batch = false;

    int code = cli_call_request(cli, "status", "GET", argc, argv, &reply, &id, &is_batch);
    if (code != CLI_GO_ON)
        return code;
    if (cli->json)
        return cli_print_json(reply.text);
    if (is_batch && batch_parse(reply.json, &batch) == 0) {
        batch_print(&batch, reply.json, stdout);
        return EXIT_DONE;
    }
    if (is_batch || download_parse(reply.json, &download) < 0) {
        cli_error("the coordinator's answer is not understood");
        return EXIT_FAILED;
    }
    download_print(&download, stdout);
    print_history(reply.json);
    return EXIT_DONE;
}
