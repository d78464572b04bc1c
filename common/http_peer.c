#include "common/http_peer.h"

#include "common/files.h"
#include "common/log.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PEM_FILE_MAX ((size_t)16 * 1024 * 1024) /* a CRL of a large fleet has a few MB */

typedef struct CrlList {
    gnutls_x509_crl_t *items;
    unsigned count;
} CrlList;

typedef struct CaList {
    gnutls_x509_crt_t *items;
    unsigned count;
} CaList;

struct HttpTrust {
    CaList cas, people;
    char *crl_file;
    pthread_mutex_t lock;  /* guards what follows */
    struct stat crl_stamp; /* of the file that was last tried */
    CrlList crls;
    uint64_t generation; /* of the lists; 0: none */
};

static void crl_list_clear(CrlList *list)
{
    for (unsigned i = 0; i < list->count; i++)
        gnutls_x509_crl_deinit(list->items[i]);
    gnutls_free(list->items);
    *list = (CrlList){0};
}

static int read_pem(const char *path, char **ret_data, gnutls_datum_t *ret_pem)
{
    size_t size = 0;
    int r = file_read(path, PEM_FILE_MAX, ret_data, &size);

    if (r < 0) {
        log_error("%s: can't be read: %s", path, strerror(-r));
        return r;
    }
    *ret_pem = (gnutls_datum_t){.data = (unsigned char *)*ret_data, .size = (unsigned)size};
    return 0;
}

static void ca_list_clear(CaList *list)
{
    for (unsigned i = 0; i < list->count; i++)
        gnutls_x509_crt_deinit(list->items[i]);
    gnutls_free(list->items);
    *list = (CaList){0};
}

