#include "common/clock.h"
#include "common/text.h"
#include "coordinator/cli/doctor.h"

#include <string.h>

#define CHECK_SIZE 64
#define SKEW_MAX_S 30 /* a download ticket lasts 60 */
#define SOON_S ((int64_t)30 * 86400)

static const char *check_name(const Server *server, const char *part, char buf[static CHECK_SIZE])
{
    (void)snprintf(buf, CHECK_SIZE, "%s: %s", server->what, part);
    return buf;
}

bool server_set_url(Report *report, Server *server, const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0 ? url + 8 : "";
    bool is_ipv6 = *host == '[';
    size_t length = is_ipv6 ? strcspn(++host, "]") : strcspn(host, ":/?#");
    const char *rest = host + length + (is_ipv6 && host[length] == ']');
    char check[CHECK_SIZE], digits[8] = "443";
    uint64_t port = 0;

    if (*rest == ':')
        (void)snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(rest + 1, "/?#"), rest + 1);
    if (length == 0 || length >= HOST_SIZE || !text_to_u64(digits, &port) || port == 0 || port > UINT16_MAX) {
        report_add(report, VERDICT_FAULT, check_name(server, "address", check),
                   "'%s' is not of the form https://host:port; correct %s", url, server->address_setting);
        return false;
    }
    (void)snprintf(server->host, sizeof(server->host), "%.*s", (int)length, host);
    server->port = (uint16_t)port;
    server->url = url;
    return true;
}

/* --- name, port, TLS --- */

static void blame(Report *report, const Server *server, int error, const ProbeResult *seen)
{
    const char *address = server->address_setting, *why = seen->why;
    char check[CHECK_SIZE], end[TEXT_TIME_SIZE];

    text_time(seen->ends_unix_s * 1000, end);
    (void)check_name(server,
                     error == PROBE_E_NAME   ? "name"
                     : error == PROBE_E_PORT ? "port"
                     : error == PROBE_E_OURS ? "our certificate"
                                             : "certificate",
                     check);
    switch (error) {
    case PROBE_E_NAME:
        report_add(report, VERDICT_FAULT, check,
                   "%s does not resolve (%s); correct %s, or this machine's DNS or /etc/hosts", server->host,
                   why, address);
        break;
    case PROBE_E_PORT:
        report_add(report, VERDICT_FAULT, check,
                   "no connection to %s port %u (%s); start the %s, open the firewall, or correct %s",
                   seen->address, server->port, why, server->what, address);
        break;
    case PROBE_E_AUTHORITY:
        report_add(report, VERDICT_FAULT, check,
                   "%s does not vouch for it (%s); give %s the certificate of the authority that signed it",
                   server->ca_file ? server->ca_file : "no authority that this system trusts", why,
                   server->ca_setting);
        break;
    case PROBE_E_EXPIRED:
        report_add(report, VERDICT_FAULT, check,
                   "%s; the server's ends on %s: renew it with beckon-pki server NAME, or set this "
                   "machine's clock if it is ahead",
                   why, end);
        break;
    case PROBE_E_EARLY:
        report_add(report, VERDICT_FAULT, check,
                   "not valid yet (%s); set this machine's clock, which is behind, or make it anew", why);
        break;
    case PROBE_E_HOST:
        report_add(report, VERDICT_FAULT, check,
                   "it is for %s and not for %s; write one of these names in %s, or make one for this name: "
                   "beckon-pki server %s",
                   seen->names, server->host, address, server->host);
        break;
    case PROBE_E_OURS:
        report_add(report, VERDICT_FAULT, check,
                   "the %s refuses %s (%s); it may be revoked, expired, or of the wrong authority (devices "
                   "8883, people and services 8884): beckon-pki list",
                   server->what, server->cert_file ? server->cert_file : "who shows none", why);
        break;
    case PROBE_E_FILES:
        report_add(report, VERDICT_FAULT, check,
                   "our own files do not load (%s); look at %s and at cert and key beside it", why,
                   server->ca_setting);
        break;
    default:
        report_add(report, VERDICT_FAULT, check,
                   "no TLS 1.2 or 1.3 with %s port %u (%s); correct %s: the port must be one for TLS",
                   server->host, server->port, why, address);
    }
}

void doctor_judge_end(Report *report, const char *check, const char *whose, int64_t ends_unix_s,
                      const char *renew)
{
    int64_t left_s = ends_unix_s - clock_unix_ms() / 1000;
    char end[TEXT_TIME_SIZE];

    text_time(ends_unix_s * 1000, end);
    end[strlen("2026-11-21")] = '\0';
    if (left_s <= 0)
        report_add(report, VERDICT_FAULT, check,
                   "%s expired on %s; %s, or set this machine's clock if it is ahead", whose, end, renew);
    else if (left_s < SOON_S)
        report_add(report, VERDICT_WARNING, check, "%s ends on %s, in %d days; %s", whose, end,
                   (int)(left_s / 86400), renew);
    else
        report_add(report, VERDICT_OK, check, "%s is good until %s", whose, end);
}

