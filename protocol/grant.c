#include "protocol/grant.h"

#include "common/json.h"
#include "protocol/jws.h"

#include <errno.h>
#include <string.h>

#define GRANT_TYP "beckon-operator+jwt"
#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define SCOPE_SEPARATORS " ,"

static const struct {
    const char *name;
    unsigned scope;
} scope_names[] = {{"read", GRANT_READ}, {"pull", GRANT_PULL}, {"admin", GRANT_ADMIN}};

/* --- questions --- */

/* Linear: after a mismatch only the last '*' is tried anew. */
bool client_pattern_matches(const char *pattern, const char *client)
{
    const char *star = NULL, *from = NULL, *name = client;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            from = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

bool grant_sees(const Grant *grant, const char *client)
{
    for (size_t i = 0; i < grant->pattern_count; i++)
        if (client_pattern_matches(grant->patterns[i], client))
            return true;
    return false;
}

bool grant_sees_all(const Grant *grant)
{
    for (size_t i = 0; i < grant->pattern_count; i++)
        if (grant->patterns[i][strspn(grant->patterns[i], "*")] == '\0')
            return true;
    return false;
}

bool grant_has(const Grant *grant, unsigned scopes)
{
    return grant->scopes & GRANT_ADMIN || (grant->scopes & scopes) == scopes;
}

void grant_everything(Grant *ret_grant)
{
    *ret_grant = (Grant){.scopes = GRANT_ADMIN, .pattern_count = 1, .patterns = {"*"}};
}

/* --- members --- */

bool client_pattern_is_valid(const char *pattern)
{
    size_t length = strspn(pattern, ALPHANUMERIC "._-*?");
    return length > 0 && length <= CLIENT_ID_MAX && pattern[length] == '\0';
}

static unsigned scope_of(const char *name, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(scope_names); i++)
        if (strlen(scope_names[i].name) == length && memcmp(scope_names[i].name, name, length) == 0)
            return scope_names[i].scope;
    return 0;
}

bool grant_scopes_parse(const char *text, unsigned *ret_scopes)
{
    bool known = true;
    *ret_scopes = 0;
    for (text += strspn(text, SCOPE_SEPARATORS); *text; text += strspn(text, SCOPE_SEPARATORS)) {
        size_t length = strcspn(text, SCOPE_SEPARATORS);
        unsigned scope = scope_of(text, length);
        *ret_scopes |= scope;
        known &= scope != 0;
        text += length;
    }
    return known;
}

const char *grant_scopes_text(unsigned scopes)
{
    static const char *const texts[] = {"",      "read",       "pull",       "read pull",
                                        "admin", "read admin", "pull admin", "read pull admin"};
    return texts[scopes % ARRAY_SIZE(texts)];
}

/* --- the token --- */

static cJSON *clients_json(const Grant *grant)
{
    cJSON *clients CLEANUP(json_delete) = cJSON_CreateArray();
    for (size_t i = 0; clients && i < grant->pattern_count; i++) {
        cJSON *pattern = cJSON_CreateString(grant->patterns[i]);
        if (!pattern || !cJSON_AddItemToArray(clients, pattern)) {
            cJSON_Delete(pattern);
            return NULL;
        }
    }
    return TAKE_PTR(clients);
}

static bool can_be_signed(const Grant *grant)
{
    if (!user_name_is_valid(grant->user) || !grant->scopes || grant->pattern_count < 1 ||
        grant->pattern_count > GRANT_PATTERNS_MAX || grant->issued_unix_s < 0 ||
        grant->expires_unix_s <= grant->issued_unix_s)
        return false;
    for (size_t i = 0; i < grant->pattern_count; i++)
        if (!client_pattern_is_valid(grant->patterns[i]))
            return false;
    return true;
}

