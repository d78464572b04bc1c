/* store.h over SQLite: one file, WAL, an fsync for each change. The only file that includes sqlite3.h. */
#include "coordinator/store.h"

#include "common/log.h"
#include "common/text.h"
#include "coordinator/store_schema.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/file.h>

struct Store {
    sqlite3 *db;
    int lock_fd;
    bool halfway; /* a rollback has failed */
};

/* Logs what the database said, and translates its code. */
static int fail(const Store *store, const char *what)
{
    int code = sqlite3_errcode(store->db);
    log_error("database: can't %s: %s", what, sqlite3_errmsg(store->db));
    switch (code & 0xff) {
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

static int execute(Store *store, const char *sql, const char *what)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(store, what);
}

/* --- transactions; while a rollback that failed (it needs memory) is not made up for, all else waits --- */

static int make_up_rollback(Store *store)
{
    if (store->halfway && !sqlite3_get_autocommit(store->db) && execute(store, "ROLLBACK", "roll back") < 0)
        return -ENOMEM;
    store->halfway = false;
    return 0;
}

static int begin(Store *store)
{
    return make_up_rollback(store) < 0 ? -ENOMEM : execute(store, "BEGIN IMMEDIATE", "begin");
}

/* Commits, or rolls back when result says that something failed before; the first failure is reported. */
static int end(Store *store, int result)
{
    if (result == 0)
        result = execute(store, "COMMIT", "commit");
    if (result != 0 && !sqlite3_get_autocommit(store->db))
        store->halfway = sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK;
    return result;
}

static void finalize(sqlite3_stmt **statement)
{
    (void)sqlite3_finalize(*statement); /* repeats the error of the last step, which has been handled */
}

static int prepare(Store *store, const char *sql, sqlite3_stmt **ret_statement)
{
    if (make_up_rollback(store) < 0 ||
        sqlite3_prepare_v2(store->db, sql, -1, ret_statement, NULL) != SQLITE_OK)
        return fail(store, "prepare a statement");
    return 0;
}

static int run(Store *store, sqlite3_stmt *statement, const char *what)
{
    return sqlite3_step(statement) == SQLITE_DONE ? 0 : fail(store, what);
}

/* Binding fails only when out of memory, and then the column is NULL, which NOT NULL columns refuse. */
static void bind_text(sqlite3_stmt *statement, const char *name, const char *text)
{
    (void)sqlite3_bind_text(statement, sqlite3_bind_parameter_index(statement, name), text, -1,
                            SQLITE_TRANSIENT);
}

static void bind_number(sqlite3_stmt *statement, const char *name, int64_t number)
{
    (void)sqlite3_bind_int64(statement, sqlite3_bind_parameter_index(statement, name), number);
}

static void read_text(sqlite3_stmt *statement, int column, char *out, size_t size)
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

static int schema_version(Store *store, int *ret_version)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store, "PRAGMA user_version", &statement);
    if (r < 0)
        return r;
    if (sqlite3_step(statement) != SQLITE_ROW)
        return fail(store, "read the schema version");
    *ret_version = sqlite3_column_int(statement, 0);
    return 0;
}

static int migrate_one(Store *store, int version)
{
    char bump[64];
    (void)snprintf(bump, sizeof(bump), "PRAGMA user_version = %d", version + 1);
    int r = begin(store);
    if (r < 0)
        return r;
    r = execute(store, store_migrations[version], "migrate the schema");
    if (r == 0)
        r = execute(store, bump, "set the schema version");
    return end(store, r);
}

static int migrate(Store *store)
{
    const int newest = (int)store_migration_count;
    int version = 0;
    int r = schema_version(store, &version);
    if (r < 0)
        return r;
    if (version > newest || version < 0) {
        log_error("database: its schema is version %d, this program knows %d; run the newer program", version,
                  newest);
        return -EPROTO;
    }
    for (; version < newest && r == 0; version++)
        r = migrate_one(store, version);
    return r;
}

