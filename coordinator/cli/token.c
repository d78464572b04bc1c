/* beckon token: makes and examines the tokens with which users call the REST API. Works without a
 * coordinator. */
#include "common/clock.h"
#include "common/files.h"
#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "protocol/grant.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define VERB "token"
#define TTL_DEFAULT_MS ((uint64_t)12 * 3600 * 1000)
#define TTL_MAX_MS ((uint64_t)3650 * 86400 * 1000)
#define KEYS_MAX 16

enum { OPTION_USER = 1, OPTION_SCOPE, OPTION_CLIENTS, OPTION_TTL, OPTION_KEY };

typedef struct Options {
    Grant grant;
    uint64_t ttl_ms;
    char *keys[KEYS_MAX];
    size_t key_count;
    const char *output; /* NULL: standard output */
} Options;

/* --- options --- */

/* "restaurant_*,kiosk-7", once or several times. */
static int add_clients(Grant *grant, const char *list)
{
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        size_t length = strcspn(at, ",");
        if (grant->pattern_count == GRANT_PATTERNS_MAX)
            return cli_usage_error(VERB, "a token has room for %d --clients", GRANT_PATTERNS_MAX);
        char *pattern = grant->patterns[grant->pattern_count];
        if (length < CLIENT_ID_SIZE)
            (void)snprintf(pattern, CLIENT_ID_SIZE, "%.*s", (int)length, at);
        if (length >= CLIENT_ID_SIZE || !client_pattern_is_valid(pattern))
            return cli_usage_error(VERB, "--clients wants names of devices, in which * and ? may stand");
        grant->pattern_count++;
    }
    return CLI_GO_ON;
}

static int take_option(Cli *cli, Options *options, int option)
{
    switch (option) {
    case OPTION_USER:
        if (!user_name_is_valid(optarg))
            return cli_usage_error(VERB,
                                   "--user wants 1 to %d of A-Z a-z 0-9 . _ @ + -, a letter or digit "
                                   "first",
                                   USER_NAME_MAX);
        (void)snprintf(options->grant.user, sizeof(options->grant.user), "%s", optarg);
        return CLI_GO_ON;
    case OPTION_SCOPE:
        if (!grant_scopes_parse(optarg, &options->grant.scopes) || !options->grant.scopes)
            return cli_usage_error(VERB, "--scope wants some of read,pull,admin");
        return CLI_GO_ON;
    case OPTION_CLIENTS:
        return add_clients(&options->grant, optarg);
    case OPTION_TTL:
        if (!text_to_duration(optarg, &options->ttl_ms) || options->ttl_ms < 1000 ||
            options->ttl_ms > TTL_MAX_MS)
            return cli_usage_error(VERB, "--ttl wants a time from 1s to 3650d");
        return CLI_GO_ON;
    case OPTION_KEY:
        if (options->key_count == KEYS_MAX)
            return cli_usage_error(VERB, "too many keys");
        options->keys[options->key_count++] = optarg;
        return CLI_GO_ON;
    case 'o':
        options->output = optarg;
        return CLI_GO_ON;
    default:
        return cli_option(cli, VERB, option);
    }
}

/* argv[0] is create or verify. */
static int read_options(Cli *cli, int argc, char **argv, Options *options)
{
    static const struct option table[] = {{"user", required_argument, NULL, OPTION_USER},
                                          {"scope", required_argument, NULL, OPTION_SCOPE},
                                          {"clients", required_argument, NULL, OPTION_CLIENTS},
                                          {"ttl", required_argument, NULL, OPTION_TTL},
                                          {"key", required_argument, NULL, OPTION_KEY},
                                          {"output", required_argument, NULL, 'o'},
                                          CLI_OPTIONS};
    int option, code = CLI_GO_ON;
    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "ho:", table, NULL)) != -1)
        code = take_option(cli, options, option);
    return code;
}

/* --- create --- */

static int check_create(const Options *options, int arguments)
{
    if (arguments > 0)
        return cli_usage_error(VERB, "too many arguments");
    if (!options->grant.user[0] || !options->grant.scopes || options->grant.pattern_count == 0)
        return cli_usage_error(VERB, "create needs --user, --scope and --clients");
    if (options->key_count != 1)
        return cli_usage_error(VERB, "which private key signs it? --key FILE");
    return CLI_GO_ON;
}

static int sign(Options *options, char **ret_token)
{
    SigningKey *key = NULL;
    int r = signing_key_load(options->keys[0], &key);
    if (r < 0) {
        cli_error("%s: %s", options->keys[0],
                  r == -EINVAL ? "not an Ed25519 private key in PEM" : strerror(-r));
        return EXIT_USAGE;
    }
    options->grant.issued_unix_s = clock_unix_ms() / 1000;
    options->grant.expires_unix_s = options->grant.issued_unix_s + (int64_t)(options->ttl_ms / 1000);
    r = grant_sign(key, &options->grant, ret_token);
    (void)signing_key_free(key);
    if (r == 0)
        return EXIT_DONE;
    cli_error("can't sign the token: %s", r == -EMSGSIZE ? "it has too many --clients" : strerror(-r));
    return EXIT_FAILED;
}

