/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CONNECT.
 * Happy path: (a name is resolved,) each address is judged and tried in turn until one answers; what
 * is queued behind runs; data that came along goes first, and the op completes when the kernel has it.
 * Failures: connected or connecting already (the connection is unharmed), policy, the resolver, every
 * address (the last real error), no descriptor, cancel, deadline, close: nothing of it stays behind,
 * and what is queued behind ends OPERATION_ABORTED.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/complete.h"
#include "daemon/host.h"
#include "daemon/policy.h"
#include "daemon/resolver.h"
#include "daemon/services.h"
#include "daemon/session.h"
#include "daemon/sock.h"
#include "daemon/verbs.h"
#include "proto/errors.h"

struct connect {
    struct op *op;
    struct resolver_query query;
    struct host host;
    bool is_by_name;
    bool is_up;           /* connected; its data may still be going */
    uint16_t port;        /* host byte order */
    uint32_t next, count; /* of the addresses */
    uint32_t error;       /* of the last attempt, or the denial's when there was none */
    const char *reason;   /* of the last denial */
    struct endpoint local, remote;
    union resolver_address addresses[CONNECT_ADDRESSES];
};

static socklen_t address_len(const union resolver_address *addr)
{
    return addr->any.sa_family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6);
}

static struct policy_answer ask(const struct connect *c, const struct sockaddr *addr)
{
    const struct session *s = c->op->session;
    struct policy_question question = {
        .peer = &s->peer,
        .listener = s->listener,
        .host = c->is_by_name ? c->host.name : NULL,
        .port = c->port,
        .addr = addr,
    };

    return policy_judge(s->worker->policy, &question);
}

static void fail(struct op *op, uint32_t error)
{
    op->text = op->send.connect->reason;
    if (error == ERR_ACCESS_DENIED)
        op->session->worker->stats.connects_denied++;
    complete(op, error);
}

static void succeed(struct op *op)
{
    struct connect *c = op->send.connect;
    struct sock *sock = op->sock;

    netsock_local(&sock->ns, &c->local);
    netsock_remote(&sock->ns, &c->remote);
    c->is_up = true;
    c->error = ERR_SUCCESS;
    c->reason = NULL;
    sock->connect = NULL;
    sock_connect_succeeded(sock);
    if (op->send.total > 0)
        list_prepend(&sock->sends, &op->node);
    else
        complete(op, ERR_SUCCESS);
    sock_run_sends(sock);
    sock_run_receives(sock);
}

/* 0: connected; -EINPROGRESS; other -errno: the next address may do better. */
static int attempt(struct op *op, const union resolver_address *addr)
{
    struct sock *sock = op->sock;
    int r;

    netsock_close(&sock->ns, sock->worker);
    r = netsock_open(&sock->ns, sock->worker, addr->any.sa_family);
    if (r < 0)
        return r;
    r = netsock_apply_options(&sock->ns, sock->options);
    if (r < 0)
        return r;
    return netsock_connect(&sock->ns, &addr->any, address_len(addr));
}

/* Denied addresses are passed over; their error counts only while no attempt was made. */
static bool is_denied(struct connect *c, const union resolver_address *addr)
{
    struct policy_answer answer = ask(c, &addr->any);

    if (answer.is_allowed)
        return false;
    if (c->error == ERR_SUCCESS) {
        c->error = ERR_ACCESS_DENIED;
        c->reason = answer.reason;
    }
    return true;
}

static void try_next(struct op *op)
{
    struct connect *c = op->send.connect;

    while (c->next < c->count) {
        const union resolver_address *addr = &c->addresses[c->next++];
        int r;

        if (is_denied(c, addr))
            continue;
        r = attempt(op, addr);
        if (r == 0) {
            succeed(op);
            return;
        }
        if (r == -EINPROGRESS) {
            op->sock->wants_write = true;
            sock_update_watch(op->sock);
            return;
        }
        c->error = asock_error_from_errno(r);
        c->reason = NULL;
    }
    fail(op, c->error);
}

/* While connecting the event is the attempt's result; afterwards the op is a send. */
static int connect_step(struct op *op)
{
    struct connect *c = op->send.connect;
    int r;

    if (c->is_up)
        return send_step(op);
    r = netsock_connect_result(&op->sock->ns);
    if (r == 0) {
        succeed(op);
        return 1;
    }
    c->error = asock_error_from_errno(r);
    c->reason = NULL;
    try_next(op);
    return 1;
}

static void connect_stop(struct op *op)
{
    resolver_cancel(&op->send.connect->query);
}

static void connect_cleanup(struct op *op)
{
    op->send.connect = mem_free(op->send.connect);
}

static void connect_fill(struct op *op, struct reply *reply, const void **payload,
                         uint32_t *payload_len)
{
    const struct connect *c = op->send.connect;

    (void)payload;
    (void)payload_len;
    reply->body = BODY_CONNECTED;
    memset(&reply->connected, 0, sizeof(reply->connected));
    reply->connected.local = c->local;
    reply->connected.remote = c->remote;
    if (c->is_by_name && !c->is_up)
        reply->connected.connect_error = c->error;
}

