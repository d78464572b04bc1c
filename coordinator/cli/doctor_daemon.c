#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/daemon.h"
#include "coordinator/cli/daemon_config.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

/* --- its configuration --- */

const char *daemon_setting(const Daemon *daemon, const char *section, const char *name)
{
    const char *text = NULL;
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(daemon->config, section);

    return json_get_string_ref(keys, name, &text) == JSON_OK ? text : NULL;
}

uint64_t daemon_number(const Daemon *daemon, const char *section, const char *name)
{
    uint64_t value = 0;

    (void)json_get_u64(cJSON_GetObjectItemCaseSensitive(daemon->config, section), name, &value);
    return value;
}

const char *daemon_key_name(const char *section, const char *key, char buf[static CHECK_SIZE])
{
    (void)snprintf(buf, CHECK_SIZE, "[%s] %s", section, key);
    return buf;
}

/* A line of its log: "TIME LEVEL PROGRAM: what is wrong; what to do". */
static void add_line(Report *report, char *line)
{
    char *level = strchr(line, ' ');
    char *sentence = level ? strstr(level, ": ") : NULL;

    if (sentence)
        report_add(report, strncmp(level, " warn", 5) == 0 ? VERDICT_WARNING : VERDICT_FAULT, "configuration",
                   "%s", sentence + 2);
    else if (*line)
        report_add(report, VERDICT_FAULT, "configuration", "%s; look at the file", line);
}

