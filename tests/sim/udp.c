/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UDP: a socket, and hosts that answer each datagram with one of their own, in the order in which
 * they got them. What was sent, and what was received, is kept for the oracle.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "tests/sim/udp.h"

#define MS UINT64_C(1000000)
#define LONGEST 65507u
#define SEGMENTS_MAX 64u

static void find_destination(const struct sockaddr_storage *to, unsigned int *ret_host,
                             uint16_t *ret_port)
{
    const struct sockaddr_in *in = (const void *)to;
    const struct sockaddr_in6 *in6 = (const void *)to;

    *ret_host = to->ss_family == AF_INET ? ntohl(in->sin_addr.s_addr) & 0xff
                                         : in6->sin6_addr.s6_addr[15];
    *ret_port = ntohs(to->ss_family == AF_INET ? in->sin_port : in6->sin6_port);
}

struct udp *udp_next_by_port(uint16_t port, unsigned int *at)
{
    while (*at < kernel.udp_count) {
        struct udp *udp = kernel.udps[(*at)++];

        if (udp->owner == port && (udp->sent.count > 0 || udp->local.ss_family))
            return udp;
    }
    return NULL;
}

struct udp *udp_by_port(uint16_t port)
{
    struct udp *last = NULL, *udp;
    unsigned int at = 0;

    while ((udp = udp_next_by_port(port, &at)))
        last = udp;
    return last;
}

int udp_open_file(int family, struct kfile **ret)
{
    struct udp *udp;

    udp = sim_alloc(sizeof(*udp));
    *ret = file_new(FILE_UDP);
    (*ret)->u.udp = udp;
    udp->family = family;
    udp->rx_cap = sim.faults & 1u << FAULT_SMALL_BUFFERS ? 200 + sim_random(20000) : 200000;
    udp->has_no_segments = kernel.udp_count % 3 == 1;
    kernel.udps = sim_grow(kernel.udps, (kernel.udp_count + 1) * sizeof(*kernel.udps));
    kernel.udps[kernel.udp_count++] = udp;
    return 0;
}

void udp_closed(struct udp *udp)
{
    udp->is_closed = true;
}

static void free_queue(struct udp_queue *queue)
{
    for (unsigned int i = 0; i < queue->count; i++)
        sim_free(queue->at[i].data);
    sim_free(queue->at);
}

void udp_free(struct udp *udp)
{
    free_queue(&udp->rx);
    free_queue(&udp->sent);
    free_queue(&udp->consumed);
    sim_free(udp);
}

static struct udp_message *append(struct udp_queue *queue, size_t len)
{
    struct udp_message *message;

    queue->at = sim_grow(queue->at, (queue->count + 1) * sizeof(*queue->at));
    message = &queue->at[queue->count++];
    memset(message, 0, sizeof(*message));
    message->data = sim_alloc(len + 1);
    message->len = len;
    return message;
}

int udp_bind_file(struct udp *udp, const struct sockaddr *addr, socklen_t len)
{
    unsigned int host;

    if (udp->local.ss_family || udp->remote.ss_family)
        return -EINVAL;
    memcpy(&udp->local, addr, len < sizeof(udp->local) ? len : sizeof(udp->local));
    find_destination(&udp->local, &host, &udp->owner);
    return 0;
}

int udp_connect_file(struct udp *udp, const struct sockaddr *addr, socklen_t len)
{
    uint16_t port;

    memcpy(&udp->remote, addr, len < sizeof(udp->remote) ? len : sizeof(udp->remote));
    find_destination(&udp->remote, &udp->host, &port);
    if (udp->host == HOST_UNREACHABLE)
        return -ENETUNREACH;
    udp->owner = port;
    return 0;
}

/* With a slow net they overtake each other. */
static struct udp_message *insert(struct udp *udp, size_t len, uint64_t due)
{
    struct udp_message *message = append(&udp->rx, len), found = *message;
    unsigned int at = udp->rx.count - 1;

