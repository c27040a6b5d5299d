/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TCP as tcp(7) has it, seen from the daemon's end: what send(2) takes waits until the peer's
 * kernel has it, data stays readable after a reset, a close with unread data resets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <string.h>

#include "tests/sim/inbound.h"
#include "tests/sim/kernel.h"

#define MS UINT64_C(1000000)
#define CONNECT_TIMEOUT (127000 * MS)

struct tcp *tcp_new(int family)
{
    struct tcp *tcp;

    if (kernel.tcp_count == KERNEL_CONNECTIONS)
        return NULL;
    tcp = sim_alloc(sizeof(*tcp));
    tcp->family = family;
    tcp->intent = UINT32_MAX;
    tcp->tx_cap = tcp->rx_cap = tcp->peer_cap = 64 * 1024;
    if (sim.faults & 1u << FAULT_SMALL_BUFFERS) {
        tcp->tx_cap = 64 + sim_random(8192);
        tcp->rx_cap = 64 + sim_random(8192);
        tcp->peer_cap = 64 + sim_random(8192);
    }
    tcp->index = kernel.tcp_count;
    kernel.tcps[kernel.tcp_count++] = tcp;
    return tcp;
}

int tcp_open(int family, struct kfile **ret)
{
    struct tcp *tcp = tcp_new(family);

    if (!tcp)
        return -ENFILE;
    *ret = file_new(FILE_TCP);
    (*ret)->u.tcp = tcp;
    tcp->file = *ret;
    return 0;
}

void tcp_free(struct tcp *tcp)
{
    byte_queue_free(&tcp->tx);
    byte_queue_free(&tcp->rx);
    byte_queue_free(&tcp->log);
    byte_queue_free(&tcp->peer_rx);
    byte_queue_free(&tcp->peer_tx);
    sim_free(tcp->in.backlog);
    sim_free(tcp);
}

void tcp_source(int family, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->ss_family = (sa_family_t)family;
    if (family == AF_INET)
        ((struct sockaddr_in *)(void *)ret)->sin_addr.s_addr = htonl(0x0a000001);
    else
        inet_pton(AF_INET6, "2001:db8::1", &((struct sockaddr_in6 *)(void *)ret)->sin6_addr);
}

static void die(struct tcp *tcp)
{
    tcp->state = TCP_DEAD;
    byte_queue_drop(&tcp->tx, byte_queue_len(&tcp->tx));
}

static void reset_peer(struct tcp *tcp, const char *why)
{
    if (tcp->state == TCP_OPEN && !tcp->peer_closed) {
        sim_trace("tcp %u: the peer gets a reset: %s", tcp->index, why);
        tcp->peer_saw_reset = !tcp->fin_delivered;
    }
    die(tcp);
}

/* Whoever has a descriptor of it has no connection any more. */
static int dissolve(struct tcp *tcp)
{
    tcp->is_dissolved = true;
    if (tcp->state != TCP_OPEN)
        return 0;
    byte_queue_drop(&tcp->rx, byte_queue_len(&tcp->rx));
    tcp->error = ECONNRESET;
    reset_peer(tcp, "dissolved");
    return 0;
}

static uint8_t info_state(const struct tcp *tcp)
{
    enum { ESTABLISHED = 1, SYN_SENT, FIN_WAIT1 = 4, CLOSE = 7, CLOSE_WAIT, LAST_ACK, LISTEN };

    if (tcp->state == TCP_CONNECTING)
        return SYN_SENT;
    if (tcp->state == TCP_LISTENING)
        return LISTEN;
    if (tcp->state != TCP_OPEN)
        return CLOSE;
    if (tcp->fin_received)
        return tcp->is_write_shut ? LAST_ACK : CLOSE_WAIT;
    return tcp->is_write_shut ? FIN_WAIT1 : ESTABLISHED;
}

