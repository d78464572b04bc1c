#include "common/text.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

char *text_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

/* The length of the UTF-8 sequence at bytes (RFC 3629 section 4: no overlong forms, no surrogates), 0 if it
 * is none. */
static size_t utf8_sequence(const unsigned char *bytes, size_t size)
{
    unsigned char first = bytes[0], low = 0x80, high = 0xbf;
    size_t length = 0;

    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    }
    if (length == 0 || length > size || bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool text_is_utf8(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t length = utf8_sequence((const unsigned char *)text + at, size - at);
        if (length == 0 || text[at] == '\0')
            return false;
        at += length;
    }
    return true;
}

size_t text_character(const char *text, size_t size, uint32_t *ret_point)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = size > 0 ? utf8_sequence(bytes, size) : 0;

    if (length == 0)
        return 0;
    uint32_t point = length == 1 ? bytes[0] : bytes[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++)
        point = point << 6 | (bytes[i] & 0x3fU);
    *ret_point = point;
    return length;
}

bool text_is_hostile(uint32_t point)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0, 0x1f},          {0x7f, 0x9f},     {0xad, 0xad},     /* controls; soft hyphen */
        {0x61c, 0x61c},     {0x180e, 0x180e},                   /* Arabic letter mark; Mongolian separator */
        {0x200b, 0x200f},   {0x2028, 0x202e}, {0x2060, 0x206f}, /* no width; lines; direction */
        {0xfeff, 0xfeff},   {0xfff9, 0xfffb},                   /* byte order mark; annotations */
        {0xe0000, 0xe007f},                                     /* tags */
    };

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
        if (point >= ranges[i].first && point <= ranges[i].last)
            return true;
    return false;
}

/* One character as it is shown: itself, or an escape. length 0: the byte is not UTF-8. Returns the length of
 * what is shown. */
static size_t show_character(const char *text, size_t length, uint32_t point, char shown[static 16])
{
    if (length > 0 && !text_is_hostile(point)) {
        memcpy(shown, text, length);
        return length;
    }
    if (*text == '\n' || *text == '\t' || *text == '\r')
        return (size_t)snprintf(shown, 16, "\\%c", *text == '\n' ? 'n' : *text == '\t' ? 't' : 'r');
    if (length > 1)
        return (size_t)snprintf(shown, 16, "\\u%04x", (unsigned)point);
    return (size_t)snprintf(shown, 16, "\\x%02x", (unsigned)(unsigned char)*text);
}

char *text_printable(const char *text, char *buf, size_t size)
{
    size_t used = 0, left = strlen(text);

    while (left > 0 && size > 0) {
        char shown[16];
        uint32_t point = 0;
        size_t length = text_character(text, left, &point);
        size_t shown_length = show_character(text, length, point, shown);
        if (used + shown_length + 1 > size)
            break;
        memcpy(buf + used, shown, shown_length);
        used += shown_length;
        text += length ? length : 1;
        left -= length ? length : 1;
    }
    if (size > 0)
        buf[used] = '\0';
    return buf;
}

/* Beyond 16 bits JSON writes two surrogates (RFC 8259 section 7). */
static size_t escape_json(uint32_t point, char out[static 16])
{
    if (point < 0x10000)
        return (size_t)snprintf(out, 16, "\\u%04x", (unsigned)point);
    return (size_t)snprintf(out, 16, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (point >> 10)),
                            (unsigned)(0xdc00 | (point & 0x3ff)));
}

/* How many bytes there are before one that is not plain ASCII and shows as it is: nearly all, mostly. */
static size_t plain_run(const char *text, size_t size)
{
    size_t length = 0;

    while (length < size && text[length] >= ' ' && text[length] <= '~')
        length++;
    return length;
}

char *text_printable_json(const char *json)
{
    enum { GROWTH_MAX = 6 }; /* DEL, one byte, becomes six */
    size_t left = strlen(json);
    char *out = malloc(GROWTH_MAX * left + 16), *end = out;

    while (out && left > 0) {
        uint32_t point = 0;
        size_t plain = plain_run(json, left);
        size_t length = plain ? plain : text_character(json, left, &point);
        size_t step = length ? length : 1;
        if (!plain && strchr("\r\n\t", *json)) { /* between the values: in strings JSON has none */
            *end++ = *json == '\r' ? ' ' : *json;
        } else if (!plain && length > 0 && text_is_hostile(point)) { /* in strings only */
            end += escape_json(point, end);
        } else {
            memcpy(end, json, step);
            end += step;
        }
        json += step;
        left -= step;
    }
    if (out)
        *end = '\0';
    return out;
}

/* Digits at the start of text; *ret_rest is what follows them. */
static bool leading_u64(const char *text, uint64_t *ret_value, const char **ret_rest)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    if (at == text)
        return false;
    *ret_value = value;
    *ret_rest = at;
    return true;
}

typedef struct Unit {
    const char *name;
    uint64_t factor;
} Unit;

static bool value_with_unit(const char *text, const Unit *units, size_t count, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *rest = NULL;

    if (!leading_u64(text, &value, &rest))
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(rest, units[i].name) == 0) {
            if (__builtin_mul_overflow(value, units[i].factor, &value))
                return false;
            *ret_value = value;
            return true;
        }
    return false;
}

