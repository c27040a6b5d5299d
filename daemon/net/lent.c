/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel knows about a connection that another process uses, and how to close its socket.
 */
#include <linux/tcp.h> /* has more fields than glibc's header; the two cannot be included together */
#include <string.h>
#include <unistd.h>

#include "daemon/core/interrupt.h"
#include "daemon/net/tcp.h"

enum tcp_state {
    ESTABLISHED = 1,
    FIN_WAIT1 = 4,
    FIN_WAIT2 = 5,
    TIME_WAIT = 6,
    CLOSE = 7,
    CLOSE_WAIT = 8,
    LAST_ACK = 9,
    LISTEN = 10,
    CLOSING = 11,
};

/* Fields that an older kernel does not know are 0. */
static struct tcp_info info_of(const struct netsock *ns)
{
    struct tcp_info info;
    size_t len = sizeof(info);

    memset(&info, 0, sizeof(info));
    netsock_tcp_info(ns, &info, &len);
    return info;
}

/*
 * Options belong to the socket, not to the descriptor: the client can set SO_LINGER at any moment,
 * and close its own descriptor. The last close() then waits, non-blocking or not, until the peer
 * has acknowledged everything or the client's linger time is over.
 */
void netsock_close_lent(int fd)
{
    interrupt_begin();
    close(fd);
    interrupt_end();
}

bool netsock_bytes(const struct netsock *ns, uint64_t *ret_in, uint64_t *ret_out)
{
    struct tcp_info info = info_of(ns);

    *ret_in = info.tcpi_bytes_received;
    *ret_out = info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
    /*
     * The kernel counts the peer's FIN as a byte. A connection that has ended is assumed to have
     * had one.
     */
    if (*ret_in > 0 && info.tcpi_state >= TIME_WAIT && info.tcpi_state != LISTEN)
        *ret_in -= 1;
    return info.tcpi_state == TIME_WAIT || info.tcpi_state == CLOSE;
}

enum netsock_use netsock_use(const struct netsock *ns)
{
    switch (info_of(ns).tcpi_state) {
    case ESTABLISHED:
    case CLOSE_WAIT:
        return NETSOCK_IS_OPEN;
    case FIN_WAIT1:
    case FIN_WAIT2:
    case TIME_WAIT:
    case CLOSE:
    case LAST_ACK:
    case CLOSING:
        return NETSOCK_HAS_SENT_FIN;
    default:
        return NETSOCK_IS_REAIMED;
    }
}
