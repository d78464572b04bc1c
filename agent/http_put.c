#include "agent/http_put.h"

#include "common/clock.h"
#include "common/files.h"
#include "common/text.h"
#include "common/tls.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONNECT_TIMEOUT_S 30L
#define EXPECT_TIMEOUT_MS                                                                                    \
    30000L /* long: an early refusal is read reliably only while no body byte was sent */
#define SEND_BUFFER_BYTES 65536L
#define TICK_MS 1000
#define CA_FILE_MAX ((size_t)1 << 20)
#define HTTPS_PORT 443
#define PROXY_PORT 1080 /* libcurl's, whatever the proxy speaks, but for https */
#define RETRY_AFTER_MAX_S 86400

typedef struct Transfer {
    const HttpPut *put;
    HttpAnswer *answer;
    bool body_ended;
    uint64_t window_bytes; /* read since the stall window began */
    int64_t window_start_ms, body_end_ms, last_tick_ms;
} Transfer;

static CURLcode on_tls(CURL *curl, void *context, void *userdata)
{
    const Transfer *transfer = userdata;
    (void)curl;
    (void)context;

    return transfer->put->connected(transfer->put->userdata) == 0 ? CURLE_OK : CURLE_ABORTED_BY_CALLBACK;
}

static int on_request(void *userdata, char *peer, char *self, int peer_port, int self_port)
{
    const Transfer *transfer = userdata;
    (void)peer;
    (void)self;
    (void)peer_port;
    (void)self_port;

    return transfer->put->connected(transfer->put->userdata) == 0 ? CURL_PREREQFUNC_OK
                                                                  : CURL_PREREQFUNC_ABORT;
}

static size_t on_read(char *buf, size_t unit, size_t count, void *userdata)
{
    Transfer *transfer = userdata;
    ssize_t got = transfer->put->read(buf, unit * count, transfer->put->userdata);

    if (got < 0)
        return CURL_READFUNC_ABORT; /* never 0: that would end the body cleanly */
    if (got == 0) {
        transfer->body_ended = true;
        transfer->body_end_ms = clock_monotonic_ms();
    }
    transfer->window_bytes += (uint64_t)got;
    return (size_t)got;
}

static int on_trailer(struct curl_slist **list, void *userdata)
{
    Transfer *transfer = userdata;
    const char *value = transfer->put->trailer(transfer->put->userdata);
    char *line CLEANUP(free_ptr) = value ? text_format("%s: %s", transfer->put->trailer_name, value) : NULL;
    struct curl_slist *longer = line ? curl_slist_append(*list, line) : NULL;

    if (!longer)
        return CURL_TRAILERFUNC_ABORT;
    *list = longer;
    return CURL_TRAILERFUNC_OK;
}

static size_t on_body(char *data, size_t unit, size_t count, void *userdata)
{
    HttpAnswer *answer = ((Transfer *)userdata)->answer;
    size_t room = HTTP_ANSWER_MAX - answer->body_size;
    size_t taken = unit * count < room ? unit * count : room;

    memcpy(answer->body + answer->body_size, data, taken);
    answer->body_size += taken;
    return unit * count; /* the rest is of no interest */
}

/* The value of header line "Name: value\r\n" if it is the one called name. */
static bool header_value(const char *line, size_t size, const char *name, char *out, size_t out_size)
{
    size_t name_size = strlen(name);

    if (size <= name_size || strncasecmp(line, name, name_size) != 0 || line[name_size] != ':')
        return false;
    const char *start = line + name_size + 1, *end = line + size;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    if ((size_t)(end - start) >= out_size)
        return false;
    memcpy(out, start, (size_t)(end - start));
    out[end - start] = '\0';
    return true;
}

