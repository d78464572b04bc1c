/* What is on its way to the broker, one file each under <store>/.outbox, and at the same time the journal of
 * commits:
 *
 *   <client>.<id>.pending    a commit has begun; while this file is there, the upload is not complete
 *   <client>.<id>.receipt    the upload is complete; its receipt is to be published until the broker has
 * acknowledged it
 *   <client>.<id>.removed    that the content was removed is to be told until the broker has acknowledged it
 *
 * So one rename both ends a commit and puts its receipt into the post. The content of the first two is the
 * message's payload; a removal is made into words when it is sent.
 * Any thread; two threads never work on the same upload. The functions block on the disk. */
#pragma once

#include "common/cleanup.h"
#include "protocol/ident.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct Outbox Outbox;

typedef enum OutboxKind { OUTBOX_PENDING, OUTBOX_RECEIPT, OUTBOX_REMOVED } OutboxKind;

typedef struct OutboxKey {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
} OutboxKey;

int outbox_new(int root_fd, Outbox **ret_outbox) MUST_CHECK;
Outbox *outbox_free(Outbox *outbox); /* returns NULL */

/* An eventfd: readable after outbox_release() and outbox_announce(), until it is read. */
int outbox_fd(const Outbox *outbox);

/* Writes the pending entry, durably. 0 or a negative errno, and then there is one only if there was one
 * before: what that stands for is not undone by a failure of this. */
int outbox_prepare(Outbox *outbox, const char *client, const char *id, const char *message) MUST_CHECK;

/* pending -> receipt. Need not be durable: a restart finds the pending entry and finishes the commit. 0 or a
 * negative errno. */
int outbox_release(Outbox *outbox, const char *client, const char *id) MUST_CHECK;

/* The commit has failed and is undone: the pending entry goes. 0 or a negative errno. */
int outbox_withdraw(Outbox *outbox, const char *client, const char *id) MUST_CHECK;

/* 1, 0, or a negative errno. */
int outbox_is_pending(Outbox *outbox, const char *client, const char *id) MUST_CHECK;

/* Whether its receipt, or its removal, is still to be taken by the broker. 1, 0, or a negative errno. */
int outbox_is_waiting(Outbox *outbox, OutboxKind kind, const char *client, const char *id) MUST_CHECK;

/* Lists at most max entries into keys; those for which skip(key, userdata) is true are left out (skip may be
 * NULL). Returns how many, or a negative errno. */
int outbox_list(Outbox *outbox, OutboxKind kind, bool (*skip)(const OutboxKey *key, void *userdata),
                void *userdata, OutboxKey *keys, size_t max) MUST_CHECK;

/* Writes the entry of a removal, durably; it is looked at only after outbox_announce(), or by chance before.
 * 0 or a negative errno. */
int outbox_note_removal(Outbox *outbox, const char *client, const char *id) MUST_CHECK;
void outbox_announce(Outbox *outbox);

/* How many entries of a kind there are. Reads the folder. */
size_t outbox_count(Outbox *outbox, OutboxKind kind);

/* The message of a receipt entry. The caller frees. 0 or a negative errno. */
int outbox_read(Outbox *outbox, const OutboxKey *key, char **ret_message, size_t *ret_size) MUST_CHECK;

/* The broker has it, or there is nothing to tell. Not durable: at worst it is published twice. 0 or a
 * negative errno, which is logged. */
int outbox_delivered(Outbox *outbox, OutboxKind kind, const OutboxKey *key);