static int open_database(Store *store, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite alone would make it 0644 */
    if (fd >= 0)
        (void)close(fd);
    if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                        NULL) != SQLITE_OK)
        return fail(store, "open");
    (void)sqlite3_extended_result_codes(store->db, 0);
    (void)sqlite3_busy_timeout(store->db, 2000); /* a person reading with sqlite3(1) */
    return execute(store,
                   "PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = FULL;"
                   "PRAGMA foreign_keys = ON;"
                   "PRAGMA trusted_schema = OFF;",
                   "set it up");
}

int store_open(const char *path, Store **ret_store)
{
    Store *store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    store->lock_fd = -1;
    int r = lock(path, &store->lock_fd);
    if (r == 0)
        r = open_database(store, path);
    if (r == 0)
        r = migrate(store);
    if (r < 0) {
        (void)store_close(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

Store *store_close(Store *store)
{
    if (!store)
        return NULL;
    (void)sqlite3_close(store->db); /* every statement is finalized, so it can't be busy */
    close_fd(&store->lock_fd);
    free(store);
    return NULL;
}

/* --- clients --- */

int store_put_client(Store *store, const Client *client)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(
        store,
        "INSERT INTO clients (id, online, connected_at, heartbeat_at, version, labels)"
        " VALUES (:id, :online, :connected, :heartbeat, :version, :labels)"
        " ON CONFLICT (id) DO UPDATE SET online = excluded.online, connected_at = excluded.connected_at,"
        " heartbeat_at = excluded.heartbeat_at, version = excluded.version, labels = excluded.labels",
        &statement);
    if (r < 0)
        return r;
    bind_text(statement, ":id", client->id);
    bind_number(statement, ":online", client->online);
    bind_number(statement, ":connected", client->connected_ms);
    bind_number(statement, ":heartbeat", client->heartbeat_ms);
    bind_text(statement, ":version", client->version);
    bind_text(statement, ":labels", client->labels ? client->labels : "{}");
    return run(store, statement, "write a client");
}

int store_each_client(Store *store, int (*each)(void *userdata, const Client *client), void *userdata)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store,
                    "SELECT id, online, connected_at, heartbeat_at, version, labels FROM clients ORDER BY id",
                    &statement);
    if (r < 0)
        return r;
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        Client client = {
            .online = sqlite3_column_int(statement, 1) != 0,
            .connected_ms = sqlite3_column_int64(statement, 2),
            .heartbeat_ms = sqlite3_column_int64(statement, 3),
        };
        read_text(statement, 0, client.id, sizeof(client.id));
        read_text(statement, 4, client.version, sizeof(client.version));
        char *labels CLEANUP(free_ptr) = text_format("%s", (const char *)sqlite3_column_text(statement, 5));
        client.labels = labels;
        r = each(userdata, &client);
        if (r != 0)
            return r;
    }
    return step == SQLITE_DONE ? 0 : fail(store, "read the clients");
}

/* --- requests: rows to structs and back --- */

#define REQUEST_COLUMNS                                                                                      \
    "seq, client, id, origin, state, cancel_asked, path, receiver, max_size, rate, size, sent, sha256, "     \
    "uploaded_path, stored,"                                                                                 \
    " created_at, started_at, completed_at, updated_at, expires_at, error_code, error_reason, "              \
    "error_message,"                                                                                         \
    " idempotency_key"

static const char *origin_name(RequestOrigin origin)
{
    return origin == ORIGIN_REST ? "rest" : "mqtt";
}

static void bind_changing(sqlite3_stmt *statement, const Request *request)
{
    bind_text(statement, ":state", upload_state_name(request->state));
    bind_number(statement, ":cancel_asked", request->cancel_asked);
    bind_text(statement, ":path", request->path);
    if (request->has_size)
        bind_number(statement, ":size", (int64_t)request->size_bytes);
    bind_number(statement, ":sent", (int64_t)request->sent_bytes);
    if (request->has_sha256)
        (void)sqlite3_bind_blob(statement, sqlite3_bind_parameter_index(statement, ":sha256"),
                                request->sha256, SHA256_SIZE, SQLITE_TRANSIENT);
    bind_text(statement, ":uploaded_path", request->uploaded_path);
    bind_text(statement, ":stored", request->stored);
    bind_number(statement, ":started_at", request->started_ms);
    bind_number(statement, ":completed_at", request->completed_ms);
    bind_number(statement, ":updated_at", request->updated_ms);
    bind_text(statement, ":error_code", error_code_name(request->problem.code));
    bind_text(statement, ":error_reason", request->problem.reason);
    bind_text(statement, ":error_message", request->problem.message);
}

