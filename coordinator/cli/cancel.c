#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "protocol/ident.h"

int cli_cancel(Cli *cli, int argc, char **argv)
{
    RestReply reply CLEANUP(rest_reply_deinit) = {0};

    int code = cli_arguments(cli, "cancel", argc, argv, 1);
    if (code != CLI_GO_ON)
        return code;
    const char *id = argv[optind];
    if (!upload_id_is_valid(id))
        return cli_usage_error("cancel", "ID is what `beckon get --no-wait` or `beckon downloads` prints");
    char *path CLEANUP(free_ptr) = text_format("/download/%s", id);
    code = path ? cli_connect(cli) : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = "DELETE", .path = path}, &reply);
    if (code != EXIT_DONE)
        return code;
    if (cli->json)
        (void)puts(reply.text);
    else
        (void)printf("cancel requested; how it ended: beckon status %s\n", id);
    return EXIT_DONE;
}
