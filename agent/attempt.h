/* What a job, and each attempt at it, begins with: the file as it is now, and the order for the worker.
 *
 * A file is looked at only after a child process has tried it out (probe.h): a file system that does not
 * answer costs its own jobs, and not the whole device. */
#pragma once

#include "agent/config.h"
#include "agent/job.h"
#include "agent/policy.h"
#include "agent/upload_job.h"

/* All that speaks against a job when its command comes. Opens its file. 0, or -1 and the job's problem is
 * set: with ERROR_UNAVAILABLE nothing speaks against it, but the file can't be opened just now. */
int attempt_examine(const AgentConfig *config, int64_t now_unix_s, Job *job) MUST_CHECK;

/* Opens the file of a job that an earlier process left, and looks whether it is what earlier attempts have
 * sent. *ret_resume: they may be built upon. A file that was replaced, cut or rewritten meanwhile is sent
 * anew, once: what arrives is never a mixture. 0, or -1 and the job's problem is set. */
int attempt_look(const AgentConfig *config, Job *job, bool *ret_resume) MUST_CHECK;

/* After attempt_look() has failed. What is no verdict on the file passes, sooner or later; and soon after a
 * start a file may be missing because its file system is not mounted yet: such tries are counted. */
bool attempt_may_come_back(Job *job);

/* The worker's order; its strings are the job's and the configuration's. */
UploadJob attempt_job(const AgentConfig *config, Job *job, const char *url, bool resume);
