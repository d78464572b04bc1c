/* What outlives the coordinator: clients, requests and their history.
 *
 * A function that changes something returns only after it is on stable storage, where it does not say
 * otherwise. Negative errnos have been logged, with the database's own words. Not thread-safe: control.c
 * holds its mutex around every call. */
#pragma once

#include "common/cleanup.h"
#include "common/trace.h"
#include "protocol/grant.h"
#include "protocol/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORED_PATH_SIZE 512                        /* "<client>/<id>/<name>" below the receiver's store */
#define IDEMPOTENCY_KEY_SIZE (USER_NAME_SIZE + 256) /* "<user>/<key>" */

typedef struct Store Store;

typedef struct Client {
    char id[CLIENT_ID_SIZE];
    bool online;
    int64_t connected_ms; /* Unix; since when it is, or was, online. 0: not known */
    int64_t heartbeat_ms; /* Unix; when it was last heard. 0: never */
    char version[33];
    char *labels; /* a JSON object of strings; NULL: {} */
} Client;

typedef enum RequestOrigin {
    ORIGIN_REST, /* asked for here: its command is published again until it is final */
    ORIGIN_MQTT, /* somebody else published the command, or the device uploaded by itself; we only follow */
} RequestOrigin;

/* One upload, known by (client, id). Times are Unix milliseconds, 0: not yet. */
typedef struct Request {
    int64_t seq; /* order of making, from 1; set by the store */
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    RequestOrigin origin;
    UploadState state;
    bool cancel_asked;
    char path[FILE_PATH_MAX + 1]; /* as asked */
    char receiver[RECEIVER_NAME_SIZE];
    uint64_t max_size_bytes, rate_bytes_per_s; /* 0: not given */
    bool has_size;                             /* the agent's word, until completed */
    uint64_t size_bytes;
    uint64_t sent_bytes;
    bool has_sha256; /* completed only: from the receipt */
    uint8_t sha256[SHA256_SIZE];
    char uploaded_path[FILE_PATH_MAX + 1]; /* completed only: as the receipt says it */
    char stored[STORED_PATH_SIZE];         /* "" if not known; for people */
    int64_t created_ms, started_ms, completed_ms, updated_ms, expires_ms;
    Problem problem;
    char traceparent[TRACEPARENT_SIZE];         /* the trace it belongs to; "": not known */
    char idempotency_key[IDEMPOTENCY_KEY_SIZE]; /* with its maker's name, so that users' keys never meet; "":
                                                   none */
    bool removal_asked;                         /* of the content at the receiver */
    char remover[USER_NAME_SIZE];               /* by whom */
    int64_t removed_ms;                         /* when it was, by the receiver's word */
    char batch[UPLOAD_ID_SIZE];                 /* of which it is a part; "": none */
} Request;

enum {
    STORE_E_ABSENT = 1,
    STORE_E_AMBIGUOUS, /* uploads of several clients have this id, and none was asked for here */
};

/* Opens or makes the database, alone (a second process gets -EBUSY), and brings its schema up to date.
 * -EPROTO if a newer version of this program has written it. */
int store_open(const char *path, Store **ret_store) MUST_CHECK;
Store *store_close(Store *store); /* returns NULL */

/* Whether the database can be read and written, as far as that can be told at every probe: 0; -ENOENT if its
 * file is not where it was opened any more, -ENOSPC if its disk is full or nearly so, -EROFS if that is
 * read-only; or another negative errno, also for some seconds after the disk has failed. now_ms: of a clock
 * that never goes back. */
int store_check(Store *store, int64_t now_ms) MUST_CHECK;

int store_put_client(Store *store, const Client *client) MUST_CHECK;

/* Ends at the first each() that does not return 0, and returns that. */
int store_each_client(Store *store, int (*each)(void *userdata, const Client *client),
                      void *userdata) MUST_CHECK;

/* Adds the row and the first line of its history. Sets request->seq. -EEXIST if (client, id) is there. */
int store_add_request(Store *store, Request *request, const char *event) MUST_CHECK;

