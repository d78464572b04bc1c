#include "coordinator/store_batches.h"

#include "common/log.h"
#include "coordinator/store_internal.h"

#include <errno.h>
#include <string.h>

#define BATCH_COLUMNS                                                                                        \
    "seq, id, maker, path, receiver, max_size, rate, life, created_at, ramp, max_failures, matched, "        \
    "unasked,"                                                                                               \
    " queued, running, completed, failed, ended, idempotency_key, fingerprint, traceparent"
#define OPEN_STATES "('queued', 'accepted', 'running')"

static const char *const end_names[] = {
    [BATCH_GOES_ON] = "", [BATCH_STOPPED] = "stopped", [BATCH_CANCELLED] = "cancelled"};

/* --- rows to structs and back --- */

static int read_end(sqlite3_stmt *statement, int column, BatchEnd *ret_end)
{
    char name[16];
    statement_read_text(statement, column, name, sizeof(name));
    for (size_t i = 0; i < ARRAY_SIZE(end_names); i++) {
        if (strcmp(name, end_names[i]) == 0) {
            *ret_end = (BatchEnd)i;
            return 0;
        }
    }
    log_error("database: \"%s\" is no end of a batch", name);
    return -EUCLEAN;
}

static uint64_t read_number(sqlite3_stmt *statement, int column)
{
    return (uint64_t)sqlite3_column_int64(statement, column);
}

static int read_batch(sqlite3_stmt *statement, Batch *out)
{
    memset(out, 0, sizeof(*out));
    out->seq = sqlite3_column_int64(statement, 0);
    statement_read_text(statement, 1, out->id, sizeof(out->id));
    statement_read_text(statement, 2, out->maker, sizeof(out->maker));
    statement_read_text(statement, 3, out->path, sizeof(out->path));
    statement_read_text(statement, 4, out->receiver, sizeof(out->receiver));
    out->max_size_bytes = read_number(statement, 5);
    out->rate_bytes_per_s = read_number(statement, 6);
    out->life_ms = read_number(statement, 7);
    out->created_ms = sqlite3_column_int64(statement, 8);
    out->ramp = read_number(statement, 9);
    out->max_failures = read_number(statement, 10);
    out->matched = read_number(statement, 11);
    out->counts = (BatchCounts){.unasked = read_number(statement, 12),
                                .queued = read_number(statement, 13),
                                .running = read_number(statement, 14),
                                .completed = read_number(statement, 15),
                                .failed = read_number(statement, 16)};
    statement_read_text(statement, 18, out->idempotency_key, sizeof(out->idempotency_key));
    statement_read_text(statement, 20, out->traceparent, sizeof(out->traceparent));
    const void *fingerprint = sqlite3_column_blob(statement, 19);
    if (fingerprint && sqlite3_column_bytes(statement, 19) == SHA256_SIZE)
        memcpy(out->fingerprint, fingerprint, SHA256_SIZE);
    return read_end(statement, 17, &out->end);
}

/* --- making --- */

static int insert_batch(Store *store, Batch *batch)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "INSERT INTO batches (" BATCH_COLUMNS
                             ") VALUES (NULL, :id, :maker, :path, :receiver, :max_size, :rate, :life,"
                             " :created_at, :ramp, :max_failures, :matched, :matched, 0, 0, 0, 0, '', :key,"
                             " :fingerprint, :traceparent)",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":id", batch->id);
    statement_bind_text(statement, ":maker", batch->maker);
    statement_bind_text(statement, ":path", batch->path);
    statement_bind_text(statement, ":receiver", batch->receiver);
    statement_bind_number(statement, ":max_size", (int64_t)batch->max_size_bytes);
    statement_bind_number(statement, ":rate", (int64_t)batch->rate_bytes_per_s);
    statement_bind_number(statement, ":life", (int64_t)batch->life_ms);
    statement_bind_number(statement, ":created_at", batch->created_ms);
    statement_bind_number(statement, ":ramp", (int64_t)batch->ramp);
    statement_bind_number(statement, ":max_failures", (int64_t)batch->max_failures);
    statement_bind_number(statement, ":matched", (int64_t)batch->matched);
    statement_bind_text(statement, ":traceparent", batch->traceparent);
    if (batch->idempotency_key[0])
        statement_bind_text(statement, ":key", batch->idempotency_key);
    (void)sqlite3_bind_blob(statement, sqlite3_bind_parameter_index(statement, ":fingerprint"),
                            batch->fingerprint, SHA256_SIZE, SQLITE_TRANSIENT);
    r = database_run(store->database, statement, "add a batch");
    if (r == 0)
        batch->seq = database_last_id(store->database);
    return r;
}

