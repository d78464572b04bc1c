/* One SQLite file: WAL, an fsync for each durable commit, brought up to date, used by one process alone. Part
 * of store_sqlite.c, and with it the only one that knows sqlite3.h; a statement's rows are read with
 * sqlite3's own functions.
 *
 * Negative errnos have been logged with SQLite's own words. One thread at a time. */
#pragma once

#include "common/cleanup.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Database Database;

/* Opens or makes it. 0, -EBUSY if another process has it, -EPROTO if a newer version of this program has
 * written it, or another negative errno. */
int database_open(const char *path, Database **ret_database) MUST_CHECK;
Database *database_close(Database *database); /* every statement is finalized before; returns NULL */

/* Whether it can be read and written, as far as that can be told without a write; cheap enough for every
 * probe. 0, -ENOENT if its file is not in its place any more, -ENOSPC if its disk is full or nearly so,
 * -EROFS if that is read-only (these three are not logged), or another negative errno. For some seconds after
 * a disk has failed it, this says so; then it writes what is there once more, and goes by that. now_ms: of a
 * clock that never goes back. */
int database_check(Database *database, int64_t now_ms) MUST_CHECK;

/* What SQLite says of the call that has just failed, as a negative errno. what: "read the clients". */
int database_fail(Database *database, const char *what);

/* SQL may then call name(text), which judge answers; false for NULL. */
int database_add_function(Database *database, const char *name,
                          bool (*judge)(void *userdata, const char *text), void *userdata) MUST_CHECK;

/* A transaction. database_end() commits it, or rolls it back if result, of what was done in it, is not 0; it
 * returns the first failure. A rollback that fails, for want of memory, is made up for before anything else.
 * One that is not durable is committed without an fsync: a power cut may take it, as a whole and with all
 * that came after it; the next durable commit makes it durable too. */
int database_begin(Database *database, bool durable) MUST_CHECK;
int database_end(Database *database, int result) MUST_CHECK;

int database_prepare(Database *database, const char *sql, sqlite3_stmt **ret_statement) MUST_CHECK;
int database_run(Database *database, sqlite3_stmt *statement, const char *what) MUST_CHECK; /* without rows */
size_t database_changes(const Database *database);  /* rows that the last statement has changed */
int64_t database_last_id(const Database *database); /* of the row inserted last */

void statement_finalize(sqlite3_stmt **statement); /* for CLEANUP */

/* Binding fails only when out of memory, and then the column is NULL, which NOT NULL columns refuse. */
void statement_bind_text(sqlite3_stmt *statement, const char *name, const char *text);
void statement_bind_number(sqlite3_stmt *statement, const char *name, int64_t number);
void statement_read_text(sqlite3_stmt *statement, int column, char *out, size_t size); /* NULL is "" */
