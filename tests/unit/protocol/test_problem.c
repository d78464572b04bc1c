#include "cmocka_.h"
#include "common/json.h"
#include "common/text.h"
#include "protocol/problem.h"

#include <string.h>

static void codes_have_their_grpc_names(void **state)
{
    (void)state;
    for (int code = ERROR_NONE + 1; code <= ERROR_INTERNAL; code++)
        assert_int_equal(error_code_from_name(error_code_name((ErrorCode)code)), code);
    assert_string_equal(error_code_name(ERROR_NONE), "");
    assert_string_equal(error_code_name(ERROR_PERMISSION_DENIED), "permission_denied");
    assert_int_equal(error_code_from_name("nonsense"), ERROR_INTERNAL);
    assert_int_equal(error_code_from_name(""), ERROR_INTERNAL);
}

static void problem_is_set(void **state)
{
    (void)state;
    Problem problem;
    assert_int_equal(problem_set(&problem, ERROR_NOT_FOUND, "NO_SUCH_FILE", "There is no %s.", "x"), -1);
    assert_int_equal(problem.code, ERROR_NOT_FOUND);
    assert_string_equal(problem.reason, "NO_SUCH_FILE");
    assert_string_equal(problem.message, "There is no x.");
    problem_set(&problem, problem.code, problem.reason, "Again: %s", problem.message);
    assert_string_equal(problem.message, "Again: There is no x.");
}

static void long_message_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    for (size_t lead = 0; lead < 4; lead++) {
        char text[1000] = "";
        memset(text, 'a', lead);
        for (size_t at = lead; at + 4 < sizeof(text); at += 4)
            memcpy(text + at, "\xf0\x9f\x98\x80", 4);
        Problem problem;
        problem_set(&problem, ERROR_INTERNAL, "X", "%s", text);
        size_t length = strlen(problem.message);
        assert_true(text_is_utf8(problem.message, length));
        assert_in_range(length, sizeof(problem.message) - 4, sizeof(problem.message) - 1);
        assert_memory_equal(problem.message, text, length);
    }
}

static Problem problem_of(const char *json)
{
    Problem problem;
    cJSON *object CLEANUP(json_delete) = json_parse_object(json, strlen(json), 10000);
    assert_non_null(object);
    problem_from_json(object, &problem);
    return problem;
}

static void problem_survives_the_wire(void **state)
{
    (void)state;
    Problem problem, again;
    problem_set(&problem, ERROR_DATA_LOSS, "DIGEST_MISMATCH", "say \"%s\"\n", "caf\xc3\xa9");
    cJSON *object CLEANUP(json_delete) = problem_to_json(&problem);
    problem_from_json(object, &again);
    assert_int_equal(again.code, problem.code);
    assert_string_equal(again.reason, problem.reason);
    assert_string_equal(again.message, problem.message);
}

static void peers_bad_problem_gets_stand_ins(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"code\":1,\"reason\":[],\"message\":{}}",
        "{\"code\":null,\"reason\":null,\"message\":null}",
        "{\"code\":\"\",\"reason\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        Problem problem = problem_of(bad[i]);
        assert_int_equal(problem.code, ERROR_INTERNAL);
        assert_string_equal(problem.reason, "UNKNOWN");
        assert_string_not_equal(problem.message, "");
    }
    assert_string_equal(problem_of("{\"message\":\"%s%n\"}").message, "%s%n");
}

static void body_is_that_of_rfc_9457(void **state)
{
    (void)state;
    Problem problem;
    problem_set(&problem, ERROR_NOT_FOUND, "UNKNOWN_CLIENT", "Ask for another.");
    char *body CLEANUP(free_ptr) = problem_body(&problem, 404, NULL);
    assert_string_equal(body, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                              "\"detail\":\"Ask for another.\",\"code\":\"not_found\","
                              "\"reason\":\"UNKNOWN_CLIENT\",\"message\":\"Ask for another.\"}");
    char *typed CLEANUP(free_ptr) = problem_body(&problem, 499, "https://example.com/x");
    assert_non_null(strstr(typed, "\"type\":\"https://example.com/x\",\"title\":\"Error\",\"status\":499,"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_have_their_grpc_names),
        cmocka_unit_test(problem_is_set),
        cmocka_unit_test(long_message_is_cut_at_a_whole_character),
        cmocka_unit_test(problem_survives_the_wire),
        cmocka_unit_test(peers_bad_problem_gets_stand_ins),
        cmocka_unit_test(body_is_that_of_rfc_9457),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
