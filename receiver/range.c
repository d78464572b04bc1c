#include "receiver/range.h"

#include "common/text.h"

#include <string.h>
#include <strings.h>

#define NUMBER_SIZE 24

/* Copies the characters up to the stop into a buffer that text_to_u64() can take. */
static bool take_number(const char *text, size_t length, uint64_t *ret_value)
{
    char number[NUMBER_SIZE];

    if (length == 0 || length >= sizeof(number))
        return false;
    memcpy(number, text, length);
    number[length] = '\0';
    return text_to_u64(number, ret_value);
}

int range_parse(const char *value, uint64_t total, Range *ret_range)
{
    uint64_t first = 0, last = 0;

    if (strncasecmp(value, "bytes=", 6) != 0 || strchr(value, ','))
        return RANGE_E_NONE;
    value += 6;
    const char *dash = strchr(value, '-');
    if (!dash)
        return RANGE_E_NONE;
    if (dash == value) { /* the last so many bytes */
        if (!take_number(dash + 1, strlen(dash + 1), &last))
            return RANGE_E_NONE;
        if (last == 0 || total == 0)
            return RANGE_E_UNSATISFIABLE;
        last = last < total ? last : total;
        *ret_range = (Range){.offset = total - last, .size = last};
        return 0;
    }
    if (!take_number(value, (size_t)(dash - value), &first))
        return RANGE_E_NONE;
    if (dash[1] == '\0')
        last = UINT64_MAX;
    else if (!take_number(dash + 1, strlen(dash + 1), &last) || last < first)
        return RANGE_E_NONE;
    if (first >= total)
        return RANGE_E_UNSATISFIABLE;
    last = last < total ? last : total - 1;
    *ret_range = (Range){.offset = first, .size = last - first + 1};
    return 0;
}
