/* Which file it was, and in which state: how an attempt tells whether it may go on where an earlier one
 * stopped, also after a reboot. What it can't see (a rewrite that keeps size and times) the digest of the
 * whole shows in the end. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct Snapshot {
    uint64_t inode, size_bytes; /* not the device: its number changes over mounts and reboots */
    struct timespec modified;
} Snapshot;

#define SNAPSHOT_TEXT_SIZE 96

/* 0 or a negative errno. */
int snapshot_take(int fd, Snapshot *ret_snapshot) MUST_CHECK;

/* Whether the first before.size_bytes of the file are still what they were, as far as can be seen: the same
 * size and time (whatever the inode, which some file systems number anew at each mount), or the same inode
 * and longer. */
bool snapshot_still_holds(const Snapshot *before, const Snapshot *now);

void snapshot_format(const Snapshot *snapshot, char out[static SNAPSHOT_TEXT_SIZE]);
bool snapshot_parse(const char *text, Snapshot *ret_snapshot);
