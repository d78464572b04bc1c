/* Requests for which the device lacks something just now: no verdict is spoken on them. */
#include "agent/beneath.h"
#include "agent/job_store.h"
#include "agent/uploads.h"
#include "tests/unit/temp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GOOD "file"
#define SILENT "silent/file"

static int find_error, save_error; /* of the next beneath_find() and job_store_save() */
static pid_t test_pid;
static char hold[48]; /* while there is this file, no child finds SILENT */

int __wrap_beneath_find(int folder_fd, const char *path, unsigned flags, int *ret_fd);
int __real_beneath_find(int folder_fd, const char *path, unsigned flags, int *ret_fd);

int __wrap_beneath_find(int folder_fd, const char *path, unsigned flags, int *ret_fd)
{
    int r = find_error;

    while (getpid() != test_pid && strcmp(path, SILENT) == 0 && access(hold, F_OK) == 0)
        (void)poll(NULL, 0, 5);
    find_error = 0;
    return r < 0 ? r : __real_beneath_find(folder_fd, path, flags, ret_fd);
}

int __wrap_job_store_save(JobStore *store, const Job *job);
int __real_job_store_save(JobStore *store, const Job *job);

int __wrap_job_store_save(JobStore *store, const Job *job)
{
    int r = save_error;

    save_error = 0;
    return r < 0 ? r : __real_job_store_save(store, job);
}

/* Each folder a mount. */
void __wrap_probe_mount_of(const char *path, char out[static FILE_PATH_MAX + 1]);

void __wrap_probe_mount_of(const char *path, char out[static FILE_PATH_MAX + 1])
{
    (void)snprintf(out, FILE_PATH_MAX + 1, "%s", path);
    *strrchr(out, '/') = '\0';
}

typedef struct Scene {
    char folder[32], state[40], file[40], silent[48];
    char *allow;
    AgentConfig config;
    Loop *loop;
    Uploads *uploads;
    const char *awaited; /* what is to run */
    bool has_run[2];     /* GOOD and SILENT */
    unsigned reports;
    UploadState first_state;
    char first_reason[sizeof(((Problem *)0)->reason)];
} Scene;

static bool *has_run(Scene *scene, const char *path)
{
    return &scene->has_run[strcmp(path, SILENT) == 0];
}

static void on_report(void *userdata, const Job *job, uint64_t tag)
{
    Scene *scene = userdata;
    (void)tag;

    if (scene->reports++ == 0) {
        scene->first_state = job->state;
        (void)snprintf(scene->first_reason, sizeof(scene->first_reason), "%s", job->problem.reason);
    }
    if (job->state != UPLOAD_RUNNING)
        return;
    *has_run(scene, job->path) = true;
    if (strcmp(job->path, scene->awaited) == 0)
        loop_quit(scene->loop);
}

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, "hello", 5), 5);
    close(fd);
}

