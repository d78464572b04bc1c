#include "coordinator/database.h"

#include "common/log.h"
#include "common/text.h"
#include "coordinator/store_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#define ROOM_MIN_BYTES (UINT64_C(4) << 20) /* about what the write-ahead log grows to */
#define MISTRUST_MS 5000                   /* of a disk that has failed */

struct Database {
    sqlite3 *handle;
    int lock_fd;
    bool halfway;            /* a rollback has failed */
    bool hasty;              /* commits are not synced */
    int disk_error;          /* a negative errno: how the disk has failed; 0: it has not */
    bool disk_error_is_told; /* by database_check(), at: */
    int64_t disk_error_ms;
};

static int error_of(int code)
{
    switch (code) {
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CONSTRAINT:
        return -EEXIST;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        return -EACCES;
    default:
        return -EIO;
    }
}

/* Of the disk, and not of a statement or of memory. */
static bool is_disk_error(int code)
{
    return code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_READONLY ||
           code == SQLITE_CANTOPEN || code == SQLITE_PERM || code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

int database_fail(Database *database, const char *what)
{
    int code = sqlite3_errcode(database->handle) & 0xff;
    log_error("database: can't %s: %s", what, sqlite3_errmsg(database->handle));
    if (is_disk_error(code)) {
        database->disk_error = error_of(code);
        database->disk_error_is_told = false;
    }
    return error_of(code);
}

typedef struct Judge {
    bool (*judge)(void *userdata, const char *text);
    void *userdata;
} Judge;

static void call_judge(sqlite3_context *context, int count, sqlite3_value **arguments)
{
    const Judge *judge = sqlite3_user_data(context);
    const char *text = (const char *)sqlite3_value_text(arguments[0]);
    (void)count;
    sqlite3_result_int(context, text && judge->judge(judge->userdata, text));
}

int database_add_function(Database *database, const char *name,
                          bool (*judge)(void *userdata, const char *text), void *userdata)
{
    Judge *kept = malloc(sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    *kept = (Judge){judge, userdata};
    return sqlite3_create_function_v2(database->handle, name, 1, SQLITE_UTF8 | SQLITE_DIRECTONLY, kept,
                                      call_judge, NULL, NULL, free) == SQLITE_OK
               ? 0
               : database_fail(database, "add a function"); /* which has freed kept */
}

static int execute(Database *database, const char *sql, const char *what)
{
    return sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                              : database_fail(database, what);
}

/* What an earlier transaction has left: before anything else, and nothing inside one. */
static int tidy_up(Database *database)
{
    if (database->halfway && !sqlite3_get_autocommit(database->handle) &&
        execute(database, "ROLLBACK", "roll back") < 0)
        return -ENOMEM;
    database->halfway = false;
    if (database->hasty && sqlite3_get_autocommit(database->handle)) {
        if (execute(database, "PRAGMA synchronous = FULL", "have commits synced") < 0)
            return -ENOMEM;
        database->hasty = false;
    }
    return 0;
}

int database_begin(Database *database, bool durable)
{
    if (tidy_up(database) < 0)
        return -ENOMEM;
    database->hasty = !durable;
    if (!durable && execute(database, "PRAGMA synchronous = NORMAL", "have a commit not synced") < 0)
        return -ENOMEM;
    return execute(database, "BEGIN IMMEDIATE", "begin");
}

int database_end(Database *database, int result)
{
    if (result == 0)
        result = execute(database, "COMMIT", "commit");
    if (result != 0 && !sqlite3_get_autocommit(database->handle))
        database->halfway = sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK;
    return result;
}

void statement_finalize(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement); /* repeats the error of the last step, which has been handled */
}

int database_prepare(Database *database, const char *sql, sqlite3_stmt **ret_statement)
{
    if (tidy_up(database) < 0 ||
        sqlite3_prepare_v2(database->handle, sql, -1, ret_statement, NULL) != SQLITE_OK)
        return database_fail(database, "prepare a statement");
    return 0;
}

int database_run(Database *database, sqlite3_stmt *statement, const char *what)
{
    return sqlite3_step(statement) == SQLITE_DONE ? 0 : database_fail(database, what);
}

size_t database_changes(const Database *database)
{
    return (size_t)sqlite3_changes(database->handle);
}

int64_t database_last_id(const Database *database)
{
    return sqlite3_last_insert_rowid(database->handle);
}

void statement_bind_text(sqlite3_stmt *statement, const char *name, const char *text)
{
    (void)sqlite3_bind_text(statement, sqlite3_bind_parameter_index(statement, name), text, -1,
                            SQLITE_TRANSIENT);
}

void statement_bind_number(sqlite3_stmt *statement, const char *name, int64_t number)
{
    (void)sqlite3_bind_int64(statement, sqlite3_bind_parameter_index(statement, name), number);
}

void statement_read_text(sqlite3_stmt *statement, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    (void)snprintf(out, size, "%s", text ? text : "");
}

/* A lock file of its own: closing any other descriptor of the database would drop SQLite's own locks. */
static int lock(const char *path, int *ret_fd)
{
    char *name CLEANUP(free_ptr) = text_format("%s.lock", path);
    if (!name)
        return -ENOMEM;
    int fd CLEANUP(close_fd) = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int error = errno;
        log_error("database: can't open %s: %s; does its folder exist, and may we write there?", name,
                  strerror(error));
        return -error;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        log_error("database: %s is in use by another coordinator", path);
        return error == EWOULDBLOCK ? -EBUSY : -error;
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int schema_version(Database *database, int *ret_version)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(database, "PRAGMA user_version", &statement);
    if (r < 0)
        return r;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return database_fail(database, "read the schema version");
    *ret_version = sqlite3_column_int(statement, 0);
    return 0;
}

static int set_schema_version(Database *database, int version)
{
    char set[64];
    (void)snprintf(set, sizeof(set), "PRAGMA user_version = %d", version);
    return execute(database, set, "set the schema version");
}

/* SQLite writes the version and syncs it, also if it is the same as before. */
static int try_to_write(Database *database, int version)
{
    int r = database_begin(database, true);
    return r < 0 ? r : database_end(database, set_schema_version(database, version));
}

/* Of the file system that the lock is on, and so the database. */
static int check_room(const Database *database)
{
    struct statvfs info;
    if (fstatvfs(database->lock_fd, &info) < 0)
        return -errno;
    if (info.f_flag & ST_RDONLY)
        return -EROFS;
    bool counts = info.f_blocks > 0; /* some file systems do not */
    return counts && (uint64_t)info.f_bavail * info.f_frsize < ROOM_MIN_BYTES ? -ENOSPC : 0;
}

/* A quota, a disk with bad sectors: what only a write can tell. If nobody asks for one any more, because we
 * say that we are not ready, it must be our own. */
static int check_disk_error(Database *database, int64_t now_ms, int version)
{
    if (database->disk_error == 0)
        return 0;
    if (!database->disk_error_is_told) {
        database->disk_error_is_told = true;
        database->disk_error_ms = now_ms;
    }
    if (now_ms - database->disk_error_ms < MISTRUST_MS)
        return database->disk_error;
    database->disk_error_ms = now_ms;
    int r = try_to_write(database, version);
    if (r == 0)
        database->disk_error = 0;
    return r;
}

int database_check(Database *database, int64_t now_ms)
{
    int moved = 0, version = 0;
    if (sqlite3_file_control(database->handle, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK)
        return database_fail(database, "look for its file");
    int r = moved ? -ENOENT : schema_version(database, &version);
    if (r == 0)
        r = check_room(database);
    return r < 0 ? r : check_disk_error(database, now_ms, version);
}

static int migrate_one(Database *database, int version)
{
    int r = database_begin(database, true);
    if (r < 0)
        return r;
    r = execute(database, store_migrations[version], "migrate the schema");
    if (r == 0)
        r = set_schema_version(database, version + 1);
    return database_end(database, r);
}

static int migrate(Database *database)
{
    const int newest = (int)store_migration_count;
    int version = 0;
    int r = schema_version(database, &version);
    if (r < 0)
        return r;
    if (version > newest || version < 0) {
        log_error("database: its schema is version %d, this program knows %d; run the newer program", version,
                  newest);
        return -EPROTO;
    }
    for (; version < newest && r == 0; version++)
        r = migrate_one(database, version);
    return r;
}

static int open_database(Database *database, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite alone would make it 0644 */
    if (fd >= 0)
        (void)close(fd);
    if (sqlite3_open_v2(path, &database->handle,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                        NULL) != SQLITE_OK)
        return database_fail(database, "open");
    (void)sqlite3_extended_result_codes(database->handle, 0);
    (void)sqlite3_busy_timeout(database->handle, 2000); /* a person reading with sqlite3(1) */
    /* Temporary files would be in /tmp, where the cage lets nobody write. */
    return execute(database,
                   "PRAGMA temp_store = MEMORY;"
                   "PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = FULL;"
                   "PRAGMA foreign_keys = ON;"
                   "PRAGMA trusted_schema = OFF;",
                   "set it up");
}

int database_open(const char *path, Database **ret_database)
{
    Database *database = calloc(1, sizeof(*database));
    if (!database)
        return -ENOMEM;
    database->lock_fd = -1;
    int r = lock(path, &database->lock_fd);
    if (r == 0)
        r = open_database(database, path);
    if (r == 0)
        r = migrate(database);
    if (r < 0) {
        (void)database_close(database);
        return r;
    }
    *ret_database = database;
    return 0;
}

Database *database_close(Database *database)
{
    if (!database)
        return NULL;
    (void)sqlite3_close(database->handle); /* every statement is finalized, so it can't be busy */
    close_fd(&database->lock_fd);
    free(database);
    return NULL;
}