static int load_cas(const char *path, CaList *list)
{
    char *data CLEANUP(free_ptr) = NULL;
    gnutls_datum_t pem;
    int r = read_pem(path, &data, &pem);

    if (r < 0)
        return r;
    r = gnutls_x509_crt_list_import2(&list->items, &list->count, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (r < 0 || list->count == 0) {
        log_error("%s: not a PEM file of CA certificates: %s", path, gnutls_strerror(r));
        return -EINVAL;
    }
    return 0;
}

/* A list that none of our CAs has signed would revoke nothing, and nobody would notice. One that is out of
 * date still revokes what it names, and refusing all devices because of it would be worse: it is only warned
 * of. */
static int check_crl(const HttpTrust *trust, gnutls_x509_crl_t crl)
{
    unsigned status = 0;
    int r = gnutls_x509_crl_verify(crl, trust->cas.items, trust->cas.count, GNUTLS_VERIFY_DISABLE_TIME_CHECKS,
                                   &status);

    if (r < 0 || (status & GNUTLS_CERT_INVALID)) {
        log_error("%s: a revocation list in it is not signed by any CA of client_ca", trust->crl_file);
        return -EINVAL;
    }
    time_t next = gnutls_x509_crl_get_next_update(crl);
    if (next != (time_t)-1 && next < time(NULL))
        log_warn("%s: a revocation list in it is out of date; it is still obeyed: make a new one",
                 trust->crl_file);
    return 0;
}

static int load_crls(const HttpTrust *trust, CrlList *ret_list)
{
    char *data CLEANUP(free_ptr) = NULL;
    CrlList list = {0};
    gnutls_datum_t pem;
    int r = read_pem(trust->crl_file, &data, &pem);

    if (r < 0)
        return r;
    r = gnutls_x509_crl_list_import2(&list.items, &list.count, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (r < 0) {
        log_error("%s: not a PEM file of revocation lists: %s", trust->crl_file, gnutls_strerror(r));
        return -EINVAL;
    }
    r = 0;
    for (unsigned i = 0; r == 0 && i < list.count; i++)
        r = check_crl(trust, list.items[i]);
    if (r < 0) {
        crl_list_clear(&list);
        return r;
    }
    *ret_list = list;
    return 0;
}

int http_trust_new(const char *ca_file, const char *people_file, const char *crl_file, HttpTrust **ret_trust)
{
    HttpTrust *trust = calloc(1, sizeof(*trust));

    if (!trust)
        return -ENOMEM;
    (void)pthread_mutex_init(&trust->lock, NULL); /* can't fail on Linux */
    int r = load_cas(ca_file, &trust->cas);
    if (r == 0 && people_file)
        r = load_cas(people_file, &trust->people);
    if (r == 0 && crl_file) {
        trust->crl_file = strdup(crl_file);
        if (!trust->crl_file)
            r = -ENOMEM;
        else if (stat(crl_file, &trust->crl_stamp) == 0 || errno == ENOENT)
            r = load_crls(trust, &trust->crls);
        else
            r = -errno;
        trust->generation = 1;
    }
    if (r < 0) {
        http_trust_free(trust);
        return r;
    }
    *ret_trust = trust;
    return 0;
}

HttpTrust *http_trust_free(HttpTrust *trust)
{
    if (!trust)
        return NULL;
    ca_list_clear(&trust->cas);
    ca_list_clear(&trust->people);
    crl_list_clear(&trust->crls);
    (void)pthread_mutex_destroy(&trust->lock);
    free(trust->crl_file);
    free(trust);
    return NULL;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Under the lock. A file that went away or is broken leaves the list as it was: a revoked device stays out.
 */
static void refresh_crls(HttpTrust *trust)
{
    struct stat now = {0};
    CrlList list;

    (void)stat(trust->crl_file, &now); /* a missing file differs from the stamp, once */
    if (same_file(&now, &trust->crl_stamp))
        return;
    trust->crl_stamp = now;
    if (load_crls(trust, &list) < 0)
        return;
    crl_list_clear(&trust->crls);
    trust->crls = list;
    trust->generation++;
    log_info("%s: revocation list read again", trust->crl_file);
}

static bool is_revoked(HttpTrust *trust, gnutls_x509_crt_t crt)
{
    if (!trust->crl_file)
        return false;
    (void)pthread_mutex_lock(&trust->lock);
    refresh_crls(trust);
    int r = gnutls_x509_crt_check_revocation(crt, trust->crls.items, trust->crls.count);
    (void)pthread_mutex_unlock(&trust->lock);
    return r != 0; /* 1: revoked; negative: can't be told, so not to be trusted */
}

uint64_t http_trust_refresh(HttpTrust *trust)
{
    if (!trust->crl_file)
        return 0;
    (void)pthread_mutex_lock(&trust->lock);
    refresh_crls(trust);
    uint64_t generation = trust->generation;
    (void)pthread_mutex_unlock(&trust->lock);
    return generation;
}

/* Chains */

int http_chain_copy(void *tls_session, HttpChain *ret_chain)
{
    unsigned count = 0;
    const gnutls_datum_t *sent = gnutls_certificate_get_peers(tls_session, &count);
    HttpChain chain = {0};

    for (; sent && chain.count < count && chain.count < HTTP_CHAIN_MAX; chain.count++) {
        unsigned char *der = malloc(sent[chain.count].size);
        if (!der) {
            http_chain_clear(&chain);
            return -ENOMEM;
        }
        memcpy(der, sent[chain.count].data, sent[chain.count].size);
        chain.items[chain.count].der = der;
        chain.items[chain.count].size = sent[chain.count].size;
    }
    *ret_chain = chain;
    return 0;
}

void http_chain_clear(HttpChain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        free(chain->items[i].der);
    *chain = (HttpChain){0};
}

bool http_trust_is_revoked(HttpTrust *trust, const HttpChain *chain)
{
    bool revoked = false;

    for (unsigned i = 0; !revoked && i < chain->count; i++) {
        const gnutls_datum_t der = {.data = chain->items[i].der, .size = chain->items[i].size};
        gnutls_x509_crt_t crt;
        if (gnutls_x509_crt_init(&crt) < 0)
            return true; /* can't be told, so not to be trusted */
        revoked = gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER) < 0 || is_revoked(trust, crt);
        gnutls_x509_crt_deinit(crt);
    }
    return revoked;
}

/* Verdicts */

/* Why a status of gnutls_certificate_verify_peers() refuses. */
static const char *refusal(unsigned status)
{
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return "it is not signed by a CA of client_ca";
    if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
        return "it is not a client's certificate (clientAuth)";
    if (status & GNUTLS_CERT_EXPIRED)
        return "it has expired";
    if (status & GNUTLS_CERT_NOT_ACTIVATED)
        return "it is not valid yet";
    if (status & GNUTLS_CERT_REVOKED)
        return "it is revoked";
    return "its signature or a constraint is not valid";
}

#define UNTIMELY (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED)

/* NULL, or why the session's chain is refused; *ret_untimely if another time is all it lacks. */
static const char *chain_refusal(gnutls_session_t session, bool *ret_untimely)
{
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0;

    if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0)
        return "it can't be checked";
    *ret_untimely = (status & UNTIMELY) && (status & ~(unsigned)UNTIMELY) == GNUTLS_CERT_INVALID;
    return status == 0 ? NULL : refusal(status);
}

/* NULL and the CN in name, or why not. */
static const char *common_name(gnutls_x509_crt_t crt, char name[static HTTP_PEER_NAME_SIZE])
{
    char second[HTTP_PEER_NAME_SIZE];
    size_t size = HTTP_PEER_NAME_SIZE, second_size = sizeof(second);

    if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size) < 0)
        return "it has no usable CN";
    if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 1, 0, second, &second_size) !=
        GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        return "it has more than one CN";
    if (size == 0 || size >= HTTP_PEER_NAME_SIZE || memchr(name, '\0', size))
        return "its CN is empty or holds a NUL";
    name[size] = '\0';
    return NULL;
}

