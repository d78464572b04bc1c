#include "cmocka_.h"
#include "common/text.h"
#include "protocol/jws.h"
#include "protocol/token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/stat.h>

/* The key of RFC 8037 appendix A.1, its public half (A.2) and its thumbprint (A.3). */
static const char rfc_private[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
static const char rfc_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                                 "-----END PUBLIC KEY-----\n";
#define RFC_KID "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
#define RFC_TOKEN                                                                                            \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."                                              \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" /* A.4 */

/* Another Ed25519 key: the second of RFC 8032 section 7.1. */
static const char other_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                   "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n"
                                   "-----END PUBLIC KEY-----\n";

/* Made with PyJWT 2.6.0 and the key of the RFC:
 * {"scope":"upload","aud":"restaurant_1","jti":"t1","path":"/srv/a b",
 * "max_size":5,"iat":1700000000,"exp":1700000600} */
#define PYJWT_TICKET                                                                                         \
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsiLCJ0eXAiOiJiZW" \
    "Nrb24tdGlja2V0K2p3dCJ9."                                                                                \
    "eyJzY29wZSI6InVwbG9hZCIsImF1ZCI6InJlc3RhdXJhbnRfMSIsImp0aSI6InQxIiwicGF0aCI6Ii9zcnYvYSBiIiwibWF4X3Npe"  \
    "mUiOjUsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDAwNjAwfQ."                                                 \
    "XrGLQIeh56JNDg_qPi2gryxjH94Hyk5KuZkOOflRYOlDyPurhzPZEAWUJvvS80kBxEQ-bEn0BjyQM34dJZakDQ"

#define NOW 1700000000

static char folder[] = "/tmp/beckon-test-token-XXXXXX";
static SigningKey *key;
static KeyRing *ring;

/* Keys are files here. The path lives until the next call. */
static char *key_file(const char *pem)
{
    static char path[sizeof(folder) + 8];
    snprintf(path, sizeof(path), "%s/key", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(pem, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static KeyRing *ring_of(const char *first, const char *second)
{
    char *paths[2] = {NULL};
    size_t count = 0;
    paths[count++] = strdup(key_file(first));
    if (second) {
        paths[count] = text_format("%s/key2", folder);
        assert_int_equal(rename(paths[0], paths[count++]), 0);
        (void)key_file(second);
    }
    KeyRing *loaded = NULL;
    const char *bad = NULL;
    assert_int_equal(key_ring_load(paths, count, &loaded, &bad), 0);
    assert_null(bad);
    free(paths[0]);
    if (paths[1])
        (void)unlink(paths[1]);
    free(paths[1]);
    return loaded;
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(signing_key_load(key_file(rfc_private), &key), 0);
    ring = ring_of(rfc_public, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    key = signing_key_free(key);
    ring = key_ring_free(ring);
    (void)unlink(key_file(""));
    return rmdir(folder);
}

/* A token with any header and claims, signed with the key of the RFC by other code than ours. */
static char *forge(const char *header, const char *claims)
{
    void *raw CLEANUP(free_ptr) = NULL;
    size_t raw_size, signature_size = 64;
    uint8_t signature[64];
    assert_int_equal(text_unbase64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", 43, &raw, &raw_size), 0);
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, raw_size);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    char *first CLEANUP(free_ptr) = text_base64url(header, strlen(header));
    char *second CLEANUP(free_ptr) = text_base64url(claims, strlen(claims));
    char *input CLEANUP(free_ptr) = text_format("%s.%s", first, second);
    assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, pkey), 1);
    assert_int_equal(
        EVP_DigestSign(context, signature, &signature_size, (const uint8_t *)input, strlen(input)), 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pkey);
    char *third CLEANUP(free_ptr) = text_base64url(signature, sizeof(signature));
    return text_format("%s.%s", input, third);
}

#define TICKET_HEADER "{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\"}"
#define RECEIPT_HEADER "{\"alg\":\"EdDSA\",\"typ\":\"beckon-receipt+jwt\"}"
#define TICKET_CLAIMS                                                                                        \
    "{\"scope\":\"upload\",\"aud\":\"restaurant_1\",\"jti\":\"t1\",\"path\":\"/"                             \
    "x\",\"iat\":1700000000,\"exp\":1700000600}"
#define RECEIPT_CLAIMS                                                                                       \
    "{\"iss\":\"receiver\",\"sub\":\"restaurant_1\",\"jti\":\"t1\",\"path\":\"/x\",\"size\":5,\"sha256\":"   \
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"iat\":1700000000}"

static int verify_forged(const char *header, const char *claims)
{
    char *token CLEANUP(free_ptr) = forge(header, claims);
    Ticket ticket = {.max_size_bytes = 77};
    int r = ticket_verify(ring, token, NOW, &ticket);
    if (r != 0)
        assert_int_equal(ticket.max_size_bytes, 77);
    return r;
}

static int verify_forged_receipt(const char *claims)
{
    char *token CLEANUP(free_ptr) = forge(RECEIPT_HEADER, claims);
    Receipt receipt = {.size_bytes = 77};
    int r = receipt_verify(ring, token, &receipt);
    if (r != 0)
        assert_int_equal(receipt.size_bytes, 77);
    return r;
}

static Ticket a_ticket(void)
{
    return (Ticket){.scope = TICKET_DOWNLOAD,
                    .client = "restaurant_1",
                    .upload = "t1",
                    .path = "/srv/caf\xc3\xa9 \"1\"\n",
                    .max_size_bytes = 1ULL << 53,
                    .issued_unix_s = NOW,
                    .expires_unix_s = NOW + 60};
}

static Receipt a_receipt(void)
{
    return (Receipt){.client = "restaurant_1",
                     .upload = "t1",
                     .path = "/srv/x",
                     .size_bytes = 5ULL << 30,
                     .sha256 = {1, 2, 3},
                     .issued_unix_s = NOW,
                     .issuer = "receiver"};
}

static char *signed_ticket(void)
{
    char *token = NULL;
    Ticket ticket = a_ticket();
    assert_int_equal(ticket_sign(key, &ticket, &token), 0);
    return token;
}

/* Vectors */

static void kid_is_the_thumbprint_of_rfc_8037(void **state)
{
    (void)state;
    assert_string_equal(signing_key_kid(key), RFC_KID);
}

static void forged_signatures_are_those_of_rfc_8037(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = forge("{\"alg\":\"EdDSA\"}", "Example of Ed25519 signing");
    assert_string_equal(token, RFC_TOKEN);
}

static void ticket_made_by_pyjwt_is_read(void **state)
{
    (void)state;
    Ticket ticket;
    assert_int_equal(ticket_verify(ring, PYJWT_TICKET, NOW, &ticket), 0);
    assert_int_equal(ticket.scope, TICKET_UPLOAD);
    assert_string_equal(ticket.client, "restaurant_1");
    assert_string_equal(ticket.upload, "t1");
    assert_string_equal(ticket.path, "/srv/a b");
    assert_int_equal(ticket.max_size_bytes, 5);
    assert_int_equal(ticket.issued_unix_s, 1700000000);
    assert_int_equal(ticket.expires_unix_s, 1700000600);
}

static void signature_equals_that_of_other_code(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = NULL;
    Ticket ticket = {.client = "restaurant_1",
                     .upload = "t1",
                     .path = "/x",
                     .issued_unix_s = NOW,
                     .expires_unix_s = NOW + 600};
    assert_int_equal(ticket_sign(key, &ticket, &token), 0);
    char *same CLEANUP(free_ptr) =
        forge("{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\",\"kid\":\"" RFC_KID "\"}", TICKET_CLAIMS);
    assert_string_equal(token, same);
}

/* Round trips */

static void ticket_round_trip(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = signed_ticket();
    Ticket expected = a_ticket(), ticket;
    assert_int_equal(ticket_verify(ring, token, NOW, &ticket), 0);
    assert_int_equal(ticket.scope, expected.scope);
    assert_string_equal(ticket.client, expected.client);
    assert_string_equal(ticket.upload, expected.upload);
    assert_string_equal(ticket.path, expected.path);
    assert_int_equal(ticket.max_size_bytes, expected.max_size_bytes);
    assert_int_equal(ticket.issued_unix_s, expected.issued_unix_s);
    assert_int_equal(ticket.expires_unix_s, expected.expires_unix_s);
}

static void receipt_round_trip(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = NULL;
    Receipt expected = a_receipt(), receipt;
    assert_int_equal(receipt_sign(key, &expected, &token), 0);
    assert_int_equal(receipt_verify(ring, token, &receipt), 0);
    assert_string_equal(receipt.client, expected.client);
    assert_string_equal(receipt.upload, expected.upload);
    assert_string_equal(receipt.path, expected.path);
    assert_string_equal(receipt.issuer, expected.issuer);
    assert_int_equal(receipt.size_bytes, expected.size_bytes);
    assert_memory_equal(receipt.sha256, expected.sha256, SHA256_SIZE);
    assert_int_equal(receipt.issued_unix_s, expected.issued_unix_s);
}

static void removal_round_trip(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = NULL, *receipt CLEANUP(free_ptr) = NULL,
                *message CLEANUP(free_ptr) = NULL;
    Removal expected = {.client = "restaurant_1", .upload = "a", .issuer = "receiver", .removed_unix_s = NOW},
            removal;
    Receipt other = a_receipt();
    char read[TICKET_MAX];
    assert_int_equal(removal_sign(key, &expected, &token), 0);
    assert_int_equal(removal_verify(ring, token, &removal), 0);
    assert_string_equal(removal.client, expected.client);
    assert_string_equal(removal.upload, expected.upload);
    assert_string_equal(removal.issuer, expected.issuer);
    assert_int_equal(removal.removed_unix_s, expected.removed_unix_s);
    message = removal_message_format(&removal, "", token);
    assert_int_equal(removal_message_parse(message, strlen(message), read), 0);
    assert_string_equal(read, token);
    assert_int_equal(receipt_verify(ring, token, &other), TOKEN_E_INVALID);
    other = a_receipt();
    assert_int_equal(receipt_sign(key, &other, &receipt), 0);
    assert_int_equal(removal_verify(ring, receipt, &removal), TOKEN_E_INVALID);
    (void)snprintf(expected.client, sizeof(expected.client), "a/b");
    assert_int_equal(removal_sign(key, &expected, &token), -EINVAL);
}

static void fill(char *text, size_t length, char character)
{
    memset(text, character, length);
    text[length] = '\0';
}

static void longest_receipt_and_message_fit(void **state)
{
    (void)state;
    Receipt receipt = a_receipt(), again;
    fill(receipt.client, CLIENT_ID_MAX, 'c');
    fill(receipt.upload, UPLOAD_ID_MAX, 'u');
    fill(receipt.issuer, sizeof(receipt.issuer) - 1, 'i');
    receipt.size_bytes = 1ULL << 53;
    receipt.issued_unix_s = 1LL << 53;
    for (size_t control = 0; control <= 205; control += 205) {
        fill(receipt.path, FILE_PATH_MAX, 'a');
        memset(receipt.path, '\x01', control);
        char *token CLEANUP(free_ptr) = NULL;
        assert_int_equal(receipt_sign(key, &receipt, &token), 0);
        assert_int_equal(receipt_verify(ring, token, &again), 0);
        assert_string_equal(again.path, receipt.path);
        char *message CLEANUP(free_ptr) =
            receipt_message_format(&receipt, "client/upload/name", "", 0, token);
        assert_true(strlen(message) <= MESSAGE_MAX - 1000);
    }
}

static void longest_upload_ticket_and_command_fit(void **state)
{
    (void)state;
    Ticket ticket = a_ticket(), again;
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    UploadCommand *parsed CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*parsed));
    Problem problem;
    ticket.scope = TICKET_UPLOAD;
    fill(ticket.client, CLIENT_ID_MAX, 'c');
    fill(ticket.upload, UPLOAD_ID_MAX, 'u');
    fill(ticket.receiver, sizeof(ticket.receiver) - 1, '\x01');
    fill(ticket.path, FILE_PATH_MAX, 'a');
    memset(ticket.path, '\x01', 205);
    ticket.rate_bytes_per_s = ticket.max_size_bytes;
    ticket.expires_unix_s = 1LL << 53;
    char *token CLEANUP(free_ptr) = NULL;
    assert_int_equal(ticket_sign(key, &ticket, &token), 0);
    assert_int_equal(ticket_verify(ring, token, NOW, &again), 0);
    assert_string_equal(again.path, ticket.path);
    assert_string_equal(again.receiver, ticket.receiver);
    assert_int_equal(again.rate_bytes_per_s, ticket.rate_bytes_per_s);

    strcpy(command->path, ticket.path);
    strcpy(command->receiver, ticket.receiver);
    strcpy(command->ticket, token);
    command->expires_unix_s = command->rate_bytes_per_s = command->max_size_bytes = 1ULL << 53;
    char *text CLEANUP(free_ptr) = upload_command_format(command);
    assert_int_equal(upload_command_parse(text, strlen(text), parsed, &problem), 0);
    assert_string_equal(parsed->ticket, token);
}

static void what_could_not_be_read_is_not_signed(void **state)
{
    (void)state;
    char *token = NULL;
    Receipt receipt = a_receipt();
    memset(receipt.path, '\x01', 1000); /* six characters each in JSON */
    receipt.path[1000] = '\0';
    assert_int_equal(receipt_sign(key, &receipt, &token), -EINVAL);
    strcpy(receipt.path, "\xff");
    assert_int_equal(receipt_sign(key, &receipt, &token), -EINVAL);
    strcpy(receipt.path, "");
    assert_int_equal(receipt_sign(key, &receipt, &token), -EINVAL);
    Ticket ticket = a_ticket();
    strcpy(ticket.client, "../x");
    assert_int_equal(ticket_sign(key, &ticket, &token), -EINVAL);
    assert_null(token);
}

/* Refusals */

static void ticket_expires_at_exactly_its_time(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = signed_ticket();
    Ticket ticket;
    assert_int_equal(ticket_verify(ring, token, NOW + 59, &ticket), 0);
    assert_int_equal(ticket_verify(ring, token, NOW + 60, &ticket), TOKEN_E_EXPIRED);
    assert_int_equal(ticket_verify(ring, token, NOW + 61, &ticket), TOKEN_E_EXPIRED);
}

static void every_flipped_bit_is_refused(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = signed_ticket();
    Ticket ticket;
    size_t length = strlen(token);
    for (size_t bit = 0; bit < length * 8; bit++) {
        token[bit / 8] = (char)(token[bit / 8] ^ 1 << bit % 8);
        int r = ticket_verify(ring, token, NOW, &ticket);
        if (r != TOKEN_E_INVALID && r != TOKEN_E_SIGNATURE)
            fail_msg("bit %zu of character %zu flipped: got %d", bit % 8, bit / 8, r);
        token[bit / 8] = (char)(token[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(ticket_verify(ring, token, NOW, &ticket), 0);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = signed_ticket();
    Ticket ticket;
    for (size_t length = strlen(token); length > 0; length--) {
        token[length - 1] = '\0';
        int r = ticket_verify(ring, token, NOW, &ticket);
        if (r != TOKEN_E_INVALID && r != TOKEN_E_SIGNATURE)
            fail_msg("cut to %zu: got %d", length - 1, r);
    }
}

static void malformed_token_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    ".",        "..",       "...",      "a.b.c",          "a",
                                      "a.b", "e30.e30.", ".e30.e30", "e30..e30", "e30.e30.e30.e30"};
    Ticket ticket;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(ticket_verify(ring, bad[i], NOW, &ticket), TOKEN_E_INVALID);

    static const char *const around[] = {" %s", "%s ", "%s\n", "%s=", "%s.", "%s.e30", "=%s", "Bearer %s"};
    char *token CLEANUP(free_ptr) = signed_ticket();
    for (size_t i = 0; i < ARRAY_SIZE(around); i++) {
        char text[2000];
        const char *slot = strstr(around[i], "%s");
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(slot - around[i]), around[i], token, slot + 2);
        assert_int_equal(ticket_verify(ring, text, NOW, &ticket), TOKEN_E_INVALID);
    }
    char *huge CLEANUP(free_ptr) = malloc(1 << 20);
    memset(huge, 'a', (1 << 20) - 1);
    huge[(1 << 20) - 1] = '\0';
    assert_int_equal(ticket_verify(ring, huge, NOW, &ticket), TOKEN_E_INVALID);
}

static void only_our_header_is_taken(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "{\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"none\",\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"ES256\",\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"eddsa\",\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":[\"EdDSA\"],\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":null,\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"none\",\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\"}",
        "{\"alg\":\"EdDSA\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"beckon-receipt+jwt\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"beckon-operator+jwt\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"BECKON-TICKET+JWT\"}",
        "{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\",\"crit\":null}",
        "{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\",\"kid\":1}",
        "{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\",\"kid\":\"" RFC_KID "x\"}",
        "[\"EdDSA\"]",
        "EdDSA",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        print_message("%s\n", bad[i]);
        assert_int_equal(verify_forged(bad[i], TICKET_CLAIMS), TOKEN_E_INVALID);
    }
    assert_int_equal(verify_forged(TICKET_HEADER, TICKET_CLAIMS), 0);
}

static void unsigned_token_is_refused(void **state)
{
    (void)state;
    static const char header[] = "{\"alg\":\"none\",\"typ\":\"beckon-ticket+jwt\"}";
    char *first CLEANUP(free_ptr) = text_base64url(header, strlen(header));
    char *second CLEANUP(free_ptr) = text_base64url(TICKET_CLAIMS, strlen(TICKET_CLAIMS));
    char *token CLEANUP(free_ptr) = text_format("%s.%s.", first, second);
    Ticket ticket;
    assert_int_equal(ticket_verify(ring, token, NOW, &ticket), TOKEN_E_INVALID);
}

/* The classic confusion of algorithms: the public key, which anybody may know, as a shared secret. */
static void hs256_with_the_public_key_is_refused(void **state)
{
    (void)state;
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"beckon-ticket+jwt\"}";
    char *first CLEANUP(free_ptr) = text_base64url(header, strlen(header));
    char *second CLEANUP(free_ptr) = text_base64url(TICKET_CLAIMS, strlen(TICKET_CLAIMS));
    char *input CLEANUP(free_ptr) = text_format("%s.%s", first, second);
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_size = 0;
    assert_non_null(HMAC(EVP_sha256(), rfc_public, (int)strlen(rfc_public), (const uint8_t *)input,
                         strlen(input), mac, &mac_size));
    char *third CLEANUP(free_ptr) = text_base64url(mac, mac_size);
    char *token CLEANUP(free_ptr) = text_format("%s.%s", input, third);
    Ticket ticket;
    assert_int_equal(ticket_verify(ring, token, NOW, &ticket), TOKEN_E_INVALID);
}

static void ticket_of_a_later_time_is_refused_unless_it_was_signed_then(void **state)
{
    (void)state;
    static const struct {
        const char *claims;
        int expected;
    } rows[] = {
        {"\"iat\":1700000000,\"nbf\":1700000000", 0},
        {"\"iat\":1600000000,\"nbf\":1699999999", 0},
        {"\"iat\":1600000000,\"nbf\":1700000001", TOKEN_E_INVALID},
        {"\"iat\":1700000500,\"nbf\":1700000500", 0}, /* our clock is behind */
        {"\"iat\":1700000500,\"nbf\":1700000501", TOKEN_E_INVALID},
        {"\"iat\":1700000000,\"nbf\":\"1700000000\"", TOKEN_E_INVALID},
        {"\"iat\":1700000000,\"nbf\":null", TOKEN_E_INVALID},
        {"\"iat\":1700000000,\"nbf\":-1", TOKEN_E_INVALID},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *claims CLEANUP(free_ptr) =
            text_format("{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\","
                        "\"exp\":1800000000,%s}",
                        rows[i].claims);
        print_message("%s\n", claims);
        assert_int_equal(verify_forged(TICKET_HEADER, claims), rows[i].expected);
    }
}

static void one_kind_is_no_other(void **state)
{
    (void)state;
    char *receipt_token CLEANUP(free_ptr) = NULL;
    char *ticket_token CLEANUP(free_ptr) = signed_ticket();
    Receipt receipt = a_receipt();
    Ticket ticket;
    assert_int_equal(receipt_sign(key, &receipt, &receipt_token), 0);
    assert_int_equal(ticket_verify(ring, receipt_token, NOW, &ticket), TOKEN_E_INVALID);
    assert_int_equal(receipt_verify(ring, ticket_token, &receipt), TOKEN_E_INVALID);
}

static void bad_ticket_claims_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}",
        "[]",
        "",
        TICKET_CLAIMS " x",
        TICKET_CLAIMS TICKET_CLAIMS,
        "{\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1}",
        "{\"scope\":\"all\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":[\"upload\"],\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":[\"a\"],\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"..\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t/1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "\\u0000x\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/\xff\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"iat\":\"1\",\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"iat\":1,\"exp\":\"1800000000\"}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1800000000.5}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":1e300}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"iat\":1,\"exp\":null}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"max_size\":0,\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"max_size\":null,\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"max_size\":-1,\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"rate\":0,\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"receiver\":\"\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"receiver\":null,\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"receiver\":[\"backup\"],\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\",\"path\":\"/"
        "y\",\"iat\":1,\"exp\":1800000000}",
        "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/"
        "x\",\"iat\":1,\"exp\":1800000000,\"z\":1,\"z\":1}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        print_message("%s\n", bad[i]);
        assert_int_equal(verify_forged(TICKET_HEADER, bad[i]), TOKEN_E_INVALID);
    }
    assert_int_equal(verify_forged(TICKET_HEADER,
                                   "{\"scope\":\"upload\",\"aud\":\"a\",\"jti\":\"t1\",\"path\":\"/x\","
                                   "\"iat\":1,\"exp\":1800000000,\"unknown\":{}}"),
                     0);
}

