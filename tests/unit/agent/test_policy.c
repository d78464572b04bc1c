#include "agent/policy.h"
#include "common/text.h"
#include "tests/unit/agent/hide_openat2.h"
#include "tests/unit/agent/policy_open.h"
#include "tests/unit/temp_folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

/* A folder with an allowed and a secret half; the current one. */
static char root[32];
static char *allowed, *sub;
static Policy standard, policy;
static bool is_old_kernel, is_out_of_memory;

char *__wrap_text_format(const char *format, ...) PRINTF_LIKE(1, 2);

char *__wrap_text_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int length = is_out_of_memory ? -1 : vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

static void make_file(const char *name, const char *content)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static void make_socket(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static void make_files(void)
{
    static const char *const folders[] = {"secrets", "allowed", "allowed/sub", "allowed/.ssh", "allowed2"};
    static const char *const files[][2] = {{"secrets/secret", "secret"}, {"allowed2/x", "no"},
                                           {"allowed/x", "hello"},       {"allowed/sub/\xc3\xa9 \n", "deep"},
                                           {"allowed/-dash", "d"},       {"allowed/sub/private.key", "key"},
                                           {"allowed/.ssh/id", "id"},    {"allowed/gone (deleted)", "not"},
                                           {"allowed/sub/x", "sub"}};
    static const char *const links[][2] = {{"../secrets/secret", "allowed/out"},
                                           {"x", "allowed/inside"},
                                           {"sub", "allowed/other"},
                                           {"../sub/x", "allowed/sub/round"},
                                           {"..", "allowed/up"},
                                           {"/proc/self", "allowed/proc"},
                                           {"loop", "allowed/loop"},
                                           {"sub/private.key", "allowed/harmless"},
                                           {"gone (deleted)", "allowed/to-gone"},
                                           {"allowed", "alias"}};

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        assert_int_equal(mkdir(folders[i], 0700), 0);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        make_file(files[i][0], files[i][1]);
    for (size_t i = 0; i < ARRAY_SIZE(links); i++)
        assert_int_equal(symlink(links[i][0], links[i][1]), 0);
    char *absolute = text_format("%s/x", allowed);
    assert_int_equal(symlink(absolute, "allowed/absolute"), 0);
    free(absolute);
    assert_int_equal(link("secrets/secret", "allowed/hard"), 0);
    assert_int_equal(mkfifo("allowed/fifo", 0600), 0);
    make_socket("allowed/socket");
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/beckon-test-XXXXXX");
    if (!mkdtemp(root) || chdir(root) < 0)
        return -1;
    allowed = text_format("%s/allowed", root);
    sub = text_format("%s/allowed/sub", root);
    make_files();
    standard = (Policy){.allow = {.items = &allowed, .count = 1}, .base = allowed, .max_size_bytes = 100};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(allowed);
    free(sub);
    return temp_folder_remove(root);
}

/* Each test begins with the usual policy. */
static int reset(void **state)
{
    (void)state;
    policy = standard;
    return 0;
}

static void assert_opens(const char *path, const char *content)
{
    AllowedFile file = {.fd = -1};
    Problem problem = {0};
    char text[32] = "";

    if (policy_open(&policy, path, 0, &file, &problem) != 0)
        fail_msg("%s: %s %s", path, problem.reason, problem.message);
    assert_int_equal(read(file.fd, text, sizeof(text) - 1), (ssize_t)strlen(content));
    assert_string_equal(text, content);
    assert_int_equal(file.snapshot.size_bytes, strlen(content));
    close(file.fd);
}

static void assert_refused(const char *path, uint64_t max_size, ErrorCode code, const char *reason)
{
    AllowedFile file = {.fd = -7};
    Problem problem = {0};

    if (policy_open(&policy, path, max_size, &file, &problem) == 0)
        fail_msg("%s was opened", path);
    assert_string_equal(problem.reason, reason);
    assert_int_equal(problem.code, code);
    assert_int_equal(file.fd, -7);
}

/* The same with the root in front. */
static void assert_refused_below(const char *name, ErrorCode code, const char *reason)
{
    char *path = text_format("%s/%s", root, name);

    assert_refused(path, 0, code, reason);
    free(path);
}

static void files_below_the_folder_are_opened_by_any_spelling(void **state)
{
    char *path = text_format("/%s//./allowed///x", root);
    (void)state;

    assert_opens(path, "hello");
    free(path);
    assert_opens("x", "hello");
    assert_opens("./x", "hello");
    assert_opens("sub/\xc3\xa9 \n", "deep");
    assert_opens("-dash", "d");
}

static void what_is_outside_is_refused(void **state)
{
    (void)state;
    assert_refused("/etc/passwd", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("../secrets/secret", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("sub/../x", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED"); /* ".." anywhere */
    assert_refused_below("secrets/secret", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused_below("allowed/../secrets/secret", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused_below("allowed2/x", ERROR_PERMISSION_DENIED,
                         "PATH_NOT_ALLOWED"); /* a prefix is not a folder */
}

static void symbolic_links_are_not_followed(void **state)
{
    (void)state;
    assert_refused("out", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("inside", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("up/secrets/secret", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("proc/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
}

static void only_regular_files_are_opened(void **state)
{
    (void)state;
    assert_refused("fifo", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE"); /* and does not hang */
    assert_refused("socket", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE");
    assert_refused("sub", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE");
    assert_refused(".", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE");
    assert_refused("nothing", 0, ERROR_NOT_FOUND, "FILE_NOT_FOUND");
    assert_refused("x/y", 0, ERROR_NOT_FOUND, "FILE_NOT_FOUND");
}

static void the_smaller_of_both_size_limits_counts(void **state)
{
    (void)state;
    assert_refused("x", 4, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE");
    assert_opens("x", "hello");
    policy.max_size_bytes = 4;
    assert_refused("x", 0, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE");
    assert_refused("x", 50, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE");
    policy.max_size_bytes = 0;
    assert_opens("x", "hello");
}

static void the_kernels_file_systems_are_closed_even_if_everything_is_allowed(void **state)
{
    char *all = (char[]){"/"};
    (void)state;

    policy.allow = (ConfigList){.items = &all, .count = 1};
    assert_refused("/proc/self/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("//proc/./version", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/sys/kernel/uevent_seqnum", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/dev/null", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("proc/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    policy.follow_symlinks = true; /* not by a link either, though it stays below "/" */
    assert_refused("proc/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
}

static void nothing_is_readable_by_default(void **state)
{
    (void)state;

    policy = (Policy){0};
    assert_refused("x", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/etc/hostname", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
}

static void an_allowed_folder_that_a_link_leads_to_gives_nothing(void **state)
{
    char *alias = text_format("%s/alias", root);
    (void)state;

    policy.allow.items = &alias;
    for (int follow = 0; follow < 2; follow++) {
        policy.follow_symlinks = follow;
        assert_refused_below("alias/x", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    }
    free(alias);
}

/* An old kernel has no way to follow them safely. */
static void assert_followed(const char *path, const char *content)
{
    if (is_old_kernel)
        assert_refused(path, 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    else
        assert_opens(path, content);
}

static void links_are_followed_if_asked_for_but_never_out(void **state)
{
    (void)state;
    policy.follow_symlinks = true;
    assert_opens("x", "hello");
    assert_followed("inside", "hello");
    assert_followed("other/x", "sub");
    assert_followed("other/round", "sub");
    assert_refused("absolute", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("out", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("up/secrets/secret", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("up/allowed/x", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("proc/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("loop", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    if (!is_old_kernel)
        assert_refused("to-gone", 0, ERROR_NOT_FOUND, "FILE_NOT_FOUND");
}

static void deny_goes_before_allow_by_whatever_way(void **state)
{
    char *patterns[] = {(char[]){"*.key"}, (char[]){".ssh"}, NULL};
    char *folders[] = {sub, allowed};
    (void)state;

    policy.deny = (ConfigList){.items = patterns, .count = 2};
    assert_opens("x", "hello");
    assert_refused("sub/private.key", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("sub//./private.key", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("sub/PRIVATE.KEY", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("sub/missing.key", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED"); /* tells nothing */
    assert_refused(".ssh/id", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    policy.follow_symlinks = true;
    assert_refused("harmless", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("other/private.key", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");

    policy = standard; /* an inner folder that is allowed too opens no way around */
    patterns[2] = (char[]){"sub"};
    policy.allow = (ConfigList){.items = folders, .count = 2};
    policy.deny = (ConfigList){.items = patterns + 2, .count = 1};
    assert_refused_below("allowed/sub/x", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    patterns[2] = sub; /* an absolute pattern */
    assert_refused_below("allowed/sub/x", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_opens("x", "hello");
}

static void a_second_name_is_refused_if_asked_for(void **state)
{
    (void)state;
    assert_opens("hard", "secret"); /* the default: links on one disk are common */
    policy.single_link = true;
    assert_refused("hard", 0, ERROR_PERMISSION_DENIED, "HARD_LINKED");
    assert_opens("x", "hello");
}

static void only_files_of_the_owners_are_opened(void **state)
{
    char *name = (char[]){"somebody"};
    (void)state;

    policy.owner = (ConfigList){.items = &name, .count = 1};
    policy.owner_ids[0] = getuid();
    assert_opens("x", "hello");
    policy.owner_ids[0] = getuid() + 1;
    assert_refused("x", 0, ERROR_PERMISSION_DENIED, "OWNER_NOT_ALLOWED");
}

static void an_old_kernel_that_can_not_keep_to_one_mount_gives_nothing(void **state)
{
    (void)state;
    policy.one_file_system = true;
    if (is_old_kernel)
        assert_refused("x", 0, ERROR_FAILED_PRECONDITION, "KERNEL_TOO_OLD");
    else
        assert_opens("x", "hello");
}

static void the_agents_own_key_stays_under_every_name(void **state)
{
    char *key = text_format("%s/secrets/secret", root);
    (void)state;

    policy.own_keys[0] = "/missing";
    policy.own_keys[1] = key;
    assert_refused("hard", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_opens("x", "hello");
    free(key);
}

/* How the refusal tells which key it is about. */
static void assert_message(const char *path, const char *words)
{
    AllowedFile file;
    Problem problem = {0};

    assert_int_equal(policy_open(&policy, path, 0, &file, &problem), -1);
    if (!strstr(problem.message, words))
        fail_msg("'%s' is not in: %s", words, problem.message);
}

static void want_of_memory_or_descriptors_is_no_verdict(void **state)
{
    struct rlimit usual, none;
    (void)state;

    is_out_of_memory = true;
    assert_refused("x", 0, ERROR_UNAVAILABLE, "OUT_OF_MEMORY");
    assert_refused(allowed, 0, ERROR_UNAVAILABLE, "OUT_OF_MEMORY");
    is_out_of_memory = false;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_refused("x", 0, ERROR_UNAVAILABLE, "OUT_OF_MEMORY");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_opens("x", "hello");
}

static void a_refusal_names_its_key(void **state)
{
    char *pattern = (char[]){"x"};
    (void)state;

    assert_message("/etc/passwd", "[files] allow");
    assert_message("inside", "[files] follow_symlinks");
    policy.deny = (ConfigList){.items = &pattern, .count = 1};
    assert_message("x", "[files] deny");
    policy.single_link = true;
    assert_message("hard", "[files] single_link");
    policy.owner = (ConfigList){.items = &pattern, .count = 1};
    policy.owner_ids[0] = getuid() + 1;
    assert_message("-dash", "[files] owner");
    policy = (Policy){0};
    assert_message("x", "lists no folder");
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(files_below_the_folder_are_opened_by_any_spelling, reset),
        cmocka_unit_test_setup(what_is_outside_is_refused, reset),
        cmocka_unit_test_setup(symbolic_links_are_not_followed, reset),
        cmocka_unit_test_setup(only_regular_files_are_opened, reset),
        cmocka_unit_test_setup(the_smaller_of_both_size_limits_counts, reset),
        cmocka_unit_test_setup(the_kernels_file_systems_are_closed_even_if_everything_is_allowed, reset),
        cmocka_unit_test_setup(nothing_is_readable_by_default, reset),
        cmocka_unit_test_setup(an_allowed_folder_that_a_link_leads_to_gives_nothing, reset),
        cmocka_unit_test_setup(links_are_followed_if_asked_for_but_never_out, reset),
        cmocka_unit_test_setup(deny_goes_before_allow_by_whatever_way, reset),
        cmocka_unit_test_setup(a_second_name_is_refused_if_asked_for, reset),
        cmocka_unit_test_setup(only_files_of_the_owners_are_opened, reset),
        cmocka_unit_test_setup(the_agents_own_key_stays_under_every_name, reset),
        cmocka_unit_test_setup(an_old_kernel_that_can_not_keep_to_one_mount_gives_nothing, reset),
        cmocka_unit_test_setup(want_of_memory_or_descriptors_is_no_verdict, reset),
        cmocka_unit_test_setup(a_refusal_names_its_key, reset),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* The same in a child that has no openat2. */
static int run_without(int error)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        is_old_kernel = true;
        _exit(hide_openat2(error) < 0 ? 99 : run());
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

int main(void)
{
    return run() + run_without(ENOSYS) + run_without(EPERM);
}
