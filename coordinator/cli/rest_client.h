/* Calls to the coordinator's REST API, and the download of content from a receiver (libcurl inside).
 *
 * The bearer token goes to the coordinator only: a redirect is never followed but handed to the caller, and
 * the request to the receiver is built without credentials. TLS 1.2 or later, nothing but https, no proxy.
 * One thread; calls block. */
#pragma once

#include "common/cleanup.h"
#include "protocol/problem.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REST_REPLY_MAX ((size_t)16 << 20) /* bytes of a reply from the coordinator */
#define REST_TOKEN_MAX 8192               /* bytes of a bearer token */
#define REST_TIMEOUT_MS 60000

typedef struct RestClient RestClient;

typedef struct RestConfig {
    const char *url;                  /* https://host:port, a path may follow */
    const char *token_file;           /* one line; NULL: none is shown */
    const char *ca_file;              /* PEM; NULL: what the system trusts */
    const char *cert_file, *key_file; /* PEM; NULL: no certificate is shown */
    const char *proxy;                /* NULL: none */
    bool (*interrupted)(void);        /* asked about once a second during a call; true ends it */
} RestConfig;

/* Copies config and reads the token. 0, or -1 and *ret_problem says what is wrong. */
int rest_client_new(const RestConfig *config, RestClient **ret_client, Problem *ret_problem) MUST_CHECK;
RestClient *rest_client_free(RestClient *client);

enum {
    REST_E_UNREACHABLE = 1, /* no connection: the call has surely not happened */
    REST_E_UNAVAILABLE,     /* the answer was lost, or says to try again later */
    REST_E_REFUSED,         /* the server said no, or can't be trusted: trying again is pointless */
    REST_E_INTERRUPTED,
    REST_E_RANGE, /* rest_fetch() only: the server can't go on at the offset */
    REST_E_SINK,  /* the sink has ended it */
};

/* Why the last call failed. Strings in it are a stranger's. It lives until the next call. */
typedef struct RestFailure {
    long http_status; /* 0: no answer */
    Problem problem;
    const cJSON *details; /* the problem+json with members of its own; NULL: there was none */
} RestFailure;
const RestFailure *rest_client_failure(const RestClient *client);

typedef struct RestCall {
    const char *method, *path;   /* "GET", "/clients" */
    const cJSON *body;           /* or NULL */
    const char *idempotency_key; /* or NULL */
    int64_t timeout_ms;          /* of the whole call; 0: REST_TIMEOUT_MS */
} RestCall;

typedef struct RestReply {
    char *text; /* as it came, with a NUL behind it */
    cJSON *json;
} RestReply;

/* 0 for a 2xx answer with a JSON object in it, or REST_E_*. Free the reply with rest_reply_deinit(). */
int rest_call(RestClient *client, const RestCall *call, RestReply *ret_reply) MUST_CHECK;
void rest_reply_deinit(RestReply *reply);

/* How a server answers, whatever it is. Strings are a stranger's. */
typedef struct RestSight {
    long http_status;
    int64_t date_unix_s; /* by its clock; 0: it does not say */
    char words[256];     /* its JSON's "message", else its "status"; "" without */
} RestSight;

/* 0 once there is an answer, or REST_E_*. */
int rest_look(RestClient *client, const char *method, const char *path, RestSight *ret_sight) MUST_CHECK;

/* Where the content at path lies: the address of the 302 answer, which holds a short-lived ticket. The caller
 * frees it. */
int rest_locate(RestClient *client, const char *path, char **ret_url) MUST_CHECK;

/* Takes a piece of a body. 0, or a negative errno, which ends the fetch. */
typedef int RestSink(void *userdata, const void *data, size_t size);

/* Gets url from offset on, without credentials. 0 once the answer has come to its clean end, or REST_E_*. */
int rest_fetch(RestClient *client, const char *url, uint64_t offset, RestSink *sink,
               void *userdata) MUST_CHECK;

/* Gets the events at path from the one after last_id ("": from now) until the server ends them: then 0. Or
 * REST_E_*: REST_E_UNAVAILABLE after timeout_ms (0: none), too; a server of which nothing is heard for 45
 * seconds counts as gone. */
int rest_listen(RestClient *client, const char *path, const char *last_id, int64_t timeout_ms, RestSink *sink,
                void *userdata) MUST_CHECK;
