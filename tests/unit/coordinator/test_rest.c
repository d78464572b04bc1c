/* The REST API as a caller sees it: the real server on a loopback port, and libcurl. */
#include "common/clock.h"
#include "common/json.h"
#include "control_fixture.h"
#include "coordinator/rest.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TOKEN "a secret of thirty-two characters"

typedef struct Answer {
    long status;
    char headers[4096];
    char body[200000];
    size_t headers_size, body_size;
    cJSON *json; /* NULL: no body, or not JSON */
} Answer;

typedef struct Api {
    Fixture *fixture;
    Rest rest;
    KeyRing *operators;
    HttpServer *server;
    uint16_t port;
    char certificate[300];
    Answer answer;
} Api;

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd CLEANUP(close_fd) = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

static void make_certificate(const char *key, const char *certificate)
{
    pid_t child = fork();
    if (child == 0) {
        (void)freopen("/dev/null", "w", stderr);
        execlp("openssl", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
               "-out", certificate, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int api_setup(void **state)
{
    Api *api = calloc(1, sizeof(*api));
    void *fixture = NULL;
    char key[300];
    assert_int_equal(setup(&fixture), 0);
    api->fixture = fixture;
    *state = api;
    (void)snprintf(key, sizeof(key), "%s/server.key", api->fixture->folder);
    (void)snprintf(api->certificate, sizeof(api->certificate), "%s/server.crt", api->fixture->folder);
    make_certificate(key, api->certificate);
    assert_int_equal(secret_load(fixture_file(api->fixture, "token", TOKEN "\n"), &api->rest.access.secret),
                     0);
    api->rest.access.has_secret = true;
    assert_int_equal(key_ring_of(api->fixture->other_key, &api->operators), 0);
    api->rest.access.keys = api->operators;
    api->rest.control = api->fixture->control;
    api->rest.ticket_key = api->fixture->other_key;
    api->rest.receiver_url = "https://receiver.example:8443";
    HttpServerConfig config = {.address = "127.0.0.1",
                               .cert_file = api->certificate,
                               .key_file = key,
                               .threads = HTTP_ONE_THREAD,
                               .connections_max = 16,
                               .idle_timeout_s = 10};
    int r = -1;
    for (int i = 0; r < 0 && i < 5; i++) { /* somebody else may have taken the port meanwhile */
        config.port = api->port = free_port();
        r = http_server_new(&config, &rest_handlers, &api->rest, &api->server);
    }
    return r;
}

static int api_teardown(void **state)
{
    Api *api = *state;
    void *fixture = api->fixture;
    (void)http_server_free(api->server);
    (void)key_ring_free(api->operators);
    (void)audit_close(api->rest.audit);
    cJSON_Delete(api->answer.json);
    free(api);
    return teardown(&fixture);
}

static size_t append(char *buf, size_t size, size_t *used, const char *data, size_t count)
{
    assert_true(*used + count < size);
    memcpy(buf + *used, data, count);
    *used += count;
    buf[*used] = '\0';
    return count;
}

static size_t on_header(char *data, size_t size, size_t count, void *userdata)
{
    Answer *answer = userdata;
    return append(answer->headers, sizeof(answer->headers), &answer->headers_size, data, size * count);
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
    Answer *answer = userdata;
    return append(answer->body, sizeof(answer->body), &answer->body_size, data, size * count);
}

typedef struct Ask {
    const char *method, *path, *body, *token, *header;
} Ask;

/* The status; the rest is in api->answer. */
static long call_api(Api *api, const Ask *ask)
{
    char url[512], bearer[8192 + 64];
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    Answer *answer = &api->answer;
    cJSON_Delete(answer->json);
    memset(answer, 0, sizeof(*answer));
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u%s", api->port, ask->path);
    (void)snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s", ask->token ? ask->token : "");
    if (ask->token)
        headers = curl_slist_append(headers, bearer);
    if (ask->header)
        headers = curl_slist_append(headers, ask->header);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, api->certificate);
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (ask->body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(ask->body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask->body);
    }
    if (strcmp(ask->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask->method);
    CURLcode r = curl_easy_perform(curl);
    if (r != CURLE_OK)
        fail_msg("%s %s: %s", ask->method, ask->path, curl_easy_strerror(r));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    answer->json = cJSON_Parse(answer->body);
    return answer->status;
}

static long get(Api *api, const char *path)
{
    return call_api(api, &(Ask){.method = "GET", .path = path, .token = TOKEN});
}

static long post(Api *api, const char *body)
{
    return call_api(api, &(Ask){.method = "POST", .path = "/download", .token = TOKEN, .body = body});
}

static const char *text(Api *api, const char *name)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(api->answer.json, name));
    return value ? value : "(none)";
}

static bool has_null(Api *api, const char *name)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(api->answer.json, name));
}

