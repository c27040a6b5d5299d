/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * BIND: binds a socket to a local address of the client's choice.
 * Happy path: policy allows listening there -> a kernel socket with the socket's options is bound
 * -> the completion reports the address and port.
 * Failures, which leave the socket unchanged: it is bound, connecting or connected already; the
 * address is of another family or not the host's; policy; the port is in use or reserved for
 * another client; no capability for a low port; no descriptor.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/quota.h"
#include "daemon/net/udp.h"
#include "daemon/policy/listen.h"
#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"
#include "daemon/verbs/verbs.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

/* If the kernel chooses so many reserved ports in a row, the bind fails. */
#define BIND_TRIES 16u

static void bind_fill(struct op *op, struct reply *reply, const void **payload,
                      uint32_t *payload_len)
{
    (void)payload;
    (void)payload_len;
    if (op->error)
        return;
    reply->body = BODY_CONNECTED;
    memset(&reply->connected, 0, sizeof(reply->connected));
    reply->connected.local = op->bound;
}

static const struct op_class bind_class = {
    .name = "bind",
    .fill = bind_fill,
};

static int check_state(struct op *op)
{
    if (op->sock->more->dgram && op->sock->ns.fd >= 0 && !op->sock->more->bound) {
        op->text = "the socket already has a port, because it has sent a datagram";
        return ERR_INVALID_ARGUMENT;
    }
    switch (op->sock->state) {
    case SOCK_OPEN:
        return 0;
    case SOCK_FAILED:
        return ERR_OPERATION_ABORTED;
    case SOCK_BOUND:
    case SOCK_LISTENING:
        op->text = "the socket is already bound";
        return ERR_INVALID_ARGUMENT;
    default:
        op->text = "the socket is already connected or connecting";
        return ERR_INVALID_ARGUMENT;
    }
}

static int check_endpoint(const struct sock *sock, const struct endpoint *endpoint)
{
    if (endpoint->malformed || endpoint->address_len == 0)
        return ERR_INVALID_ARGUMENT;
    if (sock->family != FAMILY_ANY &&
        endpoint->address_len != (sock->family == FAMILY_INET ? 4 : 16))
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    return 0;
}

/* Judges the address now, and records a denial. */
static bool is_allowed(struct op *op)
{
    struct sock *sock = op->sock;
    struct policy_answer answer = sock_bound_judge(sock);

    if (answer.is_allowed)
        return true;
    sock_audit_listen_denied(sock, NULL, &answer);
    sock->worker->stats.listens_denied++;
    op->text = answer.reason;
    return false;
}

static int prepare_socket(struct sock *sock, struct netsock *ns)
{
    const struct policy_egress *egress = &policy_view_settings(session_view(sock->session))->egress;
    bool is_reuse_set = sock->more->options &&
                        sock->more->options->set & UINT32_C(1) << OPTION_REUSE_ADDRESS;
    int r = sock_may_have_options(sock) ? 0 : -EACCES;

    if (r == 0)
        r = netsock_apply_device(ns, egress);
    if (r == 0 && sock->more->dgram)
        r = sock_fix_buffers(sock, ns);
    /*
     * A restarted server must not wait for its old connections in TIME_WAIT. Two UDP sockets would
     * share the port.
     */
    if (r == 0 && !is_reuse_set && !sock->more->dgram)
        r = netsock_set_option(ns, OPTION_REUSE_ADDRESS, 1);
    if (r == 0)
        r = netsock_set_option(ns, OPTION_DUAL_MODE, sock->more->bound->is_dual);
    return r == 0 ? netsock_apply_options(ns, sock->more->options) : r;
}

/*
 * One attempt. -EADDRINUSE: also if the kernel has chosen a port that is reserved for another
 * client.
 */
static int bind_socket(struct sock *sock)
{
    struct sock_bound *bound = sock->more->bound;
    struct sockaddr_storage addr;
    socklen_t len = asock_endpoint_to(&bound->asked, &addr);
    int r = sock->more->dgram ? udp_open(&sock->ns, sock->worker, addr.ss_family)
                              : netsock_open(&sock->ns, sock->worker, addr.ss_family);

    if (r == 0)
        r = prepare_socket(sock, &sock->ns);
    if (r == 0)
        r = netsock_bind(&sock->ns, (const struct sockaddr *)&addr, len);
    if (r == 0)
        r = netsock_local(&sock->ns, &bound->local);
    if (r == 0 && bound->asked.port == 0 && sock_bound_is_reserved(sock))
        r = -EADDRINUSE;
    if (r < 0)
        netsock_close(&sock->ns, sock->worker);
    return r;
}

static int bind_or_explain(struct op *op)
{
    struct sock *sock = op->sock;
    uint16_t port = sock->more->bound->asked.port;
    int r = -EADDRINUSE;

    for (unsigned int i = 0; i < (port ? 1 : BIND_TRIES) && r == -EADDRINUSE; i++)
        r = bind_socket(sock);
    if (r == -EACCES && port > 0 && port < 1024)
        op->text = "the daemon may not bind to ports below 1024: it lacks CAP_NET_BIND_SERVICE";
    return r;
}

static bool is_dual(const struct sock *sock, const struct endpoint *endpoint)
{
    return endpoint->address_len == 16 && sock_dual_mode(sock);
}

/*
 * A datagram socket is at work from here on: its buffers are there, and whoever may know of it
 * does.
 */
static int bind_datagrams(struct op *op)
{
    struct sock *sock = op->sock;
    struct sock_audit audit = {.is_on = false};
    int r;

    if (!sock_audit_begin(sock, &audit)) {
        op->text = "the audit is unavailable, and the policy requires a record";
        return ERR_ACCESS_DENIED;
    }
    r = dgram_bound(sock);
    if (r == 0)
        r = bind_or_explain(op);
    if (r == 0) {
        sock->family = sock->more->bound->local.address_len == 16 ? FAMILY_INET6 : FAMILY_INET;
        sock_audit_listen(sock, &audit);
        return 0;
    }
    sock_audit_drop(&audit);
    sock_uncharge_buffers(sock);
    if (r == -ENOBUFS)
        op->text = SOCK_BUFFERS_TEXT;
    return r;
}

int verb_bind(struct op *op, const struct call *call)
{
    const struct endpoint *endpoint = &call->request->bind.endpoint;
    struct sock *sock = op->sock;
    int err = check_state(op);

    if (err == 0)
        err = check_endpoint(sock, endpoint);
    if (err != 0)
        return err;
    if (sock_bound_new(sock) < 0) {
        op->text = "too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    sock->more->bound->asked = sock->more->bound->local = *endpoint;
    sock->more->bound->is_dual = is_dual(sock, endpoint);
    if (!is_allowed(op))
        err = ERR_ACCESS_DENIED;
    else
        err = sock->more->dgram ? bind_datagrams(op) : bind_or_explain(op);
    if (err < 0)
        err = (int)asock_error_from_errno(err);
    if (err != 0) {
        dgram_unbound(sock);
        sock_bound_drop(sock);
        return err;
    }
    op->class = &bind_class;
    op->bound = sock->more->bound->local;
    sock_move(sock, SOCK_BOUND);
    complete(op, ERR_SUCCESS);
    if (sock->more->dgram)
        sock_run_receives(sock);
    return 0;
}