static size_t on_header(char *line, size_t unit, size_t count, void *userdata)
{
    HttpAnswer *answer = ((Transfer *)userdata)->answer;
    const struct {
        const char *name;
        char *value;
        size_t size;
    } wanted[] = {
        {"Repr-Digest", answer->repr_digest, sizeof(answer->repr_digest)},
        {"Upload-Offset", answer->upload_offset, sizeof(answer->upload_offset)},
        {"Upload-Length", answer->upload_length, sizeof(answer->upload_length)},
        {"Upload-Complete", answer->upload_complete, sizeof(answer->upload_complete)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        (void)header_value(line, unit * count, wanted[i].name, wanted[i].value, wanted[i].size);
    return unit * count;
}

/* Not one total time, which kills slow links: a minimum rate while bytes are left, and then a time for the
 * commit. */
static bool is_stalled(Transfer *transfer, int64_t now)
{
    const HttpPut *put = transfer->put;

    if (transfer->body_ended)
        return now - transfer->body_end_ms > (int64_t)put->commit_timeout_ms;
    if (now - transfer->window_start_ms < (int64_t)put->stall_ms)
        return false;
    bool stalled = transfer->window_bytes < put->min_rate_bytes_per_s * put->stall_ms / 1000;
    transfer->window_start_ms = now;
    transfer->window_bytes = 0;
    return stalled;
}

static int on_progress(void *userdata, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    Transfer *transfer = userdata;
    int64_t now = clock_monotonic_ms();
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;

    if (now - transfer->last_tick_ms >= TICK_MS) {
        transfer->last_tick_ms = now;
        transfer->put->tick(transfer->put->userdata);
    }
    if (!is_stalled(transfer, now))
        return 0;
    transfer->answer->timed_out = true;
    return 1;
}

static int add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = line ? curl_slist_append(*list, line) : NULL;

    if (!longer)
        return -ENOMEM;
    *list = longer;
    return 0;
}

/* Ours go to the server only, not to a proxy (CURLHEADER_SEPARATE is the default since 7.42.1). 0 or -ENOMEM;
 * the caller frees the list in either case. */
static int make_headers(const HttpPut *put, bool has_body, struct curl_slist **list)
{
    int r = 0;

    if (put->bearer) {
        char *bearer CLEANUP(free_secret) = text_format("Authorization: Bearer %s", put->bearer);
        r = add_header(list, bearer);
    }
    if (r == 0 && put->traceparent) {
        char *traceparent CLEANUP(free_ptr) = text_format("traceparent: %s", put->traceparent);
        r = add_header(list, traceparent);
    }
    if (r == 0 && has_body) {
        char *trailer CLEANUP(free_ptr) = text_format("Trailer: %s", put->trailer_name);
        r = add_header(list, trailer);
    }
    for (const char *const *header = put->headers; r == 0 && header && *header; header++)
        r = add_header(list, *header);
    return r;
}

static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *header = list; header; header = header->next)
        explicit_bzero(header->data, strlen(header->data)); /* one may hold the token */
    curl_slist_free_all(list);
}

static void set_callbacks(CURL *curl, Transfer *transfer)
{
    curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_tls); /* OpenSSL, wolfSSL and mbedTLS have it */
    curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, transfer);
    curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(curl, CURLOPT_PREREQDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
}

/* setopt can fail only for want of memory, or because this libcurl lacks TLS: both show when it performs. */
static void set_connection(CURL *curl, const HttpPut *put)
{
    curl_easy_setopt(curl, CURLOPT_URL, put->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* trailers need it */
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, put->proxy ? put->proxy : "");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's word is not the receiver's */
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_SSL_CIPHER_LIST, TLS12_CIPHERS);
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL); /* or the system's CAs would be trusted too */
    curl_easy_setopt(curl, CURLOPT_SSLCERT, put->cert_file);
    curl_easy_setopt(curl, CURLOPT_SSLKEY, put->key_file);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S); /* and name resolution */
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* else the end waits for a silent name server */
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
}

