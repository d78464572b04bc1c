#include "receiver/safe_name.h"

#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the valid UTF-8 character at text, at most left bytes, and its code point; 0 if there is none. */
static size_t next_character(const char *text, size_t left, uint32_t *ret_point)
{
    unsigned char first = (unsigned char)*text;
    size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;

    if (length > left || !text_is_utf8(text, length))
        return 0;
    uint32_t point = length == 1 ? first : first & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++)
        point = point << 6 | ((unsigned char)text[i] & 0x3fu);
    *ret_point = point;
    return length;
}

/* What would hide, reorder or break a name where it is shown. */
static bool is_hostile(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == '\\' || point == 0x061c ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || point == 0xfeff || (point >= 0xfff9 && point <= 0xfffb);
}

/* The last component, without slashes behind it. */
static const char *last_component(const char *path, size_t *ret_size)
{
    size_t end = strlen(path);

    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    *ret_size = end - start;
    return path + start;
}

void safe_name(const char *path, const char *fallback, char out[static SAFE_NAME_SIZE])
{
    size_t left, used = 0;
    const char *at = last_component(path, &left);

    if (left == 0 || (left == 1 && *at == '.') || (left == 2 && memcmp(at, "..", 2) == 0)) {
        (void)snprintf(out, SAFE_NAME_SIZE, "%s", fallback);
        return;
    }
    while (left > 0) {
        uint32_t point = 0;
        size_t length = next_character(at, left, &point);
        bool keep = length > 0 && !is_hostile(point) && !(used == 0 && strchr(".- ", (int)*at));
        size_t step = length > 0 ? length : 1;
        if (used + (keep ? length : 1) > SAFE_NAME_SIZE - 1)
            break;
        if (keep)
            memcpy(out + used, at, length);
        else
            out[used] = '_';
        used += keep ? length : 1;
        at += step;
        left -= step;
    }
    out[used] = '\0';
}
