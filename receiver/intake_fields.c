#include "receiver/intake_fields.h"

#include "common/text.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* Numbers go into JSON, and so does the largest one that RFC 9651 allows in a field. */
#define NUMBER_MAX UINT64_C(999999999999999)

int refuse_too_large(uint64_t max_size, Refusal *refusal)
{
    return refuse(refusal, 413, ERROR_RESOURCE_EXHAUSTED, "FILE_TOO_LARGE",
                  "The file is larger than receiver or ticket allow: %" PRIu64 " bytes at most.", max_size);
}

int interop_version_read(const HttpRequest *request, const char **ret_version, Refusal *refusal)
{
    const char *version = http_request_header(request, "Upload-Draft-Interop-Version");

    if (version && strcmp(version, "6") != 0 && strcmp(version, "8") != 0)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "INTEROP_VERSION",
                      "Resumable uploads are understood in the interop versions 6 and 8, not in this one.");
    *ret_version = version;
    return 0;
}

static int read_number(const HttpRequest *request, const char *name, bool *ret_given, uint64_t *ret_value,
                       Refusal *refusal)
{
    const char *text = http_request_header(request, name);
    uint64_t value = 0;

    if (text && (!text_to_u64(text, &value) || value > NUMBER_MAX))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "NUMBER_INVALID",
                      "%s is not a whole number of up to 15 digits.", name);
    *ret_given = text != NULL;
    if (text)
        *ret_value = value;
    return 0;
}

int attempt_read(const HttpRequest *request, uint64_t *ret_attempt, Refusal *refusal)
{
    bool given = false;

    *ret_attempt = 0;
    return read_number(request, "Beckon-Attempt", &given, ret_attempt, refusal);
}

/* Whether the body has this media type; its parameters don't matter. */
static bool is_type(const char *type, const char *wanted)
{
    size_t size = strlen(wanted);

    return type && strncasecmp(type, wanted, size) == 0 && (type[size] == '\0' || strchr("; \t", type[size]));
}

/* Fields that would make the body something else than bytes of the file. */
static int check_form(const HttpRequest *request, IntakeMethod method, Refusal *refusal)
{
    const char *encoding = http_request_header(request, "Content-Encoding");

    if (http_request_header(request, "Content-Range"))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "CONTENT_RANGE",
                      "Content-Range is not taken; go on with an upload by PATCH and Upload-Offset.");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return refuse(refusal, 415, ERROR_INVALID_ARGUMENT, "CONTENT_ENCODING",
                      "Send the file as it is, without a Content-Encoding.");
    if (method == INTAKE_PATCH && !is_type(http_request_header(request, "Content-Type"), PARTIAL_UPLOAD))
        return refuse(refusal, 415, ERROR_INVALID_ARGUMENT, "CONTENT_TYPE",
                      "A PATCH needs Content-Type: " PARTIAL_UPLOAD ".");
    return 0;
}

/* Absent, it means that the body is the whole for PUT and POST, and that more is to come for PATCH. */
static int read_mark(const HttpRequest *request, IntakeMethod method, bool *ret_marked, Refusal *refusal)
{
    const char *complete = http_request_header(request, "Upload-Complete");

    if (complete && strcmp(complete, "?0") != 0 && strcmp(complete, "?1") != 0)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "UPLOAD_COMPLETE_INVALID",
                      "Upload-Complete must be ?0 or ?1.");
    *ret_marked = complete ? complete[1] == '1' : method != INTAKE_PATCH;
    return 0;
}

static int read_offset(const HttpRequest *request, IntakeMethod method, uint64_t *ret_offset,
                       Refusal *refusal)
{
    bool given = false;

    if (read_number(request, "Upload-Offset", &given, ret_offset, refusal) < 0)
        return -1;
    if (method == INTAKE_PATCH && !given)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "OFFSET_MISSING",
                      "A PATCH needs Upload-Offset; HEAD tells it.");
    if (method != INTAKE_PATCH && *ret_offset > 0)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "OFFSET_INVALID",
                      "PUT and POST begin at 0; go on with PATCH.");
    return 0;
}

static int refuse_length(Refusal *refusal)
{
    (void)refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "LENGTH_MISMATCH",
                 "Upload-Length, Upload-Offset and the length of the body don't agree.");
    return refusal_type(refusal, PROBLEM_TYPES "inconsistent-upload-length");
}

/* The length of the whole, from Upload-Length, or from where the last body ends. */
static int read_lengths(const HttpRequest *request, uint64_t max_size, IntakeFields *fields, Refusal *refusal)
{
    if (read_number(request, "Upload-Length", &fields->has_length, &fields->length, refusal) < 0)
        return -1;
    if (!http_request_header(request, "Transfer-Encoding") &&
        read_number(request, "Content-Length", &fields->has_body_size, &fields->body_size, refusal) < 0)
        return -1;
    uint64_t end = fields->offset + fields->body_size;
    if (fields->has_length &&
        (end > fields->length || (fields->claims.marked && fields->has_body_size && end != fields->length)))
        return refuse_length(refusal);
    if (!fields->has_length && fields->claims.marked && fields->has_body_size) {
        fields->has_length = true;
        fields->length = end;
    }
    if (end > max_size || (fields->has_length && fields->length > max_size))
        return refuse_too_large(max_size, refusal);
    return 0;
}

/* Adds the sha-256 of a digest field, if it has one, to what the content must be. */
static int add_claim(const char *name, const char *value,
                     uint8_t claims[static TRANSFER_CLAIMS_MAX][SHA256_SIZE], size_t *count, Refusal *refusal)
{
    if (!value)
        return 0;
    int r = digest_field_parse(value, claims[*count]);
    if (r == DIGEST_E_INVALID)
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "DIGEST_INVALID",
                      "%s is not a digest field of RFC 9530.", name);
    if (r == 0)
        (*count)++;
    return 0;
}

static int add_claims(const char *repr, const char *content, TransferClaims *claims, Refusal *refusal)
{
    if (add_claim("Repr-Digest", repr, claims->whole, &claims->whole_count, refusal) < 0)
        return -1;
    return add_claim("Content-Digest", content, claims->body, &claims->body_count, refusal);
}

int intake_trailer_read(const HttpRequest *request, TransferClaims *claims, Refusal *refusal)
{
    return add_claims(http_request_trailer(request, "Repr-Digest"),
                      http_request_trailer(request, "Content-Digest"), claims, refusal);
}

int intake_fields_read(const HttpRequest *request, IntakeMethod method, uint64_t max_size,
                       IntakeFields *ret_fields, Refusal *refusal)
{
    const char *trailer = http_request_header(request, "Trailer");
    IntakeFields fields = {0};

    if (interop_version_read(request, &fields.interop_version, refusal) < 0 ||
        check_form(request, method, refusal) < 0 ||
        read_mark(request, method, &fields.claims.marked, refusal) < 0 ||
        read_offset(request, method, &fields.offset, refusal) < 0 ||
        attempt_read(request, &fields.attempt, refusal) < 0 ||
        read_lengths(request, max_size, &fields, refusal) < 0 ||
        add_claims(http_request_header(request, "Repr-Digest"),
                   http_request_header(request, "Content-Digest"), &fields.claims, refusal) < 0)
        return -1;
    fields.check_body = http_request_header(request, "Content-Digest") ||
                        (trailer && strcasestr(trailer, "Content-Digest") != NULL);
    *ret_fields = fields;
    return 0;
}
