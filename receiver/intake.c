/* Bytes come in, by PUT, PATCH or POST: what can be known before the body is checked before it, the rest at
 * its clean end. */
#include "receiver/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/planted.h"
#include "common/text.h"
#include "receiver/figures.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DRAIN_MAX                                                                                            \
    ((uint64_t)64 * 1024 *                                                                                   \
     1024) /* of a body refused in its middle; more than that, and the connection is dropped */
#define SIZE_MAX_JSON ((uint64_t)1 << 53) /* the largest size that a receipt can say */

typedef struct Intake {
    Api *api;
    Transfer *transfer;
    IntakeMethod method;
    Permit permit;
    IntakeFields fields;
    Refusal refusal;      /* what went wrong in the middle of the body, answered at its end */
    bool has_true_offset; /* the refusal says where the upload stands: */
    uint64_t true_offset;
    uint64_t drained;    /* bytes read since then */
    bool ended;          /* the body came to its clean end */
    UploadResult result; /* UPLOAD_RESULT_BROKEN until a better one is known */
    int64_t started_ms;
} Intake;

static Intake *intake_free(Intake *intake)
{
    if (intake)
        (void)transfer_end(intake->transfer);
    free(intake);
    return NULL;
}

static void intake_cleanup(Intake **intake)
{
    (void)intake_free(*intake);
}

/* Refusals */

static int refuse_fenced(Refusal *refusal)
{
    return refuse(refusal, 409, ERROR_ABORTED, "FENCED",
                  "A newer request or a cancel has taken the upload away.");
}

static int refuse_client_busy(Refusal *refusal)
{
    return refuse(
        refusal, 429, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_UPLOADS_OF_CLIENT",
        "This client has as many incomplete uploads, or bytes of them, as it may; finish one first.");
}

static int refuse_again(Refusal *refusal)
{
    return refuse(refusal, 503, ERROR_UNAVAILABLE, "TRY_AGAIN",
                  "The receiver can't take it just now; try again later.");
}

static int refuse_full(Refusal *refusal)
{
    return refuse(refusal, 507, ERROR_RESOURCE_EXHAUSTED, "NO_SPACE",
                  "The receiver has no room; what it has of this file is kept.");
}

static int refuse_length(const Intake *intake, Refusal *refusal)
{
    if (intake->fields.has_length)
        (void)refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "LENGTH_MISMATCH",
                     "The upload is not as long as was said (%" PRIu64 " bytes).", intake->fields.length);
    else
        (void)refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "LENGTH_MISMATCH",
                     "The upload is not as long as was said when it began.");
    return refusal_type(refusal, PROBLEM_TYPES "inconsistent-upload-length");
}

static int refuse_begin(const Intake *intake, int r, Refusal *refusal)
{
    switch (r) {
    case UPLOADS_E_FENCED:
        return refuse_fenced(refusal);
    case UPLOADS_E_BUSY:
        return refuse(refusal, 503, ERROR_UNAVAILABLE, "TOO_MANY_UPLOADS",
                      "The receiver has all the uploads it can take; try again later.");
    case UPLOADS_E_AGAIN:
        return refuse_again(refusal);
    case UPLOADS_E_CLIENT_BUSY:
        return refuse_client_busy(refusal);
    case UPLOADS_E_FULL:
        return refuse_full(refusal);
    case UPLOADS_E_LENGTH:
        return refuse_length(intake, refusal);
    case UPLOADS_E_ABSENT:
        return refuse_absent(refusal);
    case UPLOADS_E_DELETED:
        return refuse_deleted(refusal);
    case UPLOADS_E_OFFSET:
        (void)refuse(refusal, 409, ERROR_FAILED_PRECONDITION, "OFFSET_MISMATCH",
                     "The upload stands at byte %" PRIu64 "; go on from there.", intake->true_offset);
        return refusal_type(refusal, PROBLEM_TYPES "mismatching-upload-offset");
    default:
        if (r < 0)
            log_at(LOG_LEVEL_ERROR, intake->permit.client, intake->permit.id, "the upload can't begin: %s",
                   strerror(-r));
        return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED",
                      "The receiver's store failed; try again later.");
    }
}

