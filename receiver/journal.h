/* What is known about one part, in a file beside it: lines of JSON that are only ever appended.
 *
 *   {"client":"r1","id":"a","path":"/srv/x","length":10485760,"attempt":1}    the first line
 *   {"attempt":2}  {"length":10485760}  {"deleted":true}                      what changed since
 *   {"offset":1048576,"sha256":"…"}                                           a mark: the digest of the
 * part's first so many bytes
 *
 * Marks let a later process trust bytes that were never synced: after a crash those count whose digest is
 * still right. So nothing is synced while an upload runs. A line that is torn or damaged ends the reading;
 * what is stated to a peer was synced here before, and so stands in front of it. */
#pragma once

#include "common/cleanup.h"
#include "common/trace.h"
#include "protocol/digest.h"
#include "protocol/ident.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_MAX ((size_t)4 * 1024 * 1024) /* bytes of one journal; the spool rewrites it long before */

typedef struct PartRecord {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    char path[FILE_PATH_MAX + 1]; /* on the device */
    bool has_length;
    uint64_t length;                    /* of the whole upload */
    uint64_t attempt;                   /* the highest seen; 0: none */
    bool deleted;                       /* only the memory of it is left */
    char traceparent[TRACEPARENT_SIZE]; /* what the upload began with; "": none */
} PartRecord;

typedef struct Mark {
    uint64_t offset;
    uint8_t sha256[SHA256_SIZE];
} Mark;

/* The first lines of a journal: the record, and a mark if there is one (NULL: none). The caller frees; NULL
 * when out of memory. */
char *journal_head_format(const PartRecord *record, const Mark *mark);

/* One line each, with its end. The caller frees; NULL when out of memory. */
char *journal_mark_format(const Mark *mark);
char *journal_change_format(const PartRecord *record); /* all of it that can change */

/* Reads text, of size bytes and a NUL. Marks come back in order, allocated (NULL for none); ret_marks may be
 * NULL. 0, -EBADMSG if not even the first line is good, or -ENOMEM. */
int journal_parse(const char *text, size_t size, PartRecord *ret_record, Mark **ret_marks,
                  size_t *ret_count) MUST_CHECK;
