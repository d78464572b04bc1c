/* The web page: files that anybody may read, with headers that keep it to itself. */
#include "coordinator/rest_internal.h"

#include "coordinator/web_files.h"

#include <string.h>

/* Scripts, styles and connections of this origin only, and nobody shows the page within his own. */
#define POLICY                                                                                               \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "          \
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

static void answer_file(Call *call, const WebFile *file)
{
    const char *seen = http_request_header(call->request, "If-None-Match");
    bool same = seen && strcmp(seen, file->tag) == 0;
    HttpResponse *response = http_response_new(same ? 304 : 200);

    http_response_header(response, "ETag", file->tag);
    http_response_header(response, "Cache-Control", "no-cache"); /* ask, then use what is there */
    http_response_header(response, "Content-Security-Policy", POLICY);
    http_response_header(response, "X-Content-Type-Options", "nosniff");
    http_response_header(response, "Referrer-Policy", "no-referrer");
    http_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    if (!same)
        http_response_data(response, file->type, file->data, file->size);
    http_respond(call->request, response);
}

static void answer_named(Call *call, const char *name)
{
    for (size_t i = 0; i < web_file_count; i++)
        if (strcmp(web_files[i].name, name) == 0) {
            answer_file(call, &web_files[i]);
            return;
        }
    Problem problem;
    (void)problem_set(&problem, ERROR_NOT_FOUND, "NO_SUCH_PATH",
                      "The page has no such file; load the page anew.");
    call_refuse(call, 404, &problem);
}

void web_get_page(Call *call)
{
    answer_named(call, "index.html");
}

void web_get_file(Call *call)
{
    answer_named(call, call->id);
}
