#include "common/clock.h"
#include "common/json.h"
#include "coordinator/cli/doctor.h"

#include <sys/stat.h>

static void check_token_file(Report *report, const char *file)
{
    struct stat status;

    if (stat(file, &status) < 0)
        return; /* rest_client_new() tells */
    if (status.st_mode & (S_IRWXG | S_IRWXO))
        report_add(report, VERDICT_WARNING, "token: file",
                   "others than you may read %s, and do what you may; chmod 600 it", file);
    else
        report_add(report, VERDICT_OK, "token: file", "%s is yours alone", file);
}

/* The shared token has no end. */
static void check_token(Report *report, const cJSON *session)
{
    const char *user = "", *scope = "", *ends = "never", *reason = "";

    (void)json_get_string_ref(session, "user", &user);
    (void)json_get_string_ref(session, "scope", &scope);
    (void)json_get_string_ref(session, "expiresAt", &ends);
    (void)json_get_string_ref(session, "reason", &reason);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(session, "loggedIn")))
        report_add(report, VERDICT_OK, "token", "good for %s, user %s, ends %s", scope,
                   user[0] ? user : "(shared token)", ends);
    else if (strcmp(reason, "TOKEN_EXPIRED") == 0)
        report_add(report, VERDICT_FAULT, "token",
                   "it has expired; get a new one from whoever keeps the key: beckon token create");
    else
        report_add(report, VERDICT_FAULT, "token",
                   "the coordinator does not know it; it must be signed by one of its operator_key, or be "
                   "what is in its token_file: give --token-file the right file");
}

static void look_at_receiver(Report *report, const Cli *cli, const cJSON *session)
{
    Server receiver = {.what = "receiver",
                       .address_setting = "receiver_url in coordinator.conf",
                       .ca_setting = "--ca",
                       .ca_file = cli->ca};
    const char *url = NULL;

    if (json_get_string_ref(session, "receiverUrl", &url) != JSON_OK)
        return; /* not logged in, which is a fault of its own, or an older coordinator */
    if (server_set_url(report, &receiver, url) && doctor_reach(report, &receiver))
        doctor_ask(report, &receiver);
}

static void check_session(Report *report, const Cli *cli)
{
    const RestConfig config = {.url = cli->url, .token_file = cli->token_file, .ca_file = cli->ca};
    RestReply reply CLEANUP(rest_reply_deinit) = {0};
    RestClient *client = NULL;
    Problem problem;

    if (rest_client_new(&config, &client, &problem) < 0) {
        report_add(report, VERDICT_FAULT, "token", "%s; give --token-file the file with your token",
                   problem.message);
        return;
    }
    if (rest_call(client, &(RestCall){.method = "GET", .path = "/session"}, &reply) == 0) {
        check_token(report, reply.json);
        look_at_receiver(report, cli, reply.json);
    } else {
        report_add(report, VERDICT_FAULT, "token",
                   "the coordinator can't be asked about it (%s); look at its log",
                   rest_client_failure(client)->problem.message);
    }
    (void)rest_client_free(client);
}

void doctor_look_at_coordinator(Report *report, const Cli *cli)
{
    Server coordinator = {.what = "coordinator",
                          .address_setting = "--url or BECKON_COORDINATOR_URL",
                          .ca_setting = "--ca or BECKON_CA",
                          .ca_file = cli->ca};

    if (cli->token_file)
        check_token_file(report, cli->token_file);
    else
        report_add(report, VERDICT_FAULT, "token: file",
                   "there is none; give --token-file FILE or set BECKON_TOKEN_FILE");
    if (!server_set_url(report, &coordinator, cli->url) || !doctor_reach(report, &coordinator))
        return;
    doctor_ask(report, &coordinator);
    if (cli->token_file)
        check_session(report, cli);
}