    for (; at > 0 && udp->rx.at[at - 1].due > due; at--)
        udp->rx.at[at] = udp->rx.at[at - 1];
    udp->rx.at[at] = found;
    return &udp->rx.at[at];
}

/* The answer is on its way: one pattern after the other, of the length of what was sent. */
static void answer(struct udp *udp, const struct sockaddr_storage *from, unsigned int host,
                   size_t len)
{
    struct udp_message *message;
    uint64_t due = sim.now_ns + sim_random(host == HOST_SLOW ? 300 : 3) * MS;
    bool is_slow = sim.faults & 1u << FAULT_SLOW_NET;

    if (sim_fault(FAULT_SLOW_NET, 8))
        return; /* lost */
    if (is_slow)
        due += sim_random(40) * MS;
    else if (due < udp->due)
        due = udp->due; /* in their order */
    if (udp->rx.bytes + len > udp->rx_cap) {
        udp->dropped++;
        return;
    }
    message = insert(udp, len, due);
    message->from = *from;
    message->dropped = udp->dropped;
    message->number = UINT64_C(1) << 40 | (uint64_t)udp->owner << 20 | udp->answers++;
    message->traffic_class = (uint8_t)message->number;
    sim_pattern(message->number, 0, message->data, len);
    udp->rx.bytes += len;
    udp->due = due > udp->due ? due : udp->due;
    message->due = due;
}

void udp_arrive(struct udp *udp, unsigned int host, size_t len)
{
    struct sockaddr_storage from;
    struct sockaddr_in *in = (void *)&from;
    struct sockaddr_in6 *in6 = (void *)&from;

    if (udp->is_closed || udp->remote.ss_family)
        return;
    tcp_source(udp->family, &from);
    if (udp->family == AF_INET) {
        in->sin_addr.s_addr = htonl(0x0a000000 | host);
        in->sin_port = htons(udp->owner);
    } else {
        in6->sin6_addr.s6_addr[15] = (uint8_t)host;
        in6->sin6_port = htons(udp->owner);
    }
    answer(udp, &from, host, len);
}

/* What the network says of an earlier datagram may come later, and of a host that had answered. */
static void fail_later(struct udp *udp, unsigned int host)
{
    udp->icmp = host == HOST_REFUSES ? ECONNREFUSED : EHOSTUNREACH;
    udp->icmp_due = sim.now_ns;
    if (sim.faults & 1u << FAULT_SLOW_NET)
        udp->icmp_due += sim_random(50) * MS;
}

void udp_look_for_error(struct udp *udp)
{
    if (!udp->icmp || udp->icmp_due > sim.now_ns)
        return;
    udp->error = udp->reported = udp->icmp;
    udp->icmp = 0;
}

/* One datagram leaves. */
static void leave(struct udp *udp, const struct sockaddr_storage *to, unsigned int host,
                  const uint8_t *data, size_t len, const struct udp_message *with)
{
    struct udp_message *message = append(&udp->sent, len);

    message->traffic_class = with->traffic_class;
    memcpy(message->data, data, len);
    if (host == HOST_ACCEPTS || host == HOST_SLOW)
        answer(udp, to, host, len);
    if (udp->remote.ss_family != AF_UNSPEC &&
        (host == HOST_REFUSES || (host == HOST_SLOW && sim_fault(FAULT_SLOW_NET, 4))))
        fail_later(udp, host);
}

static void leave_all(struct udp *udp, const struct sockaddr_storage *to, unsigned int host,
                      const struct iovec *iov, size_t count, const struct udp_message *with)
{
    size_t len = iov_total(iov, count), done = 0, part;
    uint8_t *data = sim_alloc(len + 1);

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > 0)
            memcpy(data + done, iov[i].iov_base, iov[i].iov_len);
        done += iov[i].iov_len;
    }
    done = 0;
    do {
        part = with->segment && with->segment < len - done ? with->segment : len - done;
        leave(udp, to, host, data + done, part, with);
        done += part;
    } while (done < len);
    sim_free(data);
}