static void expect_problem(Api *api, long status, const char *code, const char *reason)
{
    assert_int_equal(api->answer.status, status);
    assert_non_null(strcasestr(api->answer.headers, "content-type: application/problem+json"));
    assert_string_equal(text(api, "code"), code);
    assert_string_equal(text(api, "reason"), reason);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(api->answer.json, "status")), status);
}

/* --- tests --- */

static void health_needs_no_token_and_the_rest_does(void **state)
{
    static const char *const open[] = {"/health", "/livez", "/readyz"};
    static const char *const closed[] = {"/clients", "/clients/dev1", "/downloads", "/download/x",
                                         "/download/x/content"};
    Api *api = *state;
    for (size_t i = 0; i < ARRAY_SIZE(open); i++) {
        assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = open[i]}), 200);
        assert_string_equal(text(api, "status"), "ok");
    }
    for (size_t i = 0; i < ARRAY_SIZE(closed); i++) {
        (void)call_api(api, &(Ask){.method = "GET", .path = closed[i]});
        expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
        (void)call_api(api, &(Ask){.method = "GET", .path = closed[i], .token = TOKEN "x"});
        expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
    }
    (void)call_api(api, &(Ask){.method = "POST", .path = "/download", .body = "{}"});
    expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
    (void)call_api(api, &(Ask){.method = "GET", .path = "/clients", .token = ""});
    expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
    control_on_connection(api->fixture->control, false);
    assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = "/readyz"}), 503);
    assert_int_equal(call_api(api, &(Ask){.method = "HEAD", .path = "/health"}), 200);
}

static void a_main_thread_that_hangs_is_no_longer_alive(void **state)
{
    Api *api = *state;
    atomic_store(&api->rest.turned_ms, clock_monotonic_ms());
    assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = "/livez"}), 200);
    atomic_store(&api->rest.turned_ms, clock_monotonic_ms() - 61000);
    assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = "/livez"}), 503);
    assert_string_equal(text(api, "status"), "the main thread hangs");
    assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = "/readyz"}), 200);
}

static void what_the_api_does_not_have_is_said(void **state)
{
    Api *api = *state;
    (void)get(api, "/nothing");
    expect_problem(api, 404, "not_found", "NO_SUCH_PATH");
    (void)get(api, "/download/");
    expect_problem(api, 404, "not_found", "NO_SUCH_PATH");
    (void)get(api, "/download/x/other");
    expect_problem(api, 404, "not_found", "NO_SUCH_PATH");
    (void)get(api, "/download/..%2f..%2fetc");
    expect_problem(api, 404, "not_found", "UNKNOWN_REQUEST");
    (void)call_api(api, &(Ask){.method = "PATCH", .path = "/download/x", .token = TOKEN});
    expect_problem(api, 405, "invalid_argument", "METHOD_NOT_ALLOWED");
    assert_non_null(strcasestr(api->answer.headers, "allow: GET, DELETE"));
}

static void an_unknown_client_is_told_the_known_ones(void **state)
{
    Api *api = *state;
    come_online(api->fixture, "restaurant_1");
    (void)post(api, "{\"clientId\":\"restaurant_2\",\"fileName\":\"/srv/x\"}");
    expect_problem(api, 404, "not_found", "UNKNOWN_CLIENT");
    cJSON *known = cJSON_GetObjectItem(api->answer.json, "knownClients");
    assert_int_equal(cJSON_GetArraySize(known), 1);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(known, 0)), "restaurant_1");
}

static void bodies_that_make_no_sense_are_refused(void **state)
{
    static const char *const bodies[] = {
        "x",
        "[]",
        "{}",
        "{\"clientId\":\"dev1\"}",
        "{\"clientId\":1,\"fileName\":\"/x\"}",
        "{\"clientId\":\"../x\",\"fileName\":\"/x\"}",
        "{\"clientId\":\"dev1\",\"fileName\":\"/x\",\"expires\":0}",
        "{\"clientId\":\"dev1\",\"fileName\":\"/x\",\"expires\":1e15}",
        "{\"clientId\":\"dev1\",\"fileName\":\"/x\",\"maxSize\":-1}",
        "{\"clientId\":\"dev1\",\"fileName\":\"/x\",\"rate\":1.5}",
        "{\"clientId\":\"dev1\",\"fileName\":\"/x\",\"receiver\":\"https://evil.example\"}",
        "{\"clientId\":\"dev1\",\"fileName\":\"/a\\u0000b\"}",
    };
    Api *api = *state;
    come_online(api->fixture, "dev1");
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        (void)post(api, bodies[i]);
        expect_problem(api, 400, "invalid_argument", "INVALID_BODY");
    }
    (void)post(api, "{\"clientId\":\"dev1\",\"fileName\":\"\"}");
    expect_problem(api, 400, "invalid_argument", "INVALID_PATH");
    char *large = calloc(1, 100001);
    memset(large, ' ', 100000);
    (void)post(api, large);
    expect_problem(api, 413, "invalid_argument", "BODY_TOO_LARGE");
    free(large);
    assert_int_equal(api->fixture->count, 0);
}

