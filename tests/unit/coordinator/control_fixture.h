/* A control over a real store, with a clock and a broker that the test owns. */
#pragma once

#include "common/files.h"
#include "coordinator/control.h"
#include "tests/unit/protocol/cmocka_.h"
#include "tests/unit/temp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* RFC 8037 appendix A.1 and A.2; and another key, the second of RFC 8032 section 7.1. */
static const char receiver_private[] = "-----BEGIN PRIVATE KEY-----\n"
                                       "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                       "-----END PRIVATE KEY-----\n";
static const char receiver_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                      "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                      "-----END PUBLIC KEY-----\n";
static const char other_private[] = "-----BEGIN PRIVATE KEY-----\n"
                                    "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n"
                                    "-----END PRIVATE KEY-----\n";

#define PUBLISHED_MAX 512
#define START_UNIX_MS 1700000000000
#define EXPIRES_MS (3600 * 1000)
#define REPUBLISH_MS (300 * 1000)
#define OFFLINE_AFTER_MS (90 * 1000)

typedef struct Published {
    char topic[256];
    char payload[8192];
} Published;

typedef struct Fixture {
    char folder[256];
    Store *store;
    KeyRing *ring;
    SigningKey *key, *other_key;
    Events *events; /* of fixture_start(); NULL: nobody is told */
    Control *control;
    int refuse; /* what publishing returns: 0, or a negative errno */
    size_t count;
    Published published[PUBLISHED_MAX];
} Fixture;

static int64_t now_ms;
static HistoryConfig history_config; /* of fixture_start() */

static int64_t fake_monotonic_ms(void)
{
    return now_ms;
}

static int64_t fake_unix_ms(void)
{
    return START_UNIX_MS + now_ms;
}

static int fake_publish(void *userdata, const char *topic, const void *payload, size_t size)
{
    Fixture *fixture = userdata;
    if (fixture->refuse)
        return fixture->refuse;
    assert_true(fixture->count < PUBLISHED_MAX);
    Published *published = &fixture->published[fixture->count++];
    (void)snprintf(published->topic, sizeof(published->topic), "%s", topic);
    (void)snprintf(published->payload, sizeof(published->payload), "%.*s", (int)size, (const char *)payload);
    return 0;
}

static const char *fixture_file(Fixture *fixture, const char *name, const char *text)
{
    static char path[300];
    int dir CLEANUP(close_fd) = open(fixture->folder, O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "%s/%s", fixture->folder, name);
    assert_int_equal(file_replace_at(dir, name, text, strlen(text), 0600), 0);
    return path;
}

/* Also after a restart: the same store again. */
static void fixture_start(Fixture *fixture)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/coordinator.db", fixture->folder);
    assert_int_equal(store_open(path, &fixture->store), 0);
    const ControlConfig config = {
        .store = fixture->store,
        .receipt_keys = fixture->ring,
        .ticket_key = fixture->key,
        .events = fixture->events,
        .publish = fake_publish,
        .publish_userdata = fixture,
        .expires_ms = EXPIRES_MS,
        .republish_ms = REPUBLISH_MS,
        .offline_after_ms = OFFLINE_AFTER_MS,
        .history = history_config,
        .monotonic_ms = fake_monotonic_ms,
        .unix_ms = fake_unix_ms,
    };
    assert_int_equal(control_new(&config, &fixture->control), 0);
    fixture->count = 0;
}

static void fixture_stop(Fixture *fixture)
{
    fixture->control = control_free(fixture->control);
    fixture->store = store_close(fixture->store);
}

