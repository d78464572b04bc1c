#include "coordinator/session.h"

#include "common/text.h"

#include <inttypes.h>
#include <string.h>

#define COOKIE "__Host-beckon"
#define BEARER "Bearer "
#define ATTRIBUTES "; Path=/; Secure; HttpOnly; SameSite=Strict"

const char session_end[] = COOKIE "=" ATTRIBUTES "; Max-Age=0";

/* RFC 6265 section 4.2.1: "a=b; c=d". NULL if ours is not there. The caller frees. */
static char *read_cookie(const char *header)
{
    for (const char *at = header; at && *at;) {
        at += strspn(at, "; ");
        size_t length = strcspn(at, ";");
        if (strncmp(at, COOKIE "=", sizeof(COOKIE)) == 0) {
            char *value CLEANUP(free_secret) =
                text_format("%.*s", (int)(length - sizeof(COOKIE)), at + sizeof(COOKIE));
            return value ? text_percent_decode(value) : NULL;
        }
        at += length;
    }
    return NULL;
}

/* Fetch metadata, where the browser sends it, and a header that a form or a link can't carry. */
static bool is_of_our_page(const HttpRequest *request)
{
    const char *method = http_request_method(request);
    const char *site = http_request_header(request, "Sec-Fetch-Site");
    const char *mark = http_request_header(request, "Beckon-Csrf");
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return !site || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
    return mark && strcmp(mark, "1") == 0 && (!site || strcmp(site, "same-origin") == 0);
}

char *session_authorization(const HttpRequest *request)
{
    const char *header = http_request_header(request, "Authorization");
    if (header)
        return strdup(header);
    const char *cookies = http_request_header(request, "Cookie");
    char *token CLEANUP(free_secret) = cookies && is_of_our_page(request) ? read_cookie(cookies) : NULL;
    return token && *token ? text_format(BEARER "%s", token) : NULL;
}

char *session_cookie(const char *authorization, int64_t life_s)
{
    const char *token = authorization + sizeof(BEARER) - 1;
    char life[40] = "";
    char *value CLEANUP(free_secret) = text_percent_encode(token + strspn(token, " "), "");
    if (!value || strlen(value) > SESSION_COOKIE_MAX)
        return NULL;
    if (life_s > 0)
        (void)snprintf(life, sizeof(life), "; Max-Age=%" PRId64, life_s);
    return text_format(COOKIE "=%s" ATTRIBUTES "%s", value, life);
}
