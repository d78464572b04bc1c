/* An agent's record of a job as it is found on the disk: a good one says the same after it was saved again.
 */
#include "fuzz.h"

#include "agent/job.h"

#include <string.h>

#define RECORD_MAX 65536

static void check_saved(const Job *job)
{
    char *written = job_format(job), *status = job_status(job);

    FUZZ_CHECK(written && status);
    if (strlen(written) <= RECORD_MAX && strlen(status) <= MESSAGE_MAX) {
        Job *again = job_parse(job->id, written, strlen(written));
        FUZZ_CHECK(again);
        char *rewritten = job_format(again);
        FUZZ_CHECK(rewritten && strcmp(written, rewritten) == 0);
        free(rewritten);
        job_free(again);
    }
    free(status);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    Job *job = size <= RECORD_MAX ? job_parse("0199-id", text, size) : NULL;

    if (job) {
        FUZZ_CHECK(strcmp(job->id, "0199-id") == 0 && job->fd == -1 && !job->worker);
        FUZZ_CHECK(!*job->path || file_path_is_valid(job->path));
        FUZZ_CHECK(!job->has_snapshot || job->snapshot.modified.tv_nsec < 1000000000);
        check_saved(job);
    }
    job_free(job);
    free(text);
    return 0;
}
