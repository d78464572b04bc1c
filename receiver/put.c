/* PUT of an upload: what can be known before the body is checked before it, the rest at its clean end. */
#include "receiver/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/text.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define DRAIN_MAX                                                                                            \
    ((uint64_t)64 * 1024 *                                                                                   \
     1024) /* of a body refused in its middle; more than that, and the connection is dropped */
#define SIZE_MAX_JSON ((uint64_t)1 << 53) /* the largest size that a receipt can say */

typedef struct Put {
    Api *api;
    Transfer *transfer;
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    bool has_length;
    uint64_t length;
    TransferClaims claims;
    Refusal refusal;  /* what went wrong in the middle of the body, answered at its end */
    uint64_t drained; /* bytes read since then */
    bool ended;       /* the body came to its clean end */
    int64_t started_ms;
} Put;

static Put *put_free(Put *put)
{
    if (put)
        (void)transfer_end(put->transfer);
    free(put);
    return NULL;
}

static void put_cleanup(Put **put)
{
    (void)put_free(*put);
}

/* Before the body */

/* Header fields that would make the body something else than the file. */
static int check_form(const HttpRequest *request, Refusal *refusal)
{
    const char *complete = http_request_header(request, "Upload-Complete");
    const char *encoding = http_request_header(request, "Content-Encoding");

    if (http_request_header(request, "Content-Range"))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "CONTENT_RANGE",
                      "A PUT with Content-Range is not taken; send the whole file.");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return refuse(refusal, 415, ERROR_INVALID_ARGUMENT, "CONTENT_ENCODING",
                      "Send the file as it is, without a Content-Encoding.");
    if (!complete || strcmp(complete, "?1") == 0)
        return 0;
    if (strcmp(complete, "?0") == 0)
        return refuse(refusal, 501, ERROR_FAILED_PRECONDITION, "NOT_RESUMABLE",
                      "Uploads in several requests are not supported yet; send the whole file with "
                      "Upload-Complete: ?1.");
    return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "UPLOAD_COMPLETE_INVALID",
                  "Upload-Complete must be ?0 or ?1.");
}

static int read_number(const HttpRequest *request, const char *name, bool *ret_given, uint64_t *ret_value,
                       Refusal *refusal)
{
    const char *text = http_request_header(request, name);

    *ret_given = text != NULL;
    if (text && !text_to_u64(text, ret_value))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "LENGTH_INVALID", "%s is not a whole number.",
                      name);
    return 0;
}

static int refuse_too_large(const Put *put, Refusal *refusal)
{
    return refuse(refusal, 413, ERROR_RESOURCE_EXHAUSTED, "FILE_TOO_LARGE",
                  "The file is larger than the receiver's max_size of %" PRIu64 " bytes.",
                  put->api->max_size ? put->api->max_size : SIZE_MAX_JSON);
}

static bool is_too_large(const Put *put, uint64_t size)
{
    return size > (put->api->max_size ? put->api->max_size : SIZE_MAX_JSON);
}

/* The length of the whole, from Upload-Length or from Content-Length. */
static int read_length(const HttpRequest *request, Put *put, Refusal *refusal)
{
    bool has_content_length = false;
    uint64_t content_length = 0;

    if (read_number(request, "Upload-Length", &put->has_length, &put->length, refusal) < 0)
        return -1;
    if (!http_request_header(request, "Transfer-Encoding") &&
        read_number(request, "Content-Length", &has_content_length, &content_length, refusal) < 0)
        return -1;
    if (has_content_length && put->has_length && content_length != put->length)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "LENGTH_MISMATCH",
                      "Content-Length and Upload-Length differ; a PUT has the whole file.");
    if (has_content_length) {
        put->has_length = true;
        put->length = content_length;
    }
    if (put->has_length && is_too_large(put, put->length))
        return refuse_too_large(put, refusal);
    return 0;
}

/* Adds the sha-256 of a digest field, if it has one, to what the content must be. */
static int add_claim(TransferClaims *claims, const char *name, const char *value, Refusal *refusal)
{
    if (!value)
        return 0;
    int r = digest_field_parse(value, claims->sha256[claims->count]);
    if (r == DIGEST_E_INVALID)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "DIGEST_INVALID",
                      "%s is not a digest field of RFC 9530.", name);
    if (r == 0)
        claims->count++;
    return 0;
}

