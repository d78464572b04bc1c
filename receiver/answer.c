#include "receiver/answer.h"

#include "receiver/figures.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define RETRY_AFTER_S "10"
#define NO_LIMIT UINT64_C(999999999999999) /* the largest Integer of RFC 9651 */

int refuse(Refusal *refusal, unsigned status, ErrorCode code, const char *reason, const char *format, ...)
{
    char message[sizeof(refusal->problem.message)];
    va_list args;

    if (refusal->status != 0)
        return -1;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    refusal->status = status;
    label_counter_add(&figures.refusals, reason);
    return problem_set(&refusal->problem, code, reason, "%s", message);
}

int refusal_type(Refusal *refusal, const char *type)
{
    refusal->type = type;
    return -1;
}

HttpResponse *answer_refusal(const Refusal *refusal)
{
    char *body CLEANUP(free_ptr) = problem_body(&refusal->problem, refusal->status, refusal->type);
    HttpResponse *response = http_response_new(refusal->status);

    http_response_text(response, "application/problem+json", body);
    if (refusal->status == 429 || refusal->status == 503 || refusal->status == 507)
        http_response_header(response, "Retry-After", RETRY_AFTER_S);
    if (refusal->status == 401)
        http_response_header(response, "WWW-Authenticate", "Bearer");
    return response;
}

void answer_number(HttpResponse *response, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    http_response_header(response, name, text);
}

void answer_digest(HttpResponse *response, const uint8_t sha256[static SHA256_SIZE])
{
    char field[DIGEST_FIELD_SIZE];

    digest_field_format(sha256, field);
    http_response_header(response, "Repr-Digest", field);
}

void answer_interop_version(HttpResponse *response, const char *version)
{
    if (version)
        http_response_header(response, "Upload-Draft-Interop-Version", version);
}

void answer_limit(HttpResponse *response, uint64_t max_size)
{
    char text[40];

    (void)snprintf(text, sizeof(text), "max-size=%" PRIu64, max_size ? max_size : NO_LIMIT);
    http_response_header(response, "Upload-Limit", text);
}
