#include "protocol/ident.h"

#include "common/cleanup.h"
#include "common/text.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static bool is_made_of(const char *id, const char *set, size_t max)
{
    size_t length = strspn(id, set);
    return length > 0 && length <= max && id[length] == '\0';
}

bool client_id_is_valid(const char *id)
{
    return is_made_of(id, ALPHANUMERIC "._-", CLIENT_ID_MAX) && !strchr("._-", id[0]);
}

bool client_id_is_reserved(const char *id)
{
    static const char *const reserved[] = {"coordinator", "receiver", "operator"};
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        if (strcmp(id, reserved[i]) == 0)
            return true;
    return false;
}

bool upload_id_is_valid(const char *id)
{
    return is_made_of(id, ALPHANUMERIC "_-", UPLOAD_ID_MAX);
}

bool user_name_is_valid(const char *name)
{
    return is_made_of(name, ALPHANUMERIC "._@+-", USER_NAME_MAX) && !strchr("._@+-", name[0]);
}

bool file_path_is_valid(const char *path)
{
    enum { JSON_MAX = 5120 }; /* what a token has room for beside the longest ids */
    size_t length = strnlen(path, FILE_PATH_MAX + 1), json_length = 0;
    for (size_t i = 0; i < length; i++)
        json_length += (unsigned char)path[i] < ' ' || path[i] == '\x7f' ? 6
                       : strchr("\"\\", path[i])                         ? 2
                                                                         : 1;
    return length > 0 && length <= FILE_PATH_MAX && json_length <= JSON_MAX && text_is_utf8(path, length);
}

/* Milliseconds in 48 bits and their 4096ths in 12 (RFC 9562 section 6.2, method 3), never the same or less
 * than the last: the clock may be set back and several threads may ask. */
static uint64_t next_stamp(void)
{
    static _Atomic uint64_t last;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* can't fail for this clock */
    uint64_t stamp = ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) << 12 |
                     (uint64_t)now.tv_nsec % 1000000 * 4096 / 1000000;
    uint64_t before = atomic_load(&last), next;
    do
        next = stamp > before ? stamp : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, next));
    return next;
}

void upload_id_new(char out[static UPLOAD_ID_SIZE])
{
    uint64_t stamp = next_stamp(), random;
    while (getrandom(&random, sizeof(random), 0) != sizeof(random))
        if (errno != EINTR)
            abort(); /* an id that can be guessed is worse than none */
    snprintf(out, UPLOAD_ID_SIZE, "%08x-%04x-7%03x-%04x-%012llx", (unsigned)(stamp >> 28),
             (unsigned)(stamp >> 12 & 0xffff), (unsigned)(stamp & 0xfff),
             (unsigned)(random >> 48 & 0x3fff) | 0x8000, (unsigned long long)(random & 0xffffffffffff));
}
