/* What went wrong, for a program (code, reason) and for a person (message): the "error" member of every
 * message and the body of every HTTP error (RFC 9457). The split follows gRPC's status codes and error
 * details. */
#pragma once

#include "common/cleanup.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum ErrorCode {
    ERROR_NONE,
    ERROR_INVALID_ARGUMENT,
    ERROR_NOT_FOUND,
    ERROR_PERMISSION_DENIED,
    ERROR_UNAUTHENTICATED,
    ERROR_RESOURCE_EXHAUSTED,
    ERROR_FAILED_PRECONDITION,
    ERROR_ALREADY_EXISTS,
    ERROR_ABORTED,
    ERROR_DEADLINE_EXCEEDED,
    ERROR_UNAVAILABLE,
    ERROR_DATA_LOSS,
    ERROR_CANCELLED,
    ERROR_INTERNAL,
} ErrorCode;

typedef struct Problem {
    ErrorCode code;    /* ERROR_NONE: nothing is wrong */
    char reason[40];   /* a constant of ours, PATH_NOT_ALLOWED */
    char message[400]; /* a sentence that says what to do */
} Problem;

/* Fills *problem; the message is cut, at a whole UTF-8 character, if it is too long. Returns -1, so that a
 * function can say return problem_set(...). */
int problem_set(Problem *problem, ErrorCode code, const char *reason, const char *format, ...)
    PRINTF_LIKE(4, 5);

const char *error_code_name(ErrorCode code);      /* "permission_denied"; "" for ERROR_NONE */
ErrorCode error_code_from_name(const char *name); /* ERROR_INTERNAL for a name we do not know */

/* {"code","reason","message"}; NULL when out of memory. */
cJSON *problem_to_json(const Problem *problem);

/* From a peer: what is missing becomes a stand-in, and a long message is cut. */
void problem_from_json(const cJSON *object, Problem *ret_problem);

/* An application/problem+json body: {"type","title","status","detail","code","reason","message"}. type NULL:
 * about:blank. The caller frees; NULL when out of memory. */
char *problem_body(const Problem *problem, unsigned status, const char *type);
