/* The HTTP answers that the handlers share. */
#pragma once

#include "common/cleanup.h"
#include "common/http_server.h"
#include "protocol/digest.h"
#include "protocol/problem.h"

#include <stdint.h>

#define PROBLEM_TYPES "https://iana.org/assignments/http-problem-types#"

/* What a request is refused with; kept until it may be answered. status 0: nothing is wrong. */
typedef struct Refusal {
    unsigned status;
    const char *type; /* of RFC 9457; NULL: about:blank */
    Problem problem;
} Refusal;

/* Sets *refusal unless it is set already: the first reason stands. Returns -1. */
int refuse(Refusal *refusal, unsigned status, ErrorCode code, const char *reason, const char *format, ...)
    PRINTF_LIKE(5, 6);

/* Sets the type of a refusal that refuse() has just made; returns -1. */
int refusal_type(Refusal *refusal, const char *type);

/* An application/problem+json response, with the headers that its status asks for (Retry-After,
 * WWW-Authenticate). */
HttpResponse *answer_refusal(const Refusal *refusal) MUST_CHECK;

void answer_number(HttpResponse *response, const char *name, uint64_t value);
void answer_digest(HttpResponse *response, const uint8_t sha256[static SHA256_SIZE]); /* Repr-Digest */

/* Upload-Draft-Interop-Version, if the request had one (NULL: none). */
void answer_interop_version(HttpResponse *response, const char *version);

/* Upload-Limit: what one upload may have; max_size 0: no limit. */
void answer_limit(HttpResponse *response, uint64_t max_size);
