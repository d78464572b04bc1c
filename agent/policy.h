/* What may leave this device: [files] of agent.conf. Nothing is readable until its folder is listed. */
#pragma once

#include "agent/snapshot.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "protocol/problem.h"

#include <stdint.h>
#include <sys/types.h>

#define POLICY_DENY_MAX 64
#define POLICY_OWNERS_MAX 16
#define POLICY_OWN_KEYS 2

typedef struct Policy {
    ConfigList allow; /* folders by their real paths */
    ConfigList deny;  /* patterns, for path_matches() */
    ConfigList owner; /* users by name or number; empty: any */
    char *base;       /* relative paths are below it; after the check: NULL only if nothing is allowed */
    uint64_t max_size_bytes; /* 0: no limit */
    bool follow_symlinks, one_file_system, single_link;
    const char *own_keys[POLICY_OWN_KEYS]; /* the agent's secrets, by path: never sent; may be NULL */

    uid_t owner_ids[POLICY_OWNERS_MAX]; /* set by the check, as many as owner has */
} Policy;

/* Looks the keys over once they are loaded: folders are normalized, owners looked up, base set. Returns the
 * number of mistakes, each logged; a folder that a symbolic link leads to is only warned of, as what is
 * mounted or linked on a device changes. */
int policy_check_config(Policy *policy) MUST_CHECK;

typedef struct AllowedFile {
    int fd; /* open for reading; whoever holds the struct closes it */
    Snapshot snapshot;
} AllowedFile;

/* Opening a path if the policy allows it, in two steps. As text: no "..", below an allowed folder, matched by
 * no pattern of deny, not in /proc, /sys or /dev. On the way from "/": no symbolic link, except, with
 * follow_symlinks, relative ones between the allowed folder and the file that do not leave the folder; deny
 * holds for where they lead, too. The file: regular, not of a file system that shows the kernel's state, of
 * at most max_size_bytes (of the policy, and of the request: 0 none), with single_link under no second name,
 * of one of the owners, and not a private key of the agent under whatever name.
 *
 * Everything is decided on an O_PATH descriptor, so that a FIFO or a device is never opened, and what is
 * opened then is the same file, proven by its device and inode: no rename in between makes a difference.
 * 0, or -1 and *problem says why not and which key it is about. Its code is ERROR_UNAVAILABLE if that is no
 * verdict on the file: the same may be opened in a while.
 *
 * The first step judges path as text, and gives it absolute and normalized; the caller frees it. The second
 * takes only what the first has given; it allocates no memory, so that it can be made in a forked child. */
int policy_path(const Policy *policy, const char *path, char **ret_absolute, Problem *problem) MUST_CHECK;
int policy_open_path(const Policy *policy, const char *absolute, uint64_t max_size_bytes,
                     AllowedFile *ret_file, Problem *problem) MUST_CHECK;

/* The size rule alone, for a file that has changed since it was opened. 0, or -1 and *problem. */
int policy_check_size(const Policy *policy, uint64_t size_bytes, uint64_t max_size_bytes,
                      Problem *problem) MUST_CHECK;
