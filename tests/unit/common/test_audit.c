#include "common/audit.h"

#include "common/files.h"
#include "common/text.h"
#include "tests/unit/protocol/cmocka_.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

typedef struct Fixture {
    char folder[64], path[80], moved[80];
    Audit *audit;
} Fixture;

static int set_up(void **state)
{
    Fixture *fixture = calloc(1, sizeof(*fixture));
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/beckon-test-audit-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/audit.log", fixture->folder);
    (void)snprintf(fixture->moved, sizeof(fixture->moved), "%s/audit.log.1", fixture->folder);
    *state = fixture;
    return audit_open(fixture->path, "tester", &fixture->audit);
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    (void)audit_close(fixture->audit);
    (void)unlink(fixture->path);
    (void)unlink(fixture->moved);
    int r = rmdir(fixture->folder);
    free(fixture);
    return r;
}

static char *content(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(file_read(path, 1 << 20, &text, &size), 0);
    assert_int_equal(strlen(text), size);
    return text;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* The only line of the file, parsed. */
static cJSON *only_line(const Fixture *fixture)
{
    char *text CLEANUP(free_ptr) = content(fixture->path);
    assert_int_equal(count_lines(text), 1);
    assert_int_equal(text[strlen(text) - 1], '\n');
    cJSON *line = cJSON_Parse(text);
    assert_non_null(line);
    return line;
}

static const char *member(const cJSON *line, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, name));
}

static void a_line_says_who_asked_for_what(void **state)
{
    Fixture *fixture = *state;
    const AuditEvent event = {.user = "alice",
                              .from = "10.0.0.7",
                              .what = "POST /download",
                              .client = "restaurant_1",
                              .file = "/srv/caf\xc3\xa9 \"1\"",
                              .upload = "u1",
                              .status = 202};
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    cJSON *line = only_line(fixture);
    assert_int_equal(strlen(member(line, "time")), strlen("2026-11-21T11:06:04.123Z"));
    assert_string_equal(member(line, "program"), "tester");
    assert_string_equal(member(line, "user"), "alice");
    assert_string_equal(member(line, "from"), "10.0.0.7");
    assert_string_equal(member(line, "what"), "POST /download");
    assert_string_equal(member(line, "client"), "restaurant_1");
    assert_string_equal(member(line, "file"), "/srv/caf\xc3\xa9 \"1\"");
    assert_string_equal(member(line, "id"), "u1");
    assert_string_equal(member(line, "result"), "ok");
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(line, "status")), 202);
    assert_null(cJSON_GetObjectItem(line, "unwritten"));
    cJSON_Delete(line);
    struct stat info;
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
}

/* What a stranger sends stays in its place, whatever it is: the line is one line, of printable characters. */
static void nothing_forges_a_line(void **state)
{
    static const struct {
        const char *sent, *read;
    } cases[] = {
        {"a\r\n{\"user\":\"root\"}", "a\r\n{\"user\":\"root\"}"},
        {"\",\"user\":\"root", "\",\"user\":\"root"},
        {"\x1b[2J\x07\x7f", "\x1b[2J\x07\x7f"},
        {"\xc2\x9b"
         "2J",
         "\xc2\x9b"
         "2J"}, /* CSI of ISO 6429, as one character */
        {"\xe2\x80\xae"
         "gpj.exe",
         "\xe2\x80\xae"
         "gpj.exe"},                              /* right to left from here */
        {"\xe2\x80\xa8next", "\xe2\x80\xa8next"}, /* a line separator */
        {"\xff\xfe"
         "a\xc3",
         "\xef\xbf\xbd\xef\xbf\xbd"
         "a\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {"<script>\\u000a", "<script>\\u000a"},
    };
    Fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const AuditEvent event = {.user = cases[i].sent, .file = cases[i].sent, .reason = cases[i].sent};
        assert_int_equal(truncate(fixture->path, 0), 0);
        assert_int_equal(audit_write(fixture->audit, &event), 0);
        cJSON *line = only_line(fixture);
        assert_string_equal(member(line, "user"), cases[i].read);
        assert_string_equal(member(line, "file"), cases[i].read);
        assert_string_equal(member(line, "result"), cases[i].read);
        cJSON_Delete(line);
        char *raw CLEANUP(free_ptr) = content(fixture->path), shown[4096];
        raw[strlen(raw) - 1] = '\0';
        assert_string_equal(text_printable(raw, shown, sizeof(shown)), raw);
    }
}

static void long_texts_are_cut_at_a_character(void **state)
{
    Fixture *fixture = *state;
    char *text CLEANUP(free_ptr) = calloc(1, 3 * AUDIT_TEXT_MAX + 1);
    for (size_t i = 0; i < AUDIT_TEXT_MAX; i++)
        memcpy(text + 3 * i, "\xe2\x82\xac", 3); /* the euro sign */
    const AuditEvent event = {.what = text, .client = text, .file = text, .upload = text, .reason = text};
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    cJSON *line = only_line(fixture);
    size_t length = strlen(member(line, "file"));
    assert_true(length <= AUDIT_TEXT_MAX + 3 && length > AUDIT_TEXT_MAX - 3);
    assert_string_equal(member(line, "file") + length - 6, "\xe2\x82\xac\xe2\x80\xa6");
    assert_true(text_is_utf8(member(line, "file"), length));
    cJSON_Delete(line);
}

