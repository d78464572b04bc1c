#include "agent/upload.h"

#include "agent/http_apart.h"
#include "agent/source.h"
#include "agent/upload_cage.h"
#include "common/files.h"
#include "common/json.h"
#include "common/planted.h"
#include "common/text.h"

#include <errno.h>
#include <string.h>

#define HEADERS_MAX 10
#define OFFSET_MISMATCH_TYPE "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
#define DIGEST_MISMATCH_TYPE "https://iana.org/assignments/http-problem-types#digest-mismatching-values"

typedef struct Upload {
    const UploadJob *job;
    int report_fd;
    Source source;
    uint64_t start_offset; /* 0: the whole by PUT; otherwise the rest by PATCH */
    bool body_ended;
    char digest_field[DIGEST_FIELD_SIZE];
    UploadLine result;
} Upload;

static void report(const Upload *upload, const UploadLine *line)
{
    char *text CLEANUP(free_ptr) = upload_line_format(line);

    /* Nobody reads any more: the agent is gone, and this process ends by SIGPIPE. */
    if (text && write_all(upload->report_fd, text, strlen(text)) < 0)
        _exit(1);
}

static void fail(Upload *upload, bool retry, ErrorCode code, const char *reason, const char *message)
{
    if (upload->result.kind == UPLOAD_LINE_FAILED)
        return; /* the first reason is the cause */
    upload->result.kind = UPLOAD_LINE_FAILED;
    upload->result.retry = retry;
    (void)problem_set(&upload->result.problem, code, reason, "%s", message);
}

static void fail_memory(Upload *upload)
{
    fail(upload, true, ERROR_INTERNAL, "OUT_OF_MEMORY", "The worker is out of memory.");
}

static void fail_source(Upload *upload, int error)
{
    if (error == -ENOMEM)
        fail_memory(upload);
    else if (error == SOURCE_E_CHANGED)
        fail(upload, false, ERROR_ABORTED, "FILE_CHANGED",
             "The file was changed or truncated while it was being sent; ask for it again when it is at "
             "rest.");
    else
        fail(upload, false, ERROR_DATA_LOSS, "READ_ERROR", strerror(-error));
}

/* All is read, and still is what was read. */
static void end_source(Upload *upload)
{
    upload->body_ended = true;
    memcpy(upload->result.sha256, upload->source.sha256, SHA256_SIZE);
    digest_field_format(upload->result.sha256, upload->digest_field);
}

static ssize_t on_read(void *buf, size_t size, void *userdata)
{
    Upload *upload = userdata;
    size_t got = 0;
    int r = source_read(&upload->source, buf, size, &got);

    if (r == 0 && got == 0)
        end_source(upload);
    if (r != 0) {
        fail_source(upload, r);
        return -1;
    }
    return (ssize_t)got;
}

static const char *on_trailer(void *userdata)
{
    const Upload *upload = userdata;

    return PLANTED("resume-without-rehash") && upload->start_offset > 0 ? "none=:AAAA:"
                                                                        : upload->digest_field;
}

/* Before the receiver's first byte is looked at. */
static int on_connected(void *userdata)
{
    const Upload *upload = userdata;
    int r = upload_cage_close();

    return upload->job->require_sandbox ? r : 0;
}

static void on_tick(void *userdata)
{
    Upload *upload = userdata;

    report(upload, &(UploadLine){.kind = UPLOAD_LINE_PROGRESS, .sent_bytes = upload->source.offset_bytes});
}

/* Whether a later attempt may be answered otherwise. Beyond the usual: bytes spoilt on the way, an offset
 * that is another by now, and a part that is gone (the next attempt asks first, and begins anew). */
static bool is_worth_retrying(const Upload *upload, unsigned status, const char *type)
{
    return status == 408 || status == 425 || status == 429 || status >= 500 ||
           strcmp(type, DIGEST_MISMATCH_TYPE) == 0 || strcmp(type, OFFSET_MISMATCH_TYPE) == 0 ||
           (status == 404 && upload->start_offset > 0);
}

/* The receiver's problem+json in our words; without one, the bare status. */
static void fail_refused(Upload *upload, const HttpAnswer *answer)
{
    cJSON *body CLEANUP(json_delete) = json_parse_object(answer->body, answer->body_size, HTTP_ANSWER_MAX);
    const char *type = "";
    char text[128];

    (void)json_get_string_ref(body, "type", &type);
    bool retry = is_worth_retrying(upload, answer->status, type);
    (void)snprintf(text, sizeof(text), "The receiver answered with status %u.", answer->status);
    if (answer->status == 410)
        fail(upload, false, ERROR_CANCELLED, "CANCELLED", "The receiver was told to drop this upload.");
    else
        fail(upload, retry, retry ? ERROR_UNAVAILABLE : ERROR_FAILED_PRECONDITION, "RECEIVER_REFUSED", text);
    if (cJSON_HasObjectItem(body, "code") && answer->status != 410)
        problem_from_json(body, &upload->result.problem);
    upload->result.retry_after_ms = answer->retry_after_ms;
}

