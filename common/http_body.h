/* The body of a response as the library wants it: from memory, from a file, or from a stream. Part of
 * http_server; nobody else includes it. */
#pragma once

#include "common/http_response.h"

struct MHD_Connection;
struct MHD_Response;

/* Takes out of response what the body needs. NULL when something went wrong while response was made. */
struct MHD_Response *http_body_make(HttpResponse *response, struct MHD_Connection *connection) MUST_CHECK;