static void after_a_rotation_lines_go_into_a_new_file(void **state)
{
    Fixture *fixture = *state;
    const AuditEvent event = {.user = "alice"};
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    assert_int_equal(audit_write(fixture->audit, &event), 0); /* not told yet */
    audit_reopen(fixture->audit);
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    char *old CLEANUP(free_ptr) = content(fixture->moved), *new CLEANUP(free_ptr) = content(fixture->path);
    assert_int_equal(count_lines(old), 2);
    assert_int_equal(count_lines(new), 1);
}

static void a_rotation_that_fails_keeps_the_old_file(void **state)
{
    Fixture *fixture = *state;
    const AuditEvent event = {.user = "alice"};
    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    assert_int_equal(symlink("/dev/null", fixture->path), 0);
    audit_reopen(fixture->audit);
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    char *old CLEANUP(free_ptr) = content(fixture->moved);
    assert_int_equal(count_lines(old), 1);
}

static void only_a_regular_file_is_taken(void **state)
{
    Fixture *fixture = *state;
    Audit *audit = NULL;
    assert_int_equal(symlink(fixture->path, fixture->moved), 0);
    assert_int_equal(audit_open(fixture->moved, "tester", &audit), -ELOOP);
    assert_int_equal(unlink(fixture->moved), 0);
    assert_int_equal(mkfifo(fixture->moved, 0600), 0);
    assert_int_equal(audit_open(fixture->moved, "tester", &audit), -ENXIO);
    assert_int_equal(audit_open("/dev/null", "tester", &audit), -EINVAL);
    assert_int_equal(audit_open(fixture->folder, "tester", &audit), -EISDIR);
    assert_int_equal(audit_open("/dev/null/audit.log", "tester", &audit), -ENOTDIR);
    assert_null(audit);
}

static void what_was_there_stays(void **state)
{
    Fixture *fixture = *state;
    Audit *again = NULL;
    const AuditEvent event = {.user = "alice"};
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    assert_int_equal(chmod(fixture->path, 0600), 0);
    assert_int_equal(audit_open(fixture->path, "tester", &again), 0);
    assert_int_equal(audit_write(again, &event), 0);
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    (void)audit_close(again);
    char *text CLEANUP(free_ptr) = content(fixture->path);
    assert_int_equal(count_lines(text), 3);
    struct stat info;
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

/* A limit on the file's size stands in for a full disk: it too leaves half a line. */
static void a_full_disk_is_told_and_half_a_line_stays_alone(void **state)
{
    Fixture *fixture = *state;
    const AuditEvent event = {.user = "alice", .what = "GET /clients"};
    struct rlimit was, small;
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    char *first CLEANUP(free_ptr) = content(fixture->path);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = strlen(first) + 20;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int halfway = audit_write(fixture->audit, &event), none = audit_write(fixture->audit, &event);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(halfway, -ENOSPC);
    assert_true(none < 0);
    assert_int_equal(audit_write(fixture->audit, &event), 0);
    char *text CLEANUP(free_ptr) = content(fixture->path);
    assert_int_equal(count_lines(text), 3);
    char *last = strrchr(text, '{');
    cJSON *line = cJSON_Parse(last);
    assert_non_null(line);
    assert_string_equal(member(line, "user"), "alice");
    cJSON_Delete(line);
}

static void without_a_log_nothing_is_written(void **state)
{
    (void)state;
    assert_int_equal(audit_write(NULL, &(AuditEvent){.user = "alice"}), 0);
}

#define WRITERS 4
#define LINES 500

static void *write_lines(void *userdata)
{
    char file[600];
    memset(file, 'x', sizeof(file));
    file[sizeof(file) - 1] = '\0';
    for (int i = 0; i < LINES; i++)
        if (audit_write(userdata, &(AuditEvent){.user = "alice", .file = file}) < 0)
            return userdata;
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    Fixture *fixture = *state;
    pthread_t threads[WRITERS];
    size_t lines = 0;
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, fixture->audit), 0);
    for (size_t i = 0; i < WRITERS; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    char *text = NULL, *rest = NULL;
    size_t size = 0;
    assert_int_equal(file_read(fixture->path, 16 << 20, &text, &size), 0);
    for (char *at = strtok_r(text, "\n", &rest); at; at = strtok_r(NULL, "\n", &rest), lines++) {
        cJSON *line = cJSON_Parse(at);
        assert_non_null(line);
        cJSON_Delete(line);
    }
    free(text);
    assert_int_equal(lines, WRITERS * LINES);
}

int main(void)
{
#define AUDIT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        AUDIT_TEST(a_line_says_who_asked_for_what),
        AUDIT_TEST(nothing_forges_a_line),
        AUDIT_TEST(long_texts_are_cut_at_a_character),
        AUDIT_TEST(after_a_rotation_lines_go_into_a_new_file),
        AUDIT_TEST(a_rotation_that_fails_keeps_the_old_file),
        AUDIT_TEST(only_a_regular_file_is_taken),
        AUDIT_TEST(what_was_there_stays),
        AUDIT_TEST(a_full_disk_is_told_and_half_a_line_stays_alone),
        AUDIT_TEST(without_a_log_nothing_is_written),
        AUDIT_TEST(lines_of_several_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
