#include "agent/tickets.h"
#include "common/clock.h"
#include "common/text.h"
#include "protocol/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* The keys of RFC 8037 appendix A and of RFC 8032 section 7.1, the second. */
static const char private_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
static const char public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";
static const char new_private_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                      "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n"
                                      "-----END PRIVATE KEY-----\n";
static const char new_public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                     "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n"
                                     "-----END PUBLIC KEY-----\n";

static char folder[64];
static char *key_paths[2];
static SigningKey *key, *new_key;
static Tickets *tickets;
static int64_t now_s;

static char *write_file(const char *name, const char *text)
{
    char *path = text_format("%s/%s", folder, name);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static SigningKey *load_key(const char *pem)
{
    SigningKey *loaded = NULL;
    char *path = write_file("key", pem);

    assert_int_equal(signing_key_load(path, &loaded), 0);
    free(path);
    return loaded;
}

static void start(size_t key_count)
{
    assert_int_equal(
        tickets_new(&(ConfigList){.items = key_paths, .count = key_count}, "kiosk", folder, &tickets), 0);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/beckon-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    key = load_key(private_pem);
    new_key = load_key(new_private_pem);
    key_paths[0] = write_file("old.pub", public_pem);
    key_paths[1] = write_file("new.pub", new_public_pem);
    now_s = clock_unix_ms() / 1000;
    start(1);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;

    tickets = tickets_free(tickets);
    key = signing_key_free(key);
    new_key = signing_key_free(new_key);
    free(key_paths[0]);
    free(key_paths[1]);
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a test's own folder */
}

static Ticket good(void)
{
    return (Ticket){.scope = TICKET_UPLOAD,
                    .client = "kiosk",
                    .upload = "t1",
                    .path = "/srv/x",
                    .max_size_bytes = 1000,
                    .issued_unix_s = now_s - 60,
                    .expires_unix_s = now_s + 3600};
}

static char *payload_of(const SigningKey *by, const Ticket *ticket, const char *members)
{
    char *token = NULL;

    assert_int_equal(ticket_sign(by, ticket, &token), 0);
    char *payload = text_format("{%s\"ticket\":\"%s\"}", members, token);
    free(token);
    return payload;
}

/* The reason of a refusal, "" if it is admitted. */
static const char *judge(const char *id, const char *payload)
{
    static Problem problem;
    static UploadCommand command;
    int64_t issued_unix_s = -1;

    problem = (Problem){0};
    (void)snprintf(command.path, sizeof(command.path), "untouched");
    int r = tickets_admit(tickets, id, payload, strlen(payload), &command, &issued_unix_s, &problem);
    if (r < 0) {
        assert_string_equal(command.path, "untouched");
        assert_int_equal(issued_unix_s, -1);
    }
    return problem.reason;
}

static const char *judge_ticket(const Ticket *ticket)
{
    char *payload = payload_of(key, ticket, "\"path\":\"/srv/x\",");
    const char *reason = judge("t1", payload);

    free(payload);
    return reason;
}

static void command_says_what_its_ticket_says(void **state)
{
    Ticket ticket = good();
    UploadCommand command;
    Problem problem;
    int64_t issued_unix_s = 0;
    (void)state;

    ticket.rate_bytes_per_s = 500;
    (void)snprintf(ticket.receiver, sizeof(ticket.receiver), "backup");
    char *payload = payload_of(key, &ticket, "\"path\":\"/srv/x\",");
    assert_int_equal(
        tickets_admit(tickets, "t1", payload, strlen(payload), &command, &issued_unix_s, &problem), 0);
    assert_string_equal(command.path, "/srv/x");
    assert_string_equal(command.receiver, "backup");
    assert_int_equal(command.max_size_bytes, 1000);
    assert_int_equal(command.rate_bytes_per_s, 500);
    assert_int_equal(command.expires_unix_s, now_s + 3600);
    assert_int_equal(issued_unix_s, now_s - 60);
    assert_non_null(strstr(payload, command.ticket));
    free(payload);
}

static void what_differs_from_the_ticket_is_refused(void **state)
{
    static const struct {
        const char *members, *reason;
    } rows[] = {
        {"\"path\":\"/srv/x\",\"max_size\":1000,", ""},
        {"\"path\":\"/srv/x\",\"unknown\":1,", ""},
        {"\"path\":\"/srv/y\",", "TICKET_INVALID"},
        {"\"path\":\"/srv/x/\",", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"max_size\":1001,", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"max_size\":999,", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"rate\":1,", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"expires\":4102444800,", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"receiver\":\"backup\",", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"receiver\":\"https://elsewhere:8443\",", "TICKET_INVALID"},
        {"\"path\":\"/srv/x\",\"path\":\"/srv/y\",", "INVALID_COMMAND"},
        {"\"path\":\"/srv/x\",\"ticket\":\"\",", "INVALID_COMMAND"},
        {"\"path\":7,", "INVALID_COMMAND"},
        {"", "INVALID_COMMAND"},
    };
    Ticket ticket = good();
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *payload = payload_of(key, &ticket, rows[i].members);
        print_message("%s\n", rows[i].members);
        assert_string_equal(judge("t1", payload), rows[i].reason);
        free(payload);
    }
}