/* Whether the receiver's digest is that of all we read. */
static bool is_same_digest(const Upload *upload, const HttpAnswer *answer)
{
    uint8_t theirs[SHA256_SIZE];

    if (PLANTED("resume-without-rehash") && upload->start_offset > 0)
        return true;
    return digest_field_parse(answer->repr_digest, theirs) == 0 &&
           memcmp(theirs, upload->result.sha256, SHA256_SIZE) == 0;
}

/* No answer, or not one that was hoped for. */
static void fail_exchange(Upload *upload, const HttpAnswer *answer)
{
    if (answer->timed_out)
        fail(upload, true, ERROR_UNAVAILABLE, "STALLED",
             "The link is too slow or dead, or the receiver does not answer.");
    else if (answer->status == 0)
        fail(upload, true, ERROR_UNAVAILABLE, "RECEIVER_UNREACHABLE", answer->error);
    else
        fail_refused(upload, answer);
}

/* true if there is an answer with one of the two statuses. */
static bool is_answered(Upload *upload, const HttpAnswer *answer, unsigned status, unsigned other_status)
{
    if (answer->timed_out || (answer->status != status && answer->status != other_status))
        fail_exchange(upload, answer);
    return upload->result.kind != UPLOAD_LINE_FAILED;
}

/* Puts together "NAME: VALUE" lines; free_headers() frees them. */
static bool make_headers(const Upload *upload, char *headers[static HEADERS_MAX])
{
    const UploadJob *job = upload->job;
    char *path CLEANUP(free_ptr) = text_percent_encode(job->path, "/");
    bool rest = upload->start_offset > 0;
    size_t count = 0;

    if (!path)
        return false;
    headers[count++] = text_format("Content-Type: application/%s", rest ? "partial-upload" : "octet-stream");
    headers[count++] = text_format("Transfer-Encoding: chunked");
    headers[count++] = text_format("Expect: 100-continue");
    headers[count++] = text_format("Upload-Complete: ?1");
    headers[count++] = text_format("Upload-Length: %llu", (unsigned long long)job->size_bytes);
    headers[count++] = text_format("Beckon-Attempt: %llu", (unsigned long long)job->attempt);
    headers[count++] = text_format("Beckon-Path: %s", path);
    if (rest)
        headers[count++] = text_format("Upload-Offset: %llu", (unsigned long long)upload->start_offset);
    headers[count] = NULL;
    for (size_t i = 0; i < count; i++)
        if (!headers[i])
            return false;
    return true;
}

static void free_headers(char *headers[static HEADERS_MAX])
{
    for (size_t i = 0; i < HEADERS_MAX; i++)
        free(headers[i]);
}

/* A rate limit of our own must not look like a dead link. */
static uint64_t stall_rate(const UploadJob *job)
{
    uint64_t half = job->rate_bytes_per_s / 2;

    return job->rate_bytes_per_s && half < job->min_rate_bytes_per_s ? half : job->min_rate_bytes_per_s;
}

/* The last request of the process is made by http_put(), any before by http_put_apart(). */
typedef int Request(const HttpPut *put, HttpAnswer *ret_answer);

/* One request. A PUT or PATCH sends the body from start_offset on. headers may be NULL. */
static void exchange(Upload *upload, Request *request, const char *method, char **headers, HttpAnswer *answer)
{
    const UploadJob *job = upload->job;
    char *url CLEANUP(free_ptr) = text_format("%s/v1/uploads/%s", job->url, job->id);
    HttpPut put = {
        .method = method,
        .url = url,
        .ca_file = job->ca_file,
        .cert_file = job->cert_file,
        .key_file = job->key_file,
        .pin = job->pin,
        .proxy = job->proxy,
        .bearer = job->ticket,
        .traceparent = job->traceparent,
        .headers = (const char *const *)headers,
        .trailer_name = "Repr-Digest",
        .rate_bytes_per_s = job->rate_bytes_per_s,
        .min_rate_bytes_per_s = stall_rate(job),
        .stall_ms = job->stall_ms,
        .commit_timeout_ms = *method == 'P' ? job->commit_timeout_ms : job->stall_ms,
        .connected = on_connected,
        .read = on_read,
        .trailer = on_trailer,
        .tick = on_tick,
        .userdata = upload,
    };

    int r = url ? request(&put, answer) : -ENOMEM;
    if (r == -ENOMEM)
        fail_memory(upload);
    else if (r < 0)
        fail(upload, true, ERROR_INTERNAL, "WORKER_DIED", "The process that asks the receiver has died.");
}

