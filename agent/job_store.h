/* Jobs on disk, one file each: <state_dir>/jobs/<id>.json. A job is saved before it is answered, so that a
 * repeated id is recognized after a crash, and an accepted job goes on after a reboot. */
#pragma once

#include "agent/job.h"
#include "agent/tickets.h"

typedef struct JobStore JobStore;

/* Makes the folders if they are missing and locks them: -EWOULDBLOCK if another agent uses them. 0 or a
 * negative errno. */
int job_store_open(const char *state_dir, JobStore **ret_store) MUST_CHECK;
JobStore *job_store_close(JobStore *store);

/* Durable when it returns 0; otherwise a negative errno and the old record stays. */
int job_store_save(JobStore *store, const Job *job) MUST_CHECK;

/* 0 and the job, -ENOENT, or another negative errno (-EBADMSG: the record is damaged). */
int job_store_load(JobStore *store, const char *id, Job **ret_job) MUST_CHECK;

/* Calls found with each job on disk, which it takes over. Damaged records are set aside with a log line; one
 * that can't be read just now stays, and makes the result a negative errno after all others were found. */
int job_store_each(JobStore *store, void (*found)(Job *job, void *userdata), void *userdata) MUST_CHECK;

/* Forgets reported final jobs: those whose time is over, and beyond max the oldest. A job that may not be
 * forgotten yet by its expiry counts from that moment on. Of one with a ticket the time is over when the
 * tickets say so, whatever the clock does; and tickets hears of what is forgotten before that. */
void job_store_forget(JobStore *store, size_t max, int64_t now_unix_ms, Tickets *tickets);
