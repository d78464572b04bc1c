#include "coordinator/secret.h"

#include "common/files.h"

#include <errno.h>
#include <string.h>

static int digest_of(const char *text, size_t size, uint8_t out[static SHA256_SIZE])
{
    Digest *digest = NULL;
    int r = digest_new(&digest);
    if (r == 0)
        r = digest_update(digest, text, size);
    if (r == 0)
        r = digest_final(digest, out);
    (void)digest_free(digest);
    return r;
}

static int take_line(char *text, size_t size, Secret *ret_secret)
{
    size_t length = strcspn(text, "\r\n");
    size_t rest = length + strspn(text + length, "\r\n");
    if (length < SECRET_MIN || length > SECRET_MAX || rest != size)
        return -EINVAL;
    return digest_of(text, length, ret_secret->digest);
}

int secret_load(const char *path, Secret *ret_secret)
{
    char *text = NULL;
    size_t size = 0;
    int r = file_read(path, SECRET_MAX + 2, &text, &size);
    if (r < 0)
        return r == -EFBIG ? -EINVAL : r;
    r = take_line(text, size, ret_secret);
    explicit_bzero(text, size);
    free(text);
    return r;
}

bool secret_matches(const Secret *secret, const char *shown)
{
    uint8_t digest[SHA256_SIZE] = {0};
    if (digest_of(shown, strlen(shown), digest) < 0)
        return false;
    unsigned difference = 0;
    for (size_t i = 0; i < SHA256_SIZE; i++)
        difference |= (unsigned)(digest[i] ^ secret->digest[i]);
    return difference == 0;
}
