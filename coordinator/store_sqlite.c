/* store.h over SQLite. */
#include "coordinator/store_internal.h"

#include "common/log.h"
#include "common/text.h"

#include <errno.h>
#include <string.h>

static bool is_seen(void *userdata, const char *client)
{
    const Store *store = userdata;
    return !store->grant || grant_sees(store->grant, client);
}

int store_open(const char *path, Store **ret_store)
{
    Store *store CLEANUP(free_ptr) = calloc(1, sizeof(*store));
    int r = store ? database_open(path, &store->database) : -ENOMEM;
    if (r == 0)
        r = database_add_function(store->database, "is_seen", is_seen, store);
    if (r == 0)
        *ret_store = TAKE_PTR(store);
    else if (store)
        (void)database_close(store->database);
    return r;
}

Store *store_close(Store *store)
{
    if (store)
        (void)database_close(store->database);
    free(store);
    return NULL;
}

int store_check(Store *store, int64_t now_ms)
{
    return database_check(store->database, now_ms);
}

/* --- clients --- */

int store_put_client(Store *store, const Client *client)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database,
        "INSERT INTO clients (id, online, connected_at, heartbeat_at, version, labels)"
        " VALUES (:id, :online, :connected, :heartbeat, :version, :labels)"
        " ON CONFLICT (id) DO UPDATE SET online = excluded.online, connected_at = excluded.connected_at,"
        " heartbeat_at = excluded.heartbeat_at, version = excluded.version, labels = excluded.labels",
        &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":id", client->id);
    statement_bind_number(statement, ":online", client->online);
    statement_bind_number(statement, ":connected", client->connected_ms);
    statement_bind_number(statement, ":heartbeat", client->heartbeat_ms);
    statement_bind_text(statement, ":version", client->version);
    statement_bind_text(statement, ":labels", client->labels ? client->labels : "{}");
    return database_run(store->database, statement, "write a client");
}

int store_each_client(Store *store, int (*each)(void *userdata, const Client *client), void *userdata)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database,
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
        statement_read_text(statement, 0, client.id, sizeof(client.id));
        statement_read_text(statement, 4, client.version, sizeof(client.version));
        char *labels CLEANUP(free_ptr) = text_format("%s", (const char *)sqlite3_column_text(statement, 5));
        client.labels = labels;
        r = each(userdata, &client);
        if (r != 0)
            return r;
    }
    return step == SQLITE_DONE ? 0 : database_fail(store->database, "read the clients");
}

/* --- requests: rows to structs and back --- */

#define REQUEST_COLUMNS                                                                                      \
    "seq, client, id, origin, state, cancel_asked, path, receiver, max_size, rate, size, sent, sha256, "     \
    "uploaded_path, stored,"                                                                                 \
    " created_at, started_at, completed_at, updated_at, expires_at, error_code, error_reason, "              \
    "error_message,"                                                                                         \
    " idempotency_key, traceparent, batch, removal_asked, remover, removed_at"

static const char *origin_name(RequestOrigin origin)
{
    return origin == ORIGIN_REST ? "rest" : "mqtt";
}

static void bind_changing(sqlite3_stmt *statement, const Request *request)
{
    statement_bind_text(statement, ":state", upload_state_name(request->state));
    statement_bind_number(statement, ":cancel_asked", request->cancel_asked);
    statement_bind_text(statement, ":path", request->path);
    if (request->has_size)
        statement_bind_number(statement, ":size", (int64_t)request->size_bytes);
    statement_bind_number(statement, ":sent", (int64_t)request->sent_bytes);
    if (request->has_sha256)
        (void)sqlite3_bind_blob(statement, sqlite3_bind_parameter_index(statement, ":sha256"),
                                request->sha256, SHA256_SIZE, SQLITE_TRANSIENT);
    statement_bind_text(statement, ":uploaded_path", request->uploaded_path);
    statement_bind_text(statement, ":stored", request->stored);
    statement_bind_number(statement, ":started_at", request->started_ms);
    statement_bind_number(statement, ":completed_at", request->completed_ms);
    statement_bind_number(statement, ":updated_at", request->updated_ms);
    statement_bind_text(statement, ":error_code", error_code_name(request->problem.code));
    statement_bind_text(statement, ":error_reason", request->problem.reason);
    statement_bind_text(statement, ":error_message", request->problem.message);
    statement_bind_text(statement, ":traceparent", request->traceparent);
    statement_bind_number(statement, ":removal_asked", request->removal_asked);
    statement_bind_text(statement, ":remover", request->remover);
    statement_bind_number(statement, ":removed_at", request->removed_ms);
}