void tcp_tell_info(const struct tcp *tcp, void *ret, socklen_t *len)
{
    struct tcp_info info;

    memset(&info, 0, sizeof(info));
    info.tcpi_state = info_state(tcp);
    info.tcpi_bytes_received = tcp->consumed + byte_queue_len(&tcp->rx) + tcp->fin_received;
    info.tcpi_bytes_sent = byte_queue_len(&tcp->log);
    info.tcpi_segs_in = tcp->state != TCP_NEW && !tcp->is_dissolved;
    if (*len > sizeof(info))
        *len = sizeof(info);
    memcpy(ret, &info, *len);
}

static void choose_local(struct tcp *tcp)
{
    uint16_t port = htons(kernel.next_port++);

    tcp_source(tcp->remote.ss_family, &tcp->local);
    if (tcp->local.ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)&tcp->local)->sin_port = port;
    else
        ((struct sockaddr_in6 *)(void *)&tcp->local)->sin6_port = port;
}

static void find_destination(struct tcp *tcp, uint16_t *ret_port)
{
    if (tcp->remote.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&tcp->remote;

        tcp->host = ntohl(in->sin_addr.s_addr) & 0xff;
        *ret_port = ntohs(in->sin_port);
    } else {
        const struct sockaddr_in6 *in6 = (const void *)&tcp->remote;

        tcp->host = in6->sin6_addr.s6_addr[15];
        *ret_port = ntohs(in6->sin6_port);
    }
}

int tcp_connect(struct tcp *tcp, const struct sockaddr *addr, socklen_t len)
{
    uint16_t port = 0;

    if (addr->sa_family == AF_UNSPEC)
        return dissolve(tcp);
    if (tcp->state == TCP_CONNECTING)
        return -EALREADY;
    if (tcp->state == TCP_OPEN)
        return -EISCONN;
    memcpy(&tcp->remote, addr, len < sizeof(tcp->remote) ? len : sizeof(tcp->remote));
    find_destination(tcp, &port);
    if (tcp->host == HOST_UNREACHABLE)
        return -ENETUNREACH;
    choose_local(tcp);
    tcp->is_dissolved = false;
    tcp->intent = port >= KERNEL_PORT_FIRST ? (unsigned int)port - KERNEL_PORT_FIRST : UINT32_MAX;
    tcp->state = TCP_CONNECTING;
    tcp->due = sim.now_ns + sim_random(3) * MS;
    if (tcp->host == HOST_SLOW)
        tcp->due += (1 + sim_random(600)) * MS;
    else if (tcp->host == HOST_SILENT && !sim.is_calm)
        tcp->due = sim.now_ns + CONNECT_TIMEOUT;
    peers_assign(tcp);
    sim_trace("tcp %u: connects to host %u, connect %u", tcp->index, tcp->host, tcp->intent);
    return -EINPROGRESS;
}

static int take_error(struct tcp *tcp)
{
    int error = tcp->error;

    tcp->error = 0;
    return error;
}

ssize_t tcp_send(struct tcp *tcp, const struct iovec *iov, size_t count)
{
    size_t left = iov_total(iov, count), room, total;

    if (tcp->error)
        return -take_error(tcp);
    if (tcp->state == TCP_CONNECTING)
        return -EAGAIN;
    if (tcp->state != TCP_OPEN || tcp->is_write_shut)
        return -EPIPE;
    if (left == 0)
        return 0;
    room = tcp->tx_cap > byte_queue_len(&tcp->tx) ? tcp->tx_cap - byte_queue_len(&tcp->tx) : 0;
    if (room == 0)
        return -EAGAIN;
    if (sim_fault(FAULT_NO_MEMORY, 200))
        return -ENOBUFS;
    left = total = kernel_part(left < room ? left : room);
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

        byte_queue_append(&tcp->tx, iov[i].iov_base, part);
        byte_queue_append(&tcp->log, iov[i].iov_base, part);
        left -= part;
    }
    tcp->moved = sim_now_ms();
    if (tcp->due < sim.now_ns)
        tcp->due = sim.now_ns + sim_random(50) * MS / 100;
    return (ssize_t)total;
}

