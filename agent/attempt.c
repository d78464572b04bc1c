#include "agent/attempt.h"

#include "agent/probe.h"
#include "common/log.h"

#include <string.h>
#include <sys/stat.h>

#define OPENINGS_MAX 10 /* several minutes with the usual back-off */

typedef struct Look {
    const AgentConfig *config;
    const char *path; /* as policy_path() gives it */
} Look;

static void touch_path(int fd, void *userdata)
{
    const Look *look = userdata;
    AllowedFile file;
    Problem problem;
    (void)fd;

    if (policy_open_path(&look->config->files, look->path, 0, &file, &problem) == 0)
        close_fd(&file.fd);
}

static void touch_file(int fd, void *userdata)
{
    struct stat info;
    (void)userdata;

    (void)fstat(fd, &info);
}

/* Judges the job's path as text, and looks whether the file system of its file, open or not, answers. 0 and
 * *ret_path, which the caller frees, or -1 and the job's problem is set. */
static int try_out(const AgentConfig *config, Job *job, char **ret_path)
{
    char *path CLEANUP(free_ptr) = NULL, mount[FILE_PATH_MAX + 1];

    if (policy_path(&config->files, job->path, &path, &job->problem) < 0)
        return -1;
    Look look = {config, path};
    probe_mount_of(path, mount);
    int r = probe(mount, job->fd, PROBE_PATIENCE_MS, job->fd < 0 ? touch_path : touch_file, &look);
    if (r == PROBE_E_SILENT)
        return problem_set(
            &job->problem, ERROR_UNAVAILABLE, "FILE_SYSTEM_SILENT",
            "The file system of this file does not answer: is its server or disk there? It is tried again.");
    if (r < 0)
        return problem_set(&job->problem, ERROR_UNAVAILABLE, "OUT_OF_MEMORY",
                           "The device is short of memory, of open files or of processes just now: %s.",
                           strerror(-r));
    *ret_path = TAKE_PTR(path);
    return 0;
}

/* For a job that has none open. */
static int open_file(const AgentConfig *config, Job *job, AllowedFile *ret_file)
{
    char *path CLEANUP(free_ptr) = NULL;

    if (try_out(config, job, &path) < 0)
        return -1;
    return policy_open_path(&config->files, path, job->max_size_bytes, ret_file, &job->problem);
}

int attempt_examine(const AgentConfig *config, int64_t now_unix_s, Job *job)
{
    AllowedFile file;

    if (job_is_expired(job, now_unix_s))
        return problem_set(
            &job->problem, ERROR_DEADLINE_EXCEEDED, "EXPIRED",
            "The request's time was over when it arrived; ask again, and check the device's clock.");
    if (!agent_config_receiver(config, job->receiver))
        return problem_set(&job->problem, ERROR_INVALID_ARGUMENT, "UNKNOWN_RECEIVER",
                           "The device has no receiver of this name; [receivers] in agent.conf lists them.");
    if (open_file(config, job, &file) < 0)
        return -1;
    job->fd = file.fd;
    job->has_snapshot = true;
    job->snapshot = file.snapshot;
    job->has_size = true;
    job->size_bytes = file.snapshot.size_bytes;
    return 0;
}

/* For a job of an earlier process. */
static int open_again(const AgentConfig *config, Job *job)
{
    AllowedFile file;

    if (!agent_config_receiver(config, job->receiver))
        return problem_set(&job->problem, ERROR_INVALID_ARGUMENT, "UNKNOWN_RECEIVER",
                           "The device no longer has this receiver.");
    if (open_file(config, job, &file) < 0)
        return -1;
    job->fd = file.fd;
    return 0;
}

bool attempt_may_come_back(Job *job)
{
    static const ErrorCode lasting[] = {ERROR_PERMISSION_DENIED, ERROR_INVALID_ARGUMENT,
                                        ERROR_FAILED_PRECONDITION, ERROR_ABORTED};

    if (job->problem.code == ERROR_UNAVAILABLE)
        return true; /* as long as the request is good */
    if (job->fd >= 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(lasting); i++)
        if (job->problem.code == lasting[i])
            return false;
    return ++job->openings < OPENINGS_MAX;
}

/* Looks at the file before an attempt. *ret_resume: what an earlier attempt sent may be built upon. A file
 * that was replaced, cut or rewritten meanwhile is sent anew, once: what arrives is never a mixture. 0, or -1
 * and the job's problem is set. */
int attempt_look(const AgentConfig *config, Job *job, bool *ret_resume)
{
    char *path CLEANUP(free_ptr) = NULL;
    Snapshot now;

    if (job->fd < 0 ? open_again(config, job) < 0 : try_out(config, job, &path) < 0)
        return -1;
    int r = snapshot_take(job->fd, &now);
    if (r < 0)
        return problem_set(&job->problem, ERROR_INTERNAL, "READ_ERROR", "The file can't be read: %s.",
                           strerror(-r));
    bool holds = job->has_snapshot && snapshot_still_holds(&job->snapshot, &now);
    *ret_resume = holds && job->attempt > 0;
    if (holds)
        return 0;
    if (job->attempt > 0 && job->has_snapshot) {
        if (job->restarted)
            return problem_set(
                &job->problem, ERROR_ABORTED, "FILE_CHANGED",
                "The file keeps changing between attempts; ask for it again when it is at rest.");
        job->restarted = true;
        log_at(LOG_LEVEL_WARN, NULL, job->id, "%s has changed since the last attempt: begun anew", job->path);
    }
    job->snapshot = now;
    job->has_snapshot = true;
    job->has_size = true;
    job->size_bytes = now.size_bytes;
    return policy_check_size(&config->files, now.size_bytes, job->max_size_bytes, &job->problem);
}

/* The lower one: the owner's limit is not for a request to lift. 0 is none. */
static uint64_t rate_of(const Job *job, const AgentConfig *config)
{
    uint64_t asked = job->rate_bytes_per_s, own = config->rate_bytes_per_s;

    return asked && (!own || asked < own) ? asked : own;
}

UploadJob attempt_job(const AgentConfig *config, Job *job, const char *url, bool resume)
{
    return (UploadJob){
        .url = (char *)(uintptr_t)url,
        .id = job->id,
        .path = job->path,
        .ticket = job->ticket,
        .traceparent = job->traceparent,
        .ca_file = config->receiver_ca,
        .cert_file = config->receiver_cert,
        .key_file = config->receiver_key,
        .pin = config->receiver_pin,
        .proxy = config->receiver_proxy,
        .size_bytes = job->size_bytes,
        .attempt = job->attempt,
        .resume = resume,
        .require_sandbox = config->require_sandbox,
        .rate_bytes_per_s = rate_of(job, config),
        .min_rate_bytes_per_s = config->min_rate_bytes_per_s,
        .stall_ms = config->stall_ms,
        .commit_timeout_ms = config->commit_timeout_ms,
    };
}
