/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must hold of the daemon's listeners between any two turns. */
#include "tests/sim/bound.h"

#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "tests/sim/kernel.h"

static bool is_listed(const struct sock *sock, const struct op *op)
{
    list_for_each (&sock->more->bound->accepts, it)
        if (container_of(it, struct op, node) == op)
            return true;
    return false;
}

/* An id that is kept for a connection belongs to one op, which waits. */
static void check_slots(const struct session *s)
{
    for (uint32_t id = 1; id < s->slot_count; id++) {
        const struct op *op = s->slots[id].accept;

        if (!op)
            continue;
        if (s->slots[id].sock)
            sim_fail("kept-twice: id %u of session %llu", id, (unsigned long long)s->id);
        if (op->session != s || !op->sock || !op->sock->more->bound || !is_listed(op->sock, op))
            sim_fail("kept-for-nobody: id %u of session %llu", id, (unsigned long long)s->id);
    }
}

/* Connections that were let in or refused are those that the kernel has accepted. */
static void check_counts(const struct sock *sock)
{
    const struct kfile *file = fd_file(sock->ns.fd);
    uint64_t taken = 0;

    if (file && file->kind == FILE_UDP && sock->more->dgram)
        return; /* every datagram comes by the socket itself */
    if (!file || file->kind != FILE_TCP)
        sim_fail("unbound: socket %llu has no descriptor", (unsigned long long)sock->serial);
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        taken += kernel.tcps[i]->in.listener == file->u.tcp && kernel.tcps[i]->in.is_taken;
    if (taken != sock->more->bound->accepted + sock->more->bound->refused)
        sim_fail("miscounted: %llu connections of a listener, %llu and %llu counted",
                 (unsigned long long)taken, (unsigned long long)sock->more->bound->accepted,
                 (unsigned long long)sock->more->bound->refused);
    if (sock->more->bound->charged < (uint64_t)sock->more->bound->backlog * KERNEL_BUFFER_MIN)
        sim_fail("uncharged: %llu bytes for a backlog of %u",
                 (unsigned long long)sock->more->bound->charged, sock->more->bound->backlog);
    if ((file->u.tcp->state == TCP_LISTENING) != (sock->state == SOCK_LISTENING))
        sim_fail("half-listening: socket %llu", (unsigned long long)sock->serial);
}

/* An accept that can be served has been served, or will be without a further event. */
static void check_waits(const struct sock *sock)
{
    bool waits = !list_is_empty(&sock->more->bound->accepts);

    if (waits && sock->state != SOCK_LISTENING)
        sim_fail("waits-for-nothing: socket %llu does not listen",
                 (unsigned long long)sock->serial);
    if (waits && !sock->wants_read && !list_is_linked(&sock->node) &&
        !list_is_linked(&sock->ready) && !sock->session->has_ended)
        sim_fail("waits-forever: an accept of socket %llu", (unsigned long long)sock->serial);
}

void bound_check(const struct session *s)
{
    check_slots(s);
    for (uint32_t id = 1; id < s->slot_count; id++) {
        const struct sock *sock = s->slots[id].sock;

        if (!sock || !sock->more->bound)
            continue;
        if (sock->state == SOCK_BOUND || sock->state == SOCK_LISTENING)
            check_counts(sock);
        check_waits(sock);
    }
}
