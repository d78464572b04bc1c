#include "cmocka_.h"
#include "protocol/topic.h"

#include <string.h>

#define TEXT_16 "abcdefghijklmnop"
#define TEXT_64 TEXT_16 TEXT_16 TEXT_16 TEXT_16

static const struct {
    const char *text;
    TopicKind kind;
    const char *client, *upload;
} topics[] = {
    {"beckon/v1/restaurant_1/cmd/upload/t1", TOPIC_CMD_UPLOAD, "restaurant_1", "t1"},
    {"beckon/v1/a.b/cmd/cancel/-", TOPIC_CMD_CANCEL, "a.b", "-"},
    {"beckon/v1/a/cmd/receipt/0", TOPIC_CMD_RECEIPT, "a", "0"},
    {"beckon/v1/a/status/A_b-C", TOPIC_STATUS, "a", "A_b-C"},
    {"beckon/v1/coordinator/presence", TOPIC_PRESENCE, "coordinator", ""},
    {"beckon/v1/" TEXT_64 "/receipt/" TEXT_64, TOPIC_RECEIPT, TEXT_64, TEXT_64},
    {"beckon/v1/" TEXT_64 "/cmd/receipt/" TEXT_64, TOPIC_CMD_RECEIPT, TEXT_64, TEXT_64},
};

static void topics_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        Topic topic;
        assert_int_equal(topic_parse(topics[i].text, &topic), 0);
        assert_int_equal(topic.kind, topics[i].kind);
        assert_string_equal(topic.client, topics[i].client);
        assert_string_equal(topic.upload, topics[i].upload);
    }
}

static void topics_are_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        char text[TOPIC_SIZE];
        assert_ptr_equal(topic_format(topics[i].kind, topics[i].client, topics[i].upload, text), text);
        assert_string_equal(text, topics[i].text);
    }
}

static void filters_are_written(void **state)
{
    (void)state;
    char text[TOPIC_SIZE];
    assert_string_equal(topic_format(TOPIC_STATUS, "+", "+", text), "beckon/v1/+/status/+");
    assert_string_equal(topic_format(TOPIC_CMD_UPLOAD, "a", "#", text), "beckon/v1/a/cmd/upload/#");
    assert_string_equal(topic_format(TOPIC_PRESENCE, "+", NULL, text), "beckon/v1/+/presence");
}

static void strangers_topics_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "beckon",
        "beckon/v1/",
        "beckon/v1//presence",
        "beckon/v1/presence",
        "beckon/v1/a",
        "beckon/v1/a/",
        "beckon/v2/a/presence",
        "Beckon/v1/a/presence",
        "/beckon/v1/a/presence",
        "beckon/v1/a/presence/",
        "beckon/v1/a/presence/x",
        "beckon/v1/a/presences",
        "beckon/v1/a/status",
        "beckon/v1/a/status/",
        "beckon/v1/a/status//",
        "beckon/v1/a/status/x/",
        "beckon/v1/a/status/x/y",
        "beckon/v1/a/status/x.y",
        "beckon/v1/a/status/..",
        "beckon/v1/a/status/+",
        "beckon/v1/a/status/#",
        "beckon/v1/a/status/x y",
        "beckon/v1/a/status/x\n",
        "beckon/v1/a/status/" TEXT_64 "x",
        "beckon/v1/a/cmd/x",
        "beckon/v1/a/cmd/upload",
        "beckon/v1/a/cmd/upload/",
        "beckon/v1/a/cmd/delete/x",
        "beckon/v1/../status/x",
        "beckon/v1/-a/status/x",
        "beckon/v1/+/status/x",
        "beckon/v1/a b/status/x",
        "beckon/v1/\xc3\xa9/status/x",
        "beckon/v1/" TEXT_64 "x/status/x",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        Topic topic, untouched;
        memset(&topic, 0x5a, sizeof(topic));
        memset(&untouched, 0x5a, sizeof(untouched));
        print_message("%s\n", bad[i]);
        assert_int_equal(topic_parse(bad[i], &topic), TOPIC_E_INVALID);
        assert_memory_equal(&topic, &untouched, sizeof(topic));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_read),
        cmocka_unit_test(topics_are_written),
        cmocka_unit_test(filters_are_written),
        cmocka_unit_test(strangers_topics_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