static void a_member_that_is_null_says_nothing_of_whom_is_meant(void **state)
{
    Api *api = *state;
    come_online(api->fixture, "dev1");
    assert_int_equal(post(api,
                          "{\"clientId\":\"dev1\",\"fileName\":\"/srv/x\",\"clients\":null,\"labels\":null,"
                          "\"all\":null}"),
                     202);
    assert_true(upload_id_is_valid(text(api, "requestId")));
    assert_int_equal(post(api,
                          "{\"clientId\":null,\"fileName\":\"/srv/x\",\"clients\":[\"dev1\"],\"labels\":null,"
                          "\"all\":null}"),
                     202);
    assert_true(upload_id_is_valid(text(api, "batchId")));
}

static void a_request_goes_its_way(void **state)
{
    Api *api = *state;
    char id[UPLOAD_ID_SIZE], path[128];
    come_online(api->fixture, "dev1");
    assert_int_equal(
        post(api, "{\"clientId\":\"dev1\",\"fileName\":\"/srv/x\",\"maxSize\":100,\"rate\":7,\"expires\":60,"
                  "\"receiver\":\"second\"}"),
        202);
    (void)snprintf(id, sizeof(id), "%s", text(api, "requestId"));
    assert_string_equal(text(api, "clientId"), "dev1");
    assert_string_equal(text(api, "fileName"), "/srv/x");
    assert_true(upload_id_is_valid(id));
    static const char asked[] =
        "{\"path\":\"/srv/x\",\"expires\":1700000061,\"max_size\":100,\"rate\":7,\"receiver\":\"second\","
        "\"ticket\":\"";
    assert_memory_equal(api->fixture->published[0].payload, asked, strlen(asked));

    (void)snprintf(path, sizeof(path), "/download/%s", id);
    assert_int_equal(get(api, path), 200);
    assert_string_equal(text(api, "status"), "queued");
    assert_string_equal(text(api, "origin"), "rest");
    assert_true(has_null(api, "size") && has_null(api, "sha256") && has_null(api, "filePath") &&
                has_null(api, "startedAt") && has_null(api, "completedAt") && has_null(api, "error"));
    (void)snprintf(path, sizeof(path), "/download/%s/content", id);
    (void)get(api, path);
    expect_problem(api, 409, "failed_precondition", "NOT_COMPLETED");
    assert_string_equal(text(api, "message"),
                        "There is no verified file: the request is queued; wait until it is completed.");

    say_receipt(api->fixture, api->fixture->key, "dev1", "dev1", id, "/srv/x");
    (void)snprintf(path, sizeof(path), "/download/%s", id);
    assert_int_equal(get(api, path), 200);
    assert_string_equal(text(api, "status"), "completed");
    assert_int_equal(strlen(text(api, "sha256")), 64);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(api->answer.json, "history")), 2);
    (void)call_api(api, &(Ask){.method = "DELETE", .path = path, .token = TOKEN});
    expect_problem(api, 409, "failed_precondition", "ALREADY_FINAL");
}

