/* The header fields of a request that brings bytes: PUT, PATCH, POST. */
#pragma once

#include "common/http_server.h"
#include "receiver/answer.h"
#include "receiver/uploads.h"

#include <stdbool.h>
#include <stdint.h>

#define PARTIAL_UPLOAD "application/partial-upload"

typedef enum IntakeMethod { INTAKE_PUT, INTAKE_PATCH, INTAKE_POST } IntakeMethod;

typedef struct IntakeFields {
    const char *interop_version; /* what the client speaks, to be said again; NULL: not said */
    uint64_t offset;             /* where the body belongs; 0 but for PATCH */
    bool has_length;
    uint64_t length; /* of the whole upload */
    bool has_body_size;
    uint64_t body_size;
    uint64_t attempt; /* 0: not said */
    bool check_body;  /* there is a Content-Digest, or will be one in the trailer */
    TransferClaims claims;
} IntakeFields;

/* Reads and checks what can be checked without knowing the upload. max_size: bytes of the largest upload. 0,
 * or -1 and *refusal. */
int intake_fields_read(const HttpRequest *request, IntakeMethod method, uint64_t max_size,
                       IntakeFields *ret_fields, Refusal *refusal) MUST_CHECK;

/* Adds the digests of the trailer to the claims. 0, or -1 and *refusal. */
int intake_trailer_read(const HttpRequest *request, TransferClaims *claims, Refusal *refusal) MUST_CHECK;

/* Upload-Draft-Interop-Version alone. 0, or -1 and *refusal for one that means other fields than we know. */
int interop_version_read(const HttpRequest *request, const char **ret_version, Refusal *refusal) MUST_CHECK;

/* Beckon-Attempt alone; 0: not said. */
int attempt_read(const HttpRequest *request, uint64_t *ret_attempt, Refusal *refusal) MUST_CHECK;

int refuse_too_large(uint64_t max_size, Refusal *refusal);
