/* What `beckon doctor` has found: a line for each check, printed as it comes; or one JSON object at the end.
 */
#pragma once

#include "common/cleanup.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

typedef enum Verdict { VERDICT_OK, VERDICT_WARNING, VERDICT_FAULT } Verdict;

typedef struct Report {
    bool json;
    cJSON *checks; /* json only */
    unsigned counts[VERDICT_FAULT + 1];
} Report;

/* check: what was looked at, "broker: port". The sentence says what is so; of a warning or fault also what to
 * do, after a semicolon. Strangers' text in it is made harmless. */
void report_add(Report *report, Verdict verdict, const char *check, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* The sum of it. Returns an exit code: EXIT_DONE if there was no fault. */
int report_finish(Report *report) MUST_CHECK;