static void content_is_a_redirect_with_a_ticket_for_a_minute(void **state)
{
    Api *api = *state;
    char location[2048] = "", start[] = "https://receiver.example:8443/v1/uploads/t1?ticket=";
    say_receipt(api->fixture, api->fixture->key, "dev1", "dev1", "t1", "/srv/x y");
    assert_int_equal(get(api, "/download/t1/content"), 302);
    const char *header = strcasestr(api->answer.headers, "location: ");
    assert_non_null(header);
    assert_int_equal(sscanf(header + 10, "%2047s", location), 1);
    assert_memory_equal(location, start, strlen(start));
    assert_null(strstr(location, "secret"));

    static const char public[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n"
                                 "-----END PUBLIC KEY-----\n";
    char *key = strdup(fixture_file(api->fixture, "ticket.pub", public));
    KeyRing *ring = NULL;
    Ticket ticket;
    int64_t now_s = (int64_t)time(NULL);
    assert_int_equal(key_ring_load(&key, 1, &ring, NULL), 0);
    assert_int_equal(ticket_verify(ring, location + strlen(start), now_s, &ticket), 0);
    assert_int_equal(ticket.scope, TICKET_DOWNLOAD);
    assert_string_equal(ticket.client, "dev1");
    assert_string_equal(ticket.upload, "t1");
    assert_string_equal(ticket.path, "/srv/x y");
    assert_int_equal(ticket.expires_unix_s - ticket.issued_unix_s, 60);
    (void)key_ring_free(ring);
    free(key);
}

static void equal_ids_of_two_clients_need_the_clients_name(void **state)
{
    Api *api = *state;
    say_status(api->fixture, "dev1", "t1", "{\"state\":\"accepted\",\"path\":\"/srv/x\"}");
    say_status(api->fixture, "dev2", "t1", "{\"state\":\"running\",\"path\":\"/srv/y\"}");
    (void)get(api, "/download/t1");
    expect_problem(api, 409, "failed_precondition", "AMBIGUOUS_ID");
    assert_int_equal(get(api, "/download/t1?clientId=dev2"), 200);
    assert_string_equal(text(api, "fileName"), "/srv/y");
    assert_string_equal(text(api, "origin"), "mqtt");
    assert_int_equal(get(api, "/download/t1?clientId=dev3"), 404);
}

static void a_cancel_is_accepted_and_told_to_the_device(void **state)
{
    Api *api = *state;
    say_status(api->fixture, "dev1", "t1", "{\"state\":\"running\",\"path\":\"/srv/x\"}");
    assert_int_equal(call_api(api, &(Ask){.method = "DELETE", .path = "/download/t1", .token = TOKEN}), 202);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(api->answer.json, "cancelRequested")));
    assert_string_equal(text(api, "status"), "running");
    assert_int_equal(commands(api->fixture, "cancel", "t1"), 1);
}

static void an_idempotency_key_is_honoured(void **state)
{
    Api *api = *state;
    char id[UPLOAD_ID_SIZE];
    Ask ask = {.method = "POST",
               .path = "/download",
               .token = TOKEN,
               .header = "Idempotency-Key: k1",
               .body = "{\"clientId\":\"dev1\",\"fileName\":\"/srv/x\"}"};
    come_online(api->fixture, "dev1");
    assert_int_equal(call_api(api, &ask), 202);
    (void)snprintf(id, sizeof(id), "%s", text(api, "requestId"));
    assert_int_equal(call_api(api, &ask), 202);
    assert_string_equal(text(api, "requestId"), id);
    ask.body = "{\"clientId\":\"dev1\",\"fileName\":\"/srv/y\"}";
    (void)call_api(api, &ask);
    expect_problem(api, 422, "already_exists", "IDEMPOTENCY_KEY_REUSED");
}

static void an_empty_idempotency_key_is_none_and_refused(void **state)
{
    static const char *const bodies[] = {"{\"clientId\":\"dev1\",\"fileName\":\"/srv/x\"}",
                                         "{\"all\":true,\"fileName\":\"/srv/x\"}"};
    Api *api = *state;
    come_online(api->fixture, "dev1");
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        (void)call_api(api, &(Ask){.method = "POST",
                                   .path = "/download",
                                   .token = TOKEN,
                                   .header = "Idempotency-Key;", /* libcurl's way to send an empty one */
                                   .body = bodies[i]});
        expect_problem(api, 400, "invalid_argument", "INVALID_IDEMPOTENCY_KEY");
    }
    assert_int_equal(api->fixture->count, 0);
}

static void downloads_come_in_pages(void **state)
{
    Api *api = *state;
    char path[128];
    for (int i = 0; i < 5; i++) {
        (void)snprintf(path, sizeof(path), "t%d", i);
        say_status(api->fixture, i == 2 ? "dev2" : "dev1", path,
                   "{\"state\":\"accepted\",\"path\":\"/srv/x\"}");
    }
    assert_int_equal(get(api, "/downloads?limit=3"), 200);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(api->answer.json, "count")), 3);
    (void)snprintf(path, sizeof(path), "/downloads?limit=3&cursor=%s", text(api, "nextCursor"));
    assert_int_equal(get(api, path), 200);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(api->answer.json, "count")), 2);
    assert_true(has_null(api, "nextCursor"));
    assert_int_equal(get(api, "/downloads?client=dev2&status=accepted"), 200);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(api->answer.json, "count")), 1);
    static const char *const bad[] = {
        "limit=0",      "limit=501",           "limit=x",      "cursor=0",    "cursor=1",
        "cursor=dev1/", "cursor=dev1/nothing", "cursor=a/b/c", "status=done", "status=x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        (void)snprintf(path, sizeof(path), "/downloads?%s", bad[i]);
        (void)get(api, path);
        expect_problem(api, 400, "invalid_argument", "INVALID_QUERY");
    }
}