/* Writes what may change (not client, id, origin, or what was asked except the path) and a line of history.
 * If it is not durable it does not wait for the disk: a power cut may take it back, and nothing but it. */
int store_update_request(Store *store, Request *request, const char *event, bool durable) MUST_CHECK;

/* 0 or STORE_E_ABSENT. */
int store_get_request(Store *store, const char *client, const char *id, Request *ret_request) MUST_CHECK;

/* By id alone, among what grant sees (NULL: all); of several, the one asked for here. 0, STORE_E_ABSENT or
 * STORE_E_AMBIGUOUS. */
int store_find_request(Store *store, const Grant *grant, const char *id, Request *ret_request) MUST_CHECK;

/* By its maker and the key that was given. 0 or STORE_E_ABSENT. */
int store_find_idempotent(Store *store, const char *key, Request *ret_request) MUST_CHECK;

typedef struct RequestFilter {
    const Grant *grant;       /* only of clients that it sees; NULL: all */
    const char *client;       /* NULL: all */
    const UploadState *state; /* NULL: all */
    const char *batch;        /* NULL: all */
    int64_t before_seq;       /* only older ones than this; 0: from the newest */
} RequestFilter;

/* Newest first, at most max. */
int store_list_requests(Store *store, const RequestFilter *filter, Request *rows, size_t max,
                        size_t *ret_count) MUST_CHECK;

/* Every request that is not final. Ends as store_each_client() does. */
int store_each_open_request(Store *store, int (*each)(void *userdata, const Request *request),
                            void *userdata) MUST_CHECK;

/* Every request whose content is asked to be removed and is not known to be. Ends as store_each_client()
 * does.
 */
int store_each_removing_request(Store *store, int (*each)(void *userdata, const Request *request),
                                void *userdata) MUST_CHECK;

/* Every request that has ended as failed, cancelled or expired since then (Unix milliseconds), the last one
 * first. In the same way. */
int store_each_doubtful_request(Store *store, int64_t since_ms,
                                int (*each)(void *userdata, const Request *request),
                                void *userdata) MUST_CHECK;

/* Forgets final requests of origin mqtt, which devices can make at will: of this client all but the newest
 * keep, of all clients together all but the newest keep_all. Walks through an index of those that are kept.
 * Does what it can: a failure is logged, and the next call tries again. */
void store_prune_followed(Store *store, const char *client, size_t keep, size_t keep_all);

/* When the oldest of the newest keep final requests of this client (NULL: of all) was last changed (Unix
 * milliseconds); 0 if there are fewer. */
int store_final_since(Store *store, const char *client, size_t keep,
                      int64_t *ret_ms) MUST_CHECK; /* keep > 0 */

/* Forgets final requests that were last changed before then, the oldest first, at most max of them at a time.
 * *ret_more: there may be more. */
int store_forget_before(Store *store, int64_t before_ms, size_t max, bool *ret_more) MUST_CHECK;

/* Before when final requests of this client are forgotten (Unix milliseconds); 0: none are. It may ask the
 * store, not change it. 0 or a negative errno. */
typedef int BeforeOf(void *userdata, const char *client, int64_t *ret_before_ms);

/* The same, each client's own way: goes on behind client ("": from the first one), by name, and sets it to
 * the last with which it is done; looks at no more than clients_max of them at a time. Not durable: what a
 * power cut brings back is forgotten again. */
int store_forget_by_client(Store *store, char client[static CLIENT_ID_SIZE], size_t clients_max, size_t max,
                           BeforeOf *before_of, void *userdata, bool *ret_more) MUST_CHECK;

/* Forgets batches that were made before then and of which no request is left, nor will be; in the same way.
 */
int store_forget_batches(Store *store, int64_t before_ms, size_t max, bool *ret_more) MUST_CHECK;

/* The history of one request, oldest first. */
typedef struct RequestEventRow {
    int64_t at_ms;
    char event[24];
    UploadState state; /* after it */
    char reason[40];
} RequestEventRow;
int store_list_events(Store *store, int64_t seq, RequestEventRow *rows, size_t max,
                      size_t *ret_count) MUST_CHECK;
