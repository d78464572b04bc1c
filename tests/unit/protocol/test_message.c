#include "cmocka_.h"
#include "common/json.h"
#include "common/text.h"
#include "protocol/message.h"
#include "protocol/token.h"

#include <string.h>

static void states_have_their_names(void **state)
{
    (void)state;
    for (int i = UPLOAD_QUEUED; i <= UPLOAD_EXPIRED; i++) {
        UploadState again = UPLOAD_QUEUED;
        assert_true(upload_state_from_name(upload_state_name((UploadState)i), &again));
        assert_int_equal(again, i);
    }
    UploadState untouched = UPLOAD_DONE;
    assert_false(upload_state_from_name("", &untouched));
    assert_false(upload_state_from_name("Done", &untouched));
    assert_int_equal(untouched, UPLOAD_DONE);
}

/* Commands */

static int parse_command(const char *json, UploadCommand *command, Problem *problem)
{
    return upload_command_parse(json, strlen(json), command, problem);
}

static void smallest_command_is_a_path(void **state)
{
    (void)state;
    UploadCommand command;
    Problem problem;
    assert_int_equal(parse_command("{\"path\":\"/srv/data/file.bin\"}", &command, &problem), 0);
    assert_string_equal(command.path, "/srv/data/file.bin");
    assert_int_equal(command.expires_unix_s + command.max_size_bytes + command.rate_bytes_per_s, 0);
    assert_string_equal(command.receiver, "");
    assert_string_equal(command.ticket, "");
}

static void command_is_read_whole(void **state)
{
    (void)state;
    UploadCommand command;
    Problem problem;
    assert_int_equal(
        parse_command("{\"future\":[1],\"path\":\"a\\n\\u00e9 b\",\"expires\":1800000000,\"max_size\":"
                      "9007199254740992,\"rate\":1,\"receiver\":\"west\",\"ticket\":\"a.b.c\"}",
                      &command, &problem),
        0);
    assert_string_equal(command.path, "a\n\xc3\xa9 b");
    assert_int_equal(command.expires_unix_s, 1800000000);
    assert_int_equal(command.max_size_bytes, 1ULL << 53);
    assert_int_equal(command.rate_bytes_per_s, 1);
    assert_string_equal(command.receiver, "west");
    assert_string_equal(command.ticket, "a.b.c");

    char *text CLEANUP(free_ptr) = upload_command_format(&command);
    UploadCommand again;
    assert_int_equal(parse_command(text, &again, &problem), 0);
    assert_memory_equal(&again, &command, sizeof(command));
}

static void null_member_is_not_given(void **state)
{
    (void)state;
    UploadCommand command;
    Problem problem;
    assert_int_equal(parse_command("{\"path\":\"a\",\"rate\":null,\"ticket\":null}", &command, &problem), 0);
    char *text CLEANUP(free_ptr) = upload_command_format(&command);
    assert_string_equal(text, "{\"path\":\"a\"}");
}