/* Or whoever cancels what such a list has cancels everything. */
static void a_filter_that_would_not_count_is_refused(void **state)
{
    static const struct {
        const char *path, *names;
    } bad[] = {
        {"/downloads?clientId=dev1", "\"clientId\""},
        {"/downloads?client=dev1&batchId=b", "\"batchId\""},
        {"/downloads?Client=dev1", "\"Client\""},
        {"/downloads?clien%74=dev1", "\"clien%74\""},
        {"/downloads?=dev1", "\"\""},
        {"/downloads?client", "client must"},
        {"/downloads?limit=1&client&status=queued", "client must"},
        {"/downloads?status", "status must"},
        {"/downloads?stat", "\"stat\""},
        {"/downloads?batch=", "batch must"},
        {"/batches?state=done", "\"state\""},
        {"/batches?limit", "limit must"},
        {"/clients?label=site", "takes none"},
        {"/events?request=x", "\"request\""},
        {"/events?requestId", "requestId must"},
    };
    static const char *const good[] = {"/downloads?&client=dev1", "/downloads?client=&limit=1",
                                       "/batches?limit=1",        "/clients",
                                       "/clients/dev1?x=y",       "/health?x=y"};
    Api *api = *state;
    come_online(api->fixture, "dev1");
    say_status(api->fixture, "dev1", "t1", "{\"state\":\"running\",\"path\":\"/srv/x\"}");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        (void)get(api, bad[i].path);
        expect_problem(api, 400, "invalid_argument", "INVALID_QUERY");
        if (!strstr(text(api, "message"), bad[i].names))
            fail_msg("%s: %s", bad[i].path, text(api, "message"));
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (get(api, good[i]) != 200)
            fail_msg("%s: %s", good[i], text(api, "message"));
}

static void clients_are_listed(void **state)
{
    Api *api = *state;
    hear(api->fixture, "beckon/v1/dev2/presence", "{\"online\":false}");
    hear(api->fixture, "beckon/v1/dev1/presence",
         "{\"online\":true,\"since\":\"2026-11-21T11:06:04.123Z\",\"labels\":{\"site\":\"a\\\"b\"}}");
    assert_int_equal(get(api, "/clients"), 200);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(api->answer.json, "count")), 2);
    assert_int_equal(get(api, "/clients/dev1"), 200);
    assert_string_equal(text(api, "connectedAt"), "2026-11-21T11:06:04.123Z");
    cJSON *labels = cJSON_GetObjectItem(api->answer.json, "labels");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(labels, "site")), "a\"b");
    assert_int_equal(get(api, "/clients/dev2"), 200);
    assert_true(has_null(api, "lastHeartbeat"));
    assert_int_equal(get(api, "/clients/dev3"), 404);
}

/* --- users --- */

/* A token of the key that the coordinator trusts. The caller frees. */
static char *token_of(Api *api, const char *user, unsigned scopes, const char *pattern)
{
    char *token = NULL;
    Grant grant = only(user, pattern);
    grant.scopes = scopes;
    grant.issued_unix_s = time(NULL);
    grant.expires_unix_s = grant.issued_unix_s + 60;
    assert_int_equal(grant_sign(api->fixture->other_key, &grant, &token), 0);
    return token;
}

static long call_as(Api *api, const char *token, const char *method, const char *path)
{
    return call_api(api, &(Ask){.method = method, .path = path, .token = token});
}

static void expect_challenge(Api *api, const char *challenge)
{
    char header[200];
    (void)snprintf(header, sizeof(header), "\nwww-authenticate: %s\r\n", challenge);
    if (!strcasestr(api->answer.headers, header))
        fail_msg("expected %s, saw %s", header, api->answer.headers);
}

