/* The worker's cage, closed in two steps: before the network, and once the connection is made. */
#pragma once

#include "agent/upload_job.h"

/* Before anything else runs: files are read of which name resolution and TLS need them, and no others;
 * nothing is written, listened for or executed; TCP connections go to the receiver's (or proxy's) port. 0, or
 * a negative errno where this kernel or build lacks a part; what it has is closed all the same. Once, while
 * there is one thread. */
int upload_cage_enter(const UploadJob *job) MUST_CHECK;

/* From here on: read, write and poll what is open; no other file, connection or process ever. Before the
 * receiver's first byte is looked at. 0 or a negative errno; again: does nothing. */
int upload_cage_close(void) MUST_CHECK;
