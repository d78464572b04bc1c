#include "coordinator/cli/rest_client.h"

#include "common/files.h"
#include "common/json.h"
#include "common/text.h"
#include "common/tls.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#define CONNECT_TIMEOUT_MS 15000L
#define REST_LOOK_TIMEOUT_MS 20000
#define STALL_TIME_S 60L
#define SILENCE_S 45L /* three heartbeats of a stream of events */
#define ERROR_BODY_MAX 65536U

struct RestClient {
    CURL *curl;
    char *base;                                   /* without a slash at the end */
    char *ca_file, *cert_file, *key_file, *proxy; /* or NULL */
    char token[REST_TOKEN_MAX + 1];
    bool (*interrupted)(void);
    RestFailure failure;
    cJSON *details; /* owns failure.details */
    char curl_text[CURL_ERROR_SIZE];
};

/* What an answer's body goes into: memory, up to max bytes; or the sink if the status is a good one. */
typedef struct Body {
    CURL *curl;
    char *data;
    size_t size, max;
    RestSink *sink;
    void *userdata;
    bool sink_failed;
} Body;

static void body_deinit(Body *body)
{
    free(body->data);
}

static size_t keep(Body *body, const char *data, size_t size)
{
    if (size > body->max - body->size)
        return 0;
    char *grown = realloc(body->data, body->size + size + 1);
    if (!grown)
        return 0;
    memcpy(grown + body->size, data, size);
    body->data = grown;
    body->size += size;
    body->data[body->size] = '\0';
    return size;
}

static size_t on_data(char *data, size_t unit, size_t count, void *userdata)
{
    Body *body = userdata;
    size_t size = unit * count;
    long status = 0;

    if (!body->sink)
        return keep(body, data, size);
    (void)curl_easy_getinfo(body->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 206)
        return keep(body, data, size);
    if (body->sink(body->userdata, data, size) < 0) {
        body->sink_failed = true;
        return CURL_WRITEFUNC_ERROR;
    }
    return size;
}

static int on_progress(void *userdata, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const RestClient *client = userdata;
    (void)a, (void)b, (void)c, (void)d;
    return client->interrupted && client->interrupted();
}

static int read_token(const char *file, char *token, Problem *problem)
{
    char *text CLEANUP(free_ptr) = NULL;
    size_t size = 0;
    int r = file_read(file, REST_TOKEN_MAX, &text, &size);

    if (r < 0)
        return problem_set(problem, ERROR_UNAUTHENTICATED, "NO_TOKEN", "the token file %s can't be read: %s",
                           file, strerror(-r));
    size_t length = strcspn(text, "\r\n");
    if (length == 0 || strspn(text + length, "\r\n") + length != size || strspn(text, " \t") > 0)
        r = -1;
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~')
            r = -1;
    if (r == 0)
        memcpy(token, text, length); /* token is zeroed */
    explicit_bzero(text, size);
    if (r < 0)
        return problem_set(problem, ERROR_UNAUTHENTICATED, "NO_TOKEN",
                           "the token file %s must hold one line, the token", file);
    return 0;
}

/* A copy, or NULL for NULL; *ok becomes false when out of memory. */
static char *duplicate(const char *text, bool *ok)
{
    char *copied = text ? strdup(text) : NULL;

    *ok = *ok && (copied || !text);
    return copied;
}

