#include "receiver/config.h"

#include "common/audit.h"
#include "common/cage.h"
#include "common/clock.h"
#include "common/credentials.h"
#include "protocol/ident.h"
#include "protocol/token.h"

#include <limits.h>
#include <string.h>

#define FIRST_SWEEP_S 3 /* starting has its turn first */
#define KEY(section_, name_, type_, member_, ...)                                                            \
    {                                                                                                        \
        .section = section_, .name = name_, .type = type_, .offset = offsetof(ReceiverConfig, member_),      \
        __VA_ARGS__                                                                                          \
    }
#define REQUIRED .required = true

const ConfigKey receiver_config_keys[] = {
    KEY("receiver", "name", CONFIG_STRING, name, .fallback = "receiver"),
    KEY("receiver", "store", CONFIG_FOLDER, store, REQUIRED),
    KEY("receiver", "address", CONFIG_ADDRESS, address, .fallback = "0.0.0.0"),
    KEY("receiver", "port", CONFIG_NUMBER, port, .fallback = "8443", .min = 1, .max = 65535),
    KEY("receiver", "cert", CONFIG_FILE, cert, REQUIRED),
    KEY("receiver", "key", CONFIG_FILE, key, REQUIRED),
    KEY("receiver", "client_ca", CONFIG_FILE, client_ca, REQUIRED),
    KEY("receiver", "crl", CONFIG_FILE, crl),
    KEY("receiver", "people_ca", CONFIG_FILE, people_ca),
    KEY("receiver", "signing_key", CONFIG_FILE, signing_key, REQUIRED),
    KEY("receiver", "coordinator_key", CONFIG_FILES, coordinator_keys),
    KEY("receiver", "require_ticket", CONFIG_BOOL, require_ticket, .fallback = "no"),
    KEY("receiver", "ticket_alone", CONFIG_BOOL, ticket_alone, .fallback = "no"),
    KEY("receiver", "require_sandbox", CONFIG_BOOL, require_sandbox, .fallback = "no"),
    KEY("receiver", "audit_file", CONFIG_FOLDER, audit_file),
    KEY("receiver", "stop_timeout", CONFIG_DURATION, stop_timeout_ms, .fallback = "10s", .min = 1000,
        .max = 3600000),

    KEY("limits", "max_size", CONFIG_SIZE, max_size, .fallback = "0"),
    KEY("limits", "connections", CONFIG_NUMBER, connections, .fallback = "1000", .min = 1, .max = 100000),
    KEY("limits", "connections_per_address", CONFIG_NUMBER, connections_per_address, .fallback = "0",
        .max = 100000),
    KEY("limits", "connections_per_client", CONFIG_NUMBER, connections_per_client, .fallback = "64",
        .max = 100000),
    KEY("limits", "open_uploads", CONFIG_NUMBER, open_uploads, .fallback = "500", .min = 1, .max = 100000),
    /* More than an agent's queue and concurrency: what waits for its next attempt keeps what it has. */
    KEY("limits", "uploads_per_client", CONFIG_NUMBER, uploads_per_client, .fallback = "600", .min = 1,
        .max = 100000),
    KEY("limits", "incomplete_per_client", CONFIG_SIZE, incomplete_per_client, .fallback = "0"),
    KEY("limits", "free_space_floor", CONFIG_SIZE, free_space_floor, .fallback = "64M"),
    KEY("limits", "idle_timeout", CONFIG_DURATION, idle_timeout_ms, .fallback = "120s", .min = 1000,
        .max = 86400000),
    KEY("limits", "min_rate", CONFIG_SIZE, min_rate, .fallback = "100"),
    KEY("limits", "upload_deadline", CONFIG_DURATION, upload_deadline_ms, .fallback = "24h"),
    KEY("limits", "incomplete_keep", CONFIG_DURATION, incomplete_keep_ms, .fallback = "7d", .min = 1000),
    KEY("limits", "aside_keep", CONFIG_DURATION, aside_keep_ms, .fallback = "7d", .min = 1000),

    KEY("retention", "age", CONFIG_DURATION, age_ms, .fallback = "0", .max = RETENTION_AGE_MAX_MS),
    KEY("retention", "count", CONFIG_NUMBER, count, .fallback = "0"),
    KEY("retention", "bytes", CONFIG_SIZE, bytes, .fallback = "0"),
    KEY("retention.age", NULL, CONFIG_PAIRS, ages),
    KEY("retention.count", NULL, CONFIG_PAIRS, counts),
    KEY("retention.bytes", NULL, CONFIG_PAIRS, sizes),

    MQTT_CONFIG_CLIENT_ID(ReceiverConfig, "receiver"),
    MQTT_CONFIG_KEYS(ReceiverConfig, "8884", "60s"),
    LOG_CONFIG_KEYS(ReceiverConfig),
};
const size_t receiver_config_key_count = ARRAY_SIZE(receiver_config_keys);

