#include "common/text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void printable_escapes_what_a_terminal_obeys(void **state)
{
    char out[64];
    (void)state;

    assert_string_equal(text_printable("a\n\x1b[31mb\x7f", out, sizeof(out)), "a\\n\\x1b[31mb\\x7f");
    assert_string_equal(text_printable("caf\xc3\xa9", out, sizeof(out)), "caf\xc3\xa9");
    assert_string_equal(text_printable("\xc2\x9b", out, sizeof(out)),
                        "\\u009b"); /* C1: a CSI in one character */
    assert_string_equal(text_printable("a\u202etxt\u2069\u200b\u2028", out, sizeof(out)),
                        "a\\u202etxt\\u2069\\u200b\\u2028");
    assert_string_equal(text_printable("\U000e0041", out, sizeof(out)), "\\ue0041");
    assert_string_equal(text_printable("\xff\xc3", out, sizeof(out)), "\\xff\\xc3");
}

static void printable_json_means_the_same(void **state)
{
    static const char *const texts[][2] = {
        {"{\"a\":\"b\\n\"}", "{\"a\":\"b\\n\"}"},
        {"{\r\n\t\"a\":\t\"\x1b\"\n}", "{ \n\t\"a\":\t\"\\u001b\"\n}"},
        {"[\"\x7f\xc2\x9b\u202e\"]", "[\"\\u007f\\u009b\\u202e\"]"},
        {"\"\U000e0041\U0001f355\"", "\"\\udb40\\udc41\U0001f355\""},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char *shown = text_printable_json(texts[i][0]);
        assert_string_equal(shown, texts[i][1]);
        free(shown);
    }
}

static void printable_cuts_at_a_whole_escape(void **state)
{
    char out[6];
    (void)state;

    assert_string_equal(text_printable("ab\x01z", out, sizeof(out)), "ab");
    assert_string_equal(text_printable("abc\xc3\xa9zz", out, sizeof(out)), "abc\xc3\xa9");
}

static void utf8_refuses_overlong_surrogate_and_nul(void **state)
{
    (void)state;
    assert_true(text_is_utf8("\xf0\x9f\x8d\x95", 4));
    assert_false(text_is_utf8("\xc0\xaf", 2));
    assert_false(text_is_utf8("\xe0\x80\xaf", 3));
    assert_false(text_is_utf8("\xed\xa0\x80", 3));
    assert_false(text_is_utf8("\xf4\x90\x80\x80", 4));
    assert_false(text_is_utf8("\xe2\x82", 2));
    assert_false(text_is_utf8("a\0b", 3));
}

static void sizes_and_durations_are_whole_and_bounded(void **state)
{
    uint64_t value = 7;
    (void)state;

    assert_true(text_to_size("2G", &value));
    assert_int_equal(value, 2147483648U);
    assert_true(text_to_duration("7d", &value));
    assert_int_equal(value, 604800000);
    assert_true(text_to_duration("30", &value));
    assert_int_equal(value, 30000);
    assert_true(text_to_u64("18446744073709551615", &value));
    value = 7;
    assert_false(text_to_u64("18446744073709551616", &value));
    assert_false(text_to_size("99999999999T", &value));
    assert_false(text_to_size("2g", &value));
    assert_false(text_to_size("-1", &value));
    assert_false(text_to_size("", &value));
    assert_false(text_to_size("1 K", &value));
    assert_false(text_to_duration("1.5h", &value));
    assert_int_equal(value, 7); /* untouched */
}

static void base64_has_one_spelling(void **state)
{
    static const char *const good[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                       "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"}; /* RFC 4648 section 10 */
    static const char *const bad[] = {
        "Zg", "Zg=", "Zg===", "Z===", "Zh==", "Zm9=", "Z g=", "Zm9v\n", "====", "Zm-_"};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        void *data = NULL;
        size_t size = 0;
        assert_int_equal(text_unbase64(good[i], strlen(good[i]), &data, &size), 0);
        assert_int_equal(size, i);
        assert_memory_equal(data, "foobar", size);
        char *again = text_base64(data, size);
        assert_string_equal(again, good[i]);
        free(again);
        free(data);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        void *data = NULL;
        size_t size = 0;
        assert_int_equal(text_unbase64(bad[i], strlen(bad[i]), &data, &size), -EINVAL);
    }
}

static void base64url_uses_its_alphabet_without_padding(void **state)
{
    void *data = NULL;
    size_t size = 0;
    (void)state;

    char *text = text_base64url("\xfb\xff\xfe", 3);
    assert_string_equal(text, "-__-");
    assert_int_equal(text_unbase64url(text, 4, &data, &size), 0);
    assert_memory_equal(data, "\xfb\xff\xfe", 3);
    free(text);
    free(data);
    assert_int_equal(text_unbase64url("Zg==", 4, &data, &size), -EINVAL);
    assert_int_equal(text_unbase64url("+/+/", 4, &data, &size), -EINVAL);
}

static void percent_coding_comes_back(void **state)
{
    (void)state;
    char *encoded = text_percent_encode("/a b/\n\xc3\xa9%", "/");
    assert_string_equal(encoded, "/a%20b/%0A%C3%A9%25");
    char *decoded = text_percent_decode(encoded);
    assert_string_equal(decoded, "/a b/\n\xc3\xa9%");
    free(encoded);
    free(decoded);
    assert_null(text_percent_decode("%00"));
    assert_null(text_percent_decode("%4"));
    assert_null(text_percent_decode("%zz"));
}

static void times_and_bytes_read_well(void **state)
{
    char at[TEXT_TIME_SIZE], bytes[TEXT_BYTES_SIZE];
    (void)state;

    text_time(1795259164123, at);
    assert_string_equal(at, "2026-11-21T11:06:04.123Z");
    text_time(-1, at);
    assert_string_equal(at, "1969-12-31T23:59:59.999Z");
    text_bytes(0, bytes);
    assert_string_equal(bytes, "0 B");
    text_bytes(1400000000, bytes);
    assert_string_equal(bytes, "1.4 GB");
    text_bytes(999999, bytes);
    assert_string_equal(bytes, "1.0 MB");
}

static void hexadecimal_needs_every_digit(void **state)
{
    unsigned char data[2];
    char text[5];
    (void)state;

    text_hex("\x0f\xa0", 2, text);
    assert_string_equal(text, "0fa0");
    assert_true(text_unhex("0FA0", data, 2));
    assert_memory_equal(data, "\x0f\xa0", 2);
    assert_false(text_unhex("0fa", data, 2));
    assert_false(text_unhex("0fa00", data, 2));
    assert_false(text_unhex("0fag", data, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_escapes_what_a_terminal_obeys),
        cmocka_unit_test(printable_json_means_the_same),
        cmocka_unit_test(printable_cuts_at_a_whole_escape),
        cmocka_unit_test(utf8_refuses_overlong_surrogate_and_nul),
        cmocka_unit_test(sizes_and_durations_are_whole_and_bounded),
        cmocka_unit_test(base64_has_one_spelling),
        cmocka_unit_test(base64url_uses_its_alphabet_without_padding),
        cmocka_unit_test(percent_coding_comes_back),
        cmocka_unit_test(times_and_bytes_read_well),
        cmocka_unit_test(hexadecimal_needs_every_digit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
