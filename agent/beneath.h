/* Finding a file below a folder, and nothing else, whatever others rename and link meanwhile. The
 * functions block on the disk. */
#pragma once

#include "common/cleanup.h"
#include "protocol/ident.h"

#define BENEATH_LINKS 1u     /* follow symbolic links that are relative and stay below the folder */
#define BENEATH_ONE_MOUNT 2u /* do not leave the folder's mount */

/* An O_PATH descriptor of what path names below folder_fd ("": the folder itself); devices and FIFOs are thus
 * found but not opened. path is relative; a ".." in it is refused. The kernel's magic links
 * (/proc/self/fd/3) are never followed.
 *
 * Without openat2(2), Linux 5.6 (also where a seccomp filter hides it), it walks from name to name, follows
 * no link at all, and can't serve BENEATH_ONE_MOUNT. 0, or a negative errno: -ELOOP at a link that is not
 * followed, -EXDEV where the folder or mount would be left, -ENOSYS if it takes openat2, -EAGAIN if others
 * rename so fast that nothing can be said. */
int beneath_find(int folder_fd, const char *path, unsigned flags, int *ret_fd) MUST_CHECK;

/* The very file that path_fd (of a regular file) stands for, opened for reading, whatever its path names by
 * now. 0, or a negative errno: -ESTALE if it turned out to be another, -ENOTCONN without /proc. */
int beneath_open(int path_fd, int *ret_fd) MUST_CHECK;

/* The path of what path_fd stands for, as it is by now. 0, or a negative errno: -ENOENT if it was deleted (or
 * its name ends in " (deleted)", which looks the same), -ENOTCONN without /proc. */
int beneath_where(int path_fd, char ret_path[static FILE_PATH_MAX + 1]) MUST_CHECK;
