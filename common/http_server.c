#include "common/http_server.h"

#include "common/clock.h"
#include "common/http_body.h"
#include "common/http_guests.h"
#include "common/http_head.h"
#include "common/http_idle.h"
#include "common/http_peer.h"
#include "common/http_pems.h"
#include "common/http_socket.h"
#include "common/log.h"
#include "common/text.h"
#include "common/throttle.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

/* TLS 1.2 with forward secrecy and authenticated encryption only, as TLS 1.3 has it anyway. */
#define PRIORITIES                                                                                           \
    "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:"             \
    "+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-MAC-ALL:+AEAD"
#define CONNECTION_MEMORY ((size_t)64 * 1024) /* headers, and the window in which a body passes by */
#define DRAIN_MAX ((uint64_t)1024 * 1024)     /* of a refused body that is already on its way */
#define HEAD_TIMEOUT_S 30 /* for the handshake and a request's head; or idle_timeout, if that is less */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SIZE ((size_t)2 * 1024 * 1024)
#else
#define STACK_SIZE ((size_t)128 * 1024)
#endif

#if MHD_VERSION >= 0x00097601
#define STRICT MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1
#else
#define STRICT MHD_OPTION_STRICT_FOR_CLIENT, 1
#endif

struct HttpServer {
    struct MHD_Daemon *daemon;
    HttpHandlers handlers;
    void *userdata;
    bool may_block;   /* a thread a connection */
    HttpTrust *trust; /* NULL: no client certificates, and then no guests */
    HttpGuests *guests;
    IdleWatch *idle;
    int quiet_fd; /* the listening socket that has been taken from the daemon, or -1 */
};

typedef struct Connection {
    IdleConnection idle;
    HttpGuest *guest; /* once a certificate was accepted */
} Connection;

typedef struct Decoded {
    struct Decoded *next;
    char *text;
} Decoded;

struct HttpRequest {
    HttpServer *server;
    struct MHD_Connection *connection;
    const char *method, *path;
    int fd;
    char address[INET6_ADDRSTRLEN];
    void *state;
    bool begun; /* the handlers know of it */
    bool aborted;
    bool answered;
    bool early;                /* the answer goes out before the body is in, which is not read any more */
    struct MHD_Response *held; /* the answer, until it may be queued */
    unsigned held_status;
    uint64_t drained;
    bool peer_known;
    HttpPeer peer;
    char peer_name[HTTP_PEER_NAME_SIZE];
    Decoded *decoded; /* query values handed out */
};

/* Answers */

void http_respond(HttpRequest *request, HttpResponse *response)
{
    if (request->answered) { /* a handler's mistake: the first answer stands */
        http_response_free(response);
        return;
    }
    request->answered = true;
    request->held = http_body_make(response, request->connection);
    request->held_status = response ? response->status : 0;
    request->aborted |= !request->held;
    http_response_free(response);
}

bool http_request_answered(const HttpRequest *request)
{
    return request->answered;
}

/* What was asked */

const char *http_request_method(const HttpRequest *request)
{
    return request->method;
}

const char *http_request_path(const HttpRequest *request)
{
    return request->path;
}

const char *http_request_query(const HttpRequest *request, const char *name)
{
    const char *raw = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
    Decoded *decoded = raw ? malloc(sizeof(*decoded)) : NULL;

    if (!decoded)
        return NULL;
    decoded->text = text_percent_decode(raw);
    decoded->next = request->decoded;
    /* kept until done(); not a change that anybody sees */
    ((HttpRequest *)(uintptr_t)request)->decoded = decoded;
    /* raw has a bad "%" then, so it is never what one may ask for */
    return decoded->text ? decoded->text : raw;
}

typedef struct EachQuery {
    bool (*each)(void *userdata, const char *name, const char *value);
    void *userdata;
} EachQuery;

static enum MHD_Result on_query(void *userdata, enum MHD_ValueKind kind, const char *name, const char *value)
{
    const EachQuery *to = userdata;

    (void)kind;
    return to->each(to->userdata, name, value) ? MHD_YES : MHD_NO;
}

void http_request_each_query(const HttpRequest *request,
                             bool (*each)(void *userdata, const char *name, const char *value),
                             void *userdata)
{
    EachQuery to = {.each = each, .userdata = userdata};

    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, on_query, &to);
}

const char *http_request_header(const HttpRequest *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_request_trailer(const HttpRequest *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_FOOTER_KIND, name);
}

