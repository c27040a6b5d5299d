/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/session_sockets.h"

#include "daemon/session/session.h"
#include "daemon/session/sock.h"

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