static void bad_command_is_refused_and_its_member_named(void **state)
{
    (void)state;
    static const struct {
        const char *json, *member;
    } bad[] = {
        {"{}", "\"path\""},
        {"{\"path\":null}", "\"path\""},
        {"{\"path\":\"\"}", "\"path\""},
        {"{\"path\":7}", "\"path\""},
        {"{\"path\":[\"a\"]}", "\"path\""},
        {"{\"Path\":\"a\"}", "\"path\""},
        {"{\"path\":\"a\",\"expires\":\"1\"}", "\"expires\""},
        {"{\"path\":\"a\",\"expires\":0}", "\"expires\""},
        {"{\"path\":\"a\",\"expires\":-1}", "\"expires\""},
        {"{\"path\":\"a\",\"max_size\":1.5}", "\"max_size\""},
        {"{\"path\":\"a\",\"max_size\":0}", "\"max_size\""},
        {"{\"path\":\"a\",\"max_size\":9007199254740994}", "\"max_size\""},
        {"{\"path\":\"a\",\"max_size\":1e400}", "\"max_size\""},
        {"{\"path\":\"a\",\"rate\":true}", "\"rate\""},
        {"{\"path\":\"a\",\"receiver\":\"\"}", "\"receiver\""},
        {"{\"path\":\"a\",\"receiver\":1}", "\"receiver\""},
        {"{\"path\":\"a\",\"ticket\":\"\"}", "\"ticket\""},
        {"{\"path\":\"a\",\"ticket\":{}}", "\"ticket\""},
        {"{\"path\":\"a\",\"ticket\":\"a.b.c\\r\\nHost: x\"}", "\"ticket\""},
        {"{\"path\":\"a\",\"ticket\":\"a b\"}", "\"ticket\""},
        {"{\"path\":\"a\",\"path\":\"b\"}", "\"path\""},
        {"{\"path\":\"a\",\"rate\":5,\"rate\":5}", "\"rate\""},
        {"{\"path\":\"a\",\"expires\":null,\"expires\":5}", "\"expires\""},
        {"{\"path\":\"a\",\"ticket\":\"x\",\"ticket\":\"y\"}", "\"ticket\""},
        {"", "JSON"},
        {"null", "JSON"},
        {"[]", "JSON"},
        {"\"a\"", "JSON"},
        {"{\"path\":\"a\"", "JSON"},
        {"{\"path\":\"a\"}x", "JSON"},
        {"{\"path\":\"a\"}{}", "JSON"},
        {"{\"path\":\"a\\u0000b\"}", "JSON"},
        {"{\"path\":\"a\xff\"}", "JSON"},
        {"{\"path\":\"\xc0\xaf\"}", "JSON"},
        {"{\"path\":\"\xed\xa0\x80\"}", "JSON"},
        {"{\"path\":\"\\ud800\"}", "JSON"},
        {"{\"path\":\"a\",\"x\":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}", "JSON"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        UploadCommand command = {.path = "untouched"};
        Problem problem = {0};
        print_message("%s\n", bad[i].json);
        assert_int_equal(parse_command(bad[i].json, &command, &problem), -1);
        assert_int_equal(problem.code, ERROR_INVALID_ARGUMENT);
        assert_string_equal(problem.reason, "INVALID_COMMAND");
        assert_non_null(strstr(problem.message, bad[i].member));
        assert_string_equal(command.path, "untouched");
    }
}

static void ticket_is_read_whatever_the_rest_is(void **state)
{
    (void)state;
    static const struct {
        const char *json, *ticket; /* NULL: refused */
    } rows[] = {
        {"{\"ticket\":\"a.b.c\"}", "a.b.c"},
        {"{\"path\":7,\"ticket\":\"a.b.c\"}", "a.b.c"},
        {"{\"path\":\"/x\"}", ""},
        {"{\"ticket\":\"a\",\"ticket\":\"b\"}", NULL},
        {"{\"ticket\":\"\"}", NULL},
        {"{\"ticket\":7}", NULL},
        {"[]", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char ticket[TICKET_MAX];
        Problem problem;
        int r = upload_command_ticket(rows[i].json, strlen(rows[i].json), ticket, &problem);
        print_message("%s\n", rows[i].json);
        assert_int_equal(r, rows[i].ticket ? 0 : -1);
        if (rows[i].ticket)
            assert_string_equal(ticket, rows[i].ticket);
    }
}

static int parse_command_of_length(const char *member, size_t length)
{
    static char text[MESSAGE_MAX + 1];
    memset(text, 'a', length);
    text[length] = '\0';
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON_AddStringToObject(object, member, text);
    if (strcmp(member, "path") != 0)
        cJSON_AddStringToObject(object, "path", "a");
    char *json CLEANUP(free_ptr) = cJSON_PrintUnformatted(object);
    UploadCommand command;
    Problem problem;
    return parse_command(json, &command, &problem);
}

static void command_members_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(parse_command_of_length("path", FILE_PATH_MAX), 0);
    assert_int_equal(parse_command_of_length("path", FILE_PATH_MAX + 1), -1);
    assert_int_equal(parse_command_of_length("receiver", RECEIVER_NAME_SIZE - 1), 0);
    assert_int_equal(parse_command_of_length("receiver", RECEIVER_NAME_SIZE), -1);
    assert_int_equal(parse_command_of_length("ticket", TICKET_MAX - 1), 0);
    assert_int_equal(parse_command_of_length("ticket", TICKET_MAX), -1);
    assert_int_equal(parse_command_of_length("unknown", MESSAGE_MAX / 2), 0);
    assert_int_equal(parse_command_of_length("unknown", MESSAGE_MAX), -1);
}

static void payload_needs_no_terminator(void **state)
{
    (void)state;
    static const char json[] = "{\"path\":\"a\"}";
    size_t size = strlen(json);
    char *payload = malloc(size); /* so that a sanitizer sees a read past it */
    assert_non_null(payload);
    memcpy(payload, json, size);
    UploadCommand command;
    Problem problem;
    assert_int_equal(upload_command_parse(payload, size, &command, &problem), 0);
    for (size_t part = 0; part < size; part++)
        assert_int_equal(upload_command_parse(payload, part, &command, &problem), -1);
    free(payload);
}

/* Status */

static int parse_status(const char *json, UploadStatus *status)
{
    return upload_status_parse(json, strlen(json), status);
}

static void status_survives_the_wire(void **state)
{
    (void)state;
    UploadStatus status = {.state = UPLOAD_FAILED,
                           .path = "/a/\xc3\xa9",
                           .has_size = true,
                           .size_bytes = 5ULL << 30,
                           .sent_bytes = 12,
                           .has_sha256 = true,
                           .sha256 = {0xab, 1},
                           .attempt = 3,
                           .at_unix_ms = 1795259164123};
    problem_set(&status.problem, ERROR_FAILED_PRECONDITION, "FILE_CHANGED", "The file shrank.");
    char *text CLEANUP(free_ptr) = upload_status_format(&status);
    assert_string_equal(
        text, "{\"state\":\"failed\",\"path\":\"/a/\xc3\xa9\",\"size\":5368709120,\"sent\":12,\"sha256\":\""
              "ab01000000000000000000000000000000000000000000000000000000000000\",\"attempt\":3,"
              "\"at\":\"2026-11-21T11:06:04.123Z\",\"error\":{\"code\":\"failed_precondition\","
              "\"reason\":\"FILE_CHANGED\",\"message\":\"The file shrank.\"}}");
    UploadStatus again;
    assert_int_equal(parse_status(text, &again), 0);
    assert_int_equal(again.state, status.state);
    assert_string_equal(again.path, status.path);
    assert_true(again.has_size && again.has_sha256);
    assert_int_equal(again.size_bytes, status.size_bytes);
    assert_int_equal(again.sent_bytes, status.sent_bytes);
    assert_memory_equal(again.sha256, status.sha256, SHA256_SIZE);
    assert_int_equal(again.attempt, 3);
    assert_int_equal(again.at_unix_ms, status.at_unix_ms);
    assert_int_equal(again.problem.code, ERROR_FAILED_PRECONDITION);
    assert_string_equal(again.problem.message, "The file shrank.");
}

static void status_needs_a_state_only(void **state)
{
    (void)state;
    UploadStatus status;
    assert_int_equal(parse_status("{\"state\":\"cancelled\",\"error\":null}", &status), 0);
    assert_int_equal(status.state, UPLOAD_CANCELLED);
    assert_string_equal(status.path, "");
    assert_false(status.has_size || status.has_sha256);
    assert_int_equal(status.problem.code, ERROR_NONE);
    assert_int_equal(status.at_unix_ms, 0);
}

/* As in commands, tickets and receipts: what would be many times as long where people read it. */
static void status_has_a_path_that_could_be_asked_for_or_none(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX + 1] = "", json[FILE_PATH_MAX + 64];
    UploadStatus status;
    for (size_t length = 0; length <= FILE_PATH_MAX; length = 2 * length + 1) {
        memset(path, '\x7f', length);
        path[length] = '\0';
        (void)snprintf(json, sizeof(json), "{\"state\":\"running\",\"path\":\"%s\"}", path);
        int expected = length == 0 || file_path_is_valid(path) ? 0 : -1;
        if (parse_status(json, &status) != expected)
            fail_msg("a path of %zu DELs: expected %d", length, expected);
    }
}