ssize_t tcp_receive(struct tcp *tcp, const struct iovec *iov, size_t count, int flags)
{
    size_t n = iov_total(iov, count), there = byte_queue_len(&tcp->rx);

    if (tcp->state == TCP_NEW)
        return -ENOTCONN;
    if (there == 0) {
        if (tcp->error)
            return -take_error(tcp);
        if (tcp->state == TCP_DEAD || tcp->fin_received || tcp->is_read_shut)
            return 0;
        return -EAGAIN;
    }
    if (sim_fault(FAULT_NO_MEMORY, 200))
        return -ENOMEM;
    n = kernel_part(n < there ? n : there);
    if (!(flags & MSG_TRUNC))
        iov_fill(iov, count, tcp->rx.at + tcp->rx.start, n);
    if (flags & MSG_PEEK)
        return (ssize_t)n;
    byte_queue_drop(&tcp->rx, n);
    tcp->consumed += n;
    tcp->moved = sim_now_ms();
    return (ssize_t)n;
}

int tcp_shutdown(struct tcp *tcp, int how)
{
    if (tcp->state != TCP_OPEN)
        return -ENOTCONN;
    if (how != SHUT_WR)
        tcp->is_read_shut = true;
    if (how != SHUT_RD)
        tcp->is_write_shut = true;
    if (tcp->due < sim.now_ns)
        tcp->due = sim.now_ns;
    return 0;
}

void tcp_closed(struct tcp *tcp)
{
    tcp->file = NULL;
    inbound_closed(tcp);
    if (tcp->state != TCP_OPEN) {
        die(tcp);
        return;
    }
    if (tcp->is_linger_zero || byte_queue_len(&tcp->rx) > 0) {
        reset_peer(tcp, tcp->is_linger_zero ? "linger 0" : "unread data");
        return;
    }
    tcp->is_write_shut = true;
    if (tcp->due < sim.now_ns)
        tcp->due = sim.now_ns;
}

int tcp_events(const struct tcp *tcp)
{
    int events = tcp->error ? POLLERR : 0;

    if (tcp->state == TCP_CONNECTING)
        return 0;
    if (tcp->state == TCP_LISTENING)
        return inbound_events(tcp);
    if (tcp->state != TCP_OPEN)
        return events | POLLIN | POLLOUT | POLLHUP;
    if (byte_queue_len(&tcp->rx) > 0 || tcp->fin_received || tcp->is_read_shut)
        events |= POLLIN;
    if (tcp->tx_cap - byte_queue_len(&tcp->tx) >= (tcp->tx_cap + 2) / 3 || tcp->is_write_shut)
        events |= POLLOUT;
    if (tcp->fin_received && tcp->is_write_shut)
        events |= POLLHUP;
    return events;
}

int tcp_option(struct tcp *tcp, int level, int name)
{
    for (unsigned int i = 0; i < tcp->option_count; i++)
        if (tcp->options[i].level == level && tcp->options[i].name == name)
            return tcp->options[i].value;
    return -1;
}

void tcp_set_option(struct tcp *tcp, int level, int name, int value)
{
    for (unsigned int i = 0; i < tcp->option_count; i++) {
        if (tcp->options[i].level != level || tcp->options[i].name != name)
            continue;
        tcp->options[i].value = value;
        return;
    }
    SIM_MUST(tcp->option_count < OPTIONS_MAX);
    tcp->options[tcp->option_count++] = (struct tcp_option){level, name, value};
}

/* ---- the way, and the peer ---- */

/* Neither a descriptor nor a listener has it. */
static bool is_nobodys(const struct tcp *tcp)
{
    return !tcp->file && !tcp->in.is_waiting;
}