static void without_a_ticket_nothing_is_obeyed(void **state)
{
    (void)state;
    assert_true(tickets_are_required(tickets));
    assert_string_equal(judge("t1", "{\"path\":\"/srv/x\"}"), "TICKET_MISSING");
    assert_string_equal(judge("t1", "{\"path\":7}"), "TICKET_MISSING"); /* the ticket before all else */
    assert_string_equal(judge("t1", "{\"path\":\"/srv/x\",\"ticket\":\"a.b.c\"}"), "TICKET_INVALID");
    assert_string_equal(judge("t1", "{"), "INVALID_COMMAND");
}

static void tickets_for_other_things_are_refused(void **state)
{
    Ticket ticket = good();
    (void)state;

    ticket.scope = TICKET_DOWNLOAD;
    assert_string_equal(judge_ticket(&ticket), "TICKET_INVALID");
    ticket = good();
    (void)snprintf(ticket.client, sizeof(ticket.client), "kiosk2");
    assert_string_equal(judge_ticket(&ticket), "TICKET_INVALID");
    ticket = good();
    (void)snprintf(ticket.upload, sizeof(ticket.upload), "t2");
    assert_string_equal(judge_ticket(&ticket), "TICKET_INVALID");
    ticket = good();
    assert_string_equal(judge_ticket(&ticket), "");
}

static void two_keys_are_good_during_a_rotation_and_one_after_it(void **state)
{
    static const char members[] = "\"path\":\"/srv/x\",";
    Ticket ticket = good();
    char *by_old = payload_of(key, &ticket, members), *by_new = payload_of(new_key, &ticket, members);
    (void)state;

    assert_string_equal(judge("t1", by_old), "");
    assert_string_equal(judge("t1", by_new), "TICKET_INVALID");
    tickets_free(tickets);
    start(2);
    assert_string_equal(judge("t1", by_old), "");
    assert_string_equal(judge("t1", by_new), "");
    tickets_free(tickets);
    char *swapped = key_paths[0];
    key_paths[0] = key_paths[1];
    key_paths[1] = swapped;
    start(1);
    assert_string_equal(judge("t1", by_old), "TICKET_INVALID");
    assert_string_equal(judge("t1", by_new), "");
    free(by_old);
    free(by_new);
}

