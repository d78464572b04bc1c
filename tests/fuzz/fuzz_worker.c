/* What agent and worker say to each other: the job, and the lines that come back. */
#include "fuzz.h"

#include "agent/upload_job.h"
#include "common/text.h"

#include <string.h>

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_job(const char *text, size_t size)
{
    UploadJob job = {0}, again = {0};

    if (upload_job_parse(text, size, &job) < 0) {
        FUZZ_CHECK(!job.url && !job.id);
        return;
    }
    FUZZ_CHECK(job.url && job.path && job.ca_file && job.cert_file && job.key_file &&
               upload_id_is_valid(job.id));
    char *written = upload_job_format(&job);
    FUZZ_CHECK(written);
    if (strlen(written) <= UPLOAD_JOB_MAX) {
        FUZZ_CHECK(upload_job_parse(written, strlen(written), &again) == 0);
        FUZZ_CHECK(same(job.url, again.url) && same(job.id, again.id) && same(job.path, again.path) &&
                   same(job.proxy, again.proxy) && same(job.pin, again.pin) &&
                   same(job.ticket, again.ticket));
        FUZZ_CHECK(job.size_bytes == again.size_bytes && job.rate_bytes_per_s == again.rate_bytes_per_s &&
                   job.attempt == again.attempt && job.require_sandbox == again.require_sandbox);
        upload_job_free(&again);
    }
    free(written);
    upload_job_free(&job);
}

static void check_line(const char *text, size_t size)
{
    UploadLine line, again;

    if (upload_line_parse(text, size, &line) < 0)
        return;
    FUZZ_CHECK((line.kind == UPLOAD_LINE_FAILED) == (line.problem.code != ERROR_NONE));
    FUZZ_CHECK(text_is_utf8(line.problem.message, strlen(line.problem.message)));
    char *written = upload_line_format(&line);
    FUZZ_CHECK(written);
    size_t length = strlen(written);
    FUZZ_CHECK(length > 0 && length <= UPLOAD_LINE_MAX && strchr(written, '\n') == written + length - 1);
    FUZZ_CHECK(upload_line_parse(written, length - 1, &again) == 0);
    FUZZ_CHECK(line.kind == again.kind && line.sent_bytes == again.sent_bytes && line.retry == again.retry &&
               line.retry_after_ms == again.retry_after_ms &&
               strcmp(line.problem.reason, again.problem.reason) == 0 &&
               strcmp(line.problem.message, again.problem.message) == 0);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);

    check_job(text, size);
    check_line(text, size);
    free(text);
    return 0;
}
