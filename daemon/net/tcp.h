/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_NETSOCK_H
#define ASOCKD_NETSOCK_H

/*
 * The kernel side of a socket: a descriptor, its watcher, its options. A system call is tried
 * first; the watcher is armed when it answers EAGAIN. libev is level-triggered, so the owner
 * disarms the watcher when it has no work.
 */
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "daemon/core/loop.h"
#include "proto/codec.h"

struct policy_egress;

#define NETSOCK_TURN_BITS 26 /* of the worker's turns */

struct netsock {
    struct ev_io io;                   /* io.data: the owner's */
    int fd;                            /* -1: none */
    uint32_t turn : NETSOCK_TURN_BITS; /* in which the watcher was started last */
    uint32_t is_polled : 1;     /* it was watched at the end of a turn: the kernel's epoll has it */
    uint32_t is_apart : 1;      /* apart.h watches it, not libev */
    uint32_t is_lent : 1;       /* the client has a descriptor too: netsock_revoke() ends it */
    uint32_t both_ended : 1;    /* it is lent, and both sides had ended when the kernel was asked */
    uint32_t watched_apart : 2; /* EV_READ, EV_WRITE: the events that apart.h watches for */
};

/* Options as a client sets them; kept over attempts (S20). */
#define NETSOCK_OPTIONS 18
struct netsock_options {
    uint32_t set; /* a bit per enum option */
    int32_t values[NETSOCK_OPTIONS + 1];
};

void netsock_init(struct netsock *ns, void (*event)(struct ev_loop *, struct ev_io *, int),
                  void *owner);
/* A non-blocking TCP socket, charged to the worker. 0, -EMFILE, other -errno. */
int netsock_open(struct netsock *ns, struct worker *w, int family);
void netsock_close(struct netsock *ns, struct worker *w);
/* Returns the descriptor, for netsock_adopt(); it stays charged to the worker. */
int netsock_release(struct netsock *ns, struct worker *w);
void netsock_adopt(struct netsock *ns, int fd, bool is_polled);
/*
 * Ends a lent connection for all its holders, which close() alone would not do, and closes the
 * daemon's descriptor. The peer gets RST, unless both sides have sent FIN. netsock_abort() calls it
 * if the socket is_lent, and netsock_close() unless both sides have ended.
 */
void netsock_revoke(struct netsock *ns, struct worker *w);
void netsock_dissolve(int fd); /* the same; the descriptor stays open */
/*
 * Closes the daemon's descriptor of a socket that was given to its client; the connection goes on.
 */
void netsock_give(struct netsock *ns, struct worker *w);
/*
 * close(2) of a socket that another process has or had: never waits for a linger time that it has
 * set.
 */
void netsock_close_lent(int fd);
/* The peer gets RST. */
void netsock_abort(struct netsock *ns, struct worker *w);

/*
 * Call it before a connect that data follows at once: the last acknowledgement of the handshake
 * travels with the data.
 */
void netsock_expect_data(struct netsock *ns);
/* 0: connected, -EINPROGRESS, other -errno. */
int netsock_connect(struct netsock *ns, const struct sockaddr *addr, socklen_t len);
int netsock_connect_result(struct netsock *ns); /* 0 or -errno, once writable */
ssize_t netsock_send(struct netsock *ns, const struct iovec *iov, int count);
ssize_t netsock_receive(struct netsock *ns, void *buf, size_t len, int flags);
ssize_t netsock_receive_list(struct netsock *ns, const struct iovec *iov, int count, int flags);
/*
 * True: the kernel has no memory for now. After any other error the connection is lost; the kernel
 * reports it once.
 */
static inline bool netsock_is_transient(ssize_t err)
{
    return err == -ENOMEM || err == -ENOBUFS;
}
/* Drops up to len bytes of input. */
ssize_t netsock_discard(struct netsock *ns, size_t len);
int netsock_shutdown(struct netsock *ns, int how);
/* Bytes that the peer's kernel has not acknowledged, a FIN counts as one; or -errno. */
int netsock_unacknowledged(const struct netsock *ns);

