#include "fuzz.h"

#include "common/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

void fuzz_fail(const char *file, int line, const char *what)
{
    (void)printf("%s:%d: does not hold: %s\n", file, line, what);
    (void)fflush(stdout);
    abort();
}

char *fuzz_text(const void *data, size_t size)
{
    char *text = malloc(size + 1);

    FUZZ_CHECK(text);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

char *fuzz_cut(char **rest, char separator)
{
    char *piece = *rest;

    if (!piece)
        return NULL;
    *rest = strchr(piece, separator);
    if (*rest)
        *(*rest)++ = '\0';
    return piece;
}

/* On purpose not the product's own table: the code points of Unicode's categories Cc, Zl, Zp, and those of Cf
 * that are invisible or change the direction. */
static bool is_hostile(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x61c ||
           point == 0x180e || (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || point == 0xfeff || (point >= 0xfff9 && point <= 0xfffb) ||
           (point >= 0xe0000 && point <= 0xe007f);
}

bool fuzz_is_printable(const char *text, bool newlines)
{
    const unsigned char *at = (const unsigned char *)text;

    if (!text_is_utf8(text, strlen(text)))
        return false;
    while (*at) {
        unsigned length = *at < 0x80 ? 1 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
        uint32_t point = length == 1 ? *at : *at & (0xffU >> (length + 1));
        for (unsigned i = 1; i < length; i++)
            point = point << 6 | (at[i] & 0x3fU);
        if (is_hostile(point) && !(newlines && point == '\n'))
            return false;
        at += length;
    }
    return true;
}

/* An empty file of our own in memory; the same one each time. */
static int memory_file(int *fd)
{
    if (*fd < 0)
        *fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(*fd >= 0 && ftruncate(*fd, 0) == 0 && lseek(*fd, 0, SEEK_SET) == 0);
    return *fd;
}

const char *fuzz_file(const void *data, size_t size)
{
    static int fd = -1;
    static char path[32];

    FUZZ_CHECK(write(memory_file(&fd), data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return path;
}

char *fuzz_stderr_of(void (*act)(void *userdata), void *userdata)
{
    static int fd = -1, saved = -1;

    if (saved < 0)
        saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    FUZZ_CHECK(dup2(memory_file(&fd), STDERR_FILENO) >= 0);
    act(userdata);
    if (saved >= 0)
        (void)dup2(saved, STDERR_FILENO);
    else
        (void)close(STDERR_FILENO);
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)size + 1);
    FUZZ_CHECK(size >= 0 && text && pread(fd, text, (size_t)size, 0) == size);
    text[size] = '\0';
    return text;
}
