/* Who calls the REST API, and what they may: the bearer token of a call, looked at before anything else. */
#pragma once

#include "common/cleanup.h"
#include "coordinator/secret.h"
#include "protocol/grant.h"

typedef struct Access {
    bool has_secret; /* whoever shows it may do everything */
    Secret secret;
    const KeyRing *keys; /* whose operator tokens count */
} Access;

enum {
    ACCESS_E_MISSING = 1, /* no bearer token came along */
    ACCESS_E_WRONG,       /* it is neither the shared one nor signed by a key of ours, or is for others */
    ACCESS_E_EXPIRED,     /* it was a good one */
};

/* authorization is the header's value, or NULL. 0 and *ret_grant, ACCESS_E_*, or -ENOMEM. */
int access_check(const Access *access, const char *authorization, int64_t now_unix_s,
                 Grant *ret_grant) MUST_CHECK;
