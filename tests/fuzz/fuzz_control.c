/* The coordinator between devices and callers. Each line of the input is a message on MQTT or a request of
 * REST:
 *
 *   beckon/v1/r1/status/a {"state":"running"}
 *   POST /download {"clientId":"r1","fileName":"/x"}
 *   ~GET /downloads?limit=5                         "~": by a user who may know of r1 only
 *
 * Both callers listen to GET /events all the time. Every request is answered once, with JSON that is whole
 * and printable, and so is every event; without a receipt's signature nothing is ever completed; and that
 * user never hears of another device, or of another's batch. */
#include "fake_http.h"
#include "fuzz.h"
#include "signed.h"

#include "common/json.h"
#include "common/log.h"
#include "coordinator/rest.h"
#include "protocol/grant.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define TOKEN "a secret of thirty-two characters"

static char folder[] = "/dev/shm/beckon-fuzz-XXXXXX";
static SigningKey *key;
static KeyRing *ring;
static Rest rest;
static char *limited_token; /* read and pull, for r1 */
static int64_t now_ms;

static int64_t fake_monotonic_ms(void)
{
    return now_ms;
}

static int64_t fake_unix_ms(void)
{
    return 1700000000000 + now_ms;
}

static int publish(void *userdata, const char *topic, const void *payload, size_t size)
{
    char *text = fuzz_text(payload, size);
    cJSON *object = json_parse_object(text, size, MESSAGE_MAX);

    (void)userdata;
    FUZZ_CHECK(object && fuzz_is_printable(topic, false));
    cJSON_Delete(object);
    free(text);
    return 0;
}

static void remove_folder(void)
{
    if (chdir(folder) == 0) {
        (void)unlink(":memory:");
        (void)unlink(":memory:.lock");
        (void)rmdir(folder);
    }
    (void)signing_key_free(key);
    (void)key_ring_free(ring);
    free(limited_token);
}

static void make_limited_token(void)
{
    static Grant grant = {.user = "anna",
                          .scopes = GRANT_READ | GRANT_PULL,
                          .pattern_count = 1,
                          .patterns = {"r1"},
                          .expires_unix_s = 9000000000};

    FUZZ_CHECK(grant_sign(key, &grant, &limited_token) == 0);
}

static void load(void)
{
    log_setup("fuzz", LOG_LEVEL_ERROR, false);
    FUZZ_CHECK(mkdtemp(folder));
    (void)atexit(remove_folder);
    FUZZ_CHECK(signing_key_load(fuzz_file(signed_private_key, strlen(signed_private_key)), &key) == 0);
    char *path = strdup(fuzz_file(signed_public_key, strlen(signed_public_key)));
    FUZZ_CHECK(path && key_ring_load(&path, 1, &ring, NULL) == 0);
    free(path);
    FUZZ_CHECK(secret_load(fuzz_file(TOKEN "\n", sizeof(TOKEN)), &rest.access.secret) == 0);
    rest.access.has_secret = true;
    rest.access.keys = ring;
    rest.ticket_key = key;
    make_limited_token();
    rest.receiver_url = "https://receiver.example:8443";
}

/* No member that names a device names another one than r1. */
static void check_limited(const cJSON *item)
{
    const cJSON *child = NULL;

    cJSON_ArrayForEach(child, item)
    {
        bool names =
            child->string && (strcmp(child->string, "clientId") == 0 || strcmp(child->string, "id") == 0);
        bool in_list = item->string && strcmp(item->string, "knownClients") == 0;
        FUZZ_CHECK(!(names || in_list) || strcmp(child->valuestring, "r1") == 0);
        if (!names && !(child->string && strcmp(child->string, "labels") == 0))
            check_limited(child);
    }
}

/* Returns whether it is a problem. */
static bool check_json(const char *text, size_t size, bool limited)
{
    cJSON *object = json_parse_object(text, size, SIZE_MAX);

    FUZZ_CHECK(object && fuzz_is_printable(text, false));
    if (limited)
        check_limited(object);
    FUZZ_CHECK(!strstr(text, "\"status\":\"completed\""));
    bool is_problem = cJSON_HasObjectItem(object, "detail");
    cJSON_Delete(object);
    return is_problem;
}

/* Lines as the contract has them, and one line of JSON each. A user's batches are his own. */
static void check_events(char *text, bool limited)
{
    const char *kind = "";

    for (char *line; (line = fuzz_cut(&text, '\n'));) {
        if (strncmp(line, "event: ", 7) == 0) {
            kind = line + 7;
        } else if (strncmp(line, "data: ", 6) != 0) {
            FUZZ_CHECK(!*line || strcmp(line, ":") == 0 || strcmp(line, "retry: 2000") == 0 ||
                       strncmp(line, "id: ", 4) == 0);
        } else {
            (void)check_json(line + 6, strlen(line + 6), limited);
            FUZZ_CHECK(!limited || strcmp(kind, "batch") != 0 || strstr(line, "\"createdBy\":\"anna\""));
        }
    }
}

