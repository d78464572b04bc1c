#include "protocol/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#define BASE64_LENGTH 44 /* of SHA256_SIZE bytes, with padding */

struct Digest {
    EVP_MD_CTX *context;
};

int digest_new(Digest **ret_digest)
{
    Digest *digest = calloc(1, sizeof(*digest));
    if (!digest)
        return -ENOMEM;
    digest->context = EVP_MD_CTX_new();
    if (!digest->context || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1) {
        digest_free(digest);
        return -ENOMEM;
    }
    *ret_digest = digest;
    return 0;
}

Digest *digest_free(Digest *digest)
{
    if (digest)
        EVP_MD_CTX_free(digest->context);
    free(digest);
    return NULL;
}

int digest_copy(const Digest *digest, Digest **ret_copy)
{
    Digest *copy = NULL;
    int r = digest_new(&copy);

    if (r < 0)
        return r;
    if (EVP_MD_CTX_copy_ex(copy->context, digest->context) != 1) {
        (void)digest_free(copy);
        return -ENOMEM;
    }
    *ret_copy = copy;
    return 0;
}

int digest_update(Digest *digest, const void *data, size_t size)
{
    return EVP_DigestUpdate(digest->context, data, size) == 1 ? 0 : -EIO;
}

int digest_final(Digest *digest, uint8_t out[static SHA256_SIZE])
{
    return EVP_DigestFinal_ex(digest->context, out, NULL) == 1 ? 0 : -EIO;
}

void digest_field_format(const uint8_t digest[static SHA256_SIZE], char out[static DIGEST_FIELD_SIZE])
{
    unsigned char text[BASE64_LENGTH + 1];
    EVP_EncodeBlock(text, digest, SHA256_SIZE);
    snprintf(out, DIGEST_FIELD_SIZE, "sha-256=:%s:", text);
}

/* Strict: EVP_DecodeBlock() forgives, so what it made must encode to the same text again. */
static bool decode_digest(const char *text, size_t length, uint8_t out[static SHA256_SIZE])
{
    unsigned char bytes[BASE64_LENGTH / 4 * 3], again[BASE64_LENGTH + 1];
    if (length != BASE64_LENGTH || EVP_DecodeBlock(bytes, (const unsigned char *)text, BASE64_LENGTH) < 0)
        return false;
    EVP_EncodeBlock(again, bytes, SHA256_SIZE);
    if (memcmp(again, text, BASE64_LENGTH) != 0)
        return false;
    memcpy(out, bytes, SHA256_SIZE);
    return true;
}

/* The parser of Structured Fields dictionaries (RFC 8941 section 4.2.2): each skip_x() below returns where x,
 * beginning at text, ends, or NULL if it is none. */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static const char *skip_set(const char *text, const char *set)
{
    return text + strspn(text, set);
}

static const char *skip_key(const char *text)
{
    return *text && strchr(LOWER "*", *text) ? skip_set(text, LOWER DIGIT "_-.*") : NULL;
}

static const char *skip_bytes(const char *text)
{
    if (*text != ':')
        return NULL;
    text = skip_set(text + 1, UPPER LOWER DIGIT "+/=");
    return *text == ':' ? text + 1 : NULL;
}

static const char *skip_string(const char *text)
{
    for (text++; *text != '"'; text++) {
        if (*text == '\\' && (*++text != '"' && *text != '\\'))
            return NULL;
        if (*text < ' ' || *text > '~')
            return NULL;
    }
    return text + 1;
}

/* The value of a parameter, which we do not use: numbers and tokens are not told apart. */
static const char *skip_bare_item(const char *text)
{
    if (*text == ':')
        return skip_bytes(text);
    if (*text == '"')
        return skip_string(text);
    if (*text == '?')
        return text[1] == '0' || text[1] == '1' ? text + 2 : NULL;
    const char *end = skip_set(text, UPPER LOWER DIGIT "!#$%&'*+-.^_`|~:/");
    return end > text ? end : NULL;
}

static const char *skip_parameters(const char *text)
{
    while (text && *text == ';') {
        text = skip_key(skip_set(text + 1, " "));
        if (text && *text == '=')
            text = skip_bare_item(text + 1);
    }
    return text;
}

/* One "key=:base64:" with its parameters. Of a key given twice the last counts, as the RFC says. */
static const char *parse_member(const char *text, bool *ret_found, uint8_t out[static SHA256_SIZE])
{
    static const char name[] = "sha-256";
    const char *key_end = skip_key(text);
    if (!key_end || *key_end != '=')
        return NULL;
    const char *value = key_end + 1, *value_end = skip_bytes(value);
    if (!value_end)
        return NULL;
    if ((size_t)(key_end - text) == strlen(name) && memcmp(text, name, strlen(name)) == 0) {
        if (!decode_digest(value + 1, (size_t)(value_end - value) - 2, out))
            return NULL;
        *ret_found = true;
    }
    return skip_parameters(value_end);
}

int digest_field_parse(const char *value, uint8_t out[static SHA256_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    bool found = false;
    const char *text = skip_set(value, " ");
    bool more = *text != '\0';
    while (more) {
        text = parse_member(text, &found, digest);
        if (!text)
            return DIGEST_E_INVALID;
        text = skip_set(text, " \t");
        more = *text == ',';
        if (more)
            text = skip_set(text + 1, " \t");
        else if (*text != '\0')
            return DIGEST_E_INVALID;
    }
    if (!found)
        return DIGEST_E_ABSENT;
    memcpy(out, digest, SHA256_SIZE);
    return 0;
}
