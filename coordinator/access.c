#include "coordinator/access.h"

#include "common/http_bearer.h"

int access_check(const Access *access, const char *authorization, int64_t now_unix_s, Grant *ret_grant)
{
    const char *token = http_bearer(authorization);
    if (!token || !*token)
        return ACCESS_E_MISSING;
    if (access->has_secret && secret_matches(&access->secret, token)) {
        grant_everything(ret_grant);
        return 0;
    }
    int r = grant_verify(access->keys, token, now_unix_s, ret_grant);
    if (r <= 0)
        return r;
    return r == TOKEN_E_EXPIRED ? ACCESS_E_EXPIRED : ACCESS_E_WRONG;
}
