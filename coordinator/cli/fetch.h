/* Brings the content of a completed request here. */
#pragma once

#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/output.h"
#include "coordinator/cli/progress.h"

/* Fetches, checks and commits. A broken connection is taken up where it broke, a few times without a new
 * byte. Returns an exit code, after a line that says why if it is not EXIT_DONE. */
int fetch_content(Cli *cli, const Download *download, Output *output, Progress *progress) MUST_CHECK;
