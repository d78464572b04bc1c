/* beckon-operator+jwt: what one user of the REST API may do, and to which devices. */
#pragma once

#include "common/cleanup.h"
#include "protocol/ident.h"
#include "protocol/token.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRANT_PATTERNS_MAX 64
#define SHARED_USER                                                                                          \
    "(shared token)"                 /* who shows the shared token, in audit logs; no user's name looks so   \
                                      */
#define GRANT_AUDIENCE "coordinator" /* a reserved name: no ticket is for it */

/* Flags. */
enum {
    GRANT_READ = 1, /* see devices and requests */
    GRANT_PULL = 2, /* ask for files, cancel, fetch content */
    GRANT_ADMIN = 4 /* all of that; what later versions reserve to administrators too */
};

/* Names of devices, in which '*' is any number of characters and '?' one. */
typedef char ClientPattern[CLIENT_ID_SIZE];

typedef struct Grant {
    char user[USER_NAME_SIZE]; /* sub; "": who shows the coordinator's shared token */
    unsigned scopes;
    size_t pattern_count;
    ClientPattern patterns[GRANT_PATTERNS_MAX]; /* clients */
    int64_t issued_unix_s, expires_unix_s;      /* issued: 0 if it does not say */
} Grant;

/* The one question whether a user may know of a device: asked before each answer, row and event that names
 * it. What is not seen must look as if it did not exist. */
bool grant_sees(const Grant *grant, const char *client);

/* Whether that is so for every name there may be. */
bool grant_sees_all(const Grant *grant);

/* Whether all of scopes are given. */
bool grant_has(const Grant *grant, unsigned scopes);

/* Everything, for nobody in particular. */
void grant_everything(Grant *ret_grant);

bool client_pattern_is_valid(const char *pattern);
bool client_pattern_matches(const char *pattern, const char *client);

/* "read pull" or "read,pull". Words that are not known grant nothing: false if there is one. */
bool grant_scopes_parse(const char *text, unsigned *ret_scopes);
const char *grant_scopes_text(unsigned scopes); /* "read pull" */

/* 0; -EINVAL if a member is not valid; -EMSGSIZE if it is too long for a token; another negative errno. The
 * caller frees *ret_token. */
int grant_sign(const SigningKey *key, const Grant *grant, char **ret_token) MUST_CHECK;

/* 0, TOKEN_E_* or a negative errno. Besides sub, exp, scope (RFC 8693 section 4.2, or a list) and clients it
 * respects nbf and aud (RFC 7519 section 4.1), where they are given. */
int grant_verify(const KeyRing *ring, const char *token, int64_t now_unix_s, Grant *ret_grant) MUST_CHECK;
