/* The daemons' cage, from inside. Each test goes into one in a child, from which there is no way back. */
#include "common/cage.h"
#include "common/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

typedef struct Config {
    char *store, *database, *crl;
    ConfigList keys;
} Config;

static const ConfigKey table[] = {
    {.section = "a", .name = "store", .type = CONFIG_FOLDER, .offset = offsetof(Config, store)},
    {.section = "a", .name = "database", .type = CONFIG_FOLDER, .offset = offsetof(Config, database)},
    {.section = "a", .name = "crl", .type = CONFIG_FILE, .offset = offsetof(Config, crl)},
    {.section = "a", .name = "keys", .type = CONFIG_FILES, .offset = offsetof(Config, keys)},
};

static char folder[64];

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static int write_file(const char *path)
{
    int fd CLEANUP(close_fd) = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : write_all(fd, "text", 4);
}

static int read_file(const char *path)
{
    char *data CLEANUP(free_ptr) = NULL;
    size_t size = 0;

    return file_read(path, 100, &data, &size);
}

static int make_folders(void **state)
{
    const char *const names[] = {"store", "store/a", "store/b", "db", "pki", "live", "archive", "other"};
    const char *const files[] = {"pki/crl", "pki/another", "archive/key1", "other/secret", "store/a/part"};
    (void)state;

    (void)snprintf(folder, sizeof(folder), "/tmp/beckon-unit-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(mkdir(at(names[i]), 0700), 0);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        assert_int_equal(write_file(at(files[i])), 0);
    return symlink("../archive/key1", at("live/key"));
}

static int remove_folders(void **state)
{
    (void)state;

    pid_t pid = fork();
    if (pid == 0) {
        (void)execlp("rm", "rm", "-r", folder, (char *)NULL);
        _exit(1);
    }
    return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

/* What a test found in the cage: the line of its first surprise, or 0. */
static int inside(int (*test)(void))
{
    int status = 0;

    pid_t pid = fork();
    if (pid == 0) {
        char *keys[] = {strdup(at("live/key"))};
        const Config config = {.store = strdup(at("store")),
                               .database = strdup(at("db/new.db")),
                               .crl = strdup(at("pki/crl")),
                               .keys = {.items = keys, .count = 1}};
        _exit(cage_enter(table, ARRAY_SIZE(table), &config) == 0 ? test() % 256 : 255);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define EXPECT(condition)                                                                                    \
    if (!(condition))                                                                                        \
    return __LINE__

static int use_own_folders(void)
{
    EXPECT(write_file(at("store/a/new")) == 0);
    EXPECT(truncate(at("store/a/new"), 2) == 0);
    EXPECT(rename(at("store/a/part"), at("store/b/whole")) == 0);
    EXPECT(mkdir(at("store/c"), 0700) == 0 && rmdir(at("store/c")) == 0);
    EXPECT(unlink(at("store/a/new")) == 0);
    EXPECT(write_file(at("db/new.db")) == 0 && write_file(at("db/new.db-wal")) == 0);
    return 0;
}

static int use_configured_files(void)
{
    EXPECT(read_file(at("pki/crl")) == 0 && read_file(at("pki/another")) == 0);
    EXPECT(read_file(at("live/key")) == 0); /* a link to a folder of its own */
    EXPECT(read_file("/etc/hosts") == 0);
    EXPECT(write_file(at("pki/crl")) == -EACCES && write_file(at("pki/new")) == -EACCES);
    return 0;
}

static int leave_own_folders(void)
{
    EXPECT(read_file(at("other/secret")) == -EACCES);
    EXPECT(write_file(at("other/new")) == -EACCES);
    EXPECT(write_file("/tmp/beckon-escape") == -EACCES);
    EXPECT(read_file("/proc/self/environ") == -EACCES);
    EXPECT(rename(at("store/b"), at("other/b")) < 0 && (errno == EACCES || errno == EXDEV));
    EXPECT(link(at("other/secret"), at("store/secret")) < 0 && (errno == EACCES || errno == EXDEV));
    return 0;
}

static void *do_nothing(void *userdata)
{
    return userdata;
}

static int start_things(void)
{
    char *arguments[] = {(char *)(uintptr_t) "true", NULL};
    pthread_t thread;

    EXPECT(execv("/bin/true", arguments) < 0 && (errno == EPERM || errno == EACCES));
    EXPECT(fork() < 0 && errno == EPERM);
    EXPECT(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 && errno == EPERM);
    EXPECT(pthread_create(&thread, NULL, do_nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return 0;
}

static void skip_without_cage(void)
{
    if (!cage_lack())
        return;
    print_message("skipped: %s\n", cage_lack());
    skip();
}

static void own_folders_may_be_written(void **state)
{
    (void)state;
    skip_without_cage();
    assert_int_equal(inside(use_own_folders), 0);
}

static void configured_files_may_be_read_and_not_written(void **state)
{
    (void)state;
    skip_without_cage();
    assert_int_equal(inside(use_configured_files), 0);
}

static void nothing_else_may_be_read_or_written(void **state)
{
    (void)state;
    skip_without_cage();
    assert_int_equal(inside(leave_own_folders), 0);
}

static void threads_start_and_programs_do_not(void **state)
{
    (void)state;
    skip_without_cage();
    assert_int_equal(inside(start_things), 0);
}

static void required_is_a_mistake_only_where_it_lacks(void **state)
{
    (void)state;
    assert_int_equal(cage_check("receiver", true), cage_lack() ? 1 : 0);
    assert_int_equal(cage_check("receiver", false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configured_files_may_be_read_and_not_written),
        cmocka_unit_test(own_folders_may_be_written),
        cmocka_unit_test(nothing_else_may_be_read_or_written),
        cmocka_unit_test(threads_start_and_programs_do_not),
        cmocka_unit_test(required_is_a_mistake_only_where_it_lacks),
    };

    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
