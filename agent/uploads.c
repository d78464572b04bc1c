#include "agent/uploads.h"

#include "agent/attempt.h"
#include "agent/job_store.h"
#include "agent/policy.h"
#include "agent/worker.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/planted.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define MISMATCHES_MAX 3        /* a digest that is wrong so often is not the link's fault */
#define SOON_MS 2000            /* after the link is back: within this, not all in one moment */
#define RUNNING_INTERVAL_MS 950 /* the worker ticks once a second */
#define UNREPORTED_MAX 1000     /* ends that the broker has not acknowledged */
#define FORGET_INTERVAL_MS (24LL * 3600 * 1000)
#define CANCELLING_MAX_MS                                                                                    \
    (7LL * 24 * 3600 * 1000) /* then the receiver has dropped it by itself, or is gone */

struct Uploads {
    Loop *loop;
    const AgentConfig *config;
    UploadsEvents events;
    Policy policy;
    JobStore *store;
    Job *jobs; /* not final, or final and not reported; oldest first */
    LoopSource *schedule_timer, *forget_timer;
    uint64_t saved_since_forget, last_tag;
};

static void schedule(Uploads *uploads);

static Job *find(const Uploads *uploads, const char *id)
{
    for (Job *job = uploads->jobs; job; job = job->next)
        if (strcmp(job->id, id) == 0)
            return job;
    return NULL;
}

static void append(Uploads *uploads, Job *job)
{
    const AgentConfig *config = uploads->config;
    Job **at = &uploads->jobs;

    job->tag = ++uploads->last_tag;
    job->backoff = (Backoff){.min_ms = config->retry_min_ms, .max_ms = config->retry_max_ms};
    while (*at && (*at)->at_unix_ms <= job->at_unix_ms)
        at = &(*at)->next;
    job->next = *at;
    *at = job;
}

static void unlink_job(Uploads *uploads, Job *job)
{
    for (Job **at = &uploads->jobs; *at; at = &(*at)->next)
        if (*at == job) {
            *at = job->next;
            return;
        }
}

/* Only an end needs to be known to have been told. */
static uint64_t tag_of(const Job *job)
{
    return job_is_final(job) ? job->tag : 0;
}

/* A new or changed job goes to disk. 0 or a negative errno, with a log line. */
static int save(Uploads *uploads, const Job *job)
{
    int r = job_store_save(uploads->store, job);

    if (r < 0)
        log_at(LOG_LEVEL_ERROR, NULL, job->id, "can't record the job in %s: %s", uploads->config->state_dir,
               strerror(-r));
    uploads->saved_since_forget++;
    return r;
}

/* The end of the job is told: from now on it is on disk only. */
static void forget_reported(Uploads *uploads, Job *job)
{
    job->reported = true;
    (void)save(uploads, job);
    unlink_job(uploads, job);
    job_free(job);
}

static void report(Uploads *uploads, Job *job)
{
    job->told_ms = clock_monotonic_ms();
    uploads->events.report(uploads->events.userdata, job, tag_of(job));
}

/* That it runs, or tries again: at most once a second. */
static void report_running(Uploads *uploads, Job *job)
{
    if (job->told_attempt != 0 && clock_monotonic_ms() - job->told_ms < RUNNING_INTERVAL_MS)
        return;
    job->told_attempt = job->attempt;
    report(uploads, job);
}

/* A broker that takes reports and never acknowledges them must not fill the device. */
static void bound_unreported(Uploads *uploads)
{
    Job *oldest = NULL;
    unsigned count = 0;

    for (Job *job = uploads->jobs; job; job = job->next) {
        if (!job_is_final(job) || job->worker)
            continue;
        oldest = oldest ? oldest : job;
        count++;
    }
    if (count > UNREPORTED_MAX)
        forget_reported(uploads, oldest);
}

/* The end of a job. Its record may fail to be written; then the one before it stays, and after a restart the
 * job runs once more, which the receiver recognizes. */
static void finish(Uploads *uploads, Job *job, UploadState state)
{
    char bytes[TEXT_BYTES_SIZE];

    job->state = state;
    job->at_unix_ms = clock_unix_ms();
    job->reported = false;
    job_close_file(job);
    text_bytes(job->sent_bytes, bytes);
    if (state == UPLOAD_DONE)
        log_at(LOG_LEVEL_INFO, NULL, job->id, "done: %s, %s", job->path, bytes);
    else
        log_at(LOG_LEVEL_WARN, NULL, job->id, "%s: %s: %s %s", upload_state_name(state), job->path,
               job->problem.reason, job->problem.message);
    (void)save(uploads, job);
    report(uploads, job);
}

