/* What agent and worker say to each other: one job on the worker's standard input, then lines on its standard
 * output. Both are JSON; the file itself is descriptor UPLOAD_FILE_FD. */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"
#include "protocol/ident.h"
#include "protocol/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UPLOAD_FILE_FD 3
#define UPLOAD_JOB_MAX 32768 /* bytes; fits a pipe, so that writing it never blocks */
#define UPLOAD_LINE_MAX 4096 /* bytes; a message of control characters grows sixfold in JSON */

/* All strings belong to whoever made the job; upload_job_parse() allocates them. */
typedef struct UploadJob {
    char *url; /* of the receiver, without a path */
    char *id;
    char *path; /* as the operator knows it */
    char *ca_file, *cert_file, *key_file;
    char *pin;    /* of the receiver's key; NULL: none */
    char *proxy;  /* NULL: none */
    char *ticket; /* shown to the receiver; NULL: none */
    char *traceparent;
    uint64_t size_bytes;
    uint64_t attempt;
    uint64_t resume; /* 1: ask the receiver what it has and send the rest; 0: from the first byte */
    uint64_t drop;   /* 1: it is cancelled: nothing is sent, and the receiver drops what it has of it */
    uint64_t require_sandbox;      /* 1: not without the whole cage */
    uint64_t rate_bytes_per_s;     /* 0: unlimited */
    uint64_t min_rate_bytes_per_s; /* slower than this for stall_ms is a dead link */
    uint64_t stall_ms;
    uint64_t commit_timeout_ms; /* from the last byte to the answer */
} UploadJob;

/* The caller frees, as a secret if there is a ticket; NULL when out of memory. */
char *upload_job_format(const UploadJob *job);
/* 0 or -1. */
int upload_job_parse(const char *text, size_t size, UploadJob *ret_job) MUST_CHECK;
void upload_job_free(UploadJob *job);

#define UPLOAD_RETRY_AFTER_MAX_MS ((uint64_t)86400 * 1000) /* a worker in strange hands may say more */

typedef enum UploadLineKind {
    UPLOAD_LINE_PROGRESS, /* sent_bytes */
    UPLOAD_LINE_DONE,     /* sha256: the receiver has it, verified (and so it is too late to drop it) */
    UPLOAD_LINE_FAILED,   /* problem, retry, retry_after_ms */
} UploadLineKind;

typedef struct UploadLine {
    UploadLineKind kind;
    uint64_t sent_bytes;
    uint8_t sha256[SHA256_SIZE];
    Problem problem;
    bool retry;              /* another attempt may succeed */
    uint64_t retry_after_ms; /* the receiver's wish, up to UPLOAD_RETRY_AFTER_MAX_MS; 0: none */
} UploadLine;

/* With the newline at its end. The caller frees; NULL when out of memory. */
char *upload_line_format(const UploadLine *line);
/* Without the newline. 0 or -1. */
int upload_line_parse(const char *text, size_t size, UploadLine *ret_line) MUST_CHECK;
