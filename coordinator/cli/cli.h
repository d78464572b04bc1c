/* The command line `beckon`: what its verbs share.
 *
 * Each verb is a file with one function that reads its options with getopt_long() and returns an exit code.
 * What is for programs goes to standard output; what is for the person who waits, to standard error. */
#pragma once

#include "common/cleanup.h"
#include "coordinator/cli/rest_client.h"

#include <getopt.h>
#include <stdbool.h>

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_REJECTED = 3,      /* the device said no, or the caller is not allowed to ask */
    EXIT_TIMED_OUT = 4,     /* gave up waiting; the request goes on */
    EXIT_INTERRUPTED = 130, /* as shells say it for SIGINT */
};

typedef struct Cli {
    const char *url, *token_file, *ca; /* of --url, --token-file, --ca, or the environment */
    bool json;
    RestClient *rest; /* from cli_connect() on */
} Cli;

/* Runs the whole program and returns its exit code. */
int cli_run(int argc, char **argv);

/* The options that every verb takes, for the end of its table, and the handling of one that getopt_long() has
 * returned. cli_option() returns CLI_GO_ON, or the exit code to leave with (after --help, or a mistake that
 * is already explained). */
enum { CLI_GO_ON = -1, OPTION_URL = 0x1000, OPTION_TOKEN_FILE, OPTION_CA, OPTION_JSON };
/* clang-format off */
#define CLI_OPTIONS                                      \
    {"url", required_argument, NULL, OPTION_URL},        \
    {"token-file", required_argument, NULL, OPTION_TOKEN_FILE}, \
    {"ca", required_argument, NULL, OPTION_CA},          \
    {"json", no_argument, NULL, OPTION_JSON},            \
    {"help", no_argument, NULL, 'h'},                    \
    {NULL, 0, NULL, 0}
/* clang-format on */
int cli_option(Cli *cli, const char *verb, int option);

/* One line on standard error, "beckon: ...". The text must hold no control characters of strangers. */
void cli_error(const char *format, ...) PRINTF_LIKE(1, 2);
/* The same with the verb's usage after it. Returns EXIT_USAGE. */
int cli_usage_error(const char *verb, const char *format, ...) PRINTF_LIKE(2, 3);

/* One line of JSON on standard output, which may be a terminal: it means the same, and holds nothing that a
 * terminal obeys. EXIT_DONE, or EXIT_FAILED when out of memory. */
int cli_print_json(const char *json) MUST_CHECK;

/* A size or a time that is not 0, from optarg, by text_to_size() or text_to_duration(). CLI_GO_ON, or
 * EXIT_USAGE after a line with the example. */
int cli_read_limit(const char *verb, const char *name, bool (*parse)(const char *, uint64_t *),
                   const char *example, uint64_t *ret_value) MUST_CHECK;

/* The arguments CLIENT PATH, which live in argv. CLI_GO_ON, or EXIT_USAGE after a line that says what is
 * wrong. */
int cli_read_target(const char *verb, int argc, char **argv, const char **ret_client,
                    const char **ret_path) MUST_CHECK;

/* A path on a device. In the same way. */
int cli_check_path(const char *verb, const char *path) MUST_CHECK;

/* Makes cli->rest. EXIT_DONE, or EXIT_USAGE after a line that says what is missing. */
int cli_connect(Cli *cli) MUST_CHECK;

/* rest_call(), with the failure explained on standard error. Returns an exit code. */
int cli_call(Cli *cli, const RestCall *call, RestReply *ret_reply) MUST_CHECK;

/* What status and cancel have in common: reads `VERB [--client CLIENT] ID` and calls method on that request,
 * or on the batch of this id: then *ret_is_batch. CLI_GO_ON and the reply and *ret_id (in argv), or an exit
 * code. */
int cli_call_request(Cli *cli, const char *verb, const char *method, int argc, char **argv,
                     RestReply *ret_reply, const char **ret_id, bool *ret_is_batch) MUST_CHECK;

/* The arguments `[--client CLIENT] ID` of a verb, which live in argv. CLI_GO_ON, or an exit code. */
int cli_read_request(Cli *cli, const char *verb, int argc, char **argv, const char **ret_client,
                     const char **ret_id) MUST_CHECK;

/* Explains the last failure of cli->rest on standard error; returns the exit code for it: EXIT_REJECTED for
 * what the server does not allow, EXIT_INTERRUPTED, else EXIT_FAILED. */
int cli_rest_failed(const Cli *cli, int rest_error);
int exit_code_of_refusal(long http_status);

/* The verbs. argv[0] is the verb itself. */
int cli_clients(Cli *cli, int argc, char **argv);
int cli_get(Cli *cli, int argc, char **argv);
int cli_status(Cli *cli, int argc, char **argv);
int cli_downloads(Cli *cli, int argc, char **argv);
int cli_batches(Cli *cli, int argc, char **argv);
int cli_cancel(Cli *cli, int argc, char **argv);
int cli_rm(Cli *cli, int argc, char **argv);
int cli_watch(Cli *cli, int argc, char **argv);
int cli_doctor(Cli *cli, int argc, char **argv);
int cli_token(Cli *cli, int argc, char **argv);
int cli_ticket(Cli *cli, int argc, char **argv);
