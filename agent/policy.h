/* What may leave this device: the owner's list of folders. Nothing is readable until it is listed. */
#pragma once

#include "agent/snapshot.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "protocol/problem.h"

#include <stdint.h>

typedef struct Policy {
    const ConfigList *allow; /* absolute folders */
    const char *base;        /* relative paths are below it */
    uint64_t max_size_bytes; /* 0: no limit */
} Policy;

typedef struct AllowedFile {
    int fd; /* open for reading; whoever holds the struct closes it */
    Snapshot snapshot;
} AllowedFile;

/* Opens path if the policy allows it: lexically below an allowed folder without "..", reached from there
 * without any symbolic link, a regular file, not in /proc, /sys or /dev, and of at most max_size_bytes (of
 * the policy, and of the request: 0 none). The decision is made on an O_PATH descriptor, so that a FIFO or a
 * device is never opened, and the same file is then opened through it. 0, or -1 and *problem says why not.
 * Needs openat2(2), Linux 5.6; without it everything is refused. */
int policy_open(const Policy *policy, const char *path, uint64_t max_size_bytes, AllowedFile *ret_file,
                Problem *problem) MUST_CHECK;

/* The size rule alone, for a file that has changed since it was opened. 0, or -1 and *problem. */
int policy_check_size(const Policy *policy, uint64_t size_bytes, uint64_t max_size_bytes,
                      Problem *problem) MUST_CHECK;
