#include "common/text.h"
#include "coordinator/cli/cli.h"

int cli_rm(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    const char *client = NULL, *id = NULL;

    int code = cli_read_request(cli, "rm", argc, argv, &client, &id);
    if (code != CLI_GO_ON)
        return code;
    char *path CLEANUP(free_ptr) =
        text_format("/download/%s/content%s%s", id, client ? "?clientId=" : "", client ? client : "");
    code = path ? cli_connect(cli) : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "DELETE", .path = path}, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        return cli_print_json(reply.text);
    (void)printf("removal requested; whether it is done: beckon status %s\n", id);
    return EXIT_DONE;
}
