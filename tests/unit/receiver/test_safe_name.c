#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/text.h"
#include "receiver/safe_name.h"

#include <string.h>

static const struct {
    const char *path, *name;
} cases[] = {
    {"/var/log/syslog", "syslog"},
    {"syslog", "syslog"},
    {"/srv/with space/a b.txt", "a b.txt"},
    {"/srv/grüße – 日本.txt", "grüße – 日本.txt"},
    {"/srv/folder/", "folder"},
    {"/srv/folder///", "folder"},
    {"", "fallback"},
    {"/", "fallback"},
    {"/srv/..", "fallback"},
    {"/srv/.", "fallback"},
    {"..", "fallback"},
    {"/srv/...", "_.."},
    {"/srv/.bashrc", "_bashrc"},
    {"/srv/-rf", "_rf"},
    {"/srv/--help", "_-help"},
    {"/srv/ x", "_x"},
    {"/srv/a\nb\tc\x7f", "a_b_c_"},
    {"/srv/\x1b[31mred", "_[31mred"},
    {"C:\\Users\\x", "C:_Users_x"},
    {"/srv/\xff\xfe", "__"},
    {"/srv/\xc3", "_"},
    {"/srv/a\xc2\x85z", "a_z"},                 /* NEL, a C1 control */
    {"/srv/a\xe2\x80\xaetxt.exe", "a_txt.exe"}, /* right-to-left override */
    {"/srv/a\xe2\x80\x8bz", "a_z"},             /* zero width space */
    {"/srv/\xed\xa0\x80", "___"},               /* a surrogate */
    {"/srv/\xf0\x9f\x98\x80.png", "\xf0\x9f\x98\x80.png"},
};

static void hostile_names_become_safe_and_ordinary_ones_stay(void **state)
{
    char name[SAFE_NAME_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        safe_name(cases[i].path, "fallback", name);
        assert_string_equal(name, cases[i].name);
    }
}

static void long_names_are_cut_at_a_whole_character(void **state)
{
    char path[600], name[SAFE_NAME_SIZE];

    (void)state;
    memset(path, 'a', 254);
    strcpy(path + 254, "\xc3\xbc\xc3\xbc");
    safe_name(path, "fallback", name);
    assert_int_equal(strlen(name), 254);
    memset(path, 'b', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    safe_name(path, "fallback", name);
    assert_int_equal(strlen(name), 255);
}

static void every_byte_gives_a_name_that_is_safe(void **state)
{
    char path[] = "/srv/xyx", name[SAFE_NAME_SIZE];

    (void)state;
    for (int first = 1; first < 256; first++) {
        for (int second = 1; second < 256; second++) {
            path[5] = (char)first;
            path[6] = (char)second;
            safe_name(path, "fallback", name);
            assert_true(*name && !strchr(name, '/') && *name != '.' && *name != '-');
            assert_true(text_is_utf8(name, strlen(name)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_names_become_safe_and_ordinary_ones_stay),
        cmocka_unit_test(long_names_are_cut_at_a_whole_character),
        cmocka_unit_test(every_byte_gives_a_name_that_is_safe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
