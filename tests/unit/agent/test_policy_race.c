/* Somebody who may rename in the allowed folder exchanges what is asked for with a way to a file that must
 * not leave, over and over, while the policy opens it. Half a second for each scene;
 * BECKON_RACE_SWAPS=1000000 in the environment is the long form: so many exchanges in each scene, however
 * long that takes. */
#include "agent/policy.h"
#include "common/clock.h"
#include "common/text.h"
#include "tests/unit/agent/hide_openat2.h"
#include "tests/unit/agent/policy_open.h"
#include "tests/unit/temp_folder.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SHORT_MS 500
#define PATIENCE_MS 60000 /* until all outcomes were seen, on a machine that is busy with other things */

static char root[32];
static char *allowed;
static Policy standard;
static bool is_old_kernel;

typedef struct Scene {
    const char *name;
    const char *a, *b; /* exchanged, below root; a is what path leads through */
    const char *path;  /* absolute but for root */
    bool follow_symlinks;
    const char *fifo; /* below root: must never be opened */
} Scene;

typedef struct Race {
    const Scene *scene;
    bool is_naive;
    int fifo_fd;
    atomic_bool stop;
    atomic_ullong swaps, fifo_opened;
    unsigned long long opened, refused, canary;
} Race;

static void make_file(const char *name, const char *content)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static int set_up(void **state)
{
    static const char *const folders[] = {"secret",  "outside",     "outside/dir",   "outside/hop",
                                          "allowed", "allowed/dir", "allowed/moved", "allowed/hop"};
    static const char *const files[] = {"allowed/dir/x", "allowed/x", "allowed/hop/x", "allowed/plain"};
    (void)state;

    (void)snprintf(root, sizeof(root), "/tmp/beckon-race-XXXXXX");
    if (!mkdtemp(root) || chdir(root) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        assert_int_equal(mkdir(folders[i], 0700), 0);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        make_file(files[i], "innocent");
    make_file("secret/x", "CANARY");
    make_file("outside/hop/x", "CANARY");
    assert_int_equal(symlink("../secret", "allowed/to-folder"), 0);
    assert_int_equal(symlink("../secret/x", "allowed/to-file"), 0);
    assert_int_equal(symlink("secret", "to-secret"), 0);
    assert_int_equal(symlink("../hop/x", "allowed/moved/link"), 0);
    assert_int_equal(mkfifo("allowed/fifo", 0600), 0);
    allowed = text_format("%s/allowed", root);
    standard = (Policy){.allow = {.items = &allowed, .count = 1}, .base = allowed};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(allowed);
    return temp_folder_remove(root);
}

/* An open for writing that does not wait succeeds while somebody reads. */
static void look_at_fifo(Race *race)
{
    char self[32];

    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", race->fifo_fd);
    int fd = open(self, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    close(fd);
    atomic_fetch_add(&race->fifo_opened, 1);
}

static void *swap(void *userdata)
{
    Race *race = userdata;

    while (!atomic_load(&race->stop)) {
        if (renameat2(AT_FDCWD, race->scene->a, AT_FDCWD, race->scene->b, RENAME_EXCHANGE) < 0)
            break;
        atomic_fetch_add(&race->swaps, 1);
        if (race->fifo_fd >= 0)
            look_at_fifo(race);
    }
    if (atomic_load(&race->swaps) % 2 == 1)
        (void)renameat2(AT_FDCWD, race->scene->a, AT_FDCWD, race->scene->b, RENAME_EXCHANGE);
    return NULL;
}

static void judge(Race *race, int fd)
{
    char content[16] = "";

    race->opened++;
    if (read(fd, content, sizeof(content) - 1) < 0 || strcmp(content, "innocent") != 0)
        race->canary++;
    close(fd);
}

static void open_by_policy(Race *race, const char *path)
{
    Policy policy = standard;
    AllowedFile file;
    Problem problem;

    policy.follow_symlinks = race->scene->follow_symlinks;
    if (policy_open(&policy, path, 0, &file, &problem) == 0)
        judge(race, file.fd);
    else
        race->refused++;
}

/* As many programs do it. */
static void open_by_path(Race *race, const char *path)
{
    char *real CLEANUP(free_ptr) = realpath(path, NULL);
    int fd = real && strncmp(real, allowed, strlen(allowed)) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0)
        judge(race, fd);
    else
        race->refused++;
}

/* swaps 0: the short form. */
static bool is_over(const Race *race, unsigned long long swaps, int64_t begun_ms)
{
    int64_t took_ms = clock_monotonic_ms() - begun_ms;

    if (race->opened == 0 || race->refused == 0 || (race->is_naive && race->canary == 0))
        return took_ms > PATIENCE_MS;
    return swaps ? atomic_load(&race->swaps) >= swaps : took_ms >= SHORT_MS;
}

static Race run_race(const Scene *scene, bool is_naive)
{
    Race race = {.scene = scene, .is_naive = is_naive, .fifo_fd = -1};
    const char *long_form = getenv("BECKON_RACE_SWAPS");
    unsigned long long swaps = long_form ? strtoull(long_form, NULL, 10) : 0;
    char *path = text_format("%s/%s", root, scene->path);
    int64_t begun_ms = clock_monotonic_ms();
    pthread_t thread;

    if (scene->fifo)
        race.fifo_fd = open(scene->fifo, O_PATH | O_CLOEXEC);
    assert_int_equal(pthread_create(&thread, NULL, swap, &race), 0);
    while (!is_over(&race, swaps, begun_ms))
        (is_naive ? open_by_path : open_by_policy)(&race, path);
    atomic_store(&race.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close_fd(&race.fifo_fd);
    print_message("%s%s%s: %llu swaps, %llu opened, %llu refused, %llu times the canary, %.1f s\n",
                  is_naive ? "naive: " : "", scene->name, is_old_kernel ? ", without openat2" : "",
                  (unsigned long long)race.swaps, race.opened, race.refused, race.canary,
                  (double)(clock_monotonic_ms() - begun_ms) / 1000);
    free(path);
    return race;
}

static void assert_won(const Scene *scene)
{
    Race race = run_race(scene, false);

    assert_int_equal(race.canary, 0);
    assert_int_equal(race.fifo_opened, 0);
    assert_true(race.opened > 0 && race.refused > 0);
}

static const Scene folder_scene = {
    .name = "folder and link", .a = "allowed/dir", .b = "allowed/to-folder", .path = "allowed/dir/x"};

/* Else these tests would show nothing. */
static void a_naive_open_loses_the_race(void **state)
{
    (void)state;
    assert_true(run_race(&folder_scene, true).canary > 0);
}

static void a_folder_becomes_a_link(void **state)
{
    Scene following = folder_scene;
    (void)state;

    assert_won(&folder_scene);
    following.name = "folder and link, links followed";
    following.follow_symlinks = true;
    assert_won(&following);
}

static void a_file_becomes_a_link(void **state)
{
    (void)state;
    assert_won(
        &(Scene){.name = "file and link", .a = "allowed/x", .b = "allowed/to-file", .path = "allowed/x"});
}

static void the_allowed_folder_becomes_a_link(void **state)
{
    (void)state;
    assert_won(
        &(Scene){.name = "allowed folder and link", .a = "allowed", .b = "to-secret", .path = "allowed/x"});
}

static void a_file_becomes_a_fifo(void **state)
{
    (void)state;
    assert_won(&(Scene){.name = "file and FIFO",
                        .a = "allowed/plain",
                        .b = "allowed/fifo",
                        .path = "allowed/plain",
                        .fifo = "allowed/fifo"});
}

/* What ".." in a link means changes while it is followed. */
static void a_folder_with_a_link_upwards_is_moved_out(void **state)
{
    (void)state;
    if (is_old_kernel)
        skip();
    assert_won(&(Scene){.name = "folder moved out under a link with '..'",
                        .a = "allowed/moved",
                        .b = "outside/dir",
                        .path = "allowed/moved/link",
                        .follow_symlinks = true});
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_naive_open_loses_the_race),
        cmocka_unit_test(a_folder_becomes_a_link),
        cmocka_unit_test(a_file_becomes_a_link),
        cmocka_unit_test(the_allowed_folder_becomes_a_link),
        cmocka_unit_test(a_file_becomes_a_fifo),
        cmocka_unit_test(a_folder_with_a_link_upwards_is_moved_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

int main(void)
{
    return run_on_both_kernels(run, &is_old_kernel);
}
