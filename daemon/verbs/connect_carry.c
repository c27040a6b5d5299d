/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A CONNECT that another process continues. Its resolution begins again there, because none of the
 * results has reached the client. The attempts that have begun go on with their descriptors, others
 * begin there. One that is connected, and still sends its data, goes over as a send.
 */
#include <errno.h>
#include <string.h>

#include "daemon/names/host.h"
#include "daemon/session/sock.h"
#include "daemon/session/session.h"
#include "daemon/session/sock_lend.h"
#include "daemon/verbs/connect.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static void save_addresses(const struct happy_eyeballs *he, uint32_t count,
                           struct connect_past *ret)
{
    for (uint32_t i = 0; i < count; i++)
        netsock_endpoint(&he->attempts[i].address.any, &ret->addresses[ret->address_count++]);
}

static void save_attempts(const struct happy_eyeballs *he, struct connect_past *ret)
{
    for (uint32_t i = 0; i < he->count; i++) {
        const struct happy_eyeballs_attempt *attempt = &he->attempts[i];

        if (attempt->ns.fd < 0)
            continue;
        netsock_endpoint(&attempt->address.any, &ret->attempts[ret->attempt_count].address);
        ret->attempts[ret->attempt_count++].fd = attempt->ns.fd;
    }
}

bool connect_save(const struct op *op, struct connect_past *ret)
{
    const struct connect *c = op->send.connect;

    memset(ret, 0, sizeof(*ret));
    if (c->is_unknown_port || (!c->is_by_name && c->he.count == 0))
        return false;
    ret->port = c->port;
    ret->lend = c->lend;
    if (c->is_by_name)
        ret->host = c->host.name;
    else
        save_addresses(&c->he, c->is_up ? 1 : c->he.count, ret);
    save_attempts(&c->he, ret);
    ret->local = c->local;
    ret->remote = c->remote;
    return true;
}

static int restore_addresses(struct connect *c, const struct connect_past *past)
{
    int err = past->address_count > 0 ? 0 : ERR_INVALID_ARGUMENT;

    for (uint32_t i = 0; err == 0 && i < past->address_count; i++)
        err = connect_to_endpoint(c, c->op->sock, &past->addresses[i]);
    return err;
}

static int restore_lending(struct connect *c, uint32_t lend)
{
    if (lend == 0)
        return 0;
    if (lend > LEND_HELD_IF_ALLOWED || c->is_up || c->op->sock->more->dgram)
        return -EINVAL;
    c->lend = (uint8_t)lend;
    c->he.is_apart = true;
    c->lending = lending_restore(c->op);
    return c->lending ? 0 : -ENOMEM;
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
        err = restore_addresses(c, past);
    else if (host_parse(past->host, &c->host) < 0 || c->host.kind == HOST_ADDRESS)
        err = ERR_INVALID_ARGUMENT;
    c->is_by_name = past->host != NULL;
    return err != 0 ? -EINVAL : restore_lending(c, past->lend);
}

bool connect_restore_attempt(struct op *op, const struct endpoint *address, int fd)
{
    struct connect *c = op->send.connect;
    struct sockaddr_storage addr;
    union resolver_address to;
    socklen_t len;

    if (c->is_up || netsock_sockaddr(address, &addr, &len) != 0 || len > sizeof(to))
        return false;
    memcpy(&to, &addr, len);
    return happy_eyeballs_adopt(&c->he, &to, fd);
}

/* The policy that is in force now judges it. */
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
     * An attempt that succeeds here, while the other one goes on with it, would send the request
     * twice.
     */
    resolver_cancel(&connect->queries[0]);
    resolver_cancel(&connect->queries[1]);
    happy_eyeballs_leave(&connect->he);
}
