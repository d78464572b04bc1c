/* Waits for a request to come to its end. */
#pragma once

#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/progress.h"

/* Polls until the request is final. timeout_ms 0: for ever. A coordinator that can't be reached for a minute
 * ends the waiting too. EXIT_DONE and *ret_reply (which *ret_download points into); else the exit code to
 * leave with, after a line that says why. */
int wait_for_download(Cli *cli, const char *id, uint64_t timeout_ms, Progress *progress, RestReply *ret_reply,
                      Download *ret_download) MUST_CHECK;
