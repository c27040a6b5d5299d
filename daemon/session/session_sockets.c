/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/session_sockets.h"

#include "daemon/session/session.h"
#include "daemon/session/complete.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "proto/errors.h"

/* These lists are in no order. */
static struct sock *find_lingering(const struct session *s, uint64_t serial)
{
    struct sock *found = NULL;

    list_for_each (&s->lingering, it) {
        struct sock *sock = container_of(it, struct sock, node);

        if (sock->serial >= serial && (!found || sock->serial < found->serial))
            found = sock;
    }
    return found;
}

struct sock *session_sock_from(const struct session *s, uint64_t *place)
{
    struct sock *sock;

    for (; *place < s->slot_count; ++*place)
        if (s->slots[*place].sock)
            return s->slots[*place].sock;
    sock = find_lingering(s,
                          *place < SESSION_PLACE_LINGERING ? 0 : *place - SESSION_PLACE_LINGERING);
    if (sock)
        *place = SESSION_PLACE_LINGERING + sock->serial;
    return sock;
}

/* All of them again, where some have been judged by earlier rules. */
void session_judge_connects(struct session *s)
{
    s->judge_from = 0;
    s->must_judge = true;
    share_wake(&s->share);
    list_for_each (&s->sharing.sharees, it) {
        session_judge_connects(container_of(it, struct session, sharing.place));
    }
}

static void end_judging(struct session *s)
{
    struct op *op;

    s->must_judge = false;
    while ((op = list_first(&s->restricts, struct op, node)))
        complete(op, ERR_SUCCESS);
}

/* Those too whose socket has been closed, with time to send what goes with them. */
void session_judge_step(struct session *s)
{
    struct sock *sock;

    do {
        sock = session_sock_from(s, &s->judge_from);
        if (!sock) {
            end_judging(s);
            return;
        }
        s->judge_from++;
        if (sock->connect)
            sock->connect->class->judge(sock->connect);
        else
            sock_bound_judge_again(sock);
        worker_settle(s->worker); /* what a denied one leaves is of this step, too */
    } while (!share_step_is_over(&s->worker->shares));
}
