/* The server's own PEM files, as the library wants them. Part of http_server; nobody else includes it. */
#pragma once

#include "common/cleanup.h"
#include "common/http_server.h"

typedef struct HttpPems {
    char *cert, *key, *ca; /* ca NULL: no client certificates */
} HttpPems;

/* pems is zero before. 0, or a negative errno after one log line; to be deinited either way. */
int http_pems_read(const HttpServerConfig *config, HttpPems *pems) MUST_CHECK;
void http_pems_deinit(HttpPems *pems); /* the key is cleansed */