/* Claims with the first of one text replaced by another. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    return text_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void bad_receipt_claims_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"\"iss\":\"receiver\",", ""},
        {"\"sub\":\"restaurant_1\",", ""},
        {"\"jti\":\"t1\",", ""},
        {"\"path\":\"/x\",", ""},
        {"\"size\":5,", ""},
        {"\"sha256\"", "\"sha512\""},
        {",\"iat\":1700000000", ""},
        {"\"size\":5", "\"size\":\"5\""},
        {"\"size\":5", "\"size\":-5"},
        {"\"size\":5", "\"size\":5.5"},
        {"\"size\":5", "\"size\":18446744073709551615"},
        {"\"size\":5", "\"size\":5,\"size\":6"},
        {"e3b0", "e3b"},
        {"e3b0", "e3b00"},
        {"e3b0", "e3bg"},
        {"restaurant_1", "a/b"},
        {"restaurant_1", "01234567890123456789012345678901234567890123456789012345678901234"},
        {"t1", ""},
        {"t1", "t.1"},
        {"/x", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *claims CLEANUP(free_ptr) = replaced(RECEIPT_CLAIMS, bad[i][0], bad[i][1]);
        print_message("%s\n", claims);
        assert_int_equal(verify_forged_receipt(claims), TOKEN_E_INVALID);
    }
    assert_int_equal(verify_forged_receipt(RECEIPT_CLAIMS), 0);
}

/* Keys */

