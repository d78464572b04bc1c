#include "protocol/token.h"

#include "common/json.h"
#include "common/text.h"
#include "protocol/jws.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define RECEIPT_TYP "beckon-receipt+jwt"
#define TICKET_TYP "beckon-ticket+jwt"

#define REMOVAL_TYP "beckon-removal+jwt"

static const char *const scope_names[] = {
    [TICKET_UPLOAD] = "upload", [TICKET_DOWNLOAD] = "download", [TICKET_REMOVE] = "remove"};

const char *token_error_text(int error)
{
    switch (error) {
    case TOKEN_E_INVALID:
        return "it is not a valid token of this kind";
    case TOKEN_E_SIGNATURE:
        return "no key that is trusted here has signed it";
    case TOKEN_E_EXPIRED:
        return "it has expired";
    case TOKEN_E_EARLY:
        return "it is not valid yet";
    default:
        return error < 0 ? strerror(-error) : "it is valid";
    }
}

/* Asked before signing too: what we sign, the other side can read. */
static bool subject_is_valid(const char *client, const char *upload, const char *path)
{
    return client_id_is_valid(client) && upload_id_is_valid(upload) && file_path_is_valid(path);
}

static bool get_text(const cJSON *object, const char *name, char *out, size_t size)
{
    return json_get_string(object, name, out, size) == JSON_OK;
}

static bool get_time(const cJSON *object, const char *name, int64_t *ret_unix_s)
{
    uint64_t value;
    if (json_get_u64(object, name, &value) != JSON_OK)
        return false;
    *ret_unix_s = (int64_t)value;
    return true;
}

/* Receipts */

static bool add_file(cJSON *object, const Receipt *receipt)
{
    char hex[SHA256_HEX_SIZE];
    text_hex(receipt->sha256, SHA256_SIZE, hex);
    return cJSON_AddStringToObject(object, "path", receipt->path) &&
           json_add_u64(object, "size", receipt->size_bytes) &&
           cJSON_AddStringToObject(object, "sha256", hex);
}

int receipt_sign(const SigningKey *key, const Receipt *receipt, char **ret_token)
{
    if (!subject_is_valid(receipt->client, receipt->upload, receipt->path) || receipt->issued_unix_s < 0)
        return -EINVAL;
    cJSON *claims CLEANUP(json_delete) = cJSON_CreateObject();
    if (!claims || !cJSON_AddStringToObject(claims, "iss", receipt->issuer) ||
        !cJSON_AddStringToObject(claims, "sub", receipt->client) ||
        !cJSON_AddStringToObject(claims, "jti", receipt->upload) || !add_file(claims, receipt) ||
        !json_add_u64(claims, "iat", (uint64_t)receipt->issued_unix_s))
        return -ENOMEM;
    return jws_sign(key, RECEIPT_TYP, claims, ret_token);
}

int receipt_verify(const KeyRing *ring, const char *token, Receipt *ret_receipt)
{
    Receipt receipt;
    char hex[SHA256_HEX_SIZE];
    cJSON *claims CLEANUP(json_delete) = NULL;
    int r = jws_verify(ring, RECEIPT_TYP, token, &claims);
    if (r != 0)
        return r;
    if (!get_text(claims, "iss", receipt.issuer, sizeof(receipt.issuer)) ||
        !get_text(claims, "sub", receipt.client, sizeof(receipt.client)) ||
        !get_text(claims, "jti", receipt.upload, sizeof(receipt.upload)) ||
        !get_text(claims, "path", receipt.path, sizeof(receipt.path)) ||
        json_get_u64(claims, "size", &receipt.size_bytes) != JSON_OK ||
        !get_text(claims, "sha256", hex, sizeof(hex)) || !text_unhex(hex, receipt.sha256, SHA256_SIZE) ||
        !get_time(claims, "iat", &receipt.issued_unix_s) ||
        !subject_is_valid(receipt.client, receipt.upload, receipt.path))
        return TOKEN_E_INVALID;
    *ret_receipt = receipt;
    return 0;
}

char *receipt_message_format(const Receipt *receipt, const char *stored, const char *traceparent,
                             int64_t at_unix_ms, const char *token)
{
    char at[TEXT_TIME_SIZE];
    text_time(at_unix_ms, at);
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !add_file(object, receipt) || !cJSON_AddStringToObject(object, "stored", stored) ||
        !cJSON_AddStringToObject(object, "receiver", receipt->issuer) ||
        !cJSON_AddStringToObject(object, "at", at) ||
        (traceparent[0] && !cJSON_AddStringToObject(object, "traceparent", traceparent)) ||
        !cJSON_AddStringToObject(object, "receipt", token))
        return NULL;
    return cJSON_PrintUnformatted(object);
}

/* Removals */

int removal_sign(const SigningKey *key, const Removal *removal, char **ret_token)
{
    if (!client_id_is_valid(removal->client) || !upload_id_is_valid(removal->upload) ||
        removal->removed_unix_s < 0)
        return -EINVAL;
    cJSON *claims CLEANUP(json_delete) = cJSON_CreateObject();
    if (!claims || !cJSON_AddStringToObject(claims, "iss", removal->issuer) ||
        !cJSON_AddStringToObject(claims, "sub", removal->client) ||
        !cJSON_AddStringToObject(claims, "jti", removal->upload) ||
        !json_add_u64(claims, "iat", (uint64_t)removal->removed_unix_s))
        return -ENOMEM;
    return jws_sign(key, REMOVAL_TYP, claims, ret_token);
}