static void expire(Uploads *uploads, Job *job)
{
    if (job->problem.code == ERROR_NONE)
        (void)problem_set(&job->problem, ERROR_DEADLINE_EXCEEDED, "EXPIRED",
                          "The request's time was over before the upload could start; ask again.");
    finish(uploads, job, UPLOAD_FAILED);
}

static void on_progress(void *userdata, uint64_t sent_bytes)
{
    Job *job = userdata;

    job->sent_bytes = sent_bytes;
    job->at_unix_ms = clock_unix_ms();
    report_running(job->uploads, job);
}

static void try_again(Uploads *uploads, Job *job, uint64_t retry_after_ms)
{
    uint64_t wait_ms = backoff_next_after_ms(&job->backoff, retry_after_ms);

    job->hold_ms = clock_monotonic_ms() + (int64_t)retry_after_ms;
    job->due_ms = clock_monotonic_ms() + (int64_t)wait_ms;
    log_at(LOG_LEVEL_WARN, NULL, job->id, "attempt %u failed: %s %s; trying again in %.1f s", job->attempt,
           job->problem.reason, job->problem.message, (double)wait_ms / 1000);
    report_running(uploads, job);
}

/* Of a job that is cancelled. Only the receiver knows whether the file has arrived all the same, so that it
 * is asked after the worker that was sending; and again, until it has answered. */
static void on_cancelled_ended(Uploads *uploads, Job *job, const UploadLine *result)
{
    if (result->problem.code == ERROR_CANCELLED || PLANTED("late-cancel")) {
        job->problem = result->problem;
        finish(uploads, job, UPLOAD_CANCELLED);
    } else if (job->dropping) {
        (void)problem_set(&job->problem, ERROR_CANCELLED, "CANCELLING",
                          "Cancelled; the receiver could not be told yet: %s", result->problem.message);
        try_again(uploads, job, result->retry_after_ms);
    }
}

static void on_failed(Uploads *uploads, Job *job, const UploadLine *result)
{
    bool mismatch = result->problem.code == ERROR_DATA_LOSS;

    job->problem = result->problem;
    if (result->problem.code == ERROR_CANCELLED) {
        finish(uploads, job, UPLOAD_CANCELLED);
    } else if (!result->retry || (mismatch && ++job->mismatches >= MISMATCHES_MAX)) {
        finish(uploads, job, UPLOAD_FAILED);
    } else if (job_is_expired(job)) {
        expire(uploads, job);
    } else {
        if (mismatch) /* what was sent so far is not what the file is: the next attempt begins anew */
            job->has_snapshot = false;
        try_again(uploads, job, result->retry_after_ms);
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
        finish(uploads, job, UPLOAD_DONE);
    } else if (job->cancelled_unix_ms) {
        on_cancelled_ended(uploads, job, result);
    } else {
        on_failed(uploads, job, result);
    }
    job->dropping = false;
    job->worker = worker_free(job->worker);
    schedule(uploads);
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
        (void)problem_set(
            &job->problem, ERROR_CANCELLED, "CANCELLED",
            "Cancelled; the receiver could not be told, and removes by itself what it has of the file.");
        finish(uploads, job, UPLOAD_CANCELLED);
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

    if (attempt_look(uploads->config, &uploads->policy, job, &resume) < 0) {
        if (job->fd < 0 && attempt_may_come_back(job))
            try_again(uploads, job, 0);
        else
            finish(uploads, job, UPLOAD_FAILED);
        return 0;
    }
    job->state = UPLOAD_RUNNING;
    job->attempt++;
    job->at_unix_ms = clock_unix_ms();
    UploadJob upload = attempt_job(uploads->config, job, url, resume);
    int r = save(uploads, job); /* the attempt's number must never come a second time */
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
    int r = job->cancelled_unix_ms ? start_drop(uploads, job) : start_upload(uploads, job);

    if (r < 0) {
        (void)problem_set(&job->problem, ERROR_INTERNAL, "WORKER_NOT_STARTED",
                          "The upload can't be started: %s.", strerror(-r));
        try_again(uploads, job, 0);
    }
}

static bool is_waiting(const Job *job)
{
    return !job_is_final(job) && !job->worker;
}

