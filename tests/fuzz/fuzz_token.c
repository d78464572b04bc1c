/* Tokens. The first line of the input says which; the rest is
 *
 *   raw        a token as it comes over the wire: nothing that we have not signed is taken
 *   header     a header, a line end, claims: both as given, and truly signed with the right key
 *
 * so that what stands behind the signature is reached too. What is taken says the same when we sign it. */
#include "fuzz.h"
#include "signed.h"

#include "common/json.h"
#include "common/text.h"
#include "protocol/grant.h"
#include "protocol/jws.h"

#include <string.h>

#define NOW_UNIX_S 1800000000

static SigningKey *key;
static KeyRing *ring;

static void load_keys(void)
{
    if (key)
        return;
    FUZZ_CHECK(signing_key_load(fuzz_file(signed_private_key, strlen(signed_private_key)), &key) == 0);
    char *path = strdup(fuzz_file(signed_public_key, strlen(signed_public_key)));
    FUZZ_CHECK(path && key_ring_load(&path, 1, &ring, NULL) == 0);
    free(path);
}

static bool tickets_agree(const Ticket *a, const Ticket *b)
{
    return a->scope == b->scope && strcmp(a->client, b->client) == 0 && strcmp(a->upload, b->upload) == 0 &&
           strcmp(a->path, b->path) == 0 && strcmp(a->user, b->user) == 0 &&
           strcmp(a->receiver, b->receiver) == 0 && a->max_size_bytes == b->max_size_bytes &&
           a->rate_bytes_per_s == b->rate_bytes_per_s && a->issued_unix_s == b->issued_unix_s &&
           a->expires_unix_s == b->expires_unix_s;
}

static bool check_ticket(const char *token)
{
    static Ticket ticket, again;
    char *ours = NULL;

    if (ticket_verify(ring, token, NOW_UNIX_S, &ticket) != 0)
        return false;
    FUZZ_CHECK(client_id_is_valid(ticket.client) && upload_id_is_valid(ticket.upload) &&
               file_path_is_valid(ticket.path) && ticket.expires_unix_s > NOW_UNIX_S);
    if (ticket_sign(key, &ticket, &ours) == 0) {
        FUZZ_CHECK(ticket_verify(ring, ours, NOW_UNIX_S, &again) == 0 && tickets_agree(&ticket, &again));
        FUZZ_CHECK(ticket_verify(ring, ours, ticket.expires_unix_s, &again) == TOKEN_E_EXPIRED);
    }
    free(ours);
    return true;
}

static bool check_receipt(const char *token)
{
    static Receipt receipt, again;
    char *ours = NULL;

    if (receipt_verify(ring, token, &receipt) != 0)
        return false;
    FUZZ_CHECK(client_id_is_valid(receipt.client) && upload_id_is_valid(receipt.upload) &&
               file_path_is_valid(receipt.path) && text_is_utf8(receipt.issuer, strlen(receipt.issuer)));
    if (receipt_sign(key, &receipt, &ours) == 0) {
        FUZZ_CHECK(receipt_verify(ring, ours, &again) == 0);
        FUZZ_CHECK(strcmp(receipt.client, again.client) == 0 && strcmp(receipt.path, again.path) == 0 &&
                   receipt.size_bytes == again.size_bytes && receipt.issued_unix_s == again.issued_unix_s &&
                   memcmp(receipt.sha256, again.sha256, SHA256_SIZE) == 0);
    }
    free(ours);
    return true;
}

static bool grants_agree(const Grant *a, const Grant *b)
{
    if (strcmp(a->user, b->user) != 0 || a->scopes != b->scopes || a->expires_unix_s != b->expires_unix_s ||
        a->pattern_count != b->pattern_count)
        return false;
    for (size_t i = 0; i < a->pattern_count; i++)
        if (strcmp(a->patterns[i], b->patterns[i]) != 0)
            return false;
    return true;
}

static bool check_grant(const char *token)
{
    static Grant grant, again;
    char *ours = NULL;

    if (grant_verify(ring, token, NOW_UNIX_S, &grant) != 0)
        return false;
    FUZZ_CHECK(*grant.user && fuzz_is_printable(grant.user, false) && grant.expires_unix_s > NOW_UNIX_S);
    for (size_t i = 0; i < grant.pattern_count; i++) {
        FUZZ_CHECK(client_pattern_is_valid(grant.patterns[i]));
        FUZZ_CHECK(grant_sees(&grant, grant.patterns[i])); /* '*' and '?' match themselves too */
    }
    if (grant_sign(key, &grant, &ours) == 0)
        FUZZ_CHECK(grant_verify(ring, ours, NOW_UNIX_S, &again) == 0 && grants_agree(&grant, &again));
    free(ours);
    return true;
}

/* Whether anything takes it. Never two: the type is in the header. */
static bool check_token(const char *token)
{
    int taken = check_ticket(token) + check_receipt(token) + check_grant(token);

    FUZZ_CHECK(taken <= 1);
    return taken == 1;
}

/* No character of a token that is taken may be another one. */
static void check_altered(char *token, size_t at)
{
    size_t length = strlen(token), place = at % length;
    char before = token[place];

    token[place] = before == 'A' ? 'B' : 'A';
    FUZZ_CHECK(!check_token(token));
    token[place] = before;
    token[length - 1] = '\0';
    FUZZ_CHECK(!check_token(token));
}

/* alg and typ count before all else. */
static void check_header(const char *header)
{
    cJSON *object = json_parse_object(header, strlen(header), 1024);
    const char *alg = NULL, *typ = NULL;

    FUZZ_CHECK(object && json_get_string_ref(object, "alg", &alg) == JSON_OK && strcmp(alg, "EdDSA") == 0);
    FUZZ_CHECK(json_get_string_ref(object, "typ", &typ) == JSON_OK && strncmp(typ, "beckon-", 7) == 0);
    cJSON_Delete(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *rest = text;
    char *mode = fuzz_cut(&rest, '\n');

    load_keys();
    if (rest && strcmp(mode, "raw") == 0) {
        (void)check_token(rest);
    } else if (rest && strcmp(mode, "header") == 0) {
        char *header = fuzz_cut(&rest, '\n');
        char *token = signed_token(header, rest ? rest : "");
        if (check_token(token)) {
            check_header(header);
            check_altered(token, size * 31 + data[size - 1]);
        }
        free(token);
    }
    free(text);
    return 0;
}
