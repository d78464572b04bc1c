/* The coordinator between devices and callers. Each line of the input is a message on MQTT or a request of
 * REST:
 *
 *   beckon/v1/r1/status/a {"state":"running"}
 *   POST /download {"clientId":"r1","fileName":"/x"}
 *   ~GET /downloads?limit=5                         "~": by a user who may know of r1 only
 *
 * Every request is answered once, with JSON that is whole and printable; without a receipt's signature
 * nothing is ever completed; and that user never hears of another device. */
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

static void check_response(const HttpResponse *response, bool limited)
{
    bool redirect = response->status == 302;

    FUZZ_CHECK(response->status >= 200 && response->status < 600);
    for (size_t i = 0; i < response->header_count; i++)
        FUZZ_CHECK(fuzz_is_printable(response->headers[i].value, false));
    FUZZ_CHECK(redirect == (response->kind == HTTP_BODY_NONE));
    if (redirect)
        return;
    cJSON *object = json_parse_object(response->copy, response->size, SIZE_MAX);
    FUZZ_CHECK(object && fuzz_is_printable(response->copy, false));
    if (limited)
        check_limited(object);
    FUZZ_CHECK((response->status >= 400) == cJSON_HasObjectItem(object, "detail") || response->status == 503);
    FUZZ_CHECK(!strstr(response->copy, "\"status\":\"completed\""));
    cJSON_Delete(object);
}

static void read_query(char *text, HttpRequest *request)
{
    for (char *pair; (pair = fuzz_cut(&text, '&'));) {
        char *equals = strchr(pair, '=');
        if (equals)
            *equals = ':';
        fake_field_add(&request->query, pair);
    }
}

/* "METHOD /path?query body" */
static void ask(char *line, bool limited)
{
    HttpRequest request = {.method = line, .path = "/"};
    char authorization[1024], idempotency[] = "Idempotency-Key: k";

    (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s",
                   limited ? limited_token : TOKEN);
    (void)fuzz_cut(&line, ' ');
    if (line)
        request.path = line;
    (void)fuzz_cut(&line, ' ');
    request.body = line;
    char *query = strchr(request.path, '?');
    if (query) {
        *query++ = '\0';
        read_query(query, &request);
    }
    fake_field_add(&request.headers, authorization);
    if (request.body && strstr(request.body, "again"))
        fake_field_add(&request.headers, idempotency);
    fake_http_run(&request, &rest_handlers, &rest);
    if (request.response)
        check_response(request.response, limited);
    fake_http_deinit(&request);
}

static void hear(Control *control, char *line)
{
    char *topic = fuzz_cut(&line, ' ');

    control_on_message(control, topic, line ? line : "", line ? strlen(line) : 0, false);
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
    const ControlConfig config = {.store = store,
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
    for (char *line; (line = fuzz_cut(&rest_of_text, '\n'));) {
        if (strncmp(line, "beckon/", 7) == 0)
            hear(rest.control, line);
        else if (*line)
            ask(line + (*line == '~'), *line == '~');
        now_ms += 60000;
        control_tick(rest.control);
    }
    rest.control = control_free(rest.control);
    (void)store_close(store);
    free(text);
    return 0;
}
