/* The server against libcurl, with certificates of the product's own PKI script. */
#include "../protocol/cmocka_.h"

#include "common/clock.h"
#include "common/files.h"
#include "common/http_server.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

typedef struct Fixture {
    char folder[64];
    uint16_t port;
    HttpServer *server;
} Fixture;

/* What the server's side of the last request saw. One request at a time, but for the cut. */
static struct {
    HttpPeer peer;
    char name[128];
    char query[64];
    char trailer[64];
    atomic_ulong body_bytes;
    atomic_uint body_begun, ended, done, clean;
} seen;

/* The request of /hold until its done(): http_request_cut() wants its caller to know that it is not done. */
static HttpRequest *open_request;
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

static void respond(HttpRequest *request, unsigned status, const char *text)
{
    HttpResponse *response = http_response_new(status);

    http_response_header(response, "X-Test", "yes");
    http_response_header(response, "X-Forged", "a\r\nX-Injected: b");
    http_response_text(response, "text/plain", text);
    http_respond(request, response);
}

static void on_begin(HttpRequest *request, void *userdata)
{
    const char *name = "", *query = http_request_query(request, "q");

    (void)userdata;
    seen.peer = http_request_peer(request, &name);
    (void)snprintf(seen.name, sizeof(seen.name), "%s", name);
    (void)snprintf(seen.query, sizeof(seen.query), "%s", query ? query : "(none)");
    if (strcmp(http_request_path(request), "/refuse") == 0)
        respond(request, 403, "no");
    if (strcmp(http_request_path(request), "/hold") == 0) {
        (void)pthread_mutex_lock(&open_lock);
        open_request = request;
        (void)pthread_mutex_unlock(&open_lock);
    }
    if (strcmp(http_request_path(request), "/abort") == 0)
        http_request_abort(request);
}

static void on_body(HttpRequest *request, const void *data, size_t size, void *userdata)
{
    (void)request;
    (void)data;
    (void)userdata;
    atomic_fetch_add(&seen.body_bytes, size);
    atomic_store(&seen.body_begun, 1);
}

static void on_end(HttpRequest *request, void *userdata)
{
    const char *trailer = http_request_trailer(request, "X-Trailer");

    (void)userdata;
    (void)snprintf(seen.trailer, sizeof(seen.trailer), "%s", trailer ? trailer : "(none)");
    atomic_fetch_add(&seen.ended, 1);
    respond(request, 200, "whole");
}

