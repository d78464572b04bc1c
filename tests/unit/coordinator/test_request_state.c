#include "coordinator/request_state.h"
#include "tests/unit/protocol/cmocka_.h"

/* What follows from each state by each event, in the order of RequestEvent. */
static const struct {
    UploadState from;
    UploadState to[REQUEST_EVENT_COUNT];
} rows[] = {
#define Q UPLOAD_QUEUED
#define A UPLOAD_ACCEPTED
#define R UPLOAD_RUNNING
#define C UPLOAD_COMPLETED
#define F UPLOAD_FAILED
#define J UPLOAD_REJECTED
#define X UPLOAD_CANCELLED
#define E UPLOAD_EXPIRED
    /* accepted running done failed rejected cancelled receipt cancel-asked put-off expired */
    {Q, {A, R, R, F, J, X, C, Q, Q, E}}, {A, {A, R, R, F, J, X, C, A, A, E}},
    {R, {R, R, R, F, F, X, C, R, R, E}}, {C, {C, C, C, C, C, C, C, C, C, C}},
    {F, {F, F, F, F, F, F, C, F, F, F}}, {J, {J, J, J, J, J, J, C, J, J, J}},
    {X, {X, X, X, X, X, X, C, X, X, X}}, {E, {E, E, E, E, E, E, C, E, E, E}},
};

static void every_pair_leads_where_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (RequestEvent event = 0; event < REQUEST_EVENT_COUNT; event++) {
            UploadState next = request_next(rows[i].from, event);
            if (next != rows[i].to[event])
                fail_msg("%s + %s: expected %s, saw %s", upload_state_name(rows[i].from),
                         request_event_name(event), upload_state_name(rows[i].to[event]),
                         upload_state_name(next));
        }
}

static void nothing_but_a_receipt_completes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (RequestEvent event = 0; event < REQUEST_EVENT_COUNT; event++)
            if (rows[i].from != C && event != REQUEST_EVENT_RECEIPT)
                assert_int_not_equal(request_next(rows[i].from, event), C);
}

static void the_final_states_are_five(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        UploadState from = rows[i].from;
        assert_int_equal(request_is_final(from), from != Q && from != A && from != R);
    }
}

static void what_is_promised_must_last(void **state)
{
    (void)state;
    assert_true(request_must_last(Q, REQUEST_EVENT_CANCEL_ASKED));
    assert_true(request_must_last(R, REQUEST_EVENT_CANCEL_ASKED));
    for (RequestEvent event = 0; event < REQUEST_EVENT_COUNT; event++)
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
            assert_true(request_must_last(rows[i].from, event) || !request_is_final(rows[i].from));
    assert_false(request_must_last(A, REQUEST_EVENT_ACCEPTED));
    assert_false(request_must_last(R, REQUEST_EVENT_RUNNING));
}

static void an_agent_can_not_claim_the_coordinators_states(void **state)
{
    (void)state;
    RequestEvent event;
    for (UploadState status = UPLOAD_QUEUED; status <= UPLOAD_EXPIRED; status++)
        assert_int_equal(request_event_of_status(status, &event), status != Q && status != C && status != E);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_leads_where_the_table_says),
        cmocka_unit_test(nothing_but_a_receipt_completes),
        cmocka_unit_test(the_final_states_are_five),
        cmocka_unit_test(what_is_promised_must_last),
        cmocka_unit_test(an_agent_can_not_claim_the_coordinators_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