static int read_state(sqlite3_stmt *statement, int column, UploadState *ret_state)
{
    char name[16];
    read_text(statement, column, name, sizeof(name));
    if (upload_state_from_name(name, ret_state))
        return 0;
    log_error("database: \"%s\" is no state of a request", name);
    return -EUCLEAN;
}

static int read_request(sqlite3_stmt *statement, Request *out)
{
    memset(out, 0, sizeof(*out));
    int r = read_state(statement, 4, &out->state);
    if (r < 0)
        return r;
    char origin[8], code[24];
    out->seq = sqlite3_column_int64(statement, 0);
    read_text(statement, 1, out->client, sizeof(out->client));
    read_text(statement, 2, out->id, sizeof(out->id));
    read_text(statement, 3, origin, sizeof(origin));
    out->origin = strcmp(origin, origin_name(ORIGIN_REST)) == 0 ? ORIGIN_REST : ORIGIN_MQTT;
    out->cancel_asked = sqlite3_column_int(statement, 5) != 0;
    read_text(statement, 6, out->path, sizeof(out->path));
    read_text(statement, 7, out->receiver, sizeof(out->receiver));
    out->max_size_bytes = (uint64_t)sqlite3_column_int64(statement, 8);
    out->rate_bytes_per_s = (uint64_t)sqlite3_column_int64(statement, 9);
    out->has_size = sqlite3_column_type(statement, 10) != SQLITE_NULL;
    out->size_bytes = (uint64_t)sqlite3_column_int64(statement, 10);
    out->sent_bytes = (uint64_t)sqlite3_column_int64(statement, 11);
    const void *sha256 = sqlite3_column_blob(statement, 12);
    out->has_sha256 = sha256 && sqlite3_column_bytes(statement, 12) == SHA256_SIZE;
    if (out->has_sha256)
        memcpy(out->sha256, sha256, SHA256_SIZE);
    read_text(statement, 13, out->uploaded_path, sizeof(out->uploaded_path));
    read_text(statement, 14, out->stored, sizeof(out->stored));
    out->created_ms = sqlite3_column_int64(statement, 15);
    out->started_ms = sqlite3_column_int64(statement, 16);
    out->completed_ms = sqlite3_column_int64(statement, 17);
    out->updated_ms = sqlite3_column_int64(statement, 18);
    out->expires_ms = sqlite3_column_int64(statement, 19);
    read_text(statement, 20, code, sizeof(code));
    out->problem.code = code[0] ? error_code_from_name(code) : ERROR_NONE;
    read_text(statement, 21, out->problem.reason, sizeof(out->problem.reason));
    read_text(statement, 22, out->problem.message, sizeof(out->problem.message));
    read_text(statement, 23, out->idempotency_key, sizeof(out->idempotency_key));
    return 0;
}

/* --- requests: changes --- */

static int add_event(Store *store, const Request *request, const char *event)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store,
                    "INSERT INTO request_events (request, at, event, state, reason)"
                    " VALUES (:seq, :at, :event, :state, :reason)",
                    &statement);
    if (r < 0)
        return r;
    bind_number(statement, ":seq", request->seq);
    bind_number(statement, ":at", request->updated_ms);
    bind_text(statement, ":event", event);
    bind_text(statement, ":state", upload_state_name(request->state));
    bind_text(statement, ":reason", request->problem.reason);
    return run(store, statement, "write history");
}