static void bad_status_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"state\":1}",
        "{\"state\":\"sent\"}",
        "{\"state\":\"queued\"}", /* these three are not the agent's to say */
        "{\"state\":\"completed\"}",
        "{\"state\":\"expired\"}",
        "{\"state\":\"done\",\"path\":1}",
        "{\"state\":\"done\",\"size\":-1}",
        "{\"state\":\"done\",\"size\":\"1\"}",
        "{\"state\":\"done\",\"sent\":0.5}",
        "{\"state\":\"done\",\"sha256\":\"ab\"}",
        "{\"state\":\"done\",\"sha256\":1}",
        "{\"state\":\"done\",\"sha256\":"
        "\"zz01000000000000000000000000000000000000000000000000000000000000\"}",
        "{\"state\":\"done\",\"attempt\":4294967296}",
        "{\"state\":\"done\",\"error\":\"x\"}",
        "{\"state\":\"done\",\"at\":1795259164}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        UploadStatus status = {.attempt = 77};
        print_message("%s\n", bad[i]);
        assert_int_equal(parse_status(bad[i], &status), -1);
        assert_int_equal(status.attempt, 77);
    }
}

static void times_are_rfc_3339_in_utc(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t unix_ms; /* -1: refused */
    } times[] = {
        {"2026-11-21T11:06:04Z", 1795259164000},
        {"2026-11-21T11:06:04.1Z", 1795259164100},
        {"2026-11-21T11:06:04.123456789Z", 1795259164123},
        {"2024-02-29T23:59:59.999Z", 1709251199999},
        {"2023-02-29T23:59:59Z", -1},
        {"2026-11-21T11:06:04", -1},
        {"2026-11-21T11:06:04.Z", -1},
        {"2026-11-21T11:06:04+01:00", -1},
        {"2026-11-21 11:06:04Z", -1},
        {"2026-11-21T11:06:60Z", -1},
        {"2026-11-21T24:00:00Z", -1},
        {"2026-13-21T11:06:04Z", -1},
        {"2026-1-21T11:06:04Z", -1},
        {"2026-11-21T11:06: 4Z", -1},
        {"2026-11-21T11:06:0Z", -1},
        {"+026-11-21T11:06:04Z", -1},
        {"2026-11-21T11:06:04.123ZZ", -1},
        {" 2026-11-21T11:06:04.123Z", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        UploadStatus status = {0};
        char *json CLEANUP(free_ptr) = text_format("{\"state\":\"done\",\"at\":\"%s\"}", times[i].text);
        print_message("%s\n", times[i].text);
        assert_int_equal(parse_status(json, &status), times[i].unix_ms < 0 ? -1 : 0);
        assert_int_equal(status.at_unix_ms, times[i].unix_ms < 0 ? 0 : times[i].unix_ms);
    }
}