static void check_pin(Report *report, const Server *server, const ProbeResult *seen)
{
    char check[CHECK_SIZE];

    if (!server->pins)
        return;
    if (strstr(server->pins, seen->pin))
        report_add(report, VERDICT_OK, check_name(server, "pin", check), "%s", seen->pin);
    else
        report_add(report, VERDICT_FAULT, check_name(server, "pin", check),
                   "its key is %s, which [receiver] pin does not have; if that is the true receiver's "
                   "(beckon-pki pin NAME), add it",
                   seen->pin);
}

bool doctor_reach(Report *report, const Server *server)
{
    const ProbeTarget target = {.host = server->host,
                                .port = server->port,
                                .ca_file = server->ca_file,
                                .cert_file = server->cert_file,
                                .key_file = server->key_file};
    ProbeResult seen;
    char check[CHECK_SIZE];

    int r = probe_server(&target, &seen);
    if (seen.address[0])
        report_add(report, VERDICT_OK, check_name(server, "name", check), "%s is %s", server->host,
                   seen.address);
    if (r != PROBE_E_NAME && r != PROBE_E_PORT)
        report_add(report, VERDICT_OK, check_name(server, "port", check), "%u is open", server->port);
    if (r != 0)
        blame(report, server, r, &seen);
    if (r != 0)
        return false;
    doctor_judge_end(report, check_name(server, "certificate", check), seen.names, seen.ends_unix_s,
                     "renew it with beckon-pki server NAME");
    if (server->cert_file)
        report_add(report, VERDICT_OK, check_name(server, "our certificate", check), "not refused");
    check_pin(report, server, &seen);
    return true;
}

/* --- by its own word --- */

static void check_clock(Report *report, const Server *server, int64_t date_unix_s)
{
    int64_t ahead_s = clock_unix_ms() / 1000 - date_unix_s;
    char check[CHECK_SIZE];

    (void)check_name(server, "clock", check);
    if (date_unix_s == 0)
        report_add(report, VERDICT_WARNING, check,
                   "it does not say what time it is; look whether something else answers in its place");
    else if (ahead_s > SKEW_MAX_S || ahead_s < -SKEW_MAX_S)
        report_add(report, VERDICT_FAULT, check,
                   "this machine's clock is %lld s %s that of the %s; set the wrong one (timedatectl "
                   "set-ntp true): tokens, tickets and certificates go by time",
                   (long long)(ahead_s < 0 ? -ahead_s : ahead_s), ahead_s < 0 ? "behind" : "ahead of",
                   server->what);
    else
        report_add(report, VERDICT_OK, check, "the same as here");
}

static void check_ready(Report *report, const Server *server, const RestSight *sight)
{
    char check[CHECK_SIZE];

    (void)check_name(server, "ready", check);
    if (sight->http_status == 200)
        report_add(report, VERDICT_OK, check, "it says so");
    else if (sight->http_status == 503)
        report_add(report, VERDICT_FAULT, check,
                   "it is not ready: %s; on its machine look with beckon doctor --config "
                   "/etc/beckon/%s.conf, and at its log",
                   sight->words[0] ? sight->words : "it does not say why", server->what);
    else
        report_add(report, VERDICT_FAULT, check,
                   "HTTP status %ld: that is no %s of Beckon's; correct %s, or the proxy before it",
                   sight->http_status, server->what, server->address_setting);
}

/* Anything that needs a certificate, and does nothing. */
static void check_welcome(Report *report, const Server *server, RestClient *client)
{
    char check[CHECK_SIZE];
    RestSight sight;

    (void)check_name(server, "our certificate", check);
    if (rest_look(client, "OPTIONS", "/v1/uploads", &sight) != 0)
        report_add(report, VERDICT_FAULT, check, "%s; look at the receiver's log",
                   rest_client_failure(client)->problem.message);
    else if (sight.http_status == 204)
        report_add(report, VERDICT_OK, check, "uploads are taken with %s", server->cert_file);
    else
        report_add(report, VERDICT_FAULT, check,
                   "refused with status %ld: %s; the receiver's log says why: look at its client_ca and crl, "
                   "or make the certificate anew with beckon-pki",
                   sight.http_status, sight.words);
}

void doctor_ask(Report *report, const Server *server)
{
    const RestConfig config = {.url = server->url,
                               .ca_file = server->ca_file,
                               .cert_file = server->cert_file,
                               .key_file = server->key_file,
                               .proxy = server->proxy};
    RestClient *client = NULL;
    RestSight sight;
    Problem problem;
    char check[CHECK_SIZE];

    (void)check_name(server, "ready", check);
    if (rest_client_new(&config, &client, &problem) < 0) {
        report_add(report, VERDICT_FAULT, check, "%s; correct %s", problem.message, server->ca_setting);
        return;
    }
    if (rest_look(client, "GET", "/readyz", &sight) != 0) {
        report_add(report, VERDICT_FAULT, check, "%s; look at the log of the %s",
                   rest_client_failure(client)->problem.message, server->what);
    } else {
        check_ready(report, server, &sight);
        check_clock(report, server, sight.date_unix_s);
        if (server->cert_file)
            check_welcome(report, server, client);
    }
    (void)rest_client_free(client);
}