static int insert_request(Store *store, Request *request)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store,
                    "INSERT INTO requests (" REQUEST_COLUMNS ") VALUES (NULL, :client, :id, :origin, :state,"
                    " :cancel_asked, :path, :receiver, :max_size, :rate, :size, :sent, :sha256, "
                    ":uploaded_path, :stored, :created_at,"
                    " :started_at, :completed_at, :updated_at, :expires_at, :error_code, :error_reason,"
                    " :error_message, :key)",
                    &statement);
    if (r < 0)
        return r;
    bind_changing(statement, request);
    bind_text(statement, ":client", request->client);
    bind_text(statement, ":id", request->id);
    bind_text(statement, ":origin", origin_name(request->origin));
    bind_text(statement, ":receiver", request->receiver);
    bind_number(statement, ":max_size", (int64_t)request->max_size_bytes);
    bind_number(statement, ":rate", (int64_t)request->rate_bytes_per_s);
    bind_number(statement, ":created_at", request->created_ms);
    bind_number(statement, ":expires_at", request->expires_ms);
    if (request->idempotency_key[0])
        bind_text(statement, ":key", request->idempotency_key);
    r = run(store, statement, "add a request");
    if (r == 0)
        request->seq = sqlite3_last_insert_rowid(store->db);
    return r;
}

static int update_request(Store *store, Request *request)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(
        store,
        "UPDATE requests SET state = :state, cancel_asked = :cancel_asked, path = :path, size = :size,"
        " sent = :sent, sha256 = :sha256, uploaded_path = :uploaded_path, stored = :stored,"
        " started_at = :started_at, completed_at = :completed_at, updated_at = :updated_at, error_code = "
        ":error_code,"
        " error_reason = :error_reason, error_message = :error_message WHERE seq = :seq",
        &statement);
    if (r < 0)
        return r;
    bind_changing(statement, request);
    bind_number(statement, ":seq", request->seq);
    return run(store, statement, "update a request");
}

/* The row and its history, both or neither. */
static int write_both(Store *store, Request *request, const char *event, int (*write_row)(Store *, Request *))
{
    int r = begin(store);
    if (r < 0)
        return r;
    r = write_row(store, request);
    if (r == 0)
        r = add_event(store, request, event);
    return end(store, r);
}

int store_add_request(Store *store, Request *request, const char *event)
{
    return write_both(store, request, event, insert_request);
}

int store_update_request(Store *store, Request *request, const char *event)
{
    return write_both(store, request, event, update_request);
}

#define FOLLOWED "origin = 'mqtt' AND state NOT IN ('queued', 'accepted', 'running')"

void store_prune_followed(Store *store, const char *client, size_t keep, size_t keep_all)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    if (prepare(store,
                "DELETE FROM requests WHERE seq IN (SELECT seq FROM requests WHERE " FOLLOWED
                " AND client = :client ORDER BY seq DESC LIMIT -1 OFFSET :keep)"
                " OR (" FOLLOWED " AND seq <= (SELECT max(seq) FROM requests) - :keep_all)",
                &statement) < 0)
        return;
    bind_text(statement, ":client", client);
    bind_number(statement, ":keep", (int64_t)keep);
    bind_number(statement, ":keep_all", (int64_t)keep_all);
    if (sqlite3_step(statement) != SQLITE_DONE)
        (void)fail(store, "forget old requests");
}

/* --- requests: look-ups --- */

/* The next row that grant sees. 0, STORE_E_ABSENT at the end, or a negative errno. */
static int next_request(Store *store, sqlite3_stmt *statement, const Grant *grant, Request *ret_request)
{
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *client = (const char *)sqlite3_column_text(statement, 1);
        if (!grant || (client && grant_sees(grant, client)))
            return read_request(statement, ret_request);
    }
    return step == SQLITE_DONE ? STORE_E_ABSENT : fail(store, "read requests");
}

int store_get_request(Store *store, const char *client, const char *id, Request *ret_request)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store, "SELECT " REQUEST_COLUMNS " FROM requests WHERE client = :client AND id = :id",
                    &statement);
    if (r < 0)
        return r;
    bind_text(statement, ":client", client);
    bind_text(statement, ":id", id);
    return next_request(store, statement, NULL, ret_request);
}

