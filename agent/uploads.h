/* The jobs of this device: accepted, waiting, running, trying again, ended. Decides what starts when;
 * survives restarts by the job store. */
#pragma once

#include "agent/config.h"
#include "agent/job.h"
#include "common/loop.h"

typedef struct Uploads Uploads;

typedef struct UploadsEvents {
    /* The state of a job has changed, or was asked for again: tell the broker. tag is 0, or must come back by
     * uploads_reported() once the broker has it. */
    void (*report)(void *userdata, const Job *job, uint64_t tag);
    void *userdata;
} UploadsEvents;

/* Opens the job store and goes on with what an earlier process left. config must outlive it. 0 or a negative
 * errno. */
int uploads_new(Loop *loop, const AgentConfig *config, const UploadsEvents *events,
                Uploads **ret_uploads) MUST_CHECK;

/* Ends the workers; their jobs stay on disk as they are and go on after the next start. Returns NULL. */
Uploads *uploads_free(Uploads *uploads);

/* An upload command: payload as it came. Reports the outcome, also for a repeated id. */
void uploads_command(Uploads *uploads, const char *id, const void *payload, size_t size);

/* A cancel, also of an id that is not known yet: its command, when it comes, is answered cancelled. */
void uploads_cancel(Uploads *uploads, const char *id);

/* Connected (again): reports every job that runs or waits, and every end that the broker may not know; and
 * what waits for its next attempt makes it soon, because the link is back. */
void uploads_connected(Uploads *uploads);

/* The broker has taken the report with this tag. */
void uploads_reported(Uploads *uploads, uint64_t tag);

void uploads_count(const Uploads *uploads, unsigned *ret_active, unsigned *ret_queued);
