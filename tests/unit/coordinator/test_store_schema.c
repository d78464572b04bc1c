/* Databases as earlier versions of the coordinator have left them, opened by this one. */
#include "coordinator/store_schema.h"

#include "coordinator/store_batches.h"
#include "tests/unit/protocol/cmocka_.h"
#include "tests/unit/temp_folder.h"

#include <sqlite3.h>
#include <string.h>

typedef struct Fixture {
    char folder[256];
    char before[280], path[280], fresh[280]; /* as it was left; brought up to date; new */
    Store *store;                            /* over path */
} Fixture;

static void load_dump(const char *name, const char *path)
{
    static char sql[65536];
    char file[512];
    (void)snprintf(file, sizeof(file), "%s/%s", DUMPS, name);
    FILE *stream = fopen(file, "r");
    assert_non_null(stream);
    size_t size = fread(sql, 1, sizeof(sql) - 1, stream);
    (void)fclose(stream);
    assert_true(size > 0 && size < sizeof(sql) - 1);
    sql[size] = '\0';
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static int setup(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    *state = fixture;
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    (void)snprintf(fixture->before, sizeof(fixture->before), "%s/before.db", fixture->folder);
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/coordinator.db", fixture->folder);
    (void)snprintf(fixture->fresh, sizeof(fixture->fresh), "%s/fresh.db", fixture->folder);
    load_dump("schema_6.sql", fixture->before);
    load_dump("schema_6.sql", fixture->path);
    return store_open(fixture->path, &fixture->store);
}

static int teardown(void **state)
{
    Fixture *fixture = *state;
    (void)store_close(fixture->store);
    temp_folder_remove(fixture->folder);
    free(fixture);
    return 0;
}

/* --- as SQL sees it --- */

static sqlite3 *open_both(const char *main_path, const char *other_path)
{
    sqlite3 *database = NULL;
    char attach[400];
    (void)snprintf(attach, sizeof(attach), "ATTACH '%s' AS other", other_path);
    assert_int_equal(sqlite3_open(main_path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, attach, NULL, NULL, NULL), SQLITE_OK);
    return database;
}

static int print_row(void *userdata, int count, char **values, char **names)
{
    ++*(size_t *)userdata;
    for (int i = 0; i < count; i++)
        print_message("%s: %s\n", names[i], values[i] ? values[i] : "NULL");
    return 0;
}

/* How many rows there are, which are printed. */
static size_t count_rows(sqlite3 *database, const char *sql)
{
    size_t count = 0;
    char *error = NULL;
    if (sqlite3_exec(database, sql, print_row, &count, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
    return count;
}

/* other has all of main's rows of this table, with all their values, and no more. */
static int check_table(void *userdata, int count, char **values, char **names)
{
    static const char *const differences[] = {"SELECT %s FROM main.%s EXCEPT SELECT %s FROM other.%s",
                                              "SELECT %s FROM other.%s EXCEPT SELECT %s FROM main.%s"};
    const char *table = values[0], *columns = values[1];
    (void)count;
    (void)names;
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++) {
        char *sql = sqlite3_mprintf(differences[i], columns, table, columns, table);
        assert_int_equal(count_rows(userdata, sql), 0);
        sqlite3_free(sql);
    }
    return 0;
}

static void every_row_of_an_older_database_is_there_with_all_its_values(void **state)
{
    Fixture *fixture = *state;
    fixture->store = store_close(fixture->store);
    sqlite3 *both = open_both(fixture->before, fixture->path);
    assert_int_equal(sqlite3_exec(both,
                                  "SELECT name, (SELECT group_concat('\"' || name || '\"')"
                                  " FROM pragma_table_info(tables.name))"
                                  " FROM main.sqlite_schema AS tables WHERE type = 'table'",
                                  check_table, both, NULL),
                     SQLITE_OK);
    assert_int_equal(count_rows(both, "SELECT 'too few' WHERE (SELECT count(*) FROM other.requests) <> 8"
                                      " OR (SELECT count(*) FROM other.request_events) <> 19"),
                     0);
    (void)sqlite3_close(both);
}

/* A step that is changed after databases were made with it gives new ones another schema than those have. */
static void an_older_database_gets_the_schema_of_a_new_one(void **state)
{
    Fixture *fixture = *state;
    Store *fresh = NULL;
    fixture->store = store_close(fixture->store);
    assert_int_equal(store_open(fixture->fresh, &fresh), 0);
    (void)store_close(fresh);
    sqlite3 *both = open_both(fixture->fresh, fixture->path);
    assert_int_equal(count_rows(both, "SELECT name, sql FROM main.sqlite_schema"
                                      " EXCEPT SELECT name, sql FROM other.sqlite_schema"),
                     0);
    assert_int_equal(count_rows(both, "SELECT name, sql FROM other.sqlite_schema"
                                      " EXCEPT SELECT name, sql FROM main.sqlite_schema"),
                     0);
    (void)sqlite3_close(both);
}

/* --- as the store reads it --- */

static int check_client(void *userdata, const Client *client)
{
    bool first = ++*(int *)userdata == 1;
    assert_string_equal(client->id, first ? "dev1" : "dev2");
    assert_string_equal(client->version, first ? "0.9.1" : "");
    assert_string_equal(client->labels, first ? "{\"site\":\"K\xc3\xb6ln\"}" : "{}");
    assert_int_equal(client->online, first);
    assert_int_equal(client->connected_ms, first ? 1700000000000 : 0);
    assert_int_equal(client->heartbeat_ms, first ? 1700000030000 : 0);
    return 0;
}

static void its_clients_are_read(void **state)
{
    Fixture *fixture = *state;
    int seen = 0;
    assert_int_equal(store_each_client(fixture->store, check_client, &seen), 0);
    assert_int_equal(seen, 2);
}

static Request get(Fixture *fixture, const char *client, const char *id)
{
    Request request;
    assert_int_equal(store_get_request(fixture->store, client, id, &request), 0);
    return request;
}

static void a_completed_request_is_read(void **state)
{
    Fixture *fixture = *state;
    uint8_t sha256[SHA256_SIZE];
    memset(sha256, 0xab, sizeof(sha256));
    sha256[SHA256_SIZE - 1] = 0;
    Request row = get(fixture, "dev1", "completed");
    assert_int_equal(row.seq, 1);
    assert_int_equal(row.origin, ORIGIN_REST);
    assert_int_equal(row.state, UPLOAD_COMPLETED);
    assert_string_equal(row.path, "/srv/a name\nof two lines");
    assert_string_equal(row.uploaded_path, row.path);
    assert_string_equal(row.stored, "dev1/completed/a name_of two lines");
    assert_string_equal(row.receiver, "second");
    assert_string_equal(row.idempotency_key, "carl/key");
    assert_string_equal(row.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_string_equal(row.remover, "chief");
    assert_string_equal(row.batch, "");
    assert_int_equal(row.problem.code, ERROR_NONE);
    assert_true(row.has_size && row.has_sha256 && row.removal_asked && !row.cancel_asked);
    assert_true(row.size_bytes == 5368709121 && row.sent_bytes == 5368709121);
    assert_true(row.max_size_bytes == 9007199254740993 && row.rate_bytes_per_s == 1048576);
    assert_memory_equal(row.sha256, sha256, sizeof(sha256));
    assert_true(row.created_ms == 1700000001000 && row.started_ms == 1700000002000 &&
                row.completed_ms == 1700000004000 && row.updated_ms == 1700000006000 &&
                row.expires_ms == 1700604801000 && row.removed_ms == 1700000006000);
}

static void its_history_is_read(void **state)
{
    Fixture *fixture = *state;
    static const char *const names[] = {"asked",   "accepted",      "running",
                                        "receipt", "removal asked", "removed"};
    RequestEventRow rows[8];
    size_t count = 0;
    assert_int_equal(store_list_events(fixture->store, 1, rows, 8, &count), 0);
    assert_int_equal(count, ARRAY_SIZE(names));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(rows[i].event, names[i]);
        assert_int_equal(rows[i].at_ms, 1700000001000 + 1000 * (int64_t)i);
    }
    assert_int_equal(store_list_events(fixture->store, 3, rows, 8, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(rows[1].state, UPLOAD_REJECTED);
    assert_string_equal(rows[1].reason, "NOT_ALLOWED");
}

static void requests_in_every_state_are_read(void **state)
{
    Fixture *fixture = *state;
    Request row = get(fixture, "dev1", "failed");
    assert_true(row.state == UPLOAD_FAILED && row.origin == ORIGIN_MQTT && !row.has_size && !row.has_sha256);
    assert_int_equal(row.problem.code, ERROR_NOT_FOUND);
    assert_string_equal(row.problem.reason, "GONE");
    assert_string_equal(row.problem.message, "It is gone: \xe2\x80\x9c/srv/b\xe2\x80\x9d.");
    row = get(fixture, "dev1", "running");
    assert_true(row.state == UPLOAD_RUNNING && row.cancel_asked && row.size_bytes == 100 &&
                row.sent_bytes == 42);
    assert_int_equal(get(fixture, "dev1", "rejected").problem.code, ERROR_PERMISSION_DENIED);
    assert_int_equal(get(fixture, "dev2", "cancelled").state, UPLOAD_CANCELLED);
    assert_int_equal(get(fixture, "dev2", "expired").state, UPLOAD_EXPIRED);
    assert_int_equal(get(fixture, "dev1", "part1").state, UPLOAD_ACCEPTED);
    assert_int_equal(get(fixture, "dev2", "part2").state, UPLOAD_QUEUED);
}

static Batch get_batch(Fixture *fixture)
{
    Batch batch;
    assert_int_equal(store_get_batch(fixture->store, "batch", &batch), 0);
    return batch;
}

static void a_batch_is_read_and_goes_on(void **state)
{
    Fixture *fixture = *state;
    Batch batch = get_batch(fixture);
    assert_string_equal(batch.maker, "carl");
    assert_string_equal(batch.path, "/srv/f");
    assert_string_equal(batch.receiver, "second");
    assert_string_equal(batch.idempotency_key, "carl/batch");
    assert_string_equal(batch.traceparent, "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
    assert_true(batch.max_size_bytes == 1000 && batch.rate_bytes_per_s == 7 && batch.life_ms == 3600000);
    assert_true(batch.created_ms == 1700000007000 && batch.ramp == 10 && batch.max_failures == 5);
    assert_true(batch.matched == 3 && batch.end == BATCH_GOES_ON && batch.fingerprint[31] == 0xcd);
    assert_true(batch.counts.unasked == 1 && batch.counts.queued == 1 && batch.counts.running == 1 &&
                batch.counts.completed == 0 && batch.counts.failed == 0);
    BatchPart parts[2];
    size_t count = 0;
    assert_int_equal(store_next_in_batch(fixture->store, &batch, parts, 2, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(parts[0].client, "dev3");
    Request row = get(fixture, "dev1", "part1");
    assert_string_equal(row.batch, "batch");
    row.state = UPLOAD_COMPLETED;
    assert_int_equal(store_update_request(fixture->store, &row, "receipt", true), 0);
    batch = get_batch(fixture);
    assert_true(batch.counts.running == 0 && batch.counts.completed == 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_row_of_an_older_database_is_there_with_all_its_values),
        TEST(an_older_database_gets_the_schema_of_a_new_one),
        TEST(its_clients_are_read),
        TEST(a_completed_request_is_read),
        TEST(its_history_is_read),
        TEST(requests_in_every_state_are_read),
        TEST(a_batch_is_read_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
