#include "common/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static cJSON *parse(const char *text)
{
    return json_parse_object(text, strlen(text), 1024);
}

static void only_one_whole_object_is_taken(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "7",
        "{",
        "{}x",
        "{} {}",
        "{\"a\":1,}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\xff\"}",
        "nul",
        "{\"a\":\"\n\"}",
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_null(parse(bad[i]));
    cJSON *object = parse(" {\"a\":\"\\\\u0000\"} \r\n");
    assert_non_null(object);
    cJSON_Delete(object);
    assert_null(json_parse_object("{\"a\":1}", 7, 6));
}

static void nesting_is_bounded(void **state)
{
    char text[64] = "{\"a\":";
    (void)state;

    for (int i = 0; i < 16; i++)
        strcat(text, "[");
    for (int i = 0; i < 16; i++)
        strcat(text, "]");
    strcat(text, "}");
    assert_null(parse(text));
    cJSON *object = parse("{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}");
    assert_non_null(object);
    cJSON_Delete(object);
    object = parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[\"}"); /* brackets in a string are text */
    assert_non_null(object);
    cJSON_Delete(object);
}

static void numbers_are_whole_and_exact(void **state)
{
    static const char *const bad[] = {"{\"n\":-1}",    "{\"n\":1.5}",   "{\"n\":9007199254740994}",
                                      "{\"n\":\"1\"}", "{\"n\":1e300}", "{\"n\":true}"};
    uint64_t value = 7;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cJSON *object = parse(bad[i]);
        assert_non_null(object);
        assert_int_equal(json_get_u64(object, "n", &value), JSON_E_TYPE);
        assert_int_equal(value, 7);
        cJSON_Delete(object);
    }
    cJSON *object = cJSON_CreateObject();
    assert_true(json_add_u64(object, "n", 9007199254740991));
    char *text = cJSON_PrintUnformatted(object);
    assert_string_equal(text, "{\"n\":9007199254740991}");
    cJSON *again = parse(text);
    assert_int_equal(json_get_u64(again, "n", &value), JSON_OK);
    assert_true(value == 9007199254740991);
    cJSON_Delete(again);
    cJSON_Delete(object);
    free(text);
}

static void strings_that_do_not_fit_are_refused(void **state)
{
    char out[4] = "old";
    (void)state;

    cJSON *object = parse("{\"s\":\"abcd\",\"t\":\"abc\",\"z\":null}");
    assert_int_equal(json_get_string(object, "s", out, sizeof(out)), JSON_E_TYPE);
    assert_string_equal(out, "old");
    assert_int_equal(json_get_string(object, "t", out, sizeof(out)), JSON_OK);
    assert_string_equal(out, "abc");
    assert_int_equal(json_get_string(object, "z", out, sizeof(out)), JSON_E_ABSENT);
    assert_int_equal(json_get_string(object, "T", out, sizeof(out)), JSON_E_ABSENT); /* names have case */
    cJSON_Delete(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_one_whole_object_is_taken),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(numbers_are_whole_and_exact),
        cmocka_unit_test(strings_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
