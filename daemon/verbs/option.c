/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SET_OPTION, GET_OPTION.
 * Happy path: a value that is set is stored with the socket and applied to the kernel's socket, to
 * each attempt of a connect in progress, and to each attempt that a later connect makes. While
 * there is no kernel socket, values are read from one that is created for the answer.
 * Failures: unknown option, value out of range, read-only, an endpoint of a socket that has none,
 * the kernel's refusal, no descriptor, no memory.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/session/complete.h"
#include "daemon/net/udp.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static void value_cleanup(struct op *op)
{
    op->value.endpoint = mem_free(op->value.endpoint);
    op->value.bytes = mem_free(op->value.bytes);
}

static void value_fill(struct op *op, struct reply *reply, const void **payload,
                       uint32_t *payload_len)
{
    if (op->error)
        return;
    if (op->value.bytes) {
        *payload = op->value.bytes->data;
        *payload_len = (uint32_t)op->value.bytes->len;
        return;
    }
    reply->body = BODY_VALUE;
    memset(&reply->value, 0, sizeof(reply->value));
    reply->value.is_set = true;
    reply->value.number = op->value.number;
    if (op->value.endpoint)
        reply->value.endpoint = *op->value.endpoint;
}

static const struct op_class value_class = {
    .name = "get option",
    .cleanup = value_cleanup,
    .fill = value_fill,
};

/* While the socket connects, each attempt gets the option: any of them may win. */
static int apply(struct sock *sock, uint32_t option, int32_t value)
{
    /* A datagram socket may have a kernel socket already, which it keeps. */
    return sock->connect && sock->ns.fd < 0 ? connect_set_option(sock->connect, option, value)
                                            : netsock_set_option(&sock->ns, option, value);
}

static bool is_multicast(const struct endpoint *group)
{
    return group->address_len == 16 ? group->address[0] == 0xff
                                    : group->address_len == 4 && group->address[0] >> 4 == 0xe;
}

/* Behind op->text; the cleanup frees it. NULL without memory. */
static const char *keep_text(struct op *op, const char *text)
{
    size_t size = strlen(text) + 1;

    op->class = &value_class;
    op->value.bytes = mem_alloc(sizeof(*op->value.bytes) + size);
    return op->value.bytes ? memcpy(op->value.bytes->data, text, size) : NULL;
}

static bool has_option(const struct sock *sock, uint32_t option)
{
    return sock->more->dgram ? udp_has_option(option) : tcp_has_option(option);
}

/* A multicast group. */
static int set_group(struct op *op, const struct request *r)
{
    struct endpoint group = r->option.value.endpoint;
    struct sock *sock = op->sock;
    int64_t interface = r->option.value.number;
    bool is_join = r->option.option == OPTION_JOIN_GROUP;
    char reason[POLICY_REASON_MAX + 1] = "";
    uint32_t error;

    if (!sock->more->dgram)
        return ERR_PROTOCOL_OPTION;
    if (group.malformed || group.port != 0 || group.scope_id != 0 || interface < 0 ||
        interface > INT32_MAX || !is_multicast(&group))
        return ERR_INVALID_ARGUMENT;
    if (!sock->more->dgram->answers || !sock->more->bound) {
        op->text = "only a bound socket can be in a multicast group";
        return ERR_INVALID_ARGUMENT;
    }
    if (group.address_len != sock->more->bound->local.address_len)
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    group.scope_id = (uint32_t)interface;
    error = is_join ? dgram_join(sock, &group, reason) : dgram_leave(sock, &group);
    if (reason[0])
        op->text = keep_text(op, reason);
    if (error == ERR_SUCCESS)
        complete(op, ERR_SUCCESS);
    return (int)error;
}

int verb_set_option(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    struct netsock_options *options;
    int err;

    if (r->option.value.is_set &&
        (r->option.option == OPTION_JOIN_GROUP || r->option.option == OPTION_LEAVE_GROUP))
        return set_group(op, r);
    if (!r->option.value.is_set || r->option.value.endpoint.address_len > 0)
        return ERR_INVALID_ARGUMENT;
    err = netsock_check_option(r->option.option, r->option.value.number);
    if (err == 0 && !has_option(sock, r->option.option))
        err = ERR_PROTOCOL_OPTION;
    if (err != 0)
        return err;
    if (r->option.option == OPTION_DUAL_MODE && sock->family == FAMILY_INET)
        return ERR_PROTOCOL_OPTION;
    if (!sock_may_set(sock, r->option.option)) {
        op->text = "the policy does not allow this client to set this option ([Egress] Options=)";
        return ERR_ACCESS_DENIED;
    }
    /* Waiting connections keep the sizes that were set when they arrived. */
    if ((r->option.option == OPTION_RECEIVE_BUFFER || r->option.option == OPTION_SEND_BUFFER) &&
        sock->state == SOCK_LISTENING) {
        op->text = "the buffer sizes of a listener must be set before it listens";
        return ERR_INVALID_ARGUMENT;
    }
    /* The kernel's queue may have some already, which it would then give out as one datagram. */
    if (r->option.option == OPTION_COALESCE && r->option.value.number == 0 && sock->ns.fd >= 0) {
        op->text = "coalescing cannot be disabled on a socket that is in use";
        return ERR_INVALID_ARGUMENT;
    }
    options = sock_own_options(sock);
    if (!options)
        return ERR_NO_BUFFER_SPACE;
    if (sock->ns.fd >= 0 || sock->connect) {
        err = sock_set_option(sock, r->option.option, (int32_t)r->option.value.number, apply);
        if (err == -ENOBUFS)
            op->text = SOCK_BUFFERS_TEXT;
        if (err < 0)
            return (int)asock_error_from_errno(err);
    }
    dgram_forget(sock); /* another traffic class may change the route, and so the judgement */
    options->set |= UINT32_C(1) << r->option.option;
    options->values[r->option.option] = (int32_t)r->option.value.number;
    complete(op, ERR_SUCCESS);
    return 0;
}

