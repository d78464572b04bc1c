/* Repr-Digest and Content-Digest: what is taken is written and read again as the same 32 bytes. */
#include "fuzz.h"

#include "protocol/digest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    uint8_t digest[SHA256_SIZE] = {0}, again[SHA256_SIZE];
    static const uint8_t untouched[SHA256_SIZE];
    char field[DIGEST_FIELD_SIZE];

    if (digest_field_parse(text, digest) == 0) {
        digest_field_format(digest, field);
        FUZZ_CHECK(strstr(text, field)); /* canonical base64: one spelling for one digest */
        FUZZ_CHECK(digest_field_parse(field, again) == 0 && memcmp(digest, again, SHA256_SIZE) == 0);
    } else {
        FUZZ_CHECK(memcmp(digest, untouched, SHA256_SIZE) == 0);
    }
    free(text);
    return 0;
}