static int read_state(sqlite3_stmt *statement, int column, UploadState *ret_state)
{
    char name[16];
    statement_read_text(statement, column, name, sizeof(name));
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
    statement_read_text(statement, 1, out->client, sizeof(out->client));
    statement_read_text(statement, 2, out->id, sizeof(out->id));
    statement_read_text(statement, 3, origin, sizeof(origin));
    out->origin = strcmp(origin, origin_name(ORIGIN_REST)) == 0 ? ORIGIN_REST : ORIGIN_MQTT;
    out->cancel_asked = sqlite3_column_int(statement, 5) != 0;
    statement_read_text(statement, 6, out->path, sizeof(out->path));
    statement_read_text(statement, 7, out->receiver, sizeof(out->receiver));
    out->max_size_bytes = (uint64_t)sqlite3_column_int64(statement, 8);
    out->rate_bytes_per_s = (uint64_t)sqlite3_column_int64(statement, 9);
    out->has_size = sqlite3_column_type(statement, 10) != SQLITE_NULL;
    out->size_bytes = (uint64_t)sqlite3_column_int64(statement, 10);
    out->sent_bytes = (uint64_t)sqlite3_column_int64(statement, 11);
    const void *sha256 = sqlite3_column_blob(statement, 12);
    out->has_sha256 = sha256 && sqlite3_column_bytes(statement, 12) == SHA256_SIZE;
    if (out->has_sha256)
        memcpy(out->sha256, sha256, SHA256_SIZE);
    statement_read_text(statement, 13, out->uploaded_path, sizeof(out->uploaded_path));
    statement_read_text(statement, 14, out->stored, sizeof(out->stored));
    out->created_ms = sqlite3_column_int64(statement, 15);
    out->started_ms = sqlite3_column_int64(statement, 16);
    out->completed_ms = sqlite3_column_int64(statement, 17);
    out->updated_ms = sqlite3_column_int64(statement, 18);
    out->expires_ms = sqlite3_column_int64(statement, 19);
    statement_read_text(statement, 20, code, sizeof(code));
    out->problem.code = code[0] ? error_code_from_name(code) : ERROR_NONE;
    statement_read_text(statement, 21, out->problem.reason, sizeof(out->problem.reason));
    statement_read_text(statement, 22, out->problem.message, sizeof(out->problem.message));
    statement_read_text(statement, 23, out->idempotency_key, sizeof(out->idempotency_key));
    statement_read_text(statement, 24, out->traceparent, sizeof(out->traceparent));
    statement_read_text(statement, 25, out->batch, sizeof(out->batch));
    out->removal_asked = sqlite3_column_int(statement, 26) != 0;
    statement_read_text(statement, 27, out->remover, sizeof(out->remover));
    out->removed_ms = sqlite3_column_int64(statement, 28);
    return 0;
}

/* --- requests: changes --- */

int store_insert_event(Store *store, const Request *request, const char *event)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "INSERT INTO request_events (request, at, event, state, reason)"
                             " VALUES (:seq, :at, :event, :state, :reason)",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":seq", request->seq);
    statement_bind_number(statement, ":at", request->updated_ms);
    statement_bind_text(statement, ":event", event);
    statement_bind_text(statement, ":state", upload_state_name(request->state));
    statement_bind_text(statement, ":reason", request->problem.reason);
    return database_run(store->database, statement, "write history");
}

int store_insert_request(Store *store, Request *request)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database,
        "INSERT INTO requests (" REQUEST_COLUMNS ") VALUES (NULL, :client, :id, :origin, :state,"
        " :cancel_asked, :path, :receiver, :max_size, :rate, :size, :sent, :sha256, "
        ":uploaded_path, :stored, :created_at,"
        " :started_at, :completed_at, :updated_at, :expires_at, :error_code, :error_reason,"
        " :error_message, :key, :traceparent, :batch, :removal_asked, :remover, :removed_at)",
        &statement);
    if (r < 0)
        return r;
    bind_changing(statement, request);
    statement_bind_text(statement, ":client", request->client);
    statement_bind_text(statement, ":id", request->id);
    statement_bind_text(statement, ":origin", origin_name(request->origin));
    statement_bind_text(statement, ":receiver", request->receiver);
    statement_bind_number(statement, ":max_size", (int64_t)request->max_size_bytes);
    statement_bind_number(statement, ":rate", (int64_t)request->rate_bytes_per_s);
    statement_bind_number(statement, ":created_at", request->created_ms);
    statement_bind_number(statement, ":expires_at", request->expires_ms);
    if (request->idempotency_key[0])
        statement_bind_text(statement, ":key", request->idempotency_key);
    if (request->batch[0])
        statement_bind_text(statement, ":batch", request->batch);
    r = database_run(store->database, statement, "add a request");
    if (r == 0)
        request->seq = database_last_id(store->database);
    return r;
}