/*
 * Before the first connect the socket has no kernel socket: a new one of the same kind has the
 * default value.
 */
static int ask_probe(struct sock *sock, uint32_t option, int64_t *ret)
{
    int family = sock->family == FAMILY_INET6 ? AF_INET6 : AF_INET, r;
    struct netsock probe;

    netsock_init(&probe, NULL, NULL);
    r = sock->more->dgram ? udp_open(&probe, sock->worker, family)
                          : netsock_open(&probe, sock->worker, family);
    if (r < 0)
        return r;
    r = netsock_apply_options(&probe, sock->more->options);
    if (r == 0)
        r = netsock_get_option(&probe, option, ret);
    netsock_close(&probe, sock->worker);
    return r;
}

static int get_number(struct op *op, uint32_t option)
{
    struct sock *sock = op->sock;
    int r = 0;

    if (option == OPTION_LINGER)
        op->value.number = sock_linger(sock);
    else if (option == OPTION_DUAL_MODE && sock->family == FAMILY_INET)
        return ERR_PROTOCOL_OPTION;
    else if (option == OPTION_DUAL_MODE && sock->ns.fd < 0)
        op->value.number = sock_dual_mode(sock);
    else if (option == OPTION_MULTICAST_INTERFACE)
        op->value.number = sock->more->options && sock->more->options->set & UINT32_C(1) << option
                               ? sock->more->options->values[option]
                               : 0;
    else if (sock->ns.fd >= 0)
        r = netsock_get_option(&sock->ns, option, &op->value.number);
    else
        r = ask_probe(sock, option, &op->value.number);
    return r < 0 ? (int)asock_error_from_errno(r) : 0;
}

static int get_endpoint(struct op *op, uint32_t option)
{
    const struct netsock *ns = &op->sock->ns;
    int r;

    op->value.endpoint = mem_zalloc(1, sizeof(struct endpoint));
    if (!op->value.endpoint)
        return ERR_NO_BUFFER_SPACE;
    r = option == OPTION_LOCAL_ENDPOINT ? netsock_local(ns, op->value.endpoint)
                                        : netsock_remote(ns, op->value.endpoint);
    return r < 0 ? (int)asock_error_from_errno(r) : 0;
}

static int get_tcp_info(struct op *op)
{
    size_t len = sizeof(struct tcp_info);
    int r;

    op->value.bytes = mem_zalloc(1, sizeof(struct bytes) + len);
    if (!op->value.bytes)
        return ERR_NO_BUFFER_SPACE;
    r = netsock_tcp_info(&op->sock->ns, op->value.bytes->data, &len);
    op->value.bytes->len = len;
    return r < 0 ? (int)asock_error_from_errno(r) : 0;
}

/* A receiving side that has ended gives nothing more, whatever the kernel has. */
static int get_available(struct op *op)
{
    int r = op->sock->receive_side == SIDE_OPEN ? netsock_available(&op->sock->ns) : 0;

    op->value.number = r;
    return r < 0 ? (int)asock_error_from_errno(r) : 0;
}

static int get(struct op *op, uint32_t option)
{
    const struct sock *sock = op->sock;

    if (option < OPTION_LOCAL_ENDPOINT && !has_option(sock, option))
        return ERR_PROTOCOL_OPTION;
    if (option >= OPTION_NO_DELAY && option <= NETSOCK_OPTIONS)
        return get_number(op, option);
    if (option < OPTION_LOCAL_ENDPOINT || option > OPTION_AVAILABLE ||
        (sock->more->dgram && option >= OPTION_TCP_INFO))
        return ERR_PROTOCOL_OPTION;
    if (sock->more->dgram && option == OPTION_LOCAL_ENDPOINT && sock->ns.fd >= 0)
        return get_endpoint(op, option);
    if (sock->state != SOCK_CONNECTED && sock->state != SOCK_LENT &&
        !(sock->more->bound && option == OPTION_LOCAL_ENDPOINT))
        return ERR_NOT_CONNECTED;
    if (option == OPTION_AVAILABLE)
        return get_available(op);
    return option == OPTION_TCP_INFO ? get_tcp_info(op) : get_endpoint(op, option);
}

int verb_get_option(struct op *op, const struct call *call)
{
    int err;

    op->class = &value_class;
    err = get(op, call->request->option.option);
    if (err == 0)
        complete(op, ERR_SUCCESS);
    return err;
}
