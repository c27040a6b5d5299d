/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a connection leaves the host, [Egress] of the policy; and a local address of the client's,
 * where others come in.
 * Happy path: the device, then the source address, before connect(2).
 * Failures: what cannot be had ends the attempt; there is no other way out instead.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "daemon/net/tcp.h"
#include "daemon/policy/policy.h"

/* Since Linux 5.7 no capability is needed for a socket that is bound to no device yet. */
static int bind_device(struct netsock *ns, const char *device)
{
    return setsockopt(ns->fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) < 0
               ? -EADDRNOTAVAIL
               : 0;
}

static int bind_source(struct netsock *ns, const struct sockaddr *source, socklen_t len)
{
    int one = 1;

    /* The port is chosen by connect(2), where it need differ for the same peer only. */
    setsockopt(ns->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(ns->fd, source, len) < 0 ? -EADDRNOTAVAIL : 0;
}

static int bind_source4(struct netsock *ns, const struct policy_egress *egress)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = egress->source4};

    if (egress->source4.s_addr == INADDR_ANY)
        return -EADDRNOTAVAIL;
    return bind_source(ns, (const struct sockaddr *)&in, sizeof(in));
}

static int bind_source6(struct netsock *ns, const struct policy_egress *egress,
                        const struct sockaddr_in6 *to)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = egress->source6};

    if (IN6_IS_ADDR_V4MAPPED(&to->sin6_addr)) { /* it will be IPv4 */
        in6.sin6_addr = to->sin6_addr;
        memcpy(&in6.sin6_addr.s6_addr[12], &egress->source4, 4);
        if (egress->source4.s_addr == INADDR_ANY)
            return -EADDRNOTAVAIL;
    }
    if (IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr))
        return -EADDRNOTAVAIL;
    return bind_source(ns, (const struct sockaddr *)&in6, sizeof(in6));
}

int netsock_apply_device(struct netsock *ns, const struct policy_egress *egress)
{
    return egress->device[0] ? bind_device(ns, egress->device) : 0;
}

int netsock_bind(struct netsock *ns, const struct sockaddr *addr, socklen_t len)
{
    return bind(ns->fd, addr, len) < 0 ? -errno : 0;
}

int netsock_listen(struct netsock *ns, int backlog)
{
    return listen(ns->fd, backlog) < 0 ? -errno : 0;
}

int netsock_accept(struct netsock *listener, struct netsock *ret, struct worker *w,
                   struct endpoint *ret_peer)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int fd;

    if (w->fds_used >= w->fds_max)
        return -EMFILE;
    do {
        len = sizeof(addr);
        fd = accept4(listener->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    w->fds_used++;
    netsock_adopt(ret, fd, false);
    netsock_endpoint((struct sockaddr *)&addr, ret_peer);
    return 0;
}

int netsock_apply_egress(struct netsock *ns, const struct policy_egress *egress,
                         const struct sockaddr *to)
{
    int r = netsock_apply_device(ns, egress);

    if (r < 0 || !egress->has_source)
        return r;
    if (to->sa_family == AF_INET)
        return bind_source4(ns, egress);
    return bind_source6(ns, egress, (const struct sockaddr_in6 *)(const void *)to);
}
