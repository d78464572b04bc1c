/* HTTPS requests of an upload (libcurl inside): a PUT or PATCH whose body is chunked and ends with a trailer,
 * a HEAD, and a DELETE. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_ANSWER_MAX 8192 /* bytes of an answer's body that are kept */

typedef struct HttpPut {
    const char *method; /* "PUT" or "PATCH"; "HEAD" or "DELETE", and then all that has to do with a body is
                           ignored */
    const char *url;
    const char *ca_file, *cert_file, *key_file; /* PEM; ca_file alone is trusted */
    const char *pin;            /* "sha256//BASE64" of the server's public key, more after a ';'; NULL: any */
    const char *proxy;          /* NULL: none, whatever the environment says */
    const char *bearer;         /* a token for the server; NULL: none */
    const char *traceparent;    /* NULL: none */
    const char *const *headers; /* "Name: value", NULL at the end; NULL: none */
    const char *trailer_name;
    uint64_t rate_bytes_per_s; /* 0: unlimited */
    uint64_t min_rate_bytes_per_s, stall_ms;
    uint64_t commit_timeout_ms; /* from the body's end to the answer */

    /* Called when the TCP connection is made, before the first byte of TLS where this libcurl's TLS library
     * can tell; again before the request. Anything but 0 breaks off. */
    int (*connected)(void *userdata);
    /* Fills buf; returns the number of bytes, 0 at the clean end of the body, or -1 to break the transfer
     * off. */
    ssize_t (*read)(void *buf, size_t size, void *userdata);
    /* The trailer's value, asked for after the end of the body. */
    const char *(*trailer)(void *userdata);
    /* Called about once a second. */
    void (*tick)(void *userdata);
    void *userdata;
} HttpPut;

typedef struct HttpAnswer {
    unsigned status;       /* 0: there was no answer, and error says why */
    bool timed_out;        /* stalled, or no answer in time */
    char error[256];       /* libcurl's own words */
    char repr_digest[256]; /* the header, "" without one; and so are those that follow */
    char upload_offset[32];
    char upload_length[32];
    char upload_complete[8];
    uint64_t retry_after_ms; /* a day at most; 0: not given */
    size_t body_size;
    char body[HTTP_ANSWER_MAX + 1];
} HttpAnswer;

/* The TCP port that a transfer to url connects to: the proxy's if proxy is not NULL. 0 if there is none. */
uint16_t http_put_port(const char *url, const char *proxy);

/* Blocks until there is an answer, or none will come. 0 or -ENOMEM. */
int http_put(const HttpPut *put, HttpAnswer *ret_answer) MUST_CHECK;