static bool client_init(RestClient *client, const RestConfig *config)
{
    bool ok = true;

    client->interrupted = config->interrupted;
    client->base = duplicate(config->url, &ok);
    client->ca_file = duplicate(config->ca_file, &ok);
    client->cert_file = duplicate(config->cert_file, &ok);
    client->key_file = duplicate(config->key_file, &ok);
    client->proxy = duplicate(config->proxy, &ok);
    if (ok && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        client->curl = curl_easy_init();
    return client->curl != NULL;
}

int rest_client_new(const RestConfig *config, RestClient **ret_client, Problem *ret_problem)
{
    if (strncasecmp(config->url, "https://", 8) != 0)
        return problem_set(ret_problem, ERROR_INVALID_ARGUMENT, "BAD_URL",
                           "the coordinator's address must begin with https://: %s", config->url);
    if (config->ca_file && access(config->ca_file, R_OK) < 0)
        return problem_set(ret_problem, ERROR_INVALID_ARGUMENT, "NO_CA",
                           "the authority's certificate %s can't be read: %m", config->ca_file);
    RestClient *client = calloc(1, sizeof(*client));
    if (!client)
        return problem_set(ret_problem, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    if (config->token_file && read_token(config->token_file, client->token, ret_problem) < 0) {
        rest_client_free(client);
        return -1;
    }
    if (!client_init(client, config)) {
        rest_client_free(client);
        return problem_set(ret_problem, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    }
    for (size_t length = strlen(client->base); length > 0 && client->base[length - 1] == '/'; length--)
        client->base[length - 1] = '\0';
    *ret_client = client;
    return 0;
}

RestClient *rest_client_free(RestClient *client)
{
    if (!client)
        return NULL;
    curl_easy_cleanup(client->curl);
    explicit_bzero(client->token, sizeof(client->token));
    cJSON_Delete(client->details);
    free(client->base);
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    free(client->proxy);
    free(client);
    return NULL;
}

const RestFailure *rest_client_failure(const RestClient *client)
{
    return &client->failure;
}

/* A clean handle (its connections stay open) for one request. */
static bool prepare(RestClient *client, const char *url, Body *body)
{
    CURL *curl = client->curl;

    curl_easy_reset(curl);
    client->curl_text[0] = '\0';
    client->failure = (RestFailure){0};
    cJSON_Delete(TAKE_PTR(client->details));
    body->curl = curl;
    bool ok = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_SSL_CIPHER_LIST, TLS12_CIPHERS) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_PROXY, client->proxy ? client->proxy : "") == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_USERAGENT, "beckon/" BECKON_VERSION) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_text) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEDATA, body) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_XFERINFODATA, client) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
    if (ok && client->ca_file) /* CAPATH: else the system's authorities would be trusted as well */
        ok = curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file) == CURLE_OK &&
             curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK;
    if (ok && client->cert_file)
        ok = curl_easy_setopt(curl, CURLOPT_SSLCERT, client->cert_file) == CURLE_OK &&
             curl_easy_setopt(curl, CURLOPT_SSLKEY, client->key_file) == CURLE_OK;
    return ok;
}

static bool prepare_call(RestClient *client, const char *url, int64_t timeout_ms, Body *body)
{
    return prepare(client, url, body) &&
           curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS,
                            (long)(timeout_ms > 0 ? timeout_ms : REST_TIMEOUT_MS)) == CURLE_OK &&
           (!client->token[0] ||
            (curl_easy_setopt(client->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER) == CURLE_OK &&
             curl_easy_setopt(client->curl, CURLOPT_XOAUTH2_BEARER, client->token) == CURLE_OK));
}

static int fail(RestClient *client, int error, ErrorCode code, const char *reason, const char *text)
{
    (void)problem_set(&client->failure.problem, code, reason, "%s", text);
    return error;
}

/* libcurl's code in our words; its own text is kept for the person. */
static int translate(RestClient *client, CURLcode code, const char *url)
{
    char text[CURL_ERROR_SIZE + 200];
    int host_length = (int)strcspn(url + 8, "/?"); /* never show a ticket */
    (void)snprintf(text, sizeof(text), "%.*s: %s", host_length, url + 8,
                   client->curl_text[0] ? client->curl_text : curl_easy_strerror(code));

    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return fail(client, REST_E_INTERRUPTED, ERROR_CANCELLED, "INTERRUPTED", "interrupted");
    case CURLE_RANGE_ERROR:
        return fail(client, REST_E_RANGE, ERROR_FAILED_PRECONDITION, "NO_RANGE", text);
    case CURLE_WRITE_ERROR:
        return fail(client, REST_E_REFUSED, ERROR_RESOURCE_EXHAUSTED, "REPLY_TOO_LARGE",
                    "the server's answer is too large");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return fail(client, REST_E_REFUSED, ERROR_UNAUTHENTICATED, "SERVER_NOT_TRUSTED", text);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return fail(client, REST_E_REFUSED, ERROR_INVALID_ARGUMENT, "BAD_URL", text);
    case CURLE_OUT_OF_MEMORY:
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return fail(client, REST_E_UNREACHABLE, ERROR_UNAVAILABLE, "UNREACHABLE", text);
    default:
        return fail(client, REST_E_UNAVAILABLE, ERROR_UNAVAILABLE, "CONNECTION_BROKEN", text);
    }
}

