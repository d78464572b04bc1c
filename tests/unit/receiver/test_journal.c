#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "receiver/journal.h"

#include <errno.h>
#include <string.h>

#define HEAD "{\"client\":\"r1\",\"id\":\"a\",\"path\":\"/srv/x\"}\n"
#define SHA "\"sha256\":\"0101010101010101010101010101010101010101010101010101010101010101\"}\n"

static int parse(const char *text, PartRecord *record, size_t *ret_marks)
{
    Mark *marks = NULL;
    size_t count = 0;
    int r = journal_parse(text, strlen(text), record, &marks, &count);

    *ret_marks = count;
    free(marks);
    return r;
}

static void what_was_written_is_read_again(void **state)
{
    PartRecord *written = calloc(1, sizeof(*written)), *record = calloc(1, sizeof(*record));
    Mark mark = {.offset = 9007199254740992, .sha256 = {1, 2, 3}}, *marks = NULL;
    size_t count = 0;

    (void)state;
    *written = (PartRecord){.client = "r.1",
                            .id = "a-_b",
                            .path = "/srv/\"a\"\n\xc3\xa9",
                            .has_length = true,
                            .length = 9007199254740992,
                            .attempt = 7,
                            .deleted = true};
    char *text = journal_head_format(written, &mark);
    assert_int_equal(journal_parse(text, strlen(text), record, &marks, &count), 0);
    assert_memory_equal(record, written, sizeof(*record));
    assert_int_equal(count, 1);
    assert_memory_equal(marks, &mark, sizeof(mark));
    free(marks);
    free(text);
    free(record);
    free(written);
}

static void later_lines_change_what_is_known(void **state)
{
    PartRecord *record = calloc(1, sizeof(*record));
    size_t marks = 0;

    (void)state;
    assert_int_equal(parse(HEAD "{\"attempt\":2}\n{\"offset\":1," SHA
                                "{\"length\":5,\"attempt\":3}\n{\"offset\":5," SHA,
                           record, &marks),
                     0);
    assert_int_equal(record->attempt, 3);
    assert_true(record->has_length);
    assert_int_equal(record->length, 5);
    assert_false(record->deleted);
    assert_int_equal(marks, 2);
    free(record);
}

static void a_bad_line_ends_the_reading_and_nothing_of_it_counts(void **state)
{
    static const char *const bad[] = {"{\"attempt\":9,\"length\":\"x\"}\n",
                                      "{\"attempt\":9,\"offset\":4}\n",
                                      "{\"attempt\":9",
                                      "\n",
                                      "{\"attempt\":-1}\n",
                                      "{\"offset\":0," SHA,
                                      "\x01\x02\n",
                                      "{\"offset\":2,\"sha256\":\"01\"}\n"};
    PartRecord *record = calloc(1, sizeof(*record));
    size_t marks = 0;
    char text[600];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        (void)snprintf(text, sizeof(text), HEAD "{\"attempt\":2,\"offset\":1," SHA "%s{\"attempt\":8}\n",
                       bad[i]);
        assert_int_equal(parse(text, record, &marks), 0);
        assert_int_equal(record->attempt, 2);
        assert_false(record->has_length);
        assert_int_equal(marks, 1);
    }
    free(record);
}

static void without_a_good_first_line_there_is_nothing(void **state)
{
    static const char *const bad[] = {"",
                                      "{}\n",
                                      "{\"client\":\"r1\",\"id\":\"a\",\"path\":\"x\"}",
                                      "{\"client\":\"../r1\",\"id\":\"a\",\"path\":\"x\"}\n",
                                      "{\"client\":\"r1\",\"id\":\"a.b\",\"path\":\"x\"}\n",
                                      "{\"client\":\"r1\",\"id\":\"a\",\"path\":\"\"}\n",
                                      "{\"client\":\"r1\",\"id\":\"a\",\"path\":\"x\",\"length\":-1}\n",
                                      "{\"attempt\":2}\n" HEAD};
    PartRecord *record = calloc(1, sizeof(*record));
    size_t marks = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(parse(bad[i], record, &marks), -EBADMSG);
    free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_again),
        cmocka_unit_test(later_lines_change_what_is_known),
        cmocka_unit_test(a_bad_line_ends_the_reading_and_nothing_of_it_counts),
        cmocka_unit_test(without_a_good_first_line_there_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
