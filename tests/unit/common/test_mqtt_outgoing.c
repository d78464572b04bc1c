#include "common/mqtt_outgoing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void append(OutgoingList *list, int mid)
{
    Outgoing *message = outgoing_new("topic", "payload", 7, false, (uint64_t)mid);

    assert_non_null(message);
    message->mid = mid;
    outgoing_append(list, message);
}

static void assert_taken(Outgoing *message, int mid)
{
    assert_non_null(message);
    assert_int_equal(message->mid, mid);
    free(message);
}

static void messages_keep_topic_and_payload(void **state)
{
    (void)state;
    Outgoing *message = outgoing_new("a/b", "x\0y", 3, true, 9);
    assert_string_equal(message->topic, "a/b");
    assert_int_equal(message->size, 3);
    assert_memory_equal(message->payload, "x\0y", 3);
    assert_true(message->retain && message->tag == 9);
    free(message);
}

static void list_keeps_its_order_wherever_one_is_taken(void **state)
{
    OutgoingList list;
    (void)state;

    outgoing_init(&list);
    assert_null(outgoing_take_first(&list));
    for (int mid = 1; mid <= 4; mid++)
        append(&list, mid);
    assert_null(outgoing_take(&list, 7));
    assert_taken(outgoing_take(&list, 4), 4); /* the last: the end moves back */
    append(&list, 5);
    assert_taken(outgoing_take(&list, 2), 2);
    assert_taken(outgoing_take_first(&list), 1);
    assert_taken(outgoing_take_first(&list), 3);
    assert_taken(outgoing_take(&list, 5), 5);
    assert_null(list.first);
    append(&list, 6);
    outgoing_clear(&list);
    assert_null(list.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_keep_topic_and_payload),
        cmocka_unit_test(list_keeps_its_order_wherever_one_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
