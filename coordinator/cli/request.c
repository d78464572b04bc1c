#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "protocol/ident.h"

static int read_options(Cli *cli, const char *verb, int argc, char **argv, const char **ret_client)
{
    enum { CLIENT = 1 };
    static const struct option table[] = {{"client", required_argument, NULL, CLIENT}, CLI_OPTIONS};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if (option == CLIENT)
            *ret_client = optarg;
        else
            code = cli_option(cli, verb, option);
    }
    if (code != CLI_GO_ON)
        return code;
    if (argc - optind != 1)
        return cli_usage_error(verb, argc == optind ? "which request?" : "too many arguments");
    if (!upload_id_is_valid(argv[optind]))
        return cli_usage_error(verb, "ID is what `beckon get --no-wait` or `beckon downloads` prints");
    if (*ret_client && !client_id_is_valid(*ret_client))
        return cli_usage_error(verb, "--client wants a client's id");
    return CLI_GO_ON;
}

int cli_call_request(Cli *cli, const char *verb, const char *method, int argc, char **argv,
                     RestReply *ret_reply, const char **ret_id)
{
    const char *client = NULL;

    int code = read_options(cli, verb, argc, argv, &client);
    if (code != CLI_GO_ON)
        return code;
    *ret_id = argv[optind];
    char *path CLEANUP(free_ptr) =
        text_format("/download/%s%s%s", *ret_id, client ? "?clientId=" : "", client ? client : "");
    code = path ? cli_connect(cli) : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = cli_call(cli, &(RestCall){.method = method, .path = path}, ret_reply);
    return code == EXIT_DONE ? CLI_GO_ON : code;
}