static bool skip_to(Upload *upload, uint64_t offset)
{
    int r = source_skip(&upload->source, offset);

    if (r != 0)
        fail_source(upload, r);
    return r == 0;
}

/* The receiver says that it has the whole: it is done if that is what we have. Nothing is sent again to find
 * out. */
static void compare_whole(Upload *upload, const HttpAnswer *answer)
{
    if (!skip_to(upload, upload->job->size_bytes))
        return;
    end_source(upload);
    if (!is_same_digest(upload, answer))
        fail(upload, false, ERROR_ABORTED, "FILE_CHANGED",
             "The receiver has this upload complete with another content than the file has now.");
}

/* Where to go on: asks the receiver, which alone knows, and hashes what it has. Returns whether there is
 * something left to send. A part that can't be ours (another length, or longer than the file) is begun anew
 * by a PUT. */
static bool find_start(Upload *upload)
{
    HttpAnswer *answer CLEANUP(free_ptr) = calloc(1, sizeof(*answer));
    uint64_t offset = 0, length = upload->job->size_bytes;

    if (!answer) {
        fail_memory(upload);
        return false;
    }
    exchange(upload, http_put_apart, "HEAD", NULL, answer);
    if (answer->status == 200) /* as some proxies and other receivers answer a HEAD */
        answer->status = 204;
    if (!is_answered(upload, answer, 204, 404))
        return false;
    if (strcmp(answer->upload_complete, "?1") == 0) {
        compare_whole(upload, answer);
        return false;
    }
    if (answer->status == 404 || !text_to_u64(answer->upload_offset, &offset) ||
        (*answer->upload_length && !text_to_u64(answer->upload_length, &length)) ||
        length != upload->job->size_bytes || offset > length)
        return true;
    upload->start_offset = offset;
    return skip_to(upload, offset);
}

/* Success is the receiver's digest of the whole, equal to ours. */
static void send_from_start(Upload *upload)
{
    HttpAnswer *answer CLEANUP(free_ptr) = calloc(1, sizeof(*answer));
    char *headers[HEADERS_MAX] = {0};

    if (answer && make_headers(upload, headers))
        exchange(upload, http_put, upload->start_offset > 0 ? "PATCH" : "PUT", headers, answer);
    else
        fail_memory(upload);
    free_headers(headers);
    if (answer && is_answered(upload, answer, 200, 201) &&
        !(upload->body_ended && is_same_digest(upload, answer)))
        fail(upload, true, ERROR_DATA_LOSS, "DIGEST_MISMATCH",
             "The receiver holds something else than what was sent.");
}

/* The receiver alone knows whether a cancel comes in time: what is complete stays, and is done. */
static void drop(Upload *upload)
{
    HttpAnswer *answer CLEANUP(free_ptr) = calloc(1, sizeof(*answer));
    char *attempt CLEANUP(free_ptr) =
        text_format("Beckon-Attempt: %llu", (unsigned long long)upload->job->attempt);
    char *headers[] = {attempt, NULL};

    if (!answer || !attempt) {
        fail_memory(upload);
        return;
    }
    exchange(upload, http_put_apart, "DELETE", headers, answer);
    bool dropped = answer->status == 204 || answer->status == 404 || answer->status == 410;
    if (answer->status == 409) { /* it is complete, or just changing hands */
        exchange(upload, http_put, "HEAD", NULL, answer);
        if (strcmp(answer->upload_complete, "?1") == 0 &&
            digest_field_parse(answer->repr_digest, upload->result.sha256) == 0)
            return;
        dropped = answer->status == 404 || answer->status == 410;
    }
    if (dropped)
        fail(upload, false, ERROR_CANCELLED, "CANCELLED", "Cancelled while it was being sent.");
    else
        fail_exchange(upload, answer);
}

static void send_file(Upload *upload, int file_fd)
{
    int r = source_init(&upload->source, file_fd, upload->job->size_bytes);

    if (r != 0)
        fail_source(upload, r);
    else if (!upload->job->resume || find_start(upload))
        send_from_start(upload);
    upload->result.sent_bytes = upload->source.offset_bytes;
    source_deinit(&upload->source);
}

int upload_run(const UploadJob *job, int file_fd, int report_fd)
{
    Upload upload = {.job = job, .report_fd = report_fd, .result = {.kind = UPLOAD_LINE_DONE}};

    if (upload_cage_enter(job) < 0 && job->require_sandbox)
        fail(&upload, false, ERROR_FAILED_PRECONDITION, "SANDBOX_UNAVAILABLE",
             "The device's owner requires a sandbox, and its kernel has none.");
    else if (job->drop)
        drop(&upload);
    else
        send_file(&upload, file_fd);
    report(&upload, &upload.result);
    return upload.result.kind == UPLOAD_LINE_DONE ? 0 : 1;
}
