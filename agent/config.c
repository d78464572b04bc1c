#include "agent/config.h"

#include "agent/tickets.h"
#include "common/cage.h"
#include "common/credentials.h"
#include "common/files.h"
#include "common/text.h"
#include "protocol/ident.h"
#include "protocol/message.h"
#include "protocol/token.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#define PIN_PREFIX "sha256//"
#define MEMBER(member) .offset = offsetof(AgentConfig, member)

const ConfigKey agent_config_keys[] = {
    {"agent", "client_id", CONFIG_STRING, MEMBER(client_id)},
    {"agent", "state_dir", CONFIG_FOLDER, MEMBER(state_dir), .fallback = "/var/lib/beckon-agent"},
    {"agent", "worker", CONFIG_FILE, MEMBER(worker)},
    {"agent", "require_sandbox", CONFIG_BOOL, MEMBER(require_sandbox), .fallback = "no"},
    {"agent", "concurrency", CONFIG_NUMBER, MEMBER(concurrency), .fallback = "2", .min = 1, .max = 64},
    {"agent", "queue", CONFIG_NUMBER, MEMBER(queue), .fallback = "100", .min = 1, .max = 500},
    {"agent", "remember", CONFIG_NUMBER, MEMBER(remember), .fallback = "10000", .min = 1000, .max = 1000000},
    {"agent", "heartbeat", CONFIG_DURATION, MEMBER(heartbeat_ms), .fallback = "30s", .min = 1000,
     .max = 3600000},
    {"agent", "coordinator_key", CONFIG_FILES, MEMBER(coordinator_keys)},
    {"labels", NULL, CONFIG_PAIRS, MEMBER(labels)},

    {"files", "allow", CONFIG_LIST, MEMBER(files.allow)},
    {"files", "deny", CONFIG_LIST, MEMBER(files.deny)},
    {"files", "base", CONFIG_FOLDER, MEMBER(files.base)},
    {"files", "max_size", CONFIG_SIZE, MEMBER(files.max_size_bytes), .fallback = "0"},
    {"files", "follow_symlinks", CONFIG_BOOL, MEMBER(files.follow_symlinks), .fallback = "no"},
    {"files", "one_file_system", CONFIG_BOOL, MEMBER(files.one_file_system), .fallback = "no"},
    {"files", "single_link", CONFIG_BOOL, MEMBER(files.single_link), .fallback = "no"},
    {"files", "owner", CONFIG_LIST, MEMBER(files.owner)},

    {"receiver", "url", CONFIG_STRING, MEMBER(receiver_url), .required = true},
    {"receiver", "ca", CONFIG_FILE, MEMBER(receiver_ca)},
    {"receiver", "cert", CONFIG_FILE, MEMBER(receiver_cert)},
    {"receiver", "key", CONFIG_FILE, MEMBER(receiver_key)},
    {"receiver", "pin", CONFIG_STRING, MEMBER(receiver_pin)},
    {"receiver", "proxy", CONFIG_STRING, MEMBER(receiver_proxy)},
    {"receiver", "rate", CONFIG_SIZE, MEMBER(rate_bytes_per_s), .fallback = "0"},
    {"receiver", "min_rate", CONFIG_SIZE, MEMBER(min_rate_bytes_per_s), .fallback = "100"},
    {"receiver", "stall_time", CONFIG_DURATION, MEMBER(stall_ms), .fallback = "60s", .min = 1000,
     .max = 86400000},
    {"receiver", "commit_timeout", CONFIG_DURATION, MEMBER(commit_timeout_ms), .fallback = "10m", .min = 1000,
     .max = 86400000},
    {"receiver", "backoff_min", CONFIG_DURATION, MEMBER(retry_min_ms), .fallback = "1s", .min = 100},
    {"receiver", "backoff_max", CONFIG_DURATION, MEMBER(retry_max_ms), .fallback = "5m", .min = 100,
     .max = 86400000},
    {"receivers", NULL, CONFIG_PAIRS, MEMBER(receivers)},

    MQTT_CONFIG_KEYS(AgentConfig, "8883", "30s"),
    LOG_CONFIG_KEYS(AgentConfig),
};
const size_t agent_config_key_count = ARRAY_SIZE(agent_config_keys);

