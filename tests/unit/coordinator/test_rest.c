/* The REST API as a caller sees it: the real server on a loopback port, and libcurl. */
#include "common/json.h"
#include "control_fixture.h"
#include "coordinator/rest.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <sys/socket.h>
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
    api->port = free_port();
    const HttpServerConfig config = {.address = "127.0.0.1",
                                     .port = api->port,
                                     .cert_file = api->certificate,
                                     .key_file = key,
                                     .threads = HTTP_ONE_THREAD,
                                     .connections_max = 16,
                                     .idle_timeout_s = 10};
    return http_server_new(&config, &rest_handlers, &api->rest, &api->server);
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
    assert_string_equal(
        api->fixture->published[0].payload,
        "{\"path\":\"/srv/x\",\"expires\":1700000061,\"max_size\":100,\"rate\":7,\"receiver\":\"second\"}");

    (void)snprintf(path, sizeof(path), "/download/%s", id);
    assert_int_equal(get(api, path), 200);
    assert_string_equal(text(api, "status"), "queued");
    assert_string_equal(text(api, "origin"), "rest");
    assert_true(has_null(api, "size") && has_null(api, "sha256") && has_null(api, "filePath") &&
                has_null(api, "startedAt") && has_null(api, "completedAt") && has_null(api, "error"));
    (void)snprintf(path, sizeof(path), "/download/%s/content", id);
    (void)get(api, path);
    expect_problem(api, 409, "failed_precondition", "NOT_COMPLETED");

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

int main(void)
{
#define API_TEST(name) cmocka_unit_test_setup_teardown(name, api_setup, api_teardown)
    const struct CMUnitTest tests[] = {
        API_TEST(health_needs_no_token_and_the_rest_does),
        API_TEST(what_the_api_does_not_have_is_said),
        API_TEST(an_unknown_client_is_told_the_known_ones),
        API_TEST(bodies_that_make_no_sense_are_refused),
        API_TEST(a_request_goes_its_way),
        API_TEST(content_is_a_redirect_with_a_ticket_for_a_minute),
        API_TEST(equal_ids_of_two_clients_need_the_clients_name),
        API_TEST(a_cancel_is_accepted_and_told_to_the_device),
        API_TEST(an_idempotency_key_is_honoured),
        API_TEST(downloads_come_in_pages),
        API_TEST(clients_are_listed),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
