/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/idle.h"

#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_idle.h"
#include "tests/sim/kernel.h"
#include "tests/sim/model.h"
#include "tests/sim/raw.h"
#include "tests/sim/sim.h"

/* A turn that was late leaves deadlines to the next one. */
#define LATE_MS 1500u
/* The daemon reads its clock once in a turn. */
#define TURN_MS 100u

static struct tcp *connection_of(const struct sock *sock)
{
    const struct kfile *file = sock->ns.fd >= 0 ? fd_file(sock->ns.fd) : NULL;

    return file && file->kind == FILE_TCP ? file->u.tcp : NULL;
}

static struct tcp *find(uint64_t serial)
{
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        if (kernel.tcps[i]->serial == serial)
            return kernel.tcps[i];
    return NULL;
}

void idle_begin(void)
{
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        kernel.tcps[i]->serial = 0;
}

/* Who has it learns of it as of a KILL. A program may not know yet which connection it has. */
static void note_ended(const struct tcp *tcp)
{
    for (struct stream *stream = model.streams; stream; stream = stream->next)
        stream->was_killed |= !stream->tcp || stream->tcp == tcp || tcp->in.listener;
    raw_killed();
}

static void check_ended(const struct sock *sock)
{
    struct tcp *tcp = find(sock->serial);

    if (!tcp)
        return;
    tcp->serial = 0;
    sim_trace("tcp %u: idle, ended", tcp->index);
    if (sim_now_ms() + TURN_MS < tcp->moved + IDLE_MS)
        sim_fail("not-idle: connection %u was ended, and something moved %llu ms ago", tcp->index,
                 (unsigned long long)(sim_now_ms() - tcp->moved));
    note_ended(tcp);
}

static void check_open(const struct sock *sock)
{
    struct tcp *tcp = connection_of(sock);
    bool is_watched = sock->more->idle && sock->state == SOCK_CONNECTED;
    uint64_t due;

    if (!tcp || sock->more->bound)
        return;
    /* Without memory it is not watched; the next process may have some, and begins then. */
    if (!tcp->serial || !is_watched)
        tcp->moved = sim_now_ms();
    tcp->serial = is_watched ? sock->serial : 0;
    due = (tcp->moved > model.stopped_until ? tcp->moved : model.stopped_until) + IDLE_MS;
    /* A daemon that takes over after that begins with it, and so may the next one. */
    if (due < model.carried)
        due = model.carried;
    if (is_watched && sim_now_ms() > due + LATE_MS)
        sim_fail("idle-stays: nothing moves on connection %u for %llu ms", tcp->index,
                 (unsigned long long)(sim_now_ms() - tcp->moved));
}

void idle_check(const struct worker *w)
{
    const struct sock *sock;

    if (!(sim.faults & 1u << FAULT_IDLE))
        return;
    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        session_for_each_sock (s, sock) {
            if (sock->killer == KILLER_IDLENESS)
                check_ended(sock);
            else
                check_open(sock);
        }
    }
}