/* The body of a PUT is the whole file: the digest of the one is that of the other. */
static int read_claims(Put *put, const char *repr, const char *content, Refusal *refusal)
{
    if (add_claim(&put->claims, "Repr-Digest", repr, refusal) < 0)
        return -1;
    return add_claim(&put->claims, "Content-Digest", content, refusal);
}

/* The path on the device; without one, the id. */
static int read_path(const HttpRequest *request, const Put *put, char **ret_path, Refusal *refusal)
{
    const char *field = http_request_header(request, "Beckon-Path");
    char *path CLEANUP(free_ptr) = field ? text_percent_decode(field) : strdup(put->id);

    if (!path || !*path || !text_is_utf8(path, strlen(path)))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "PATH_INVALID",
                      "Beckon-Path must be a path in UTF-8, percent-encoded.");
    if (!archive_accepts_path(put->api->archive, put->client, put->id, path))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "PATH_TOO_LONG", "Beckon-Path is too long.");
    *ret_path = TAKE_PTR(path);
    return 0;
}

static int refuse_begin(const Put *put, int r, Refusal *refusal)
{
    switch (r) {
    case UPLOADS_E_FENCED:
        return refuse(refusal, 409, ERROR_ABORTED, "FENCED", "A newer request has taken the upload over.");
    case UPLOADS_E_BUSY:
        return refuse(refusal, 503, ERROR_UNAVAILABLE, "TOO_MANY_UPLOADS",
                      "The receiver has all the uploads it can take; try again later.");
    case UPLOADS_E_CLIENT_BUSY:
        return refuse(refusal, 429, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_UPLOADS_OF_CLIENT",
                      "This client has as many uploads open as it may; finish one first.");
    case UPLOADS_E_FULL:
        return refuse(refusal, 507, ERROR_RESOURCE_EXHAUSTED, "NO_SPACE",
                      "The receiver has no room for this file.");
    default:
        log_at(LOG_LEVEL_ERROR, put->client, put->id, "the upload can't begin: %s", strerror(-r));
        return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED",
                      "The receiver's store failed; try again later.");
    }
}

static int put_start(HttpRequest *request, Put *put, Refusal *refusal)
{
    char *path CLEANUP(free_ptr) = NULL;

    if (check_form(request, refusal) < 0 || read_length(request, put, refusal) < 0 ||
        read_claims(put, http_request_header(request, "Repr-Digest"),
                    http_request_header(request, "Content-Digest"), refusal) < 0 ||
        read_path(request, put, &path, refusal) < 0)
        return -1;
    const TransferStart start = {.client = put->client,
                                 .id = put->id,
                                 .path = path,
                                 .has_length = put->has_length,
                                 .length = put->length,
                                 .connection = request};
    int r = transfer_begin(put->api->uploads, &start, &put->transfer);
    return r == 0 ? 0 : refuse_begin(put, r, refusal);
}

static void put_answer_refusal(HttpRequest *request, const Put *put)
{
    const Refusal *refusal = &put->refusal;
    HttpResponse *response = answer_refusal(refusal);

    log_at(refusal->status >= 500 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, put->client, put->id,
           "upload refused: %u %s: %s", refusal->status, refusal->problem.reason, refusal->problem.message);
    if (refusal->status == 413)
        answer_limit(response, put->api->max_size);
    http_respond(request, response);
}

void put_begin(Api *api, HttpRequest *request, const char *client, const char *id)
{
    Put *put CLEANUP(put_cleanup) = calloc(1, sizeof(*put));

    if (!put) {
        http_request_abort(request);
        return;
    }
    put->api = api;
    put->started_ms = clock_monotonic_ms();
    (void)snprintf(put->client, sizeof(put->client), "%s", client);
    (void)snprintf(put->id, sizeof(put->id), "%s", id);
    if (put_start(request, put, &put->refusal) < 0) {
        put_answer_refusal(request, put);
        return;
    }
    http_request_set_state(request, TAKE_PTR(put));
}

/* The body */

