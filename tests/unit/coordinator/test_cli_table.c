#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/cli/table.h"

#include <locale.h>

static void columns_line_up_whatever_the_script(void **state)
{
    static const char *const titles[] = {"CLIENT", "FILE"};
    const char *const rows[][2] = {
        {"dev1", "/a"}, {"a-longer-name", "/b"}, {"K\xc3\xb6ln", "/c"}, {"\xe6\x9d\xb1", "/d"}};
    char *text = NULL;
    size_t size = 0;
    (void)state;

    Table *table = table_new(titles, 2);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(table_add(table, rows[i]), 0);
    FILE *stream = open_memstream(&text, &size);
    table_print(table, stream);
    (void)fclose(stream);
    assert_null(table_free(table));
    assert_string_equal(text, "CLIENT         FILE\n"
                              "dev1           /a\n"
                              "a-longer-name  /b\n"
                              "K\xc3\xb6ln           /c\n"
                              "\xe6\x9d\xb1             /d\n");
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(columns_line_up_whatever_the_script)};
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
