/* An HTTPS server that streams bodies (libmicrohttpd and GnuTLS inside).
 *
 * Life of a request: begin() once the headers are in; then body() for each piece; then end() when the body
 * came to its clean end, with trailers readable; and always done(), last and exactly once. A handler may
 * answer in begin(), before a body byte is read (a client that sent Expect: 100-continue then sends none), or
 * in end(). In body() nothing can be answered: go on reading and answer in end(), or http_request_abort().
 *
 * With HTTP_THREAD_PER_CONNECTION the callbacks of one request run on one thread and may block. With
 * HTTP_ONE_THREAD all run on one thread and must not. Client certificates are asked for, and verified against
 * client_ca and crl whenever a handler asks http_request_peer(). A connection whose certificate is revoked
 * later is ended within HTTP_REVIEW_S seconds after the list's file has changed, whatever it is doing.
 *
 * Malformed and ambiguous requests are answered here; no handler sees them. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_REVIEW_S 10

typedef struct HttpServer HttpServer;
typedef struct HttpRequest HttpRequest;
typedef struct HttpResponse HttpResponse;

typedef struct HttpHandlers {
    void (*begin)(HttpRequest *request, void *userdata);
    void (*body)(HttpRequest *request, const void *data, size_t size, void *userdata);
    void (*end)(HttpRequest *request, void *userdata);
    /* clean: the request was answered and the answer went out whole. */
    void (*done)(HttpRequest *request, bool clean, void *userdata);
} HttpHandlers;

typedef enum HttpThreads { HTTP_THREAD_PER_CONNECTION, HTTP_ONE_THREAD } HttpThreads;

typedef struct HttpServerConfig {
    const char *address; /* numeric IPv4 or IPv6 */
    uint16_t port;
    const char *cert_file, *key_file; /* PEM; the chain may follow the certificate */
    const char *client_ca_file;       /* PEM; NULL: no client certificates */
    const char *people_ca_file; /* PEM; those of them that sign for people and services; NULL: not known */
    const char *crl_file;       /* PEM, of client_ca; NULL: none. Re-read when the file changes */
    HttpThreads threads;
    unsigned connections_max, connections_per_ip_max; /* 0 for the second: no limit */
    unsigned connections_per_name_max;                /* of one certificate's name; 0: no limit */
    unsigned idle_timeout_s;                          /* without a byte in either direction */
    uint64_t body_rate_min;    /* a request's body that comes in slower, bytes a second, is cut; 0: none */
    uint64_t body_window_ms;   /* over which that is measured; 0: a minute */
    uint64_t body_deadline_ms; /* one that takes longer, however fast, is cut too; 0: none */
} HttpServerConfig;

/* Listens and serves until http_server_free(). 0 or a negative errno, after one log line that says what
 * failed. */
int http_server_new(const HttpServerConfig *config, const HttpHandlers *handlers, void *userdata,
                    HttpServer **ret_server) MUST_CHECK;

/* Listens no more: new connections are refused; those that are there go on. Once, and not before the server
 * is ready. */
void http_server_quiesce(HttpServer *server);

/* Stops listening, ends open connections, waits for their done(). Returns NULL. */
HttpServer *http_server_free(HttpServer *server);

/* Checks that the certificate, key, CA and CRL load; logs what does not. For --check-config. */
int http_server_check(const HttpServerConfig *config) MUST_CHECK;

/* What was asked. Pointers live until done(). Header names are case-insensitive; a header given twice gives
 * the first. */
const char *http_request_method(const HttpRequest *request);
const char *http_request_path(const HttpRequest *request); /* still percent-encoded, without the query */
const char *http_request_query(const HttpRequest *request,
                               const char *name); /* decoded, where that is possible; NULL: not given */
/* Calls each for what the query has, in order, until it returns false. Names and values are still
 * percent-encoded; value is NULL where there is no "=". */
void http_request_each_query(const HttpRequest *request,
                             bool (*each)(void *userdata, const char *name, const char *value),
                             void *userdata);
const char *http_request_header(const HttpRequest *request, const char *name);
const char *http_request_trailer(const HttpRequest *request, const char *name); /* from end() on */
bool http_request_has_body(const HttpRequest *request);
const char *http_request_address(const HttpRequest *request); /* the peer's, numeric, for logs */

typedef enum HttpPeer {
    HTTP_PEER_NONE,     /* no certificate was sent */
    HTTP_PEER_VERIFIED, /* *ret_name is its one CN */
    HTTP_PEER_REFUSED,  /* one was sent that is not to be trusted: *ret_name says why, in a few words */
    HTTP_PEER_UNTIMELY, /* the same, but only because of its dates and our clock, either of which may be wrong
                           for a while */
    HTTP_PEER_CROWDED,  /* it is good, but *ret_name has as many connections as it may */
} HttpPeer;
HttpPeer http_request_peer(HttpRequest *request, const char **ret_name);

/* Of a HTTP_PEER_VERIFIED: whether a CA of people_ca_file has signed it. */
bool http_request_peer_is_person(const HttpRequest *request);

/* The handler's own state of this request. */
void http_request_set_state(HttpRequest *request, void *state);
void *http_request_state(const HttpRequest *request);

/* Ends the connection without an answer. In a callback of this request. */
void http_request_abort(HttpRequest *request);

/* Ends the connection of somebody else's request, at once: its body() will not be called with what has not
 * arrived yet and its done() comes soon. Any thread, but the caller must know (by a lock that done() takes
 * too) that the request is not done. */
void http_request_cut(HttpRequest *request);

/* Answers. response is taken over, also when something fails. In begin() or end(), once. */
void http_respond(HttpRequest *request, HttpResponse *response);
bool http_request_answered(const HttpRequest *request);

/* A response. The functions that add to one may be chained on NULL: out of memory shows as a dropped
 * connection. */
HttpResponse *http_response_new(unsigned status);
void http_response_header(HttpResponse *response, const char *name,
                          const char *value); /* control characters: header left out */
void http_response_text(HttpResponse *response, const char *content_type, const char *text); /* copied */
void http_response_data(HttpResponse *response, const char *content_type, const void *data,
                        size_t size); /* not copied; static */
/* Takes fd over and sends size bytes from offset. */
void http_response_file(HttpResponse *response, int fd, uint64_t offset, uint64_t size);

/* A body that is made while it is sent and has no known end; with HTTP_ONE_THREAD only. */
typedef struct HttpStream HttpStream;

#define HTTP_STREAM_MIN ((size_t)24 * 1024)

typedef struct HttpSource {
    /* Fills buf with up to max bytes (at least HTTP_STREAM_MIN) and returns how many; or returns 0 after
     * http_stream_sleep(), and is called again after http_stream_wake(); or a negative number: the end. */
    ssize_t (*read)(void *userdata, HttpStream *stream, char *buf, size_t max);
    void (*free)(void *userdata); /* the last call, whatever became of the answer */
    void *userdata;
} HttpSource;

void http_response_stream(HttpResponse *response, const char *content_type, const HttpSource *source);

/* Within read(). */
void http_stream_sleep(HttpStream *stream);

/* Any thread, under a lock that read() takes too while it decides to sleep and free() before it returns. A
 * sleeper must be woken before http_server_free(). A peer that goes away does not wake it. */
void http_stream_wake(HttpStream *stream);

/* Whether the peer of a sleeper has closed the connection. Under the same lock. */
bool http_stream_is_deserted(const HttpStream *stream);