static void scopes_say_which_calls_may_be_made(void **state)
{
    static const struct {
        const char *method, *path;
        unsigned scope;
    } calls[] = {
        {"GET", "/clients", GRANT_READ},
        {"GET", "/clients/dev1", GRANT_READ},
        {"GET", "/downloads", GRANT_READ},
        {"GET", "/download/t1", GRANT_READ},
        {"POST", "/download", GRANT_PULL},
        {"DELETE", "/download/t1", GRANT_PULL},
        {"GET", "/download/t1/content", GRANT_PULL},
    };
    Api *api = *state;
    come_online(api->fixture, "dev1");
    say_status(api->fixture, "dev1", "t1", "{\"state\":\"running\",\"path\":\"/srv/x\"}");
    for (unsigned scopes = GRANT_READ; scopes <= GRANT_ADMIN; scopes++) {
        char *token CLEANUP(free_ptr) = token_of(api, "alice", scopes, "*");
        for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
            bool allowed = scopes & GRANT_ADMIN || scopes & calls[i].scope;
            long status = call_as(api, token, calls[i].method, calls[i].path);
            if ((status == 403) == allowed)
                fail_msg("%s %s with scopes %u: %ld", calls[i].method, calls[i].path, scopes, status);
            if (allowed)
                continue;
            expect_problem(api, 403, "permission_denied", "INSUFFICIENT_SCOPE");
            expect_challenge(api, calls[i].scope == GRANT_READ
                                      ? "Bearer error=\"insufficient_scope\", scope=\"read\""
                                      : "Bearer error=\"insufficient_scope\", scope=\"pull\"");
        }
    }
}

static void a_bad_token_is_refused_before_anything_else(void **state)
{
    Api *api = *state;
    Grant grant = only("alice", "*");
    char *expired CLEANUP(free_ptr) = NULL, *foreign CLEANUP(free_ptr) = NULL;
    grant.issued_unix_s = time(NULL) - 60;
    grant.expires_unix_s = grant.issued_unix_s + 60;
    assert_int_equal(grant_sign(api->fixture->other_key, &grant, &expired), 0);
    grant.expires_unix_s += 600;
    assert_int_equal(grant_sign(api->fixture->key, &grant, &foreign), 0);

    (void)call_as(api, expired, "GET", "/clients");
    expect_problem(api, 401, "unauthenticated", "TOKEN_EXPIRED");
    expect_challenge(api, "Bearer error=\"invalid_token\"");
    (void)call_as(api, foreign, "GET", "/clients");
    expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
    assert_non_null(strstr(text(api, "message"), "ask an administrator"));
    expect_challenge(api, "Bearer error=\"invalid_token\"");
    (void)call_as(api, NULL, "GET", "/clients");
    expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
    expect_challenge(api, "Bearer");
    (void)call_as(api, foreign, "GET", "/nothing");
    expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
    (void)call_as(api, NULL, "PATCH", "/clients");
    expect_problem(api, 401, "unauthenticated", "INVALID_TOKEN");
}

static void without_a_shared_token_only_users_get_in(void **state)
{
    Api *api = *state;
    api->rest.access.has_secret = false;
    memset(&api->rest.access.secret, 0, sizeof(api->rest.access.secret));
    char *token CLEANUP(free_ptr) = token_of(api, "alice", GRANT_READ, "*");
    assert_int_equal(call_as(api, token, "GET", "/clients"), 200);
    assert_int_equal(call_as(api, TOKEN, "GET", "/clients"), 401);
    assert_int_equal(call_as(api, "", "GET", "/clients"), 401);
}

static void unknown_clients_are_told_those_that_one_sees(void **state)
{
    Api *api = *state;
    char *alice CLEANUP(free_ptr) = token_of(api, "alice", GRANT_READ | GRANT_PULL, "shop_*");
    char *blind CLEANUP(free_ptr) = token_of(api, "bob", GRANT_PULL, "*");
    Ask ask = {.method = "POST",
               .path = "/download",
               .token = alice,
               .body = "{\"clientId\":\"mill_1\",\"fileName\":\"/srv/x\"}"};
    come_online(api->fixture, "mill_1");
    come_online(api->fixture, "shop_1");
    assert_int_equal(call_api(api, &ask), 404);
    cJSON *known = cJSON_GetObjectItem(api->answer.json, "knownClients");
    assert_int_equal(cJSON_GetArraySize(known), 1);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(known, 0)), "shop_1");
    ask.token = blind;
    ask.body = "{\"clientId\":\"mill_2\",\"fileName\":\"/srv/x\"}";
    assert_int_equal(call_api(api, &ask), 404);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(api->answer.json, "knownClients")), 0);
}

/* --- the audit log --- */

static void start_audit(Api *api, char path[static 300])
{
    (void)snprintf(path, 300, "%s/audit.log", api->fixture->folder);
    assert_int_equal(audit_open(path, "tester", &api->rest.audit), 0);
}

/* The line-th line, parsed; NULL behind the last. The caller deletes. */
static cJSON *audit_line(const char *path, size_t line)
{
    char *text = NULL, *rest = NULL;
    size_t size = 0;
    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);
    char *at = strtok_r(text, "\n", &rest);
    for (; at && line > 0; line--)
        at = strtok_r(NULL, "\n", &rest);
    cJSON *object = at ? cJSON_Parse(at) : NULL;
    assert_true(!at || object);
    free(text);
    return object;
}

