#include "common/http_guests.h"

#include "common/log.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <sys/socket.h>

struct HttpGuest {
    int fd;
    bool gone; /* shut already */
    char name[HTTP_PEER_NAME_SIZE];
    uint64_t generation; /* of the revocation lists that it was last looked up in */
    HttpChain chain;
    HttpGuest *next, *previous;
};

struct HttpGuests {
    HttpTrust *trust;
    unsigned per_name_max;
    pthread_mutex_t lock; /* guards the list */
    HttpGuest *first;
};

int http_guests_new(HttpTrust *trust, unsigned per_name_max, HttpGuests **ret_guests)
{
    HttpGuests *guests = calloc(1, sizeof(*guests));

    if (!guests)
        return -ENOMEM;
    guests->trust = trust;
    guests->per_name_max = per_name_max;
    (void)pthread_mutex_init(&guests->lock, NULL); /* can't fail on Linux */
    *ret_guests = guests;
    return 0;
}

HttpGuests *http_guests_free(HttpGuests *guests)
{
    if (!guests)
        return NULL;
    (void)pthread_mutex_destroy(&guests->lock);
    free(guests);
    return NULL;
}

/* Under the lock. */
static bool is_crowded(const HttpGuests *guests, const char *name)
{
    unsigned count = 0;

    for (const HttpGuest *guest = guests->first; guest; guest = guest->next)
        count += strcmp(guest->name, name) == 0;
    return guests->per_name_max > 0 && count >= guests->per_name_max;
}

static void link_guest(HttpGuests *guests, HttpGuest *guest)
{
    guest->next = guests->first;
    if (guests->first)
        guests->first->previous = guest;
    guests->first = guest;
}

int http_guests_enter(HttpGuests *guests, void *tls_session, int fd, const char *name, HttpGuest **ret_guest)
{
    HttpGuest *guest = calloc(1, sizeof(*guest));

    if (!guest || http_chain_copy(tls_session, &guest->chain) < 0) {
        free(guest);
        return -ENOMEM;
    }
    guest->fd = fd;
    (void)snprintf(guest->name, sizeof(guest->name), "%s", name);
    (void)pthread_mutex_lock(&guests->lock);
    bool crowded = is_crowded(guests, name);
    if (!crowded)
        link_guest(guests, guest);
    (void)pthread_mutex_unlock(&guests->lock);
    if (crowded) {
        http_chain_clear(&guest->chain);
        free(guest);
        return GUESTS_E_CROWDED;
    }
    *ret_guest = guest;
    return 0;
}

HttpGuest *http_guests_leave(HttpGuests *guests, HttpGuest *guest)
{
    if (!guest)
        return NULL;
    (void)pthread_mutex_lock(&guests->lock);
    if (guest->previous)
        guest->previous->next = guest->next;
    else
        guests->first = guest->next;
    if (guest->next)
        guest->next->previous = guest->previous;
    (void)pthread_mutex_unlock(&guests->lock);
    http_chain_clear(&guest->chain);
    free(guest);
    return NULL;
}

/* Under the lock. A guest enters with generation 0: the list may have changed between the look at its
 * certificate and its entry. */
static bool must_go(const HttpGuests *guests, HttpGuest *guest, uint64_t generation)
{
    if (guest->gone || guest->generation == generation)
        return false;
    guest->generation = generation;
    guest->gone = http_trust_is_revoked(guests->trust, &guest->chain);
    return guest->gone;
}

unsigned http_guests_review(HttpGuests *guests)
{
    uint64_t generation = http_trust_refresh(guests->trust);
    unsigned count = 0;

    (void)pthread_mutex_lock(&guests->lock);
    for (HttpGuest *guest = guests->first; guest; guest = guest->next) {
        if (!must_go(guests, guest, generation))
            continue;
        log_warn("the certificate of %s is revoked: its connection is cut", guest->name);
        (void)shutdown(guest->fd, SHUT_RDWR); /* wakes its thread, which then closes */
        count++;
    }
    (void)pthread_mutex_unlock(&guests->lock);
    return count;
}
