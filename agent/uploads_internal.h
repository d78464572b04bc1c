/* What uploads.c (the jobs: commands, records, reports) and uploads_run.c (what runs when) share. */
#pragma once

#include "agent/job_store.h"
#include "agent/tickets.h"
#include "agent/uploads.h"

struct Uploads {
    Loop *loop;
    const AgentConfig *config;
    UploadsEvents events;
    JobStore *store;
    Tickets *tickets;
    Job *jobs; /* not final, or final and not reported; oldest first */
    LoopSource *schedule_timer, *forget_timer;
    uint64_t saved_since_forget, last_tag;
};

/* --- uploads.c --- */

/* A new or changed job goes to disk. 0 or a negative errno, with a log line. */
int uploads_save(Uploads *uploads, const Job *job);

void uploads_report(Uploads *uploads, Job *job);

/* The end of a job. Its record may fail to be written; then the one before it stays, and after a restart the
 * job runs once more, which the receiver recognizes. */
void uploads_finish(Uploads *uploads, Job *job, UploadState state);

/* --- uploads_run.c --- */

bool uploads_is_waiting(const Job *job);

/* After an attempt that failed with job->problem: reports it, and sets when the next one is due.
 * retry_after_ms: the receiver's wish, or 0. */
void uploads_try_again(Uploads *uploads, Job *job, uint64_t retry_after_ms);

#define UPLOADS_PASS_MS 2000

/* Starts what is due while there is room, and while that takes no longer than UPLOADS_PASS_MS; sets the timer
 * for the rest. */
void uploads_schedule(Uploads *uploads);

/* A child has ended. userdata is an Uploads. */
void uploads_reap_workers(void *userdata);