/* A new file that only its owner may read: nothing that was there is overwritten, or keeps its mode. */
static int write_file(const char *path, const char *line)
{
    int fd CLEANUP(close_fd) = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : write_all(fd, line, strlen(line));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0)
        return EXIT_DONE;
    if (fd >= 0)
        (void)unlink(path); /* half a token is none */
    cli_error("%s: %s", path, strerror(-r));
    return EXIT_FAILED;
}

static int create(Options *options, int arguments)
{
    char *token CLEANUP(free_secret) = NULL;
    int code = check_create(options, arguments);
    if (code == CLI_GO_ON)
        code = sign(options, &token);
    if (code != EXIT_DONE)
        return code;
    char *line CLEANUP(free_secret) = text_format("%s\n", token);
    if (!line)
        return EXIT_FAILED;
    if (options->output)
        return write_file(options->output, line);
    return fputs(line, stdout) < 0 ? EXIT_FAILED : EXIT_DONE;
}

/* --- verify --- */

/* One line. false after a message. */
static bool read_token(const char *path, char token[static TICKET_MAX])
{
    FILE *opened CLEANUP(close_stream) = strcmp(path, "-") == 0 ? NULL : fopen(path, "re");
    FILE *stream = strcmp(path, "-") == 0 ? stdin : opened;
    if (!stream || !fgets(token, TICKET_MAX, stream)) {
        cli_error("%s: %s", path, stream ? "no token in it" : strerror(errno));
        return false;
    }
    token[strcspn(token, "\r\n")] = '\0';
    return true;
}

static int print_json(const Grant *grant, const char *issued, const char *expires)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON *clients = object ? cJSON_AddArrayToObject(object, "clients") : NULL;
    for (size_t i = 0; clients && i < grant->pattern_count; i++)
        (void)cJSON_AddItemToArray(clients, cJSON_CreateString(grant->patterns[i]));
    if (!clients || !cJSON_AddStringToObject(object, "user", grant->user) ||
        !cJSON_AddStringToObject(object, "scope", grant_scopes_text(grant->scopes)) ||
        !cJSON_AddStringToObject(object, "issuedAt", issued) ||
        !cJSON_AddStringToObject(object, "expiresAt", expires))
        return EXIT_FAILED;
    char *text CLEANUP(free_ptr) = cJSON_PrintUnformatted(object);
    return text && puts(text) >= 0 ? EXIT_DONE : EXIT_FAILED;
}

static int print_grant(const Cli *cli, const Grant *grant)
{
    char issued[TEXT_TIME_SIZE], expires[TEXT_TIME_SIZE];
    text_time(grant->issued_unix_s * 1000, issued);
    text_time(grant->expires_unix_s * 1000, expires);
    if (cli->json)
        return print_json(grant, issued, expires);
    (void)printf("user:    %s\nscope:   %s\nclients:", grant->user, grant_scopes_text(grant->scopes));
    for (size_t i = 0; i < grant->pattern_count; i++)
        (void)printf(" %s", grant->patterns[i]);
    (void)printf("\nissued:  %s\nexpires: %s\n", grant->issued_unix_s ? issued : "not said", expires);
    return EXIT_DONE;
}

static int verify(const Cli *cli, const Options *options, const char *path)
{
    char token[TICKET_MAX];
    const char *bad = "";
    KeyRing *keys = NULL;
    Grant grant;
    if (options->key_count == 0)
        return cli_usage_error(VERB, "whose token is it? --key FILE, the public half");
    if (!path)
        return cli_usage_error(VERB, "which token? FILE, or - for standard input");
    if (!read_token(path, token))
        return EXIT_FAILED;
    int r = key_ring_load(options->keys, options->key_count, &keys, &bad);
    if (r < 0) {
        cli_error("%s: %s", bad, r == -EINVAL ? "not an Ed25519 public key in PEM" : strerror(-r));
        return EXIT_USAGE;
    }
    r = grant_verify(keys, token, clock_unix_ms() / 1000, &grant);
    (void)key_ring_free(keys);
    explicit_bzero(token, sizeof(token));
    if (r == 0)
        return print_grant(cli, &grant);
    cli_error("the token is refused: %s", token_error_text(r));
    return EXIT_FAILED;
}

int cli_token(Cli *cli, int argc, char **argv)
{
    Options options = {.ttl_ms = TTL_DEFAULT_MS};
    const char *what = argc > 1 ? argv[1] : "";
    bool creates = strcmp(what, "create") == 0;
    if (!creates && strcmp(what, "verify") != 0)
        return argc > 1 && (strcmp(what, "-h") == 0 || strcmp(what, "--help") == 0)
                   ? cli_option(cli, VERB, 'h')
                   : cli_usage_error(VERB, "create or verify?");
    argc--;
    argv++;
    int code = read_options(cli, argc, argv, &options);
    if (code != CLI_GO_ON)
        return code;
    char *key = getenv("BECKON_SIGNING_KEY");
    if (creates && options.key_count == 0 && key)
        options.keys[options.key_count++] = key;
    if (creates)
        return create(&options, argc - optind);
    return verify(cli, &options, optind < argc ? argv[optind] : cli->token_file);
}
