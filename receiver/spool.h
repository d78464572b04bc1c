/* The spool: parts of uploads under <store>/.incoming, one file each, hashed while they are written.
 *
 *   <client>.<id>.<n>.part     an upload on its way. n makes each attempt's file its own: one that was fenced
 * can neither write into the newer one nor remove it. An id has no dot, so the name reads back in one way
 *   <client>.<id>.<n>.aside    a part that must never be served: wrong digest, or the disk failed under it.
 * Kept for a person to look at until it is too old, at most SPOOL_ASIDES_MAX a client
 *
 * A part belongs to one thread at a time; the caller sees to it. The functions block on the disk. */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"

#include <stdint.h>

#define SPOOL_ASIDES_MAX 16

typedef struct Spool Spool;
typedef struct Part Part;

enum {
    SPOOL_E_FULL = 1, /* no space, or a quota: the part is kept and its offset is true */
};

/* Opens <root>/.incoming and removes the parts of an earlier process: their uploads start over. */
int spool_new(int root_fd, Spool **ret_spool) MUST_CHECK;
Spool *spool_free(Spool *spool); /* returns NULL; the parts must be gone before */

/* Removes what was set aside before unix_ms. */
void spool_sweep_asides(Spool *spool, int64_t before_unix_ms);

/* A new, empty part; expected_size: bytes that it is known to get, 0 if that is not known.
 * 0, SPOOL_E_FULL (also if they would not fit now) or a negative errno. */
int spool_create(Spool *spool, const char *client, const char *id, uint64_t expected_size,
                 Part **ret_part) MUST_CHECK;

/* Appends. Short writes are completed or reported: part_offset() counts exactly the bytes that are in file
 * and digest. 0, SPOOL_E_FULL, or a negative errno after which the part is only good for part_set_aside(). */
int part_append(Part *part, const void *data, size_t size) MUST_CHECK;
uint64_t part_offset(const Part *part);

/* fsync. It is called once more only after more was appended; a part whose fsync failed can't be synced any
 * more: -EIO. */
int part_sync(Part *part) MUST_CHECK;

/* The digest of all that was appended. After it nothing can be appended. 0 or -EIO. */
int part_digest(Part *part, uint8_t out[static SHA256_SIZE]) MUST_CHECK;

/* Renames the part, without replacing, to to_dir/name; from then on it is no more in the spool, and
 * part_close() is what is left to do. 0 or a negative errno (-EEXIST). Not durable before the folder is
 * synced. */
int part_move(Part *part, int to_dir, const char *name) MUST_CHECK;

/* The reverse of part_move(), for a commit that failed: back into the spool, as an aside. */
int part_take_back(Part *part, int from_dir, const char *name) MUST_CHECK;

/* Three ends, all freeing the part, NULL is fine, all returning NULL: the file stays; it goes; it is set
 * aside. */
Part *part_close(Part *part);
Part *part_remove(Part *part);
Part *part_set_aside(Part *part);
