/* Whether a file system answers. A call that waits for a server or a disk that is gone may never come back,
 * and nothing can call it back; so a child process makes it first. */
#pragma once

#include "common/cleanup.h"
#include "protocol/ident.h"

#define PROBE_PATIENCE_MS 5000 /* a disk may have to spin up; the watchdog has far more */
#define PROBES_MAX 4           /* children that wait at a time, each for another mount */

enum { PROBE_E_SILENT = 1 };

/* The mount point of the file system on which path, an absolute one, is by the kernel's table; nothing of it
 * is touched. "" if there is no table. */
void probe_mount_of(const char *path, char out[static FILE_PATH_MAX + 1]);

/* Calls touch(fd, userdata) in a child, and waits until it has returned, patience_ms at most. The child has
 * no other descriptors of ours than fd (-1: none), under another number; touch allocates no memory, as other
 * threads may hold the allocator's locks.
 *
 * A child that is not back stays until its file system answers or this process ends: meanwhile that mount is
 * silent without being touched.
 *
 * For one thread only. 0, PROBE_E_SILENT, or a negative errno: there was no child (-EAGAIN: PROBES_MAX are
 * waiting for other mounts), or (-ENOMEM) it was killed. */
int probe(const char *mount, int fd, int patience_ms, void (*touch)(int fd, void *userdata),
          void *userdata) MUST_CHECK;
