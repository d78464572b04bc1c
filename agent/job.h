/* One upload request on the device: what was asked, and what has become of it. */
#pragma once

#include "agent/snapshot.h"
#include "common/backoff.h"
#include "common/cleanup.h"
#include "protocol/message.h"

typedef struct Worker Worker;

typedef struct Job {
    struct Job *next;
    char id[UPLOAD_ID_SIZE];

    /* what was asked */
    char *path;
    char receiver[RECEIVER_NAME_SIZE];
    uint64_t max_size_bytes, rate_bytes_per_s; /* 0: none */
    uint64_t expires_unix_s;                   /* 0: never */
    char *ticket;                              /* for the receiver; NULL: none, or final */
    char traceparent[TRACEPARENT_SIZE];
    int64_t issued_unix_s; /* when a ticket that was checked was issued; 0: there was none to check */

    /* what has become of it */
    UploadState state; /* accepted (also while it waits), running, or a final one */
    bool has_size, has_sha256;
    uint64_t size_bytes, sent_bytes;
    uint8_t sha256[SHA256_SIZE];
    bool restarted; /* begun anew once already, because the file was another */
    bool has_snapshot;
    Snapshot snapshot; /* of the file, when the bytes sent so far were read */
    unsigned attempt;  /* starts of a worker so far; over restarts too, so that it only grows */
    Problem problem;   /* of the last attempt, or of the refusal */
    int64_t at_unix_ms;
    bool reported;             /* the broker has taken the final state */
    int64_t cancelled_unix_ms; /* when it was, after its first attempt had begun; 0: not */

    /* of this process only */
    uint64_t tag;            /* of its report */
    Worker *worker;          /* NULL: not running */
    struct Uploads *uploads; /* whose worker it is */
    Backoff backoff;         /* between attempts */
    int64_t due_ms;          /* on the monotonic clock: when the next attempt starts */
    int64_t hold_ms;         /* the same: the receiver wants it not to start before */
    int64_t told_ms;         /* the same: when its state was reported last */
    int fd;                  /* the open file, -1 when final */
    unsigned told_attempt;   /* 0: not yet that it runs */
    unsigned openings;       /* of its file that found none */
    unsigned mismatches;     /* attempts that ended with a wrong digest */
    unsigned untimely;       /* attempts whose ticket was over by the receiver's clock and not by ours */
    bool dropping;           /* the worker does not send, but tells the receiver of the cancel */
} Job;

bool job_is_final(const Job *job);
bool job_is_expired(const Job *job, int64_t now_unix_s);

/* path and command are copied; one without a trace begins one. NULL when out of memory. */
Job *job_new(const char *id, const UploadCommand *command);
/* It is not needed any more. */
void job_wipe_ticket(Job *job);
Job *job_free(Job *job);

/* It is not sent any more. */
void job_close_file(Job *job);

/* The status message of a job, for the broker. The caller frees; NULL when out of memory. */
char *job_status(const Job *job);

/* The job as it is kept on disk, and back. The caller frees; NULL when out of memory, or when text is not
 * such a job. */
char *job_format(const Job *job);
Job *job_parse(const char *id, const char *text, size_t size);
