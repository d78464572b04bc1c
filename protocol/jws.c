#include "protocol/jws.h"

#include "common/files.h"
#include "common/json.h"
#include "common/text.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#define KEY_FILE_MAX 4096
#define HEADER_MAX 1024
#define RAW_KEY_SIZE 32
#define SIGNATURE_SIZE 64

typedef struct Key {
    EVP_PKEY *pkey;
    char kid[KID_SIZE];
} Key;

struct SigningKey {
    Key key;
};

struct KeyRing {
    size_t count;
    Key keys[];
};

/* Keys */

/* RFC 7638 section 3 with the members of RFC 8037 section 2. */
static int thumbprint(const EVP_PKEY *pkey, char out[static KID_SIZE])
{
    uint8_t raw[RAW_KEY_SIZE], hash[SHA256_SIZE];
    size_t raw_size = sizeof(raw);
    if (EVP_PKEY_get_raw_public_key(pkey, raw, &raw_size) != 1)
        return -EIO;
    char *x CLEANUP(free_ptr) = text_base64url(raw, raw_size);
    char *jwk CLEANUP(free_ptr) =
        x ? text_format("{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x) : NULL;
    if (!jwk || EVP_Digest(jwk, strlen(jwk), hash, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    char *kid CLEANUP(free_ptr) = text_base64url(hash, sizeof(hash));
    if (!kid)
        return -ENOMEM;
    snprintf(out, KID_SIZE, "%s", kid);
    return 0;
}

/* One PEM block: of several we would silently take one. An encrypted key is refused, not asked about. */
static EVP_PKEY *pem_parse(const char *pem, size_t size, bool is_private)
{
    static const char begin[] = "-----BEGIN ";
    const char *first = strstr(pem, begin);
    if (!first || strstr(first + 1, begin))
        return NULL;
    BIO *bio = BIO_new_mem_buf(pem, (int)size);
    if (!bio)
        return NULL;
    EVP_PKEY *pkey = is_private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"")
                                : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ERR_clear_error(); /* or the next TLS call of this thread trips over it */
    if (pkey && EVP_PKEY_id(pkey) != EVP_PKEY_ED25519) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static int key_load(const char *path, bool is_private, Key *ret_key)
{
    char *pem;
    size_t size;
    int r = file_read(path, KEY_FILE_MAX, &pem, &size);
    if (r < 0)
        return r == -EFBIG ? -EINVAL : r;
    Key key = {.pkey = pem_parse(pem, size, is_private)};
    OPENSSL_cleanse(pem, size);
    free(pem);
    if (!key.pkey)
        return -EINVAL;
    r = thumbprint(key.pkey, key.kid);
    if (r < 0) {
        EVP_PKEY_free(key.pkey);
        return r;
    }
    *ret_key = key;
    return 0;
}

int signing_key_load(const char *path, SigningKey **ret_key)
{
    SigningKey *key = calloc(1, sizeof(*key));
    if (!key)
        return -ENOMEM;
    int r = key_load(path, true, &key->key);
    if (r < 0) {
        signing_key_free(key);
        return r;
    }
    *ret_key = key;
    return 0;
}

SigningKey *signing_key_free(SigningKey *key)
{
    if (key)
        EVP_PKEY_free(key->key.pkey);
    free(key);
    return NULL;
}

const char *signing_key_kid(const SigningKey *key)
{
    return key->key.kid;
}

int key_ring_load(char *const *paths, size_t count, KeyRing **ret_ring, const char **ret_bad)
{
    KeyRing *ring = calloc(1, sizeof(*ring) + count * sizeof(ring->keys[0]));
    if (!ring)
        return -ENOMEM;
    for (; ring->count < count; ring->count++) {
        int r = key_load(paths[ring->count], false, &ring->keys[ring->count]);
        if (r < 0) {
            if (ret_bad)
                *ret_bad = paths[ring->count];
            key_ring_free(ring);
            return r;
        }
    }
    *ret_ring = ring;
    return 0;
}

int key_ring_of(const SigningKey *key, KeyRing **ret_ring)
{
    KeyRing *ring = calloc(1, sizeof(*ring) + sizeof(ring->keys[0]));
    if (!ring || EVP_PKEY_up_ref(key->key.pkey) != 1) {
        free(ring);
        return -ENOMEM;
    }
    ring->count = 1;
    ring->keys[0] = key->key;
    *ret_ring = ring;
    return 0;
}

KeyRing *key_ring_free(KeyRing *ring)
{
    for (size_t i = 0; ring && i < ring->count; i++)
        EVP_PKEY_free(ring->keys[i].pkey);
    free(ring);
    return NULL;
}

/* Signing */

static int sign(const Key *key, const char *text, uint8_t out[static SIGNATURE_SIZE])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = SIGNATURE_SIZE;
    bool ok = context && EVP_DigestSignInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
              EVP_DigestSign(context, out, &size, (const uint8_t *)text, strlen(text)) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return ok ? 0 : -EIO;
}

int jws_sign(const SigningKey *key, const char *typ, const cJSON *claims, char **ret_token)
{
    char *header CLEANUP(free_ptr) =
        text_format("{\"alg\":\"EdDSA\",\"typ\":\"%s\",\"kid\":\"%s\"}", typ, key->key.kid);
    char *payload CLEANUP(free_ptr) = cJSON_PrintUnformatted(claims);
    if (!header || !payload)
        return -ENOMEM;
    char *header_part CLEANUP(free_ptr) = text_base64url(header, strlen(header));
    char *payload_part CLEANUP(free_ptr) = text_base64url(payload, strlen(payload));
    if (!header_part || !payload_part)
        return -ENOMEM;

    uint8_t signature[SIGNATURE_SIZE];
    char *input CLEANUP(free_ptr) = text_format("%s.%s", header_part, payload_part);
    int r = input ? sign(&key->key, input, signature) : -ENOMEM;
    if (r < 0)
        return r;
    char *signature_part CLEANUP(free_ptr) = text_base64url(signature, sizeof(signature));
    char *token CLEANUP(free_ptr) = signature_part ? text_format("%s.%s", input, signature_part) : NULL;
    if (!token)
        return -ENOMEM;
    if (strlen(token) >= TICKET_MAX)
        return -EMSGSIZE;
    *ret_token = TAKE_PTR(token);
    return 0;
}

/* Verifying */

typedef struct Part {
    const char *text;
    size_t length;
} Part;

/* header . payload . signature: exactly three. */
static bool split(const char *token, Part parts[static 3])
{
    if (strnlen(token, TICKET_MAX) == TICKET_MAX)
        return false;
    for (size_t i = 0; i < 3; i++) {
        parts[i] = (Part){token, strcspn(token, ".")};
        token += parts[i].length;
        if (*token != (i < 2 ? '.' : '\0'))
            return false;
        token++;
    }
    return true;
}

/* A name given twice means one thing to us and another to the next reader (RFC 7515 section 4). */
static bool names_are_unique(const cJSON *object)
{
    for (const cJSON *a = object->child; a; a = a->next)
        for (const cJSON *b = a->next; b; b = b->next)
            if (strcmp(a->string, b->string) == 0)
                return false;
    return true;
}

static int decode_object(Part part, size_t max, cJSON **ret_object)
{
    void *data;
    size_t size;
    int r = text_unbase64url(part.text, part.length, &data, &size);
    if (r < 0)
        return r == -ENOMEM ? r : TOKEN_E_INVALID;
    cJSON *object CLEANUP(json_delete) = json_parse_object(data, size, max);
    free(data);
    if (!object || !names_are_unique(object))
        return TOKEN_E_INVALID;
    *ret_object = TAKE_PTR(object);
    return 0;
}

static bool member_is(const cJSON *object, const char *name, const char *expected)
{
    const char *text;
    return json_get_string_ref(object, name, &text) == JSON_OK && strcmp(text, expected) == 0;
}

/* "crit" names extensions that must be understood, and we have none. *ret_kid is "" if there is no kid. */
static int check_header(Part part, const char *typ, char ret_kid[static KID_SIZE])
{
    cJSON *header CLEANUP(json_delete) = NULL;
    int r = decode_object(part, HEADER_MAX, &header);
    if (r != 0)
        return r;
    if (!member_is(header, "alg", "EdDSA") || !member_is(header, "typ", typ) ||
        cJSON_GetObjectItemCaseSensitive(header, "crit"))
        return TOKEN_E_INVALID;
    ret_kid[0] = '\0';
    r = json_get_string(header, "kid", ret_kid, KID_SIZE);
    return r == JSON_E_TYPE ? TOKEN_E_INVALID : 0;
}

static bool key_has_signed(const Key *key, Part input, const uint8_t *signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok =
        context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
        EVP_DigestVerify(context, signature, SIGNATURE_SIZE, (const uint8_t *)input.text, input.length) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return ok;
}

static int check_signature(const KeyRing *ring, const char *kid, Part input, Part signature_part)
{
    void *signature CLEANUP(free_ptr) = NULL;
    size_t size;
    int r = text_unbase64url(signature_part.text, signature_part.length, &signature, &size);
    if (r < 0)
        return r == -ENOMEM ? r : TOKEN_E_INVALID;
    if (size != SIGNATURE_SIZE)
        return TOKEN_E_SIGNATURE;
    for (size_t i = 0; i < ring->count; i++) {
        const Key *key = &ring->keys[i];
        if ((kid[0] == '\0' || strcmp(kid, key->kid) == 0) && key_has_signed(key, input, signature))
            return 0;
    }
    return TOKEN_E_SIGNATURE;
}

static int verify(const KeyRing *ring, const char *typ, const char *token, cJSON **ret_claims)
{
    Part parts[3];
    char kid[KID_SIZE];
    if (!split(token, parts))
        return TOKEN_E_INVALID;
    int r = check_header(parts[0], typ, kid);
    if (r != 0)
        return r;
    Part input = {token, parts[0].length + 1 + parts[1].length};
    r = check_signature(ring, kid, input, parts[2]);
    if (r != 0)
        return r;
    return decode_object(parts[1], TICKET_MAX, ret_claims);
}

/* cJSON and OpenSSL do not tell a lack of memory from a bad token, but malloc() has set errno. */
int jws_verify(const KeyRing *ring, const char *typ, const char *token, cJSON **ret_claims)
{
    errno = 0;
    int r = verify(ring, typ, token, ret_claims);
    return r > 0 && errno == ENOMEM ? -ENOMEM : r;
}