static bool has_segment(const struct tcp *tcp)
{
    if (byte_queue_len(&tcp->tx) > 0 &&
        (byte_queue_len(&tcp->peer_rx) < tcp->peer_cap || tcp->peer_closed))
        return true;
    if (byte_queue_len(&tcp->tx) == 0 && tcp->is_write_shut && !tcp->fin_delivered)
        return true;
    if (byte_queue_len(&tcp->peer_tx) > 0 &&
        (byte_queue_len(&tcp->rx) < tcp->rx_cap || is_nobodys(tcp) || tcp->is_read_shut))
        return true;
    return byte_queue_len(&tcp->peer_tx) == 0 && tcp->peer_fin_queued && !tcp->fin_received;
}

static bool peer_has_work(const struct tcp *tcp)
{
    if (tcp->peer_closed)
        return false;
    if (!tcp->manner.is_mute && byte_queue_len(&tcp->peer_rx) > 0)
        return true;
    if (tcp->manner.to_write > 0 && byte_queue_len(&tcp->peer_tx) < 4096 && !tcp->peer_fin_queued)
        return true;
    if (tcp->fin_delivered && !tcp->peer_saw_fin && byte_queue_len(&tcp->peer_rx) == 0)
        return true;
    return !tcp->peer_fin_queued && tcp->manner.to_write == 0 && !tcp->manner.stays_open;
}

uint64_t tcp_due(const struct tcp *tcp)
{
    uint64_t due = UINT64_MAX;

    if (tcp->state == TCP_CONNECTING)
        return tcp->due;
    if (tcp->state != TCP_OPEN)
        return UINT64_MAX;
    if (has_segment(tcp))
        due = tcp->due;
    if (peer_has_work(tcp) && tcp->peer_due < due)
        due = tcp->peer_due;
    return due;
}

static void handshake(struct tcp *tcp)
{
    if (tcp->host == HOST_REFUSES || tcp->host == HOST_SILENT) {
        tcp->error = tcp->host == HOST_REFUSES ? ECONNREFUSED : ETIMEDOUT;
        tcp->state = TCP_DEAD;
        sim_trace("tcp %u: connect fails", tcp->index);
        return;
    }
    tcp->state = TCP_OPEN;
    tcp->due = tcp->peer_due = sim.now_ns;
    sim_trace("tcp %u: connected", tcp->index);
}

static size_t segment(size_t n, size_t room)
{
    size_t most = sim.faults & 1u << FAULT_SLOW_NET && !sim.is_calm ? 1 + sim_random(1400) : 65536;

    if (n > room)
        n = room;
    return n < most ? n : most;
}

static void move_out(struct tcp *tcp)
{
    size_t n;

    if (byte_queue_len(&tcp->tx) > 0 && tcp->peer_closed) {
        tcp->error = ECONNRESET;
        die(tcp);
        return;
    }
    n = segment(byte_queue_len(&tcp->tx), tcp->peer_cap - byte_queue_len(&tcp->peer_rx));
    byte_queue_append(&tcp->peer_rx, tcp->tx.at + tcp->tx.start, n);
    byte_queue_drop(&tcp->tx, n);
    if (byte_queue_len(&tcp->tx) == 0 && tcp->is_write_shut)
        tcp->fin_delivered = true;
}

static void move_in(struct tcp *tcp)
{
    size_t n = byte_queue_len(&tcp->peer_tx);

    if (n > 0 && is_nobodys(tcp)) {
        reset_peer(tcp, "data for a closed socket");
        return;
    }
    if (!tcp->is_read_shut) {
        n = segment(n, tcp->rx_cap - byte_queue_len(&tcp->rx));
        byte_queue_append(&tcp->rx, tcp->peer_tx.at + tcp->peer_tx.start, n);
    }
    byte_queue_drop(&tcp->peer_tx, n);
    if (byte_queue_len(&tcp->peer_tx) == 0 && tcp->peer_fin_queued)
        tcp->fin_received = true;
}