/*
 * events: EV_READ, EV_WRITE, both or 0. A watch that stops in the turn in which it started costs no
 * system call.
 */
void netsock_watch(struct netsock *ns, struct worker *w, int events);
static inline uint32_t netsock_turn(const struct worker *w)
{
    return (uint32_t)w->stats.turns & ((UINT32_C(1) << NETSOCK_TURN_BITS) - 1);
}
/*
 * True: the kernel's epoll has the descriptor, so it reports errors and hang-ups even if no event
 * is watched.
 */
static inline bool netsock_is_polled(const struct netsock *ns, const struct worker *w)
{
    return ns->is_polled || (ev_is_active(&ns->io) && ns->turn != netsock_turn(w));
}
static inline int netsock_watched(const struct netsock *ns)
{
    if (ns->is_apart)
        return ns->watched_apart;
    return ev_is_active(&ns->io) ? ns->io.events & (EV_READ | EV_WRITE) : 0;
}

/* ERR_SUCCESS, ERR_PROTOCOL_OPTION (unknown, read-only), ERR_INVALID_ARGUMENT (range). */
int netsock_check_option(uint32_t option, int64_t value);
int netsock_set_option(struct netsock *ns, uint32_t option, int32_t value);
/* What buffers may grow to. */
void netsock_buffer_limits(struct netsock_buffers *ret);
/* -errno */
int netsock_get_option(const struct netsock *ns, uint32_t option, int64_t *ret);
/* Applies all that are set; returns the first error, -errno. */
int netsock_apply_options(struct netsock *ns, const struct netsock_options *options);
/*
 * Sets the source and device that policy prescribes, before a connect to `to`. -EADDRNOTAVAIL: they
 * do not exist.
 */
int netsock_apply_egress(struct netsock *ns, const struct policy_egress *egress,
                         const struct sockaddr *to);

/* Sets only the device, for a socket that is bound to a local address. */
int netsock_apply_device(struct netsock *ns, const struct policy_egress *egress);
int netsock_bind(struct netsock *ns, const struct sockaddr *addr, socklen_t len); /* -errno */
int netsock_listen(struct netsock *ns, int backlog);                              /* -errno */
/*
 * Accepts the next connection into ret, which has no descriptor; charged to the worker. -EAGAIN,
 * -EMFILE, other -errno.
 */
int netsock_accept(struct netsock *listener, struct netsock *ret, struct worker *w,
                   struct endpoint *ret_peer);

int netsock_local(const struct netsock *ns, struct endpoint *ret);
int netsock_remote(const struct netsock *ns, struct endpoint *ret);
/* The kernel has an error that no call has returned yet. The error stays there. */
bool netsock_has_error(const struct netsock *ns);
/*
 * Bytes received from the peer and sent to it, over a connection that another process uses. True:
 * both sides have ended it, and these are the last ones.
 */
bool netsock_bytes(const struct netsock *ns, uint64_t *ret_in, uint64_t *ret_out);
enum netsock_use {
    NETSOCK_IS_OPEN,
    NETSOCK_HAS_SENT_FIN, /* the client has sent FIN, or the connection is over */
    NETSOCK_IS_REAIMED, /* the client uses the socket for another connection, or listens with it */
};
enum netsock_use netsock_use(const struct netsock *ns);
/* Bytes that have arrived and were not received; -errno. */
int netsock_available(const struct netsock *ns);
int netsock_tcp_info(const struct netsock *ns, void *out, size_t *len);

/* ERR_INVALID_ARGUMENT, and ret_len 0: the endpoint is invalid. */
int netsock_sockaddr(const struct endpoint *endpoint, struct sockaddr_storage *ret,
                     socklen_t *ret_len);
void netsock_endpoint(const struct sockaddr *addr, struct endpoint *ret);

#endif
