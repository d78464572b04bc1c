#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "protocol/ident.h"

int cli_read_request(Cli *cli, const char *verb, int argc, char **argv, const char **ret_client,
                     const char **ret_id)
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
    *ret_id = argv[optind];
    return CLI_GO_ON;
}

static bool is_unknown(const Cli *cli, int rest_error)
{
    return rest_error == REST_E_REFUSED && rest_client_failure(cli->rest)->http_status == 404;
}

int cli_call_request(Cli *cli, const char *verb, const char *method, int argc, char **argv,
                     RestReply *ret_reply, const char **ret_id, bool *ret_is_batch)
{
    const char *client = NULL;

    int code = cli_read_request(cli, verb, argc, argv, &client, ret_id);
    if (code != CLI_GO_ON)
        return code;
    char *path CLEANUP(free_ptr) =
        text_format("/download/%s%s%s", *ret_id, client ? "?clientId=" : "", client ? client : "");
    char *batch_path CLEANUP(free_ptr) = text_format("/batches/%s", *ret_id);
    code = path && batch_path ? cli_connect(cli) : EXIT_FAILED;
    if (code != EXIT_DONE)
        return code;
    int r = rest_call(cli->rest, &(RestCall){.method = method, .path = path}, ret_reply);
    *ret_is_batch = is_unknown(cli, r);
    if (*ret_is_batch)
        r = rest_call(cli->rest, &(RestCall){.method = method, .path = batch_path}, ret_reply);
    if (*ret_is_batch && is_unknown(cli, r)) {
        cli_error("There is no request and no batch %s.", *ret_id);
        return EXIT_FAILED;
    }
    return r == 0 ? CLI_GO_ON : cli_rest_failed(cli, r);
}
