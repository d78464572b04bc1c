#include "common/credentials.h"

#include "common/cleanup.h"
#include "common/config.h"

#include <openssl/pem.h>
#include <stdbool.h>
#include <time.h>

static FILE *open_file(const char *path)
{
    return fopen(path, "re");
}

int credentials_check_pair(const char *section, const char *cert, const char *key)
{
    FILE *cert_stream CLEANUP(close_stream) = cert ? open_file(cert) : NULL;
    FILE *key_stream CLEANUP(close_stream) = key ? open_file(key) : NULL;
    X509 *certificate = cert_stream ? PEM_read_X509(cert_stream, NULL, NULL, NULL) : NULL;
    /* The empty passphrase keeps OpenSSL from asking for one on the terminal. */
    EVP_PKEY *private = key_stream ? PEM_read_PrivateKey(key_stream, NULL, NULL, (void *)"") : NULL;
    int mistakes = 0;

    if (cert && !certificate) {
        config_mistake(section, "cert", "[%s] cert: %s is not a certificate in PEM; name the file that is",
                       section, cert);
        mistakes++;
    }
    if (key && !private) {
        config_mistake(section, "key",
                       "[%s] key: %s is not a private key in PEM without a passphrase; name the file that is",
                       section, key);
        mistakes++;
    }
    if (certificate && private && X509_check_private_key(certificate, private) != 1) {
        config_mistake(section, "key", "[%s] key: %s is not the private key of %s; take both from one folder",
                       section, key, cert);
        mistakes++;
    }
    X509_free(certificate);
    EVP_PKEY_free(private);
    return mistakes;
}

int64_t credentials_expiry(const char *cert)
{
    FILE *stream CLEANUP(close_stream) = open_file(cert);
    X509 *certificate = stream ? PEM_read_X509(stream, NULL, NULL, NULL) : NULL;
    struct tm end;
    bool known = certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1;

    X509_free(certificate);
    return known ? (int64_t)timegm(&end) : 0;
}

int credentials_check_authorities(const char *section, const char *name, const char *file)
{
    FILE *stream CLEANUP(close_stream) = file ? open_file(file) : NULL;
    X509 *first = stream ? PEM_read_X509(stream, NULL, NULL, NULL) : NULL;
    bool good = !file || first;

    X509_free(first);
    if (!good)
        config_mistake(section, name,
                       "[%s] %s: %s holds no certificate in PEM; name the file of the authority", section,
                       name, file);
    return good ? 0 : 1;
}

int credentials_check_lists(const char *section, const char *name, const char *file)
{
    FILE *stream CLEANUP(close_stream) = file ? open_file(file) : NULL;
    X509_CRL *first = stream ? PEM_read_X509_CRL(stream, NULL, NULL, NULL) : NULL;
    bool good = !file || first;

    X509_CRL_free(first);
    if (!good)
        config_mistake(section, name,
                       "[%s] %s: %s holds no certificate revocation list in PEM; name the file that does",
                       section, name, file);
    return good ? 0 : 1;
}
