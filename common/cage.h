/* The cage of a daemon that others can reach: it reads its configuration, certificates and what name
 * resolution needs, writes below its own folders, and starts no program. Landlock and seccomp, where the
 * kernel has them. */
#pragma once

#include "common/config.h"

/* Sanitizers need what a cage forbids. */
#ifdef BECKON_SANITIZED
#define CAGE_IS_BUILT_IN false
#else
#define CAGE_IS_BUILT_IN true
#endif

/* NULL if this kernel and this build have all that a cage needs; otherwise what is missing, in words. */
const char *cage_lack(void);

/* For a daemon's config check. Returns 1 after a config_mistake() if a cage is required and can't be had;
 * otherwise 0, after one warning if it can't. */
int cage_check(const char *section, bool required);

/* Closes the cage for this thread and those that it starts, for ever. May be read: /etc, libraries, and the
 * folders of all CONFIG_FILE and CONFIG_FILES of the table, so that a certificate or revocation list may be
 * replaced at any time. May be written: the folders of all CONFIG_FOLDER, which exist by now; of one that
 * names a file, the folder it is in. What the kernel lacks is left out. 0, or a negative errno with a log
 * line. */
int cage_enter(const ConfigKey *keys, size_t key_count, const void *config) MUST_CHECK;
