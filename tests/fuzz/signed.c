#include "signed.h"

#include "fuzz.h"

#include "common/text.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

const char signed_private_key[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
const char signed_public_key[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";

static EVP_PKEY *key(void)
{
    static EVP_PKEY *pkey;

    if (!pkey) {
        BIO *bio = BIO_new_mem_buf(signed_private_key, -1);
        pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
    }
    FUZZ_CHECK(pkey);
    return pkey;
}

char *signed_token(const char *header, const char *claims)
{
    char *first = text_base64url(header, strlen(header)), *second = text_base64url(claims, strlen(claims));
    char *input = text_format("%s.%s", first, second);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t signature[64];
    size_t size = sizeof(signature);

    FUZZ_CHECK(EVP_DigestSignInit(context, NULL, NULL, NULL, key()) == 1 &&
               EVP_DigestSign(context, signature, &size, (const uint8_t *)input, strlen(input)) == 1);
    EVP_MD_CTX_free(context);
    char *third = text_base64url(signature, size), *token = text_format("%s.%s", input, third);
    FUZZ_CHECK(token);
    free(first);
    free(second);
    free(third);
    free(input);
    return token;
}
