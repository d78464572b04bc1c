#include "common/trace.h"

#include "common/text.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, LENGTH = 55 };

#define FLAG_SAMPLED 1 /* the only one there is */

/* Lower-case hexadecimal, and not all zeros unless they may be. */
static bool is_field(const char *text, size_t length, bool may_be_zero)
{
    return strspn(text, "0123456789abcdef") >= length && (may_be_zero || strspn(text, "0") < length);
}

static bool is_valid(const char *text)
{
    size_t length = strlen(text);
    if (length < LENGTH || text[TRACE_AT - 1] != '-' || text[PARENT_AT - 1] != '-' ||
        text[FLAGS_AT - 1] != '-' || !is_field(text, 2, true) || !is_field(text + TRACE_AT, 32, false) ||
        !is_field(text + PARENT_AT, 16, false) || !is_field(text + FLAGS_AT, 2, true))
        return false;
    if (strncmp(text, "00", 2) == 0)
        return length == LENGTH;
    return strncmp(text, "ff", 2) != 0 &&
           (length == LENGTH || text[LENGTH] == '-'); /* later versions may add fields */
}

bool traceparent_read(const char *text, char out[static TRACEPARENT_SIZE])
{
    uint8_t flags = 0;
    if (!text || !is_valid(text))
        return false;
    char digits[3] = {text[FLAGS_AT], text[FLAGS_AT + 1], '\0'};
    (void)text_unhex(digits, &flags, 1); /* they are digits */
    (void)snprintf(out, TRACEPARENT_SIZE, "00%.51s%02x", text + 2, flags & FLAG_SAMPLED);
    return true;
}

void traceparent_new(char out[static TRACEPARENT_SIZE])
{
    uint8_t random[16 + 8];
    char trace[33], parent[17];
    while (getrandom(random, sizeof(random), 0) != sizeof(random))
        if (errno != EINTR)
            abort(); /* as for an upload's id: the kernel has it since 3.17 */
    text_hex(random, 16, trace);
    text_hex(random + 16, 8, parent);
    (void)snprintf(out, TRACEPARENT_SIZE, "00-%s-%s-01", trace, parent);
}

static _Thread_local Trace current;

Trace trace_begin(const char *traceparent)
{
    Trace before = current;
    (void)snprintf(current.parent, sizeof(current.parent), "%s", traceparent);
    return before;
}

void trace_restore(const Trace *before)
{
    current = *before;
}

const char *trace_current(void)
{
    return current.parent;
}

void trace_id(const char *traceparent, char out[static TRACE_ID_SIZE])
{
    (void)snprintf(out, TRACE_ID_SIZE, "%.32s", *traceparent ? traceparent + TRACE_AT : "");
}