/* false if nothing more can be looked at. */
static bool read_config(Daemon *daemon)
{
    char *log CLEANUP(free_ptr) = NULL, *rest = NULL;

    int r = daemon_config_read(daemon->role_name, daemon->file, &daemon->config, &log);
    if (r < 0) {
        report_add(daemon->report, VERDICT_FAULT, "program",
                   "beckon-%s can't be started (%s); install it, or look on the machine where it runs",
                   daemon->role_name, strerror(-r));
        return false;
    }
    if (!*log)
        report_add(daemon->report, VERDICT_OK, "configuration", "%s has no mistake", daemon->file);
    for (char *line = strtok_r(log, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        add_line(daemon->report, line);
    if (!daemon->config)
        report_add(daemon->report, VERDICT_FAULT, "program",
                   "beckon-%s does not show its configuration; install the version of this program, %s",
                   daemon->role_name, BECKON_VERSION);
    return daemon->config != NULL;
}

/* --- where it leads --- */

static void check_broker(const Daemon *daemon)
{
    const char *host = daemon_setting(daemon, "mqtt", "host");
    Server broker = {.what = "broker",
                     .address_setting = "[mqtt] host and port",
                     .ca_setting = "[mqtt] ca",
                     .port = (uint16_t)daemon_number(daemon, "mqtt", "port"),
                     .ca_file = daemon_setting(daemon, "mqtt", "ca"),
                     .cert_file = daemon_setting(daemon, "mqtt", "cert"),
                     .key_file = daemon_setting(daemon, "mqtt", "key")};

    if (!host || !broker.ca_file || !broker.cert_file || !broker.key_file)
        return;
    (void)snprintf(broker.host, sizeof(broker.host), "%s", host);
    (void)doctor_reach(daemon->report, &broker);
}

static void check_proxy(const Daemon *daemon, const char *proxy)
{
    const char *host = strstr(proxy, "://") ? strstr(proxy, "://") + 3 : proxy;

    report_add(daemon->report, VERDICT_OK, "receiver: proxy", "uploads go by way of %s",
               strrchr(host, '@') ? strrchr(host, '@') + 1 : host);
}

static void look_at_receiver(const Daemon *daemon, const char *url, const char *url_setting)
{
    bool is_agent = daemon->role == AGENT;
    Server receiver = {.what = "receiver",
                       .address_setting = url_setting,
                       .ca_setting = is_agent ? "[receiver] ca" : "[mqtt] ca",
                       .ca_file = is_agent ? daemon_setting(daemon, "receiver", "ca")
                                           : daemon_setting(daemon, "mqtt", "ca"),
                       .pins = is_agent ? daemon_setting(daemon, "receiver", "pin") : NULL,
                       .proxy = is_agent ? daemon_setting(daemon, "receiver", "proxy") : NULL};

    if (!receiver.ca_file || !server_set_url(daemon->report, &receiver, url))
        return;
    if (receiver.proxy)
        check_proxy(daemon, receiver.proxy);
    else if (!doctor_reach(daemon->report, &receiver))
        return;
    if (is_agent) { /* by HTTP the receiver says what it has against a certificate; by TLS it only hangs up */
        receiver.cert_file = daemon_setting(daemon, "receiver", "cert");
        receiver.key_file = daemon_setting(daemon, "receiver", "key");
    }
    doctor_ask(daemon->report, &receiver);
}

static void check_receivers(const Daemon *daemon)
{
    const char *url = daemon_setting(daemon, "receiver", "url");
    const cJSON *more = NULL;

    if (daemon->role == COORDINATOR) {
        url = daemon_setting(daemon, "coordinator", "receiver_url");
        if (url)
            look_at_receiver(daemon, url, "[coordinator] receiver_url");
    }
    if (daemon->role != AGENT)
        return;
    if (url)
        look_at_receiver(daemon, url, "[receiver] url");
    cJSON_ArrayForEach(more, cJSON_GetObjectItemCaseSensitive(daemon->config, "receivers"))
    {
        char name[CHECK_SIZE];
        look_at_receiver(daemon, more->valuestring, daemon_key_name("receivers", more->string, name));
    }
}

static void check_listening(const Daemon *daemon)
{
    const char *address = daemon_setting(daemon, daemon->role_name, "address");
    bool is_any = address && (strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0);
    const ProbeTarget own = {.host = is_any ? "127.0.0.1" : address,
                             .port = (uint16_t)daemon_number(daemon, daemon->role_name, "port")};
    ProbeResult seen;

    if (daemon->role == AGENT || !address)
        return;
    if (probe_port(&own, &seen) == 0)
        report_add(daemon->report, VERDICT_OK, "running", "something listens on %s port %u", own.host,
                   own.port);
    else
        report_add(daemon->report, VERDICT_FAULT, "running",
                   "nothing listens on %s port %u (%s); start it: systemctl start beckon-%s", own.host,
                   own.port, seen.why, daemon->role_name);
}

static void look_at(const Daemon *daemon)
{
    doctor_look_at_files(daemon);
    check_broker(daemon);
    check_receivers(daemon);
    check_listening(daemon);
}

/* --- who and what --- */

/* By the name of the file, as in /etc/beckon. */
static bool find_role(const char *file, Daemon *daemon)
{
    static const struct {
        const char *name;
        Role role;
    } roles[] = {{"agent", AGENT}, {"receiver", RECEIVER}, {"coordinator", COORDINATOR}};
    const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;

    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (strstr(base, roles[i].name)) {
            daemon->role = roles[i].role;
            daemon->role_name = roles[i].name;
            return true;
        }
    cli_error("%s: whose is it? Its name must have agent, receiver or coordinator in it", file);
    return false;
}

/* What root may do says nothing about what the daemon may. */
static int become(const Daemon *daemon, const char *user)
{
    char own[32];

    (void)snprintf(own, sizeof(own), "beckon-%s", daemon->role_name);
    if (!user && geteuid() != 0)
        return EXIT_DONE;
    const struct passwd *entry = getpwnam(user ? user : own);
    if (!entry && !user)
        return EXIT_DONE;
    if (!entry || initgroups(entry->pw_name, entry->pw_gid) < 0 || setgid(entry->pw_gid) < 0 ||
        setuid(entry->pw_uid) < 0) {
        cli_error("can't become %s: %s", user ? user : own,
                  entry ? strerror(errno) : "there is no such user");
        return EXIT_USAGE;
    }
    report_add(daemon->report, VERDICT_OK, "user", "looking as %s", entry->pw_name);
    return EXIT_DONE;
}

int doctor_look_at_daemon(Report *report, const char *config_file, const char *user)
{
    Daemon daemon = {.report = report, .file = config_file};

    if (!find_role(config_file, &daemon))
        return EXIT_USAGE;
    int code = become(&daemon, user);
    if (code != EXIT_DONE)
        return code;
    if (read_config(&daemon))
        look_at(&daemon);
    cJSON_Delete(daemon.config);
    return EXIT_DONE;
}