static void expect_line(const char *path, size_t number, const char *user, const char *what, double status,
                        const char *result)
{
    cJSON *line = audit_line(path, number);
    if (!line)
        fail_msg("there is no line %zu: %s", number, what);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "user")), user);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "from")), "127.0.0.1");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "what")), what);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(line, "status")), status);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "result")), result);
    cJSON_Delete(line);
}

static void every_call_is_one_line(void **state)
{
    Api *api = *state;
    char path[300], url[128], what[160];
    char *alice CLEANUP(free_ptr) = token_of(api, "alice", GRANT_READ | GRANT_PULL, "shop_*");
    Ask ask = {.method = "POST",
               .path = "/download",
               .token = alice,
               .header = "Idempotency-Key: k",
               .body = "{\"clientId\":\"shop_1\",\"fileName\":\"/srv/a\\nb\"}"};
    come_online(api->fixture, "shop_1");
    start_audit(api, path);
    assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = "/health"}), 200); /* not a line */
    assert_int_equal(call_as(api, alice, "GET", "/clients"), 200);
    assert_int_equal(call_as(api, alice, "GET", "/clients/mill_1"), 404);
    assert_int_equal(call_api(api, &ask), 202);
    (void)snprintf(url, sizeof(url), "/download/%s", text(api, "requestId"));
    assert_int_equal(call_api(api, &ask), 202);
    assert_int_equal(call_as(api, alice, "GET", url), 200);
    assert_int_equal(call_as(api, alice, "DELETE", url), 202);
    assert_int_equal(get(api, "/downloads?client=shop_1"), 200);
    assert_int_equal(call_as(api, alice, "PUT", "/nothing"), 404);

    expect_line(path, 0, "alice", "GET /clients", 200, "ok");
    expect_line(path, 1, "alice", "GET /clients/mill_1", 404, "UNKNOWN_CLIENT");
    expect_line(path, 2, "alice", "POST /download", 202, "ok");
    expect_line(path, 3, "alice", "POST /download", 202, "ok");
    (void)snprintf(what, sizeof(what), "GET %s", url);
    expect_line(path, 4, "alice", what, 200, "ok");
    (void)snprintf(what, sizeof(what), "DELETE %s", url);
    expect_line(path, 5, "alice", what, 202, "ok");
    expect_line(path, 6, "(shared token)", "GET /downloads", 200, "ok");
    expect_line(path, 7, "alice", "PUT /nothing", 404, "NO_SUCH_PATH");
    assert_null(audit_line(path, 8));
    for (size_t i = 2; i <= 5; i++) {
        cJSON *line = audit_line(path, i);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "client")), "shop_1");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "file")), "/srv/a\nb");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "id")), url + 10);
        cJSON_Delete(line);
    }
}

static void content_is_given_away_under_the_users_name(void **state)
{
    Api *api = *state;
    char path[300], location[2048];
    char *alice CLEANUP(free_ptr) = token_of(api, "alice", GRANT_PULL, "dev*");
    Ticket ticket;
    start_audit(api, path);
    say_receipt(api->fixture, api->fixture->key, "dev1", "dev1", "t1", "/srv/x");
    assert_int_equal(call_as(api, alice, "GET", "/download/t1/content"), 302);
    expect_line(path, 0, "alice", "GET /download/t1/content", 302, "ok");
    assert_null(audit_line(path, 1));
    const char *header = strcasestr(api->answer.headers, "location: ");
    assert_int_equal(sscanf(header + 10, "%2047s", location), 1);
    assert_int_equal(ticket_verify(api->operators, strstr(location, "ticket=") + 7, time(NULL), &ticket), 0);
    assert_string_equal(ticket.user, "alice");
}

/* A limit on the size of files would hit the database too, so the log loses its descriptor's right instead.
 */
