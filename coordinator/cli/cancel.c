#include "coordinator/cli/cli.h"

int cli_cancel(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    const char *id;
    bool is_batch = false;

    int code = cli_call_request(cli, "cancel", "DELETE", argc, argv, &reply, &id, &is_batch);
    if (code != CLI_GO_ON)
        return code;
    if (cli->json)
        return cli_print_json(reply.text);
    (void)printf("cancel requested; how it ended: beckon status %s\n", id);
    return EXIT_DONE;
}
