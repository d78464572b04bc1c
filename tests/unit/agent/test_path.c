#include "agent/path.h"
#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_spelling_of_a_path_is_one(void **state)
{
    static const char *const cases[][2] = {{"/a/b", "/a/b"},
                                           {"//a//b//", "/a/b"},
                                           {"/./a/././b/.", "/a/b"},
                                           {"/", "/"},
                                           {"///", "/"},
                                           {"/./.", "/"},
                                           {"/a/.../b", "/a/.../b"},
                                           {"/a./.b", "/a./.b"},
                                           {"/..a/b..", "/..a/b.."}};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "%s", cases[i][0]);
        assert_true(path_normalize(path));
        assert_string_equal(path, cases[i][1]);
    }
}

static void a_path_that_goes_up_is_none(void **state)
{
    static const char *const cases[] = {"..",      "/..",     "/a/..",      "/../a",
                                        "/a/../b", "/a/b/..", "/a/./..//b", "/../.."};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "%s", cases[i]);
        if (path_normalize(path))
            fail_msg("%s", cases[i]);
    }
}

static void a_folder_is_no_mere_prefix(void **state)
{
    static const struct {
        const char *path, *folder, *below;
    } cases[] = {{"/a/b/c", "/a", "b/c"}, {"/a", "/a", ""},    {"/ab", "/a", NULL},  {"/a", "/a/b", NULL},
                 {"/a/b", "/", "a/b"},    {"/", "/", ""},      {"/A/b", "/a", NULL}, {"/", "/a", NULL},
                 {"/a.b/c", "/a", NULL},  {"/a/b", "/a/b", ""}};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *below = path_below(cases[i].path, cases[i].folder);
        if (!cases[i].below != !below || (below && strcmp(below, cases[i].below) != 0))
            fail_msg("%s below %s: %s", cases[i].path, cases[i].folder, below ? below : "NULL");
    }
}

static void patterns_match_names_or_whole_folders(void **state)
{
    static const struct {
        const char *below, *pattern; /* below /srv */
        bool matches;
    } cases[] = {
        {"a.key", "*.key", true},
        {"x/a.key", "*.key", true},
        {"x/.key", "*.key", true}, /* '*' takes a leading dot */
        {"a.KEY", "*.key", true},  /* FAT knows no difference */
        {"a.key/x", "*.key", true},
        {"a.keys", "*.key", false},
        {"a.key.txt", "*.key", false},
        {".ssh/id", ".ssh", true},
        {"x/.ssh/y/z", ".ssh", true},
        {".sshx/id", ".ssh", false},
        {"x.ssh", ".ssh", false},
        {"srv/x", "srv", true}, /* but not the /srv above it */
        {"x", "srv", false},
        {"secret-1", "secret-[0-9]", true},
        {"secret-a", "secret-[0-9]", false},
        {"a\nb.key", "*.key", true},
        {"\xc3\xa9.key", "*.key", true},
        {"a*b", "a\\*b", true},
        {"axb", "a\\*b", false},
        {"private", "/srv/private", true},
        {"private/x/y", "/srv/private", true},
        {"PRIVATE/x", "/srv/private", true},
        {"private2/x", "/srv/private", false},
        {"x/private", "/srv/private", false},
        {"a/private/x", "/srv/*/private", true},
        {"a/b/private/x", "/srv/*/private", false}, /* '*' is one name */
        {"x", "/srv", true},
        {"x", "/*", true},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char path[64];
        int length = snprintf(path, sizeof(path), "/srv/%s", cases[i].below);
        assert_true(length < (int)sizeof(path));
        if (path_matches(path, path + strlen("/srv/"), cases[i].pattern) != cases[i].matches)
            fail_msg("%s and %s", cases[i].below, cases[i].pattern);
    }
}

static void a_pattern_that_would_deny_less_than_it_seems_is_refused(void **state)
{
    static const char *const good[] = {"*.key", ".ssh", "*", "/srv/private", "/srv/*/x", "...", "/a/b.c"},
                             *const bad[] = {"",      "a/b", "a/",      "./a",  "**", "/a/**/b", "/a/",
                                             "/a//b", "/",   "/a/../b", "/./a", "..", ".",       "../x"};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (!path_pattern_is_valid(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (path_pattern_is_valid(bad[i]))
            fail_msg("taken: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_of_a_path_is_one),
        cmocka_unit_test(a_path_that_goes_up_is_none),
        cmocka_unit_test(a_folder_is_no_mere_prefix),
        cmocka_unit_test(patterns_match_names_or_whole_folders),
        cmocka_unit_test(a_pattern_that_would_deny_less_than_it_seems_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