static const struct op_class connect_class = {
    .name = "connect",
    .step = connect_step,
    .stop = connect_stop,
    .cleanup = connect_cleanup,
    .fill = connect_fill,
};

static void set_port(union resolver_address *addr, uint16_t port)
{
    if (addr->any.sa_family == AF_INET)
        addr->in.sin_port = htons(port);
    else
        addr->in6.sin6_port = htons(port);
}

static void on_resolved(struct resolver_query *query, const struct resolver_result *result)
{
    struct connect *c = container_of(query, struct connect, query);

    if (result->error != ERR_SUCCESS) {
        c->error = result->error;
        fail(c->op, result->error);
        return;
    }
    for (unsigned int i = 0; i < result->count && i < CONNECT_ADDRESSES; i++) {
        c->addresses[i] = result->addresses[i];
        set_port(&c->addresses[i], c->port);
        c->count++;
    }
    try_next(c->op);
}

static int family_of(const struct sock *sock)
{
    static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};

    return families[sock->family];
}

/* An address, however it was written: no name is involved from here on. */
static int take_address(struct connect *c, const struct sock *sock, const void *addr, size_t len)
{
    memcpy(&c->addresses[0], addr, len);
    c->count = 1;
    set_port(&c->addresses[0], c->port);
    if (sock->family != FAMILY_ANY && c->addresses[0].any.sa_family != family_of(sock))
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    return 0;
}

static int prepare_endpoint(struct connect *c, const struct sock *sock,
                            const struct endpoint *endpoint)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int err = netsock_sockaddr(endpoint, &addr, &len);

    if (err != 0)
        return err;
    c->port = endpoint->port;
    return take_address(c, sock, &addr, len);
}

static int prepare_host(struct connect *c, const struct sock *sock, const struct request *r)
{
    int err = services_port(r->connect.service ? r->connect.service : "", NULL, &c->port);

    if (err == -ENOENT || err == -EINVAL || host_parse(r->connect.host, &c->host) < 0)
        return ERR_INVALID_ARGUMENT;
    if (err < 0)
        return (int)asock_error_from_errno(err);
    if (c->host.kind == HOST_ADDRESS)
        return take_address(c, sock, &c->host.address, sizeof(c->host.address));
    c->is_by_name = true;
    return 0;
}

static int prepare(struct connect *c, const struct sock *sock, const struct request *r)
{
    bool has_endpoint = r->connect.endpoint.address_len != 0 || r->connect.endpoint.malformed;

    if (has_endpoint == (r->connect.host != NULL) || (has_endpoint && r->connect.service))
        return ERR_INVALID_ARGUMENT;
    return has_endpoint ? prepare_endpoint(c, sock, &r->connect.endpoint)
                        : prepare_host(c, sock, r);
}

static void start_resolving(struct op *op)
{
    struct connect *c = op->send.connect;
    struct policy_answer answer = ask(c, NULL);
    int r;

    if (!answer.is_allowed) {
        c->error = ERR_ACCESS_DENIED;
        c->reason = answer.reason;
        fail(op, ERR_ACCESS_DENIED);
        return;
    }
    r = resolver_start(op->session->worker->resolver, &c->query, c->host.name, family_of(op->sock),
                       on_resolved);
    if (r < 0) {
        c->error = asock_error_from_errno(r);
        fail(op, c->error);
    }
}

static int check_connect(const struct sock *sock)
{
    if (sock->state == SOCK_CONNECTING)
        return ERR_ALREADY_IN_PROGRESS;
    return sock->state == SOCK_CONNECTED ? ERR_IS_CONNECTED : 0;
}

/* A socket that failed to connect may try again: nothing of the last time stays. */
static void begin(struct op *op, uint32_t timeout_ms)
{
    struct sock *sock = op->sock;

    sock_move(sock, SOCK_CONNECTING);
    sock->send_side = sock->receive_side = SIDE_OPEN;
    sock->is_incomplete = sock->has_seen_end = false;
    sock->connect = op;
    op->has_begun = true;
    sock_hold_op(sock, op, timeout_ms);
}

int verb_connect(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    struct connect *c;
    int err = check_connect(sock);

    if (err != 0)
        return err;
    c = mem_zalloc(1, sizeof(*c));
    if (!c)
        return ERR_NO_BUFFER_SPACE;
    c->op = op;
    op->send.connect = c;
    op->class = &connect_class;
    op->send.total = call->payload_len;
    err = prepare(c, sock, r);
    if (err != 0)
        return err;
    if (op_append_chunk(op, call->payload, call->payload_len) < 0)
        return ERR_NO_BUFFER_SPACE;
    begin(op, r->timeout_ms);
    if (c->is_by_name)
        start_resolving(op);
    else
        try_next(op);
    return 0;
}