/* A device can't hide a request of ours behind an upload of its own with the same id: ours comes first. */
int store_find_request(Store *store, const Grant *grant, const char *id, Request *ret_request)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store,
                    "SELECT " REQUEST_COLUMNS " FROM requests WHERE id = :id ORDER BY origin = 'rest' DESC",
                    &statement);
    if (r < 0)
        return r;
    bind_text(statement, ":id", id);
    r = next_request(store, statement, grant, ret_request);
    if (r != 0 || ret_request->origin == ORIGIN_REST)
        return r;
    Request *second CLEANUP(free_ptr) = malloc(sizeof(*second));
    r = second ? next_request(store, statement, grant, second) : -ENOMEM;
    return r == STORE_E_ABSENT ? 0 : r == 0 ? STORE_E_AMBIGUOUS : r;
}

int store_find_idempotent(Store *store, const char *key, Request *ret_request)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r =
        prepare(store, "SELECT " REQUEST_COLUMNS " FROM requests WHERE idempotency_key = :key", &statement);
    if (r < 0)
        return r;
    bind_text(statement, ":key", key);
    return next_request(store, statement, NULL, ret_request);
}

int store_list_requests(Store *store, const RequestFilter *filter, Request *rows, size_t max,
                        size_t *ret_count)
{
    char *sql CLEANUP(free_ptr) =
        text_format("SELECT " REQUEST_COLUMNS " FROM requests WHERE TRUE%s%s%s ORDER BY seq DESC%s",
                    filter->client ? " AND client = :client" : "", filter->state ? " AND state = :state" : "",
                    filter->before_seq ? " AND seq < :before" : "",
                    filter->client ? " LIMIT :max" : ""); /* or the whole of it is sorted */
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = sql ? prepare(store, sql, &statement) : -ENOMEM;
    if (r < 0)
        return r;
    if (filter->client)
        bind_text(statement, ":client", filter->client);
    if (filter->state)
        bind_text(statement, ":state", upload_state_name(*filter->state));
    if (filter->before_seq)
        bind_number(statement, ":before", filter->before_seq);
    bind_number(statement, ":max", (int64_t)max);
    size_t count = 0;
    while (r == 0 && count < max) {
        r = next_request(store, statement, filter->grant, &rows[count]);
        count += r == 0;
    }
    if (r >= 0)
        *ret_count = count;
    return r < 0 ? r : 0;
}

int store_each_open_request(Store *store, int (*each)(void *userdata, const Request *request), void *userdata)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r =
        prepare(store,
                "SELECT " REQUEST_COLUMNS " FROM requests WHERE state IN ('queued', 'accepted', 'running')"
                " ORDER BY seq",
                &statement);
    if (r < 0)
        return r;
    Request request;
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        r = read_request(statement, &request);
        if (r == 0)
            r = each(userdata, &request);
        if (r != 0)
            return r;
    }
    return step == SQLITE_DONE ? 0 : fail(store, "read the open requests");
}

int store_list_events(Store *store, int64_t seq, RequestEventRow *rows, size_t max, size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(finalize) = NULL;
    int r = prepare(store,
                    "SELECT at, event, state, reason FROM request_events WHERE request = :seq"
                    " ORDER BY rowid LIMIT :max",
                    &statement);
    if (r < 0)
        return r;
    bind_number(statement, ":seq", seq);
    bind_number(statement, ":max", (int64_t)max);
    size_t count = 0;
    int step = SQLITE_DONE;
    while (count < max && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        rows[count].at_ms = sqlite3_column_int64(statement, 0);
        read_text(statement, 1, rows[count].event, sizeof(rows[count].event));
        r = read_state(statement, 2, &rows[count].state);
        if (r < 0)
            return r;
        read_text(statement, 3, rows[count].reason, sizeof(rows[count].reason));
        count++;
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return fail(store, "read history");
    *ret_count = count;
    return 0;
}
