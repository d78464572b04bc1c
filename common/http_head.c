#include "common/http_head.h"

#include "common/cleanup.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <strings.h>

typedef struct Field {
    const char *name, *value; /* value: NULL for a part of a query without '=' */
    size_t name_size, value_size;
} Field;

typedef struct Fields {
    size_t count; /* of all; those past HTTP_FIELDS_MAX are not kept */
    Field items[HTTP_FIELDS_MAX];
} Fields;

/* Fields whose value is a list, or that proxies add to: they may come more than once (RFC 9110 section 5.3).
 */
static const char *const lists[] = {"Accept",
                                    "Accept-Charset",
                                    "Accept-Encoding",
                                    "Accept-Language",
                                    "Cache-Control",
                                    "Cookie",
                                    "Connection",
                                    "Forwarded",
                                    "If-Match",
                                    "If-None-Match",
                                    "Link",
                                    "Pragma",
                                    "Prefer",
                                    "TE",
                                    "Trailer",
                                    "Upgrade",
                                    "Via",
                                    "Warning",
                                    "X-Forwarded-For",
                                    "X-Forwarded-Host",
                                    "tracestate"};

/* Fields that a trailer must not hold (RFC 9110 section 6.5.1): how to find the body's end, where the request
 * goes, who sends it, what its content is. */
static const char *const head_only[] = {"Authorization",
                                        "Connection",
                                        "Content-Encoding",
                                        "Content-Length",
                                        "Content-Range",
                                        "Content-Type",
                                        "Expect",
                                        "Host",
                                        "Range",
                                        "TE",
                                        "Transfer-Encoding",
                                        "Trailer"};

static bool is_named(const Field *field, const char *name)
{
    return strlen(name) == field->name_size && strncasecmp(field->name, name, field->name_size) == 0;
}

static bool is_one_of(const Field *field, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_named(field, names[i]))
            return true;
    return false;
}

static const Field *find(const Fields *fields, const char *name)
{
    for (size_t i = 0; i < fields->count; i++)
        if (is_named(&fields->items[i], name))
            return &fields->items[i];
    return NULL;
}

static bool says(const Field *field, const char *value)
{
    return strlen(value) == field->value_size && strncasecmp(field->value, value, field->value_size) == 0;
}

static enum MHD_Result collect(void *userdata, enum MHD_ValueKind kind, const char *name, size_t name_size,
                               const char *value, size_t value_size)
{
    Fields *fields = userdata;

    (void)kind;
    if (fields->count < HTTP_FIELDS_MAX)
        fields->items[fields->count] =
            (Field){.name = name, .value = value, .name_size = name_size, .value_size = value_size};
    fields->count++;
    return MHD_YES;
}

/* Single fields */

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool letter_or_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter_or_digit && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return size > 0;
}

static bool has_control(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
            return true;
    return false;
}

/* The library looks for the request line's first and last space only. */
static bool is_visible(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return false;
    return true;
}

static bool is_query_text(const char *text, size_t size)
{
    return !text || (!has_control(text, size) && !memchr(text, '\t', size));
}

static bool are_well_formed(const Fields *fields)
{
    for (size_t i = 0; i < fields->count; i++) {
        const Field *field = &fields->items[i];
        if (!is_token(field->name, field->name_size) || has_control(field->value, field->value_size))
            return false;
        if (find(fields, field->name) != field && !is_one_of(field, lists, ARRAY_SIZE(lists)))
            return false;
    }
    return true;
}

/* Whether nothing is hidden */

/* The library zeroes the colon and the line's end and points into what is left: what it has cut off, moved
 * together or taken for an end shows as a gap. Another version may do it otherwise, and is told to be strict
 * itself. */
static bool is_known_layout(void)
{
    return strcmp(MHD_get_version(), "0.9.75") == 0;
}

/* Whether the line that ends at end had CRLF behind it, and then next. */
static bool is_next_line(const char *end, const char *next)
{
    return end[0] == '\0' && end[1] == '\0' && next == end + 2;
}