void tcp_reset_by_peer(struct tcp *tcp)
{
    if (tcp->state != TCP_OPEN || tcp->peer_closed)
        return;
    sim_trace("tcp %u: reset by the peer", tcp->index);
    tcp->peer_reset = tcp->peer_closed = true;
    tcp->error = ECONNRESET;
    die(tcp);
}

static void peer_writes(struct tcp *tcp)
{
    uint32_t n = 1 + sim_random(sim_chance(3) ? 3000 : 100);
    uint8_t data[3000];

    if (n > tcp->manner.to_write)
        n = tcp->manner.to_write;
    sim_pattern(tcp->manner.salt, tcp->peer_written, data, n);
    byte_queue_append(&tcp->peer_tx, data, n);
    tcp->peer_written += n;
    tcp->manner.to_write -= n;
    if (tcp->due < sim.now_ns)
        tcp->due = sim.now_ns;
}

/*
 * Slow with much, too, but not so slow that there are more steps than a program may take: not with
 * what waits, nor with all that comes through a small buffer.
 */
#define PEER_STEPS 256u
#define PEER_STEPS_ALL 4096u

static size_t peer_takes(const struct tcp *tcp, size_t n)
{
    size_t reads = tcp->manner.reads;

    if (reads > 0 && reads < n / PEER_STEPS)
        reads = n / PEER_STEPS;
    if (reads > 0 && reads < tcp->peer_read / PEER_STEPS_ALL)
        reads = tcp->peer_read / PEER_STEPS_ALL;
    return reads > 0 && n > reads ? reads : n;
}

static void peer_works(struct tcp *tcp)
{
    size_t n = byte_queue_len(&tcp->peer_rx);

    if (!tcp->manner.is_mute && n > 0) {
        n = peer_takes(tcp, n);
        byte_queue_drop(&tcp->peer_rx, n);
        tcp->peer_read += n;
        if (tcp->due < sim.now_ns)
            tcp->due = sim.now_ns;
    }
    if (tcp->manner.resets_at && tcp->peer_read >= tcp->manner.resets_at) {
        tcp_reset_by_peer(tcp);
        return;
    }
    if (tcp->fin_delivered && !tcp->peer_saw_fin && byte_queue_len(&tcp->peer_rx) == 0) {
        sim_trace("tcp %u: the peer sees the end behind %llu bytes", tcp->index,
                  (unsigned long long)tcp->peer_read);
        tcp->peer_saw_fin = true;
    }
    if (tcp->manner.to_write > 0 && byte_queue_len(&tcp->peer_tx) < 4096 && !tcp->peer_fin_queued)
        peer_writes(tcp);
    if (tcp->manner.to_write == 0 && !tcp->manner.stays_open && !tcp->peer_fin_queued) {
        tcp->peer_fin_queued = true;
        if (tcp->due < sim.now_ns)
            tcp->due = sim.now_ns;
    }
    tcp->peer_due = sim.now_ns + tcp->manner.pace * MS;
}

void tcp_step(struct tcp *tcp)
{
    if (tcp->state == TCP_CONNECTING) {
        handshake(tcp);
        return;
    }
    if (peer_has_work(tcp) && tcp->peer_due <= sim.now_ns)
        peer_works(tcp);
    if (tcp->state != TCP_OPEN || tcp->due > sim.now_ns)
        return;
    if (byte_queue_len(&tcp->tx) > 0 || (tcp->is_write_shut && !tcp->fin_delivered))
        move_out(tcp);
    if (tcp->state == TCP_OPEN && (byte_queue_len(&tcp->peer_tx) > 0 || tcp->peer_fin_queued))
        move_in(tcp);
    if (sim.faults & 1u << FAULT_SLOW_NET && !sim.is_calm)
        tcp->due = sim.now_ns + sim_random(40) * MS;
}