bool http_request_has_body(const HttpRequest *request)
{
    const char *length = http_request_header(request, "Content-Length");

    return http_request_header(request, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

const char *http_request_address(const HttpRequest *request)
{
    return request->address;
}

static Connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

static HttpPeer find_peer(HttpRequest *request)
{
    HttpServer *server = request->server;
    Connection *connection = connection_of(request->connection);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    if (!info || !server->trust)
        return HTTP_PEER_NONE;
    HttpPeer peer = http_trust_verify(server->trust, info->tls_session, request->peer_name);
    if (peer != HTTP_PEER_VERIFIED || connection->guest)
        return peer;
    int r = http_guests_enter(server->guests, info->tls_session, request->fd, request->peer_name,
                              &connection->guest);
    return r == 0 ? HTTP_PEER_VERIFIED : HTTP_PEER_CROWDED; /* without memory too: come back later */
}

HttpPeer http_request_peer(HttpRequest *request, const char **ret_name)
{
    if (!request->peer_known)
        request->peer = find_peer(request);
    request->peer_known = true;
    *ret_name = request->peer_name;
    return request->peer;
}

bool http_request_peer_is_person(const HttpRequest *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    return info && http_trust_is_person(request->server->trust, info->tls_session);
}

void http_request_set_state(HttpRequest *request, void *state)
{
    request->state = state;
}

void *http_request_state(const HttpRequest *request)
{
    return request->state;
}

void http_request_abort(HttpRequest *request)
{
    request->aborted = true;
}

void http_request_cut(HttpRequest *request)
{
    (void)shutdown(request->fd, SHUT_RDWR); /* the peer may have gone already */
}

/* One request, as the library calls us */

static HttpRequest *request_new(HttpServer *server, struct MHD_Connection *connection, const char *path,
                                const char *method)
{
    HttpRequest *request = calloc(1, sizeof(*request));
    const union MHD_ConnectionInfo *info;

    if (!request)
        return NULL;
    request->server = server;
    request->connection = connection;
    request->method = method;
    request->path = path;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    request->fd = info ? info->connect_fd : -1;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || getnameinfo(info->client_addr,
                             info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                      : sizeof(struct sockaddr_in),
                             request->address, sizeof(request->address), NULL, 0, NI_NUMERICHOST) != 0)
        (void)snprintf(request->address, sizeof(request->address), "?");
    return request;
}

static enum MHD_Result queue_answer(HttpRequest *request)
{
    enum MHD_Result r = MHD_queue_response(request->connection, request->held_status, request->held);

    MHD_destroy_response(request->held); /* our reference; the connection has its own */
    request->held = NULL;
    return r;
}

/* Whether an answer that there is before the body goes out at once. A client that waits for 100 Continue then
 * sends nothing; another one is sending already, and http_linger() sees to it that it hears us. A short body
 * is rather swallowed, which keeps the connection. Without a body the answer waits for the last call too, or
 * the library would close the connection. */
static bool answer_now(const HttpRequest *request)
{
    const char *length = http_request_header(request, "Content-Length");
    uint64_t size = 0;

    if (http_request_header(request, "Transfer-Encoding"))
        return true;
    if (!http_request_has_body(request))
        return false;
    return http_request_header(request, "Expect") || !text_to_u64(length, &size) || size > DRAIN_MAX;
}

/* Refuses what can't be understood, or not in one way only; the connection ends, as nobody knows where its
 * next request would begin. */
static enum MHD_Result refuse(HttpRequest *request, unsigned status)
{
    static const char what[] = "The request is not valid HTTP, or not plainly so.";
    char *body CLEANUP(free_ptr) = text_format(
        "{\"type\":\"about:blank\",\"title\":\"Malformed Request\",\"status\":%u,\"detail\":\"%s\","
        "\"code\":\"invalid_argument\",\"reason\":\"REQUEST_MALFORMED\",\"message\":\"%s\"}",
        status, what, what);
    HttpResponse *response = http_response_new(status);

    log_info("%s: a malformed request is refused: %u", request->address, status);
    http_response_header(response, "Connection", "close");
    http_response_text(response, "application/problem+json", body);
    http_respond(request, response);
    return request->aborted ? MHD_NO : queue_answer(request);
}

static enum MHD_Result on_begin(HttpRequest *request, const char *version)
{
    HttpServer *server = request->server;
    unsigned status = http_head_check(request->connection, request->method, request->path, version);

    if (status != 0) {
        request->early = true;
        return refuse(request, status);
    }
    request->begun = true;
    server->handlers.begin(request, server->userdata);
    if (request->aborted)
        return MHD_NO;
    request->early = request->answered && answer_now(request);
    return request->early ? queue_answer(request) : MHD_YES;
}

static enum MHD_Result on_body(HttpRequest *request, const void *data, size_t size)
{
    HttpServer *server = request->server;

    if (request->answered) {
        request->drained += size;
        return request->drained > DRAIN_MAX ? MHD_NO : MHD_YES;
    }
    if (server->handlers.body)
        server->handlers.body(request, data, size, server->userdata);
    return request->aborted ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_end(HttpRequest *request)
{
    HttpServer *server = request->server;
    unsigned status = request->answered ? 0 : http_trailer_check(request->connection);

    if (status != 0)
        return refuse(request, status);
    if (!request->answered && server->handlers.end)
        server->handlers.end(request, server->userdata);
    return request->aborted || !request->held ? MHD_NO : queue_answer(request);
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **request_slot)
{
    Connection *ours = connection_of(connection);
    HttpRequest *request = *request_slot;
    enum MHD_Result r;

    if (!ours)
        return MHD_NO; /* it was refused for want of memory */
    idle_connection_busy(&ours->idle);
    if (!request) {
        *request_slot = request = request_new(userdata, connection, path, method);
        r = request ? on_begin(request, version) : MHD_NO;
        if (request && http_request_has_body(request))
            idle_body_begin(&ours->idle); /* from here on it is the peer's time */
    } else if (*size > 0) {
        idle_body_bytes(&ours->idle, *size);
        r = on_body(request, data, *size);
        *size = 0;
    } else {
        idle_body_end(&ours->idle);
        r = on_end(request);
    }
    idle_connection_rest(&ours->idle);
    return r;
}

static void request_free(HttpRequest *request)
{
    if (request->held)
        MHD_destroy_response(request->held);
    while (request->decoded) {
        Decoded *decoded = request->decoded;
        request->decoded = decoded->next;
        free(decoded->text);
        free(decoded);
    }
    free(request);
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **request_slot,
                         enum MHD_RequestTerminationCode code)
{
    HttpServer *server = userdata;
    HttpRequest *request = *request_slot;
    Connection *ours = connection_of(connection);

    *request_slot = NULL;
    if (ours) {
        idle_body_end(&ours->idle);
        idle_request_end(&ours->idle);
    }
    if (!request)
        return;
    if (request->begun && server->handlers.done)
        server->handlers.done(request, code == MHD_REQUEST_TERMINATED_COMPLETED_OK && request->answered,
                              server->userdata);
    bool is_heard = !request->early && code != MHD_REQUEST_TERMINATED_WITH_ERROR;
    if (server->may_block && !is_heard)
        http_linger(request->fd);
    request_free(request);
}

static void connection_begins(HttpServer *server, int fd, void **slot)
{
    Connection *connection = calloc(1, sizeof(*connection));

    *slot = connection;
    if (connection)
        idle_watch_add(server->idle, &connection->idle, fd);
}

static void connection_ends(HttpServer *server, Connection *connection)
{
    if (!connection)
        return;
    connection->guest = http_guests_leave(server->guests, connection->guest);
    idle_watch_remove(server->idle, &connection->idle);
    free(connection);
}

static void on_connection(void *userdata, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        connection_ends(userdata, *slot);
        *slot = NULL;
    } else if (info) {
        connection_begins(userdata, info->connect_fd, slot);
    }
}

/* Life of the server */

/* What the library says of single connections is noise that strangers can cause; what it says of its own
 * state is not. */
static void PRINTF_LIKE(2, 0) on_log(void *userdata, const char *format, va_list arguments)
{
    static Throttle throttle = THROTTLE_STRANGERS;
    uint64_t left_out = 0;
    char line[512];

    (void)userdata;
    (void)vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    bool matters = strncmp(line, "Failed to create", 16) == 0 || strncmp(line, "Hit process", 11) == 0 ||
                   strncmp(line, "Server reached", 14) == 0; /* in all, or of one address */
    if (matters && throttle_pass(&throttle, clock_monotonic_ms(), &left_out))
        log_warn("HTTP server: %s%s", line, left_out ? " Others are not listed." : "");
    else
        log_debug("HTTP server: %s", line);
}

/* Paths and query values stay encoded: %2F must not become a slash before the path is taken apart. */
static size_t keep_encoded(void *userdata, struct MHD_Connection *connection, char *text)
{
    (void)userdata;
    (void)connection;
    return strlen(text);
}

static int start_daemon(HttpServer *server, const HttpServerConfig *config, int listen_fd)
{
    HttpPems pems CLEANUP(http_pems_deinit) = {0};
    unsigned flags =
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_TLS | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    int r = http_pems_read(config, &pems);

    if (r < 0)
        return r;
    flags |= config->threads == HTTP_THREAD_PER_CONNECTION ? MHD_USE_THREAD_PER_CONNECTION
                                                           : MHD_ALLOW_SUSPEND_RESUME;
    if (strchr(config->address, ':'))
        flags |= MHD_USE_IPv6;
    struct MHD_OptionItem trust[] = {{MHD_OPTION_HTTPS_MEM_TRUST, 0, pems.ca}, {MHD_OPTION_END, 0, NULL}};
    if (!pems.ca)
        trust[0] = trust[1];
    server->daemon = MHD_start_daemon(
        flags, config->port, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_HTTPS_MEM_CERT, pems.cert, MHD_OPTION_HTTPS_MEM_KEY,
        pems.key, MHD_OPTION_HTTPS_PRIORITIES, PRIORITIES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL,
        MHD_OPTION_CONNECTION_LIMIT, config->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        config->connections_per_ip_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, STRICT,
        MHD_OPTION_THREAD_STACK_SIZE, STACK_SIZE, MHD_OPTION_ARRAY, trust, MHD_OPTION_END);
    if (server->daemon)
        return 0;
    log_error("the HTTPS server did not start on port %u", config->port);
    return -EIO;
}

static void on_round(void *userdata)
{
    HttpServer *server = userdata;

    if (server->guests)
        (void)http_guests_review(server->guests); /* it has logged who */
}

int http_server_new(const HttpServerConfig *config, const HttpHandlers *handlers, void *userdata,
                    HttpServer **ret_server)
{
    HttpServer *server = calloc(1, sizeof(*server));
    int listen_fd = -1;

    if (!server)
        return -ENOMEM;
    server->handlers = *handlers;
    server->userdata = userdata;
    server->quiet_fd = -1;
    server->may_block = config->threads == HTTP_THREAD_PER_CONNECTION;
    const IdleLimits limits = {.timeout_s = config->idle_timeout_s,
                               .head_timeout_s = HEAD_TIMEOUT_S,
                               .body_rate_min = config->body_rate_min,
                               .body_window_ms = config->body_window_ms ? config->body_window_ms : 60000,
                               .body_deadline_ms = config->body_deadline_ms};
    int r = config->client_ca_file ? http_trust_new(config->client_ca_file, config->people_ca_file,
                                                    config->crl_file, &server->trust)
                                   : 0;
    if (r == 0)
        r = http_keypair_check(config->cert_file, config->key_file);
    if (r == 0 && server->trust)
        r = http_guests_new(server->trust, config->connections_per_name_max, &server->guests);
    if (r == 0)
        r = idle_watch_new(&limits, on_round, server, &server->idle);
    if (r == 0)
        r = http_listen(config->address, config->port, &listen_fd);
    if (r == 0)
        r = start_daemon(server, config, listen_fd);
    if (r < 0) {
        (void)http_server_free(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

void http_server_quiesce(HttpServer *server)
{
    if (server->quiet_fd >= 0)
        return;
    server->quiet_fd = MHD_quiesce_daemon(server->daemon);
    if (server->quiet_fd >= 0)
        (void)shutdown(server->quiet_fd, SHUT_RDWR); /* closed later: the daemon's thread may still use it */
}

HttpServer *http_server_free(HttpServer *server)
{
    if (!server)
        return NULL;
    if (server->daemon)
        MHD_stop_daemon(server->daemon);
    close_fd(&server->quiet_fd);
    (void)idle_watch_free(server->idle);
    (void)http_guests_free(server->guests);
    (void)http_trust_free(server->trust);
    free(server);
    return NULL;
}

int http_server_check(const HttpServerConfig *config)
{
    HttpTrust *trust = NULL;
    int r = http_keypair_check(config->cert_file, config->key_file);

    if (r == 0 && config->client_ca_file)
        r = http_trust_new(config->client_ca_file, config->people_ca_file, config->crl_file, &trust);
    (void)http_trust_free(trust);
    return r;
}