/* Whether the fields follow each other without a gap. Returns where the last one's value ends, or NULL. */
static const char *walk_fields(const Fields *fields, const char *start)
{
    const char *end = start;

    for (size_t i = 0; i < fields->count; i++) {
        const Field *field = &fields->items[i];
        const char *value = field->name + field->name_size + 1;
        while (value < field->value && (*value == ' ' || *value == '\t'))
            value++;
        if (value != field->value || (i > 0 && !is_next_line(end, field->name)))
            return NULL;
        end = field->value + field->value_size;
    }
    return end;
}

/* The same for the parts of a query, which '&' and '=' have separated. A space in one was a plus. */
static const char *walk_query(struct MHD_Connection *connection, const char *start)
{
    Fields query = {0};
    const char *end = start;

    (void)MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, collect, &query);
    for (size_t i = 0; i < query.count && i < HTTP_FIELDS_MAX; i++) {
        const Field *part = &query.items[i];
        const char *name_end = part->name + part->name_size;
        if (part->name != end + 1 || (part->value && part->value != name_end + 1) ||
            !is_query_text(part->name, part->name_size) || !is_query_text(part->value, part->value_size))
            return NULL;
        end = part->value ? part->value + part->value_size : name_end;
    }
    return query.count > HTTP_FIELDS_MAX ? NULL : end;
}

/* Whether method, path, query, version, fields and the empty line are all that the head has. */
static bool is_whole(struct MHD_Connection *connection, const Fields *fields, const char *method,
                     const char *path, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const char *line_end = version + strlen(version);
    const char *query_end = walk_query(connection, path + strlen(path));
    const char *end = walk_fields(fields, line_end);

    if (!info || !query_end || !end || path != method + strlen(method) + 1)
        return false;
    if (version != query_end + 1) /* a '?', '&' or '=' with nothing behind it leaves what a NUL would */
        return false;
    if (fields->count > 0 && !is_next_line(line_end, fields->items[0].name))
        return false;
    return end + strlen("\r\n\r\n") == method + info->header_size;
}

/* The whole */

/* Where the body ends, and what is asked of us before it: RFC 9112 section 6. */
static unsigned check_framing(const Fields *fields, const char *version)
{
    const Field *coding = find(fields, "Transfer-Encoding"), *length = find(fields, "Content-Length");
    const Field *expect = find(fields, "Expect");
    bool is_old = strcmp(version, "HTTP/1.0") == 0;

    if (coding && (length || is_old))
        return 400;
    if (coding && !says(coding, "chunked"))
        return 501;
    if (!is_old && !find(fields, "Host"))
        return 400;
    return expect && !says(expect, "100-continue") ? 417 : 0;
}

unsigned http_head_check(struct MHD_Connection *connection, const char *method, const char *path,
                         const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    Fields fields = {0};

    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, collect, &fields);
    if (fields.count > HTTP_FIELDS_MAX || (info && info->header_size > HTTP_HEAD_MAX))
        return 431;
    if (!is_token(method, strlen(method)) || !is_visible(path) || !are_well_formed(&fields) ||
        (is_known_layout() && !is_whole(connection, &fields, method, path, version)))
        return 400;
    return check_framing(&fields, version);
}

/* When a trailer arrives in pieces, libmicrohttpd 0.9.75 takes the head's last field for its first one. */
static void drop_phantom(struct MHD_Connection *connection, Fields *trailer)
{
    Fields head = {0};

    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, collect, &head);
    if (trailer->count == 0 || head.count == 0 || trailer->items[0].name != head.items[head.count - 1].name)
        return;
    trailer->count--;
    memmove(trailer->items, trailer->items + 1, sizeof(trailer->items) - sizeof(trailer->items[0]));
}

unsigned http_trailer_check(struct MHD_Connection *connection)
{
    Fields fields = {0};

    (void)MHD_get_connection_values_n(connection, MHD_FOOTER_KIND, collect, &fields);
    drop_phantom(connection, &fields);
    if (fields.count > HTTP_FIELDS_MAX)
        return 431;
    if (!are_well_formed(&fields))
        return 400;
    if (fields.count > 0 && is_known_layout()) {
        const char *end = walk_fields(&fields, NULL);
        if (!end || end[0] != '\0' || end[1] != '\0')
            return 400;
    }
    for (size_t i = 0; i < fields.count; i++)
        if (is_one_of(&fields.items[i], head_only, ARRAY_SIZE(head_only)))
            return 400;
    return 0;
}
