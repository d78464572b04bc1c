/* Operator tokens. What jws.c refuses by itself (other algorithms, bent signatures) is in test_token.c too.
 */
#include "protocol/grant.h"

#include "cmocka_.h"
#include "common/text.h"
#include "protocol/jws.h"

#include <errno.h>
#include <string.h>

#define NOW 1700000000

/* RFC 8037 appendix A.1 and A.2. */
static const char private_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";

static char folder[] = "/tmp/beckon-test-grant-XXXXXX";
static SigningKey *key;
static KeyRing *ring;

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    char *path CLEANUP(free_ptr) = text_format("%s/key", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(private_pem, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(signing_key_load(path, &key), 0);
    assert_int_equal(key_ring_of(key, &ring), 0);
    assert_int_equal(unlink(path), 0);
    return rmdir(folder);
}

static int tear_down(void **state)
{
    (void)state;
    key = signing_key_free(key);
    ring = key_ring_free(ring);
    return 0;
}

static Grant a_grant(void)
{
    return (Grant){.user = "alice",
                   .scopes = GRANT_READ | GRANT_PULL,
                   .pattern_count = 2,
                   .patterns = {"restaurant_*", "kiosk-7"},
                   .issued_unix_s = NOW,
                   .expires_unix_s = NOW + 3600};
}

/* Any claims under a good signature. */
static int verify(const char *typ, const char *claims_text, Grant *ret_grant)
{
    char *token CLEANUP(free_ptr) = NULL;
    cJSON *claims = cJSON_Parse(claims_text);
    if (!claims)
        fail_msg("not JSON: %s", claims_text);
    assert_int_equal(jws_sign(key, typ, claims, &token), 0);
    cJSON_Delete(claims);
    return grant_verify(ring, token, NOW, ret_grant);
}

static void what_is_signed_is_read_back(void **state)
{
    (void)state;
    Grant made = a_grant(), read = {0};
    char *token CLEANUP(free_ptr) = NULL;
    assert_int_equal(grant_sign(key, &made, &token), 0);
    assert_int_equal(grant_verify(ring, token, NOW, &read), 0);
    assert_memory_equal(&made, &read, sizeof(made));
    assert_int_equal(grant_verify(ring, token, NOW + 3599, &read), 0);
    assert_int_equal(grant_verify(ring, token, NOW + 3600, &read), TOKEN_E_EXPIRED);
}

static void every_altered_bit_is_noticed(void **state)
{
    (void)state;
    Grant made = a_grant(), read;
    char *token CLEANUP(free_ptr) = NULL;
    assert_int_equal(grant_sign(key, &made, &token), 0);
    for (size_t i = 0; token[i]; i++)
        for (int bit = 0; bit < 8; bit++) {
            char was = token[i];
            token[i] = (char)(was ^ (1 << bit));
            if (grant_verify(ring, token, NOW, &read) == 0)
                fail_msg("bit %d of byte %zu was altered, and the token is valid", bit, i);
            token[i] = was;
        }
    assert_int_equal(grant_verify(ring, token, NOW, &read), 0);
}

static void what_can_not_be_read_is_not_signed(void **state)
{
    (void)state;
    Grant bad[8];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        bad[i] = a_grant();
    (void)snprintf(bad[0].user, sizeof(bad[0].user), "%s", "");
    (void)snprintf(bad[1].user, sizeof(bad[1].user), "%s", "eve\n");
    bad[2].scopes = 0;
    bad[3].pattern_count = 0;
    bad[4].pattern_count = GRANT_PATTERNS_MAX + 1;
    (void)snprintf(bad[5].patterns[1], sizeof(bad[5].patterns[1]), "%s", "a[bc]");
    bad[6].expires_unix_s = NOW;
    bad[7].issued_unix_s = -1;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *token = NULL;
        if (grant_sign(key, &bad[i], &token) != -EINVAL)
            fail_msg("bad grant %zu was signed", i);
        assert_null(token);
    }
}

