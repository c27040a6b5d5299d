/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A CONNECT that another process continues. One in progress begins again there, from the resolution
 * on, because none of its results has reached the client. One that is connected, and still sends
 * its data, goes over as a send.
 */
#include <errno.h>
#include <string.h>

#include "daemon/names/host.h"
#include "daemon/session/sock.h"
#include "daemon/session/session.h"
#include "daemon/verbs/connect.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

bool connect_save(const struct op *op, struct connect_past *ret)
{
    const struct connect *c = op->send.connect;

    memset(ret, 0, sizeof(*ret));
    if (c->lend || c->lending || c->is_unknown_port || (!c->is_by_name && c->he.count != 1))
        return false;
    ret->port = c->port;
    if (c->is_by_name)
        ret->host = c->host.name;
    else
        netsock_endpoint(&c->he.attempts[0].address.any, &ret->endpoint);
    ret->local = c->local;
    ret->remote = c->remote;
    return true;
}

int connect_restore(struct op *op, const struct connect_past *past, bool is_up)
{
    struct connect *c = connect_new(op->session);
    int err = 0;

    if (!c)
        return -ENOMEM;
    connect_init(c, op);
    c->port = past->port;
    c->local = past->local;
    c->remote = past->remote;
    c->is_up = is_up;
    if (!past->host)
        err = connect_to_endpoint(c, op->sock, &past->endpoint);
    else if (host_parse(past->host, &c->host) < 0 || c->host.kind == HOST_ADDRESS)
        err = ERR_INVALID_ARGUMENT;
    c->is_by_name = past->host != NULL;
    return err != 0 ? -EINVAL : 0;
}

/* Begins the resolution, or happy eyeballs, again. The policy that is in force now judges it. */
void connect_resume(struct op *op)
{
    connect_start(op);
}

void connect_leave(struct op *op)
{
    struct connect *connect = op->send.connect;
    struct sock_audit *audit = &connect->audit;

    sock_audit_drop(audit);
    audit->is_open = audit->is_denied = false;
    /*
     * An attempt that succeeds here, while the other one begins again, would send the request
     * twice.
     */
    resolver_cancel(&connect->queries[0]);
    resolver_cancel(&connect->queries[1]);
    happy_eyeballs_stop(&connect->he);
}
