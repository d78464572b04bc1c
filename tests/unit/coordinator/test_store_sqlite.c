#include "common/cage.h"
#include "coordinator/store.h"
#include "coordinator/store_schema.h"
#include "tests/unit/protocol/cmocka_.h"
#include "tests/unit/temp_folder.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* SQLite calls these, of the program, instead of libc's. */
static unsigned syncs;
static int sync_error; /* 0: none */

int fsync(int fd)
{
    syncs++;
    errno = sync_error;
    return sync_error ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fildes)
{
    syncs++;
    errno = sync_error;
    return sync_error ? -1 : (int)syscall(SYS_fdatasync, fildes);
}

static struct statvfs disk;
static const struct statvfs ample = {.f_frsize = 4096, .f_blocks = 1000000, .f_bavail = 500000};

int fstatvfs(int fildes, struct statvfs *buf)
{
    (void)fildes;
    *buf = disk;
    return 0;
}

typedef struct Fixture {
    char folder[256];
    char path[280];
    Store *store;
} Fixture;

static int setup(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    temp_folder_make(fixture->folder, sizeof(fixture->folder));
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/coordinator.db", fixture->folder);
    *state = fixture;
    disk = ample;
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

static void reopen(Fixture *fixture)
{
    fixture->store = store_close(fixture->store);
    assert_int_equal(store_open(fixture->path, &fixture->store), 0);
}

static Request make_request(const char *client, const char *id, RequestOrigin origin)
{
    Request request = {
        .origin = origin, .state = UPLOAD_QUEUED, .created_ms = 1000, .updated_ms = 1000, .expires_ms = 9000};
    (void)snprintf(request.client, sizeof(request.client), "%s", client);
    (void)snprintf(request.id, sizeof(request.id), "%s", id);
    (void)snprintf(request.path, sizeof(request.path), "/srv/a name\nwith a second line");
    return request;
}

static void all_of_a_request_survives_a_restart(void **state)
{
    Fixture *fixture = *state;
    Request request = make_request("dev1", "u1", ORIGIN_REST), read;
    (void)snprintf(request.receiver, sizeof(request.receiver), "second");
    (void)snprintf(request.idempotency_key, sizeof(request.idempotency_key), "key");
    request.max_size_bytes = 1ULL << 53;
    request.rate_bytes_per_s = 7;
    assert_int_equal(store_add_request(fixture->store, &request, "asked"), 0);
    assert_int_equal(request.seq, 1);

    request.state = UPLOAD_COMPLETED;
    (void)snprintf(request.traceparent, sizeof(request.traceparent), "trace");
    request.cancel_asked = true;
    request.has_size = request.has_sha256 = true;
    request.size_bytes = request.sent_bytes = 5368709120;
    memset(request.sha256, 0xab, sizeof(request.sha256));
    (void)snprintf(request.uploaded_path, sizeof(request.uploaded_path), "/srv/x");
    (void)snprintf(request.stored, sizeof(request.stored), "dev1/u1/x");
    request.started_ms = 2000;
    request.completed_ms = request.updated_ms = 3000;
    (void)problem_set(&request.problem, ERROR_NOT_FOUND, "GONE", "It is gone.");
    assert_int_equal(store_update_request(fixture->store, &request, "receipt", true), 0);

    reopen(fixture);
    memset(&read, 0xff, sizeof(read));
    assert_int_equal(store_get_request(fixture->store, "dev1", "u1", &read), 0);
    assert_memory_equal(&read.sha256, &request.sha256, sizeof(read.sha256));
    assert_string_equal(read.path, request.path);
    assert_string_equal(read.uploaded_path, "/srv/x");
    assert_string_equal(read.stored, "dev1/u1/x");
    assert_string_equal(read.receiver, "second");
    assert_string_equal(read.idempotency_key, "key");
    assert_string_equal(read.traceparent, "trace");
    assert_int_equal(read.problem.code, ERROR_NOT_FOUND);
    assert_string_equal(read.problem.reason, "GONE");
    assert_string_equal(read.problem.message, "It is gone.");
    assert_int_equal(read.state, UPLOAD_COMPLETED);
    assert_int_equal(read.origin, ORIGIN_REST);
    assert_true(read.cancel_asked && read.has_size && read.has_sha256);
    assert_true(read.size_bytes == 5368709120 && read.sent_bytes == 5368709120);
    assert_true(read.max_size_bytes == 1ULL << 53 && read.rate_bytes_per_s == 7);
    assert_true(read.created_ms == 1000 && read.started_ms == 2000 && read.completed_ms == 3000 &&
                read.updated_ms == 3000 && read.expires_ms == 9000);

    RequestEventRow events[4];
    size_t count = 0;
    assert_int_equal(store_list_events(fixture->store, read.seq, events, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(events[0].event, "asked");
    assert_int_equal(events[0].state, UPLOAD_QUEUED);
    assert_string_equal(events[1].event, "receipt");
    assert_string_equal(events[1].reason, "GONE");
    assert_int_equal(events[1].at_ms, 3000);
}

static void the_pair_of_client_and_id_is_the_key(void **state)
{
    Fixture *fixture = *state;
    Request one = make_request("dev1", "u1", ORIGIN_MQTT), two = make_request("dev2", "u1", ORIGIN_MQTT);
    Request again = make_request("dev1", "u1", ORIGIN_REST), found;
    assert_int_equal(store_add_request(fixture->store, &one, "accepted"), 0);
    assert_int_equal(store_add_request(fixture->store, &two, "accepted"), 0);
    assert_int_equal(store_add_request(fixture->store, &again, "asked"), -EEXIST);
    assert_int_equal(store_find_request(fixture->store, NULL, "u1", &found), STORE_E_AMBIGUOUS);
    assert_int_equal(store_get_request(fixture->store, "dev2", "u1", &found), 0);
    assert_int_equal(store_get_request(fixture->store, "dev3", "u1", &found), STORE_E_ABSENT);
    assert_int_equal(store_find_request(fixture->store, NULL, "u2", &found), STORE_E_ABSENT);
}

static void a_device_can_not_hide_a_request_of_ours(void **state)
{
    Fixture *fixture = *state;
    Request theirs = make_request("dev0", "u1", ORIGIN_MQTT), ours = make_request("dev1", "u1", ORIGIN_REST),
            found;
    assert_int_equal(store_add_request(fixture->store, &theirs, "running"), 0);
    assert_int_equal(store_add_request(fixture->store, &ours, "asked"), 0);
    assert_int_equal(store_find_request(fixture->store, NULL, "u1", &found), 0);
    assert_string_equal(found.client, "dev1");
}

static int count_open(void *userdata, const Request *request)
{
    assert_false(request->state == UPLOAD_FAILED);
    ++*(size_t *)userdata;
    return 0;
}

static void pages_go_from_new_to_old(void **state)
{
    Fixture *fixture = *state;
    for (int i = 0; i < 5; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "u%d", i);
        Request request = make_request(i == 3 ? "dev2" : "dev1", id, ORIGIN_REST);
        request.state = i == 4 ? UPLOAD_FAILED : UPLOAD_QUEUED;
        assert_int_equal(store_add_request(fixture->store, &request, "asked"), 0);
    }
    Request rows[5];
    size_t count = 0, open = 0;
    RequestFilter filter = {.client = "dev1"};
    assert_int_equal(store_list_requests(fixture->store, &filter, rows, 2, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].id, "u4");
    assert_string_equal(rows[1].id, "u2");
    filter.before_seq = rows[1].seq;
    assert_int_equal(store_list_requests(fixture->store, &filter, rows, 5, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[1].id, "u0");
    UploadState failed = UPLOAD_FAILED;
    filter = (RequestFilter){.state = &failed};
    assert_int_equal(store_list_requests(fixture->store, &filter, rows, 5, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(store_each_open_request(fixture->store, count_open, &open), 0);
    assert_int_equal(open, 4);
}

static void only_the_oldest_followed_rows_are_forgotten(void **state)
{
    Fixture *fixture = *state;
    Request ours = make_request("dev1", "ours", ORIGIN_REST),
            open = make_request("dev1", "open", ORIGIN_MQTT), found;
    ours.state = UPLOAD_COMPLETED;
    assert_int_equal(store_add_request(fixture->store, &ours, "asked"), 0);
    assert_int_equal(store_add_request(fixture->store, &open, "accepted"), 0);
    for (int i = 0; i < 6; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "u%d", i);
        Request request = make_request(i < 3 ? "dev1" : "dev2", id, ORIGIN_MQTT);
        request.state = UPLOAD_REJECTED;
        assert_int_equal(store_add_request(fixture->store, &request, "rejected"), 0);
    }
    store_prune_followed(fixture->store, "dev1", 2, 100);
    assert_int_equal(store_get_request(fixture->store, "dev1", "u0", &found), STORE_E_ABSENT);
    assert_int_equal(store_get_request(fixture->store, "dev1", "u1", &found), 0);
    assert_int_equal(store_get_request(fixture->store, "dev2", "u3", &found), 0);
    store_prune_followed(fixture->store, "dev1", 100, 2); /* the newest two rows are dev2's */
    assert_int_equal(store_get_request(fixture->store, "dev2", "u3", &found), STORE_E_ABSENT);
    assert_int_equal(store_get_request(fixture->store, "dev2", "u5", &found), 0);
    assert_int_equal(store_get_request(fixture->store, "dev1", "ours", &found), 0);
    assert_int_equal(store_get_request(fixture->store, "dev1", "open", &found), 0);
}

static void rows_of_others_between_them_do_not_make_followed_ones_older(void **state)
{
    Fixture *fixture = *state;
    Request followed = make_request("dev1", "followed", ORIGIN_MQTT), found;
    followed.state = UPLOAD_COMPLETED;
    assert_int_equal(store_add_request(fixture->store, &followed, "receipt"), 0);
    for (int i = 0; i < 5; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "u%d", i);
        Request request = make_request("dev2", id, ORIGIN_REST);
        request.state = UPLOAD_COMPLETED;
        assert_int_equal(store_add_request(fixture->store, &request, "asked"), 0);
    }
    store_prune_followed(fixture->store, "dev1", 100, 2);
    assert_int_equal(store_get_request(fixture->store, "dev1", "followed", &found), 0);
}

static int check_client(void *userdata, const Client *client)
{
    ++*(int *)userdata;
    assert_string_equal(client->id, "dev1");
    assert_string_equal(client->labels, "{\"site\":\"K\xc3\xb6ln\"}");
    assert_string_equal(client->version, "0.1.0");
    assert_false(client->online);
    assert_true(client->connected_ms == 5 && client->heartbeat_ms == 6);
    return 0;
}

static void a_client_is_written_over(void **state)
{
    Fixture *fixture = *state;
    char labels[] = "{\"site\":\"K\xc3\xb6ln\"}";
    Client client = {.id = "dev1", .online = true};
    int seen = 0;
    assert_int_equal(store_put_client(fixture->store, &client), 0);
    client =
        (Client){.id = "dev1", .connected_ms = 5, .heartbeat_ms = 6, .version = "0.1.0", .labels = labels};
    assert_int_equal(store_put_client(fixture->store, &client), 0);
    reopen(fixture);
    assert_int_equal(store_each_client(fixture->store, check_client, &seen), 0);
    assert_int_equal(seen, 1);
}

static void a_second_coordinator_is_refused(void **state)
{
    Fixture *fixture = *state;
    Store *second = NULL;
    assert_int_equal(store_open(fixture->path, &second), -EBUSY);
    assert_null(second);
}

static void nobody_else_may_read_the_file(void **state)
{
    Fixture *fixture = *state;
    struct stat status;
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static int pragma(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    int value = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : 0;
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    return value;
}

static void the_schema_has_a_version_and_a_newer_one_is_refused(void **state)
{
    Fixture *fixture = *state;
    fixture->store = store_close(fixture->store);
    assert_int_equal(pragma(fixture->path, "PRAGMA user_version"), (int)store_migration_count);
    (void)pragma(fixture->path, "PRAGMA user_version = 999");
    assert_int_equal(store_open(fixture->path, &fixture->store), -EPROTO);
}

/* A database as the version of the program left it that knew so many steps. */
static void make_old(const char *path, size_t version)
{
    sqlite3 *database = NULL;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    for (size_t i = 0; i < version; i++)
        assert_int_equal(sqlite3_exec(database, store_migrations[i], NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    char set[64];
    (void)snprintf(set, sizeof(set), "PRAGMA user_version = %zu", version);
    (void)pragma(path, set);
}

static void every_older_database_is_brought_up_to_date(void **state)
{
    Fixture *fixture = *state;
    for (size_t version = 1; version < store_migration_count; version++) {
        fixture->store = store_close(fixture->store);
        make_old(fixture->path, version);
        (void)pragma(
            fixture->path,
            "INSERT INTO requests (client, id, origin, state, cancel_asked, path, receiver, max_size, rate,"
            " sent, uploaded_path, stored, created_at, started_at, completed_at, updated_at, expires_at,"
            " error_code, error_reason, error_message) VALUES ('dev1', 'u1', 'rest', 'queued', 0, '/srv/x',"
            " '', 0, 0, 0, '', '', 1, 0, 0, 1, 2, '', '', '')");
        assert_int_equal(store_open(fixture->path, &fixture->store), 0);
        assert_int_equal(pragma(fixture->path, "PRAGMA user_version"), (int)store_migration_count);
        Request found;
        assert_int_equal(store_get_request(fixture->store, "dev1", "u1", &found), 0);
        assert_string_equal(found.path, "/srv/x");
        found.state = UPLOAD_RUNNING;
        assert_int_equal(store_update_request(fixture->store, &found, "running", true), 0);
    }
}

#define MANY_ROWS                                                                                            \
    "INSERT INTO requests SELECT NULL, 'dev1', 'u' || value, 'mqtt', 'rejected', 0, '/srv/x', '', 0, 0, "    \
    "NULL, 0, NULL, '', '', 1, 0, 0, 1, 2, '', '', '', NULL FROM generate_series"

/* In a process of its own, as there is no way back. What SQLite does not find room for in memory it would put
 * into a file in /tmp or /var/tmp, where the coordinator may not write. */
static int work_in_the_cage(char *path)
{
    const ConfigKey key = {.section = "a", .name = "database", .type = CONFIG_FOLDER};
    const size_t keep = 10;
    Store *store = NULL;
    Request found;
    if (cage_enter(&key, 1, &path) < 0)
        return 1;
    if (store_open(path, &store) < 0)
        return 2;
    store_prune_followed(store, "dev1", keep, keep);
    return store_get_request(store, "dev1", "u1", &found) == STORE_E_ABSENT ? 0 : 3;
}

static void a_large_database_is_brought_up_to_date_and_tidied_in_the_cage(void **state)
{
    Fixture *fixture = *state;
    int status = 0;
    fixture->store = store_close(fixture->store);
    make_old(fixture->path, 2);
    (void)pragma(fixture->path,
                 "WITH RECURSIVE generate_series(value) AS (SELECT 1 UNION ALL SELECT value + 1"
                 " FROM generate_series LIMIT 100000) " MANY_ROWS);
    pid_t child = fork();
    if (child == 0)
        _exit(work_in_the_cage(fixture->path));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_is_no_database_is_refused(void **state)
{
    Fixture *fixture = *state;
    fixture->store = store_close(fixture->store);
    FILE *file = fopen(fixture->path, "w");
    for (int i = 0; i < 1000; i++)
        (void)fputs("this is not a database\n", file);
    (void)fclose(file);
    assert_true(store_open(fixture->path, &fixture->store) < 0);
    assert_null(fixture->store);
}

static void what_is_not_durable_costs_no_fsync(void **state)
{
    Fixture *fixture = *state;
    Request request = make_request("dev1", "u1", ORIGIN_REST);
    assert_int_equal(store_add_request(fixture->store, &request, "asked"), 0);
    syncs = 0;
    request.state = UPLOAD_RUNNING;
    assert_int_equal(store_update_request(fixture->store, &request, "running", false), 0);
    assert_int_equal(syncs, 0);
    request.state = UPLOAD_COMPLETED;
    assert_int_equal(store_update_request(fixture->store, &request, "receipt", true), 0);
    assert_int_equal(syncs, 1);
    assert_int_equal(store_update_request(fixture->store, &request, "running", false), 0);
    assert_int_equal(store_put_client(fixture->store, &(Client){.id = "dev1"}), 0);
    assert_int_equal(syncs, 2);
}

static void a_disk_without_room_or_read_only_is_noticed_without_a_write(void **state)
{
    Fixture *fixture = *state;
    syncs = 0;
    assert_int_equal(store_check(fixture->store, 0), 0);
    disk.f_bavail = 1023; /* of 4096 bytes: less than 4 MiB */
    assert_int_equal(store_check(fixture->store, 0), -ENOSPC);
    disk.f_bavail = 1024;
    assert_int_equal(store_check(fixture->store, 0), 0);
    disk = (struct statvfs){.f_frsize = 4096}; /* it does not count its blocks */
    assert_int_equal(store_check(fixture->store, 0), 0);
    disk = ample;
    disk.f_flag = ST_RDONLY;
    assert_int_equal(store_check(fixture->store, 0), -EROFS);
    assert_int_equal(syncs, 0);
}

static void fail_to_write(Store *store)
{
    sync_error = EIO;
    assert_true(store_put_client(store, &(Client){.id = "dev1"}) < 0);
    sync_error = 0;
}

static void a_disk_that_has_failed_is_mistrusted_until_it_takes_a_write(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    fail_to_write(store);
    syncs = 0;
    assert_int_equal(store_check(store, 1000), -EIO);
    assert_int_equal(store_check(store, 5999), -EIO);
    assert_int_equal(syncs, 0); /* no write at each probe */
    sync_error = EIO;
    assert_int_equal(store_check(store, 6000), -EIO);
    sync_error = 0;
    assert_true(syncs > 0);
    assert_int_equal(store_check(store, 6001), -EIO);
    syncs = 0;
    assert_int_equal(store_check(store, 11001), 0);
    assert_true(syncs > 0);
    syncs = 0;
    assert_int_equal(store_check(store, 11002), 0);
    assert_int_equal(syncs, 0);
}

static void what_is_refused_for_another_reason_than_the_disk_s_changes_nothing(void **state)
{
    Store *store = ((Fixture *)*state)->store;
    Request request = make_request("dev1", "u1", ORIGIN_REST);
    assert_int_equal(store_add_request(store, &request, "asked"), 0);
    assert_int_equal(store_add_request(store, &request, "asked"), -EEXIST);
    assert_int_equal(store_check(store, 0), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_of_a_request_survives_a_restart),
        TEST(what_is_not_durable_costs_no_fsync),
        TEST(the_pair_of_client_and_id_is_the_key),
        TEST(a_device_can_not_hide_a_request_of_ours),
        TEST(pages_go_from_new_to_old),
        TEST(only_the_oldest_followed_rows_are_forgotten),
        TEST(rows_of_others_between_them_do_not_make_followed_ones_older),
        TEST(a_client_is_written_over),
        TEST(a_second_coordinator_is_refused),
        TEST(nobody_else_may_read_the_file),
        TEST(the_schema_has_a_version_and_a_newer_one_is_refused),
        TEST(every_older_database_is_brought_up_to_date),
        TEST(a_large_database_is_brought_up_to_date_and_tidied_in_the_cage),
        TEST(what_is_no_database_is_refused),
        TEST(a_disk_without_room_or_read_only_is_noticed_without_a_write),
        TEST(a_disk_that_has_failed_is_mistrusted_until_it_takes_a_write),
        TEST(what_is_refused_for_another_reason_than_the_disk_s_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
