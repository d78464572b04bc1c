/* The coordinator between devices and callers. Each line of the input is a message on MQTT or a request of
 * REST:
 *
 *   beckon/v1/r1/status/a {"state":"running"}
 *   POST /download {"clientId":"r1","fileName":"/x"}
 *   GET /downloads?client=r1&limit=5
 *
 * Every request is answered once, with JSON that is whole; and without a receipt's signature nothing is ever
 * completed. */
#include "fake_http.h"
#include "fuzz.h"

#include "common/json.h"
#include "common/log.h"
#include "coordinator/rest.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define TOKEN "a secret of thirty-two characters"

/* RFC 8037 appendix A.1. */
static const char private_key[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
static const char public_key[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";

static char folder[] = "/dev/shm/beckon-fuzz-XXXXXX";
static SigningKey *key;
static KeyRing *ring;
static Rest rest;
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
}

static void load(void)
{
    log_setup("fuzz", LOG_LEVEL_ERROR, false);
    FUZZ_CHECK(mkdtemp(folder));
    (void)atexit(remove_folder);
    FUZZ_CHECK(signing_key_load(fuzz_file(private_key, strlen(private_key)), &key) == 0);
    char *path = strdup(fuzz_file(public_key, strlen(public_key)));
    FUZZ_CHECK(path && key_ring_load(&path, 1, &ring, NULL) == 0);
    free(path);
    FUZZ_CHECK(secret_load(fuzz_file(TOKEN "\n", sizeof(TOKEN)), &rest.secret) == 0);
    rest.ticket_key = key;
    rest.receiver_url = "https://receiver.example:8443";
}

static void check_response(const HttpResponse *response)
{
    bool redirect = response->status == 302;

    FUZZ_CHECK(response->status >= 200 && response->status < 600);
    for (size_t i = 0; i < response->header_count; i++)
        FUZZ_CHECK(fuzz_is_printable(response->headers[i].value, false));
    FUZZ_CHECK(redirect == (response->kind == HTTP_BODY_NONE));
    if (redirect)
        return;
    cJSON *object = json_parse_object(response->copy, response->size, SIZE_MAX);
    FUZZ_CHECK(object);
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
static void ask(char *line)
{
    HttpRequest request = {.method = line, .path = "/"};
    char authorization[] = "Authorization: Bearer " TOKEN, idempotency[] = "Idempotency-Key: k";

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
        check_response(request.response);
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
            ask(line);
        now_ms += 60000;
        control_tick(rest.control);
    }
    rest.control = control_free(rest.control);
    (void)store_close(store);
    free(text);
    return 0;
}