static int insert_clients(Store *store, const Batch *batch, const char *const *clients, size_t count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database, "INSERT INTO batch_clients (batch, client) VALUES (:batch, :client)", &statement);
    for (size_t i = 0; r == 0 && i < count; i++) {
        statement_bind_number(statement, ":batch", batch->seq);
        statement_bind_text(statement, ":client", clients[i]);
        r = database_run(store->database, statement, "add a batch's clients");
        (void)sqlite3_reset(statement); /* its step has not failed */
    }
    return r;
}

int store_add_batch(Store *store, Batch *batch, const char *const *clients, size_t count)
{
    int r = database_begin(store->database, true);
    if (r < 0)
        return r;
    r = insert_batch(store, batch);
    if (r == 0)
        r = insert_clients(store, batch, clients, count);
    return database_end(store->database, r);
}

/* --- look-ups --- */

static int find_batch(Store *store, const char *sql, const char *value, Batch *ret_batch)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database, sql, &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":value", value);
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW)
        return read_batch(statement, ret_batch);
    return step == SQLITE_DONE ? STORE_E_ABSENT : database_fail(store->database, "read a batch");
}

int store_get_batch(Store *store, const char *id, Batch *ret_batch)
{
    return find_batch(store, "SELECT " BATCH_COLUMNS " FROM batches WHERE id = :value", id, ret_batch);
}

int store_find_idempotent_batch(Store *store, const char *key, Batch *ret_batch)
{
    return find_batch(store, "SELECT " BATCH_COLUMNS " FROM batches WHERE idempotency_key = :value", key,
                      ret_batch);
}

int store_list_batches(Store *store, const char *maker, int64_t before_seq, Batch *rows, size_t max,
                       size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " BATCH_COLUMNS " FROM batches WHERE (:maker IS NULL OR maker = :maker)"
                             " AND seq < :before ORDER BY seq DESC LIMIT :max",
                             &statement);
    if (r < 0)
        return r;
    if (maker)
        statement_bind_text(statement, ":maker", maker);
    statement_bind_number(statement, ":before", before_seq ? before_seq : INT64_MAX);
    statement_bind_number(statement, ":max", (int64_t)max);
    size_t count = 0;
    int step = SQLITE_DONE;
    while (count < max && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        r = read_batch(statement, &rows[count]);
        if (r < 0)
            return r;
        count++;
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return database_fail(store->database, "read batches");
    *ret_count = count;
    return 0;
}

int store_each_busy_batch(Store *store, int (*each)(void *userdata, const Batch *batch), void *userdata)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT " BATCH_COLUMNS " FROM batches WHERE (ended = '' AND unasked > 0)"
                             " OR (ended = 'cancelled' AND queued + running > 0) ORDER BY seq",
                             &statement);
    int step = SQLITE_DONE;
    Batch batch;
    while (r == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        r = read_batch(statement, &batch);
        if (r == 0)
            r = each(userdata, &batch);
    }
    if (r != 0)
        return r;
    return step == SQLITE_DONE ? 0 : database_fail(store->database, "read batches");
}

/* --- asking --- */

