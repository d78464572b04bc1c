#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"

int cli_status(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    Download download;

    int code = cli_arguments(cli, "status", argc, argv, 1);
    if (code != CLI_GO_ON)
        return code;
    if (!upload_id_is_valid(argv[optind]))
        return cli_usage_error("status", "ID is what `beckon get --no-wait` or `beckon downloads` prints");
    char *path CLEANUP(free_ptr) = text_format("/download/%s", argv[optind]);
    code = path ? cli_connect(cli) : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "GET", .path = path}, &reply);
    if (code != EXIT_DONE)
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
