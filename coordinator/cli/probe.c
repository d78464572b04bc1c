#include "coordinator/cli/probe.h"

#include "common/clock.h"
#include "common/text.h"
#include "common/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_MS 5000
#define HANDSHAKE_TIMEOUT_MS 10000
#define VERDICT_TIMEOUT_MS 5000 /* for a server to say that it does not like our certificate */

/* One handshake. */
typedef struct Probe {
    SSL_CTX *context;
    SSL *tls;
    int fd;
    int verify_error; /* the first: what comes after it follows from it; X509_V_OK */
    bool has_session; /* TLS 1.3: sent after our certificate was taken */
    ProbeResult *result;
} Probe;

static void set_why(ProbeResult *result, const char *text)
{
    (void)snprintf(result->why, sizeof(result->why), "%s", text);
}

static void set_tls_why(ProbeResult *result, const char *otherwise)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;

    set_why(result, reason ? reason : otherwise);
    ERR_clear_error();
}

/* --- TCP --- */

static bool wait_for(int fd, short events, int64_t deadline_ms)
{
    struct pollfd waiting = {.fd = fd, .events = events};
    int64_t left_ms = deadline_ms - clock_monotonic_ms();

    return poll(&waiting, 1, left_ms > 0 ? (int)left_ms : 0) == 1;
}

/* A connection to one address, or a negative errno. */
static int connect_to(const struct addrinfo *address)
{
    int fd CLEANUP(close_fd) =
        socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
    int error = 0;
    socklen_t size = sizeof(error);

    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    if (!wait_for(fd, POLLOUT, clock_monotonic_ms() + CONNECT_TIMEOUT_MS))
        return -ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return error ? -error : TAKE_FD(fd);
}

static int open_connection(const ProbeTarget *target, ProbeResult *result, int *ret_fd)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *addresses = NULL;
    char port[8];
    int fd = -EHOSTUNREACH;

    (void)snprintf(port, sizeof(port), "%u", target->port);
    int r = getaddrinfo(target->host, port, &hints, &addresses);
    if (r != 0) {
        set_why(result, r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
        return PROBE_E_NAME;
    }
    for (const struct addrinfo *one = addresses; one && fd < 0; one = one->ai_next) {
        (void)getnameinfo(one->ai_addr, one->ai_addrlen, result->address, sizeof(result->address), NULL, 0,
                          NI_NUMERICHOST);
        fd = connect_to(one);
    }
    freeaddrinfo(addresses);
    if (fd < 0) {
        set_why(result, strerror(-fd));
        return PROBE_E_PORT;
    }
    *ret_fd = fd;
    return 0;
}

int probe_port(const ProbeTarget *target, ProbeResult *ret_result)
{
    int fd CLEANUP(close_fd) = -1;

    *ret_result = (ProbeResult){0};
    return open_connection(target, ret_result, &fd);
}

/* --- the server's certificate --- */

static void note_names(const X509 *certificate, ProbeResult *result)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    size_t used = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char address[INET6_ADDRSTRLEN] = "";
        const char *text = address;
        if (name->type == GEN_DNS)
            text = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        else if (name->type == GEN_IPADD)
            (void)inet_ntop(ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6,
                            ASN1_STRING_get0_data(name->d.iPAddress), address, sizeof(address));
        int length =
            snprintf(result->names + used, sizeof(result->names) - used, "%s%s", used ? ", " : "", text);
        if (length < 0 || (size_t)length >= sizeof(result->names) - used)
            break;
        used += (size_t)length;
    }
    GENERAL_NAMES_free(names);
}

static void note_pin(X509 *certificate, ProbeResult *result)
{
    unsigned char *key = NULL, digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);

    if (size > 0 && EVP_Digest(key, (size_t)size, digest, &digest_size, EVP_sha256(), NULL) == 1) {
        char *text CLEANUP(free_ptr) = text_base64(digest, digest_size);
        (void)snprintf(result->pin, sizeof(result->pin), "sha256//%s", text ? text : "");
    }
    OPENSSL_free(key);
}

static void note_certificate(const Probe *probe)
{
    X509 *certificate = SSL_get1_peer_certificate(probe->tls);
    struct tm end;

    if (!certificate)
        return;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
        probe->result->ends_unix_s = (int64_t)timegm(&end);
    note_names(certificate, probe->result);
    note_pin(certificate, probe->result);
    X509_free(certificate);
}

/* Lets everything pass, so that a bad certificate can be looked at; nothing is ever sent to its owner. */
static int on_certificate(int is_good, X509_STORE_CTX *store)
{
    const SSL *tls = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    Probe *probe = SSL_get_app_data(tls);

    if (!is_good && probe->verify_error == X509_V_OK)
        probe->verify_error = X509_STORE_CTX_get_error(store);
    return 1;
}

static int judge_certificate(const Probe *probe)
{
    if (probe->verify_error != X509_V_OK)
        set_why(probe->result, X509_verify_cert_error_string(probe->verify_error));
    switch (probe->verify_error) {
    case X509_V_OK:
        return 0;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return PROBE_E_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return PROBE_E_EARLY;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return PROBE_E_HOST;
    default:
        return PROBE_E_AUTHORITY;
    }
}

