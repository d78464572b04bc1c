/* coordinator.conf */
#pragma once

#include "common/config.h"
#include "common/http_server.h"
#include "common/mqtt_config.h"
#include "common/program.h"
#include "coordinator/history.h"

typedef struct CoordinatorConfig {
    char *database;
    char *address;
    uint64_t port;
    uint64_t connections, connections_per_address; /* 0 for the second: no limit */
    uint64_t offline_after_ms;
    char *cert, *key;
    bool require_sandbox;
    char *token_file;         /* NULL: no shared token, operator tokens only */
    ConfigList operator_keys; /* none: signing_key's own public half */
    char *audit_file;         /* NULL: no audit log */
    char *signing_key;
    ConfigList receiver_keys;
    char *metrics;      /* "token" or "open" */
    char *receiver_url; /* after the check: without a slash at the end */

    uint64_t expires_ms, republish_ms;
    uint64_t history_age_ms, history_count; /* 0: without limit */
    ConfigList history_ages,
        history_counts; /* the same for clients whose name matches: "<pattern>=<value>" */

    MqttConfig mqtt;
    LogConfig log;
} CoordinatorConfig;

extern const ConfigKey coordinator_config_keys[];
extern const size_t coordinator_config_key_count;

/* Rules between keys, and whether keys, certificates and the token load: Program's check. Returns the number
 * of mistakes. */
int coordinator_config_check(void *target);

/* What the history, and the HTTP server, need of it; point into config. */
HistoryConfig coordinator_history_config(const CoordinatorConfig *config);
HttpServerConfig coordinator_http_config(const CoordinatorConfig *config);
