/* The shared secret with which a REST caller may do everything; operator tokens (protocol/grant.h) say more.
 */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"

#include <stdbool.h>
#include <stdint.h>

#define SECRET_MIN 16 /* bytes */
#define SECRET_MAX 1024

/* Only the digest is kept, so that comparing takes the same time whatever is shown, and no memory holds the
 * secret. */
typedef struct Secret {
    uint8_t digest[SHA256_SIZE];
} Secret;

/* The file's one line. 0; -EINVAL if it is shorter than
 * SECRET_MIN, longer than SECRET_MAX; another negative errno. */
int secret_load(const char *path, Secret *ret_secret) MUST_CHECK;

bool secret_matches(const Secret *secret, const char *shown);
