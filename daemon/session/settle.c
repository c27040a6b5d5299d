/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/settle.h"

#include "daemon/session/session.h"
#include "daemon/session/sock.h"

static void settle(struct sock *sock)
{
    bool has_lost_connect = sock->has_lost_connect && sock->state == SOCK_CONNECTING;

    sock->has_lost_connect = false;
    if (has_lost_connect)
        sock_connect_failed(sock);
    else
        sock_update_watch(sock);
    if (sock->lingers)
        sock_close_continue(sock);
}

/* What it ends may put more into the list, the same sockets too; each time fewer ops are left. */
void session_run_settle(struct task *task)
{
    struct session *s = container_of(task, struct session, settle);
    struct sock *sock;

    while ((sock = list_first(&s->settling, struct sock, ready))) {
        list_remove(&sock->ready);
        if (sock->events)
            list_append(&s->ready, &sock->ready);
        settle(sock);
    }
}
