#include "agent/job_store.h"
#include "common/clock.h"
#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DAY_MS (24LL * 3600 * 1000)

static char folder[64];
static JobStore *store;
static Tickets *tickets;

static int open_store(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/beckon-test-XXXXXX");
    if (!mkdtemp(folder) || job_store_open(folder, &store) < 0)
        return -1;
    return tickets_new(&(ConfigList){0}, "kiosk", folder, &tickets);
}

static int close_store(void **state)
{
    char command[128];
    (void)state;

    store = job_store_close(store);
    tickets = tickets_free(tickets);
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a test's own folder */
}

static void save_ticketed(const char *id, int64_t issued_unix_s, uint64_t expires_unix_s)
{
    Job *job = job_new(id, &(UploadCommand){.path = "/x", .expires_unix_s = expires_unix_s});

    job->state = UPLOAD_DONE;
    job->reported = true;
    job->issued_unix_s = issued_unix_s;
    assert_int_equal(job_store_save(store, job), 0);
    job_free(job);
}

static void save(const char *id, UploadState job_state, bool reported, int64_t at_unix_ms,
                 uint64_t expires_unix_s)
{
    UploadCommand command = {.path = "/x", .expires_unix_s = expires_unix_s};
    Job *job = job_new(id, &command);

    job->state = job_state;
    job->reported = reported;
    job->at_unix_ms = at_unix_ms;
    assert_int_equal(job_store_save(store, job), 0);
    job_free(job);
}

static bool is_known(const char *id)
{
    Job *job = NULL;
    int r = job_store_load(store, id, &job);

    assert_true(r == 0 || r == -ENOENT);
    job_free(job);
    return r == 0;
}

static void saved_job_is_found_after_a_restart(void **state)
{
    (void)state;
    save("t1", UPLOAD_DONE, true, clock_unix_ms(), 0);
    store = job_store_close(store);
    assert_int_equal(job_store_open(folder, &store), 0);
    assert_true(is_known("t1"));
    assert_false(is_known("t2"));
}

static void second_agent_on_the_same_folder_is_refused(void **state)
{
    JobStore *other = NULL;
    (void)state;

    assert_int_equal(job_store_open(folder, &other), -EWOULDBLOCK);
    assert_null(other);
}

static void forgets_by_age_expiry_and_number_but_never_what_is_open(void **state)
{
    int64_t now = clock_unix_ms(), now_s = now / 1000;
    (void)state;

    save("old", UPLOAD_DONE, true, now - 31 * DAY_MS, 0);
    save("old-unreported", UPLOAD_DONE, false, now - 31 * DAY_MS, 0);
    save("old-running", UPLOAD_RUNNING, false, now - 31 * DAY_MS, 0);
    save("old-unexpired", UPLOAD_DONE, true, now - 31 * DAY_MS, (uint64_t)now_s + 3600);
    save("expired", UPLOAD_DONE, true, now - 3 * DAY_MS, (uint64_t)now_s - 2 * 24 * 3600);
    save("expired-today", UPLOAD_DONE, true, now - 3 * DAY_MS, (uint64_t)now_s - 3600);
    save("new", UPLOAD_REJECTED, true, now, 0);
    job_store_forget(store, 100, now, tickets);
    assert_false(is_known("old"));
    assert_false(is_known("expired"));
    assert_true(is_known("old-unreported"));
    assert_true(is_known("old-running"));
    assert_true(is_known("old-unexpired"));
    assert_true(is_known("expired-today"));
    assert_true(is_known("new"));
    job_store_forget(store, 1, now, tickets);
    assert_true(is_known("new")); /* to be kept longest */
    assert_false(is_known("expired-today"));
    assert_true(is_known("old-unreported"));
}

/* As the next process finds it. */
static int64_t forgotten_on_disk(void)
{
    char *path = text_format("%s/tickets.json", folder), text[128] = "";
    FILE *file = fopen(path, "re");

    free(path);
    if (!file)
        return 0;
    assert_non_null(fgets(text, sizeof(text), file));
    assert_int_equal(fclose(file), 0);
    return strtoll(strstr(text, "\"forgotten\":") + strlen("\"forgotten\":"), NULL, 10);
}

