#include "common/http_pems.h"

#include "common/files.h"
#include "common/log.h"

#include <string.h>

#define PEM_MAX ((size_t)1024 * 1024)

void http_pems_deinit(HttpPems *pems)
{
    free(pems->cert);
    if (pems->key)
        explicit_bzero(pems->key, strlen(pems->key));
    free(pems->key);
    free(pems->ca);
}

static int read_pem(const char *path, char **ret_text)
{
    size_t size = 0;
    int r = path ? file_read(path, PEM_MAX, ret_text, &size) : 0;

    if (r < 0)
        log_error("%s: can't be read: %s", path, strerror(-r));
    return r;
}

int http_pems_read(const HttpServerConfig *config, HttpPems *pems)
{
    int r = read_pem(config->cert_file, &pems->cert);

    if (r == 0)
        r = read_pem(config->key_file, &pems->key);
    if (r == 0)
        r = read_pem(config->client_ca_file, &pems->ca);
    return r;
}
