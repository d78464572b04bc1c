/* Small helpers for text. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* asprintf that returns the string or NULL when out of memory. The caller frees it. */
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);

/* Whether text is valid UTF-8 (RFC 3629) without a NUL in its size bytes. */
bool text_is_utf8(const char *text, size_t size);

/* The character at text: its length in bytes, and its code point; 0 if the size bytes begin with none (not
 * UTF-8). */
size_t text_character(const char *text, size_t size, uint32_t *ret_point);

/* Whether a character would command a terminal, or hide, reorder or break what stands beside it: controls
 * (C0, DEL, C1), line separators, what has no width, and what changes the direction. */
bool text_is_hostile(uint32_t point);

/* Copies text for a terminal or a log line: hostile characters and bytes that are not UTF-8 become \n, \t,
 * \xNN, \u202e. Always terminated; cut at a whole escape if buf is too small. Returns buf. */
char *text_printable(const char *text, char *buf, size_t size);

/* The same for a text in JSON, which means the same afterwards: hostile characters become \uNNNN, white space
 * stays. The caller frees; NULL when out of memory. */
char *text_printable_json(const char *json);

/* Whole decimal number, nothing before or after it. false on anything else and on overflow. */
bool text_to_u64(const char *text, uint64_t *ret_value);

/* "512", "64K", "2G" (powers of 1024; K, M, G, T) to bytes. false on anything else and on overflow. */
bool text_to_size(const char *text, uint64_t *ret_bytes);

/* "30", "30s", "5m", "1h", "7d", "200ms" to milliseconds; without a unit, seconds. */
bool text_to_duration(const char *text, uint64_t *ret_ms);

/* RFC 3986 percent-encoding of everything but unreserved characters and those in keep. NULL when out of
 * memory. */
char *text_percent_encode(const char *text, const char *keep);

/* The reverse. NULL (errno EINVAL) for a broken escape or a %00, or when out of memory (ENOMEM). */
char *text_percent_decode(const char *text);

/* Base64 (RFC 4648), standard alphabet with padding or URL alphabet without. The caller frees. NULL when out
 * of memory. */
char *text_base64(const void *data, size_t size);
char *text_base64url(const void *data, size_t size);

/* Strict decoding of the same. *ret_data is allocated. 0, -EINVAL or -ENOMEM. */
int text_unbase64(const char *text, size_t length, void **ret_data, size_t *ret_size) MUST_CHECK;
int text_unbase64url(const char *text, size_t length, void **ret_data, size_t *ret_size) MUST_CHECK;

/* Lower-case hexadecimal; out has 2 * size + 1 bytes. */
void text_hex(const void *data, size_t size, char *out);

/* Exactly 2 * size hexadecimal digits into data. */
bool text_unhex(const char *text, void *data, size_t size);

/* RFC 3339 UTC, "2026-11-21T11:06:04.123Z", from milliseconds since the epoch. */
#define TEXT_TIME_SIZE 32
void text_time(int64_t unix_ms, char out[static TEXT_TIME_SIZE]);

/* "1.4 GB" and the like, decimal units, for people. */
#define TEXT_BYTES_SIZE 16
void text_bytes(uint64_t bytes, char out[static TEXT_BYTES_SIZE]);
