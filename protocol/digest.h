/* SHA-256 over a stream, and the digest fields of RFC 9530. */
#pragma once

#include "common/cleanup.h"

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32
#define SHA256_HEX_SIZE 65
#define DIGEST_FIELD_SIZE 64 /* "sha-256=:<44 characters>:" and its NUL */

typedef struct Digest Digest;

/* 0 or -ENOMEM. */
int digest_new(Digest **ret_digest) MUST_CHECK;
Digest *digest_free(Digest *digest);
/* Another digest of the same bytes so far; both go on by themselves. 0 or -ENOMEM. */
int digest_copy(const Digest *digest, Digest **ret_copy) MUST_CHECK;
int digest_update(Digest *digest, const void *data,
                  size_t size) MUST_CHECK; /* 0 or -EIO: the library failed */
/* The digest of all so far; *digest can't be updated after it. */
int digest_final(Digest *digest, uint8_t out[static SHA256_SIZE]) MUST_CHECK;

enum {
    DIGEST_E_ABSENT = 1, /* no sha-256 member: other algorithms only */
    DIGEST_E_INVALID,    /* not a dictionary of byte sequences, or not 32 bytes */
};

/* "sha-256=:...:" (RFC 9530 section 3, a Structured Fields dictionary). */
void digest_field_format(const uint8_t digest[static SHA256_SIZE], char out[static DIGEST_FIELD_SIZE]);
/* 0 or one of the above. Taken is a dictionary whose values are all byte sequences, each with any parameters
 * that are bare items (they are ignored), with optional white space around its commas; of a name given twice
 * the last counts. Base64 must be padded and canonical, names are lower case. */
int digest_field_parse(const char *value, uint8_t out[static SHA256_SIZE]) MUST_CHECK;