RetentionConfig receiver_config_retention(const ReceiverConfig *config)
{
    return (RetentionConfig){.age_ms = config->age_ms,
                             .count = config->count,
                             .bytes = config->bytes,
                             .ages = &config->ages,
                             .counts = &config->counts,
                             .sizes = &config->sizes,
                             .unix_ms = clock_unix_ms,
                             .now_ms = clock_monotonic_ms,
                             .first_s = FIRST_SWEEP_S};
}

HttpServerConfig receiver_config_http(const ReceiverConfig *config)
{
    return (HttpServerConfig){
        .address = config->address,
        .port = (uint16_t)config->port,
        .cert_file = config->cert,
        .key_file = config->key,
        .client_ca_file = config->client_ca,
        .people_ca_file = config->people_ca,
        .crl_file = config->crl,
        .threads = HTTP_THREAD_PER_CONNECTION,
        .connections_max = (unsigned)config->connections,
        .connections_per_ip_max = (unsigned)config->connections_per_address,
        .connections_per_name_max = (unsigned)config->connections_per_client,
        .idle_timeout_s = (unsigned)(config->idle_timeout_ms / 1000),
        .body_rate_min = config->min_rate,
        .body_deadline_ms = config->upload_deadline_ms,
    };
}

static int check_token_keys(const ReceiverConfig *config)
{
    SigningKey *signing_key = NULL;
    KeyRing *ring = NULL;
    const char *bad = NULL;
    int mistakes = 0;

    if (config->signing_key && signing_key_load(config->signing_key, &signing_key) < 0) {
        config_mistake("receiver", "signing_key",
                       "[receiver] signing_key: %s is not an Ed25519 private key in PEM",
                       config->signing_key);
        mistakes++;
    }
    if (key_ring_load(config->coordinator_keys.items, config->coordinator_keys.count, &ring, &bad) < 0) {
        config_mistake("receiver", "coordinator_key",
                       "[receiver] coordinator_key: %s is not an Ed25519 public key in PEM",
                       bad ? bad : "a file");
        mistakes++;
    }
    (void)signing_key_free(signing_key);
    (void)key_ring_free(ring);
    return mistakes;
}

static int check_ticket_rules(const ReceiverConfig *config)
{
    if (config->coordinator_keys.count > 0 || (!config->require_ticket && !config->ticket_alone))
        return 0;
    config_mistake("receiver", config->require_ticket ? "require_ticket" : "ticket_alone",
                   "[receiver] require_ticket and ticket_alone need a coordinator_key to check tickets with");
    return 1;
}

static int check_credentials(const ReceiverConfig *config)
{
    int mistakes = credentials_check_pair("receiver", config->cert, config->key);
    mistakes += credentials_check_authorities("receiver", "client_ca", config->client_ca);
    mistakes += credentials_check_authorities("receiver", "people_ca", config->people_ca);
    mistakes += credentials_check_lists("receiver", "crl", config->crl);
    mistakes += mqtt_config_check(&config->mqtt);
    if (mistakes > 0)
        return mistakes;
    const HttpServerConfig http = receiver_config_http(config);
    if (http_server_check(&http) == 0)
        return 0;
    config_mistake("receiver", "cert",
                   "[receiver] cert, key, client_ca or crl does not load; the line above says why");
    return 1;
}

int receiver_config_check(void *userdata)
{
    const ReceiverConfig *config = userdata;
    int mistakes =
        check_token_keys(config) + check_ticket_rules(config) + audit_check("receiver", config->audit_file);

    if (config->name && !client_id_is_valid(config->name)) {
        config_mistake("receiver", "name",
                       "[receiver] name: '%s' has characters or a length that a name may not have",
                       config->name);
        mistakes++;
    }
    const RetentionConfig retention = receiver_config_retention(config);
    mistakes += retention_check(&retention);
    return mistakes + check_credentials(config) + cage_check("receiver", config->require_sandbox);
}