/* Presence */

static int parse_presence(const char *json, Presence *presence)
{
    return presence_parse(json, strlen(json), presence);
}

static void presence_survives_the_wire(void **state)
{
    (void)state;
    static const char json[] =
        "{\"online\":true,\"since\":\"2026-11-21T11:06:04.123Z\",\"version\":\"0.1.0\","
        "\"heartbeat\":30,\"active\":1,\"queued\":2,\"labels\":{\"site\":\"west\",\"a\":\"\"}}";
    Presence presence;
    assert_int_equal(parse_presence(json, &presence), 0);
    assert_true(presence.online);
    assert_int_equal(presence.since_unix_ms, 1795259164123);
    assert_string_equal(presence.version, "0.1.0");
    assert_int_equal(presence.heartbeat_s, 30);
    assert_int_equal(presence.active, 1);
    assert_int_equal(presence.queued, 2);
    assert_int_equal(cJSON_GetArraySize(presence.labels), 2);
    char *text CLEANUP(free_ptr) = presence_format(&presence);
    assert_string_equal(text, json);
    presence_free(&presence);
    assert_null(presence.labels);
}

static void offline_is_one_word(void **state)
{
    (void)state;
    Presence presence = {.online = false};
    char *text CLEANUP(free_ptr) = presence_format(&presence);
    assert_string_equal(text, "{\"online\":false}");
    assert_int_equal(parse_presence(text, &presence), 0);
    assert_false(presence.online);
    assert_null(presence.labels);
}

