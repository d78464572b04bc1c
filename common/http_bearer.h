/* The token of an Authorization header (RFC 6750 section 2.1). */
#pragma once

#include <string.h>
#include <strings.h>

/* Within authorization; NULL if that is NULL or of another scheme, whose name is case-insensitive (RFC 9110
 * section 11.1). May be "". */
static inline const char *http_bearer(const char *authorization)
{
    static const char scheme[] = "Bearer ";

    if (!authorization || strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
        return NULL;
    authorization += sizeof(scheme) - 1;
    return authorization + strspn(authorization, " ");
}
