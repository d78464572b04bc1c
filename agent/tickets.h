/* The coordinator's tickets, as this device judges them.
 *
 * With a coordinator's key only a ticketed command is obeyed, and all that it may say is in the ticket: the
 * broker that carries it can neither write nor alter one. A ticket is good for one upload, whose id is
 * remembered, and until its time is over. That time is judged without trust in the device's clock:
 *
 * - now is the clock, or the greatest iat of any ticket taken so far ("seen"), whichever is later. A clock
 *   that is behind is moved on by each ticket; a ticket from its future is taken.
 * - an id is forgotten only when "seen" has passed the ticket's expiry, which no clock can undo. If there are
 *   too many ids before that, what is forgotten too early raises "forgotten", and no ticket that was issued
 *   then or before is taken any more.
 *
 * Both are in <state_dir>/tickets.json, and the records of jobs tell "seen" as well. */
#pragma once

#include "common/cleanup.h"
#include "common/config.h"
#include "protocol/message.h"

#include <stdbool.h>
#include <stdint.h>

#define COORDINATOR_KEYS_MAX 4

typedef struct Tickets Tickets;

/* keys: PEM files; none: every command is obeyed, and a ticket is only passed on. client is borrowed, and so
 * is state_dir. 0 or a negative errno. */
int tickets_new(const ConfigList *keys, const char *client, const char *state_dir,
                Tickets **ret_tickets) MUST_CHECK;
Tickets *tickets_free(Tickets *tickets);

bool tickets_are_required(const Tickets *tickets);

/* Reads a command for the upload id. With keys: checks the ticket before all else, refuses what does not
 * match it, and *ret_command says what the ticket says; *ret_issued_unix_s is its iat, 0 without keys. 0, -1
 * and *problem, or -ENOMEM: it could not be judged, so it is as if it had not come; who needs it sends it
 * again. */
int tickets_admit(Tickets *tickets, const char *id, const void *payload, size_t size,
                  UploadCommand *ret_command, int64_t *ret_issued_unix_s, Problem *problem) MUST_CHECK;

/* The end of a job without a ticket, where one is needed. Returns -1. */
int tickets_refuse_missing(Problem *problem);

/* The time by which an expiry is judged. */
int64_t tickets_now_unix_s(const Tickets *tickets);

/* A ticket issued then is known from a record. */
void tickets_saw(Tickets *tickets, int64_t issued_unix_s);
int64_t tickets_seen_unix_s(const Tickets *tickets);

/* Before records are removed: of those whose ticket may still be good, the last was issued then (0: there are
 * none). Durable when it returns 0; on a negative errno nothing may be removed. */
int tickets_forget(Tickets *tickets, int64_t issued_unix_s) MUST_CHECK;
