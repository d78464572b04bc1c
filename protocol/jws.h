/* JSON Web Signatures (RFC 7515, compact form) with Ed25519 (RFC 8037): what token.c builds on. It knows
 * nothing of claims. The keys themselves are in token.h. */
#pragma once

#include "protocol/token.h"

#include <cjson/cJSON.h>

#define KID_SIZE 44 /* an RFC 7638 thumbprint, base64url, and its NUL */

/* {"alg":"EdDSA","typ":typ,"kid":...} . claims . signature. 0, -EMSGSIZE past TICKET_MAX, or another negative
 * errno. The caller frees *ret_token. */
int jws_sign(const SigningKey *key, const char *typ, const cJSON *claims, char **ret_token) MUST_CHECK;

/* Checks the header, then the signature, and only then reads the claims, which are an object without double
 * names. 0, TOKEN_E_INVALID, TOKEN_E_SIGNATURE or -ENOMEM. The caller frees *ret_claims. */
int jws_verify(const KeyRing *ring, const char *typ, const char *token, cJSON **ret_claims) MUST_CHECK;

/* The key's kid, for logs and tests. */
const char *signing_key_kid(const SigningKey *key);