/* The one CN of a PEM certificate. The caller frees; NULL if there is none or more than one. */
static char *common_name(const char *file)
{
    FILE *stream CLEANUP(close_stream) = fopen(file, "re");
    X509 *certificate = stream ? PEM_read_X509(stream, NULL, NULL, NULL) : NULL;
    X509_NAME *subject = certificate ? X509_get_subject_name(certificate) : NULL;
    char *name = NULL;

    int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
    if (at >= 0 && X509_NAME_get_index_by_NID(subject, NID_commonName, at) < 0) {
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        int length = ASN1_STRING_length(value);
        const char *text = (const char *)ASN1_STRING_get0_data(value);
        if (length > 0 && memchr(text, '\0', (size_t)length) == NULL)
            name = text_format("%.*s", length, text);
    }
    X509_free(certificate);
    return name;
}

/* The certificate's name is what broker and receiver know us by; another client_id would only be refused
 * there. */
static int check_client_id(AgentConfig *config)
{
    char *name CLEANUP(free_ptr) = common_name(config->mqtt.cert);

    if (!name || !client_id_is_valid(name) || client_id_is_reserved(name)) {
        config_mistake("mqtt", "cert",
                       "[mqtt] cert: %s names no client: its CN must be a client id such as restaurant_1",
                       config->mqtt.cert);
        return 1;
    }
    if (config->client_id && strcmp(config->client_id, name) != 0) {
        config_mistake("agent", "client_id",
                       "[agent] client_id is %s, but the certificate is for %s; remove the key or take "
                       "another certificate",
                       config->client_id, name);
        return 1;
    }
    free(config->client_id);
    config->client_id = TAKE_PTR(name);
    return 0;
}

static int check_url(const char *section, const char *key, const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0 ? url + 8 : "";

    if (*host && *host != ':' && !strpbrk(host, "/?#@ "))
        return 0;
    config_mistake(section, key, "[%s] %s: '%s' is not of the form https://host:port, without a path",
                   section, key, url);
    return 1;
}

static int check_receivers(AgentConfig *config)
{
    int mistakes = check_url("receiver", "url", config->receiver_url);

    for (size_t i = 0; i < config->receivers.count; i++) {
        char *name CLEANUP(free_ptr) = strdup(config->receivers.items[i]);
        char *url = name ? strchr(name, '=') : NULL;
        if (!url)
            return mistakes + 1;
        *url++ = '\0';
        mistakes += check_url("receivers", name, url);
        if (strlen(name) >= RECEIVER_NAME_SIZE) {
            config_mistake("receivers", name, "[receivers] the name has more than %d bytes; shorten it",
                           RECEIVER_NAME_SIZE - 1);
            mistakes++;
        }
    }
    return mistakes;
}

static int check_backoff(const AgentConfig *config)
{
    if (config->retry_min_ms <= config->retry_max_ms)
        return 0;
    config_mistake("receiver", "backoff_max",
                   "[receiver] backoff_max is shorter than backoff_min; swap them");
    return 1;
}

static int check_labels(const AgentConfig *config)
{
    if (config->labels.count <= LABELS_MAX)
        return 0;
    config_mistake("labels", "", "[labels] has more than %d labels; remove some", LABELS_MAX);
    return 1;
}

static int check_coordinator_keys(const AgentConfig *config)
{
    const ConfigList *keys = &config->coordinator_keys;
    KeyRing *ring = NULL;
    const char *bad = NULL;

    if (keys->count > COORDINATOR_KEYS_MAX) {
        config_mistake(
            "agent", "coordinator_key",
            "[agent] coordinator_key has more than %d keys; remove those that are not used any more",
            COORDINATOR_KEYS_MAX);
        return 1;
    }
    if (key_ring_load(keys->items, keys->count, &ring, &bad) < 0) {
        config_mistake("agent", "coordinator_key",
                       "[agent] coordinator_key: %s is not an Ed25519 public key in PEM",
                       bad ? bad : "a file");
        return 1;
    }
    key_ring_free(ring);
    return 0;
}

