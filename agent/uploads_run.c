/* What runs when: the workers' starts and ends, the pauses between attempts. */
#include "agent/uploads_internal.h"

#include "agent/attempt.h"
#include "agent/worker.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/planted.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define MISMATCHES_MAX 3        /* a digest that is wrong so often is not the link's fault */
#define UNTIMELY_MAX 300        /* a day with the usual back-off */
#define RUNNING_INTERVAL_MS 950 /* the worker ticks once a second */
#define CANCELLING_MAX_MS                                                                                    \
    (7LL * 24 * 3600 * 1000) /* then the receiver has dropped it by itself, or is gone */

/* That it runs, or tries again: at most once a second. */
static void report_running(Uploads *uploads, Job *job)
{
    if (job->told_attempt != 0 && clock_monotonic_ms() - job->told_ms < RUNNING_INTERVAL_MS)
        return;
    job->told_attempt = job->attempt;
    uploads_report(uploads, job);
}

static void expire(Uploads *uploads, Job *job)
{
    Problem last = job->problem;

    if (last.code == ERROR_NONE)
        (void)problem_set(&job->problem, ERROR_DEADLINE_EXCEEDED, "EXPIRED",
                          "The request's time was over before the upload could start; ask again.");
    else
        (void)problem_set(&job->problem, ERROR_DEADLINE_EXCEEDED, "EXPIRED",
                          "The request's time was over; ask again. The last attempt failed: %s",
                          last.message);
    uploads_finish(uploads, job, UPLOAD_FAILED);
}

static bool is_expired(const Uploads *uploads, const Job *job)
{
    return job_is_expired(job, tickets_now_unix_s(uploads->tickets));
}

static void on_progress(void *userdata, uint64_t sent_bytes)
{
    Job *job = userdata;

    job->sent_bytes = sent_bytes;
    job->at_unix_ms = clock_unix_ms();
    report_running(job->uploads, job);
}

void uploads_try_again(Uploads *uploads, Job *job, uint64_t retry_after_ms)
{
    TRACED(job->traceparent);
    uint64_t wait_ms = backoff_next_after_ms(&job->backoff, retry_after_ms);

    job->hold_ms = clock_monotonic_ms() + (int64_t)retry_after_ms;
    job->due_ms = clock_monotonic_ms() + (int64_t)wait_ms;
    log_at(LOG_LEVEL_WARN, NULL, job->id, "attempt %u failed: %s %s; trying again in %.1f s", job->attempt,
           job->problem.reason, job->problem.message, (double)wait_ms / 1000);
    report_running(uploads, job);
}

/* Asked again, the receiver would say the same. */
static bool is_unwelcome(const Problem *problem)
{
    return problem->code == ERROR_UNAUTHENTICATED || problem->code == ERROR_PERMISSION_DENIED;
}

static void give_up_dropping(Uploads *uploads, Job *job, const char *why)
{
    (void)problem_set(&job->problem, ERROR_CANCELLED, "CANCELLED",
                      "Cancelled; the receiver, which %s, removes by itself what it has of the file.", why);
    uploads_finish(uploads, job, UPLOAD_CANCELLED);
}

/* Of a job that is cancelled. Only the receiver knows whether the file has arrived all the same, so that it
 * is asked after the worker that was sending; and again, until it has answered. */
static void on_cancelled_ended(Uploads *uploads, Job *job, const UploadLine *result)
{
    if (result->problem.code == ERROR_CANCELLED || PLANTED("late-cancel")) {
        job->problem = result->problem;
        uploads_finish(uploads, job, UPLOAD_CANCELLED);
    } else if (job->dropping && !result->retry && is_unwelcome(&result->problem)) {
        give_up_dropping(uploads, job, "does not let us drop it");
    } else if (job->dropping) {
        (void)problem_set(&job->problem, ERROR_CANCELLED, "CANCELLING",
                          "Cancelled; the receiver could not be told yet: %s", result->problem.message);
        uploads_try_again(uploads, job, result->retry_after_ms);
    }
}

/* A ticket that is over for the receiver, but not yet for us: one of the clocks is wrong, and may be set. */
static bool is_untimely(Job *job, const Problem *problem)
{
    return strcmp(problem->reason, "TICKET_EXPIRED") == 0 && job->expires_unix_s &&
           ++job->untimely < UNTIMELY_MAX;
}

static void on_failed(Uploads *uploads, Job *job, const UploadLine *result)
{
    bool mismatch = result->problem.code == ERROR_DATA_LOSS;

    job->problem = result->problem;
    if (result->problem.code == ERROR_CANCELLED) {
        uploads_finish(uploads, job, UPLOAD_CANCELLED);
    } else if (!(result->retry || is_untimely(job, &result->problem)) ||
               (mismatch && ++job->mismatches >= MISMATCHES_MAX)) {
        uploads_finish(uploads, job, UPLOAD_FAILED);
    } else if (is_expired(uploads, job)) {
        expire(uploads, job);
    } else {
        if (mismatch) /* what was sent so far is not what the file is: the next attempt begins anew */
            job->has_snapshot = false;
        uploads_try_again(uploads, job, result->retry_after_ms);
    }
}

static void on_ended(void *userdata, const UploadLine *result)
{
    Job *job = userdata;
    Uploads *uploads = job->uploads;

    job->sent_bytes = result->sent_bytes ? result->sent_bytes : job->sent_bytes;
    if (result->kind == UPLOAD_LINE_DONE) {
        job->has_sha256 = true;
        memcpy(job->sha256, result->sha256, SHA256_SIZE);
        job->problem = (Problem){0};
        uploads_finish(uploads, job, UPLOAD_DONE);
    } else if (job->cancelled_unix_ms) {
        on_cancelled_ended(uploads, job, result);
    } else {
        on_failed(uploads, job, result);
    }
    job->dropping = false;
    job->worker = worker_free(job->worker);
    uploads_schedule(uploads);
}

