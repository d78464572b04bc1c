#include "cmocka_.h"
#include "protocol/ident.h"

#include "common/cleanup.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define TEXT_64 "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

static void client_ids_are_plain_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "7", "restaurant_1", "a.b-c_d", "a..", "coordinator", TEXT_64};
    static const char *const bad[] = {"",      ".",           "..",    ".a",   "-a",        "_a",
                                      "a b",   "a/b",         "a+",    "#",    "+",         "a\n",
                                      "a\x01", "caf\xc3\xa9", "a\\b",  "a%2f", "$SYS",      "a:b",
                                      "a*",    "a@b",         "a\x7f", "a'",   TEXT_64 "x", "a\"b"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(client_id_is_valid(good[i]));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(client_id_is_valid(bad[i]));
}

static void every_byte_is_decided(void **state)
{
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        char first[] = {(char)byte, 'a', '\0'}, second[] = {'a', (char)byte, '\0'};
        bool alphanumeric =
            (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        bool dash = byte == '-' || byte == '_';
        assert_int_equal(client_id_is_valid(first), alphanumeric);
        assert_int_equal(client_id_is_valid(second), alphanumeric || dash || byte == '.');
        assert_int_equal(upload_id_is_valid(first), alphanumeric || dash);
        assert_int_equal(upload_id_is_valid(second), alphanumeric || dash);
    }
}

static void upload_ids_have_1_to_64_characters(void **state)
{
    (void)state;
    assert_false(upload_id_is_valid(""));
    assert_true(upload_id_is_valid("-"));
    assert_true(upload_id_is_valid(TEXT_64));
    assert_false(upload_id_is_valid(TEXT_64 "x"));
}

static void paths_are_utf_8_that_fits_a_token(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX + 2];
    assert_true(file_path_is_valid("-"));
    assert_true(file_path_is_valid("caf\xc3\xa9\n\"\\"));
    assert_false(file_path_is_valid(""));
    assert_false(file_path_is_valid("caf\xe9"));
    memset(path, 'a', sizeof(path));
    path[FILE_PATH_MAX + 1] = '\0';
    assert_false(file_path_is_valid(path));
    path[FILE_PATH_MAX] = '\0';
    assert_true(file_path_is_valid(path));
    memset(path, '\n', 205);
    assert_true(file_path_is_valid(path));
    path[205] = '\n';
    assert_false(file_path_is_valid(path));
}

static void services_names_are_reserved(void **state)
{
    (void)state;
    assert_true(client_id_is_reserved("coordinator"));
    assert_true(client_id_is_reserved("receiver"));
    assert_true(client_id_is_reserved("operator"));
    assert_false(client_id_is_reserved("operator1"));
    assert_false(client_id_is_reserved("restaurant_1"));
}

static void new_ids_are_uuid_version_7_of_now(void **state)
{
    (void)state;
    char id[UPLOAD_ID_SIZE];
    unsigned long long high = 0, low = 0;
    time_t before = time(NULL);
    upload_id_new(id);
    assert_true(upload_id_is_valid(id));
    assert_int_equal(strlen(id), 36);
    assert_int_equal(sscanf(id, "%8llx-%4llx", &high, &low), 2);
    assert_in_range((high << 16 | low) / 1000, before, time(NULL));
    assert_int_equal(id[14], '7');
    assert_non_null(strchr("89ab", id[19]));
    for (int i = 8; i <= 23; i += 5)
        assert_int_equal(id[i], '-');
}

enum { ID_COUNT = 5000, THREAD_COUNT = 4 };
typedef char Ids[ID_COUNT][UPLOAD_ID_SIZE];

static void *make_ids(void *ids)
{
    for (size_t i = 0; i < ID_COUNT; i++)
        upload_id_new((*(Ids *)ids)[i]);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* strcmp() of the first 18 characters is the order of the stamps; random bits can't hide a repeat. */
static void new_ids_ascend_and_never_repeat_among_threads(void **state)
{
    (void)state;
    static Ids ids[THREAD_COUNT];
    pthread_t threads[THREAD_COUNT];
    for (size_t i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_ids, &ids[i]), 0);
    for (size_t i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < THREAD_COUNT; i++)
        for (size_t j = 1; j < ID_COUNT; j++)
            assert_true(strncmp(ids[i][j - 1], ids[i][j], 18) < 0);
    qsort(ids, (size_t)THREAD_COUNT * ID_COUNT, UPLOAD_ID_SIZE, compare);
    for (size_t i = 1; i < (size_t)THREAD_COUNT * ID_COUNT; i++)
        assert_true(strncmp(ids[0][0] + (i - 1) * UPLOAD_ID_SIZE, ids[0][0] + i * UPLOAD_ID_SIZE, 18) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_ids_are_plain_names),
        cmocka_unit_test(every_byte_is_decided),
        cmocka_unit_test(upload_ids_have_1_to_64_characters),
        cmocka_unit_test(paths_are_utf_8_that_fits_a_token),
        cmocka_unit_test(services_names_are_reserved),
        cmocka_unit_test(new_ids_are_uuid_version_7_of_now),
        cmocka_unit_test(new_ids_ascend_and_never_repeat_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
