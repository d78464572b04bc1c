/* Range requests (RFC 9110 section 14), as far as a resuming download needs them: one range of bytes. */
#pragma once

#include "common/cleanup.h"

#include <stdint.h>

typedef struct Range {
    uint64_t offset;
    uint64_t size; /* > 0 */
} Range;

enum {
    RANGE_E_NONE = 1,      /* not one range of bytes: the field is ignored and the whole is sent */
    RANGE_E_UNSATISFIABLE, /* it begins behind the end */
};

/* value: "bytes=0-99", "bytes=100-" or "bytes=-50", of a content of total bytes. 0 or one of the above. */
int range_parse(const char *value, uint64_t total, Range *ret_range) MUST_CHECK;