static int start_worker(Uploads *uploads, Job *job, const UploadJob *upload, int fd)
{
    WorkerEvents events = {.progress = on_progress, .ended = on_ended, .userdata = job};

    job->uploads = uploads;
    return worker_start(uploads->loop, uploads->config->worker, upload, fd, &events, &job->worker);
}

/* The next attempt of a job that is cancelled: a worker that tells the receiver. 0 or a negative errno. */
static int start_drop(Uploads *uploads, Job *job)
{
    const char *url = agent_config_receiver(uploads->config, job->receiver);

    if (!url || clock_unix_ms() - job->cancelled_unix_ms > CANCELLING_MAX_MS) {
        give_up_dropping(uploads, job, "could not be told");
        return 0;
    }
    int nothing CLEANUP(close_fd) = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0)
        return -errno;
    UploadJob upload = attempt_job(uploads->config, job, url, false);
    upload.drop = 1;
    job->dropping = true;
    return start_worker(uploads, job, &upload, nothing);
}

/* The next attempt of another. 0, also if this was its end, or a negative errno. */
static int start_upload(Uploads *uploads, Job *job)
{
    const char *url = agent_config_receiver(uploads->config, job->receiver);
    bool resume = false;

    if (!job->issued_unix_s && tickets_are_required(uploads->tickets)) { /* from before there was a key */
        (void)tickets_refuse_missing(&job->problem);
        uploads_finish(uploads, job, UPLOAD_FAILED);
        return 0;
    }
    if (attempt_look(uploads->config, job, &resume) < 0) {
        if (attempt_may_come_back(job))
            uploads_try_again(uploads, job, 0);
        else
            uploads_finish(uploads, job, UPLOAD_FAILED);
        return 0;
    }
    job->state = UPLOAD_RUNNING;
    job->attempt++;
    job->at_unix_ms = clock_unix_ms();
    UploadJob upload = attempt_job(uploads->config, job, url, resume);
    int r = uploads_save(uploads, job); /* the attempt's number must never come a second time */
    if (r == 0)
        r = start_worker(uploads, job, &upload, job->fd);
    if (r < 0)
        return r;
    log_at(LOG_LEVEL_INFO, NULL, job->id, "sending %s, %llu bytes, attempt %u", job->path,
           (unsigned long long)job->size_bytes, job->attempt);
    report_running(uploads, job);
    return 0;
}

static void start(Uploads *uploads, Job *job)
{
    TRACED(job->traceparent);
    int r = job->cancelled_unix_ms ? start_drop(uploads, job) : start_upload(uploads, job);

    if (r < 0) {
        (void)problem_set(&job->problem, ERROR_INTERNAL, "WORKER_NOT_STARTED",
                          "The upload can't be started: %s.", strerror(-r));
        uploads_try_again(uploads, job, 0);
    }
}

bool uploads_is_waiting(const Job *job)
{
    return !job_is_final(job) && !job->worker;
}

void uploads_count(const Uploads *uploads, unsigned *ret_active, unsigned *ret_queued)
{
    *ret_active = *ret_queued = 0;
    for (const Job *job = uploads->jobs; job; job = job->next) {
        *ret_active += job->worker != NULL;
        *ret_queued += uploads_is_waiting(job);
    }
}

/* How many workers there may be beside one for this job. A cancel need not wait for the end of an upload:
 * there is a place more for it. */
static unsigned places_for(const Uploads *uploads, const Job *job)
{
    return (unsigned)uploads->config->concurrency + (job->cancelled_unix_ms ? 1 : 0);
}

/* The next job to start, or NULL and the time until one is due (-1: none, or no room). */
static Job *next_due(const Uploads *uploads, int64_t *ret_wait_ms)
{
    int64_t now = clock_monotonic_ms(), wait_ms = -1;
    unsigned active = 0, queued = 0;

    uploads_count(uploads, &active, &queued);
    for (Job *job = uploads->jobs; job; job = job->next) {
        if (!uploads_is_waiting(job) || active >= places_for(uploads, job))
            continue;
        if (job->due_ms <= now)
            return job;
        wait_ms = wait_ms < 0 || job->due_ms - now < wait_ms ? job->due_ms - now : wait_ms;
    }
    *ret_wait_ms = wait_ms;
    return NULL;
}

/* Each look at a slow file system takes its time: the loop's other work has its turn in between. */
void uploads_schedule(Uploads *uploads)
{
    int64_t wait_ms = -1, began_ms = clock_monotonic_ms();

    for (Job *job; (job = next_due(uploads, &wait_ms)) != NULL;) {
        if (clock_monotonic_ms() - began_ms > UPLOADS_PASS_MS) {
            wait_ms = 0;
            break;
        }
        if (is_expired(uploads, job) && !job->cancelled_unix_ms)
            expire(uploads, job);
        else
            start(uploads, job);
    }
    loop_timer_set(uploads->schedule_timer, wait_ms);
}

void uploads_reap_workers(void *userdata)
{
    Uploads *uploads = userdata;

    for (Job *job = uploads->jobs, *next; job; job = next) {
        next = job->next; /* an ended job stays in the list until its report is taken */
        if (job->worker)
            worker_reap(job->worker);
    }
}