/* --- TLS --- */

static int on_session(SSL *tls, SSL_SESSION *session)
{
    Probe *probe = SSL_get_app_data(tls);

    (void)session;
    probe->has_session = true;
    return 0; /* it stays OpenSSL's */
}

static bool load_files(SSL_CTX *context, const ProbeTarget *target)
{
    bool ok = target->ca_file ? SSL_CTX_load_verify_file(context, target->ca_file) == 1
                              : SSL_CTX_set_default_verify_paths(context) == 1;

    if (ok && target->cert_file)
        ok = SSL_CTX_use_certificate_chain_file(context, target->cert_file) == 1 &&
             SSL_CTX_use_PrivateKey_file(context, target->key_file, SSL_FILETYPE_PEM) == 1 &&
             SSL_CTX_check_private_key(context) == 1;
    return ok;
}

static bool expect_host(SSL *tls, const char *host)
{
    X509_VERIFY_PARAM *rules = SSL_get0_param(tls);

    if (X509_VERIFY_PARAM_set1_ip_asc(rules, host) == 1)
        return true;
    ERR_clear_error(); /* it is a name */
    return SSL_set1_host(tls, host) == 1 && SSL_set_tlsext_host_name(tls, host) == 1;
}

static int prepare(Probe *probe, const ProbeTarget *target)
{
    probe->context = SSL_CTX_new(TLS_client_method());
    if (!probe->context || !load_files(probe->context, target)) {
        set_tls_why(probe->result, "they can't be read");
        return PROBE_E_FILES;
    }
    (void)SSL_CTX_set_session_cache_mode(probe->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(probe->context, on_session);
    SSL_CTX_set_verify(probe->context, SSL_VERIFY_PEER, on_certificate);
    if (SSL_CTX_set_min_proto_version(probe->context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(probe->context, TLS12_CIPHERS) != 1 ||
        !(probe->tls = SSL_new(probe->context)) || SSL_set_app_data(probe->tls, probe) != 1 ||
        !expect_host(probe->tls, target->host) || SSL_set_fd(probe->tls, probe->fd) != 1) {
        set_tls_why(probe->result, "out of memory");
        return PROBE_E_TLS;
    }
    return 0;
}

/* Waits for what OpenSSL waits for. false: it does not, or it took too long. */
static bool go_on(const Probe *probe, int r, int64_t deadline_ms)
{
    int wanted = SSL_get_error(probe->tls, r);

    if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE)
        return false;
    return wait_for(probe->fd, wanted == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms);
}

/* Alerts that are about our certificate: bad, unsupported, revoked, expired, unknown; unknown CA; required
 * (RFC 8446 section 6.2). */
static bool is_about_our_certificate(unsigned long error)
{
    static const int alerts[] = {42, 43, 44, 45, 46, 48, 116};

    for (size_t i = 0; i < ARRAY_SIZE(alerts); i++)
        if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_AD_REASON_OFFSET + alerts[i])
            return true;
    return false;
}

static int shake_hands(Probe *probe)
{
    int64_t deadline_ms = clock_monotonic_ms() + HANDSHAKE_TIMEOUT_MS;
    int r;

    ERR_clear_error();
    while ((r = SSL_connect(probe->tls)) != 1)
        if (!go_on(probe, r, deadline_ms))
            break;
    note_certificate(probe);
    if (r == 1)
        return judge_certificate(probe);
    bool ours = is_about_our_certificate(ERR_peek_last_error());
    set_tls_why(probe->result, "the connection was closed, or nothing came");
    return ours ? PROBE_E_OURS : PROBE_E_TLS;
}

/* In TLS 1.3 the server looks at our certificate after we are done. It answers with a session, an alert, or
 * by waiting for us to speak. */
static int await_verdict(Probe *probe)
{
    int64_t deadline_ms = clock_monotonic_ms() + VERDICT_TIMEOUT_MS;
    char byte;
    int r;

    while ((r = SSL_peek(probe->tls, &byte, 1)) != 1 && !probe->has_session)
        if (!go_on(probe, r, deadline_ms))
            break;
    if (r == 1 || probe->has_session || SSL_get_error(probe->tls, r) == SSL_ERROR_WANT_READ)
        return 0;
    set_tls_why(probe->result, "the connection was closed");
    return PROBE_E_OURS;
}

int probe_server(const ProbeTarget *target, ProbeResult *ret_result)
{
    *ret_result = (ProbeResult){0};
    Probe probe = {.fd = -1, .verify_error = X509_V_OK, .result = ret_result};

    int r = open_connection(target, ret_result, &probe.fd);
    if (r == 0)
        r = prepare(&probe, target);
    if (r == 0)
        r = shake_hands(&probe);
    if (r == 0 && target->cert_file)
        r = await_verdict(&probe);
    if (probe.tls && SSL_is_init_finished(probe.tls))
        (void)SSL_shutdown(probe.tls); /* or its log would have an error */
    SSL_free(probe.tls);
    SSL_CTX_free(probe.context);
    close_fd(&probe.fd);
    return r;
}