#define TYP "beckon-operator+jwt"
#define ALICE "\"sub\":\"alice\","
#define READ "\"scope\":\"read\","
#define SOME "\"clients\":[\"r*\"],"
#define LATER "\"exp\":1700000001"

static void claims_decide(void **state)
{
    static const struct {
        int expected;
        const char *claims;
    } cases[] = {
        {0, "{" ALICE READ SOME LATER "}"},
        {0, "{" ALICE READ SOME LATER ",\"aud\":\"coordinator\"}"},
        {0, "{" ALICE READ SOME LATER ",\"aud\":[\"other\",\"coordinator\"]}"},
        {0, "{" ALICE READ SOME LATER ",\"nbf\":1700000000,\"iat\":1700000000,\"more\":{}}"},
        {0, "{" ALICE READ "\"clients\":[]," LATER "}"},
        {0, "{" ALICE "\"scope\":[\"read\",\"later\"]," SOME LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"aud\":\"receiver\"}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"aud\":\"Coordinator\"}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"aud\":[]}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"aud\":null}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"aud\":{\"a\":\"coordinator\"}}"},
        {TOKEN_E_INVALID, "{" READ SOME LATER "}"},
        {TOKEN_E_INVALID, "{\"sub\":\"\"," READ SOME LATER "}"},
        {TOKEN_E_INVALID, "{\"sub\":\"a\\nb\"," READ SOME LATER "}"},
        {TOKEN_E_INVALID, "{\"sub\":7," READ SOME LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE SOME LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE "\"scope\":7," SOME LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE "\"scope\":[7]," SOME LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ "\"clients\":\"*\"," LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ "\"clients\":[\"\"]," LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ "\"clients\":[\"a\",null]," LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ "\"clients\":[\"a/b\"]," LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ "\"clients\":{\"a\":\"*\"}," LATER "}"},
        {TOKEN_E_INVALID, "{" ALICE READ "\"clients\":[\"*\"]}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME "\"exp\":\"1700000001\"}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME "\"exp\":-1}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME "\"exp\":1e300}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"nbf\":\"soon\"}"},
        {TOKEN_E_INVALID, "{" ALICE READ SOME LATER ",\"exp\":1900000000}"},
        {TOKEN_E_EXPIRED, "{" ALICE READ SOME "\"exp\":1700000000}"},
        {TOKEN_E_EARLY, "{" ALICE READ SOME "\"exp\":1700000009,\"nbf\":1700000001}"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Grant grant = {.scopes = 99};
        int r = verify(TYP, cases[i].claims, &grant);
        if (r != cases[i].expected || (r != 0 && grant.scopes != 99))
            fail_msg("%s: expected %d, saw %d", cases[i].claims, cases[i].expected, r);
    }
    Grant grant;
    assert_int_equal(verify("beckon-ticket+jwt", cases[0].claims, &grant), TOKEN_E_INVALID);
    assert_int_equal(verify("JWT", cases[0].claims, &grant), TOKEN_E_INVALID);
}

static void sixty_four_patterns_and_no_more(void **state)
{
    (void)state;
    Grant grant;
    for (size_t count = GRANT_PATTERNS_MAX; count <= GRANT_PATTERNS_MAX + 1; count++) {
        char *claims = text_format("{" ALICE READ LATER ",\"clients\":[\"a\"");
        for (size_t i = 1; i < count; i++) {
            char *longer = text_format("%s,\"b\"", claims);
            free(claims);
            claims = longer;
        }
        char *whole CLEANUP(free_ptr) = text_format("%s]}", claims);
        free(claims);
        assert_int_equal(verify(TYP, whole, &grant), count == GRANT_PATTERNS_MAX ? 0 : TOKEN_E_INVALID);
    }
}

static void patterns_name_devices(void **state)
{
    static const struct {
        const char *pattern, *client;
        bool sees;
    } cases[] = {
        {"restaurant_*", "restaurant_1", true},
        {"restaurant_*", "restaurant_", true},
        {"restaurant_*", "restaurant", false},
        {"restaurant_*", "factory_1", false},
        {"restaurant_*", "Restaurant_1", false},
        {"restaurant_*", "x-restaurant_1", false},
        {"restaurant_1", "restaurant_1", true},
        {"restaurant_1", "restaurant_11", false},
        {"restaurant_11", "restaurant_1", false},
        {"restaurant_?", "restaurant_1", true},
        {"restaurant_?", "restaurant_", false},
        {"restaurant_?", "restaurant_12", false},
        {"*", "anything", true},
        {"**", "anything", true},
        {"*-eu-*", "shop-eu-7", true},
        {"*-eu-*", "shop-eu", false},
        {"*-eu", "shop-eu-eu", true},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"*?", "a", true},
        {"?*?", "a", false},
        {"a.b", "a-b", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Grant grant = {.pattern_count = 1};
        (void)snprintf(grant.patterns[0], CLIENT_ID_SIZE, "%s", cases[i].pattern);
        assert_true(client_pattern_is_valid(cases[i].pattern));
        if (grant_sees(&grant, cases[i].client) != cases[i].sees)
            fail_msg("%s, %s: expected %d", cases[i].pattern, cases[i].client, cases[i].sees);
    }
    Grant none = {.scopes = GRANT_ADMIN};
    assert_false(grant_sees(&none, "restaurant_1"));
    Grant grant = a_grant();
    assert_true(grant_sees(&grant, "kiosk-7") && !grant_sees(&grant, "kiosk-8"));
}

/* Exponential matchers need years for this one. */
static void no_pattern_takes_long(void **state)
{
    (void)state;
    Grant grant = {.pattern_count = 1,
                   .patterns = {"*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"}};
    for (int i = 0; i < 10000; i++)
        assert_false(grant_sees(&grant, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void scopes_are_words(void **state)
{
    static const struct {
        const char *text;
        bool known;
        unsigned scopes;
    } cases[] = {
        {"read", true, GRANT_READ},
        {"read pull", true, GRANT_READ | GRANT_PULL},
        {"pull,read", true, GRANT_READ | GRANT_PULL},
        {" admin ", true, GRANT_ADMIN},
        {"", true, 0},
        {"Read", false, 0},
        {"read write", false, GRANT_READ},
        {"readpull", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned scopes = 99;
        if (grant_scopes_parse(cases[i].text, &scopes) != cases[i].known || scopes != cases[i].scopes)
            fail_msg("\"%s\": saw scopes %u", cases[i].text, scopes);
    }
    for (unsigned scopes = 0; scopes < 8; scopes++) {
        unsigned read;
        assert_true(grant_scopes_parse(grant_scopes_text(scopes), &read));
        assert_int_equal(read, scopes);
    }
    Grant grant = {.scopes = GRANT_PULL};
    assert_true(grant_has(&grant, GRANT_PULL) && !grant_has(&grant, GRANT_READ));
    grant.scopes = GRANT_ADMIN;
    assert_true(grant_has(&grant, GRANT_PULL) && grant_has(&grant, GRANT_READ | GRANT_ADMIN));
    grant_everything(&grant);
    assert_true(grant_has(&grant, GRANT_ADMIN) && grant_sees(&grant, "x") && !grant.user[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_signed_is_read_back),
        cmocka_unit_test(every_altered_bit_is_noticed),
        cmocka_unit_test(what_can_not_be_read_is_not_signed),
        cmocka_unit_test(claims_decide),
        cmocka_unit_test(sixty_four_patterns_and_no_more),
        cmocka_unit_test(patterns_name_devices),
        cmocka_unit_test(no_pattern_takes_long),
        cmocka_unit_test(scopes_are_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
