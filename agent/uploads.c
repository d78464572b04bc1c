#include "agent/uploads_internal.h"

#include "agent/attempt.h"
#include "agent/worker.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/planted.h"
#include "common/text.h"

#include <errno.h>
#include <string.h>

#define SOON_MS 2000        /* after the link is back: within this, not all in one moment */
#define UNREPORTED_MAX 1000 /* ends that the broker has not acknowledged */
#define FORGET_INTERVAL_MS (24LL * 3600 * 1000)

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

int uploads_save(Uploads *uploads, const Job *job)
{
    TRACED(job->traceparent);
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
    (void)uploads_save(uploads, job);
    unlink_job(uploads, job);
    job_free(job);
}

void uploads_report(Uploads *uploads, Job *job)
{
    job->told_ms = clock_monotonic_ms();
    uploads->events.report(uploads->events.userdata, job, tag_of(job));
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

void uploads_finish(Uploads *uploads, Job *job, UploadState state)
{
    TRACED(job->traceparent);
    char bytes[TEXT_BYTES_SIZE];

    job->state = state;
    job->at_unix_ms = clock_unix_ms();
    job->reported = false;
    job_close_file(job);
    job_wipe_ticket(job);
    text_bytes(job->sent_bytes, bytes);
    if (state == UPLOAD_DONE)
        log_at(LOG_LEVEL_INFO, NULL, job->id, "done: %s, %s", job->path, bytes);
    else
        log_at(LOG_LEVEL_WARN, NULL, job->id, "%s: %s %s: %s", upload_state_name(state), job->problem.reason,
               job->problem.message, job->path); /* last: a long one is cut */
    (void)uploads_save(uploads, job);
    uploads_report(uploads, job);
}

static void on_schedule(void *userdata)
{
    uploads_schedule(userdata);
}

static void forget(Uploads *uploads)
{
    job_store_forget(uploads->store, uploads->config->remember, clock_unix_ms(), uploads->tickets);
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

/* The answer to a command that can't be read, whose ticket is not good, or for which there is no room now. It
 * leaves no record: a good command with this id is still welcome, later too. */
static void refuse(Uploads *uploads, Job *job, const Problem *problem)
{
    log_at(LOG_LEVEL_WARN, NULL, job->id, "rejected: %s %s", problem->reason, problem->message);
    job->state = UPLOAD_REJECTED;
    job->problem = *problem;
    tell_and_free(uploads, job);
}

/* Want of what will be there again. */
static bool is_shortage(int error)
{
    return error == -ENOMEM || error == -EMFILE || error == -ENFILE;
}

/* It is as if the command had not come; who needs it sends it again. */
static void drop(Uploads *uploads, Job *job)
{
    unlink_job(uploads, job);
    job_free(job);
}

static void accept_job(Uploads *uploads, Job *job)
{
    if (job->fd < 0) {
        log_at(LOG_LEVEL_INFO, NULL, job->id, "accepted: %s, which can't be opened just now", job->path);
        uploads_try_again(uploads, job, 0);
    } else {
        log_at(LOG_LEVEL_INFO, NULL, job->id, "accepted: %s, %llu bytes", job->path,
               (unsigned long long)job->size_bytes);
        uploads_report(uploads, job);
    }
    uploads_schedule(uploads);
}

static void accept_or_reject(Uploads *uploads, Job *job)
{
    TRACED(job->traceparent);
    int r = attempt_examine(uploads->config, tickets_now_unix_s(uploads->tickets), job);

    append(uploads, job);
    if (r < 0 && job->problem.code != ERROR_UNAVAILABLE) {
        uploads_finish(uploads, job, UPLOAD_REJECTED);
        return;
    }
    r = uploads_save(uploads, job);
    if (is_shortage(r)) {
        drop(uploads, job);
        return;
    }
    if (r < 0) {
        (void)problem_set(&job->problem, ERROR_RESOURCE_EXHAUSTED, r == -ENOSPC ? "NO_SPACE" : "NOT_RECORDED",
                          "The device can't record the request: %s.", strerror(-r));
        uploads_finish(uploads, job, UPLOAD_REJECTED);
        return;
    }
    accept_job(uploads, job);
}

/* Whether id was seen before; then its state is told again. */
static bool is_repeated(Uploads *uploads, const char *id)
{
    Job *job = find(uploads, id), *recorded = NULL;

    if (job) {
        uploads_report(uploads, job);
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
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    int64_t issued_unix_s = 0;
    Problem problem;

    if (!command || is_repeated(uploads, id))
        return;
    int r = tickets_admit(uploads->tickets, id, payload, size, command, &issued_unix_s, &problem);
    if (r == -ENOMEM)
        return;
    bool is_good = r == 0;
    Job *job = job_new(id, is_good ? command : &(UploadCommand){0});
    if (!job)
        return;
    job->issued_unix_s = issued_unix_s;
    if (!is_good || is_full(uploads, &problem))
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
    (void)uploads_save(uploads, job);
    uploads_report(uploads, job);
    if (job->worker)
        worker_stop(job->worker); /* its end may still be that it is done */
    else
        uploads_schedule(uploads);
}

void uploads_cancel(Uploads *uploads, const char *id)
{
    Job *job = find(uploads, id);

    if (!job && is_repeated(uploads, id))
        return;
    if (job && (job_is_final(job) || job->cancelled_unix_ms)) {
        uploads_report(uploads, job);
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
    uploads_finish(uploads, job, UPLOAD_CANCELLED);
    forget_some(uploads);
}

void uploads_connected(Uploads *uploads)
{
    int64_t now = clock_monotonic_ms();

    for (Job *job = uploads->jobs; job; job = job->next) {
        Backoff soon = {.min_ms = SOON_MS, .max_ms = SOON_MS};
        int64_t due = now + (int64_t)backoff_next_ms(&soon);
        uploads_report(uploads, job);
        if (uploads_is_waiting(job) && due < job->due_ms && job->hold_ms <= now)
            job->due_ms = due;
    }
    uploads_schedule(uploads);
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

    TRACED(job->traceparent);
    tickets_saw(uploads->tickets, job->issued_unix_s);
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
    int r = job_store_open(config->state_dir, &uploads->store);
    if (r == 0)
        r = tickets_new(&config->coordinator_keys, config->client_id, config->state_dir, &uploads->tickets);
    if (r == 0)
        r = loop_add_timer(loop, on_schedule, uploads, &uploads->schedule_timer);
    if (r == 0)
        r = loop_add_timer(loop, on_forget, uploads, &uploads->forget_timer);
    if (r == 0)
        r = loop_on_child(loop, uploads_reap_workers, uploads);
    if (r == 0)
        r = job_store_each(uploads->store, resume, uploads);
    if (r < 0) {
        uploads_free(uploads);
        return r;
    }
    forget(uploads);
    uploads_schedule(uploads);
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
    tickets_free(uploads->tickets);
    job_store_close(uploads->store);
    free(uploads);
    return NULL;
}