/* What is wrong with it; 0: nothing. */
static int check(struct udp *udp, unsigned int host, size_t len, const struct udp_message *with)
{
    if (len > LONGEST)
        return -EMSGSIZE;
    if (with->segment && len > with->segment * (size_t)SEGMENTS_MAX)
        return -EINVAL;
    if (host == HOST_UNREACHABLE)
        return -ENETUNREACH;
    if (sim.now_ns < udp->busy_until)
        return -EAGAIN;
    if (sim_fault(FAULT_PARTIAL, 3)) {
        udp->busy_until = sim.now_ns + sim_random(2) * (1 + sim_random(20)) * MS;
        return -EAGAIN;
    }
    return with->segment && udp->has_no_segments ? -EIO : 0;
}

ssize_t udp_send_file(struct udp *udp, const struct iovec *iov, size_t count,
                      const struct sockaddr_storage *to, const struct udp_message *with)
{
    const struct sockaddr_storage *addr = to ? to : &udp->remote;
    size_t len = iov_total(iov, count);
    unsigned int host;
    uint16_t port;
    int error;

    udp_look_for_error(udp);
    error = udp->error;
    if (addr->ss_family == AF_UNSPEC)
        return -EDESTADDRREQ;
    udp->error = 0;
    if (error)
        return -error;
    find_destination(addr, &host, &port);
    error = check(udp, host, len, with);
    if (error)
        return error;
    if (!udp->local.ss_family)
        udp->owner = port;
    leave_all(udp, addr, host, iov, count, with);
    return (ssize_t)len;
}

static bool has_message(const struct udp *udp)
{
    return udp->rx.count > 0 && udp->rx.at[0].due <= sim.now_ns;
}

ssize_t udp_receive_file(struct udp *udp, const struct iovec *iov, size_t count, int flags,
                         struct udp_message *ret)
{
    struct udp_message *first = &udp->rx.at[0], *kept;
    int error;

    udp_look_for_error(udp);
    error = udp->error;
    udp->error = 0;
    if (error)
        return -error;
    if (!has_message(udp))
        return -EAGAIN;
    if (sim_fault(FAULT_NO_MEMORY, 6))
        return -ENOMEM;
    /* The kernel counts up. */
    if (first->dropped > udp->told)
        udp->told = first->dropped;
    first->dropped = udp->told;
    *ret = *first;
    iov_fill(iov, count, first->data, first->len);
    if (flags & MSG_PEEK)
        return (ssize_t)first->len;
    kept = append(&udp->consumed, first->len);
    memcpy(kept->data, first->data, first->len);
    kept->number = first->number;
    kept->traffic_class = first->traffic_class;
    kept->is_stranger = udp->remote.ss_family != AF_UNSPEC &&
                        memcmp(&udp->remote, &first->from, sizeof(udp->remote)) != 0;
    udp->rx.bytes -= first->len;
    sim_free(first->data);
    memmove(first, first + 1, --udp->rx.count * sizeof(*first));
    return (ssize_t)ret->len;
}

int udp_events(const struct udp *udp)
{
    bool has_error = udp->error || (udp->icmp && udp->icmp_due <= sim.now_ns);
    int events = has_error ? POLLERR | POLLIN | POLLOUT : 0;

    if (sim.now_ns >= udp->busy_until)
        events |= POLLOUT;
    return events | (has_message(udp) ? POLLIN : 0);
}

uint64_t udp_due(const struct udp *udp)
{
    uint64_t due = UINT64_MAX;

    if (udp->is_closed)
        return due;
    if (udp->busy_until > sim.now_ns)
        due = udp->busy_until;
    if (udp->icmp && udp->icmp_due > sim.now_ns && udp->icmp_due < due)
        due = udp->icmp_due;
    if (udp->rx.count > 0 && udp->rx.at[0].due > sim.now_ns && udp->rx.at[0].due < due)
        due = udp->rx.at[0].due;
    return due;
}
