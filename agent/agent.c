#include "agent/agent.h"

#include "agent/uploads.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mqtt_link.h"
#include "protocol/topic.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>

#define MEMORY_MAX ((rlim_t)64 * 1024 * 1024) /* of data; a worker's too, and it needs far less */
#define MEMORY_PER_REMEMBERED 128             /* while old records are looked through */
#define LINK_PASS_MS 5000 /* of commands, whose files may be slow to look at; then timers have their turn */

struct Agent {
    const AgentConfig *config;
    MqttLink *link;
    LoopSource *link_source, *heartbeat_timer;
    Uploads *uploads;
    int64_t since_unix_ms; /* connected since then */
    MqttEvent event;       /* large, so not on the stack */
};

static cJSON *make_labels(const ConfigList *list)
{
    cJSON *labels = cJSON_CreateObject();

    for (size_t i = 0; labels && i < list->count; i++) {
        char *name CLEANUP(free_ptr) = strdup(list->items[i]);
        char *value = name ? strchr(name, '=') : NULL;
        if (!value)
            continue;
        *value++ = '\0';
        (void)cJSON_AddStringToObject(labels, name, value);
    }
    return labels;
}

static char *make_presence(const Agent *agent, bool online)
{
    Presence presence = {.online = online};

    if (online) {
        presence.since_unix_ms = agent->since_unix_ms;
        (void)snprintf(presence.version, sizeof(presence.version), "%s", BECKON_VERSION);
        presence.heartbeat_s = (unsigned)((agent->config->heartbeat_ms + 999) / 1000);
        uploads_count(agent->uploads, &presence.active, &presence.queued);
        presence.labels = make_labels(&agent->config->labels);
    }
    char *text = presence_format(&presence);
    presence_free(&presence);
    return text;
}

static void publish(Agent *agent, TopicKind kind, const char *upload, const char *text, uint64_t tag)
{
    char topic[TOPIC_SIZE];

    topic_format(kind, agent->config->client_id, upload, topic);
    int r = text ? mqtt_link_publish(agent->link, topic, text, strlen(text), kind == TOPIC_PRESENCE, tag)
                 : -ENOMEM;
    if (r < 0 && r != -ENOTCONN) /* without a connection all is told again when there is one */
        log_warn("can't publish on %s: %s", topic, strerror(-r));
}

static void publish_presence(Agent *agent, bool online)
{
    char *text CLEANUP(free_ptr) = make_presence(agent, online);

    publish(agent, TOPIC_PRESENCE, "", text, 0);
}

static void on_heartbeat(void *userdata)
{
    Agent *agent = userdata;

    publish_presence(agent, true);
    loop_timer_set(agent->heartbeat_timer, (int64_t)agent->config->heartbeat_ms);
}

static void on_report(void *userdata, const Job *job, uint64_t tag)
{
    Agent *agent = userdata;
    char *text CLEANUP(free_ptr) = job_status(job);

    TRACED(job->traceparent);
    if (agent->link) /* not yet while earlier jobs are being loaded */
        publish(agent, TOPIC_STATUS, job->id, text, tag);
}

static void take_message(Agent *agent)
{
    char traceparent[TRACEPARENT_SIZE];
    Topic topic;

    message_traceparent(agent->event.payload, agent->event.payload_size, traceparent);
    TRACED(*traceparent ? traceparent : agent->event.traceparent);
    if (topic_parse(agent->event.topic, &topic) != 0 || strcmp(topic.client, agent->config->client_id) != 0)
        log_warn("ignored a message on %s: not a command for this client", agent->event.topic);
    else if (topic.kind == TOPIC_CMD_UPLOAD)
        uploads_command(agent->uploads, topic.upload, agent->event.payload, agent->event.payload_size);
    else if (topic.kind == TOPIC_CMD_CANCEL)
        uploads_cancel(agent->uploads, topic.upload);
}

