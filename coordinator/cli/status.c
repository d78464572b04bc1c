#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"

int cli_status(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    Download download;
    const char *id;

    int code = cli_call_request(cli, "status", "GET", argc, argv, &reply, &id);
    if (code != CLI_GO_ON)
        return code;
    if (cli->json) {
        (void)puts(reply.text);
    } else if (download_parse(reply.json, &download) == 0) {
        download_print(&download, stdout);
    } else {
        cli_error("the coordinator's answer is not understood");
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}