static int default_to(char **member, const char *fallback)
{
    if (!*member)
        *member = strdup(fallback);
    return *member ? 0 : 1;
}

/* What [receiver] does not name is that of [mqtt], which has been looked at. */
static int check_receiver_credentials(AgentConfig *config)
{
    int mistakes = credentials_check_authorities("receiver", "ca", config->receiver_ca);

    if (config->receiver_cert || config->receiver_key) {
        mistakes += default_to(&config->receiver_cert, config->mqtt.cert);
        mistakes += default_to(&config->receiver_key, config->mqtt.key);
        mistakes += credentials_check_pair("receiver", config->receiver_cert, config->receiver_key);
    }
    mistakes += default_to(&config->receiver_ca, config->mqtt.ca);
    mistakes += default_to(&config->receiver_cert, config->mqtt.cert);
    return mistakes + default_to(&config->receiver_key, config->mqtt.key);
}

/* As libcurl takes it: anything else would be the name of a file to it. */
static int check_pin(const AgentConfig *config)
{
    const char *at = config->receiver_pin;

    while (at) {
        size_t length = strcspn(at, ";");
        void *digest CLEANUP(free_ptr) = NULL;
        size_t size = 0;
        if (strncmp(at, PIN_PREFIX, strlen(PIN_PREFIX)) != 0 ||
            text_unbase64(at + strlen(PIN_PREFIX), length - strlen(PIN_PREFIX), &digest, &size) < 0 ||
            size != SHA256_SIZE) {
            config_mistake(
                "receiver", "pin",
                "[receiver] pin: '%s' is not of the form sha256//BASE64, several separated by ';'; "
                "beckon-pki pin NAME prints it",
                config->receiver_pin);
            return 1;
        }
        at = at[length] ? at + length + 1 : NULL;
    }
    return 0;
}

/* Beside the agent in a build folder, in the libexec folder when installed. */
static int find_worker(AgentConfig *config)
{
    char self[FILE_PATH_MAX + 1];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (!config->worker && length > 0) {
        self[length] = '\0';
        *strrchr(self, '/') = '\0';
        config->worker = text_format("%s/beckon-upload", self);
        if (config->worker && access(config->worker, X_OK) < 0) {
            free(config->worker);
            config->worker = NULL;
        }
    }
    if (default_to(&config->worker, BECKON_LIBEXEC_DIR "/beckon-upload") == 0 &&
        access(config->worker, X_OK) == 0)
        return 0;
    config_mistake("agent", "worker", "[agent] worker: can't execute %s: %s; set the path of beckon-upload",
                   config->worker ? config->worker : "beckon-upload", strerror(errno));
    return 1;
}

int agent_config_check(void *agent_config)
{
    AgentConfig *config = agent_config;
    int mistakes = mqtt_config_check(&config->mqtt);

    if (mistakes == 0)
        mistakes += check_client_id(config);
    mistakes += check_receiver_credentials(config);
    mistakes += check_pin(config);
    mistakes += check_receivers(config);
    mistakes += policy_check_config(&config->files);
    config->files.own_keys[0] = config->mqtt.key;
    config->files.own_keys[1] = config->receiver_key;
    mistakes += check_coordinator_keys(config);
    mistakes += check_labels(config);
    mistakes += cage_check("agent", config->require_sandbox);
    mistakes += check_backoff(config);
    return mistakes + find_worker(config);
}

const char *agent_config_receiver(const AgentConfig *config, const char *name)
{
    size_t length = strlen(name);

    if (length == 0)
        return config->receiver_url;
    for (size_t i = 0; i < config->receivers.count; i++)
        if (strncmp(config->receivers.items[i], name, length) == 0 &&
            config->receivers.items[i][length] == '=')
            return config->receivers.items[i] + length + 1;
    return NULL;
}
