#include "agent/worker.h"

#include "common/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

struct Worker {
    pid_t pid;
    int pipe_fd; /* its standard output, non-blocking */
    LoopSource *source;
    WorkerEvents events;
    bool has_result;
    UploadLine result;
    size_t line_size;
    char line[UPLOAD_LINE_MAX];
};

static void take_line(Worker *worker, const char *text, size_t size)
{
    UploadLine line;

    if (worker->has_result || upload_line_parse(text, size, &line) < 0)
        return; /* judged at the end: a worker without a result has failed */
    if (line.kind == UPLOAD_LINE_PROGRESS) {
        worker->events.progress(worker->events.userdata, line.sent_bytes);
    } else {
        worker->result = line;
        worker->has_result = true;
    }
}

static void take_lines(Worker *worker)
{
    for (char *end; (end = memchr(worker->line, '\n', worker->line_size));) {
        size_t size = (size_t)(end - worker->line);
        take_line(worker, worker->line, size);
        worker->line_size -= size + 1;
        memmove(worker->line, end + 1, worker->line_size);
    }
    if (worker->line_size == sizeof(worker->line))
        worker->line_size = 0; /* no line of ours is that long */
}

/* Reads what is there; false at the end of the pipe. */
static bool read_lines(Worker *worker)
{
    for (;;) {
        ssize_t got =
            read(worker->pipe_fd, worker->line + worker->line_size, sizeof(worker->line) - worker->line_size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN;
        if (got == 0)
            return false;
        worker->line_size += (size_t)got;
        take_lines(worker);
    }
}

static void on_readable(void *userdata, short revents)
{
    Worker *worker = userdata;
    (void)revents;

    if (!read_lines(worker))
        worker->source = loop_remove(worker->source); /* the end itself is told by SIGCHLD */
}

/* Its signals as in a fresh process, our descriptors closed, and the three it needs in their places. */
static int spawn(Worker *worker, const char *program, int job_fd, int file_fd, int report_fd)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char *arguments[] = {(char *)(uintptr_t)program, NULL};

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r == 0) {
        (void)posix_spawn_file_actions_adddup2(&actions, job_fd, STDIN_FILENO);
        (void)posix_spawn_file_actions_adddup2(&actions, report_fd, STDOUT_FILENO);
        (void)posix_spawn_file_actions_adddup2(&actions, file_fd, UPLOAD_FILE_FD);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        r = posix_spawn(&worker->pid, program, &actions, &attributes, arguments, environ);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static int start(Worker *worker, Loop *loop, const char *program, const UploadJob *job, int file_fd)
{
    int job_pipe[2] = {-1, -1}, report_pipe[2] = {-1, -1};
    char *text CLEANUP(free_secret) = upload_job_format(job);

    if (!text)
        return -ENOMEM;
    if (pipe2(job_pipe, O_CLOEXEC) < 0)
        return -errno;
    int r = pipe2(report_pipe, O_CLOEXEC) < 0 ? -errno : 0;
    worker->pipe_fd = report_pipe[0];
    if (r == 0 && fcntl(worker->pipe_fd, F_SETFL, O_NONBLOCK) < 0)
        r = -errno;
    if (r == 0)
        r = write_all(job_pipe[1], text, strlen(text)); /* fits the pipe: UPLOAD_JOB_MAX */
    if (r == 0)
        r = spawn(worker, program, job_pipe[0], file_fd, report_pipe[1]);
    close_fd(&job_pipe[0]);
    close_fd(&job_pipe[1]);
    close_fd(&report_pipe[1]);
    return r < 0 ? r : loop_add_fd(loop, worker->pipe_fd, POLLIN, on_readable, worker, &worker->source);
}

int worker_start(Loop *loop, const char *program, const UploadJob *job, int file_fd,
                 const WorkerEvents *events, Worker **ret_worker)
{
    Worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return -ENOMEM;
    worker->pipe_fd = -1;
    worker->events = *events;
    int r = start(worker, loop, program, job, file_fd);
    if (r < 0) {
        worker_free(worker);
        return r;
    }
    *ret_worker = worker;
    return 0;
}

void worker_stop(Worker *worker)
{
    (void)kill(worker->pid, SIGTERM); /* it holds nothing that needs tidying up */
}

Worker *worker_free(Worker *worker)
{
    if (!worker)
        return NULL;
    loop_remove(worker->source);
    close_fd(&worker->pipe_fd);
    if (worker->pid > 0) {
        (void)kill(worker->pid, SIGKILL);
        (void)waitpid(worker->pid, NULL, 0);
    }
    free(worker);
    return NULL;
}

void worker_reap(Worker *worker)
{
    int status = 0;

    pid_t reaped = waitpid(worker->pid, &status, WNOHANG);
    if (reaped == 0 || (reaped < 0 && errno == EINTR))
        return;
    worker->pid = 0;
    (void)read_lines(worker); /* what it said last */
    if (!worker->has_result) {
        worker->result = (UploadLine){.kind = UPLOAD_LINE_FAILED, .retry = true};
        (void)problem_set(&worker->result.problem, ERROR_INTERNAL, "WORKER_DIED",
                          "The upload's process ended by %s %d.",
                          WIFSIGNALED(status) ? "signal" : "exit code",
                          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    worker->events.ended(worker->events.userdata, &worker->result);
}