/* In memory: libcurl opens the file only during the handshake, when the worker's cage is closed. */
static bool set_authorities(CURL *curl, const HttpPut *put, HttpAnswer *answer)
{
    char *pem CLEANUP(free_ptr) = NULL;
    size_t size = 0;
    int r = file_read(put->ca_file, CA_FILE_MAX, &pem, &size);
    struct curl_blob blob = {.data = pem, .len = size, .flags = CURL_BLOB_COPY};

    if (r == 0 && curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK)
        return true;
    (void)snprintf(answer->error, sizeof(answer->error), "%.200s: %s", put->ca_file,
                   r < 0 ? strerror(-r) : "this libcurl can't take certificates from memory");
    return false;
}

/* A libcurl whose TLS library can't pin keys must not go without. */
static bool set_pin(CURL *curl, const HttpPut *put, HttpAnswer *answer)
{
    if (!put->pin || curl_easy_setopt(curl, CURLOPT_PINNEDPUBLICKEY, put->pin) == CURLE_OK)
        return true;
    (void)snprintf(answer->error, sizeof(answer->error), "this libcurl can't pin the receiver's key");
    return false;
}

static void set_upload(CURL *curl, Transfer *transfer)
{
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, transfer->put->method);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_TRAILERFUNCTION, on_trailer);
    curl_easy_setopt(curl, CURLOPT_TRAILERDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER_BYTES);
    curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_MAX_SEND_SPEED_LARGE, (curl_off_t)transfer->put->rate_bytes_per_s);
}

static void perform(CURL *curl, HttpAnswer *answer)
{
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_off_t retry_after_s = 0;

    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    CURLcode rc = curl_easy_perform(curl);
    /* An answer counts even if the connection broke behind it: a refusal in mid body does that. */
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200)
        answer->status = (unsigned)status;
    if (rc != CURLE_OK)
        (void)snprintf(answer->error, sizeof(answer->error), "%s", *error ? error : curl_easy_strerror(rc));
    if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after_s) == CURLE_OK && retry_after_s > 0)
        answer->retry_after_ms =
            1000 * (uint64_t)(retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S);
    answer->body[answer->body_size] = '\0';
}

static void set_bare(CURL *curl, const HttpPut *put)
{
    if (strcmp(put->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, put->method);
}

uint16_t http_put_port(const char *url, const char *proxy)
{
    CURLU *parts = curl_url();
    char *text = NULL, *scheme = NULL;
    unsigned long port = 0;

    if (parts && curl_url_set(parts, CURLUPART_URL, proxy ? proxy : url,
                              CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
        (void)curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
        if (curl_url_get(parts, CURLUPART_PORT, &text, 0) == CURLUE_OK)
            port = strtoul(text, NULL, 10);
        else
            port = scheme && strcmp(scheme, "https") == 0 ? HTTPS_PORT : PROXY_PORT;
    }
    curl_free(text);
    curl_free(scheme);
    curl_url_cleanup(parts);
    return (uint16_t)port;
}

int http_put(const HttpPut *put, HttpAnswer *ret_answer)
{
    bool has_body = strcmp(put->method, "HEAD") != 0 && strcmp(put->method, "DELETE") != 0;
    int64_t now = clock_monotonic_ms();
    Transfer transfer = {.put = put,
                         .answer = ret_answer,
                         .body_ended = !has_body,
                         .body_end_ms = now,
                         .window_start_ms = now,
                         .last_tick_ms = now};

    *ret_answer = (HttpAnswer){0};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return -ENOMEM;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    int r = curl ? make_headers(put, has_body, &headers) : -ENOMEM;
    if (r == 0) {
        set_connection(curl, put);
        set_callbacks(curl, &transfer);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        if (has_body)
            set_upload(curl, &transfer);
        else
            set_bare(curl, put);
        if (set_authorities(curl, put, ret_answer) && set_pin(curl, put, ret_answer))
            perform(curl, ret_answer);
    }
    curl_easy_cleanup(curl);
    free_headers(headers);
    curl_global_cleanup();
    return r;
}