static int refuse_body(const Intake *intake, int r, Refusal *refusal)
{
    switch (r) {
    case UPLOADS_E_FENCED:
        return refuse_fenced(refusal);
    case UPLOADS_E_CLIENT_BUSY:
        return refuse_client_busy(refusal);
    case UPLOADS_E_FULL:
        return refuse_full(refusal);
    case UPLOADS_E_AGAIN:
        return refuse_again(refusal);
    case UPLOADS_E_LENGTH:
        return refuse_length(intake, refusal);
    case UPLOADS_E_DIGEST:
        (void)refuse(refusal, 400, ERROR_DATA_LOSS, "DIGEST_MISMATCH",
                     "What arrived does not have the digest that was said; send the file again.");
        return refusal_type(refusal, PROBLEM_TYPES "digest-mismatching-values");
    case UPLOADS_E_UNPROVEN:
        return refuse(
            refusal, 400, ERROR_INVALID_ARGUMENT, "DIGEST_MISSING",
            "An upload by a ticket needs the digest of the whole: Repr-Digest, as a header or in the "
            "trailer; what arrived is kept.");
    case UPLOADS_E_COMPLETE:
        (void)refuse(refusal, 409, ERROR_ALREADY_EXISTS, "UPLOAD_COMPLETE",
                     "The upload is complete already.");
        return refusal_type(refusal, PROBLEM_TYPES "completed-upload");
    case UPLOADS_E_CONFLICT:
        (void)refuse(refusal, 409, ERROR_ALREADY_EXISTS, "ALREADY_EXISTS",
                     "The upload is complete with another content; use a new id.");
        return refusal_type(refusal, PROBLEM_TYPES "completed-upload");
    default:
        return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED",
                      "The receiver's disk failed; send the file again.");
    }
}

static void answer_refused(HttpRequest *request, const Intake *intake)
{
    const Refusal *refusal = &intake->refusal;
    HttpResponse *response = answer_refusal(refusal);

    log_at(refusal->status >= 500 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, intake->permit.client, intake->permit.id,
           "upload refused: %u %s: %s", refusal->status, refusal->problem.reason, refusal->problem.message);
    if (refusal->status == 413)
        answer_limit(response, intake->permit.max_size);
    if (refusal->status == 415)
        http_response_header(response, "Accept-Patch", PARTIAL_UPLOAD);
    if (intake->has_true_offset)
        answer_number(response, "Upload-Offset", intake->true_offset);
    answer_interop_version(response, intake->fields.interop_version);
    http_respond(request, response);
}

/* Before the body */

static uint64_t size_max(const Permit *permit)
{
    return permit->max_size && permit->max_size < SIZE_MAX_JSON ? permit->max_size : SIZE_MAX_JSON;
}

/* The path on the device; without one that of the ticket, or the id. */
static int read_path(const HttpRequest *request, const Intake *intake, char **ret_path, Refusal *refusal)
{
    const char *field = http_request_header(request, "Beckon-Path"), *ticket = intake->permit.path;
    char *path CLEANUP(free_ptr) =
        field ? text_percent_decode(field) : strdup(*ticket ? ticket : intake->permit.id);

    if (!path && errno == ENOMEM)
        return refuse_again(refusal); /* not the path's fault, and no reason to give the upload up */
    if (!path || !*path || !text_is_utf8(path, strlen(path)))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "PATH_INVALID",
                      "Beckon-Path must be a path in UTF-8, percent-encoded.");
    if (*ticket && strcmp(path, ticket) != 0)
        return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "TICKET_INVALID",
                      "The ticket is not taken: it is for another path.");
    int r = archive_check_path(intake->api->archive, intake->permit.client, intake->permit.id, path);
    if (r == ARCHIVE_E_PATH)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "PATH_TOO_LONG", "Beckon-Path is too long.");
    if (r < 0)
        return refuse_again(refusal);
    *ret_path = TAKE_PTR(path);
    return 0;
}

/* What a ticket names need not have begun before its first PATCH. */
static int begin_transfer(Intake *intake, const TransferStart *start)
{
    int r = UPLOADS_E_ABSENT;

    if (intake->method == INTAKE_PATCH)
        r = transfer_resume(intake->api->uploads, start, intake->fields.offset, &intake->transfer,
                            &intake->true_offset);
    if (intake->method == INTAKE_PATCH &&
        !(r == UPLOADS_E_ABSENT && intake->permit.ticketed && intake->fields.offset == 0))
        return r;
    return transfer_begin(intake->api->uploads, start, &intake->transfer);
}

