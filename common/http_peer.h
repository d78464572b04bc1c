/* Whom to believe: the client CAs and their revocation lists (GnuTLS inside). Part of http_server; nobody
 * else includes it. */
#pragma once

#include "common/cleanup.h"
#include "common/http_server.h"

#define HTTP_PEER_NAME_SIZE 128 /* the CN, or why the certificate is refused */

typedef struct HttpTrust HttpTrust;

/* people_file and crl_file may be NULL. 0, or a negative errno after one log line that names the file and
 * what is wrong with it. */
int http_trust_new(const char *ca_file, const char *people_file, const char *crl_file,
                   HttpTrust **ret_trust) MUST_CHECK;
HttpTrust *http_trust_free(HttpTrust *trust); /* returns NULL */

/* The certificates that a peer has sent, to be looked at again later. */
#define HTTP_CHAIN_MAX 4
typedef struct HttpChain {
    unsigned count;
    struct {
        unsigned char *der;
        unsigned size;
    } items[HTTP_CHAIN_MAX];
} HttpChain;

/* Copies them out of a session. 0 or -ENOMEM. */
int http_chain_copy(void *tls_session, HttpChain *ret_chain) MUST_CHECK;
void http_chain_clear(HttpChain *chain);

/* Reads the revocation lists again if their file has changed. Returns a number that grows whenever they have;
 * 0 without lists. Any thread. */
uint64_t http_trust_refresh(HttpTrust *trust);
bool http_trust_is_revoked(HttpTrust *trust, const HttpChain *chain);

/* Judges the certificate of a session (a gnutls_session_t that had these CAs as its trust list): chain,
 * dates, purpose clientAuth, revocation, and exactly one CN. The CRL is read again when its file has changed.
 * Any thread. */
HttpPeer http_trust_verify(HttpTrust *trust, void *tls_session, char name[static HTTP_PEER_NAME_SIZE]);

/* Whether the chain leads to a CA of people_file too. */
bool http_trust_is_person(const HttpTrust *trust, void *tls_session);

/* Whether a PEM certificate and its key load and belong together. 0, or -EINVAL after one log line. */
int http_keypair_check(const char *cert_file, const char *key_file) MUST_CHECK;
