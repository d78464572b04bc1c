/* receiver.conf */
#pragma once

#include "common/config.h"
#include "common/http_server.h"
#include "common/mqtt_config.h"
#include "common/program.h"
#include "receiver/retention.h"

typedef struct ReceiverConfig {
    char *name; /* in receipts */
    char *store;
    char *address;
    uint64_t port;
    char *cert, *key;
    char *client_ca, *crl;
    char *people_ca; /* NULL: people and services are known by their names alone */
    char *signing_key;
    ConfigList coordinator_keys;
    bool require_ticket, ticket_alone;
    bool require_sandbox;
    char *audit_file; /* NULL: no audit log */
    uint64_t stop_timeout_ms;

    uint64_t max_size; /* bytes of one file; 0: no limit */
    uint64_t connections, connections_per_address, connections_per_client;
    uint64_t open_uploads, uploads_per_client;
    uint64_t incomplete_per_client; /* bytes; 0: no limit */
    uint64_t free_space_floor;      /* bytes */
    uint64_t idle_timeout_ms;
    uint64_t min_rate; /* bytes a second; 0: no limit */
    uint64_t upload_deadline_ms;
    uint64_t incomplete_keep_ms, aside_keep_ms;

    uint64_t age_ms, count, bytes;  /* of complete ones, each client's; 0: no limit */
    ConfigList ages, counts, sizes; /* the same for clients whose name matches: "<pattern>=<value>" */

    MqttConfig mqtt;
    LogConfig log;
} ReceiverConfig;

extern const ConfigKey receiver_config_keys[];
extern const size_t receiver_config_key_count;

/* The rules between keys, and whether keys and certificates load. userdata is a ReceiverConfig. The number of
 * mistakes. */
int receiver_config_check(void *userdata);

/* What the HTTPS server, and the retention, need of it; points into config. */
RetentionConfig receiver_config_retention(const ReceiverConfig *config);
HttpServerConfig receiver_config_http(const ReceiverConfig *config);