static void key_is_found_among_two_with_and_without_kid(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = signed_ticket();
    char *no_kid CLEANUP(free_ptr) = forge(TICKET_HEADER, TICKET_CLAIMS);
    Ticket ticket;
    KeyRing *rings[] = {ring_of(rfc_public, other_public), ring_of(other_public, rfc_public)};
    for (size_t i = 0; i < ARRAY_SIZE(rings); i++) {
        assert_int_equal(ticket_verify(rings[i], token, NOW, &ticket), 0);
        assert_int_equal(ticket_verify(rings[i], no_kid, NOW, &ticket), 0);
        key_ring_free(rings[i]);
    }
}

static void strangers_key_is_refused(void **state)
{
    (void)state;
    char *token CLEANUP(free_ptr) = signed_ticket();
    char *no_kid CLEANUP(free_ptr) = forge(TICKET_HEADER, TICKET_CLAIMS);
    Ticket ticket;
    KeyRing *other = ring_of(other_public, NULL), *empty = NULL;
    assert_int_equal(key_ring_load(NULL, 0, &empty, NULL), 0);
    assert_int_equal(ticket_verify(other, token, NOW, &ticket), TOKEN_E_SIGNATURE);
    assert_int_equal(ticket_verify(other, no_kid, NOW, &ticket), TOKEN_E_SIGNATURE);
    assert_int_equal(ticket_verify(empty, no_kid, NOW, &ticket), TOKEN_E_SIGNATURE);
    key_ring_free(other);
    key_ring_free(empty);
    /* The signature is good, but of a key with another name than the token says. */
    assert_int_equal(
        verify_forged("{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\",\"kid\":\"unknown\"}", TICKET_CLAIMS),
        TOKEN_E_SIGNATURE);
}

