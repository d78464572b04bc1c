/* The sockets of http_server; nobody else includes it. */
#pragma once

#include "common/cleanup.h"

#include <stdint.h>

/* address: numeric IPv4 or IPv6. 0, or a negative errno after one log line. */
int http_listen(const char *address, uint16_t port, int *ret_fd) MUST_CHECK;

/* Reads on for a moment behind an answer that came before its request's end: to close on bytes that are
 * still coming resets the connection, and many clients then forget the answer they have. Blocks for at
 * most 2 seconds. */
void http_linger(int fd);
