/* The file being sent: read once, from the front, hashed on the way, and watched for changes.
 *
 * The size at the start is what is sent. A file that got smaller, or that has another modification time at
 * the same size, has changed and must not be taken for whole. One that is longer at the end may have had
 * something appended, which is fine, or may have been overwritten by something longer, which is a mixture: it
 * is read a second time, and both digests must agree.
 */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

typedef struct Source {
    int fd; /* the caller's */
    uint64_t size_bytes;
    uint64_t offset_bytes;     /* read so far */
    uint64_t first_size_bytes; /* of the file when the reading began: it may be longer than what is sent */
    struct timespec first_modified;
    Digest *digest;
    bool is_whole;               /* the end was reached, and what was read is no mixture */
    uint8_t sha256[SHA256_SIZE]; /* after the end */
} Source;

enum { SOURCE_E_CHANGED = 1 };

/* Starts at offset 0 with the size that was promised. 0, SOURCE_E_CHANGED if the file is smaller by now, or a
 * negative errno. */
int source_init(Source *source, int fd, uint64_t size_bytes) MUST_CHECK;
void source_deinit(Source *source);

/* Reads up to size bytes into buf; *ret_size 0 means that all was read and that it still is what was read.
 * 0, SOURCE_E_CHANGED, or a negative errno. */
int source_read(Source *source, void *buf, size_t size, size_t *ret_size) MUST_CHECK;

/* Reads and hashes, without giving it away, up to offset_bytes from the start: what the receiver holds
 * already. If that is all, it also makes sure, here and not in source_read(), that it still is what was read:
 * a second reading may take longer than a receiver waits for the next byte, and no growth of the file makes
 * it needed once more. 0, SOURCE_E_CHANGED, or a negative errno. */
int source_skip(Source *source, uint64_t offset_bytes) MUST_CHECK;
