/* The header and trailer fields of a request with bytes, and of a request for a range of them.
 *
 * Input: PUT, PATCH or POST and the largest size taken; then header lines; then, after an empty line, trailer
 * lines. */
#include "fake_http.h"
#include "fuzz.h"

#include "common/text.h"
#include "receiver/intake_fields.h"
#include "receiver/range.h"

#include <string.h>

static void read_request(char *text, HttpRequest *request, uint64_t *ret_max_size)
{
    char *line = fuzz_cut(&text, '\n');
    char *size = strchr(line, ' ');
    FakeFields *fields = &request->headers;

    *ret_max_size = UINT64_MAX;
    if (size)
        *size++ = '\0';
    if (size && !text_to_u64(size, ret_max_size))
        *ret_max_size = UINT64_MAX;
    request->method = line;
    while ((line = fuzz_cut(&text, '\n')))
        if (*line)
            fake_field_add(fields, line);
        else
            fields = &request->trailers;
}

static void check_refusal(const Refusal *refusal)
{
    HttpResponse *response = answer_refusal(refusal);

    FUZZ_CHECK(refusal->status >= 400 && refusal->status < 600);
    FUZZ_CHECK(response && !response->broken && fuzz_is_printable(response->copy, false));
    http_response_free(response);
}

static void check_fields(const IntakeFields *fields, IntakeMethod method, uint64_t max_size)
{
    FUZZ_CHECK(method == INTAKE_PATCH || fields->offset == 0);
    FUZZ_CHECK(!fields->has_length || (fields->length <= max_size && fields->offset <= fields->length));
    FUZZ_CHECK(!fields->has_length || !fields->has_body_size ||
               fields->offset + fields->body_size <= fields->length);
    FUZZ_CHECK(fields->offset + fields->body_size <= max_size);
    FUZZ_CHECK(!fields->claims.marked || !fields->has_body_size || fields->has_length);
    FUZZ_CHECK(fields->claims.whole_count <= 1 && fields->claims.body_count <= 1);
}

static void check_range(const HttpRequest *request, uint64_t total)
{
    const char *value = http_request_header(request, "Range");
    Range range;

    if (value && range_parse(value, total, &range) == 0)
        FUZZ_CHECK(range.size > 0 && range.offset < total && range.size <= total - range.offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    HttpRequest request = {.path = "/v1/uploads/a"};
    IntakeFields fields = {0};
    Refusal refusal = {0};
    uint64_t max_size, attempt = 0;

    read_request(text, &request, &max_size);
    IntakeMethod method = strcmp(request.method, "PATCH") == 0  ? INTAKE_PATCH
                          : strcmp(request.method, "POST") == 0 ? INTAKE_POST
                                                                : INTAKE_PUT;
    if (intake_fields_read(&request, method, max_size, &fields, &refusal) < 0) {
        check_refusal(&refusal);
    } else {
        check_fields(&fields, method, max_size);
        request.ended = true;
        if (intake_trailer_read(&request, &fields.claims, &refusal) < 0)
            check_refusal(&refusal);
        FUZZ_CHECK(fields.claims.whole_count <= TRANSFER_CLAIMS_MAX &&
                   fields.claims.body_count <= TRANSFER_CLAIMS_MAX);
        FUZZ_CHECK(attempt_read(&request, &attempt, &refusal) == 0 && attempt == fields.attempt);
        check_range(&request, fields.length);
    }
    free(text);
    return 0;
}
