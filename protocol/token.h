/* Signed statements: JWT (RFC 7519) in compact form, alg EdDSA with Ed25519 (RFC 8037) and no other.
 *
 * The kid is the key's RFC 7638 thumbprint, so a key ring finds the key without trying; a token without kid
 * is tried on each. The header's alg and typ are checked before the signature, the signature before any claim
 * is read. */
#pragma once

#include "common/cleanup.h"
#include "protocol/digest.h"
#include "protocol/ident.h"
#include "protocol/message.h"

#include <stdint.h>

typedef struct SigningKey SigningKey;
typedef struct KeyRing KeyRing;

/* An Ed25519 private key in PEM. 0; -EINVAL if it is not one; another negative errno. */
int signing_key_load(const char *path, SigningKey **ret_key) MUST_CHECK;
SigningKey *signing_key_free(SigningKey *key);

/* Ed25519 public keys in PEM (the private ones are refused). The same errors; *ret_bad, if not NULL, is the
 * path at fault. */
int key_ring_load(char *const *paths, size_t count, KeyRing **ret_ring, const char **ret_bad) MUST_CHECK;
/* The public half of one key. 0 or -ENOMEM. */
int key_ring_of(const SigningKey *key, KeyRing **ret_ring) MUST_CHECK;
KeyRing *key_ring_free(KeyRing *ring);

enum {
    TOKEN_E_INVALID = 1, /* not a token of this typ, a bad claim, or too long */
    TOKEN_E_SIGNATURE,   /* no key of the ring has signed this */
    TOKEN_E_EXPIRED,
    TOKEN_E_EARLY, /* its time has not come yet */
};
const char *token_error_text(int error);

/* beckon-receipt+jwt: the receiver says that this file is verified and durable. */
typedef struct Receipt {
    char client[CLIENT_ID_SIZE]; /* sub */
    char upload[UPLOAD_ID_SIZE]; /* jti */
    char path[FILE_PATH_MAX + 1];
    uint64_t size_bytes;
    uint8_t sha256[SHA256_SIZE];
    int64_t issued_unix_s;
    char issuer[65]; /* the receiver's name */
} Receipt;

/* 0 or a negative errno. The caller frees *ret_token. */
int receipt_sign(const SigningKey *key, const Receipt *receipt, char **ret_token) MUST_CHECK;
/* 0 or TOKEN_E_*, or a negative errno. */
int receipt_verify(const KeyRing *ring, const char *token, Receipt *ret_receipt) MUST_CHECK;

/* The payload of the receipt topic: the same in readable members, where the file lies below the store, and
 * the token. The caller frees; NULL when out of memory. */
/* traceparent "": none. */
char *receipt_message_format(const Receipt *receipt, const char *stored, const char *traceparent,
                             int64_t at_unix_ms, const char *token);

/* beckon-removal+jwt: the receiver says that it has removed the content of a complete upload. */
typedef struct Removal {
    char client[CLIENT_ID_SIZE]; /* sub */
    char upload[UPLOAD_ID_SIZE]; /* jti */
    int64_t removed_unix_s;      /* iat */
    char issuer[65];             /* the receiver's name */
} Removal;

/* As receipt_sign() and receipt_verify(). */
int removal_sign(const SigningKey *key, const Removal *removal, char **ret_token) MUST_CHECK;
int removal_verify(const KeyRing *ring, const char *token, Removal *ret_removal) MUST_CHECK;

/* The payload of the removed topic. The caller frees; NULL when out of memory. */
char *removal_message_format(const Removal *removal, const char *traceparent, const char *token);

/* beckon-ticket+jwt: the coordinator allows one upload, or one download, or the removal of what is stored. */
typedef enum TicketScope { TICKET_UPLOAD, TICKET_DOWNLOAD, TICKET_REMOVE } TicketScope;
typedef struct Ticket {
    TicketScope scope;
    char client[CLIENT_ID_SIZE]; /* aud */
    char upload[UPLOAD_ID_SIZE]; /* jti */
    char user[USER_NAME_SIZE];   /* sub: who has asked; "": it does not say */
    char path[FILE_PATH_MAX + 1];
    uint64_t max_size_bytes, rate_bytes_per_s; /* 0: not limited by the ticket */
    char receiver[RECEIVER_NAME_SIZE];         /* by the agent's name for it; "": its usual one */
    int64_t issued_unix_s, expires_unix_s;
} Ticket;

int ticket_sign(const SigningKey *key, const Ticket *ticket, char **ret_token) MUST_CHECK;
/* Expired means now_unix_s >= exp. A nbf (RFC 7519 section 4.1.5) after both now_unix_s and iat is invalid:
 * whoever signed is believed about the time of that, for a device's clock may be behind. The caller compares
 * scope, client and upload with what is asked. */
int ticket_verify(const KeyRing *ring, const char *token, int64_t now_unix_s, Ticket *ret_ticket) MUST_CHECK;
