#include "common/http_socket.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define LISTEN_BACKLOG 512
#define LINGER_MAX ((size_t)16 * 1024 * 1024) /* of a body that nobody waits for, behind its answer */
#define LINGER_MS 2000

int http_listen(const char *address, uint16_t port, int *ret_fd)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char service[8];

    (void)snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(address, service, &hints, &found) != 0) {
        log_error("address %s: not a numeric IPv4 or IPv6 address", address);
        return -EINVAL;
    }
    int on = 1, off = 0, r = 0;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (found->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0) ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        r = -errno;
        log_error("can't listen on %s port %u: %s", address, port, strerror(errno));
        close_fd(&fd);
    }
    freeaddrinfo(found);
    if (r == 0)
        *ret_fd = fd;
    return r;
}

void http_linger(int fd)
{
    int64_t until_ms = clock_monotonic_ms() + LINGER_MS;
    char trash[16384];

    for (size_t total = 0; total < LINGER_MAX;) {
        int64_t left_ms = until_ms - clock_monotonic_ms();
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&polled, 1, (int)left_ms) <= 0)
            return;
        ssize_t got = recv(fd, trash, sizeof(trash), MSG_DONTWAIT);
        if (got <= 0)
            return;
        total += (size_t)got;
    }
}