static void without_an_audit_log_nothing_is_done(void **state)
{
    static const char *const paths[] = {"/clients",     "/clients/dev1",        "/downloads",
                                        "/download/t1", "/download/t1/content", "/nothing"};
    Api *api = *state;
    char path[300];
    come_online(api->fixture, "dev1");
    say_receipt(api->fixture, api->fixture->key, "dev1", "dev1", "t1", "/srv/x");
    start_audit(api, path);
    size_t published = api->fixture->count;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC), log_fd = -1;
    struct stat log_info, info;
    assert_int_equal(stat(path, &log_info), 0);
    for (int fd = 3; fd < 256 && log_fd < 0; fd++)
        if (fstat(fd, &info) == 0 && info.st_dev == log_info.st_dev && info.st_ino == log_info.st_ino)
            log_fd = fd;
    assert_true(log_fd >= 0);
    int kept = dup(log_fd);
    assert_true(dup2(full, log_fd) == log_fd);
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        (void)get(api, paths[i]);
        expect_problem(api, 503, "unavailable", "AUDIT_FAILED");
        assert_non_null(strcasestr(api->answer.headers, "retry-after: "));
        assert_null(strcasestr(api->answer.headers, "location: "));
    }
    (void)post(api, "{\"clientId\":\"dev1\",\"fileName\":\"/srv/x\"}");
    expect_problem(api, 503, "unavailable", "AUDIT_FAILED");
    assert_int_equal(api->fixture->count, published);
    assert_int_equal(call_api(api, &(Ask){.method = "GET", .path = "/health"}), 200);
    assert_int_equal(call_as(api, NULL, "GET", "/clients"), 401);
    assert_true(dup2(kept, log_fd) == log_fd);
    assert_int_equal(get(api, "/downloads"), 200);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(api->answer.json, "count")), 1);
    expect_line(path, 0, "(shared token)", "GET /downloads", 200, "ok");
    (void)close(kept);
    (void)close(full);
}

static void a_flood_of_strangers_is_a_few_lines(void **state)
{
    Api *api = *state;
    char path[300];
    size_t lines = 0;
    start_audit(api, path);
    for (int i = 0; i < 200; i++)
        assert_int_equal(call_as(api, "wrong", "GET", "/clients"), 401);
    for (cJSON *line; (line = audit_line(path, lines)); lines++) {
        assert_null(cJSON_GetObjectItem(line, "user"));
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "result")), "INVALID_TOKEN");
        cJSON_Delete(line);
    }
    assert_true(lines <= 25);
    assert_int_equal(get(api, "/clients"), 200); /* who is known has a line all the same */
    expect_line(path, lines, "(shared token)", "GET /clients", 200, "ok");
}

/* GET /session answers everybody, but it is no place to try tokens unseen. */
static void who_tries_tokens_at_the_session_is_noted(void **state)
{
    Api *api = *state;
    char path[300];
    start_audit(api, path);
    const Ask shown[] = {{.token = "wrong"}, {.header = "Cookie: __Host-beckon=wrong"}};
    for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
        Ask ask = shown[i];
        ask.method = "GET";
        ask.path = "/session";
        assert_int_equal(call_api(api, &ask), 200);
        assert_true(cJSON_IsFalse(cJSON_GetObjectItem(api->answer.json, "loggedIn")));
        cJSON *line = audit_line(path, i);
        assert_non_null(line);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "what")), "GET /session");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "result")), "INVALID_TOKEN");
        cJSON_Delete(line);
    }
    assert_int_equal(call_as(api, NULL, "GET", "/session"), 200); /* who brings none tries none */
    assert_null(audit_line(path, ARRAY_SIZE(shown)));
}

int main(void)
{
#define API_TEST(name) cmocka_unit_test_setup_teardown(name, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        API_TEST(who_tries_tokens_at_the_session_is_noted), /* before others use the strangers' ration up */
        API_TEST(health_needs_no_token_and_the_rest_does),
        API_TEST(a_main_thread_that_hangs_is_no_longer_alive),
        API_TEST(what_the_api_does_not_have_is_said),
        API_TEST(an_unknown_client_is_told_the_known_ones),
        API_TEST(bodies_that_make_no_sense_are_refused),
        API_TEST(a_member_that_is_null_says_nothing_of_whom_is_meant),
        API_TEST(a_request_goes_its_way),
        API_TEST(content_is_a_redirect_with_a_ticket_for_a_minute),
        API_TEST(equal_ids_of_two_clients_need_the_clients_name),
        API_TEST(a_cancel_is_accepted_and_told_to_the_device),
        API_TEST(an_idempotency_key_is_honoured),
        API_TEST(an_empty_idempotency_key_is_none_and_refused),
        API_TEST(downloads_come_in_pages),
        API_TEST(a_filter_that_would_not_count_is_refused),
        API_TEST(clients_are_listed),
        API_TEST(scopes_say_which_calls_may_be_made),
        API_TEST(a_bad_token_is_refused_before_anything_else),
        API_TEST(without_a_shared_token_only_users_get_in),
        API_TEST(unknown_clients_are_told_those_that_one_sees),
        API_TEST(every_call_is_one_line),
        API_TEST(content_is_given_away_under_the_users_name),
        API_TEST(without_an_audit_log_nothing_is_done),
        API_TEST(a_flood_of_strangers_is_a_few_lines),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
