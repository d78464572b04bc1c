/* The agent's side of one running beckon-upload process. */
#pragma once

#include "agent/upload_job.h"
#include "common/loop.h"

typedef struct Worker Worker;

typedef struct WorkerEvents {
    void (*progress)(void *userdata, uint64_t sent_bytes);
    /* The process has ended; *result is its last word, or a FAILED line of our own if it had none. Last call;
     * the worker may be freed in it. */
    void (*ended)(void *userdata, const UploadLine *result);
    void *userdata;
} WorkerEvents;

/* Starts program with the job and a duplicate of file_fd. 0 or a negative errno. */
int worker_start(Loop *loop, const char *program, const UploadJob *job, int file_fd,
                 const WorkerEvents *events, Worker **ret_worker) MUST_CHECK;

/* Asks it to end; ended() follows. */
void worker_stop(Worker *worker);

/* Kills and reaps it if it still runs, without ended(). Returns NULL. */
Worker *worker_free(Worker *worker);

/* Call on SIGCHLD with each worker: ended() if this one has. */
void worker_reap(Worker *worker);