static void on_done(HttpRequest *request, bool clean, void *userdata)
{
    (void)request;
    (void)userdata;
    (void)pthread_mutex_lock(&open_lock);
    open_request = NULL;
    (void)pthread_mutex_unlock(&open_lock);
    atomic_store(&seen.clean, clean);
    atomic_fetch_add(&seen.done, 1);
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static char *in_folder(const Fixture *fixture, const char *name, char out[static 256])
{
    (void)snprintf(out, 256, "%s/%s", fixture->folder, name);
    return out;
}

static void start_with(Fixture *fixture, HttpServerConfig config)
{
    char cert[256], key[256], ca[256], crl[256];
    int r = -1;
    const HttpHandlers handlers = {.begin = on_begin, .body = on_body, .end = on_end, .done = on_done};

    config.address = "127.0.0.1";
    config.port = 1;
    config.cert_file = in_folder(fixture, "server/localhost/server.crt", cert);
    config.key_file = in_folder(fixture, "server/localhost/server.key", key);
    config.client_ca_file = in_folder(fixture, "clients.crt", ca);
    config.crl_file = in_folder(fixture, "clients.crl", crl);
    config.connections_max = 50;
    (void)memset(&seen, 0, sizeof(seen));
    assert_int_equal(http_server_check(&config), 0);
    for (int i = 0; r < 0 && i < 5; i++) { /* somebody else may have taken the port meanwhile */
        config.port = fixture->port = free_port();
        r = http_server_new(&config, &handlers, NULL, &fixture->server);
    }
    assert_int_equal(r, 0);
}

static void start(Fixture *fixture, HttpThreads threads, unsigned idle_timeout_s)
{
    start_with(fixture, (HttpServerConfig){.threads = threads, .idle_timeout_s = idle_timeout_s});
}

static int make_pki(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    char command[600];

    log_setup("test", LOG_LEVEL_ERROR, false);
    (void)curl_global_init(CURL_GLOBAL_ALL);
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/beckon-unit-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(
        command, sizeof(command),
        "exec >/dev/null; p='%s/pki --dir %s'; $p init && $p server localhost 127.0.0.1 && $p client good && "
        "$p client late && $p client gone && cp -r %s/client/gone %s/gone && $p revoke client/gone",
        BROKER_CONFIG, fixture->folder, fixture->folder, fixture->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test's own folder */
    *state = fixture;
    return 0;
}

static int remove_pki(void **state)
{
    Fixture *fixture = *state;
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", fixture->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test's own folder */
    free(fixture);
    return 0;
}

static int setup(void **state)
{
    Fixture *fixture = *state;

    start(fixture, HTTP_THREAD_PER_CONNECTION, 60);
    return 0;
}

static int setup_impatient(void **state)
{
    Fixture *fixture = *state;

    start(fixture, HTTP_THREAD_PER_CONNECTION, 1);
    return 0;
}

static int setup_paced(void **state)
{
    start_with(*state, (HttpServerConfig){.threads = HTTP_THREAD_PER_CONNECTION,
                                          .idle_timeout_s = 2,
                                          .body_rate_min = 200000,
                                          .body_window_ms = 700});
    return 0;
}

static int setup_crowded(void **state)
{
    start_with(*state, (HttpServerConfig){.threads = HTTP_THREAD_PER_CONNECTION,
                                          .idle_timeout_s = 20,
                                          .connections_per_name_max = 1});
    return 0;
}

static int setup_deadline(void **state)
{
    start_with(*state, (HttpServerConfig){.threads = HTTP_THREAD_PER_CONNECTION,
                                          .idle_timeout_s = 2,
                                          .body_deadline_ms = 3000});
    return 0;
}

static int setup_one_thread(void **state)
{
    Fixture *fixture = *state;

    start(fixture, HTTP_ONE_THREAD, 60);
    return 0;
}

static int teardown(void **state)
{
    Fixture *fixture = *state;

    fixture->server = http_server_free(fixture->server);
    return 0;
}

static size_t swallow(char *data, size_t size, size_t count, void *userdata)
{
    (void)data;
    (void)userdata;
    return size * count;
}

typedef struct Body {
    size_t left;
} Body;

static size_t give(char *out, size_t size, size_t count, void *userdata)
{
    Body *body = userdata;
    size_t n = size * count < body->left ? size * count : body->left;

    memset(out, 'x', n);
    body->left -= n;
    return n;
}

static curl_off_t send_speed; /* bytes a second; 0: as fast as it goes */

/* body_size 0: GET; else a chunked PUT. credentials: a folder with client.crt and client.key, or NULL. The
 * status, or 0. */
static long ask(Fixture *fixture, const char *credentials, const char *path, size_t body_size, bool expect)
{
    char url[200], ca[256], cert[256], key[256], name[128];
    CURL *curl = curl_easy_init();
    Body body = {.left = body_size};
    long status = 0;
    struct curl_slist *headers = curl_slist_append(NULL, expect ? "Expect: 100-continue" : "Expect:");

    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u%s", fixture->port, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, in_folder(fixture, "ca.crt", ca));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (credentials) {
        (void)snprintf(name, sizeof(name), "%s.crt", credentials);
        curl_easy_setopt(curl, CURLOPT_SSLCERT, in_folder(fixture, name, cert));
        (void)snprintf(name, sizeof(name), "%s.key", credentials);
        curl_easy_setopt(curl, CURLOPT_SSLKEY, in_folder(fixture, name, key));
    }
    if (body_size > 0) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(curl, CURLOPT_READDATA, &body);
        curl_easy_setopt(curl, CURLOPT_MAX_SEND_SPEED_LARGE, send_speed);
    }
    (void)curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}

static void wait_for(const atomic_uint *counter, unsigned wanted)
{
    for (int i = 0; i < 3000 && atomic_load(counter) < wanted; i++)
        (void)poll(NULL, 0, 10);
    assert_int_equal(atomic_load(counter), wanted);
}

static void a_clients_certificate_is_verified_and_named(void **state)
{
    assert_int_equal(ask(*state, "client/good/client", "/x?q=a%20b+c%2Fd", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_VERIFIED);
    assert_string_equal(seen.name, "good");
    assert_string_equal(seen.query, "a b c/d");
}

static void a_query_that_can_t_be_decoded_is_not_taken_for_none(void **state)
{
    static const char *const values[] = {"%zz", "a%", "%4", "x%00y"};

    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "/x?q=%s", values[i]);
        assert_int_equal(ask(*state, NULL, path, 0, false), 200);
        assert_string_equal(seen.query, values[i]);
    }
}

