/* The worker: one upload of one open file. */
#pragma once

#include "agent/upload_job.h"

/* Sends the file behind file_fd and writes progress and result lines to report_fd. Blocks until the result is
 * known. The result line is the truth; the return value is 0 when it was DONE, and 1 otherwise. */
int upload_run(const UploadJob *job, int file_fd, int report_fd) MUST_CHECK;
