/* Landlock: which files a process and its children may open from now on, whatever their user may, and which
 * TCP ports they may connect to. A ruleset is a descriptor: begin, allow, enter, close.
 *
 * The kernel's interface grew by numbered steps (ABI); what the running kernel lacks is left out, as far as
 * the functions below do not say otherwise. */
#pragma once

#include "common/cleanup.h"

#include <stdint.h>

typedef enum LandlockScope {
    LANDLOCK_FILES = 0,
    LANDLOCK_PORTS = 1 << 0,  /* ABI 4: TCP: no bind, and connect to the allowed ports only */
    LANDLOCK_OTHERS = 1 << 1, /* ABI 6: no signals to processes outside, no abstract sockets of theirs */
} LandlockScope;

/* What the running kernel has; 0: none, or it is not let through to us. */
int landlock_abi(void);

/* Nothing at all may be opened, and nothing executed, unless it is allowed below. 0 or a negative errno;
 * -EOPNOTSUPP without Landlock. */
int landlock_begin(unsigned scope, int *ret_ruleset) MUST_CHECK;

/* Reading a file, or a folder with all below it; a symbolic link stands for what it points to. What does not
 * exist is passed over. */
int landlock_allow_reading(int ruleset, const char *path) MUST_CHECK;

/* All that can be done to files below a folder, but not to execute them. With ABI 1 they can't be renamed
 * from one folder to another. */
int landlock_allow_all(int ruleset, const char *folder) MUST_CHECK;

int landlock_allow_port(int ruleset, uint16_t tcp_port) MUST_CHECK;

/* For this thread, those that it starts, and their children; there is no way back. Takes the right to gain
 * privileges by execve() away too. */
int landlock_enter(int ruleset) MUST_CHECK;