static void no_certificate_is_no_peer(void **state)
{
    assert_int_equal(ask(*state, NULL, "/x", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_NONE);
    assert_string_equal(seen.query, "(none)");
}

static void a_servers_certificate_is_no_clients(void **state)
{
    assert_int_equal(ask(*state, "server/localhost/server", "/x", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_REFUSED);
    assert_non_null(strstr(seen.name, "clientAuth"));
}

static void a_revoked_certificate_is_refused(void **state)
{
    assert_int_equal(ask(*state, "gone/client", "/x", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_REFUSED);
    assert_string_equal(seen.name, "it is revoked");
}

static void a_body_passes_whole(void **state)
{
    assert_int_equal(ask(*state, "client/good/client", "/x", 5000000, true), 200);
    assert_int_equal(atomic_load(&seen.body_bytes), 5000000);
    assert_int_equal(atomic_load(&seen.ended), 1);
    wait_for(&seen.done, 1);
    assert_true(atomic_load(&seen.clean));
}

static void a_refusal_reaches_who_waits_and_who_does_not(void **state)
{
    assert_int_equal(ask(*state, "client/good/client", "/refuse", 5000000, true), 403);
    assert_int_equal(ask(*state, "client/good/client", "/refuse", 300000, false), 403);
    assert_int_equal(atomic_load(&seen.body_bytes), 0);
    assert_int_equal(atomic_load(&seen.ended), 0);
    wait_for(&seen.done, 2);
}

static void an_aborted_request_has_no_answer(void **state)
{
    assert_int_equal(ask(*state, "client/good/client", "/abort", 0, false), 0);
    wait_for(&seen.done, 1);
    assert_false(atomic_load(&seen.clean));
}

static void *cut_when_open(void *userdata)
{
    (void)userdata;
    wait_for(&seen.body_begun, 1);
    (void)pthread_mutex_lock(&open_lock);
    if (open_request)
        http_request_cut(open_request);
    (void)pthread_mutex_unlock(&open_lock);
    return NULL;
}

static void a_cut_ends_a_request_of_another_thread(void **state)
{
    pthread_t cutter;

    assert_int_equal(pthread_create(&cutter, NULL, cut_when_open, NULL), 0);
    assert_int_equal(ask(*state, "client/good/client", "/hold", (size_t)4 << 30, false), 0);
    assert_int_equal(pthread_join(cutter, NULL), 0);
    wait_for(&seen.done, 1);
    assert_int_equal(atomic_load(&seen.ended), 0);
}

/* What is asked of the library by the sharpest of the facts: a stalling handshake costs nothing and is
 * dropped. */
static void a_stalled_handshake_costs_no_cpu_and_is_dropped(void **state)
{
    Fixture *fixture = *state;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(fixture->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    struct rusage before, after;
    struct pollfd waiting[10];
    int64_t began_ms = clock_monotonic_ms();
    char byte;

    for (int i = 0; i < 10; i++) {
        waiting[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(waiting[i].fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(write_all(waiting[i].fd, hello, sizeof(hello) - 1), 0);
    }
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(poll(&(struct pollfd){.fd = waiting[i].fd, .events = POLLIN}, 1, 10000), 1);
        assert_int_equal(read(waiting[i].fd, &byte, 1), 0);
        (void)close(waiting[i].fd);
    }
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_in_range(clock_monotonic_ms() - began_ms, 900, 20000);
    int64_t cpu_ms =
        (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) *
            1000 +
        (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
         before.ru_stime.tv_usec) /
            1000;
    assert_in_range(cpu_ms, 0, 800);
}

static void *revoke_when_open(void *userdata)
{
    const Fixture *fixture = userdata;
    char command[300];

    wait_for(&seen.body_begun, 1);
    (void)snprintf(command, sizeof(command), "exec >/dev/null; %s/pki --dir %s revoke client/late",
                   BROKER_CONFIG, fixture->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test's own folder */
    return NULL;
}

static void a_client_that_is_revoked_in_mid_body_is_cut(void **state)
{
    Fixture *fixture = *state;
    pthread_t revoker;
    char command[300];

    (void)snprintf(command, sizeof(command), "cp -r %s/client/late %s/late", fixture->folder,
                   fixture->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a test's own folder */
    assert_int_equal(pthread_create(&revoker, NULL, revoke_when_open, fixture), 0);
    send_speed = 100000;
    assert_int_equal(ask(fixture, "late/client", "/x", 100000000, false), 0);
    send_speed = 0;
    assert_int_equal(pthread_join(revoker, NULL), 0);
    wait_for(&seen.done, 1);
    assert_int_equal(atomic_load(&seen.ended), 0);
    assert_int_equal(ask(fixture, "late/client", "/x", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_REFUSED);
}

static void *hold_open(void *userdata)
{
    (void)ask(userdata, "client/good/client", "/hold", 2000000, false);
    return NULL;
}

static void a_client_has_so_many_connections_and_no_more(void **state)
{
    Fixture *fixture = *state;
    pthread_t holder;

    send_speed = 250000; /* for 8 seconds */
    assert_int_equal(pthread_create(&holder, NULL, hold_open, fixture), 0);
    wait_for(&seen.body_begun, 1);
    assert_int_equal(ask(fixture, "client/good/client", "/y", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_CROWDED);
    assert_string_equal(seen.name, "good");
    assert_int_equal(ask(fixture, NULL, "/y", 0, false), 200);
    assert_int_equal(seen.peer, HTTP_PEER_NONE);
    assert_int_equal(pthread_join(holder, NULL), 0);
    send_speed = 0;
}

static void a_slow_body_is_cut_and_a_fast_one_is_not(void **state)
{
    int64_t began_ms = clock_monotonic_ms();

    send_speed = 40000;
    assert_int_equal(ask(*state, "client/good/client", "/x", 10000000, false), 0);
    assert_in_range(clock_monotonic_ms() - began_ms, 600, 15000);
    wait_for(&seen.done, 1);
    assert_int_equal(atomic_load(&seen.ended), 0);
    send_speed = 4000000;
    assert_int_equal(ask(*state, "client/good/client", "/x", 10000000, false), 200);
    send_speed = 0;
}

static void a_body_that_takes_too_long_is_cut(void **state)
{
    send_speed = 1000000;
    assert_int_equal(ask(*state, "client/good/client", "/x", 100000, false), 200);
    assert_int_equal(ask(*state, "client/good/client", "/x", 10000000, false), 0);
    send_speed = 0;
    wait_for(&seen.done, 2);
    assert_int_equal(atomic_load(&seen.ended), 1);
}

static void a_quiet_server_takes_nobody_new(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(ask(fixture, "client/good/client", "/x", 0, false), 200);
    http_server_quiesce(fixture->server);
    http_server_quiesce(fixture->server);
    assert_int_equal(ask(fixture, "client/good/client", "/x", 0, false), 0);
}

static void one_thread_serves_too(void **state)
{
    assert_int_equal(ask(*state, "client/good/client", "/x", 3000000, true), 200);
    assert_int_equal(atomic_load(&seen.body_bytes), 3000000);
    assert_int_equal(ask(*state, "client/good/client", "/refuse", 3000000, true), 403);
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(a_clients_certificate_is_verified_and_named),
        WITH_SERVER(a_query_that_can_t_be_decoded_is_not_taken_for_none),
        WITH_SERVER(no_certificate_is_no_peer),
        WITH_SERVER(a_servers_certificate_is_no_clients),
        WITH_SERVER(a_revoked_certificate_is_refused),
        WITH_SERVER(a_body_passes_whole),
        WITH_SERVER(a_refusal_reaches_who_waits_and_who_does_not),
        WITH_SERVER(an_aborted_request_has_no_answer),
        WITH_SERVER(a_cut_ends_a_request_of_another_thread),
        WITH_SERVER(a_quiet_server_takes_nobody_new),
        cmocka_unit_test_setup_teardown(a_client_that_is_revoked_in_mid_body_is_cut, setup_impatient,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_client_has_so_many_connections_and_no_more, setup_crowded,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_slow_body_is_cut_and_a_fast_one_is_not, setup_paced, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_takes_too_long_is_cut, setup_deadline, teardown),
        cmocka_unit_test_setup_teardown(a_stalled_handshake_costs_no_cpu_and_is_dropped, setup_impatient,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_thread_serves_too, setup_one_thread, teardown),
    };

    return cmocka_run_group_tests(tests, make_pki, remove_pki);
}
