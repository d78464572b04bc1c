#include "coordinator/config.h"

#include "common/audit.h"
#include "common/cage.h"
#include "common/credentials.h"
#include "coordinator/secret.h"
#include "protocol/token.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define HTTP_IDLE_S 60
#define HTTP_BODY_RATE_MIN 100       /* bytes a second; the receiver's default */
#define HTTP_BODY_DEADLINE_MS 300000 /* bodies are small */

#define MEMBER(member) .offset = offsetof(CoordinatorConfig, member)
#define MINUTE_MS ((uint64_t)60000)
#define DAY_MS (1440 * MINUTE_MS)

const ConfigKey coordinator_config_keys[] = {
    {"coordinator", "database", CONFIG_FOLDER, MEMBER(database), .required = true},
    {"coordinator", "address", CONFIG_ADDRESS, MEMBER(address), .fallback = "127.0.0.1"},
    {"coordinator", "port", CONFIG_NUMBER, MEMBER(port), .fallback = "8080", .min = 1, .max = 65535},
    {"coordinator", "connections", CONFIG_NUMBER, MEMBER(connections), .fallback = "256", .min = 4,
     .max = 10000},
    {"coordinator", "connections_per_address", CONFIG_NUMBER, MEMBER(connections_per_address),
     .fallback = "128", .max = 10000},
    {"coordinator", "offline_after", CONFIG_DURATION, MEMBER(offline_after_ms), .fallback = "90s",
     .min = 1000, .max = DAY_MS},
    {"coordinator", "cert", CONFIG_FILE, MEMBER(cert), .required = true},
    {"coordinator", "key", CONFIG_FILE, MEMBER(key), .required = true},
    {"coordinator", "require_sandbox", CONFIG_BOOL, MEMBER(require_sandbox), .fallback = "no"},
    {"coordinator", "token_file", CONFIG_FILE, MEMBER(token_file)},
    {"coordinator", "operator_key", CONFIG_FILES, MEMBER(operator_keys)},
    {"coordinator", "audit_file", CONFIG_FOLDER, MEMBER(audit_file)},
    {"coordinator", "metrics", CONFIG_STRING, MEMBER(metrics), .fallback = "token"},
    {"coordinator", "signing_key", CONFIG_FILE, MEMBER(signing_key), .required = true},
    {"coordinator", "receiver_key", CONFIG_FILES, MEMBER(receiver_keys), .required = true},
    {"coordinator", "receiver_url", CONFIG_STRING, MEMBER(receiver_url), .required = true},

    {"requests", "expires", CONFIG_DURATION, MEMBER(expires_ms), .fallback = "7d", .min = 1000,
     .max = 3650 * DAY_MS},
    {"requests", "republish", CONFIG_DURATION, MEMBER(republish_ms), .fallback = "5m", .min = 1000,
     .max = DAY_MS},

    {"retention", "history_age", CONFIG_DURATION, MEMBER(history_age_ms), .fallback = "0",
     .max = HISTORY_AGE_MAX_MS},
    {"retention", "history_count", CONFIG_NUMBER, MEMBER(history_count), .fallback = "1000000",
     .max = HISTORY_COUNT_MAX},
    {"retention.history_age", NULL, CONFIG_PAIRS, MEMBER(history_ages)},
    {"retention.history_count", NULL, CONFIG_PAIRS, MEMBER(history_counts)},

    MQTT_CONFIG_CLIENT_ID(CoordinatorConfig, "coordinator"),
    MQTT_CONFIG_KEYS(CoordinatorConfig, "8884", "60s"),
    LOG_CONFIG_KEYS(CoordinatorConfig),
};
const size_t coordinator_config_key_count = ARRAY_SIZE(coordinator_config_keys);

HttpServerConfig coordinator_http_config(const CoordinatorConfig *config)
{
    return (HttpServerConfig){
        .address = config->address,
        .port = (uint16_t)config->port,
        .cert_file = config->cert,
        .key_file = config->key,
        .threads = HTTP_ONE_THREAD,
        .connections_max = (unsigned)config->connections,
        .connections_per_ip_max = (unsigned)config->connections_per_address,
        .idle_timeout_s = HTTP_IDLE_S,
        .body_rate_min = HTTP_BODY_RATE_MIN,
        .body_deadline_ms = HTTP_BODY_DEADLINE_MS,
    };
}