int removal_verify(const KeyRing *ring, const char *token, Removal *ret_removal)
{
    Removal removal;
    cJSON *claims CLEANUP(json_delete) = NULL;
    int r = jws_verify(ring, REMOVAL_TYP, token, &claims);
    if (r != 0)
        return r;
    if (!get_text(claims, "iss", removal.issuer, sizeof(removal.issuer)) ||
        !get_text(claims, "sub", removal.client, sizeof(removal.client)) ||
        !get_text(claims, "jti", removal.upload, sizeof(removal.upload)) ||
        !get_time(claims, "iat", &removal.removed_unix_s) || !client_id_is_valid(removal.client) ||
        !upload_id_is_valid(removal.upload))
        return TOKEN_E_INVALID;
    *ret_removal = removal;
    return 0;
}

char *removal_message_format(const Removal *removal, const char *traceparent, const char *token)
{
    char at[TEXT_TIME_SIZE];
    text_time(removal->removed_unix_s * 1000, at);
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !cJSON_AddStringToObject(object, "receiver", removal->issuer) ||
        !cJSON_AddStringToObject(object, "at", at) ||
        (traceparent[0] && !cJSON_AddStringToObject(object, "traceparent", traceparent)) ||
        !cJSON_AddStringToObject(object, "removal", token))
        return NULL;
    return cJSON_PrintUnformatted(object);
}

/* Tickets */

int ticket_sign(const SigningKey *key, const Ticket *ticket, char **ret_token)
{
    if (!subject_is_valid(ticket->client, ticket->upload, ticket->path) || ticket->issued_unix_s < 0 ||
        ticket->expires_unix_s < 0)
        return -EINVAL;
    cJSON *claims CLEANUP(json_delete) = cJSON_CreateObject();
    if (!claims || !cJSON_AddStringToObject(claims, "scope", scope_names[ticket->scope]) ||
        (ticket->user[0] && !cJSON_AddStringToObject(claims, "sub", ticket->user)) ||
        !cJSON_AddStringToObject(claims, "aud", ticket->client) ||
        !cJSON_AddStringToObject(claims, "jti", ticket->upload) ||
        !cJSON_AddStringToObject(claims, "path", ticket->path) ||
        (ticket->max_size_bytes > 0 && !json_add_u64(claims, "max_size", ticket->max_size_bytes)) ||
        (ticket->rate_bytes_per_s > 0 && !json_add_u64(claims, "rate", ticket->rate_bytes_per_s)) ||
        (*ticket->receiver && !cJSON_AddStringToObject(claims, "receiver", ticket->receiver)) ||
        !json_add_u64(claims, "iat", (uint64_t)ticket->issued_unix_s) ||
        !json_add_u64(claims, "exp", (uint64_t)ticket->expires_unix_s))
        return -ENOMEM;
    return jws_sign(key, TICKET_TYP, claims, ret_token);
}

static bool get_scope(const cJSON *claims, TicketScope *ret_scope)
{
    const char *name;
    if (json_get_string_ref(claims, "scope", &name) != JSON_OK)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(scope_names); i++) {
        if (strcmp(name, scope_names[i]) == 0) {
            *ret_scope = (TicketScope)i;
            return true;
        }
    }
    return false;
}

/* A limit may be missing, but not be 0 or null: that would turn "nothing" into "anything". */
static bool get_limit(const cJSON *claims, const char *name, uint64_t *ret_limit)
{
    *ret_limit = 0;
    return !cJSON_GetObjectItemCaseSensitive(claims, name) ||
           (json_get_u64(claims, name, ret_limit) == JSON_OK && *ret_limit > 0);
}

static bool get_receiver(const cJSON *claims, char out[static RECEIVER_NAME_SIZE])
{
    out[0] = '\0';
    return !cJSON_GetObjectItemCaseSensitive(claims, "receiver") ||
           (get_text(claims, "receiver", out, RECEIVER_NAME_SIZE) && out[0] != '\0');
}

static bool get_user(const cJSON *claims, char user[static USER_NAME_SIZE])
{
    user[0] = '\0';
    return !cJSON_GetObjectItemCaseSensitive(claims, "sub") ||
           (get_text(claims, "sub", user, USER_NAME_SIZE) && user_name_is_valid(user));
}

static bool has_begun(const cJSON *claims, int64_t now_unix_s, int64_t issued_unix_s)
{
    int64_t begin = 0;
    return !cJSON_GetObjectItemCaseSensitive(claims, "nbf") ||
           (get_time(claims, "nbf", &begin) && (begin <= now_unix_s || begin <= issued_unix_s));
}

int ticket_verify(const KeyRing *ring, const char *token, int64_t now_unix_s, Ticket *ret_ticket)
{
    Ticket ticket;
    cJSON *claims CLEANUP(json_delete) = NULL;
    int r = jws_verify(ring, TICKET_TYP, token, &claims);
    if (r != 0)
        return r;
    if (!get_scope(claims, &ticket.scope) || !get_text(claims, "aud", ticket.client, sizeof(ticket.client)) ||
        !get_text(claims, "jti", ticket.upload, sizeof(ticket.upload)) ||
        !get_text(claims, "path", ticket.path, sizeof(ticket.path)) || !get_user(claims, ticket.user) ||
        !get_limit(claims, "max_size", &ticket.max_size_bytes) ||
        !get_limit(claims, "rate", &ticket.rate_bytes_per_s) || !get_receiver(claims, ticket.receiver) ||
        !get_time(claims, "iat", &ticket.issued_unix_s) || !get_time(claims, "exp", &ticket.expires_unix_s) ||
        !has_begun(claims, now_unix_s, ticket.issued_unix_s) ||
        !subject_is_valid(ticket.client, ticket.upload, ticket.path))
        return TOKEN_E_INVALID;
    if (now_unix_s >= ticket.expires_unix_s)
        return TOKEN_E_EXPIRED;
    *ret_ticket = ticket;
    return 0;
}
