#include "agent/source.h"

#include "common/planted.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES 65536

int source_init(Source *source, int fd, uint64_t size_bytes)
{
    struct stat info;

    *source = (Source){.fd = fd, .size_bytes = size_bytes};
    if (fstat(fd, &info) < 0)
        return -errno;
    if ((uint64_t)info.st_size < size_bytes)
        return SOURCE_E_CHANGED;
    source->first_size_bytes = (uint64_t)info.st_size;
    source->first_modified = info.st_mtim;
    return digest_new(&source->digest);
}

void source_deinit(Source *source)
{
    source->digest = digest_free(source->digest);
}

/* Up to size bytes at offset; 0 at the end of the file. */
static ssize_t read_at(const Source *source, void *buf, size_t size, uint64_t offset)
{
    ssize_t got = 0;

    do
        got = pread(source->fd, buf, size, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* Hashes the first size_bytes of the file as they are now. */
static int hash_again(const Source *source, Digest *digest)
{
    static char buf[BUFFER_BYTES]; /* the worker has one thread and one upload */

    for (uint64_t at = 0; at < source->size_bytes;) {
        uint64_t left = source->size_bytes - at;
        ssize_t got = read_at(source, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf), at);
        if (got <= 0)
            return got < 0 ? (int)got : SOURCE_E_CHANGED;
        int r = digest_update(digest, buf, (size_t)got);
        if (r < 0)
            return r;
        at += (uint64_t)got;
    }
    return 0;
}

static int compare_again(const Source *source)
{
    Digest *digest = NULL;
    uint8_t sha256[SHA256_SIZE];

    int r = digest_new(&digest);
    if (r == 0)
        r = hash_again(source, digest);
    if (r == 0)
        r = digest_final(digest, sha256);
    if (r == 0 && memcmp(sha256, source->sha256, SHA256_SIZE) != 0)
        r = SOURCE_E_CHANGED;
    digest_free(digest);
    return r;
}

static int check_unchanged(const Source *source)
{
    struct stat info;

    if (fstat(source->fd, &info) < 0)
        return -errno;
    uint64_t size_bytes = (uint64_t)info.st_size;
    if (size_bytes == source->first_size_bytes && info.st_mtim.tv_sec == source->first_modified.tv_sec &&
        info.st_mtim.tv_nsec == source->first_modified.tv_nsec)
        return 0;
    if (size_bytes <= source->size_bytes)
        return SOURCE_E_CHANGED;
    return source->is_whole ? 0 : compare_again(source);
}

static int finish(Source *source)
{
    int r = source->is_whole ? 0 : digest_final(source->digest, source->sha256);

    if (r == 0)
        r = check_unchanged(source);
    source->is_whole = r == 0;
    return r;
}

int source_read(Source *source, void *buf, size_t size, size_t *ret_size)
{
    uint64_t left = source->size_bytes - source->offset_bytes;

    if (left == 0) {
        *ret_size = 0;
        return finish(source);
    }
    ssize_t got = read_at(source, buf, size < left ? size : (size_t)left, source->offset_bytes);
    if (got == 0 && PLANTED("short-read-ends-body")) {
        *ret_size = 0;
        return digest_final(source->digest, source->sha256);
    }
    if (got <= 0)
        return got < 0 ? (int)got : SOURCE_E_CHANGED; /* shorter than it was */
    int r = digest_update(source->digest, buf, (size_t)got);
    if (r < 0)
        return r;
    source->offset_bytes += (uint64_t)got;
    *ret_size = (size_t)got;
    return 0;
}

int source_skip(Source *source, uint64_t offset_bytes)
{
    static char buf[BUFFER_BYTES]; /* the worker has one thread and one upload */
    int r = 0;

    if (PLANTED("resume-without-rehash"))
        source->offset_bytes = offset_bytes;
    while (r == 0 && source->offset_bytes < offset_bytes) {
        uint64_t left = offset_bytes - source->offset_bytes;
        size_t got = 0;
        r = source_read(source, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf), &got);
    }
    return r == 0 && source->offset_bytes == source->size_bytes ? finish(source) : r;
}