HistoryConfig coordinator_history_config(const CoordinatorConfig *config)
{
    return (HistoryConfig){.age_ms = config->history_age_ms,
                           .count = config->history_count,
                           .ages = config->history_ages,
                           .counts = config->history_counts};
}

static int check_database(const CoordinatorConfig *config)
{
    const char *path = config->database;
    size_t length = strlen(path);
    if (length > 0 && path[length - 1] != '/')
        return 0;
    config_mistake("coordinator", "database", "[coordinator] database: '%s' is a folder; name a file in it",
                   path);
    return 1;
}

static int check_receiver_url(CoordinatorConfig *config)
{
    char *url = config->receiver_url;
    size_t length = strlen(url);
    if (length > 0 && url[length - 1] == '/')
        url[length - 1] = '\0';
    const char *host = strncmp(url, "https://", 8) == 0 ? url + 8 : "";
    if (*host && *host != ':' && !strpbrk(host, "/?#@ "))
        return 0;
    config_mistake("coordinator", "receiver_url",
                   "[coordinator] receiver_url: '%s' is not of the form https://host:port", url);
    return 1;
}

static int check_metrics(const CoordinatorConfig *config)
{
    if (strcmp(config->metrics, "token") == 0 || strcmp(config->metrics, "open") == 0)
        return 0;
    config_mistake("coordinator", "metrics", "[coordinator] metrics: '%s' is neither token nor open",
                   config->metrics);
    return 1;
}

static int check_token(const CoordinatorConfig *config)
{
    Secret secret;
    if (!config->token_file)
        return 0;
    int r = secret_load(config->token_file, &secret);
    struct stat status;
    if (r == 0 && stat(config->token_file, &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)))
        log_warn("%s: others than its owner may read it; chmod 600 it", config->token_file);
    if (r == 0)
        return 0;
    if (r == -EINVAL)
        config_mistake("coordinator", "token_file",
                       "[coordinator] token_file: %s must hold one line of %d to %d bytes",
                       config->token_file, SECRET_MIN, SECRET_MAX);
    else
        config_mistake("coordinator", "token_file", "[coordinator] token_file: %s: %s", config->token_file,
                       strerror(-r));
    return 1;
}

static int check_public_keys(const char *name, const ConfigList *paths)
{
    KeyRing *ring = NULL;
    const char *bad = NULL;
    int r = key_ring_load(paths->items, paths->count, &ring, &bad);
    (void)key_ring_free(ring);
    if (r == 0)
        return 0;
    config_mistake("coordinator", name, "[coordinator] %s: %s is not an Ed25519 public key in PEM", name,
                   bad ? bad : "a file");
    return 1;
}

static int check_signing_key(const CoordinatorConfig *config)
{
    SigningKey *key = NULL;
    int r = signing_key_load(config->signing_key, &key);
    (void)signing_key_free(key);
    if (r == 0)
        return 0;
    config_mistake("coordinator", "signing_key",
                   "[coordinator] signing_key: %s is not an Ed25519 private key in PEM", config->signing_key);
    return 1;
}

static int check_keys(const CoordinatorConfig *config)
{
    return check_signing_key(config) + check_public_keys("receiver_key", &config->receiver_keys) +
           check_public_keys("operator_key", &config->operator_keys);
}

static int check_credentials(const CoordinatorConfig *config)
{
    int mistakes = credentials_check_pair("coordinator", config->cert, config->key);
    mistakes += mqtt_config_check(&config->mqtt);
    if (mistakes > 0)
        return mistakes;
    const HttpServerConfig http = coordinator_http_config(config);
    if (http_server_check(&http) == 0)
        return 0;
    config_mistake("coordinator", "cert",
                   "[coordinator] cert and key: they do not load; the line above says why");
    return 1;
}

int coordinator_config_check(void *target)
{
    CoordinatorConfig *config = target;
    const HistoryConfig history = coordinator_history_config(config);
    return check_database(config) + history_check(&history) + audit_check("coordinator", config->audit_file) +
           check_receiver_url(config) + check_metrics(config) + check_token(config) + check_keys(config) +
           check_credentials(config) + cage_check("coordinator", config->require_sandbox);
}