static int update_request(Store *store, Request *request)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database,
        "UPDATE requests SET state = :state, cancel_asked = :cancel_asked, path = :path, size = :size,"
        " sent = :sent, sha256 = :sha256, uploaded_path = :uploaded_path, stored = :stored,"
        " started_at = :started_at, completed_at = :completed_at, updated_at = :updated_at, error_code = "
        ":error_code,"
        " error_reason = :error_reason, error_message = :error_message, traceparent = :traceparent,"
        " removal_asked = :removal_asked, remover = :remover, removed_at = :removed_at"
        " WHERE seq = :seq",
        &statement);
    if (r < 0)
        return r;
    bind_changing(statement, request);
    statement_bind_number(statement, ":seq", request->seq);
    return database_run(store->database, statement, "update a request");
}

/* The row and its history, both or neither. */
static int write_both(Store *store, Request *request, const char *event, bool durable,
                      int (*write_row)(Store *, Request *))
{
    int r = database_begin(store->database, durable);
    if (r < 0)
        return r;
    r = write_row(store, request);
    if (r == 0)
        r = store_insert_event(store, request, event);
    return database_end(store->database, r);
}

int store_add_request(Store *store, Request *request, const char *event)
{
    return write_both(store, request, event, true, store_insert_request);
}

int store_update_request(Store *store, Request *request, const char *event, bool durable)
{
    return write_both(store, request, event, durable, update_request);
}

#define FOLLOWED "origin = 'mqtt' AND state NOT IN ('queued', 'accepted', 'running')"

void store_prune_followed(Store *store, const char *client, size_t keep, size_t keep_all)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    if (database_prepare(store->database,
                         "DELETE FROM requests WHERE seq IN (SELECT seq FROM requests WHERE " FOLLOWED
                         " AND client = :client ORDER BY seq DESC LIMIT -1 OFFSET :keep)"
                         " OR seq IN (SELECT seq FROM requests WHERE " FOLLOWED
                         " ORDER BY seq DESC LIMIT -1 OFFSET :keep_all)",
                         &statement) < 0)
        return;
    statement_bind_text(statement, ":client", client);
    statement_bind_number(statement, ":keep", (int64_t)keep);
    statement_bind_number(statement, ":keep_all", (int64_t)keep_all);
    if (sqlite3_step(statement) != SQLITE_DONE)
        (void)database_fail(store->database, "forget old requests");
}

/* --- requests: look-ups --- */

/* Reads at most max rows. */
static int read_requests(Store *store, sqlite3_stmt *statement, Request *rows, size_t max, size_t *ret_count)
{
    size_t count = 0;
    int step = SQLITE_DONE;
    while (count < max && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        int r = read_request(statement, &rows[count]);
        if (r < 0)
            return r;
        count++;
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return database_fail(store->database, "read requests");
    *ret_count = count;
    return 0;
}

static int read_only_request(Store *store, sqlite3_stmt *statement, Request *ret_request)
{
    size_t count = 0;
    int r = read_requests(store, statement, ret_request, 1, &count);
    if (r < 0)
        return r;
    return count == 1 ? 0 : STORE_E_ABSENT;
}

int store_get_request(Store *store, const char *client, const char *id, Request *ret_request)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " REQUEST_COLUMNS " FROM requests WHERE client = :client AND id = :id",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":client", client);
    statement_bind_text(statement, ":id", id);
    return read_only_request(store, statement, ret_request);
}

