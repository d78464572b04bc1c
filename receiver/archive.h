/* The archive: the one place that decides whether an upload is complete.
 *
 * A commit, in this order, each step durable before the next one begins:
 *
 *   1. the part is synced (its length and digest have been checked by the caller)
 *   2. the receipt is signed and goes into the outbox, marked pending
 *   3. folder of the client, folder of the id
 *   4. metadata, with the receipt in it
 *   5. the part is renamed to <client>/<id>/<safe name>, never over another file   <- content and metadata
 * are both there
 *   6. the folder is synced
 *   7. the outbox entry loses its mark                                             <- the upload is complete
 *
 * and only then does anybody hear of it. Complete means: content and metadata are there and nothing is
 * pending, so a reader needs no lock to tell. A crash between 5 and 7 is finished by archive_recover() at the
 * next start, one before 5 is undone by it. A failed sync is never tried again: the part is set aside and
 * what was done is undone; if that fails too the mark stays, and with it the upload stays incomplete, until
 * the next start settles it. What else left a mark is settled in the same way by the next start or by the
 * next commit of that upload; no failure takes a mark off that was there before.
 *
 * Any thread; two threads never commit the same upload. The functions block on the disk. */
#pragma once

#include "common/cleanup.h"
#include "receiver/outbox.h"
#include "receiver/store.h"

#include <stdbool.h>

typedef struct Archive Archive;

/* Everything is borrowed and must outlive the archive. issuer is this receiver's name. */
int archive_new(Store *store, Outbox *outbox, const SigningKey *key, const char *issuer,
                Archive **ret_archive) MUST_CHECK;
Archive *archive_free(Archive *archive); /* returns NULL */

/* At start, before anything else: finishes or undoes the commits that a crash broke off. Logs each. 0 or a
 * negative errno. */
int archive_recover(Archive *archive) MUST_CHECK;

enum { ARCHIVE_E_ABSENT = 1 };

/* 0 and *ret_stored if the upload is complete, be its content removed or not, ARCHIVE_E_ABSENT, or a negative
 * errno. */
int archive_find(Archive *archive, const char *client, const char *id, Stored *ret_stored) MUST_CHECK;

/* Removes the content of a complete upload; it stays complete, and nothing of it can be sent any more.
 * approve is asked before: not 0 gives it up, and is returned. A receipt that the broker has not taken yet
 * comes first: then ARCHIVE_E_UNDELIVERED. One that is removed already is that once more. The outbox gets it
 * to be told. 0, ARCHIVE_E_ABSENT, ARCHIVE_E_UNDELIVERED, or a negative errno. */
typedef int ArchiveApprove(void *userdata, const Stored *stored);
int archive_remove(Archive *archive, const char *client, const char *id, ArchiveApprove *approve,
                   void *userdata) MUST_CHECK;

/* Forgets an upload whose content was removed: its record goes, and the id is a new one from then on. Not
 * while the broker is still to be told something of it: then ARCHIVE_E_UNDELIVERED. 0, ARCHIVE_E_ABSENT, also
 * if its content is there, or a negative errno. */
int archive_forget(Archive *archive, const char *client, const char *id) MUST_CHECK;

/* The payload of the removed topic, for an entry of the outbox; a removal that was broken off in its middle
 * is finished before. The caller frees. 0; ARCHIVE_E_ABSENT for an upload of which nothing was removed: then
 * the entry is gone; -EAGAIN while another removal is under way, which outbox_announce() follows; or another
 * negative errno. */
int archive_removal_message(Archive *archive, const OutboxKey *key, char **ret_message) MUST_CHECK;

/* Opens the content of one that was found. 0 or a negative errno. */
int archive_open(Archive *archive, const Stored *stored, int *ret_fd) MUST_CHECK;

/* Whether a receipt for this path can be made: paths are long and escapes make them longer. Asked before a
 * body is read. 0, ARCHIVE_E_PATH or a negative errno. */
int archive_check_path(Archive *archive, const char *client, const char *id, const char *path) MUST_CHECK;

enum {
    ARCHIVE_E_FULL =
        2, /* no space for metadata; nothing is stored, the part is whole and still in the spool */
    ARCHIVE_E_SPOILED, /* a sync failed, or the part went into the store and back: it is only good for being
                          set aside */
    ARCHIVE_E_PATH,    /* too long */
    ARCHIVE_E_UNDELIVERED,
};

/* Steps 1 to 7; before them an earlier commit of this upload that left its mark is settled, and if it is
 * whole and has the same content it is this one's end too, else -EEXIST. part is not freed: after 0
 * part_remove() what is left of it. 0 and *ret_stored filled, one of the above, or a negative errno, -EAGAIN
 * if the earlier one can't be settled now (nothing stored, part still in the spool). Logs the failures of the
 * disk. */
int archive_commit(Archive *archive, Part *part, const char *client, const char *id, const char *path,
                   const uint8_t sha256[static SHA256_SIZE], Stored *ret_stored) MUST_CHECK;

/* The payload of the receipt topic. The caller frees; NULL when out of memory. */
char *archive_receipt_message(const Stored *stored);
