/* A request's head and trailer as they come over the wire, through libmicrohttpd: what is taken must mean the
 * same to anybody who reads it strictly (RFC 9112), or a proxy in front could see another request. */
#include "fuzz.h"

#include "common/http_head.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define ROUNDS_MAX 200

#if MHD_VERSION >= 0x00097601
#define STRICT MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1
#else
#define STRICT MHD_OPTION_STRICT_FOR_CLIENT, 1
#endif

#define TCHAR "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static struct {
    bool taken;
    char *method, *path;
    size_t body_size;
} seen;

static void answer(struct MHD_Connection *connection, unsigned status)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

    (void)MHD_add_response_header(response, "Connection", "close");
    (void)MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
}

/* Keeps what the first request was taken for; there is no second, as each answer closes. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **state)
{
    (void)userdata;
    (void)data;
    if (!*state) {
        unsigned status = http_head_check(connection, method, path, version);
        *state = &seen;
        seen.taken = status == 0;
        seen.method = strdup(method);
        seen.path = strdup(path);
        FUZZ_CHECK(seen.method && seen.path);
        if (status != 0)
            answer(connection, status);
        return MHD_YES;
    }
    if (*size > 0) {
        seen.body_size += *size;
        *size = 0;
        return MHD_YES;
    }
    unsigned status = http_trailer_check(connection);
    answer(connection, status ? status : 200);
    return MHD_YES;
}

static size_t keep_encoded(void *userdata, struct MHD_Connection *connection, char *text)
{
    (void)userdata;
    (void)connection;
    return strlen(text);
}

static void quiet(void *userdata, const char *format, va_list args)
{
    (void)userdata;
    (void)format;
    (void)args;
}

static struct MHD_Daemon *start(void)
{
    return MHD_start_daemon(MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, NULL,
                            MHD_OPTION_EXTERNAL_LOGGER, quiet, NULL, MHD_OPTION_UNESCAPE_CALLBACK,
                            keep_encoded, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 * 1024, STRICT,
                            MHD_OPTION_END);
}

static void send_request(struct MHD_Daemon *daemon, const void *data, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char drain[4096];
    int ends[2];

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    FUZZ_CHECK(write(ends[0], data, size) == (ssize_t)size && shutdown(ends[0], SHUT_WR) == 0);
    FUZZ_CHECK(MHD_add_connection(daemon, ends[1], (struct sockaddr *)&address, sizeof(address)) == MHD_YES);
    for (int i = 0; i < ROUNDS_MAX; i++) {
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        if (info->num_connections == 0)
            break;
        (void)MHD_run(daemon);
        while (read(ends[0], drain, sizeof(drain)) > 0)
            ;
    }
    (void)close(ends[0]);
    (void)MHD_run(daemon);
}

/* A second reader, as strict as the standard lets it be. */

typedef struct Reading {
    unsigned lengths, codings, hosts;
    bool chunked;
} Reading;

/* One line without its CRLF. */
static bool read_field(const char *line, size_t size, Reading *reading)
{
    const char *colon = memchr(line, ':', size);

    if (!colon || colon == line || strspn(line, TCHAR) < (size_t)(colon - line))
        return false;
    size_t name = (size_t)(colon - line);
    for (size_t i = name; i < size; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
            return false;
    if (name == 14 && strncasecmp(line, "Content-Length", name) == 0)
        reading->lengths++;
    if (name == 4 && strncasecmp(line, "Host", name) == 0)
        reading->hosts++;
    if (name == 17 && strncasecmp(line, "Transfer-Encoding", name) == 0) {
        reading->codings++;
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        reading->chunked = strncasecmp(value, "chunked", 7) == 0;
    }
    return true;
}

/* The fields up to the empty line; NULL if a line is none. */
static const char *read_fields(const char *text, const char *end, Reading *reading)
{
    for (;;) {
        const char *stop = memmem(text, (size_t)(end - text), "\r\n", 2);
        if (!stop)
            return NULL;
        if (stop == text)
            return stop + 2;
        if (!read_field(text, (size_t)(stop - text), reading))
            return NULL;
        text = stop + 2;
    }
}

/* "PUT /path HTTP/1.1": the same words that our side was given. */
static const char *read_line(const char *text, const char *end)
{
    const char *stop = memmem(text, (size_t)(end - text), "\r\n", 2);
    size_t method = strlen(seen.method), path = strlen(seen.path);

    if (!stop || memchr(text, '\0', (size_t)(stop - text)) || strcspn(text, "\r\n") != (size_t)(stop - text))
        return NULL;
    if (strncmp(text, seen.method, method) != 0 || text[method] != ' ' ||
        strncmp(text + method + 1, seen.path, path) != 0)
        return NULL;
    text += method + 1 + path;
    if (*text != ' ' && *text != '?')
        return NULL;
    for (; stop - text > 9; text++) /* in a query a space can't be told from a plus */
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return NULL;
    return (size_t)(stop - text) == 9 && !strpbrk(seen.path, " \t\r") && strncmp(text, " HTTP/1.", 8) == 0
               ? stop + 2
               : NULL;
}

static void check_strictly(const char *text, size_t size)
{
    const char *end = text + size;
    Reading reading = {0};

    text += strspn(text, "\r\n"); /* empty lines before it are nobody's request (RFC 9112 section 2.2) */
    text = read_line(text, end);
    FUZZ_CHECK(text);
    text = read_fields(text, end, &reading);
    FUZZ_CHECK(text);
    FUZZ_CHECK(reading.lengths + reading.codings <= 1 && reading.hosts <= 1);
    FUZZ_CHECK(reading.codings == 0 || reading.chunked);
    FUZZ_CHECK(reading.codings + reading.lengths > 0 || seen.body_size == 0);
    FUZZ_CHECK(seen.body_size <= (size_t)(end - text)); /* of what came behind it */
}

/* The library turns line ends and colons into NULs: a NUL that was sent in the place of a CR, and a line that
 * begins with a colon, can't be told from a line's end afterwards. Who forwards those is no proxy to stand
 * behind. */
static bool can_be_judged(const char *text, size_t size)
{
    return strlen(text) == size && !strstr(text, "\n:");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct MHD_Daemon *daemon;

    if (!daemon)
        daemon = start();
    FUZZ_CHECK(daemon);
    char *text = fuzz_text(data, size);
    if (size > 0 && size < 60000)
        send_request(daemon, text, size);
    if (seen.taken && can_be_judged(text, size))
        check_strictly(text, size);
    free(seen.method);
    free(seen.path);
    memset(&seen, 0, sizeof(seen));
    free(text);
    return 0;
}