bool text_to_u64(const char *text, uint64_t *ret_value)
{
    static const Unit units[] = {{"", 1}};
    return value_with_unit(text, units, ARRAY_SIZE(units), ret_value);
}

bool text_to_size(const char *text, uint64_t *ret_bytes)
{
    static const Unit units[] = {
        {"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}, {"T", 1ULL << 40}};
    return value_with_unit(text, units, ARRAY_SIZE(units), ret_bytes);
}

bool text_to_duration(const char *text, uint64_t *ret_ms)
{
    static const Unit units[] = {{"", 1000},      {"ms", 1},         {"s", 1000},
                                 {"m", 60000ULL}, {"h", 3600000ULL}, {"d", 86400000ULL}};
    return value_with_unit(text, units, ARRAY_SIZE(units), ret_ms);
}

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._~", c);
}

char *text_percent_encode(const char *text, const char *keep)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = malloc(strlen(text) * 3 + 1), *end = out;

    if (!out)
        return NULL;
    for (; *text; text++) {
        if (is_unreserved(*text) || strchr(keep, *text)) {
            *end++ = *text;
        } else {
            *end++ = '%';
            *end++ = digits[(unsigned char)*text >> 4];
            *end++ = digits[(unsigned char)*text & 15];
        }
    }
    *end = '\0';
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

char *text_percent_decode(const char *text)
{
    char *out CLEANUP(free_ptr) = malloc(strlen(text) + 1);
    char *end = out;

    if (!out)
        return NULL;
    for (; *text; text++) {
        if (*text != '%') {
            *end++ = *text;
            continue;
        }
        int high = hex_digit(text[1]);
        int low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || (high == 0 && low == 0)) {
            errno = EINVAL;
            return NULL;
        }
        *end++ = (char)(high * 16 + low);
        text += 2;
    }
    *end = '\0';
    return TAKE_PTR(out);
}

static const char base64_standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *encode64(const void *data, size_t size, const char *alphabet, bool padded)
{
    const unsigned char *bytes = data;
    char *out = malloc((size + 2) / 3 * 4 + 1), *end = out;

    if (!out)
        return NULL;
    for (size_t at = 0; at < size; at += 3) {
        size_t count = size - at < 3 ? size - at : 3;
        uint32_t group = (uint32_t)bytes[at] << 16;
        if (count > 1)
            group |= (uint32_t)bytes[at + 1] << 8;
        if (count > 2)
            group |= bytes[at + 2];
        for (size_t i = 0; i < 4; i++)
            if (i <= count)
                *end++ = alphabet[group >> (18 - 6 * i) & 63];
            else if (padded)
                *end++ = '=';
    }
    *end = '\0';
    return out;
}

char *text_base64(const void *data, size_t size)
{
    return encode64(data, size, base64_standard, true);
}

char *text_base64url(const void *data, size_t size)
{
    return encode64(data, size, base64_url, false);
}

/* Decodes length characters without padding. Left-over bits must be zero, so that one value has one spelling.
 */
static int decode64(const char *text, size_t length, const char *alphabet, void **ret_data, size_t *ret_size)
{
    unsigned char *out CLEANUP(free_ptr) = malloc(length / 4 * 3 + 3);
    size_t size = 0;
    uint32_t group = 0;
    unsigned bits = 0;

    if (!out)
        return -ENOMEM;
    if (length % 4 == 1)
        return -EINVAL;
    for (size_t i = 0; i < length; i++) {
        const char *digit = text[i] ? strchr(alphabet, text[i]) : NULL;
        if (!digit)
            return -EINVAL;
        group = group << 6 | (uint32_t)(digit - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[size++] = (unsigned char)(group >> bits);
            group &= (1U << bits) - 1;
        }
    }
    if (group != 0)
        return -EINVAL;
    *ret_data = TAKE_PTR(out);
    *ret_size = size;
    return 0;
}

int text_unbase64(const char *text, size_t length, void **ret_data, size_t *ret_size)
{
    if (length % 4 != 0)
        return -EINVAL;
    for (int i = 0; i < 2 && length > 0 && text[length - 1] == '='; i++)
        length--;
    return decode64(text, length, base64_standard, ret_data, ret_size);
}

int text_unbase64url(const char *text, size_t length, void **ret_data, size_t *ret_size)
{
    return decode64(text, length, base64_url, ret_data, ret_size);
}

void text_hex(const void *data, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * size] = '\0';
}

bool text_unhex(const char *text, void *data, size_t size)
{
    unsigned char *bytes = data;

    if (strlen(text) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

void text_time(int64_t unix_ms, char out[static TEXT_TIME_SIZE])
{
    int64_t rest = unix_ms % 1000 < 0 ? unix_ms % 1000 + 1000 : unix_ms % 1000;
    time_t seconds = (time_t)((unix_ms - rest) / 1000);
    struct tm utc;
    char date[24] = "0000-00-00T00:00:00";

    if (gmtime_r(&seconds, &utc))
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(out, TEXT_TIME_SIZE, "%s.%03dZ", date, (int)rest);
}

void text_bytes(uint64_t bytes, char out[static TEXT_BYTES_SIZE])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 999.5 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(out, TEXT_BYTES_SIZE, unit > 0 && value < 99.95 ? "%.1f %s" : "%.0f %s", value,
                   units[unit]);
}
