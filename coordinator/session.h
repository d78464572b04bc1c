/* The web page's session: the user's own token, in a cookie that scripts can't read and that browsers send
 * from our own pages only (draft-ietf-httpbis-rfc6265bis: __Host-, HttpOnly, SameSite=Strict). Nothing is
 * kept here.
 */
#pragma once

#include "common/cleanup.h"
#include "common/http_server.h"

#define SESSION_COOKIE_MAX 3900 /* bytes of a token in a cookie; browsers take 4096 with all around it */

/* The value of an Authorization header: the request's own, or made of its cookie. The cookie does not count
 * where another site can have caused the request: a change needs the header "Beckon-Csrf: 1", which another
 * site's page can't send. NULL: neither; or out of memory. The caller frees with
 * free_secret(). */
char *session_authorization(const HttpRequest *request);

/* A Set-Cookie value for an authorization as above. life_s: seconds, 0: as long as the browser runs. NULL
 * when the token is too long for a cookie, or out of memory. The caller frees with free_secret(). */
char *session_cookie(const char *authorization, int64_t life_s);

extern const char session_end[]; /* the Set-Cookie value that takes it back */