static int intake_start(HttpRequest *request, Intake *intake, Refusal *refusal)
{
    char *path CLEANUP(free_ptr) = NULL;
    const IntakeFields *fields = &intake->fields;
    char traceparent[TRACEPARENT_SIZE] = "";

    (void)traceparent_read(http_request_header(request, "traceparent"), traceparent);
    if (intake_fields_read(request, intake->method, size_max(&intake->permit), &intake->fields, refusal) <
            0 ||
        read_path(request, intake, &path, refusal) < 0)
        return -1;
    intake->fields.claims.needed = intake->permit.ticketed;
    const TransferStart start = {.client = intake->permit.client,
                                 .id = intake->permit.id,
                                 .path = path,
                                 .traceparent = traceparent,
                                 .has_length = fields->has_length,
                                 .length = fields->length,
                                 .attempt = fields->attempt,
                                 .check_body = fields->check_body,
                                 .connection = request};
    int r = begin_transfer(intake, &start);
    intake->has_true_offset = r == UPLOADS_E_OFFSET;
    return r == 0 ? 0 : refuse_begin(intake, r, refusal);
}

void intake_begin(Api *api, HttpRequest *request, IntakeMethod method, const Permit *permit)
{
    Intake *intake CLEANUP(intake_cleanup) = calloc(1, sizeof(*intake));

    if (!intake) {
        http_request_abort(request);
        return;
    }
    intake->api = api;
    intake->method = method;
    intake->started_ms = clock_monotonic_ms();
    intake->result = UPLOAD_RESULT_BROKEN;
    intake->permit = *permit;
    if (intake_start(request, intake, &intake->refusal) < 0) {
        counter_add(&figures.uploads[UPLOAD_RESULT_REFUSED], 1);
        answer_refused(request, intake);
        return;
    }
    if (intake->fields.attempt > 1)
        counter_add(&figures.upload_retries, 1);
    http_request_set_state(request, TAKE_PTR(intake));
}

/* The body */

/* Whether the rest of a refused body is little enough to be read, so that the answer reaches the sender. */
static bool is_worth_draining(const Intake *intake)
{
    const IntakeFields *fields = &intake->fields;
    uint64_t at = transfer_offset(intake->transfer) + intake->drained;

    return intake->drained <= DRAIN_MAX && intake->refusal.status != 409 &&
           (!fields->has_length || fields->length <= at || fields->length - at <= DRAIN_MAX);
}

void intake_body(HttpRequest *request, const void *data, size_t size)
{
    Intake *intake = http_request_state(request);
    uint64_t max_size = size_max(&intake->permit);

    counter_add(&figures.upload_bytes, size);
    if (intake->refusal.status == 0) {
        bool too_large = transfer_offset(intake->transfer) + size > max_size;
        int r = too_large ? refuse_too_large(max_size, &intake->refusal) : 0;
        if (too_large)
            transfer_discard(intake->transfer);
        if (r == 0)
            r = transfer_write(intake->transfer, data, size);
        if (r > 0)
            (void)refuse_body(intake, r, &intake->refusal);
        if (r == 0)
            return;
    }
    intake->drained += size;
    if (is_worth_draining(intake))
        return;
    log_at(LOG_LEVEL_WARN, intake->permit.client, intake->permit.id,
           "upload refused and its connection dropped: %u %s", intake->refusal.status,
           intake->refusal.problem.reason);
    http_request_abort(request);
}

/* Its end */

static HttpResponse *answer_progress(const Intake *intake, unsigned patch_status, const char *complete,
                                     uint64_t offset)
{
    HttpResponse *response = http_response_new(intake->method == INTAKE_PATCH ? patch_status : 201);
    char *location CLEANUP(free_ptr) =
        intake->method == INTAKE_POST ? text_format(UPLOADS_PATH "%s", intake->permit.id) : NULL;

    if (location)
        http_response_header(response, "Location", location);
    http_response_header(response, "Upload-Complete", complete);
    answer_number(response, "Upload-Offset", offset);
    answer_limit(response, intake->permit.max_size);
    answer_interop_version(response, intake->fields.interop_version);
    return response;
}

static void answer_complete(HttpRequest *request, const Intake *intake, const Stored *stored)
{
    HttpResponse *response = answer_progress(intake, 200, "?1", stored->receipt.size_bytes);

    answer_digest(response, stored->receipt.sha256);
    http_respond(request, response);
}