static void bad_presence_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"online\":1}",
        "{\"online\":\"true\"}",
        "{\"online\":true,\"since\":1}",
        "{\"online\":true,\"version\":\"123456789012345678901234567890123\"}",
        "{\"online\":true,\"active\":-1}",
        "{\"online\":true,\"heartbeat\":\"30\"}",
        "{\"online\":true,\"heartbeat\":86401}",
        "{\"online\":true,\"queued\":4294967296}",
        "{\"online\":true,\"labels\":[]}",
        "{\"online\":true,\"labels\":{\"a\":1}}",
        "{\"online\":true,\"labels\":{\"a\":{}}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        Presence presence;
        print_message("%s\n", bad[i]);
        assert_int_equal(parse_presence(bad[i], &presence), -1);
    }
}

static void labels_are_bounded_in_number(void **state)
{
    (void)state;
    for (int count = LABELS_MAX; count <= LABELS_MAX + 1; count++) {
        Presence presence = {.online = true, .labels = cJSON_CreateObject()}, again;
        for (int i = 0; i < count; i++) {
            char name[16];
            snprintf(name, sizeof(name), "l%d", i);
            cJSON_AddStringToObject(presence.labels, name, "x");
        }
        char *text CLEANUP(free_ptr) = presence_format(&presence);
        presence_free(&presence);
        int r = parse_presence(text, &again);
        assert_int_equal(r, count > LABELS_MAX ? -1 : 0);
        if (r == 0)
            presence_free(&again);
    }
}

/* Receipts */

static void receipt_message_carries_the_token(void **state)
{
    (void)state;
    Receipt receipt = {.client = "a", .upload = "u", .path = "/x", .size_bytes = 3, .issuer = "receiver"};
    char *text CLEANUP(free_ptr) = receipt_message_format(&receipt, "a/u/x", "", 1795259164123, "h.p.s");
    assert_string_equal(text,
                        "{\"path\":\"/x\",\"size\":3,\"sha256\":\""
                        "0000000000000000000000000000000000000000000000000000000000000000\","
                        "\"stored\":\"a/u/x\",\"receiver\":\"receiver\",\"at\":\"2026-11-21T11:06:04.123Z\","
                        "\"receipt\":\"h.p.s\"}");
    char token[TICKET_MAX] = "untouched";
    assert_int_equal(receipt_message_parse("{\"receipt\":1}", 13, token), -1);
    assert_int_equal(receipt_message_parse("{}", 2, token), -1);
    assert_string_equal(token, "untouched");
    assert_int_equal(receipt_message_parse(text, strlen(text), token), 0);
    assert_string_equal(token, "h.p.s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_have_their_names),
        cmocka_unit_test(smallest_command_is_a_path),
        cmocka_unit_test(command_is_read_whole),
        cmocka_unit_test(null_member_is_not_given),
        cmocka_unit_test(bad_command_is_refused_and_its_member_named),
        cmocka_unit_test(ticket_is_read_whatever_the_rest_is),
        cmocka_unit_test(command_members_are_bounded),
        cmocka_unit_test(payload_needs_no_terminator),
        cmocka_unit_test(status_survives_the_wire),
        cmocka_unit_test(status_needs_a_state_only),
        cmocka_unit_test(status_has_a_path_that_could_be_asked_for_or_none),
        cmocka_unit_test(bad_status_is_refused),
        cmocka_unit_test(times_are_rfc_3339_in_utc),
        cmocka_unit_test(presence_survives_the_wire),
        cmocka_unit_test(offline_is_one_word),
        cmocka_unit_test(bad_presence_is_refused),
        cmocka_unit_test(labels_are_bounded_in_number),
        cmocka_unit_test(receipt_message_carries_the_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
