/* Where `beckon get -o` puts the content: a file that appears whole and verified or not at all, or a stream.
 *
 * output_open() looks before anything is asked of a device. The bytes go to a temporary beside the file;
 * output_commit() compares size and digest, makes it durable and gives it its name. A device or FIFO that
 * exists under the name is written to like standard output: what went out can't be taken back, so a wrong
 * digest is told by the return value only. */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Output Output;

enum {
    OUTPUT_E_SIZE = 1, /* more or fewer bytes than the request has */
    OUTPUT_E_DIGEST,
};

/* target: "-", a file, or an existing folder, in which name is then the file. 0 or a negative errno: -ENOENT
 * no such folder, -EACCES not writable, -EINVAL no usable name in it, -EISDIR. */
int output_open(const char *target, const char *name, Output **ret_output) MUST_CHECK;

/* Without a commit: the temporary goes, a file that was there before stays. Returns NULL. */
Output *output_free(Output *output);

/* Appends. 0 or a negative errno. */
int output_write(Output *output, const void *data, size_t size) MUST_CHECK;
uint64_t output_size(const Output *output); /* bytes so far */

/* Begins anew. -ESPIPE for a stream. */
int output_restart(Output *output) MUST_CHECK;

/* 0: all bytes are there, they are the right ones, and the file is durable under its name. OUTPUT_E_*, or a
 * negative errno. */
int output_commit(Output *output, uint64_t size, const uint8_t sha256[static SHA256_SIZE]) MUST_CHECK;

bool output_is_stream(const Output *output);
const char *output_path(const Output *output); /* for people; "standard output" */