#define T0 1700000000 /* the coordinator's time */
#define DAY_S (24 * 3600)

static void ticketed_id_is_forgotten_by_signed_time_and_by_no_clock(void **state)
{
    (void)state;
    save_ticketed("t1", T0, T0 + 3600);
    save_ticketed("t2", T0 + 1, T0 + 3 * DAY_S);
    tickets_saw(tickets, T0 + 1);
    job_store_forget(store, 100, (T0 + 1000LL * DAY_S) * 1000, tickets); /* a clock gone wild */
    assert_true(is_known("t1"));
    assert_true(is_known("t2"));
    tickets_saw(tickets, T0 + 3600 + DAY_S - 1);
    job_store_forget(store, 100, 0, tickets);
    assert_true(is_known("t1"));
    tickets_saw(tickets, T0 + 3600 + DAY_S);
    job_store_forget(store, 100, 0, tickets);
    assert_false(is_known("t1"));
    assert_true(is_known("t2"));
    assert_int_equal(forgotten_on_disk(), 0); /* nothing that could come again */
}

static void ticketed_id_forgotten_for_want_of_room_shuts_out_its_time(void **state)
{
    (void)state;
    save_ticketed("t1", T0 + 5, T0 + 3600);
    save_ticketed("t2", T0 + 1, T0 + 7200);
    save_ticketed("t3", T0 + 9, T0 + 9000);
    tickets_saw(tickets, T0 + 9);
    job_store_forget(store, 1, 0, tickets);
    assert_false(is_known("t1"));
    assert_false(is_known("t2"));
    assert_true(is_known("t3"));
    assert_int_equal(forgotten_on_disk(), T0 + 5);
}

static void nothing_is_forgotten_that_could_not_be_noted(void **state)
{
    (void)state;
    char *path = text_format("%s/tickets.json", folder);
    assert_int_equal(mkdir(path, 0700), 0); /* can't be replaced by a file */
    save_ticketed("t1", T0, T0 + 3600);
    save_ticketed("t2", T0, T0 + 3600);
    job_store_forget(store, 1, 0, tickets);
    assert_true(is_known("t1"));
    assert_true(is_known("t2"));
    free(path);
}

static void count_job(Job *job, void *userdata)
{
    ++*(int *)userdata;
    job_free(job);
}

static void damaged_record_is_set_aside_and_the_rest_is_found(void **state)
{
    char *path = text_format("%s/jobs/bad.json", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), count = 0;
    Job *job = NULL;
    (void)state;

    assert_true(fd >= 0);
    close(fd);
    save("good", UPLOAD_ACCEPTED, false, clock_unix_ms(), 0);
    assert_int_equal(job_store_load(store, "bad", &job), -EBADMSG);
    assert_int_equal(job_store_each(store, count_job, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    path = text_format("%s/jobs/bad.json.bad", folder);
    assert_int_equal(access(path, F_OK), 0);
    free(path);
}

static void record_that_can_not_be_read_now_stays(void **state)
{
    struct rlimit saved, few = {0};
    int count = 0, last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;

    save("kept", UPLOAD_ACCEPTED, false, clock_unix_ms(), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
    few = (struct rlimit){.rlim_cur = (rlim_t)last + 1, .rlim_max = saved.rlim_max};
    close(last); /* room for the folder's listing, and for nothing else */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int r = job_store_each(store, count_job, &count);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved), 0);
    assert_int_equal(r, -EMFILE);
    assert_int_equal(count, 0);
    assert_true(is_known("kept"));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_store, close_store)
    const struct CMUnitTest tests[] = {
        TEST(saved_job_is_found_after_a_restart),
        TEST(second_agent_on_the_same_folder_is_refused),
        TEST(forgets_by_age_expiry_and_number_but_never_what_is_open),
        TEST(ticketed_id_is_forgotten_by_signed_time_and_by_no_clock),
        TEST(ticketed_id_forgotten_for_want_of_room_shuts_out_its_time),
        TEST(nothing_is_forgotten_that_could_not_be_noted),
        TEST(damaged_record_is_set_aside_and_the_rest_is_found),
        TEST(record_that_can_not_be_read_now_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
