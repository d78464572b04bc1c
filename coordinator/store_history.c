/* store.h: what is forgotten. */
#include "coordinator/store_internal.h"

#define FINAL "state IN ('completed', 'failed', 'rejected', 'cancelled', 'expired')"

int store_final_since(Store *store, size_t keep, int64_t *ret_ms)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database,
                             "SELECT updated_at FROM requests WHERE " FINAL
                             " ORDER BY updated_at DESC LIMIT 1 OFFSET :others",
                             &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":others", (int64_t)keep - 1);
    int step = sqlite3_step(statement);
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return database_fail(store->database, "count requests");
    *ret_ms = step == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    return 0;
}

/* Runs an SQL statement that deletes. */
static int run_delete(Store *store, const char *sql, int64_t before_ms, size_t max, size_t *ret_count)
{
    sqlite3_stmt *statement CLEANUP(statement_finalize) = NULL;
    int r = database_prepare(store->database, sql, &statement);
    if (r < 0)
        return r;
    statement_bind_number(statement, ":before", before_ms);
    statement_bind_number(statement, ":max", (int64_t)max);
    r = database_run(store->database, statement, "forget what is old");
    if (r == 0)
        *ret_count = database_changes(store->database);
    return r;
}

/* The history of a request goes with it, by its foreign key. */
int store_forget_before(Store *store, int64_t before_ms, size_t max, bool *ret_more)
{
    size_t count = 0;
    int r = run_delete(store,
                       "DELETE FROM requests WHERE seq IN (SELECT seq FROM requests WHERE " FINAL
                       " AND updated_at < :before ORDER BY updated_at LIMIT :max)",
                       before_ms, max, &count);
    if (r == 0 && count == 0)
        r = run_delete(store,
                       "DELETE FROM batches WHERE seq IN (SELECT seq FROM batches WHERE created_at < :before"
                       " AND (unasked = 0 OR ended <> '') AND queued + running = 0"
                       " AND NOT EXISTS (SELECT 1 FROM requests WHERE batch = batches.id) LIMIT :max)",
                       before_ms, max, &count);
    if (r == 0)
        *ret_more = count > 0;
    return r;
}
