#include "common/clock.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"
#include "protocol/message.h"
#include "protocol/token.h"
#include "protocol/topic.h"

#include <errno.h>
#include <string.h>

#define EXPIRES_MS ((uint64_t)3600 * 1000)

typedef struct TicketOptions {
    const char *key_file, *client, *path;
    const char *id, *receiver; /* "": none given */
    uint64_t expires_ms;
    uint64_t max_size_bytes, rate_bytes_per_s; /* 0: none */
} TicketOptions;

static int check_options(TicketOptions *options, int argc, char **argv)
{
    int code = cli_read_target("ticket", argc, argv, &options->client, &options->path);
    if (code != CLI_GO_ON)
        return code;
    if (!options->key_file)
        return cli_usage_error("ticket", "the coordinator's signing key is needed: --key FILE");
    if (*options->id && !upload_id_is_valid(options->id))
        return cli_usage_error("ticket", "an id has 1 to %d letters, digits, dashes and underscores",
                               UPLOAD_ID_MAX);
    if (strlen(options->receiver) >= RECEIVER_NAME_SIZE)
        return cli_usage_error("ticket", "a receiver's name has at most %d bytes", RECEIVER_NAME_SIZE - 1);
    return CLI_GO_ON;
}

static int read_options(Cli *cli, TicketOptions *options, int argc, char **argv)
{
    enum { KEY = 1, ID, RECEIVER, EXPIRES, MAX_SIZE, RATE };
    static const struct option table[] = {{"key", required_argument, NULL, KEY},
                                          {"id", required_argument, NULL, ID},
                                          {"receiver", required_argument, NULL, RECEIVER},
                                          {"expires", required_argument, NULL, EXPIRES},
                                          {"max-size", required_argument, NULL, MAX_SIZE},
                                          {"rate", required_argument, NULL, RATE},
                                          CLI_OPTIONS};
    int option, code = CLI_GO_ON;

    while (code == CLI_GO_ON && (option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        switch (option) {
        case KEY:
            options->key_file = optarg;
            break;
        case ID:
            options->id = optarg;
            break;
        case RECEIVER:
            options->receiver = optarg;
            break;
        case EXPIRES:
            code = cli_read_limit("ticket", "expires", text_to_duration, "1h", &options->expires_ms);
            break;
        case MAX_SIZE:
            code = cli_read_limit("ticket", "max-size", text_to_size, "2G", &options->max_size_bytes);
            break;
        case RATE:
            code = cli_read_limit("ticket", "rate", text_to_size, "500K", &options->rate_bytes_per_s);
            break;
        default:
            code = cli_option(cli, "ticket", option);
        }
    }
    return code == CLI_GO_ON ? check_options(options, argc, argv) : code;
}

static void make_ticket(const TicketOptions *options, Ticket *ticket)
{
    ticket->scope = TICKET_UPLOAD;
    (void)snprintf(ticket->client, sizeof(ticket->client), "%s", options->client);
    (void)snprintf(ticket->path, sizeof(ticket->path), "%s", options->path);
    (void)snprintf(ticket->receiver, sizeof(ticket->receiver), "%s", options->receiver);
    if (*options->id)
        (void)snprintf(ticket->upload, sizeof(ticket->upload), "%s", options->id);
    else
        upload_id_new(ticket->upload);
    ticket->max_size_bytes = options->max_size_bytes;
    ticket->rate_bytes_per_s = options->rate_bytes_per_s;
    ticket->issued_unix_s = clock_unix_ms() / 1000;
    ticket->expires_unix_s = ticket->issued_unix_s + (int64_t)((options->expires_ms + 999) / 1000);
}

/* All else is in the ticket; the path is there for whoever reads the command. */
static char *make_payload(const SigningKey *key, const Ticket *ticket)
{
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    char *token CLEANUP(free_secret) = NULL;

    if (!command || ticket_sign(key, ticket, &token) < 0)
        return NULL;
    memcpy(command->path, ticket->path, sizeof(command->path));
    (void)snprintf(command->ticket, sizeof(command->ticket), "%s", token);
    return upload_command_format(command);
}

static int load_key(const char *file, SigningKey **ret_key)
{
    char shown[1024];
    int r = signing_key_load(file, ret_key);

    if (r == 0)
        return EXIT_DONE;
    cli_error("%s: %s", text_printable(file, shown, sizeof(shown)),
              r == -EINVAL ? "is not an Ed25519 private key in PEM" : strerror(-r));
    return EXIT_USAGE;
}

int cli_ticket(Cli *cli, int argc, char **argv)
{
    TicketOptions options = {
        .key_file = getenv("BECKON_SIGNING_KEY"), .id = "", .receiver = "", .expires_ms = EXPIRES_MS};
    Ticket *ticket CLEANUP(free_ptr) = calloc(1, sizeof(*ticket));
    SigningKey *key = NULL;
    char topic[TOPIC_SIZE];

    int code = ticket ? read_options(cli, &options, argc, argv) : EXIT_FAILED;
    if (code != CLI_GO_ON)
        return code;
    code = load_key(options.key_file, &key);
    if (code != EXIT_DONE)
        return code;
    make_ticket(&options, ticket);
    char *payload CLEANUP(free_secret) = make_payload(key, ticket);
    signing_key_free(key);
    if (!payload) {
        cli_error("the ticket can't be signed");
        return EXIT_FAILED;
    }
    cli_error("publish it on %s", topic_format(TOPIC_CMD_UPLOAD, ticket->client, ticket->upload, topic));
    (void)puts(payload);
    return EXIT_DONE;
}