void uploads_count(const Uploads *uploads, unsigned *ret_active, unsigned *ret_queued)
{
    *ret_active = *ret_queued = 0;
    for (const Job *job = uploads->jobs; job; job = job->next) {
        *ret_active += job->worker != NULL;
        *ret_queued += is_waiting(job);
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
        if (!is_waiting(job) || active >= places_for(uploads, job))
            continue;
        if (job->due_ms <= now)
            return job;
        wait_ms = wait_ms < 0 || job->due_ms - now < wait_ms ? job->due_ms - now : wait_ms;
    }
    *ret_wait_ms = wait_ms;
    return NULL;
}

/* Starts what is due while there is room; sets the timer for the rest. */
static void schedule(Uploads *uploads)
{
    int64_t wait_ms = -1;

    for (Job *job; (job = next_due(uploads, &wait_ms)) != NULL;) {
        if (job_is_expired(job) && !job->cancelled_unix_ms)
            expire(uploads, job);
        else
            start(uploads, job);
    }
    loop_timer_set(uploads->schedule_timer, wait_ms);
}

static void on_schedule(void *userdata)
{
    schedule(userdata);
}

static void forget(Uploads *uploads)
{
    job_store_forget(uploads->store, uploads->config->remember, clock_unix_ms());
    uploads->saved_since_forget = 0;
    loop_timer_set(uploads->forget_timer, FORGET_INTERVAL_MS);
}

/* After each message: the number of records, and of ends that are not acknowledged, stays near its bound. */
static void forget_some(Uploads *uploads)
{
    bound_unreported(uploads);
    if (uploads->saved_since_forget > uploads->config->remember / 20)
        forget(uploads);
}

static void on_forget(void *userdata)
{
    forget(userdata);
}

static void reap_workers(void *userdata)
{
    Uploads *uploads = userdata;

    for (Job *job = uploads->jobs, *next; job; job = next) {
        next = job->next; /* an ended job stays in the list until its report is taken */
        if (job->worker)
            worker_reap(job->worker);
    }
}

/* And says so in *problem. */
static bool is_full(const Uploads *uploads, Problem *problem)
{
    unsigned active = 0, queued = 0;

    uploads_count(uploads, &active, &queued);
    if (active + queued < uploads->config->concurrency + uploads->config->queue)
        return false;
    (void)problem_set(problem, ERROR_RESOURCE_EXHAUSTED, "QUEUE_FULL",
                      "The device has %u uploads waiting already; ask again later.", queued);
    return true;
}

/* A final job that nobody keeps: told once and freed. */
static void tell_and_free(Uploads *uploads, Job *job)
{
    if (job)
        uploads->events.report(uploads->events.userdata, job, 0);
    job_free(job);
}

/* The answer to a command that can't be read, or for which there is no room now. It leaves no record: a good
 * command with this id is still welcome, later too. */
static void refuse(Uploads *uploads, Job *job, const Problem *problem)
{
    log_at(LOG_LEVEL_WARN, NULL, job->id, "rejected: %s %s", problem->reason, problem->message);
    job->state = UPLOAD_REJECTED;
    job->problem = *problem;
    tell_and_free(uploads, job);
}

static void accept_or_reject(Uploads *uploads, Job *job)
{
    int r = attempt_examine(uploads->config, &uploads->policy, job);

    append(uploads, job);
    if (r < 0) {
        finish(uploads, job, UPLOAD_REJECTED);
        return;
    }
    r = save(uploads, job);
    if (r < 0) {
        (void)problem_set(&job->problem, ERROR_RESOURCE_EXHAUSTED, r == -ENOSPC ? "NO_SPACE" : "NOT_RECORDED",
                          "The device can't record the request: %s.", strerror(-r));
        finish(uploads, job, UPLOAD_REJECTED);
        return;
    }
    log_at(LOG_LEVEL_INFO, NULL, job->id, "accepted: %s, %llu bytes", job->path,
           (unsigned long long)job->size_bytes);
    report(uploads, job);
    schedule(uploads);
}

/* Whether id was seen before; then its state is told again. */
static bool is_repeated(Uploads *uploads, const char *id)
{
    Job *job = find(uploads, id), *recorded = NULL;

    if (job) {
        report(uploads, job);
        return true;
    }
    int r = job_store_load(uploads->store, id, &recorded);
    if (r == -ENOENT || PLANTED("id-forgotten-early"))
        return false;
    if (r == 0)
        tell_and_free(uploads, recorded);
    else
        log_at(LOG_LEVEL_ERROR, NULL, id, "can't read the record of this job: %s; the command is ignored",
               strerror(-r));
    return true;
}