static void drain(HttpRequest *request, bool limited)
{
    static char buf[HTTP_STREAM_MIN + 1];

    while (fake_stream_read(request, buf))
        check_events(buf, limited);
}

static const char *type_of(const HttpResponse *response)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (strcmp(response->headers[i].name, "Content-Type") == 0)
            return response->headers[i].value;
    return "";
}

static void check_response(HttpRequest *request, bool limited)
{
    const HttpResponse *response = request->response;

    FUZZ_CHECK(response->status >= 200 && response->status < 600);
    for (size_t i = 0; i < response->header_count; i++)
        FUZZ_CHECK(fuzz_is_printable(response->headers[i].value, false));
    FUZZ_CHECK((response->status == 302) == (response->kind == HTTP_BODY_NONE));
    if (response->kind == HTTP_BODY_STREAM)
        drain(request, limited);
    if (response->kind != HTTP_BODY_COPY)
        return;
    if (!strstr(type_of(response), "json")) { /* the figures */
        FUZZ_CHECK(response->status == 200 && fuzz_is_printable(response->copy, true));
        return;
    }
    bool is_problem = check_json(response->copy, response->size, limited);
    FUZZ_CHECK((response->status >= 400) == is_problem || response->status == 503);
}

static void read_query(char *text, HttpRequest *request)
{
    for (char *pair; (pair = fuzz_cut(&text, '&'));) {
        char *equals = strchr(pair, '=');
        if (equals)
            *equals = ':';
        else if (request->query.count < FAKE_FIELDS_MAX)
            request->query.items[request->query.count++].name = pair;
        fake_field_add(&request->query, pair);
    }
}

/* "METHOD /path?query body". The answer is left in request, to be freed. */
static void ask(HttpRequest *request, char *line, bool limited)
{
    char authorization[1024], idempotency[] = "Idempotency-Key: k";

    *request = (HttpRequest){.method = line, .path = "/"};
    (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s",
                   limited ? limited_token : TOKEN);
    (void)fuzz_cut(&line, ' ');
    if (line)
        request->path = line;
    (void)fuzz_cut(&line, ' ');
    request->body = line;
    char *query = strchr(request->path, '?');
    if (query) {
        *query++ = '\0';
        read_query(query, request);
    }
    fake_field_add(&request->headers, authorization);
    if (request->body && strstr(request->body, "again"))
        fake_field_add(&request->headers, idempotency);
    fake_http_run(request, &rest_handlers, &rest);
    if (request->response)
        check_response(request, limited);
}

static void listen_all(HttpRequest *request, bool limited)
{
    char line[] = "GET /events";

    ask(request, line, limited);
    FUZZ_CHECK(request->response && request->response->kind == HTTP_BODY_STREAM);
}

static void hear(Control *control, char *line)
{
    char *topic = fuzz_cut(&line, ' ');

    control_on_message(control, topic, line ? line : "", line ? strlen(line) : 0, false);
}

static void take_line(char *line)
{
    bool limited = *line == '~';

    if (strncmp(line, "beckon/", 7) == 0) {
        hear(rest.control, line);
    } else if (*line) {
        HttpRequest request;
        ask(&request, line + limited, limited);
        fake_http_deinit(&request);
    }
}

/* A database in memory; the files that belong to its name are left in a folder of their own. */
static Store *open_store(void)
{
    Store *store = NULL;
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    FUZZ_CHECK(here >= 0 && chdir(folder) == 0);
    FUZZ_CHECK(store_open(":memory:", &store) == 0);
    FUZZ_CHECK(fchdir(here) == 0 && close(here) == 0);
    return store;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *rest_of_text = text;

    if (!key)
        load();
    now_ms = 1000;
    Store *store = open_store();
    FUZZ_CHECK(events_new(fake_unix_ms(), &rest.events) == 0);
    const ControlConfig config = {.store = store,
                                  .events = rest.events,
                                  .receipt_keys = ring,
                                  .ticket_key = key,
                                  .publish = publish,
                                  .expires_ms = 3600000,
                                  .republish_ms = 300000,
                                  .offline_after_ms = 90000,
                                  .monotonic_ms = fake_monotonic_ms,
                                  .unix_ms = fake_unix_ms};
    FUZZ_CHECK(control_new(&config, &rest.control) == 0);
    control_on_connection(rest.control, true);
    HttpRequest readers[2];
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
        listen_all(&readers[i], i == 1);
    for (char *line; (line = fuzz_cut(&rest_of_text, '\n'));) {
        take_line(line);
        now_ms += 60000;
        control_tick(rest.control);
        events_tick(rest.events, now_ms, fake_unix_ms());
        for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
            drain(&readers[i], i == 1);
    }
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
        fake_http_deinit(&readers[i]);
    rest.control = control_free(rest.control);
    rest.events = events_free(rest.events);
    (void)store_close(store);
    free(text);
    return 0;
}