/* A device can't hide a request of ours behind an upload of its own with the same id: ours comes first. */
int store_find_request(Store *store, const Grant *grant, const char *id, Request *ret_request)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " REQUEST_COLUMNS " FROM requests WHERE id = :id AND is_seen(client)"
                             " ORDER BY origin = 'rest' DESC LIMIT 2",
                             &statement);
    if (r < 0)
        return r;
    store->grant = grant;
    statement_bind_text(statement, ":id", id);
    r = read_only_request(store, statement, ret_request);
    if (r != 0 || ret_request->origin == ORIGIN_REST)
        return r;
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW)
        return STORE_E_AMBIGUOUS;
    return step == SQLITE_DONE ? 0 : database_fail(store->database, "read a request");
}

int store_find_idempotent(Store *store, const char *key, Request *ret_request)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database, "SELECT " REQUEST_COLUMNS " FROM requests WHERE idempotency_key = :key", &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":key", key);
    return read_only_request(store, statement, ret_request);
}

/* The inner query reads the index requests_listed, or requests_batch, only: who sees few of very many rows is
 * no burden. */
int store_list_requests(Store *store, const RequestFilter *filter, Request *rows, size_t max,
                        size_t *ret_count)
{
    char *sql CLEANUP(free_ptr) = text_format(
        "SELECT " REQUEST_COLUMNS " FROM requests WHERE seq IN (SELECT seq FROM requests"
        " WHERE is_seen(client)%s%s%s%s ORDER BY seq DESC LIMIT :max) ORDER BY seq DESC",
        filter->client ? " AND client = :client" : "", filter->state ? " AND state = :state" : "",
        filter->batch ? " AND batch = :batch" : "", filter->before_seq ? " AND seq < :before" : "");
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = sql ? database_prepare(store->database, sql, &statement) : -ENOMEM;
    if (r < 0)
        return r;
    if (filter->client)
        statement_bind_text(statement, ":client", filter->client);
    if (filter->state)
        statement_bind_text(statement, ":state", upload_state_name(*filter->state));
    if (filter->batch)
        statement_bind_text(statement, ":batch", filter->batch);
    if (filter->before_seq)
        statement_bind_number(statement, ":before", filter->before_seq);
    statement_bind_number(statement, ":max", (int64_t)max);
    store->grant = filter->grant;
    return read_requests(store, statement, rows, max, ret_count);
}

/* Calls each for every row; ends at the first that does not return 0. */
static int each_request(Store *store, sqlite3_stmt *statement,
                        int (*each)(void *userdata, const Request *request), void *userdata)
{
    Request request;
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        int r = read_request(statement, &request);
        if (r == 0)
            r = each(userdata, &request);
        if (r != 0)
            return r;
    }
    return step == SQLITE_DONE ? 0 : database_fail(store->database, "read requests");
}

int store_each_open_request(Store *store, int (*each)(void *userdata, const Request *request), void *userdata)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " REQUEST_COLUMNS
                             " FROM requests WHERE state IN ('queued', 'accepted', 'running') ORDER BY seq",
                             &statement);
    return r < 0 ? r : each_request(store, statement, each, userdata);
}

int store_each_removing_request(Store *store, int (*each)(void *userdata, const Request *request),
                                void *userdata)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " REQUEST_COLUMNS
                             " FROM requests WHERE removal_asked = 1 AND removed_at = 0 ORDER BY seq",
                             &statement);
    return r < 0 ? r : each_request(store, statement, each, userdata);
}

int store_each_doubtful_request(Store *store, int64_t since_ms,
                                int (*each)(void *userdata, const Request *request), void *userdata)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " REQUEST_COLUMNS
                             " FROM requests WHERE state IN ('failed', 'cancelled', 'expired')"
                             " AND updated_at >= :since ORDER BY updated_at DESC",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":since", since_ms);
    return each_request(store, statement, each, userdata);
}

int store_list_events(Store *store, int64_t seq, RequestEventRow *rows, size_t max, size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT at, event, state, reason FROM request_events WHERE request = :seq"
                             " ORDER BY rowid LIMIT :max",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":seq", seq);
    statement_bind_number(statement, ":max", (int64_t)max);
    size_t count = 0;
    int step = SQLITE_DONE;
    while (count < max && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        rows[count].at_ms = sqlite3_column_int64(statement, 0);
        statement_read_text(statement, 1, rows[count].event, sizeof(rows[count].event));
        r = read_state(statement, 2, &rows[count].state);
        if (r < 0)
            return r;
        statement_read_text(statement, 3, rows[count].reason, sizeof(rows[count].reason));
        count++;
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return database_fail(store->database, "read history");
    *ret_count = count;
    return 0;
}
