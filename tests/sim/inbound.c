/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/inbound.h"
#include "tests/sim/udp.h"
#include "tests/sim/kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "tests/sim/calls.h"

struct backlog {
    struct tcp *queue[KERNEL_CONNECTIONS];
    unsigned int count, most;
};

socklen_t inbound_local(unsigned int kind, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *in = (void *)ret;
    struct sockaddr_in6 *in6 = (void *)ret;
    bool is_in6 = kind == LOCAL_ANY6 || kind == LOCAL_OWN6;

    tcp_source(is_in6 ? AF_INET6 : AF_INET, ret);
    if (is_in6)
        in6->sin6_port = htons(port);
    else
        in->sin_port = htons(port);
    if (kind == LOCAL_ANY4)
        in->sin_addr.s_addr = htonl(INADDR_ANY);
    else if (kind == LOCAL_FOREIGN)
        in->sin_addr.s_addr = htonl(0x0a0000f0);
    else if (kind == LOCAL_ANY6)
        in6->sin6_addr = in6addr_any;
    return is_in6 ? sizeof(*in6) : sizeof(*in);
}

uint16_t inbound_port(const struct sockaddr_storage *addr)
{
    return ntohs(addr->ss_family == AF_INET
                     ? ((const struct sockaddr_in *)(const void *)addr)->sin_port
                     : ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port);
}

static bool is_unspecified(const struct sockaddr_storage *addr)
{
    if (addr->ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
}

static bool is_the_hosts(const struct sockaddr_storage *addr)
{
    struct sockaddr_storage own;

    tcp_source(addr->ss_family, &own);
    if (addr->ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)&own)->sin_port =
            ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    else
        ((struct sockaddr_in6 *)(void *)&own)->sin6_port =
            ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port;
    return is_unspecified(addr) || memcmp(&own, addr, sizeof(own)) == 0;
}

/* An IPv6 one for all addresses takes IPv4, unless IPV6_V6ONLY was set. */
static bool is_dual(struct tcp *tcp)
{
    return tcp->family == AF_INET6 && is_unspecified(&tcp->local) &&
           tcp_option(tcp, IPPROTO_IPV6, 26 /* IPV6_V6ONLY */) <= 0;
}

static bool may_reuse(struct tcp *tcp)
{
    return tcp_option(tcp, SOL_SOCKET, SO_REUSEADDR) > 0;
}

/* Of two of which none listens both may have the port (SO_REUSEADDR). */
static bool is_in_use(struct tcp *tcp, uint16_t port, bool is_to_listen)
{
    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        struct tcp *other = kernel.tcps[i];

        if (other == tcp || !other->in.is_bound || !other->file ||
            inbound_port(&other->local) != port)
            continue;
        if (other->family != tcp->family && !is_dual(other) && !is_dual(tcp))
            continue;
        if (other->state == TCP_LISTENING ||
            (!is_to_listen && !(may_reuse(tcp) && may_reuse(other))))
            return true;
    }
    return false;
}

static void set_port(struct sockaddr_storage *addr, uint16_t port)
{
    if (addr->ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)addr)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)(void *)addr)->sin6_port = htons(port);
}

static int inbound_bind(struct tcp *tcp, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_storage local = {0};
    uint16_t port;

    if (tcp->in.is_bound || tcp->state != TCP_NEW)
        return -EINVAL;
    if (addr->sa_family != tcp->family)
        return -EAFNOSUPPORT;
    memcpy(&local, addr, len < sizeof(local) ? len : sizeof(local));
    port = inbound_port(&local);
    if (!is_the_hosts(&local))
        return -EADDRNOTAVAIL;
    if (port > 0 && port < 1024)
        return -EACCES;
    tcp->local = local;
    if (port > 0 && is_in_use(tcp, port, false))
        return -EADDRINUSE;
    if (port == 0)
        set_port(&tcp->local, kernel.next_port++);
    tcp->in.is_bound = true;
    sim_trace("tcp %u: bound to port %u", tcp->index, inbound_port(&tcp->local));
    return 0;
}

int inbound_listen(struct tcp *tcp, int backlog)
{
    if (!tcp->in.is_bound || (tcp->state != TCP_NEW && tcp->state != TCP_LISTENING))
        return -EINVAL;
    if (tcp->state == TCP_NEW && is_in_use(tcp, inbound_port(&tcp->local), true))
        return -EADDRINUSE;
    if (!tcp->in.backlog)
        tcp->in.backlog = sim_alloc(sizeof(*tcp->in.backlog));
    tcp->in.backlog->most = (unsigned int)backlog;
    tcp->state = TCP_LISTENING;
    sim_trace("tcp %u: listens, backlog %d", tcp->index, backlog);
    return 0;
}

/* What was not accepted is reset. */
void inbound_closed(struct tcp *tcp)
{
    struct backlog *backlog = tcp->in.backlog;

    for (unsigned int i = 0; backlog && i < backlog->count; i++) {
        backlog->queue[i]->in.is_waiting = false;
        backlog->queue[i]->is_linger_zero = true;
        tcp_closed(backlog->queue[i]);
    }
    if (backlog)
        backlog->count = 0;
}

int inbound_events(const struct tcp *tcp)
{
    return tcp->in.backlog->count > 0 ? POLLIN : 0;
}

