/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/net/tcp.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/net/apart.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

void netsock_init(struct netsock *ns, void (*event)(struct ev_loop *, struct ev_io *, int),
                  void *owner)
{
    ev_io_init(&ns->io, event, -1, 0);
    ns->io.data = owner;
    ns->fd = -1;
    ns->is_apart = ns->is_lent = ns->both_ended = false;
    ns->watched_apart = 0;
}

int netsock_open(struct netsock *ns, struct worker *w, int family)
{
    int one = 1;

    if (w->fds_used >= w->fds_max)
        return -EMFILE;
    ns->is_polled = false;
    ns->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ns->fd < 0)
        return -errno;
    w->fds_used++;
    /* Completions are whole requests: nothing is gained by waiting for more (RFC 896). */
    setsockopt(ns->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return 0;
}

static void unwatch(struct netsock *ns, struct worker *w)
{
    ev_io_stop(w->loop, &ns->io);
    if (ns->is_apart)
        apart_watch(w->apart, ns, 0);
}

static void close_descriptor(struct netsock *ns, struct worker *w)
{
    unwatch(ns, w);
    if (ns->is_lent)
        netsock_close_lent(ns->fd);
    else
        close(ns->fd);
    ns->fd = -1;
    ns->is_lent = ns->both_ended = false;
    w->fds_used--;
}

/* Of a lent connection that both sides have ended there is nothing to revoke. */
void netsock_close(struct netsock *ns, struct worker *w)
{
    uint64_t in, out;

    if (ns->fd < 0)
        return;
    if (ns->is_lent && !ns->both_ended && !netsock_bytes(ns, &in, &out)) {
        netsock_revoke(ns, w);
        return;
    }
    /*
     * What nobody has read would stay in the kernel for as long as a holder likes. One call stops
     * at urgent data.
     */
    if (ns->is_lent && netsock_discard(ns, INT_MAX) > 0)
        netsock_dissolve(ns->fd);
    close_descriptor(ns, w);
}

/*
 * The client has set one, perhaps. If it does so again before the close, that ends a millisecond
 * later.
 */
static void forget_linger(int fd)
{
    const struct linger off = {0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
}

void netsock_dissolve(int fd)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};

    /*
     * Some kernels refuse while a thread waits in a call on it, and of one to which the client has
     * given TLS of the kernel's (TCP_ULP). Then the waiting ends, and the stream with FIN; what the
     * peer still sends is answered with RST.
     */
    if (connect(fd, &none, sizeof(none)) < 0) {
        shutdown(fd, SHUT_RDWR);
        (void)!connect(fd, &none, sizeof(none));
    }
    forget_linger(fd);
}

void netsock_revoke(struct netsock *ns, struct worker *w)
{
    netsock_dissolve(ns->fd);
    close_descriptor(ns, w);
}

/* No other call on it: the client has it already, and may keep it locked in the kernel. */
void netsock_give(struct netsock *ns, struct worker *w)
{
    close_descriptor(ns, w);
}

int netsock_release(struct netsock *ns, struct worker *w)
{
    int fd = ns->fd;

    unwatch(ns, w);
    ns->fd = -1;
    return fd;
}

void netsock_adopt(struct netsock *ns, int fd, bool is_polled)
{
    ns->fd = fd;
    ns->is_polled = is_polled;
}

void netsock_abort(struct netsock *ns, struct worker *w)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (ns->fd < 0)
        return;
    if (ns->is_lent) {
        netsock_revoke(ns, w);
        return;
    }
    setsockopt(ns->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close_descriptor(ns, w);
}

void netsock_expect_data(struct netsock *ns)
{
    int off = 0;

    /* One that the kernel does not take costs a segment, and no more. */
    setsockopt(ns->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
}

int netsock_connect(struct netsock *ns, const struct sockaddr *addr, socklen_t len)
{
    int r;

    do {
        r = connect(ns->fd, addr, len);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int netsock_connect_result(struct netsock *ns)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(ns->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    return -err;
}

ssize_t netsock_send(struct netsock *ns, const struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    ssize_t n;

    do {
        if (count == 1) /* the shorter way into the kernel */
            n = send(ns->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        else
            n = sendmsg(ns->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t netsock_receive(struct netsock *ns, void *buf, size_t len, int flags)
{
    ssize_t n;

    do {
        n = recv(ns->fd, buf, len, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t netsock_receive_list(struct netsock *ns, const struct iovec *iov, int count, int flags)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    ssize_t n;

    do {
        n = recvmsg(ns->fd, &msg, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t netsock_discard(struct netsock *ns, size_t len)
{
    /* On TCP MSG_TRUNC drops the bytes where they are; the buffer is not touched (tcp(7)). */
    return netsock_receive(ns, NULL, len, MSG_TRUNC);
}

int netsock_shutdown(struct netsock *ns, int how)
{
    return shutdown(ns->fd, how) < 0 ? -errno : 0;
}

int netsock_unacknowledged(const struct netsock *ns)
{
    int left = 0;

    return ioctl(ns->fd, SIOCOUTQ, &left) < 0 ? -errno : left;
}

int netsock_available(const struct netsock *ns)
{
    int waiting = 0;

    return ioctl(ns->fd, SIOCINQ, &waiting) < 0 ? -errno : waiting;
}

void netsock_watch(struct netsock *ns, struct worker *w, int events)
{
    if (netsock_watched(ns) == events)
        return;
    if (ns->is_apart) {
        apart_watch(w->apart, ns, ns->fd < 0 ? 0 : events);
        return;
    }
    ns->is_polled = netsock_is_polled(ns, w);
    ev_io_stop(w->loop, &ns->io);
    if (!events || ns->fd < 0)
        return;
    ns->turn = netsock_turn(w);
    ev_io_set(&ns->io, ns->fd, events);
    ev_io_start(w->loop, &ns->io);
}

void netsock_endpoint(const struct sockaddr *addr, struct endpoint *ret)
{
    asock_endpoint_from(addr, sizeof(struct sockaddr_in6), ret);
}

int netsock_sockaddr(const struct endpoint *endpoint, struct sockaddr_storage *ret,
                     socklen_t *ret_len)
{
    *ret_len = asock_endpoint_to(endpoint, ret);
    if (*ret_len > 0 && endpoint->port > 0)
        return 0;
    *ret_len = 0;
    return ERR_INVALID_ARGUMENT;
}

int netsock_local(const struct netsock *ns, struct endpoint *ret)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (getsockname(ns->fd, (struct sockaddr *)&addr, &len) < 0)
        return -errno;
    netsock_endpoint((struct sockaddr *)&addr, ret);
    return 0;
}

int netsock_remote(const struct netsock *ns, struct endpoint *ret)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (getpeername(ns->fd, (struct sockaddr *)&addr, &len) < 0)
        return -errno;
    netsock_endpoint((struct sockaddr *)&addr, ret);
    return 0;
}

bool netsock_has_error(const struct netsock *ns)
{
    struct pollfd pollfd = {.fd = ns->fd};

    return poll(&pollfd, 1, 0) > 0 && (pollfd.revents & POLLERR);
}

int netsock_tcp_info(const struct netsock *ns, void *out, size_t *len)
{
    socklen_t size = (socklen_t)*len;

    if (getsockopt(ns->fd, IPPROTO_TCP, TCP_INFO, out, &size) < 0)
        return -errno;
    *len = size;
    return 0;
}
