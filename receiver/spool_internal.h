/* What spool.c and part.c share; nobody else includes it. */
#pragma once

#include "receiver/spool.h"

#include <stdatomic.h>

#define PART_NAME_SIZE (CLIENT_ID_SIZE + UPLOAD_ID_SIZE + 40)

struct Spool {
    int fd;
    uint64_t floor_bytes;
    atomic_uint_fast64_t next_number;
};

struct Part {
    Spool *spool;
    PartRecord record;
    uint64_t number;
    int fd, journal_fd; /* both or none */
    Digest *digest;
    uint64_t offset;
    uint64_t flushed; /* up to here the kernel was asked to write */
    uint64_t marked;  /* the last mark */
    int64_t marked_ms;
    uint64_t synced; /* durable, and so is the mark for it */
    size_t journal_size;
    bool journal_dirty, folder_dirty; /* not yet synced */
    bool failed;                      /* a sync has failed: nothing is known any more */
};

typedef enum FileKind { FILE_PART, FILE_JOURNAL, FILE_NEW_JOURNAL, FILE_ASIDE } FileKind;

void spool_file_name(const PartRecord *record, uint64_t number, FileKind kind,
                     char out[static PART_NAME_SIZE]);

/* A closed part without files, with the next number. NULL when out of memory. */
Part *part_new(Spool *spool, const PartRecord *record);

/* The client has one aside more: the oldest go if they are too many. */
void spool_bound_asides(const Spool *spool, const char *client);