static int setup(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    *state = fixture;
    now_ms = 1000;
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    assert_int_equal(signing_key_load(fixture_file(fixture, "key", receiver_private), &fixture->key), 0);
    assert_int_equal(signing_key_load(fixture_file(fixture, "key", other_private), &fixture->other_key), 0);
    char *path = strdup(fixture_file(fixture, "pub", receiver_public));
    assert_int_equal(key_ring_load(&path, 1, &fixture->ring, NULL), 0);
    free(path);
    fixture_start(fixture);
    control_on_connection(fixture->control, true);
    return 0;
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    fixture_stop(fixture);
    (void)key_ring_free(fixture->ring);
    (void)signing_key_free(fixture->key);
    (void)signing_key_free(fixture->other_key);
    temp_folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

static void hear(Fixture *fixture, const char *topic, const char *payload)
{
    control_on_message(fixture->control, topic, payload, strlen(payload), false);
}

/* For the three hours that its heartbeat is good for. */
static inline void come_online(Fixture *fixture, const char *client)
{
    char topic[256];
    (void)snprintf(topic, sizeof(topic), "beckon/v1/%s/presence", client);
    hear(fixture, topic,
         "{\"online\":true,\"since\":\"2026-11-21T11:06:04Z\",\"version\":\"0.1.0\",\"heartbeat\":3600}");
}

static inline void say_status(Fixture *fixture, const char *client, const char *id, const char *payload)
{
    char topic[256];
    (void)snprintf(topic, sizeof(topic), "beckon/v1/%s/status/%s", client, id);
    hear(fixture, topic, payload);
}

/* As a receiver with this key says it; the caller frees. */
static inline char *receipt_text(const SigningKey *key, const char *client, const char *id, const char *path)
{
    Receipt *receipt = calloc(1, sizeof(*receipt));
    char *token = NULL, stored[256];
    (void)snprintf(receipt->client, sizeof(receipt->client), "%s", client);
    (void)snprintf(receipt->upload, sizeof(receipt->upload), "%s", id);
    (void)snprintf(receipt->path, sizeof(receipt->path), "%s", path);
    (void)snprintf(receipt->issuer, sizeof(receipt->issuer), "receiver");
    receipt->size_bytes = 12;
    receipt->issued_unix_s = START_UNIX_MS / 1000;
    memset(receipt->sha256, 0xab, sizeof(receipt->sha256));
    assert_int_equal(receipt_sign(key, receipt, &token), 0);
    (void)snprintf(stored, sizeof(stored), "%s/%s/file", client, id);
    char *message = receipt_message_format(receipt, stored, "", START_UNIX_MS, token);
    free(token);
    free(receipt);
    return message;
}

/* topic_client is whose topic it is published on. */
static inline void say_receipt(Fixture *fixture, const SigningKey *key, const char *topic_client,
                               const char *client, const char *id, const char *path)
{
    char *message = receipt_text(key, client, id, path), topic[256];
    (void)snprintf(topic, sizeof(topic), "beckon/v1/%s/receipt/%s", topic_client, id);
    hear(fixture, topic, message);
    free(message);
}

static inline const Grant *everything(void)
{
    static Grant grant;
    grant_everything(&grant);
    return &grant;
}

/* A user who may do everything to the clients of one pattern. */
static inline Grant only(const char *user, const char *pattern)
{
    Grant grant = {.scopes = GRANT_READ | GRANT_PULL, .pattern_count = 1};
    (void)snprintf(grant.user, sizeof(grant.user), "%s", user);
    (void)snprintf(grant.patterns[0], sizeof(grant.patterns[0]), "%s", pattern);
    return grant;
}

static inline Request ask(Fixture *fixture, const char *client, const char *path)
{
    Problem problem = {0};
    Request request = {0};
    if (control_create(fixture->control, everything(), &(NewRequest){.client = client, .path = path},
                       &request, &problem) < 0)
        fail_msg("control_create: %s", problem.message);
    return request;
}

static inline Request look_up(Fixture *fixture, const char *client, const char *id)
{
    Problem problem = {0};
    Request request = {0};
    if (control_get(fixture->control, everything(), client, id, &request, &problem) < 0)
        fail_msg("control_get: %s", problem.message);
    return request;
}

static inline void expect_state(Fixture *fixture, const char *client, const char *id, UploadState state)
{
    Request request = look_up(fixture, client, id);
    if (request.state != state)
        fail_msg("%s/%s: expected %s, saw %s", client ? client : "any client", id, upload_state_name(state),
                 upload_state_name(request.state));
}

/* How often kind/id was published, "upload", "cancel" or "receipt". */
static inline size_t commands(const Fixture *fixture, const char *kind, const char *id)
{
    char end[128];
    size_t found = 0;
    (void)snprintf(end, sizeof(end), "/cmd/%s/%s", kind, id);
    for (size_t i = 0; i < fixture->count; i++)
        found += strstr(fixture->published[i].topic, end) != NULL;
    return found;
}

/* The clock goes on, with a tick each second. */
static inline void pass(Fixture *fixture, int64_t seconds)
{
    for (int64_t i = 0; i < seconds; i++) {
        now_ms += 1000;
        control_tick(fixture->control);
    }
}
