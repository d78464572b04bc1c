/* store.h: what is forgotten. */
#include "coordinator/store_internal.h"

#include <string.h>

#define FINAL "state IN ('completed', 'failed', 'rejected', 'cancelled', 'expired')"
#define OF_CLIENT "client = :client AND "

/* One of these statements; both where there is a client or not. */
#define SELECT_SINCE(of_client)                                                                              \
    "SELECT updated_at FROM requests WHERE " of_client FINAL                                                 \
    " ORDER BY updated_at DESC LIMIT 1 OFFSET :others"
#define DELETE_BEFORE(of_client)                                                                             \
    "DELETE FROM requests WHERE seq IN (SELECT seq FROM requests WHERE " of_client FINAL                     \
    " AND updated_at < :before ORDER BY updated_at LIMIT :max)"

int store_final_since(Store *store, const char *client, size_t keep, int64_t *ret_ms)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r =
        database_prepare(store->database, client ? SELECT_SINCE(OF_CLIENT) : SELECT_SINCE(""), &statement);
    if (r < 0)
        return r;
    if (client)
        statement_bind_text(statement, ":client", client);
    statement_bind_number(statement, ":others", (int64_t)keep - 1);
    int step = sqlite3_step(statement);
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return database_fail(store->database, "count requests");
    *ret_ms = step == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    return 0;
}

/* Runs an SQL statement that deletes. The history of a request goes with it, by its foreign key. */
static int run_delete(Store *store, const char *sql, const char *client, int64_t before_ms, size_t max,
                      size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database, sql, &statement);
    if (r < 0)
        return r;
    if (client)
        statement_bind_text(statement, ":client", client);
    statement_bind_number(statement, ":before", before_ms);
    statement_bind_number(statement, ":max", (int64_t)max);
    r = database_run(store->database, statement, "forget what is old");
    if (r == 0)
        *ret_count = database_changes(store->database);
    return r;
}

int store_forget_before(Store *store, int64_t before_ms, size_t max, bool *ret_more)
{
    size_t count = 0;
    int r = run_delete(store, DELETE_BEFORE(""), NULL, before_ms, max, &count);
    if (r == 0)
        *ret_more = count == max;
    return r;
}

int store_forget_batches(Store *store, int64_t before_ms, size_t max, bool *ret_more)
{
    size_t count = 0;
    int r = run_delete(store,
                       "DELETE FROM batches WHERE seq IN (SELECT seq FROM batches WHERE created_at < :before"
                       " AND (unasked = 0 OR ended <> '') AND queued + running = 0"
                       " AND NOT EXISTS (SELECT 1 FROM requests WHERE batch = batches.id) LIMIT :max)",
                       NULL, before_ms, max, &count);
    if (r == 0)
        *ret_more = count == max;
    return r;
}

/* The first client after this one, by name, that has a final request. 0, STORE_E_ABSENT or a negative errno.
 */
static int next_client(Store *store, const char *after, char out[static CLIENT_ID_SIZE])
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT client FROM requests WHERE client > :after AND " FINAL
                             " ORDER BY client LIMIT 1",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_text(statement, ":after", after);
    int step = sqlite3_step(statement);
    if (step != SQLITE_ROW)
        return step == SQLITE_DONE ? STORE_E_ABSENT : database_fail(store->database, "list clients");
    statement_read_text(statement, 0, out, CLIENT_ID_SIZE);
    return 0;
}

/* Returns STORE_E_ABSENT behind the last client, and else as store_forget_by_client(). */
static int forget_of_next(Store *store, char client[static CLIENT_ID_SIZE], size_t *rows, BeforeOf *before_of,
                          void *userdata)
{
    char next[CLIENT_ID_SIZE];
    int64_t before_ms = 0;
    size_t count = 0;
    int r = next_client(store, client, next);
    if (r == 0)
        r = before_of(userdata, next, &before_ms);
    if (r == 0 && before_ms > 0)
        r = run_delete(store, DELETE_BEFORE(OF_CLIENT), next, before_ms, *rows, &count);
    if (r != 0)
        return r;
    *rows -= count;
    if (*rows > 0) /* else this one may have more */
        memcpy(client, next, sizeof(next));
    return 0;
}

int store_forget_by_client(Store *store, char client[static CLIENT_ID_SIZE], size_t clients_max, size_t max,
                           BeforeOf *before_of, void *userdata, bool *ret_more)
{
    char reached[CLIENT_ID_SIZE];
    memcpy(reached, client, sizeof(reached));
    int r = database_begin(store->database, false);
    if (r < 0)
        return r;
    for (size_t i = 0; i < clients_max && max > 0 && r == 0; i++)
        r = forget_of_next(store, reached, &max, before_of, userdata);
    bool at_end = r == STORE_E_ABSENT;
    r = database_end(store->database, at_end ? 0 : r);
    if (r < 0)
        return r;
    memcpy(client, reached, sizeof(reached));
    *ret_more = !at_end;
    return 0;
}