static int refuse_body(const Put *put, int r, Refusal *refusal)
{
    switch (r) {
    case UPLOADS_E_FENCED:
        return refuse(refusal, 409, ERROR_ABORTED, "FENCED",
                      "A newer request or a cancel has taken the upload away.");
    case UPLOADS_E_FULL:
        return refuse(refusal, 507, ERROR_RESOURCE_EXHAUSTED, "NO_SPACE",
                      "The receiver's disk is full; what it has is kept.");
    case UPLOADS_E_LENGTH:
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "LENGTH_MISMATCH",
                      "The body is not as long as was said (%" PRIu64 " bytes).", put->length);
    case UPLOADS_E_DIGEST:
        refusal->type = PROBLEM_TYPES "digest-mismatching-values";
        return refuse(refusal, 400, ERROR_DATA_LOSS, "DIGEST_MISMATCH",
                      "What arrived does not have the digest that was said; send the file again.");
    case UPLOADS_E_CONFLICT:
        return refuse(refusal, 409, ERROR_ALREADY_EXISTS, "ALREADY_EXISTS",
                      "The upload is complete with another content; use a new id.");
    default:
        return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED",
                      "The receiver's disk failed; send the file again.");
    }
}

/* Whether the rest of a refused body is little enough to be read, so that the answer reaches the sender. */
static bool is_worth_draining(const Put *put)
{
    uint64_t received = transfer_received(put->transfer) + put->drained;

    return put->drained <= DRAIN_MAX && put->refusal.status != 409 &&
           (!put->has_length || put->length <= received || put->length - received <= DRAIN_MAX);
}

void put_body(HttpRequest *request, const void *data, size_t size)
{
    Put *put = http_request_state(request);

    if (put->refusal.status == 0) {
        int r = is_too_large(put, transfer_received(put->transfer) + size)
                    ? refuse_too_large(put, &put->refusal)
                    : 0;
        if (r == 0)
            r = transfer_write(put->transfer, data, size);
        if (r > 0)
            (void)refuse_body(put, r, &put->refusal);
        if (r == 0)
            return;
    }
    put->drained += size;
    if (is_worth_draining(put))
        return;
    log_at(LOG_LEVEL_WARN, put->client, put->id, "upload refused and its connection dropped: %u %s",
           put->refusal.status, put->refusal.problem.reason);
    http_request_abort(request);
}

/* Its end */

static void put_answer_complete(HttpRequest *request, const Stored *stored)
{
    HttpResponse *response = http_response_new(201);

    http_response_header(response, "Upload-Complete", "?1");
    answer_number(response, "Upload-Offset", stored->receipt.size_bytes);
    answer_digest(response, stored->receipt.sha256);
    http_respond(request, response);
}

static void log_complete(const Put *put, const Stored *stored)
{
    int64_t took_ms = clock_monotonic_ms() - put->started_ms;
    char sha256[SHA256_HEX_SIZE], size[TEXT_BYTES_SIZE], rate[TEXT_BYTES_SIZE];

    text_hex(stored->receipt.sha256, SHA256_SIZE, sha256);
    text_bytes(stored->receipt.size_bytes, size);
    text_bytes(stored->receipt.size_bytes * 1000 / (uint64_t)(took_ms > 0 ? took_ms : 1), rate);
    log_at(LOG_LEVEL_INFO, put->client, put->id, "complete: %s in %" PRId64 ".%03d s (%s/s), sha256 %s, %s",
           size, took_ms / 1000, (int)(took_ms % 1000), rate, sha256, stored->receipt.path);
}

static int put_finish(HttpRequest *request, Put *put, Stored *stored)
{
    if (read_claims(put, http_request_trailer(request, "Repr-Digest"),
                    http_request_trailer(request, "Content-Digest"), &put->refusal) < 0)
        return -1;
    int r = transfer_finish(put->transfer, &put->claims, stored);
    return r == 0 ? 0 : refuse_body(put, r, &put->refusal);
}

void put_end(HttpRequest *request)
{
    Put *put = http_request_state(request);
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    put->ended = true;
    if (!stored) {
        http_request_abort(request);
        return;
    }
    if (put->refusal.status != 0 || put_finish(request, put, stored) < 0) {
        put_answer_refusal(request, put);
        return;
    }
    log_complete(put, stored);
    put_answer_complete(request, stored);
}

void put_done(HttpRequest *request)
{
    Put *put = http_request_state(request);

    if (!put->ended && put->refusal.status == 0)
        log_at(LOG_LEVEL_INFO, put->client, put->id, "the connection broke after %" PRIu64 " bytes",
               transfer_received(put->transfer));
    (void)put_free(put);
    http_request_set_state(request, NULL);
}