int grant_sign(const SigningKey *key, const Grant *grant, char **ret_token)
{
    if (!can_be_signed(grant))
        return -EINVAL;
    cJSON *claims CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON *clients = clients_json(grant);
    if (!claims || !clients || !cJSON_AddItemToObject(claims, "clients", clients)) {
        cJSON_Delete(clients);
        return -ENOMEM;
    }
    if (!cJSON_AddStringToObject(claims, "sub", grant->user) ||
        !cJSON_AddStringToObject(claims, "aud", GRANT_AUDIENCE) ||
        !cJSON_AddStringToObject(claims, "scope", grant_scopes_text(grant->scopes)) ||
        !json_add_u64(claims, "iat", (uint64_t)grant->issued_unix_s) ||
        !json_add_u64(claims, "exp", (uint64_t)grant->expires_unix_s))
        return -ENOMEM;
    return jws_sign(key, GRANT_TYP, claims, ret_token);
}

/* A whole number; absent is *ret_unix_s as it was, and fine unless it is needed. */
static bool get_time(const cJSON *claims, const char *name, bool needed, int64_t *ret_unix_s)
{
    uint64_t value = 0;
    if (!cJSON_GetObjectItemCaseSensitive(claims, name))
        return !needed;
    if (json_get_u64(claims, name, &value) != JSON_OK)
        return false;
    *ret_unix_s = (int64_t)value;
    return true;
}

/* A string or a list of them (RFC 7519 section 4.1.3). Without one the token's typ alone says whom it is
 * for. */
static bool is_for_us(const cJSON *claims)
{
    const cJSON *audience = cJSON_GetObjectItemCaseSensitive(claims, "aud");
    const cJSON *one = cJSON_IsArray(audience) ? audience->child : audience;
    if (!audience)
        return true;
    for (; one; one = cJSON_IsArray(audience) ? one->next : NULL)
        if (cJSON_IsString(one) && strcmp(one->valuestring, GRANT_AUDIENCE) == 0)
            return true;
    return false;
}

static bool get_scopes(const cJSON *claims, unsigned *ret_scopes)
{
    const cJSON *scope = cJSON_GetObjectItemCaseSensitive(claims, "scope");
    *ret_scopes = 0;
    if (cJSON_IsString(scope)) {
        (void)grant_scopes_parse(scope->valuestring, ret_scopes); /* other words are another version's */
        return true;
    }
    if (!cJSON_IsArray(scope))
        return false;
    for (const cJSON *one = scope->child; one; one = one->next) {
        if (!cJSON_IsString(one))
            return false;
        *ret_scopes |= scope_of(one->valuestring, strlen(one->valuestring));
    }
    return true;
}

static bool get_clients(const cJSON *claims, Grant *grant)
{
    const cJSON *clients = cJSON_GetObjectItemCaseSensitive(claims, "clients");
    grant->pattern_count = 0;
    if (!cJSON_IsArray(clients))
        return false;
    for (const cJSON *one = clients->child; one; one = one->next) {
        if (grant->pattern_count == GRANT_PATTERNS_MAX || !cJSON_IsString(one) ||
            !client_pattern_is_valid(one->valuestring))
            return false;
        (void)snprintf(grant->patterns[grant->pattern_count++], CLIENT_ID_SIZE, "%s", one->valuestring);
    }
    return true;
}

int grant_verify(const KeyRing *ring, const char *token, int64_t now_unix_s, Grant *ret_grant)
{
    Grant grant = {.scopes = 0};
    int64_t not_before_unix_s = 0;
    cJSON *claims CLEANUP(json_delete) = NULL;
    int r = jws_verify(ring, GRANT_TYP, token, &claims);
    if (r != 0)
        return r;
    if (json_get_string(claims, "sub", grant.user, sizeof(grant.user)) != JSON_OK ||
        !user_name_is_valid(grant.user) || !get_scopes(claims, &grant.scopes) ||
        !get_clients(claims, &grant) || !get_time(claims, "iat", false, &grant.issued_unix_s) ||
        !get_time(claims, "nbf", false, &not_before_unix_s) ||
        !get_time(claims, "exp", true, &grant.expires_unix_s) || !is_for_us(claims))
        return TOKEN_E_INVALID;
    if (now_unix_s >= grant.expires_unix_s)
        return TOKEN_E_EXPIRED;
    if (now_unix_s < not_before_unix_s)
        return TOKEN_E_EARLY;
    *ret_grant = grant;
    return 0;
}
