/* Tokens with a true signature over whatever the target likes. The key is that of RFC 8037 appendix A.1. */
#pragma once

extern const char signed_private_key[], signed_public_key[]; /* PEM */

/* The compact form of any header and claims. The caller frees. */
char *signed_token(const char *header, const char *claims);