static int set_up(void **state)
{
    static char device[] = "dev1", worker[] = "/bin/true", receiver[] = "https://localhost";
    Scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    (void)snprintf(scene->folder, sizeof(scene->folder), "/tmp/beckon-test-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    (void)snprintf(scene->state, sizeof(scene->state), "%s/state", scene->folder);
    (void)snprintf(hold, sizeof(hold), "%s/hold", scene->folder);
    (void)snprintf(scene->file, sizeof(scene->file), "%s/" GOOD, scene->folder);
    (void)snprintf(scene->silent, sizeof(scene->silent), "%s/silent", scene->folder);
    assert_int_equal(mkdir(scene->silent, 0700), 0);
    (void)snprintf(scene->silent, sizeof(scene->silent), "%s/" SILENT, scene->folder);
    make_file(scene->file);
    make_file(scene->silent);
    test_pid = getpid();
    scene->awaited = "";
    scene->allow = scene->folder;
    scene->config =
        (AgentConfig){.client_id = device,
                      .state_dir = scene->state,
                      .worker = worker,
                      .concurrency = 1,
                      .queue = 5,
                      .remember = 100,
                      .files = {.allow = {.items = &scene->allow, .count = 1}, .base = scene->folder},
                      .receiver_url = receiver,
                      .retry_min_ms = 10,
                      .retry_max_ms = 20};
    const UploadsEvents events = {.report = on_report, .userdata = scene};
    assert_int_equal(loop_new(&scene->loop), 0);
    assert_int_equal(uploads_new(scene->loop, &scene->config, &events, &scene->uploads), 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    Scene *scene = *state;

    uploads_free(scene->uploads);
    loop_free(scene->loop);
    int r = temp_folder_remove(scene->folder);
    free(scene);
    return r;
}

static void command_for(Scene *scene, const char *id, const char *path)
{
    char payload[64];

    (void)snprintf(payload, sizeof(payload), "{\"path\":\"%s\"}", path);
    uploads_command(scene->uploads, id, payload, strlen(payload));
}

static void command(Scene *scene)
{
    command_for(scene, "t1", GOOD);
}

static void assert_path_runs(Scene *scene, const char *path)
{
    scene->awaited = path;
    if (!*has_run(scene, path))
        assert_int_equal(loop_run(scene->loop), 0);
    assert_true(*has_run(scene, path));
}

static void assert_runs(Scene *scene)
{
    assert_path_runs(scene, GOOD);
}

static void assert_put_off(Scene *scene, int error, const char *reason)
{
    find_error = error;
    command(scene);
    assert_int_equal(scene->first_state, UPLOAD_ACCEPTED);
    assert_string_equal(scene->first_reason, reason);
    assert_runs(scene);
}

static void a_file_among_moving_folders_is_opened_later(void **state)
{
    assert_put_off(*state, -EAGAIN, "FILE_MOVING");
}

static void a_file_that_could_not_be_opened_for_want_of_memory_is_opened_later(void **state)
{
    assert_put_off(*state, -ENOMEM, "OUT_OF_MEMORY");
}

static void a_file_system_that_does_not_answer_costs_its_own_files_only(void **state)
{
    Scene *scene = *state;

    make_file(hold);
    scene->config.concurrency = 2;
    scene->config.retry_min_ms = scene->config.retry_max_ms = 500;
    command_for(scene, "t1", SILENT);
    assert_int_equal(scene->first_state, UPLOAD_ACCEPTED);
    assert_string_equal(scene->first_reason, "FILE_SYSTEM_SILENT");
    command_for(scene, "t2", GOOD);
    assert_runs(scene);
    assert_int_equal(unlink(hold), 0);
    assert_path_runs(scene, SILENT);
}

static void a_command_that_could_not_be_recorded_for_want_of_memory_is_as_if_it_had_not_come(void **state)
{
    static const int errors[] = {-ENOMEM, -EMFILE, -ENFILE};
    Scene *scene = *state;

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        save_error = errors[i];
        command(scene);
        assert_int_equal(scene->reports, 0);
    }
    command(scene);
    assert_true(scene->reports > 0);
    assert_runs(scene);
}

static void a_command_that_could_not_be_recorded_otherwise_is_rejected(void **state)
{
    Scene *scene = *state;

    save_error = -EIO;
    command(scene);
    assert_int_equal(scene->first_state, UPLOAD_REJECTED);
    assert_string_equal(scene->first_reason, "NOT_RECORDED");
}

static void a_file_that_is_missing_is_rejected_at_once(void **state)
{
    Scene *scene = *state;

    assert_int_equal(unlink(scene->file), 0);
    command(scene);
    assert_int_equal(scene->first_state, UPLOAD_REJECTED);
    assert_string_equal(scene->first_reason, "FILE_NOT_FOUND");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_file_among_moving_folders_is_opened_later),
        TEST(a_file_that_could_not_be_opened_for_want_of_memory_is_opened_later),
        TEST(a_file_system_that_does_not_answer_costs_its_own_files_only),
        TEST(a_command_that_could_not_be_recorded_for_want_of_memory_is_as_if_it_had_not_come),
        TEST(a_command_that_could_not_be_recorded_otherwise_is_rejected),
        TEST(a_file_that_is_missing_is_rejected_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
