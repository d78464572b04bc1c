#include "coordinator/cli/certificate.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

static void free_certificate(X509 **certificate)
{
    X509_free(*certificate);
}

static void free_list(X509_CRL **list)
{
    X509_CRL_free(*list);
}

/* 0 if there is none, or it makes no sense. */
static int64_t unix_s(const ASN1_TIME *time)
{
    struct tm fields;

    return time && ASN1_TIME_to_tm(time, &fields) == 1 ? (int64_t)timegm(&fields) : 0;
}

int certificate_read(const char *file, Certificate *ret_certificate)
{
    FILE *stream CLEANUP(close_stream) = fopen(file, "re");
    if (!stream)
        return -errno;
    X509 *certificate CLEANUP(free_certificate) = PEM_read_X509(stream, NULL, NULL, NULL);
    if (!certificate)
        return -EINVAL;
    *ret_certificate = (Certificate){
        .begins_unix_s = unix_s(X509_get0_notBefore(certificate)),
        .ends_unix_s = unix_s(X509_get0_notAfter(certificate)),
        .is_server = X509_check_purpose(certificate, X509_PURPOSE_SSL_SERVER, 0) == 1,
        .is_client = X509_check_purpose(certificate, X509_PURPOSE_SSL_CLIENT, 0) == 1,
    };
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, ret_certificate->name,
                                    sizeof(ret_certificate->name));
    return 0;
}

static bool is_signed_by_any(X509_CRL *list, const char *authorities_file)
{
    FILE *stream CLEANUP(close_stream) = fopen(authorities_file, "re");
    bool found = false;

    while (stream && !found) {
        X509 *authority CLEANUP(free_certificate) = PEM_read_X509(stream, NULL, NULL, NULL);
        if (!authority)
            break;
        found = X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(list)) == 0 &&
                X509_CRL_verify(list, X509_get0_pubkey(authority)) == 1;
    }
    return found;
}

int revocation_lists_read(const char *file, const char *authorities_file, RevocationLists *ret_lists)
{
    FILE *stream CLEANUP(close_stream) = fopen(file, "re");
    RevocationLists lists = {.is_signed = true};
    int count = 0;

    if (!stream)
        return -errno;
    for (;; count++) {
        X509_CRL *list CLEANUP(free_list) = PEM_read_X509_CRL(stream, NULL, NULL, NULL);
        if (!list)
            break;
        int64_t ends = unix_s(X509_CRL_get0_nextUpdate(list));
        if (count == 0 || ends < lists.ends_unix_s)
            lists.ends_unix_s = ends;
        lists.is_signed = lists.is_signed && is_signed_by_any(list, authorities_file);
    }
    if (count == 0)
        return -EINVAL;
    *ret_lists = lists;
    return 0;
}
