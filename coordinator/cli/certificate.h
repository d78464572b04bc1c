/* What stands in certificates and revocation lists on this machine (OpenSSL inside). Times are Unix seconds.
 * Each returns 0; -EINVAL for a file that is none; or another negative errno. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Certificate {
    char name[65]; /* its first CN; a stranger's */
    int64_t begins_unix_s, ends_unix_s;
    bool is_server, is_client; /* what it may be used for */
} Certificate;

/* The first certificate of a PEM file. */
int certificate_read(const char *file, Certificate *ret_certificate) MUST_CHECK;

typedef struct RevocationLists {
    int64_t ends_unix_s; /* of the one that ends first */
    bool is_signed;      /* each of them, by an authority of the file given */
} RevocationLists;

/* All lists of a PEM file, and the authorities in another. */
int revocation_lists_read(const char *file, const char *authorities_file,
                          RevocationLists *ret_lists) MUST_CHECK;
