/* Files and folders, with durability spelled out. All descriptors are CLOEXEC. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct statvfs;

/* Writes all size bytes, going on after EINTR and short writes. 0 or a negative errno. */
int write_all(int fd, const void *data, size_t size) MUST_CHECK;

/* Reads a whole small file and adds a NUL that is not counted. -EFBIG if it has more than max bytes. The
 * caller frees. */
int file_read(const char *path, size_t max, char **ret_data, size_t *ret_size) MUST_CHECK;
int file_read_at(int dir_fd, const char *name, size_t max, char **ret_data, size_t *ret_size) MUST_CHECK;

/* Replaces dir_fd/name as a whole or not at all, durably: temporary beside it, fsync, rename, fsync of the
 * folder. On failure the old file stays and the temporary is removed. 0 or a negative errno. Blocks on the
 * disk. */
int file_replace_at(int dir_fd, const char *name, const void *data, size_t size, mode_t mode) MUST_CHECK;

/* Renames without replacing (renameat2 RENAME_NOREPLACE; where a file system lacks it, link and unlink).
 * -EEXIST if the new name is taken. Not durable before folder_sync(). */
int file_rename_new(int from_dir, const char *from, int to_dir, const char *to) MUST_CHECK;

/* Opens a folder, making it (mode) if it is missing; a folder that it made is made durable by a sync of its
 * parent. */
int folder_open_at(int dir_fd, const char *name, mode_t mode, int *ret_fd) MUST_CHECK;

/* The same for a path: missing parents are made too. */
int folder_open(const char *path, mode_t mode, int *ret_fd) MUST_CHECK;

/* Whether the file system that info (of fstatvfs()) tells of can take files more if freed of those are
 * removed before. One that does not count its inodes can. */
bool has_free_inode(const struct statvfs *info, size_t freed) MUST_CHECK;

/* fsync of a folder. Never retried: after a failed fsync nothing is known. */
int folder_sync(int dir_fd) MUST_CHECK;