void uploads_command(Uploads *uploads, const char *id, const void *payload, size_t size)
{
    UploadCommand *command CLEANUP(free_ptr) = calloc(1, sizeof(*command));
    Problem problem;

    if (!command || is_repeated(uploads, id))
        return;
    bool is_read = upload_command_parse(payload, size, command, &problem) == 0;
    Job *job = job_new(id, is_read ? command : &(UploadCommand){0});
    if (!job)
        return;
    if (!is_read || is_full(uploads, &problem))
        refuse(uploads, job, &problem);
    else
        accept_or_reject(uploads, job);
    forget_some(uploads);
}

/* Of a job whose file may have arrived, whole or in part: on disk first, so that no restart goes on sending.
 * An attempt of its own, so that the receiver refuses what may still be on its way from an earlier one. */
static void cancel_begun(Uploads *uploads, Job *job)
{
    job->cancelled_unix_ms = clock_unix_ms();
    job->attempt++;
    job->hold_ms = job->due_ms = 0;
    job_close_file(job);
    backoff_reset(&job->backoff);
    (void)problem_set(&job->problem, ERROR_CANCELLED, "CANCELLING", "Cancelled; the receiver is being told.");
    (void)save(uploads, job);
    report(uploads, job);
    if (job->worker)
        worker_stop(job->worker); /* its end may still be that it is done */
    else
        schedule(uploads);
}

void uploads_cancel(Uploads *uploads, const char *id)
{
    Job *job = find(uploads, id);

    if (!job && is_repeated(uploads, id))
        return;
    if (job && (job_is_final(job) || job->cancelled_unix_ms)) {
        report(uploads, job);
        return;
    }
    if (job && job->attempt > 0) {
        cancel_begun(uploads, job);
        return;
    }
    if (!job) {
        job = job_new(id, &(UploadCommand){0});
        if (!job)
            return;
        append(uploads, job);
    }
    (void)problem_set(&job->problem, ERROR_CANCELLED, "CANCELLED", "Cancelled before it was sent.");
    finish(uploads, job, UPLOAD_CANCELLED);
    forget_some(uploads);
}

void uploads_connected(Uploads *uploads)
{
    int64_t now = clock_monotonic_ms();

    for (Job *job = uploads->jobs; job; job = job->next) {
        Backoff soon = {.min_ms = SOON_MS, .max_ms = SOON_MS};
        int64_t due = now + (int64_t)backoff_next_ms(&soon);
        report(uploads, job);
        if (is_waiting(job) && due < job->due_ms && job->hold_ms <= now)
            job->due_ms = due;
    }
    schedule(uploads);
}

void uploads_reported(Uploads *uploads, uint64_t tag)
{
    for (Job *job = uploads->jobs; job; job = job->next)
        if (tag_of(job) == tag && !job->worker) {
            forget_reported(uploads, job);
            return;
        }
}

/* A job that an earlier process left. Its file is opened when its turn comes. */
static void resume(Job *job, void *userdata)
{
    Uploads *uploads = userdata;

    if (job_is_final(job) && job->reported) {
        job_free(job);
        return;
    }
    append(uploads, job);
    if (!job_is_final(job))
        log_at(LOG_LEVEL_INFO, NULL, job->id, "going on after a restart: %s", job->path);
}

int uploads_new(Loop *loop, const AgentConfig *config, const UploadsEvents *events, Uploads **ret_uploads)
{
    Uploads *uploads = calloc(1, sizeof(*uploads));

    if (!uploads)
        return -ENOMEM;
    uploads->loop = loop;
    uploads->config = config;
    uploads->events = *events;
    uploads->policy =
        (Policy){.allow = &config->allow, .base = config->base, .max_size_bytes = config->max_size_bytes};
    int r = job_store_open(config->state_dir, &uploads->store);
    if (r == 0)
        r = loop_add_timer(loop, on_schedule, uploads, &uploads->schedule_timer);
    if (r == 0)
        r = loop_add_timer(loop, on_forget, uploads, &uploads->forget_timer);
    if (r == 0)
        r = loop_on_child(loop, reap_workers, uploads);
    if (r == 0)
        r = job_store_each(uploads->store, resume, uploads);
    if (r < 0) {
        uploads_free(uploads);
        return r;
    }
    forget(uploads);
    schedule(uploads);
    *ret_uploads = uploads;
    return 0;
}

Uploads *uploads_free(Uploads *uploads)
{
    if (!uploads)
        return NULL;
    for (Job *job = uploads->jobs, *next; job; job = next) {
        next = job->next;
        job->worker = worker_free(job->worker);
        job_free(job);
    }
    loop_remove(uploads->schedule_timer);
    loop_remove(uploads->forget_timer);
    job_store_close(uploads->store);
    free(uploads);
    return NULL;
}
