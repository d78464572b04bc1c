/* agent.conf. */
#pragma once

#include "agent/policy.h"
#include "common/config.h"
#include "common/mqtt_config.h"
#include "common/program.h"

typedef struct AgentConfig {
    char *client_id; /* after the check: never NULL */
    char *state_dir;
    char *worker; /* path of beckon-upload; after the check: never NULL */
    bool require_sandbox;
    uint64_t concurrency, queue, remember, heartbeat_ms;
    ConfigList coordinator_keys; /* none: commands need no ticket */
    ConfigList labels;           /* "name=value" */

    Policy files;

    char *receiver_url;
    char *receiver_ca, *receiver_cert, *receiver_key; /* after the check: never NULL */
    char *receiver_pin, *receiver_proxy;
    uint64_t rate_bytes_per_s, min_rate_bytes_per_s, stall_ms, commit_timeout_ms;
    uint64_t retry_min_ms, retry_max_ms;
    ConfigList receivers; /* "name=url" */

    MqttConfig mqtt;
    LogConfig log;
} AgentConfig;

extern const ConfigKey agent_config_keys[];
extern const size_t agent_config_key_count;

/* Rules between keys, and the defaults that depend on other keys. Returns the number of mistakes, each
 * logged. */
int agent_config_check(void *agent_config);

/* The URL of a receiver by its name, "" for the usual one; NULL if there is none of that name. */
const char *agent_config_receiver(const AgentConfig *config, const char *name);
