/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far a TCP stream is, by what the kernel says: no process has to have written it down. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/keeper.h"

/* The kernel's numbers of states; <netinet/tcp.h> has their names, and not these counts. */
enum { FIN_WAIT1 = 4, FIN_WAIT2, CLOSED = 7, CLOSE_WAIT, LAST_ACK, CLOSING = 11 };

static bool peer_has_finished(unsigned int state)
{
    return state == CLOSE_WAIT || state == LAST_ACK || state == CLOSING;
}

static bool has_finished(unsigned int state)
{
    return state == FIN_WAIT1 || state == FIN_WAIT2 || state == CLOSING || state == LAST_ACK;
}

static void read_counts(int fd, struct tcp_info *info, uint64_t *ret_sent, uint64_t *ret_received)
{
    socklen_t len = sizeof(*info);
    int unsent = 0, unread = 0;

    memset(info, 0, sizeof(*info));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0 ||
        ioctl(fd, SIOCINQ, &unread) < 0)
        fail("what the kernel knows of a connection");
    *ret_sent = info->tcpi_bytes_acked + (uint64_t)unsent - 1; /* the SYN */
    *ret_received = info->tcpi_bytes_received - (uint64_t)unread;
}

/*
 * An acknowledgement between two of the calls moves bytes from one count to the other: read until
 * nothing has moved. A FIN counts as a byte.
 */
void offsets_of(int fd, bool was_reset, uint64_t *ret_sent, uint64_t *ret_received)
{
    struct tcp_info info, again;
    uint64_t sent, received;
    bool has_both;

    read_counts(fd, &info, ret_sent, ret_received);
    for (;;) {
        read_counts(fd, &again, &sent, &received);
        if (sent == *ret_sent && received == *ret_received && again.tcpi_state == info.tcpi_state &&
            again.tcpi_bytes_acked == info.tcpi_bytes_acked &&
            again.tcpi_bytes_received == info.tcpi_bytes_received)
            break;
        info = again;
        *ret_sent = sent;
        *ret_received = received;
    }
    has_both = info.tcpi_state == CLOSED && !was_reset;
    if (has_both || has_finished(info.tcpi_state))
        --*ret_sent;
    if (has_both || peer_has_finished(info.tcpi_state))
        --*ret_received;
}

/* ---- after a reset ---- */

struct ends {
    int near, far;
    uint64_t sent, received; /* by near */
};

static void connect_ends(int listener, struct ends *e)
{
    struct sockaddr_in to;
    socklen_t len = sizeof(to);

    if (getsockname(listener, (struct sockaddr *)&to, &len) < 0)
        fail("getsockname");
    *e = (struct ends){.near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (e->near < 0 || connect(e->near, (struct sockaddr *)&to, len) < 0)
        fail("connect");
    e->far = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (e->far < 0)
        fail("accept");
}

/* Some bytes go each way, and some of them are read. */
static void talk(struct ends *e)
{
    static unsigned char block[65536];

    for (unsigned int turns = (unsigned int)random_below(8); turns > 0; turns--) {
        ssize_t n = send(e->near, block, random_below(sizeof(block)) + 1, MSG_DONTWAIT);

        e->sent += n > 0 ? (uint64_t)n : 0;
        if (send(e->far, block, random_below(sizeof(block)) + 1, MSG_DONTWAIT) < 0 &&
            errno != EAGAIN)
            fail("send");
        n = recv(e->near, block, random_below(sizeof(block)) + 1, MSG_DONTWAIT);
        e->received += n > 0 ? (uint64_t)n : 0;
        if (recv(e->far, block, random_below(sizeof(block)) + 1, MSG_DONTWAIT) < 0 &&
            errno != EAGAIN)
            fail("recv");
    }
}

static void reset(struct ends *e)
{
    const struct linger at_once = {.l_onoff = 1};
    struct pollfd p = {.fd = e->near, .events = POLLHUP};

    setsockopt(e->far, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(e->far);
    while (poll(&p, 1, 30000) < 0 && errno == EINTR)
        ;
    if (!(p.revents & POLLHUP))
        fail("a reset did not arrive");
}

void offsets_after_resets(unsigned int connections)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned int sent_right = 0, received_right = 0;

    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(listener, 8) < 0)
        fail("listen");
    for (unsigned int i = 0; i < connections; i++) {
        struct ends e;
        uint64_t sent, received;

        connect_ends(listener, &e);
        talk(&e);
        reset(&e);
        offsets_of(e.near, true, &sent, &received);
        sent_right += sent == e.sent;
        received_right += received == e.received;
        close(e.near);
    }
    close(listener);
    printf(
        "| after a reset, of %u connections | bytes sent are exact for %u, bytes received for %u |\n",
        connections, sent_right, received_right);
}
