#include "cmocka_.h"
#include "common/text.h"
#include "protocol/digest.h"

#include <string.h>

/* RFC 9530 appendix B.1: {"hello": "world"} and a newline. */
#define RFC9530_FIELD "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
static const char rfc9530_body[] = "{\"hello\": \"world\"}\n";
#define HALF_FIELD "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg"

static void sha256(const void *data, size_t size, size_t step, uint8_t out[static SHA256_SIZE])
{
    Digest *digest = NULL;
    assert_int_equal(digest_new(&digest), 0);
    for (size_t at = 0; at < size; at += step)
        assert_int_equal(digest_update(digest, (const char *)data + at, size - at < step ? size - at : step),
                         0);
    assert_int_equal(digest_final(digest, out), 0);
    assert_null(digest_free(digest));
}

static void assert_sha256(const void *data, size_t size, size_t step, const char *expected)
{
    uint8_t out[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];
    sha256(data, size, step, out);
    text_hex(out, sizeof(out), hex);
    assert_string_equal(hex, expected);
}

static void digests_are_those_of_fips_180(void **state)
{
    (void)state;
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_sha256("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sha256("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256(two_blocks, strlen(two_blocks), 100,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");

    size_t size = 1000000;
    char *million = malloc(size);
    assert_non_null(million);
    memset(million, 'a', size);
    assert_sha256(million, size, 8191, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void field_is_that_of_rfc_9530(void **state)
{
    (void)state;
    uint8_t digest[SHA256_SIZE], parsed[SHA256_SIZE];
    char field[DIGEST_FIELD_SIZE];
    sha256(rfc9530_body, strlen(rfc9530_body), 7, digest);
    digest_field_format(digest, field);
    assert_string_equal(field, RFC9530_FIELD);
    assert_int_equal(digest_field_parse(field, parsed), 0);
    assert_memory_equal(parsed, digest, SHA256_SIZE);
}

static void field_may_hold_more_than_ours(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "  " RFC9530_FIELD "  ",
        RFC9530_FIELD ";a",
        RFC9530_FIELD ";a;b=1; c=\"x\\\"y, z\";d=?0;e=:YQ==:;f=tok/en;*g=-1.5",
        "sha-512=:YQ==:," RFC9530_FIELD,
        "sha-512=:YQ==:;x=\",\" \t, \t" RFC9530_FIELD " ,\tmd5=::",
        RFC9530_FIELD ", sha-2567=:YQ==:, sha-25=:YQ==:",
        "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:, " RFC9530_FIELD, /* the last counts */
    };
    uint8_t expected[SHA256_SIZE];
    sha256(rfc9530_body, strlen(rfc9530_body), 1, expected);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        uint8_t parsed[SHA256_SIZE] = {0};
        print_message("%s\n", fields[i]);
        assert_int_equal(digest_field_parse(fields[i], parsed), 0);
        assert_memory_equal(parsed, expected, SHA256_SIZE);
    }
}

static void assert_field(const char *field, int expected)
{
    uint8_t out[SHA256_SIZE], untouched[SHA256_SIZE];
    memset(out, 0x5a, sizeof(out));
    memset(untouched, 0x5a, sizeof(untouched));
    print_message("%s\n", field);
    assert_int_equal(digest_field_parse(field, out), expected);
    assert_memory_equal(out, untouched, sizeof(out));
}

static void other_algorithms_alone_are_absent(void **state)
{
    (void)state;
    assert_field("", DIGEST_E_ABSENT);
    assert_field("   ", DIGEST_E_ABSENT);
    assert_field("sha-512=:YQ==:", DIGEST_E_ABSENT);
    assert_field("md5=::, unixsum=:AAA=:;q=1", DIGEST_E_ABSENT);
}

static void malformed_field_is_refused(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "sha-256",
        "sha-256=",
        "sha-256=:",
        "sha-256=::",
        "sha-256=1",
        "sha-256=?1",
        "sha-256=\"RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=\"",
        "SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        "sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", /* RFC 3230's form, and its name */
        "sha-256 =:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        "sha-256= :RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        HALF_FIELD,
        HALF_FIELD ":",                                           /* no padding */
        HALF_FIELD "==:",                                         /* too much of it */
        HALF_FIELD "h:",                                          /* 33 bytes */
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8Fabg==:", /* 31 bytes */
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDh=:", /* left-over bits */
        "sha-256=:RK_0qy18MlBSVnWgjwz6lZEWjP_lF5HF9bvEF8FabDg=:", /* the URL alphabet */
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8Fa Dg=:",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvE=F8FabDg:",
        "\t" RFC9530_FIELD,
        RFC9530_FIELD ",",
        RFC9530_FIELD ", ",
        "," RFC9530_FIELD,
        RFC9530_FIELD ",," RFC9530_FIELD,
        RFC9530_FIELD " " RFC9530_FIELD,
        RFC9530_FIELD "x",
        RFC9530_FIELD "\x01",
        RFC9530_FIELD ";",
        RFC9530_FIELD " ;a",
        RFC9530_FIELD ";A",
        RFC9530_FIELD ";a=",
        RFC9530_FIELD ";a=\"",
        RFC9530_FIELD ";a=\"\\",
        RFC9530_FIELD ";a=\"\\x\"",
        RFC9530_FIELD ";a=\"\xc3\xa9\"",
        RFC9530_FIELD ";a=:",
        RFC9530_FIELD ";a=:%:",
        RFC9530_FIELD ";a=?",
        RFC9530_FIELD ";a=?2",
        RFC9530_FIELD ";a=(1 2)",
        RFC9530_FIELD ", sha-512",
        RFC9530_FIELD ", sha-512=YQ==",
        RFC9530_FIELD ", sha-256=:YQ==:",
        "sha-256=:YQ==:, " RFC9530_FIELD,
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        assert_field(fields[i], DIGEST_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_fips_180), cmocka_unit_test(field_is_that_of_rfc_9530),
        cmocka_unit_test(field_may_hold_more_than_ours), cmocka_unit_test(other_algorithms_alone_are_absent),
        cmocka_unit_test(malformed_field_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