static void log_progress(const Intake *intake, const char *what, const char *more)
{
    int64_t took_ms = clock_monotonic_ms() - intake->started_ms;
    uint64_t received = transfer_received(intake->transfer);
    char size[TEXT_BYTES_SIZE], rate[TEXT_BYTES_SIZE];

    text_bytes(received, size);
    text_bytes(received * 1000 / (uint64_t)(took_ms > 0 ? took_ms : 1), rate);
    log_at(LOG_LEVEL_INFO, intake->permit.client, intake->permit.id,
           "%s: %s in %" PRId64 ".%03d s (%s/s), %s", what, size, took_ms / 1000, (int)(took_ms % 1000), rate,
           more);
}

static void log_complete(const Intake *intake, const Stored *stored)
{
    char sha256[SHA256_HEX_SIZE];

    text_hex(stored->receipt.sha256, SHA256_SIZE, sha256);
    char *more CLEANUP(free_ptr) = text_format("size %" PRIu64 ", sha256 %s, %s", stored->receipt.size_bytes,
                                               sha256, stored->receipt.path);
    log_progress(intake, "complete", more ? more : "");
}

static int read_trailer(const HttpRequest *request, Intake *intake)
{
    if (intake_trailer_read(request, &intake->fields.claims, &intake->refusal) < 0)
        return -1;
    if (intake->fields.claims.body_count == 0 || transfer_checks_body(intake->transfer))
        return 0;
    return refuse(&intake->refusal, 400, ERROR_INVALID_ARGUMENT, "DIGEST_UNANNOUNCED",
                  "A Content-Digest behind the body of a PATCH must be announced: Trailer: Content-Digest.");
}

void intake_end(HttpRequest *request)
{
    Intake *intake = http_request_state(request);
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    intake->ended = true;
    if (!stored) {
        http_request_abort(request);
        return;
    }
    if (intake->refusal.status != 0 || read_trailer(request, intake) < 0) {
        answer_refused(request, intake);
        return;
    }
    int r = transfer_finish(intake->transfer, &intake->fields.claims, stored);
    if (r == 0) {
        intake->result =
            transfer_is_repeat(intake->transfer) ? UPLOAD_RESULT_REPEATED : UPLOAD_RESULT_COMPLETED;
        log_complete(intake, stored);
        answer_complete(request, intake, stored);
    } else if (r == UPLOADS_E_INCOMPLETE) {
        intake->result = UPLOAD_RESULT_PARTIAL;
        log_at(LOG_LEVEL_DEBUG, intake->permit.client, intake->permit.id, "incomplete, at byte %" PRIu64,
               transfer_offset(intake->transfer));
        http_respond(request, answer_progress(intake, 204, "?0", transfer_offset(intake->transfer)));
    } else {
        intake->has_true_offset = r == UPLOADS_E_COMPLETE || r == UPLOADS_E_CONFLICT;
        intake->true_offset = intake->has_true_offset ? stored->receipt.size_bytes : 0;
        (void)refuse_body(intake, r, &intake->refusal);
        answer_refused(request, intake);
    }
}

static void count_result(const Intake *intake)
{
    UploadResult result = intake->result;

    if (result == UPLOAD_RESULT_BROKEN && transfer_is_fenced(intake->transfer))
        result = UPLOAD_RESULT_FENCED;
    else if (result == UPLOAD_RESULT_BROKEN && intake->refusal.status != 0)
        result = UPLOAD_RESULT_REFUSED;
    counter_add(&figures.uploads[result], 1);
    if (result == UPLOAD_RESULT_COMPLETED)
        histogram_observe(&figures.upload_duration, clock_monotonic_ms() - intake->started_ms);
}

void intake_done(HttpRequest *request)
{
    Intake *intake = http_request_state(request);

    count_result(intake);
    if (!intake->ended && intake->refusal.status == 0)
        log_at(LOG_LEVEL_INFO, intake->permit.client, intake->permit.id,
               "the connection broke at byte %" PRIu64, transfer_offset(intake->transfer));
    if (PLANTED("completion-without-end") && !intake->ended && intake->refusal.status == 0)
        (void)!transfer_finish(intake->transfer, &intake->fields.claims, &(Stored){0});
    if ((!intake->ended || intake->refusal.status != 0) && intake->method == INTAKE_POST)
        transfer_discard(intake->transfer); /* nobody was told its id */
    (void)intake_free(intake);
    http_request_set_state(request, NULL);
}
