/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must hold of the daemon's listeners, and of its reports, between any two turns. */
#include "tests/sim/bound.h"

#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/verbs/verbs.h"
#include "tests/sim/kernel.h"

static bool is_listed(const struct sock *sock, const struct op *op)
{
    list_for_each (&sock->more->bound->accepts, it)
        if (container_of(it, struct op, node) == op)
            return true;
    return false;
}

static uint32_t check_accept(const struct session *s, const struct op *op)
{
    uint32_t first, end;

    if (!op->sock || !op->sock->more->bound || !is_listed(op->sock, op))
        sim_fail("unlisted: an ACCEPT of session %llu", (unsigned long long)s->id);
    accept_save(op, &first, &end);
    for (uint32_t id = first; id < end; id++)
        if (!s->kept[id])
            sim_fail("not-kept: id %u of session %llu", id, (unsigned long long)s->id);
    return end - first;
}

/* An id that is kept for a connection belongs to one op, which waits. */
static void check_slots(const struct session *s)
{
    uint32_t kept = 0, owned = 0;

    for (uint32_t id = 1; id < s->slot_count; id++) {
        kept += s->kept[id];
        if (s->kept[id] && s->slots[id].sock)
            sim_fail("kept-twice: id %u of session %llu", id, (unsigned long long)s->id);
    }
    for (uint32_t i = 0; i < s->token_buckets; i++)
        for (const struct op *op = s->tokens[i]; op; op = op->hash_next)
            owned += op->verb == VERB_ACCEPT ? check_accept(s, op) : 0;
    if (kept != owned)
        sim_fail("kept-for-nobody: %u ids of session %llu, its ACCEPTs have %u", kept,
                 (unsigned long long)s->id, owned);
}

/* What is free again is reported to the client at some time, and to no other socket's. */
static void check_reports(const struct session *s)
{
    for (uint32_t id = 0; id < s->slot_cap; id++) {
        const struct sock *sock = s->slots[id].sock;
        bool is_marked = s->unreported_ids[id / 64] >> id % 64 & 1;

        if (is_marked && !sock)
            sim_fail("reports-nobody: id %u of session %llu", id, (unsigned long long)s->id);
        if (sock && !is_marked && !s->has_ended &&
            (sock->send_freed > 0 || sock->ops_freed > 0 || sock->has_killed_event))
            sim_fail("never-reported: socket %llu", (unsigned long long)sock->serial);
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
    check_reports(s);
    for (uint32_t id = 1; id < s->slot_count; id++) {
        const struct sock *sock = s->slots[id].sock;

        if (!sock || !sock->more->bound)
            continue;
        if (sock->state == SOCK_BOUND || sock->state == SOCK_LISTENING)
            check_counts(sock);
        check_waits(sock);
    }
}