static int load_public(const char *pem)
{
    char *path = key_file(pem);
    KeyRing *loaded = NULL;
    const char *bad = NULL;
    int r = key_ring_load(&path, 1, &loaded, &bad);
    if (r < 0) {
        assert_null(loaded);
        assert_string_equal(bad, path);
    }
    key_ring_free(loaded);
    return r;
}

static int load_private(const char *pem)
{
    SigningKey *loaded = NULL;
    int r = signing_key_load(key_file(pem), &loaded);
    if (r < 0)
        assert_null(loaded);
    signing_key_free(loaded);
    return r;
}

/* Thrown away after they were made for this. */
static const char p256_private[] = "-----BEGIN PRIVATE KEY-----\n"
                                   "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpYkwyqGuXhQF4/UE\n"
                                   "08ofbCsDDQJIv9KICwC7YKkmTlyhRANCAAQQC5xAKKSaS5fDAdI7CmJj5+qHronn\n"
                                   "o85aJowudQ6gZAC1vNDcnUReJi7rtGMvpjuafz0fPOQaD7vyVTGKRX6n\n"
                                   "-----END PRIVATE KEY-----\n";
static const char p256_public[] = "-----BEGIN PUBLIC KEY-----\n"
                                  "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEAucQCikmkuXwwHSOwpiY+fqh66J\n"
                                  "56POWiaMLnUOoGQAtbzQ3J1EXiYu67RjL6Y7mn89HzzkGg+78lUxikV+pw==\n"
                                  "-----END PUBLIC KEY-----\n";