/* An answer that is not a success, told from its problem+json if it has one. */
static int refused(RestClient *client, long status, const Body *body)
{
    cJSON *json = body->data ? json_parse_object(body->data, body->size, ERROR_BODY_MAX) : NULL;
    bool later = status >= 500 || status == 429;

    if (json && cJSON_HasObjectItem(json, "message"))
        problem_from_json(json, &client->failure.problem);
    else
        (void)problem_set(&client->failure.problem, later ? ERROR_UNAVAILABLE : ERROR_INTERNAL, "HTTP_STATUS",
                          "the server answered with HTTP status %ld", status);
    client->failure.http_status = status;
    client->failure.details = client->details = json;
    return later ? REST_E_UNAVAILABLE : REST_E_REFUSED;
}

static int perform(RestClient *client, const char *url, long *ret_status)
{
    CURLcode code = curl_easy_perform(client->curl);
    if (code != CURLE_OK)
        return translate(client, code, url);
    (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return 0;
}

static bool add_header(struct curl_slist **headers, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*headers, line);
    if (longer)
        *headers = longer;
    return longer != NULL;
}

static void free_headers(struct curl_slist **headers)
{
    curl_slist_free_all(*headers);
}

static void free_json_text(char **text)
{
    cJSON_free(*text);
}

static bool prepare_body(RestClient *client, const RestCall *call, const char *text,
                         struct curl_slist **headers)
{
    char key[128];

    if (call->idempotency_key) {
        (void)snprintf(key, sizeof(key), "Idempotency-Key: %s", call->idempotency_key);
        if (!add_header(headers, key))
            return false;
    }
    if (call->body && (!text || !add_header(headers, "Content-Type: application/json") ||
                       curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, text) != CURLE_OK))
        return false;
    return curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK &&
           curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, *headers) == CURLE_OK;
}

int rest_call(RestClient *client, const RestCall *call, RestReply *ret_reply)
{
    struct curl_slist *headers CLEANUP(free_headers) = NULL;
    char *url CLEANUP(free_ptr) = text_format("%s%s", client->base, call->path);
    char *text CLEANUP(free_json_text) = call->body ? cJSON_PrintUnformatted(call->body) : NULL;
    Body body CLEANUP(body_deinit) = {.max = REST_REPLY_MAX};
    long status = 0;

    if (!url || !prepare_call(client, url, call->timeout_ms, &body) ||
        !prepare_body(client, call, text, &headers))
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    int r = perform(client, url, &status);
    if (r != 0)
        return r;
    if (status < 200 || status > 299)
        return refused(client, status, &body);
    cJSON *json = body.data ? json_parse_object(body.data, body.size, REST_REPLY_MAX) : NULL;
    if (!json)
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "BAD_REPLY",
                    "the server's answer is not a JSON object; is the address right?");
    *ret_reply = (RestReply){.text = TAKE_PTR(body.data), .json = json};
    return 0;
}

void rest_reply_deinit(RestReply *reply)
{
    free(reply->text);
    cJSON_Delete(reply->json);
    *reply = (RestReply){0};
}

