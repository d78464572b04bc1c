/* Who is connected: the certificates of open connections, how many each client has, and which must go because
 * the certificate was revoked meanwhile. Part of http_server; nobody else includes it. Any thread. */
#pragma once

#include "common/http_peer.h"

typedef struct HttpGuests HttpGuests;
typedef struct HttpGuest HttpGuest; /* one connection */

#define GUESTS_E_CROWDED 1 /* the client has as many connections as it may */

/* per_name_max 0: no limit. trust is borrowed. 0 or -ENOMEM. */
int http_guests_new(HttpTrust *trust, unsigned per_name_max, HttpGuests **ret_guests) MUST_CHECK;
HttpGuests *http_guests_free(HttpGuests *guests); /* when all have left; returns NULL */

/* A connection whose certificate is accepted, under this name. fd stays open until http_guests_leave(). 0,
 * GUESTS_E_CROWDED or -ENOMEM. */
int http_guests_enter(HttpGuests *guests, void *tls_session, int fd, const char *name,
                      HttpGuest **ret_guest) MUST_CHECK;
/* guest may be NULL. Returns NULL. */
HttpGuest *http_guests_leave(HttpGuests *guests, HttpGuest *guest);

/* Reads the revocation list if its file has changed, and shuts the connections of all who are on it. Returns
 * how many. */
unsigned http_guests_review(HttpGuests *guests);