static void without_keys_all_is_obeyed_and_a_ticket_passed_on_unread(void **state)
{
    UploadCommand command;
    Problem problem;
    int64_t issued_unix_s = -1;
    static const char payload[] = "{\"path\":\"/srv/y\",\"ticket\":\"a.b.c\",\"rate\":5}";
    (void)state;

    tickets_free(tickets);
    start(0);
    assert_false(tickets_are_required(tickets));
    assert_int_equal(
        tickets_admit(tickets, "t1", payload, strlen(payload), &command, &issued_unix_s, &problem), 0);
    assert_string_equal(command.path, "/srv/y");
    assert_string_equal(command.ticket, "a.b.c");
    assert_int_equal(command.rate_bytes_per_s, 5);
    assert_int_equal(issued_unix_s, 0);
}

/* Time */

static void expiry_is_judged_by_the_later_of_clock_and_greatest_iat(void **state)
{
    Ticket ticket = good(), future = good();
    (void)state;

    ticket.expires_unix_s = now_s - 1;
    assert_string_equal(judge_ticket(&ticket), "TICKET_EXPIRED");

    /* As a clock that is a year behind sees it: the coordinator's time is taken, and moves ours on. */
    future.issued_unix_s = now_s + 365 * 86400;
    future.expires_unix_s = future.issued_unix_s + 60;
    assert_string_equal(judge_ticket(&future), "");
    assert_int_equal(tickets_now_unix_s(tickets), future.issued_unix_s);
    ticket = good();
    assert_string_equal(judge_ticket(&ticket), "TICKET_EXPIRED");
}

static void ticket_that_is_refused_does_not_move_the_time(void **state)
{
    Ticket ticket = good();
    (void)state;

    ticket.issued_unix_s = now_s + 365 * 86400;
    ticket.expires_unix_s = ticket.issued_unix_s + 60;
    (void)snprintf(ticket.client, sizeof(ticket.client), "kiosk2");
    assert_string_equal(judge_ticket(&ticket), "TICKET_INVALID");
    assert_int_equal(tickets_seen_unix_s(tickets), 0);
}

static void time_and_what_was_forgotten_survive_a_restart(void **state)
{
    Ticket ticket = good();
    (void)state;

    tickets_saw(tickets, now_s + 5000);
    assert_int_equal(tickets_forget(tickets, now_s + 100), 0);
    tickets_free(tickets);
    start(1);
    assert_int_equal(tickets_seen_unix_s(tickets), now_s + 5000);
    ticket.expires_unix_s = now_s + 9000;
    ticket.issued_unix_s = now_s + 100;
    assert_string_equal(judge_ticket(&ticket), "TICKET_EXPIRED");
    ticket.issued_unix_s = now_s + 101;
    assert_string_equal(judge_ticket(&ticket), "");
    assert_int_equal(tickets_forget(tickets, now_s), 0); /* never back */
    ticket.issued_unix_s = now_s + 100;
    assert_string_equal(judge_ticket(&ticket), "TICKET_EXPIRED");
}

static void damaged_file_shuts_out_the_past(void **state)
{
    static const char *const bad[] = {"", "{}", "{\"seen\":1}", "{\"seen\":-1,\"forgotten\":0}", "x"};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        Ticket ticket = good();
        free(write_file("tickets.json", bad[i]));
        tickets_free(tickets);
        start(1);
        assert_string_equal(judge_ticket(&ticket), "TICKET_EXPIRED");
        ticket.issued_unix_s = now_s + 60;
        assert_string_equal(judge_ticket(&ticket), "");
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(command_says_what_its_ticket_says),
        TEST(what_differs_from_the_ticket_is_refused),
        TEST(without_a_ticket_nothing_is_obeyed),
        TEST(tickets_for_other_things_are_refused),
        TEST(two_keys_are_good_during_a_rotation_and_one_after_it),
        TEST(without_keys_all_is_obeyed_and_a_ticket_passed_on_unread),
        TEST(expiry_is_judged_by_the_later_of_clock_and_greatest_iat),
        TEST(ticket_that_is_refused_does_not_move_the_time),
        TEST(time_and_what_was_forgotten_survive_a_restart),
        TEST(damaged_file_shuts_out_the_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
