/* One request as the coordinator tells of it, and what its state means for the person who asked. */
#pragma once

#include "protocol/digest.h"
#include "protocol/ident.h"
#include "protocol/message.h"
#include "protocol/problem.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Download {
    char id[UPLOAD_ID_SIZE];
    char client[CLIENT_ID_SIZE];
    UploadState state;
    uint64_t received_bytes;
    bool has_size;
    uint64_t size_bytes;
    bool has_sha256;
    uint8_t sha256[SHA256_SIZE];
    Problem problem;     /* code ERROR_NONE: none */
    const cJSON *object; /* where it was read from, for the members that are only shown; not owned */
} Download;

/* 0, or -1 if object is not what GET /download/<id> answers. */
int download_parse(const cJSON *object, Download *ret_download) MUST_CHECK;

/* Nothing but a late receipt changes the row any more. */
bool download_is_final(const Download *download);

/* The exit code for a request that came to this state: EXIT_DONE only for completed, EXIT_TIMED_OUT for one
 * still under way. */
int download_exit_code(UploadState state);

/* A member as printable text for a table or a line: "-" if it is absent. Returns buf. */
char *download_member(const cJSON *object, const char *name, char *buf, size_t size);

/* All that is known, a line a fact. */
void download_print(const Download *download, FILE *stream);

/* The problem as one printable line; "" if there is none. Returns buf. */
char *download_problem(const Download *download, char *buf, size_t size);