static int64_t server_date(CURL *curl)
{
    struct curl_header *header = NULL;

    if (curl_easy_header(curl, "Date", 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return 0;
    time_t date = curl_getdate(header->value, NULL);
    return date > 0 ? (int64_t)date : 0;
}

int rest_look(RestClient *client, const char *method, const char *path, RestSight *ret_sight)
{
    char *url CLEANUP(free_ptr) = text_format("%s%s", client->base, path);
    Body body CLEANUP(body_deinit) = {.max = ERROR_BODY_MAX};
    RestSight sight = {0};

    if (!url || !prepare_call(client, url, REST_LOOK_TIMEOUT_MS, &body) ||
        curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK)
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    int r = perform(client, url, &sight.http_status);
    if (r != 0)
        return r;
    cJSON *json CLEANUP(json_delete) =
        body.data ? json_parse_object(body.data, body.size, ERROR_BODY_MAX) : NULL;
    if (json && json_get_string(json, "message", sight.words, sizeof(sight.words)) != JSON_OK)
        (void)json_get_string(json, "status", sight.words, sizeof(sight.words)); /* or it stays "" */
    sight.date_unix_s = server_date(client->curl);
    *ret_sight = sight;
    return 0;
}

int rest_locate(RestClient *client, const char *path, char **ret_url)
{
    char *url CLEANUP(free_ptr) = text_format("%s%s", client->base, path);
    Body body CLEANUP(body_deinit) = {.max = ERROR_BODY_MAX};
    char *location = NULL;
    long status = 0;

    if (!url || !prepare_call(client, url, REST_TIMEOUT_MS, &body))
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    int r = perform(client, url, &status);
    if (r != 0)
        return r;
    if (status < 300 || status > 399)
        return refused(client, status, &body);
    (void)curl_easy_getinfo(client->curl, CURLINFO_REDIRECT_URL, &location);
    if (!location || strncasecmp(location, "https://", 8) != 0)
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "BAD_REPLY",
                    "the coordinator does not say where the content lies");
    char *copy = strdup(location);
    if (!copy)
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    *ret_url = copy;
    return 0;
}

/* A body that goes into the sink as it comes. */
static int stream(RestClient *client, const char *url, Body *body)
{
    long status = 0;
    int r = perform(client, url, &status);

    if (body->sink_failed)
        return REST_E_SINK;
    if (r != 0)
        return r;
    return status == 200 || status == 206 ? 0 : refused(client, status, body);
}

static bool limit_silence(RestClient *client, long seconds)
{
    return curl_easy_setopt(client->curl, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
           curl_easy_setopt(client->curl, CURLOPT_LOW_SPEED_TIME, seconds) == CURLE_OK;
}

int rest_fetch(RestClient *client, const char *url, uint64_t offset, RestSink *sink, void *userdata)
{
    Body body CLEANUP(body_deinit) = {.max = ERROR_BODY_MAX, .sink = sink, .userdata = userdata};

    if (!prepare(client, url, &body) || !limit_silence(client, STALL_TIME_S) ||
        curl_easy_setopt(client->curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)offset) != CURLE_OK ||
        curl_easy_setopt(client->curl, CURLOPT_BUFFERSIZE, 128L * 1024) != CURLE_OK)
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    return stream(client, url, &body);
}

int rest_listen(RestClient *client, const char *path, const char *last_id, int64_t timeout_ms, RestSink *sink,
                void *userdata)
{
    struct curl_slist *headers CLEANUP(free_headers) = NULL;
    char *url CLEANUP(free_ptr) = text_format("%s%s", client->base, path);
    char *last CLEANUP(free_ptr) = text_format("Last-Event-ID: %s", last_id);
    Body body CLEANUP(body_deinit) = {.max = ERROR_BODY_MAX, .sink = sink, .userdata = userdata};

    if (!url || !last || !prepare_call(client, url, REST_TIMEOUT_MS, &body) ||
        curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms) != CURLE_OK ||
        !limit_silence(client, SILENCE_S) || !add_header(&headers, "Accept: text/event-stream") ||
        (last_id[0] && !add_header(&headers, last)) ||
        curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers) != CURLE_OK)
        return fail(client, REST_E_REFUSED, ERROR_INTERNAL, "NO_MEMORY", "out of memory");
    return stream(client, url, &body);
}