static void on_link(void *userdata, short revents)
{
    Agent *agent = userdata;
    int64_t until_ms = clock_monotonic_ms() + LINK_PASS_MS;
    (void)revents;

    while (clock_monotonic_ms() < until_ms && mqtt_link_next(agent->link, &agent->event)) {
        switch (agent->event.type) {
        case MQTT_EVENT_CONNECTED:
            agent->since_unix_ms = clock_unix_ms();
            on_heartbeat(agent);
            uploads_connected(agent->uploads);
            break;
        case MQTT_EVENT_DISCONNECTED:
            loop_timer_set(agent->heartbeat_timer, -1);
            break;
        case MQTT_EVENT_MESSAGE:
            take_message(agent);
            break;
        case MQTT_EVENT_PUBLISHED:
            uploads_reported(agent->uploads, agent->event.tag);
            break;
        }
    }
}

static int start_link(Agent *agent, Loop *loop)
{
    const AgentConfig *config = agent->config;
    char presence[TOPIC_SIZE], uploads[TOPIC_SIZE], cancels[TOPIC_SIZE];
    char *will CLEANUP(free_ptr) = make_presence(agent, false);
    const char *const subscriptions[] = {topic_format(TOPIC_CMD_UPLOAD, config->client_id, "+", uploads),
                                         topic_format(TOPIC_CMD_CANCEL, config->client_id, "+", cancels)};
    MqttLinkConfig link = mqtt_config_link(&config->mqtt);

    link.client_id = config->client_id;
    link.will_topic = topic_format(TOPIC_PRESENCE, config->client_id, "", presence);
    link.will_payload = will;
    link.subscriptions = subscriptions;
    link.subscription_count = ARRAY_SIZE(subscriptions);
    int r = will ? mqtt_link_new(&link, &agent->link) : -ENOMEM;
    return r < 0 ? r
                 : loop_add_fd(loop, mqtt_link_fd(agent->link), POLLIN, on_link, agent, &agent->link_source);
}

/* libmosquitto takes a packet of up to 256 MiB into memory before anybody can refuse it. */
static void limit_memory(const AgentConfig *config)
{
#ifdef BECKON_SANITIZED
    (void)config;
#else
    rlim_t bytes = MEMORY_MAX + (rlim_t)config->remember * MEMORY_PER_REMEMBERED;
    struct rlimit limit;

    if (getrlimit(RLIMIT_DATA, &limit) == 0 && bytes < limit.rlim_cur) {
        limit.rlim_cur = bytes;
        if (setrlimit(RLIMIT_DATA, &limit) < 0)
            log_warn("can't limit the memory: %s", strerror(errno));
    }
#endif
}

int agent_new(Loop *loop, const AgentConfig *config, Agent **ret_agent)
{
    Agent *agent = calloc(1, sizeof(*agent));

    if (!agent)
        return -ENOMEM;
    agent->config = config;
    log_set_client(config->client_id);
    limit_memory(config);
    UploadsEvents events = {.report = on_report, .userdata = agent};
    int r = uploads_new(loop, config, &events, &agent->uploads);
    if (r == -EWOULDBLOCK)
        log_error("%s is in use by another agent; give each its own [agent] state_dir", config->state_dir);
    else if (r < 0)
        log_error("can't use [agent] state_dir %s: %s", config->state_dir, strerror(-r));
    if (r == 0) {
        r = loop_add_timer(loop, on_heartbeat, agent, &agent->heartbeat_timer);
        if (r == 0)
            r = start_link(agent, loop);
        if (r < 0)
            log_error("can't start: %s", strerror(-r));
    }
    if (r < 0) {
        agent_free(agent);
        return r;
    }
    loop_on_watchdog(loop, mqtt_link_is_alive, agent->link);
    if (config->files.allow.count == 0)
        log_warn("nothing may be asked for: [files] allow lists no folder");
    *ret_agent = agent;
    return 0;
}

Agent *agent_free(Agent *agent)
{
    if (!agent)
        return NULL;
    if (agent->link)
        publish_presence(agent, false); /* the will stays silent after a clean good-bye */
    loop_remove(agent->link_source);
    loop_remove(agent->heartbeat_timer);
    agent->link = mqtt_link_free(agent->link);
    agent->uploads = uploads_free(agent->uploads);
    free(agent);
    return NULL;
}
