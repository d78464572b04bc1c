/* The file being sent: read once, from the front, hashed on the way, and watched for changes.
 *
 * The size at the start is what is sent. A file that got smaller, or that has another modification time at
 * the same size, has changed and must not be taken for whole; one that only grew had something appended and
 * is fine. */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

typedef struct Source {
    int fd; /* the caller's */
    uint64_t size_bytes;
    uint64_t offset_bytes; /* read so far */
    struct timespec modified;
    Digest *digest;
} Source;

enum { SOURCE_E_CHANGED = 1 };

/* Starts at offset 0 with the size that was promised. 0, SOURCE_E_CHANGED if the file is smaller by now, or a
 * negative errno. */
int source_init(Source *source, int fd, uint64_t size_bytes) MUST_CHECK;
void source_deinit(Source *source);

/* Reads up to size bytes into buf; *ret_size 0 means that all was read and nothing has changed until now.
 * 0, SOURCE_E_CHANGED, or a negative errno. */
int source_read(Source *source, void *buf, size_t size, size_t *ret_size) MUST_CHECK;

/* Reads and hashes, without giving it away, up to offset_bytes from the start: what the receiver holds
 * already. 0, SOURCE_E_CHANGED, or a negative errno. */
int source_skip(Source *source, uint64_t offset_bytes) MUST_CHECK;

/* After the end: the digest of all that was read. */
int source_digest(Source *source, uint8_t out[static SHA256_SIZE]) MUST_CHECK;
