/* Refuses a request whose head or trailer two programs could read in two ways (RFC 9112 sections 2.2, 5, 6.3
 * and 11.2): a proxy in front might see one request where we see another. Part of http_server; nobody else
 * includes it.
 *
 * libmicrohttpd 0.9.75 lets more pass than it should: a length beside chunks and the first of two lengths,
 * any transfer coding, names of any characters, lines that end in LF alone. It cuts values off at a NUL, and
 * glues a folded line to the *name* of its field, so that "Content: 1\r\n -Length" becomes a Content-Length.
 */
#pragma once

#define HTTP_FIELDS_MAX 100               /* of a head, and of a trailer */
#define HTTP_HEAD_MAX ((size_t)32 * 1024) /* bytes */

struct MHD_Connection;

/* 0, or the status to refuse with: 400, 417 (Expect), 431 (too many, or too long), 501 (Transfer-Encoding).
 * The others as the library gives them to its handler: pointers into the head. */
unsigned http_head_check(struct MHD_Connection *connection, const char *method, const char *path,
                         const char *version);

/* 0, 400 or 431. */
unsigned http_trailer_check(struct MHD_Connection *connection);
