/* A device that obeys tickets only. Input: what its tickets.json holds (an empty line: there is none); claims
 * of a ticket, which is truly signed; and a command in which "T" stands for that ticket. What is obeyed is
 * what the ticket says, whatever the command says beside it. */
#include "fuzz.h"
#include "signed.h"

#include "agent/tickets.h"
#include "common/json.h"
#include "common/log.h"
#include "common/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CLIENT "r1"
#define ID "a"

static char folder[] = "/dev/shm/beckon-fuzz-XXXXXX", key_file[64], times_file[64];

static void remove_folder(void)
{
    (void)unlink(times_file);
    (void)unlink(key_file);
    (void)rmdir(folder);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static void make_folder(void)
{
    log_setup("fuzz", LOG_LEVEL_ERROR, false);
    FUZZ_CHECK(mkdtemp(folder));
    (void)snprintf(key_file, sizeof(key_file), "%s/key.pub", folder);
    (void)snprintf(times_file, sizeof(times_file), "%s/tickets.json", folder);
    write_file(key_file, signed_public_key);
    (void)atexit(remove_folder);
}

/* The first "T" of command becomes the token. */
static char *put_in(const char *command, const char *token)
{
    const char *place = strstr(command, "\"T\"");

    return place ? text_format("%.*s\"%s\"%s", (int)(place - command), command, token, place + 3)
                 : strdup(command);
}

static bool claim_is(const cJSON *claims, const char *name, const char *text)
{
    const char *value = "";

    return json_get_string_ref(claims, name, &value) != JSON_E_TYPE && strcmp(value, text) == 0;
}

static bool claim_is_number(const cJSON *claims, const char *name, uint64_t number)
{
    uint64_t value = 0;

    return json_get_u64(claims, name, &value) != JSON_E_TYPE && value == number;
}

static void check_obeyed(const char *claims_text, const UploadCommand *command, int64_t issued_unix_s)
{
    cJSON *claims = json_parse_object(claims_text, strlen(claims_text), TICKET_MAX);

    FUZZ_CHECK(claims && claim_is(claims, "aud", CLIENT) && claim_is(claims, "jti", ID) &&
               claim_is(claims, "scope", "upload"));
    FUZZ_CHECK(claim_is(claims, "path", command->path) && claim_is(claims, "receiver", command->receiver));
    FUZZ_CHECK(claim_is_number(claims, "max_size", command->max_size_bytes) &&
               claim_is_number(claims, "rate", command->rate_bytes_per_s) &&
               claim_is_number(claims, "exp", command->expires_unix_s) &&
               claim_is_number(claims, "iat", (uint64_t)issued_unix_s));
    cJSON_Delete(claims);
}

static void admit(const char *times, const char *claims, const char *command_text)
{
    static UploadCommand command;
    char *paths[] = {key_file};
    ConfigList keys = {.items = paths, .count = 1};
    char *token = signed_token("{\"alg\":\"EdDSA\",\"typ\":\"beckon-ticket+jwt\"}", claims);
    char *payload = put_in(command_text, token);
    Tickets *tickets = NULL;
    Problem problem = {.code = ERROR_NONE};
    int64_t issued_unix_s = 0;

    if (*times)
        write_file(times_file, times);
    else
        (void)unlink(times_file);
    FUZZ_CHECK(payload && tickets_new(&keys, CLIENT, folder, &tickets) == 0);
    int64_t before_unix_s = tickets_seen_unix_s(tickets);
    if (tickets_admit(tickets, ID, payload, strlen(payload), &command, &issued_unix_s, &problem) == 0) {
        check_obeyed(claims, &command, issued_unix_s);
        FUZZ_CHECK(tickets_seen_unix_s(tickets) >= issued_unix_s);
    } else {
        FUZZ_CHECK(problem.code != ERROR_NONE && tickets_seen_unix_s(tickets) == before_unix_s);
    }
    tickets_free(tickets);
    free(payload);
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *rest = text;
    const char *times = fuzz_cut(&rest, '\n'), *claims = fuzz_cut(&rest, '\n');

    if (!*key_file)
        make_folder();
    if (claims && rest)
        admit(times, claims, rest);
    free(text);
    return 0;
}
