/* The page's cookie: what counts as ours, and when it counts. */
#include "../protocol/cmocka_.h"

#include "common/text.h"
#include "coordinator/session.h"

#include <stdio.h>
#include <string.h>

struct HttpRequest {
    const char *method, *authorization, *cookie, *site, *mark;
};

const char *http_request_method(const HttpRequest *request)
{
    return request->method;
}

const char *http_request_header(const HttpRequest *request, const char *name)
{
    if (strcmp(name, "Authorization") == 0)
        return request->authorization;
    if (strcmp(name, "Cookie") == 0)
        return request->cookie;
    return strcmp(name, "Sec-Fetch-Site") == 0 ? request->site : request->mark;
}

/* expected: NULL for no authorization at all. */
static void check(const HttpRequest *request, const char *expected)
{
    char *seen CLEANUP(free_ptr) = session_authorization(request);

    if (expected)
        assert_string_equal(seen ? seen : "(none)", expected);
    else
        assert_null(seen);
}

static void test_the_cookie_is_found_among_others(void **state)
{
    static const struct {
        const char *header, *expected;
    } rows[] = {
        {"__Host-beckon=t", "Bearer t"},
        {"__Host-beckon=t; a=b", "Bearer t"},
        {"a=b; __Host-beckon=t", "Bearer t"},
        {"a=b;__Host-beckon=t;c=d", "Bearer t"},
        {";; ; __Host-beckon=t;;", "Bearer t"},
        {"__Host-beckon=a=b==", "Bearer a=b=="},
        {"__Host-beckon=a.b-c_d~e", "Bearer a.b-c_d~e"},
        {"__Host-beckon2=x; __Host-beckon=t", "Bearer t"},
        {"__Host-beckon2=x", NULL},
        {"__Host-beckon-x=x", NULL},
        {"__Host-beckon", NULL},
        {"__Host-beckon; a=b", NULL},
        {"__Host-becko=x", NULL},
        {"x__Host-beckon=x", NULL},
        {"a=__Host-beckon=x", NULL},
        {"a=\"; __Host-beckon=t\"", "Bearer t\""}, /* quotes mean nothing in a cookie's value */
        {"__Host-beckon=\"t\"", "Bearer \"t\""},
        {"__host-beckon=x", NULL},
        {"__Host-beckon =x", NULL},
        {"__Host-beckon=", NULL},
        {"__Host-beckon=; a=b", NULL},
        {"__Host-beckon=one; __Host-beckon=two", "Bearer one"},
        {"__Host-beckon=a%20b%3Bc%25", "Bearer a b;c%"},
        {"__Host-beckon=%", NULL},
        {"__Host-beckon=%2", NULL},
        {"__Host-beckon=%zz", NULL},
        {"__Host-beckon=a%00b", NULL},
        {"__Host-beckon=%2; a=0", NULL}, /* nothing past its end */
        {"", NULL},
        {" ", NULL},
        {";", NULL},
        {"=", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *header CLEANUP(free_ptr) = strdup(rows[i].header);
        check(&(HttpRequest){.method = "GET", .cookie = header}, rows[i].expected);
    }
}

static void test_one_among_very_many_is_found(void **state)
{
    char *header CLEANUP(free_ptr) = calloc(1, 32768);
    size_t used = 0;

    (void)state;
    for (unsigned i = 0; i < 1500; i++)
        used += (size_t)snprintf(header + used, 32768 - used, "__Host-beckon%u=x; ", i);
    check(&(HttpRequest){.method = "GET", .cookie = header}, NULL);
    (void)snprintf(header + used, 32768 - used, "__Host-beckon=t");
    check(&(HttpRequest){.method = "GET", .cookie = header}, "Bearer t");
}

static void test_it_counts_for_our_own_page_only(void **state)
{
    static const struct {
        const char *method, *site, *mark;
        bool counts;
    } rows[] = {
        {"GET", NULL, NULL, true},
        {"HEAD", NULL, NULL, true},
        {"GET", "same-origin", NULL, true},
        {"GET", "none", NULL, true},
        {"GET", "same-site", NULL, false},
        {"GET", "cross-site", "1", false},
        {"HEAD", "cross-site", NULL, false},
        {"GET", "", NULL, false},
        {"GET", "same-origin, cross-site", NULL, false},
        {"get", NULL, NULL, false}, /* a method of its own */
        {"POST", NULL, NULL, false},
        {"POST", "same-origin", NULL, false},
        {"POST", NULL, "1", true},
        {"POST", "same-origin", "1", true},
        {"POST", "none", "1", false},
        {"POST", "same-site", "1", false},
        {"POST", NULL, "", false},
        {"POST", NULL, "11", false},
        {"DELETE", NULL, NULL, false},
        {"DELETE", "same-origin", "1", true},
        {"OPTIONS", NULL, NULL, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const HttpRequest request = {.method = rows[i].method,
                                     .cookie = "__Host-beckon=t",
                                     .site = rows[i].site,
                                     .mark = rows[i].mark};
        check(&request, rows[i].counts ? "Bearer t" : NULL);
    }
}

static void test_a_header_of_its_own_goes_first_wherever_it_comes_from(void **state)
{
    (void)state;
    check(&(HttpRequest){.method = "POST",
                         .authorization = "Bearer own",
                         .cookie = "__Host-beckon=t",
                         .site = "cross-site"},
          "Bearer own");
    check(&(HttpRequest){.method = "GET", .authorization = "", .cookie = "__Host-beckon=t"}, "");
    check(&(HttpRequest){.method = "GET"}, NULL);
}

static void test_what_is_set_comes_back_the_same(void **state)
{
    static const char *const tokens[] = {"t",      "a.b-c_d",         "with space", "a;b,c=d\"e\\f",
                                         "100%25", "\x01\x7f\xc3\xa9"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        char *authorization CLEANUP(free_ptr) = text_format("bEARER   %s", tokens[i]);
        char *expected CLEANUP(free_ptr) = text_format("Bearer %s", tokens[i]);
        char *cookie CLEANUP(free_ptr) = session_cookie(authorization, 60);
        assert_non_null(cookie);
        assert_non_null(strstr(cookie, "; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60"));
        assert_null(strpbrk(cookie, "\r\n\"\\,"));
        cookie[strcspn(cookie, ";")] = '\0';
        check(&(HttpRequest){.method = "GET", .cookie = cookie}, expected);
    }
}

static void test_a_token_that_no_browser_keeps_is_refused(void **state)
{
    char text[sizeof("Bearer ") + SESSION_COOKIE_MAX + 1];

    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "Bearer ", 7);
    text[sizeof(text) - 1] = '\0';
    assert_null(session_cookie(text, 0));
    text[sizeof(text) - 2] = '\0';
    char *longest CLEANUP(free_ptr) = session_cookie(text, 0);
    assert_non_null(longest);
    assert_true(strlen(longest) <= 4096);
    assert_null(strstr(longest, "Max-Age"));
    text[8] = '%'; /* counts as it is sent */
    assert_null(session_cookie(text, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_cookie_is_found_among_others),
        cmocka_unit_test(test_one_among_very_many_is_found),
        cmocka_unit_test(test_it_counts_for_our_own_page_only),
        cmocka_unit_test(test_a_header_of_its_own_goes_first_wherever_it_comes_from),
        cmocka_unit_test(test_what_is_set_comes_back_the_same),
        cmocka_unit_test(test_a_token_that_no_browser_keeps_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