/* Reads (client, id) at most max times. */
static int read_parts(Store *store, sqlite3_stmt *statement, BatchPart *parts, size_t max, size_t *ret_count)
{
    size_t count = 0;
    int step = SQLITE_DONE;
    while (count < max && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        statement_read_text(statement, 0, parts[count].client, sizeof(parts[count].client));
        statement_read_text(statement, 1, parts[count].id, sizeof(parts[count].id));
        count++;
    }
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        return database_fail(store->database, "read a batch's clients");
    *ret_count = count;
    return 0;
}

int store_next_in_batch(Store *store, const Batch *batch, BatchPart *parts, size_t max, size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database,
        "SELECT client, '' FROM batch_clients WHERE batch = :batch ORDER BY client LIMIT :max", &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":batch", batch->seq);
    statement_bind_number(statement, ":max", (int64_t)max);
    return read_parts(store, statement, parts, max, ret_count);
}

/* last NULL: all of them. */
static int delete_clients(Store *store, const Batch *batch, const char *last)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(
        store->database,
        "DELETE FROM batch_clients WHERE batch = :batch AND (:last IS NULL OR client <= :last)", &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":batch", batch->seq);
    if (last)
        statement_bind_text(statement, ":last", last);
    return database_run(store->database, statement, "take clients from a batch");
}

/* The batch's counts follow by themselves: see store_schema.c. */
int store_ask_batch(Store *store, const Batch *batch, Request *request, const BatchPart *parts, size_t count)
{
    int r = database_begin(store->database, true);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < count; i++) {
        memcpy(request->client, parts[i].client, sizeof(request->client));
        memcpy(request->id, parts[i].id, sizeof(request->id));
        r = store_insert_request(store, request);
        if (r == 0)
            r = store_insert_event(store, request, "asked");
    }
    if (r == 0 && count > 0)
        r = delete_clients(store, batch, parts[count - 1].client);
    return database_end(store->database, r);
}

/* --- ending --- */

static int set_end(Store *store, const Batch *batch, BatchEnd end)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r =
        database_prepare(store->database, "UPDATE batches SET ended = :ended WHERE seq = :seq", &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":ended", end_names[end]);
    statement_bind_number(statement, ":seq", batch->seq);
    return database_run(store->database, statement, "end a batch");
}

int store_end_batch(Store *store, const Batch *batch, BatchEnd end)
{
    int r = database_begin(store->database, true);
    if (r < 0)
        return r;
    r = set_end(store, batch, end);
    if (r == 0)
        r = delete_clients(store, batch, NULL);
    return database_end(store->database, r);
}

static int find_uncancelled(Store *store, const Batch *batch, BatchPart *parts, size_t max, size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT client, id FROM requests WHERE batch = :batch AND state IN " OPEN_STATES
                             " AND cancel_asked = 0 ORDER BY seq LIMIT :max",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":batch", batch->id);
    statement_bind_number(statement, ":max", (int64_t)max);
    return read_parts(store, statement, parts, max, ret_count);
}

static int cancel_part(Store *store, const BatchPart *part, int64_t now_ms)
{
    static const char *const steps[] = {
        "UPDATE requests SET cancel_asked = 1, updated_at = :now WHERE client = :client AND id = :id",
        "INSERT INTO request_events (request, at, event, state, reason)"
        " SELECT seq, :now, 'cancel asked', state, error_reason FROM requests"
        " WHERE client = :client AND id = :id",
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++) {
        sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
        r = database_prepare(store->database, steps[i], &statement);
        if (r < 0)
            return r;
        statement_bind_number(statement, ":now", now_ms);
        statement_bind_text(statement, ":client", part->client);
        statement_bind_text(statement, ":id", part->id);
        r = database_run(store->database, statement, "cancel a part of a batch");
    }
    return r;
}

int store_cancel_batch(Store *store, const Batch *batch, int64_t now_ms, BatchPart *parts, size_t max,
                       size_t *ret_count)
{
    size_t count = 0;
    int r = find_uncancelled(store, batch, parts, max, &count);
    if (r < 0)
        return r;
    r = database_begin(store->database, true);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = cancel_part(store, &parts[i], now_ms);
    r = database_end(store->database, r);
    if (r == 0)
        *ret_count = count;
    return r;
}