static const char encrypted_private[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                                        "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhVneKRkcStSAICCAAw\n"
                                        "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFfhlJONlDquZJP9qJmzD9oEQFPX\n"
                                        "l4ExyVxgbK4cD8RJfFd+bHOKFG6Pn3SnSM/xWs3cX4SB5fAiWuJKLsrsGUUStL1a\n"
                                        "6XZz1k3SfpZDiqwaQeM=\n"
                                        "-----END ENCRYPTED PRIVATE KEY-----\n";

static void only_one_ed25519_key_a_file_is_taken(void **state)
{
    (void)state;
    char *two CLEANUP(free_ptr) = text_format("%s%s", other_public, rfc_public);
    char *both CLEANUP(free_ptr) = text_format("%s%s", rfc_private, rfc_public);
    char *cut CLEANUP(free_ptr) = text_format("%.60s", rfc_public);
    assert_int_equal(load_public(rfc_public), 0);
    assert_int_equal(load_public(rfc_private), -EINVAL);
    assert_int_equal(load_public(two), -EINVAL);
    assert_int_equal(load_public(both), -EINVAL);
    assert_int_equal(load_public(cut), -EINVAL);
    assert_int_equal(load_public(""), -EINVAL);
    assert_int_equal(load_private(rfc_private), 0);
    assert_int_equal(load_private(rfc_public), -EINVAL);
    assert_int_equal(load_private(both), -EINVAL);
    assert_int_equal(load_private("hello"), -EINVAL);
    assert_int_equal(load_public(p256_public), -EINVAL);
    assert_int_equal(load_private(p256_private), -EINVAL);
    assert_int_equal(load_private(encrypted_private), -EINVAL); /* and no passphrase is asked for */

    SigningKey *none = NULL;
    assert_int_equal(signing_key_load("/nonexistent/key", &none), -ENOENT);
}

static unsigned allocations, failing_allocation;

static void *failing_malloc(size_t size)
{
    if (++allocations != failing_allocation)
        return malloc(size);
    errno = ENOMEM;
    return NULL;
}

static void a_lack_of_memory_is_no_verdict_on_a_token(void **state)
{
    cJSON_Hooks hooks = {.malloc_fn = failing_malloc, .free_fn = free};
    int r = -ENOMEM;
    (void)state;
    cJSON_InitHooks(&hooks);
    for (failing_allocation = 1; r != 0 && failing_allocation < 1000; failing_allocation++) {
        Ticket ticket;
        allocations = 0;
        r = ticket_verify(ring, PYJWT_TICKET, NOW, &ticket);
        assert_true(r == -ENOMEM || (r == 0 && allocations < failing_allocation));
    }
    cJSON_InitHooks(NULL);
    assert_true(failing_allocation > 10);
    assert_int_equal(r, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kid_is_the_thumbprint_of_rfc_8037),
        cmocka_unit_test(forged_signatures_are_those_of_rfc_8037),
        cmocka_unit_test(ticket_made_by_pyjwt_is_read),
        cmocka_unit_test(signature_equals_that_of_other_code),
        cmocka_unit_test(ticket_round_trip),
        cmocka_unit_test(receipt_round_trip),
        cmocka_unit_test(removal_round_trip),
        cmocka_unit_test(longest_receipt_and_message_fit),
        cmocka_unit_test(longest_upload_ticket_and_command_fit),
        cmocka_unit_test(what_could_not_be_read_is_not_signed),
        cmocka_unit_test(ticket_expires_at_exactly_its_time),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(malformed_token_is_refused),
        cmocka_unit_test(only_our_header_is_taken),
        cmocka_unit_test(unsigned_token_is_refused),
        cmocka_unit_test(hs256_with_the_public_key_is_refused),
        cmocka_unit_test(ticket_of_a_later_time_is_refused_unless_it_was_signed_then),
        cmocka_unit_test(one_kind_is_no_other),
        cmocka_unit_test(bad_ticket_claims_are_refused),
        cmocka_unit_test(bad_receipt_claims_are_refused),
        cmocka_unit_test(key_is_found_among_two_with_and_without_kid),
        cmocka_unit_test(strangers_key_is_refused),
        cmocka_unit_test(only_one_ed25519_key_a_file_is_taken),
        cmocka_unit_test(a_lack_of_memory_is_no_verdict_on_a_token),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
