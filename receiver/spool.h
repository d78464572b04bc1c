/* The spool: uploads on their way, under <store>/.incoming, hashed while they are written.
 *
 *   <client>.<id>.<n>.part       the bytes so far
 *   <client>.<id>.<n>.journal    what is known about them (journal.h); without it a part is worthless, and
 * removed <client>.<id>.<n>.aside      a part that must never be served: wrong digest, or the disk failed
 * under it. Kept for a person to look at until it is too old, at most SPOOL_ASIDES_MAX a client, and only as
 * long as there is room
 *
 * n makes each beginning's files its own: one that was fenced can neither write into the newer one nor remove
 * it. An id has no dot, so the name reads back in one way.
 *
 * A part is open or closed. Closed, it is a name and a record, and costs no descriptor; part_open() re-reads
 * the file, which takes as long as the disk needs, and goes on with the digest from there. A part belongs to
 * one thread at a time; the caller sees to it. The functions block on the disk. */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"
#include "receiver/journal.h"

#include <stdint.h>

#define SPOOL_ASIDES_MAX 16

typedef struct Spool Spool;
typedef struct Part Part;

/* "A SPOOL_E" below: one of these. They pass; the part is kept, closed or open as it was if nothing else is
 * said. */
enum {
    SPOOL_E_FULL = 1, /* no space above the floor: the part is kept */
    SPOOL_E_STOPPED,  /* go_on() said no */
    SPOOL_E_SCARCE,   /* no memory, no descriptors, no right to write just now: the part is kept, as far as it
                         is durable */
};

/* Opens <root>/.incoming. floor_bytes of the file system are left free. */
int spool_new(int root_fd, uint64_t floor_bytes, Spool **ret_spool) MUST_CHECK;
Spool *spool_free(Spool *spool); /* returns NULL; the parts must be gone before */

/* Once, before any part is made: hands over what earlier processes left, closed parts all, with the time
 * since each was last touched. Of one upload there may be two, if a crash broke part_restart() off:
 * part_is_newer() tells. What belongs to nothing is removed, and a damaged journal with its part; that is
 * logged. take() owns the part. 0 or a negative errno. */
int spool_scan(Spool *spool, void (*take)(Part *part, int64_t age_ms, void *userdata),
               void *userdata) MUST_CHECK;

bool part_is_newer(const Part *part, const Part *than);

/* Removes what was set aside before unix_ms. */
void spool_sweep_asides(Spool *spool, int64_t before_unix_ms);

/* Whether size more bytes fit above the floor, if need be in the place of asides. */
bool spool_has_room(Spool *spool, uint64_t size);

/* A new, empty, open part; record->deleted is ignored. 0, a SPOOL_E (_FULL also if the length would not fit
 * now) or a negative errno. */
int spool_create(Spool *spool, const PartRecord *record, Part **ret_part) MUST_CHECK;

/* The same with a part that is there: its bytes go first, so that they do not take the room of the new ones;
 * the memory of the old attempt goes only when that of the new one is there. On failure the part is closed,
 * and empty if it is opened again. */
int part_restart(Part *part, const PartRecord *record) MUST_CHECK;

/* Opens a closed part: reads it up to the last mark whose digest is right, cuts off what lies behind, and
 * makes that durable. go_on(userdata) is asked now and then. 0 (also if it was open), a SPOOL_E, or a
 * negative errno, after which it is only good for part_set_aside(). */
int part_open(Part *part, bool (*go_on)(void *userdata), void *userdata) MUST_CHECK;
bool part_is_open(const Part *part);
void part_shut(Part *part); /* closes it; what was not marked or synced may be lost */

/* Appends to an open part. Short writes are completed or reported: part_offset() counts exactly the bytes
 * that are in file and digest. 0, a SPOOL_E, or a negative errno after which the part is only good for
 * part_set_aside(). */
int part_append(Part *part, const void *data, size_t size) MUST_CHECK;
uint64_t part_offset(const Part *part); /* of a closed part: the size of its file */

/* Raises the attempt, sets the length if it was not known. As durable as what is appended. 0, a SPOOL_E or a
 * negative errno. */
int part_note(Part *part, uint64_t attempt, bool has_length, uint64_t length) MUST_CHECK;
const PartRecord *part_record(const Part *part);

/* Makes durable all that was appended, and how much that is. Only after 0 may the offset be stated to a peer.
 * 0; a SPOOL_E (how much can't be written down: part_shut() it); or a negative errno, after which it is only
 * good for part_set_aside(): a failed fsync is never tried again. */
int part_sync(Part *part) MUST_CHECK;

/* The bytes only, for a commit: what the journal says plays no role any more. 0 or a negative errno, as
 * above. */
int part_sync_data(Part *part) MUST_CHECK;

/* The digest of all that was appended so far. 0, -EIO or -ENOMEM. */
int part_digest(const Part *part, uint8_t out[static SHA256_SIZE]) MUST_CHECK;

/* Renames the file of the part, without replacing, to to_dir/name; part_remove() is what is then left to do.
 * 0 or a negative errno (-EEXIST). Not durable before the folder is synced. */
int part_move(Part *part, int to_dir, const char *name) MUST_CHECK;

/* The reverse of part_move(), for a commit that failed: back into the spool, as an aside. */
int part_take_back(Part *part, int from_dir, const char *name) MUST_CHECK;

/* The bytes are set aside; the part begins at 0 again, closed, and remembers its attempt. */
void part_set_aside(Part *part);

/* The bytes go; that the upload was deleted is remembered durably, and the attempt. Closes. */
void part_bury(Part *part, uint64_t attempt);

/* Two ends, both freeing the part, NULL is fine, both returning NULL: the files stay; or they go. */
Part *part_free(Part *part);
Part *part_remove(Part *part);
