/* What a server shows to who connects: does its name resolve, is its port open, is its certificate good, does
 * it take ours (OpenSSL inside).
 *
 * Only a TLS handshake is made, and nothing is said in it: to an MQTT broker a CONNECT under a client's id
 * would end the connection of the true client. Blocks, some seconds at most but for name resolution. */
#pragma once

#include "common/cleanup.h"

#include <stdint.h>

enum {
    PROBE_E_NAME = 1,  /* does not resolve */
    PROBE_E_PORT,      /* no connection */
    PROBE_E_TLS,       /* no handshake: no TLS there, or no version or cipher in common */
    PROBE_E_AUTHORITY, /* another authority has signed its certificate */
    PROBE_E_EXPIRED,
    PROBE_E_EARLY, /* its certificate is not valid yet: or the clock here is behind */
    PROBE_E_HOST,  /* its certificate is for other names */
    PROBE_E_OURS,  /* it does not take our certificate */
    PROBE_E_FILES, /* our own files do not load */
};

typedef struct ProbeTarget {
    const char *host; /* name or address */
    uint16_t port;
    const char *ca_file;              /* PEM; NULL: what the system trusts */
    const char *cert_file, *key_file; /* PEM; NULL: show none */
} ProbeTarget;

/* All that is known by the time it ended; text is a stranger's. */
typedef struct ProbeResult {
    char address[64];    /* that it has connected to */
    char why[256];       /* of a PROBE_E_, in a library's words */
    char names[256];     /* that the certificate is for */
    int64_t ends_unix_s; /* of the certificate; 0: none seen */
    char pin[64];        /* "sha256//...", of its public key */
} ProbeResult;

/* A port alone. 0, PROBE_E_NAME or PROBE_E_PORT. */
int probe_port(const ProbeTarget *target, ProbeResult *ret_result) MUST_CHECK;

/* All of it. 0 or PROBE_E_; ret_result is filled either way. */
int probe_server(const ProbeTarget *target, ProbeResult *ret_result) MUST_CHECK;
