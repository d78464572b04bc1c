/* Whether certificates and keys are what they should be, for --check-config: what does not load shows there,
 * with the line that names it, and not at the first connection.
 *
 * Each function looks at PEM files that a section names, reports every mistake with config_mistake(), and
 * returns their number. A NULL file is none (a required key that is missing has been reported). */
#pragma once

#include <stdint.h>

/* The keys `cert` and `key` of a section: a certificate, and the private key that belongs to it. */
int credentials_check_pair(const char *section, const char *cert, const char *key);

/* When the first certificate of a file ends, in Unix seconds; 0 if it can't be read. */
int64_t credentials_expiry(const char *cert);

/* One or more certificates. name is the key: "ca", "client_ca". */
int credentials_check_authorities(const char *section, const char *name, const char *file);

/* One or more certificate revocation lists. */
int credentials_check_lists(const char *section, const char *name, const char *file);