static const char *leaf_refusal(HttpTrust *trust, const gnutls_datum_t *chain, unsigned count,
                                char name[static HTTP_PEER_NAME_SIZE])
{
    const char *why = NULL;

    for (unsigned i = 0; !why && i < count; i++) {
        gnutls_x509_crt_t crt;
        if (gnutls_x509_crt_init(&crt) < 0)
            return "out of memory";
        if (gnutls_x509_crt_import(crt, &chain[i], GNUTLS_X509_FMT_DER) < 0)
            why = "it can't be parsed";
        else if (is_revoked(trust, crt))
            why = "it is revoked";
        else if (i == 0)
            why = common_name(crt, name);
        gnutls_x509_crt_deinit(crt);
    }
    return why;
}

HttpPeer http_trust_verify(HttpTrust *trust, void *tls_session, char name[static HTTP_PEER_NAME_SIZE])
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(tls_session, &count);

    if (!chain || count == 0)
        return HTTP_PEER_NONE;
    bool untimely = false;
    const char *why =
        count > HTTP_CHAIN_MAX ? "it comes with too many others" : chain_refusal(tls_session, &untimely);
    const char *leaf_why = !why || untimely ? leaf_refusal(trust, chain, count, name) : NULL;
    if (leaf_why) {
        why = leaf_why;
        untimely = false;
    }
    if (!why)
        return HTTP_PEER_VERIFIED;
    (void)snprintf(name, HTTP_PEER_NAME_SIZE, "%s", why);
    return untimely ? HTTP_PEER_UNTIMELY : HTTP_PEER_REFUSED;
}

/* The chain was verified before: here it only matters where it leads. */
bool http_trust_is_person(const HttpTrust *trust, void *tls_session)
{
    gnutls_x509_crt_t chain[HTTP_CHAIN_MAX];
    unsigned sent_count = 0, count = 0, status = 0;
    const gnutls_datum_t *sent = gnutls_certificate_get_peers(tls_session, &sent_count);
    bool whole = sent && sent_count <= HTTP_CHAIN_MAX;

    for (; whole && count < sent_count; count += whole) {
        whole = gnutls_x509_crt_init(&chain[count]) == 0;
        if (whole && gnutls_x509_crt_import(chain[count], &sent[count], GNUTLS_X509_FMT_DER) < 0) {
            gnutls_x509_crt_deinit(chain[count]);
            whole = false;
        }
    }
    int r = whole && count > 0 ? gnutls_x509_crt_list_verify(chain, count, trust->people.items,
                                                             trust->people.count, NULL, 0, 0, &status)
                               : -1;
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return r == 0 && status == 0;
}

int http_keypair_check(const char *cert_file, const char *key_file)
{
    gnutls_certificate_credentials_t credentials;

    if (gnutls_certificate_allocate_credentials(&credentials) < 0)
        return -ENOMEM;
    int r = gnutls_certificate_set_x509_key_file(credentials, cert_file, key_file, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    if (r >= 0)
        return 0;
    log_error("%s and %s: not a PEM certificate and its key: %s", cert_file, key_file, gnutls_strerror(r));
    return -EINVAL;
}