struct tcp *inbound_at(uint32_t number)
{
    struct tcp *listening[KERNEL_CONNECTIONS];
    uint32_t count = 0;

    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        if (kernel.tcps[i]->state == TCP_LISTENING && kernel.tcps[i]->file)
            listening[count++] = kernel.tcps[i];
    return count ? listening[number % count] : NULL;
}

/* As an IPv6 socket has those of IPv4. */
static void map(struct sockaddr_storage *addr)
{
    struct sockaddr_in in;
    struct sockaddr_in6 *in6 = (void *)addr;

    memcpy(&in, addr, sizeof(in));
    memset(addr, 0, sizeof(*addr));
    in6->sin6_family = AF_INET6;
    in6->sin6_port = in.sin_port;
    in6->sin6_addr.s6_addr[10] = in6->sin6_addr.s6_addr[11] = 0xff;
    memcpy(&in6->sin6_addr.s6_addr[12], &in.sin_addr, 4);
}

static void set_ends(struct tcp *tcp, const struct tcp *listener, bool is_in6)
{
    tcp_source(is_in6 ? AF_INET6 : AF_INET, &tcp->local);
    tcp->remote = tcp->local;
    set_port(&tcp->local, inbound_port(&listener->local));
    set_port(&tcp->remote, (uint16_t)(KERNEL_PORT_FIRST + tcp->intent));
    if (is_in6)
        ((struct sockaddr_in6 *)(void *)&tcp->remote)->sin6_addr.s6_addr[15] = (uint8_t)tcp->host;
    else
        ((struct sockaddr_in *)(void *)&tcp->remote)->sin_addr.s_addr = htonl(0x0a000000 |
                                                                              tcp->host);
    if (listener->family == AF_INET6 && !is_in6) {
        map(&tcp->local);
        map(&tcp->remote);
    }
}

struct tcp *inbound_arrive(struct tcp *listener, bool is_in6, unsigned int host,
                           unsigned int intent)
{
    struct backlog *backlog = listener->in.backlog;
    struct tcp *tcp;

    if ((listener->family == AF_INET && is_in6) ||
        (listener->family == AF_INET6 && !is_in6 && !is_dual(listener)))
        return NULL;
    /* One more than was asked for, as ever. */
    if (backlog->count > backlog->most || backlog->count == KERNEL_CONNECTIONS)
        return NULL;
    tcp = tcp_new(listener->family);
    if (!tcp)
        return NULL;
    tcp->host = host;
    tcp->intent = intent;
    tcp->in.listener = listener;
    tcp->in.place = listener->in.place++;
    tcp->in.is_waiting = true;
    set_ends(tcp, listener, is_in6);
    tcp->in.is_in4 = !is_in6;
    tcp->state = TCP_OPEN;
    tcp->due = tcp->peer_due = sim.now_ns;
    memcpy(tcp->options, listener->options, sizeof(tcp->options));
    tcp->option_count = listener->option_count;
    backlog->queue[backlog->count++] = tcp;
    sim_trace("tcp %u: host %u has connected to tcp %u, connect %u", tcp->index, host,
              listener->index, intent);
    return tcp;
}

static struct tcp *take(struct tcp *listener)
{
    struct backlog *backlog = listener->in.backlog;
    struct tcp *tcp = backlog->queue[0];

    memmove(backlog->queue, backlog->queue + 1, --backlog->count * sizeof(backlog->queue[0]));
    tcp->in.is_waiting = false;
    return tcp;
}

static int some_error(struct tcp *listener)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO};
    int error = errors[sim_random(6)];

    if (error == ECONNABORTED || error == EPROTO) {
        struct tcp *tcp = take(listener);

        tcp->is_linger_zero = true;
        tcp_closed(tcp);
    }
    return -error;
}

int inbound_accept(struct tcp *listener, struct sockaddr *addr, socklen_t *len, int flags)
{
    struct kfile *file;
    struct tcp *tcp;
    socklen_t size;

    if (listener->state != TCP_LISTENING)
        return -EINVAL;
    if (sim_fault(FAULT_INTERRUPT, 20))
        return -EINTR;
    if (listener->in.backlog->count == 0)
        return -EAGAIN;
    if (sim_fault(FAULT_NO_MEMORY, 20))
        return some_error(listener);
    tcp = take(listener);
    file = file_new(FILE_TCP);
    file->u.tcp = tcp;
    file->is_nonblocking = flags & SOCK_NONBLOCK;
    tcp->file = file;
    size = tcp->remote.ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                            : sizeof(struct sockaddr_in6);
    memcpy(addr, &tcp->remote, *len < size ? *len : size);
    *len = size;
    sim_trace("tcp %u: accepted", tcp->index);
    listeners_accepting(tcp);
    return fd_install(file);
}

int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct kfile *file = fd_file(fd);

    calls_enter();
    if (file && file->kind == FILE_UDP)
        return (int)calls_leave(udp_bind_file(file->u.udp, addr, len));
    if (!file || file->kind != FILE_TCP)
        return (int)calls_leave(-EADDRNOTAVAIL);
    return (int)calls_leave(inbound_bind(file->u.tcp, addr, len));
}

int __wrap_listen(int fd, int backlog)
{
    struct kfile *file = fd_file(fd);

    calls_enter();
    if (!file || file->kind != FILE_TCP)
        return (int)calls_leave(-EOPNOTSUPP);
    if (sim_fault(FAULT_NO_MEMORY, 20))
        return (int)calls_leave(-ENOBUFS);
    return (int)calls_leave(inbound_listen(file->u.tcp, backlog));
}
