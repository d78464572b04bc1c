#include "receiver/safe_name.h"

#include "common/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

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
        size_t length = text_character(at, left, &point);
        bool keep =
            length > 0 && !text_is_hostile(point) && point != '\\' && !(used == 0 && strchr(".- ", (int)*at));
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
