/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/latency.h"

#include <string.h>

#include "daemon/core/limits.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"

static const char *const names[LATENCY_COUNT] = {
    [LATENCY_HOLD] = "hold",     [LATENCY_EAGER] = "eager", [LATENCY_GUESS] = "guess",
    [LATENCY_GATHER] = "gather", [LATENCY_DRAIN] = "drain",
};

bool latency_switch_off(uint32_t *without, const char *name)
{
    for (unsigned int i = 0; i < LATENCY_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *without |= UINT32_C(1) << i;
            return true;
        }
    return false;
}

static bool is_on(const struct worker *w, enum latency latency)
{
    return !(w->without & UINT32_C(1) << latency);
}

/* ---- completions that travel together ---- */

/* A request whose answer may be awaited: the two completions may travel together. */
static bool may_wait(const struct op *op)
{
    return (op->verb == VERB_SEND || op->verb == VERB_CONNECT) && !op->error && op->bytes > 0 &&
           op->bytes <= HOLD_BYTES;
}

/*
 * A close that came in front of such a request has no more haste than that. Alone in its turn, or
 * with another's answer held already, it leaves at once.
 */
static bool may_follow(const struct op *op)
{
    const struct transport *t = &op->session->transport;

    return op->verb == VERB_CLOSE && !op->error && transport_is_idle(t) &&
           !deadline_is_set(&t->hold);
}

bool latency_holds(const struct op *op)
{
    struct session *s = op->session;

    if (!is_on(s->worker, LATENCY_HOLD) || (!may_wait(op) && !may_follow(op)))
        return false;
    s->latency.held_id = op->verb == VERB_CLOSE ? 0 : op->socket_id;
    return true;
}

struct sock *latency_awaited(struct session *s)
{
    struct sock *sock = session_sock(s, s->latency.held_id);

    return sock && !ring_is_empty(&sock->receives) && ring_is_empty(&sock->sends) ? sock : NULL;
}

/*
 * Where the other end shares this processor it has answered by now, and no poll is needed to hear
 * of it.
 */
bool latency_reads_at_once(struct session *s)
{
    return is_on(s->worker, LATENCY_EAGER) && !backoff_skips(&s->latency.eager);
}

void latency_has_read(struct session *s, bool has_come)
{
    struct latency_past *past = &s->latency;

    if (has_come) {
        backoff_paid(&past->eager);
        past->eager_misses = 0;
    } else if (past->eager.last > 0 || ++past->eager_misses == EAGER_MISSES) {
        backoff_failed(&past->eager);
    }
}

/* ---- is there more? ---- */

/*
 * All receives were filled to the last byte: whether there is more is not known. Asking costs the
 * next receive a call where there is none, waiting costs it a turn where there is; what was right
 * the last time decides.
 */
bool latency_watches_on(const struct sock *sock)
{
    return is_on(sock->worker, LATENCY_GUESS) && sock->state == SOCK_CONNECTED &&
           sock->receive_side == SIDE_OPEN && !sock->wants_read && !sock->had_more &&
           ring_is_empty(&sock->receives) && !list_is_linked(&sock->node);
}

void latency_had_more(struct sock *sock, bool had_more)
{
    sock->had_more = had_more;
}

/* ---- requests that arrived together ---- */

/* It is not the first of this socket in this input, and there is more behind its frame. */
bool latency_gathers(const struct op *op, const uint8_t *end)
{
    struct session *s = op->session;

    if (!is_on(s->worker, LATENCY_GATHER))
        return false;
    if (s->batch_of)
        return true;
    if (s->latency.last_sent == op->socket_id)
        return transport_has_behind(&s->transport, end);
    s->latency.last_sent = op->socket_id;
    return false;
}

bool latency_gathers_receives(const struct op *op, const uint8_t *end)
{
    struct session *s = op->session;
    bool is_first = s->latency.last_received != op->socket_id;

    s->latency.last_received = op->socket_id;
    return is_on(s->worker, LATENCY_GATHER) && !is_first && !op->sock->wants_read &&
           transport_has_behind(&s->transport, end);
}

/* ---- after FIN ---- */

/* Where epoll has the descriptor, watching costs no call. */
bool latency_watches_later(const struct sock *sock)
{
    if (!is_on(sock->worker, LATENCY_DRAIN))
        return false;
    if (sock->ns.is_lent)
        return netsock_watched(&sock->ns) == 0;
    return !sock->lingers && !netsock_is_polled(&sock->ns, sock->worker);
}
