/* The JSON messages on MQTT. Parsing is strict: a message is taken whole or not at all. */
#pragma once

#include "common/cleanup.h"
#include "common/trace.h"
#include "protocol/digest.h"
#include "protocol/ident.h"
#include "protocol/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAX 16384 /* bytes of a payload */
#define TICKET_MAX 8192   /* bytes of a token */
#define RECEIVER_NAME_SIZE 65

typedef enum UploadState {
    UPLOAD_QUEUED,   /* the coordinator's only: not yet answered by the agent */
    UPLOAD_ACCEPTED, /* the job is on the agent's disk */
    UPLOAD_RUNNING,
    UPLOAD_DONE,      /* the agent's word for it; the coordinator waits for the receipt */
    UPLOAD_COMPLETED, /* the coordinator's only: a valid receipt is there */
    UPLOAD_FAILED,
    UPLOAD_REJECTED, /* never started */
    UPLOAD_CANCELLED,
    UPLOAD_EXPIRED, /* the coordinator's only */
} UploadState;

const char *upload_state_name(UploadState state);
bool upload_state_from_name(const char *name, UploadState *ret_state);

/* cmd/upload. Zero and "" mean: not given. */
typedef struct UploadCommand {
    char path[FILE_PATH_MAX + 1];
    uint64_t expires_unix_s;
    uint64_t max_size_bytes;
    uint64_t rate_bytes_per_s;
    char receiver[RECEIVER_NAME_SIZE];
    char ticket[TICKET_MAX];
    char traceparent[TRACEPARENT_SIZE]; /* one that is not valid is not given */
} UploadCommand;

/* The ticket alone, "" if there is none: what must be checked before the rest is read. 0, or -1 and *problem
 * says what is wrong. */
int upload_command_ticket(const void *payload, size_t size, char ret_ticket[static TICKET_MAX],
                          Problem *problem) MUST_CHECK;

/* A member given twice is refused: the next reader may take the other one. 0, or -1 and *problem says what is
 * wrong. */
int upload_command_parse(const void *payload, size_t size, UploadCommand *ret_command,
                         Problem *problem) MUST_CHECK;
/* Wipes the ticket and frees; NULL is fine. For CLEANUP: upload_command_cleanup. */
void upload_command_free(UploadCommand *command);
void upload_command_cleanup(UploadCommand **command);
/* The caller frees; NULL when out of memory. */
char *upload_command_format(const UploadCommand *command);

/* Of a message of any kind: its member "traceparent", or "". */
void message_traceparent(const void *payload, size_t size, char out[static TRACEPARENT_SIZE]);

/* cmd/cancel: the trace alone, "" for none. The caller frees; NULL when out of memory. */
char *cancel_command_format(const char *traceparent);

/* status */
typedef struct UploadStatus {
    UploadState state;
    char path[FILE_PATH_MAX + 1];
    bool has_size;
    uint64_t size_bytes;
    uint64_t sent_bytes;
    bool has_sha256;
    uint8_t sha256[SHA256_SIZE];
    unsigned attempt;
    int64_t at_unix_ms;
    Problem problem; /* code ERROR_NONE: no "error" member */
} UploadStatus;

int upload_status_parse(const void *payload, size_t size, UploadStatus *ret_status) MUST_CHECK; /* 0 or -1 */
char *upload_status_format(const UploadStatus *status);

/* presence */
#define LABELS_MAX 32
#define HEARTBEAT_MAX_S 86400
typedef struct Presence {
    bool online;
    int64_t since_unix_ms;
    char version[33];
    unsigned heartbeat_s; /* it says so this often; 0: it does not tell */
    unsigned active, queued;
    cJSON *labels; /* an object of strings, or NULL; presence_free() frees it */
} Presence;

int presence_parse(const void *payload, size_t size, Presence *ret_presence) MUST_CHECK; /* 0 or -1 */
char *presence_format(const Presence *presence);
void presence_free(Presence *presence);

/* cmd/remove, with a ticket of that scope, which upload_command_ticket() reads; traceparent "": none. The
 * caller frees; NULL when out of memory. */
char *remove_command_format(const char *ticket, const char *traceparent);

/* removed: only the signed "removal" counts. */
int removal_message_parse(const void *payload, size_t size,
                          char ret_token[static TICKET_MAX]) MUST_CHECK; /* 0 or -1 */

/* receipt: the readable members are for people; only the signed "receipt" counts. */
int receipt_message_parse(const void *payload, size_t size,
                          char ret_token[static TICKET_MAX]) MUST_CHECK; /* 0 or -1 */
