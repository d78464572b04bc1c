#include "agent/source.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define SKIP_BUFFER_BYTES 65536

int source_init(Source *source, int fd, uint64_t size_bytes)
{
    struct stat info;

    *source = (Source){.fd = fd, .size_bytes = size_bytes};
    if (fstat(fd, &info) < 0)
        return -errno;
    if ((uint64_t)info.st_size < size_bytes)
        return SOURCE_E_CHANGED;
    source->modified = info.st_mtim;
    return digest_new(&source->digest);
}

void source_deinit(Source *source)
{
    source->digest = digest_free(source->digest);
}

static int check_unchanged(const Source *source)
{
    struct stat info;

    if (fstat(source->fd, &info) < 0)
        return -errno;
    if ((uint64_t)info.st_size > source->size_bytes)
        return 0; /* an append */
    if ((uint64_t)info.st_size < source->size_bytes || info.st_mtim.tv_sec != source->modified.tv_sec ||
        info.st_mtim.tv_nsec != source->modified.tv_nsec)
        return SOURCE_E_CHANGED;
    return 0;
}

int source_read(Source *source, void *buf, size_t size, size_t *ret_size)
{
    uint64_t left = source->size_bytes - source->offset_bytes;
    ssize_t got = 0;

    if (left == 0) {
        *ret_size = 0;
        return check_unchanged(source);
    }
    do
        got = pread(source->fd, buf, size < left ? size : (size_t)left, (off_t)source->offset_bytes);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    if (got == 0)
        return SOURCE_E_CHANGED; /* shorter than it was */
    int r = digest_update(source->digest, buf, (size_t)got);
    if (r < 0)
        return r;
    source->offset_bytes += (uint64_t)got;
    *ret_size = (size_t)got;
    return 0;
}

int source_skip(Source *source, uint64_t offset_bytes)
{
    static char buf[SKIP_BUFFER_BYTES]; /* the worker has one thread and one upload */
    int r = 0;

    while (r == 0 && source->offset_bytes < offset_bytes) {
        uint64_t left = offset_bytes - source->offset_bytes;
        size_t got = 0;
        r = source_read(source, buf, left < sizeof(buf) ? (size_t)left : sizeof(buf), &got);
    }
    return r;
}

int source_digest(Source *source, uint8_t out[static SHA256_SIZE])
{
    return digest_final(source->digest, out);
}
