/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A socket and its ops from their records: descriptor, options, counters, queues, deadlines.
 * Failures: a number out of range, an op that cannot be in its queue, no memory. The whole state is
 * refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/session/op.h"
#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/window.h"
#include "daemon/state/datagrams.h"
#include "daemon/state/lent.h"
#include "daemon/state/restore.h"
#include "daemon/state/shared.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

bool restore_endpoint(const Asockd__State__Endpoint *from, struct endpoint *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (!from || from->address.len == 0)
        return true;
    if ((from->address.len != 4 && from->address.len != 16) || from->port > UINT16_MAX)
        return false;
    memcpy(ret->address, from->address.data, from->address.len);
    ret->address_len = (uint8_t)from->address.len;
    ret->port = (uint16_t)from->port;
    ret->scope_id = from->scope_id;
    return true;
}

/* ---- sockets ---- */

static int find_state(uint32_t state, uint8_t *ret)
{
    switch (state) {
    case ASOCKD__STATE__SOCKET__STATE__OPEN:
        *ret = SOCK_OPEN;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__CONNECTED:
        *ret = SOCK_CONNECTED;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__FAILED:
        *ret = SOCK_FAILED;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__KILLED:
        *ret = SOCK_KILLED;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__CONNECTING:
        *ret = SOCK_CONNECTING;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__BOUND:
        *ret = SOCK_BOUND;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__LISTENING:
        *ret = SOCK_LISTENING;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__LINGERING:
        *ret = SOCK_LINGERING;
        return 0;
    case ASOCKD__STATE__SOCKET__STATE__LENT:
        *ret = SOCK_LENT;
        return 0;
    default:
        return -EBADMSG;
    }
}

static bool is_in_range(const Asockd__State__Socket *from)
{
    return from->family <= FAMILY_INET6 && from->send_side <= SIDE_MISSED &&
           from->receive_side <= SIDE_BROKEN && from->receive_error < ERR_COUNT &&
           from->lost_error < ERR_COUNT && from->port <= UINT16_MAX &&
           strlen(from->host) <= CODEC_HOST_MAX && from->serial > 0 &&
           from->kernel_send <= INT32_MAX && from->kernel_receive <= INT32_MAX &&
           from->ops_freed < 1u << 20;
}

static void set_flags(struct sock *sock, uint32_t flags)
{
    sock->has_small_buffers = flags & ASOCKD__STATE__SOCKET__FLAG__SMALL_BUFFERS;
    sock->is_incomplete = flags & ASOCKD__STATE__SOCKET__FLAG__INCOMPLETE;
    sock->has_seen_end = flags & ASOCKD__STATE__SOCKET__FLAG__SEEN_END;
    sock->has_sent_end = flags & ASOCKD__STATE__SOCKET__FLAG__SENT_END;
    sock->has_killed_event = flags & ASOCKD__STATE__SOCKET__FLAG__KILLED_EVENT;
    sock->killer = flags & ASOCKD__STATE__SOCKET__FLAG__IDLE         ? KILLER_IDLENESS
                   : flags & ASOCKD__STATE__SOCKET__FLAG__DENIED_NOW ? KILLER_POLICY
                                                                     : KILLER_ADMINISTRATOR;
    sock->owes_end = flags & ASOCKD__STATE__SOCKET__FLAG__OWES_END;
    sock->is_audited = sock->worker->audit && flags & ASOCKD__STATE__SOCKET__FLAG__AUDITED;
    sock->had_more = flags & ASOCKD__STATE__SOCKET__FLAG__HAD_MORE;
}

static void copy_fields(struct sock *sock, const Asockd__State__Socket *from)
{
    sock->serial = from->serial;
    sock->created = from->created;
    sock->connected = from->connected;
    sock->send_side = (uint8_t)from->send_side;
    sock->receive_side = (uint8_t)from->receive_side;
    sock->receive_error = (uint8_t)from->receive_error;
    sock->lost_error = (uint8_t)from->lost_error;
    sock->bytes_in = from->bytes_in;
    sock->bytes_out = from->bytes_out;
    sock->port = (uint16_t)from->port;
    set_flags(sock, from->flags);
}

static int restore_options(struct sock *sock, const Asockd__State__Socket *from)
{
    const uint32_t known = (UINT32_C(2) << NETSOCK_OPTIONS) - 2;

    if (from->options_set == 0 && from->n_options == 0)
        return 0;
    if (!sock_own_options(sock))
        return -ENOMEM;
    for (size_t i = 0; i <= NETSOCK_OPTIONS && i < from->n_options; i++) {
        sock->more->options->values[i] = from->options[i];
        sock->more->options->set |= from->options_set & known & UINT32_C(1) << i;
    }
    return 0;
}

static int restore_origin(struct state_restorer *r, struct sock *sock,
                          const Asockd__State__Socket *from)
{
    struct sock_origin *origin;

    if (!from->origin)
        return 0;
    origin = sock_own_origin(sock);
    if (!origin)
        return -ENOMEM;
    origin->is_dual = from->origin->is_dual;
    return restore_endpoint(from->origin->asked, &origin->asked)
               ? 0
               : restore_fail(r, "an address is invalid");
}

/* Is it what the record says? */
static int verify(const struct sock *sock, int fd, const Asockd__State__Socket *from)
{
    if (sock->more->dgram)
        return datagrams_verify(sock, fd, from->cookie);
    if (sock->more->bound)
        return verify_bound(fd, from->cookie, &sock->more->bound->local,
                            sock->state == SOCK_LISTENING);
    if (from->lent)
        return verify_lent(fd, from->cookie);
    return verify_connection(fd, from->cookie, &sock->remote);
}

static int adopt(struct state_restorer *r, struct sock *sock, const Asockd__State__Socket *from)
{
    int fd, e = restore_claim(r, from->descriptor, &fd);

    if (e < 0)
        return e;
    e = verify(sock, fd, from);
    if (e < 0) {
        e = restore_miss(r, "a connection's descriptor does not match the state");
        if (e == -ENODATA)
            state_discard(fd);
        return e;
    }
    netsock_adopt(&sock->ns, fd, false);
    sock->worker->fds_used++;
    if (sock->more->dgram)
        datagrams_adopted(sock);
    return 0;
}

/* Of a datagram socket: also in front of its first peer, once it has sent. */
static bool must_adopt(const struct sock *sock, const Asockd__State__Socket *from)
{
    bool may_have_sent = sock->state == SOCK_OPEN || sock->state == SOCK_CONNECTING;

    if (sock->state == SOCK_LENT)
        return lent_has_descriptor(from->lent);
    return sock_may_send(sock) || sock->more->bound ||
           (sock->more->dgram && may_have_sent && from->descriptor);
}

static bool is_bound(const struct sock *sock)
{
    return sock->state == SOCK_BOUND || sock->state == SOCK_LISTENING;
}

static int restore_bound(struct state_restorer *r, struct sock *sock,
                         const Asockd__State__Bound *from)
{
    struct sock_bound *bound;

    if (is_bound(sock) != (from != NULL) ||
        (from && (from->backlog > BACKLOG_MAX || from->charged > LIMIT_TOTAL_BYTES_MAX ||
                  (from->backlog > 0) != (sock->state == SOCK_LISTENING))))
        return restore_fail(r, "a bound socket is invalid");
    if (!from)
        return 0;
    if (sock_bound_new(sock) < 0)
        return -ENOMEM;
    bound = sock->more->bound;
    bound->is_dual = from->is_dual;
    bound->backlog = from->backlog;
    bound->accepted = from->accepted;
    bound->refused = from->refused;
    if (!restore_endpoint(from->asked, &bound->asked) ||
        !restore_endpoint(from->local, &bound->local))
        return restore_fail(r, "an address is invalid");
    if (quota_charge(sock_quota(sock), QUOTA_KERNEL, from->charged) < 0)
        return -EDQUOT;
    bound->charged = from->charged;
    return 0;
}

/* Which has no id, and no more than this can be charged to it. */
static bool is_lingering(const Asockd__State__Socket *from, uint8_t state)
{
    const Asockd__State__Linger *linger = from->linger;
    bool lingers = from->flags & ASOCKD__STATE__SOCKET__FLAG__LINGERS;

    if (!lingers)
        return !linger && from->id > 0 && state != SOCK_LINGERING;
    return linger && !from->datagrams && from->id == 0 &&
           (state == SOCK_LINGERING || state == SOCK_CONNECTING) &&
           linger->charged >= MEMORY_SOCKET_ALONE &&
           linger->charged <= MEMORY_SOCKET_ALONE + SOCKET_QUEUED_MIN && linger->until > 0 &&
           from->chain == 0;
}

static int charge_kernel(struct sock *sock, const Asockd__State__Socket *from)
{
    if (quota_charge(sock_quota(sock), QUOTA_KERNEL,
                     (uint64_t)from->kernel_send + from->kernel_receive) < 0)
        return -EDQUOT;
    sock->kernel[0] = from->kernel_send;
    sock->kernel[1] = from->kernel_receive;
    return 0;
}

static int fill_socket(struct state_restorer *r, struct sock *sock,
                       const Asockd__State__Socket *from)
{
    int e = 0;

    copy_fields(sock, from);
    if (!restore_endpoint(from->remote, &sock->remote))
        return restore_fail(r, "an address is invalid");
    if (!lent_fits(sock, from))
        return restore_fail(r, "a lent socket is invalid");
    if (sock_set_destination(sock, from->host[0] ? from->host : NULL, (uint16_t)from->port) < 0)
        return -ENOMEM;
    e = restore_options(sock, from);
    if (e == 0)
        e = restore_origin(r, sock, from);
    if (e == 0)
        e = charge_kernel(sock, from);
    if (e == 0)
        e = restore_bound(r, sock, from->bound);
    if (e == 0 && from->linger)
        e = sock_linger_restore(sock, from->linger->until, from->linger->charged);
    if (e == 0)
        e = datagrams_restore(r, sock, from);
    if (e == 0 && must_adopt(sock, from))
        e = adopt(r, sock, from);
    else if (e == 0 && from->descriptor)
        e = restore_fail(r, "a socket that is not connected has a descriptor");
    if (e == 0)
        e = lent_restore(r, sock, from->lent);
    if (e == 0 && sock->state == SOCK_CONNECTED && !sock->more->dgram)
        sock_idle_restore(sock, from->active);
    return e;
}

int restore_socket(struct state_restorer *r, struct session *s, const Asockd__State__Socket *from,
                   struct sock **ret)
{
    struct session_slot *slot = session_slot(s, from->id);
    uint8_t state;
    int e;

    if (!is_in_range(from) || find_state(from->state, &state) < 0 || from->serial >= r->next_id ||
        !is_lingering(from, state) || (from->id > 0 && (!slot || !session_id_is_free(s, from->id))))
        return restore_fail(r, "a socket is invalid");
    e = sock_new(s, from->id, from->family, ret);
    if (e < 0)
        return e;
    if (slot) {
        slot->sock = *ret;
        slot->dropping = from->dropping;
        s->socket_count++;
    }
    r->sockets++;
    (*ret)->state = state;
    e = fill_socket(r, *ret, from);
    if (e == -ENODATA) {
        sock_bound_drop(*ret);
        (*ret)->state = SOCK_FAILED;
        restore_give_up(r, s, r->what);
    }
    return e;
}

int restore_socket_end(struct state_restorer *r, struct sock *sock,
                       const Asockd__State__Socket *from)
{
    struct session *s = sock->session;

    /* A connect that begins again has opened both sides: shutdowns that wait for it closed them. */
    sock->send_side = (uint8_t)from->send_side;
    sock->receive_side = (uint8_t)from->receive_side;
    if ((sock->state == SOCK_CONNECTING) != (sock->connect != NULL))
        return restore_fail(r, "a socket's state does not match its connect request");
    if (from->chain && !sock_chain(sock))
        return restore_fail(r, "a chain is missing");
    if (s->op_count > s->limits.ops || sock->op_count > s->limits.socket_ops ||
        s->lending_count + s->lent_unread > s->limits.sockets)
        return restore_fail(
            r, "a socket or its session has more operations or lent sockets than its limits allow");
    if (from->send_freed || from->ops_freed)
        window_free(sock, from->send_freed, from->ops_freed);
    if (sock->has_killed_event)
        window_report(sock);
    return 0;
}

/* ---- ops ---- */

/* All bytes may have come while the chain's last piece, without any, has not. */
static bool is_chain(const Asockd__State__Socket *of, const Asockd__State__Op *from)
{
    return of->chain == from->token;
}

static bool is_reference(const Asockd__State__Op *from)
{
    return from->flags & ASOCKD__STATE__OP__FLAG__REFERENCE;
}

/* Only the last send may still have to come. */
static bool has_its_bytes(const struct sock *sock, const Asockd__State__Socket *of,
                          const Asockd__State__Op *from)
{
    if (is_reference(from))
        return !is_chain(of, from) && from->verb == VERB_SEND && from->received == 0 &&
               from->data.len == 0 && from->bytes <= from->total && from->total <= INT64_MAX &&
               shared_slices_total(from) == from->total - from->bytes && !sock_chain(sock);
    return (is_chain(of, from) || from->received == from->total) && from->total <= INT64_MAX &&
           from->received <= from->total && from->bytes <= from->received &&
           from->data.len == from->received - from->bytes && from->data.len <= LIMIT_WINDOW_MAX &&
           !sock_chain(sock);
}

static bool is_receive(const Asockd__State__Op *from)
{
    const uint32_t known = RECEIVE_PEEK | RECEIVE_WAIT_ALL;
    bool peeks = from->receive_flags & RECEIVE_PEEK;

    if (from->receive_flags == RECEIVE_MULTISHOT)
        return is_reference(from) && from->n_slices > 0 && from->bytes == 0;
    if (is_reference(from) &&
        (from->bytes > from->length || shared_slices_total(from) != from->length - from->bytes))
        return false;
    return from->length <= INT64_MAX && from->bytes <= from->length &&
           !(from->receive_flags & ~known) &&
           (!peeks ||
            (!(from->receive_flags & RECEIVE_WAIT_ALL) && from->length <= FRAME_PAYLOAD_MAX));
}

static bool may_be_sent(const struct sock *sock, const Asockd__State__Socket *of,
                        const Asockd__State__Op *from)
{
    if (from->verb == VERB_SHUTDOWN)
        return from->bytes == 0 && sock->shutdown_count < LIMIT_SHUTDOWNS;
    if (from->verb == VERB_DISCONNECT)
        return from->bytes == 0 && !sock->is_disconnecting && !sock->lingers;
    if (from->verb == VERB_CONNECT)
        return sock_may_send(sock) && !is_chain(of, from) && has_its_bytes(sock, of, from);
    return from->verb == VERB_SEND && has_its_bytes(sock, of, from);
}

static bool is_in_place(const struct sock *sock, const Asockd__State__Socket *of,
                        const Asockd__State__Op *from)
{
    if (sock->more->dgram)
        return datagrams_is_in_place(sock, from);
    switch (from->queue) {
    case ASOCKD__STATE__OP__QUEUE__CONNECT:
        return from->verb == VERB_CONNECT && !sock->connect && sock->state == SOCK_CONNECTING &&
               from->bytes == 0 && !is_chain(of, from) && has_its_bytes(sock, of, from);
    case ASOCKD__STATE__OP__QUEUE__SENDS:
        return may_be_sent(sock, of, from);
    case ASOCKD__STATE__OP__QUEUE__RECEIVES:
        return from->verb == VERB_RECEIVE && is_receive(from) && !sock->lingers;
    case ASOCKD__STATE__OP__QUEUE__ACCEPTS:
        return from->verb == VERB_ACCEPT && sock->state == SOCK_LISTENING && from->bytes == 0;
    case ASOCKD__STATE__OP__QUEUE__HANGUP:
        return from->verb == VERB_HANGUP && !sock->more->hangup && from->bytes == 0 &&
               !sock->lingers;
    case ASOCKD__STATE__OP__QUEUE__CLOSE:
        return from->verb == VERB_CLOSE && !sock_close_op(sock) && from->bytes == 0 &&
               sock->lingers;
    default:
        return false;
    }
}

static bool is_small(const struct sock *sock, const Asockd__State__Op *from)
{
    return from->verb == VERB_RECEIVE && !is_reference(from) &&
           !(from->receive_flags & RECEIVE_MULTISHOT) && from->length <= UINT32_MAX &&
           !sock->more->dgram;
}

static struct op *make_op(struct sock *sock, const Asockd__State__Op *from)
{
    struct session *s = sock->session;
    struct op *op = NULL;

    if (op_reserve_deadline(s->worker))
        op = is_small(sock, from) ? op_new_small(s->worker) : op_new(s->worker);
    if (!op)
        return NULL;
    op->session = s;
    op->sock = sock;
    op->token = from->token;
    op->verb = (uint8_t)from->verb;
    op->socket_id = from->socket_id;
    op->errors_only = from->flags & ASOCKD__STATE__OP__FLAG__ERRORS_ONLY;
    op->is_counted = from->flags & ASOCKD__STATE__OP__FLAG__COUNTED;
    op->has_begun = from->flags & ASOCKD__STATE__OP__FLAG__BEGUN;
    op->is_reference = is_reference(from);
    op->is_behind_missed = from->flags & ASOCKD__STATE__OP__FLAG__BEHIND_MISSED;
    if (op->is_counted) {
        s->op_count++;
        sock->op_count++;
    }
    return op;
}

/* Into its queue, and the session's table. */
static void queue_op(struct op *op, const Asockd__State__Op *from)
{
    struct sock *sock = op->sock;
    uint64_t now = sock->worker->clock();
    uint64_t ms = from->until > now ? from->until - now : 1;

    sock_hold_op(sock, op, from->until == 0 ? 0 : ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX);
    if (from->queue == ASOCKD__STATE__OP__QUEUE__CONNECT)
        sock->connect = op;
    else if (from->queue == ASOCKD__STATE__OP__QUEUE__SENDS)
        ring_append(&sock->sends, &op->node);
    else if (from->queue == ASOCKD__STATE__OP__QUEUE__RECEIVES)
        ring_append(&sock->receives, &op->node);
    else if (from->queue == ASOCKD__STATE__OP__QUEUE__ACCEPTS)
        list_append(&sock->more->bound->accepts, &op->node);
    else if (from->queue == ASOCKD__STATE__OP__QUEUE__CLOSE)
        sock_set_close_op(sock, op);
}

static int fill_send(struct op *op, const Asockd__State__Op *from)
{
    struct sock *sock = op->sock;

    op->send.total = from->total;
    op->send.received = from->received;
    op->bytes = from->bytes;
    if (op->is_reference)
        return 0;
    /* All that has come and not gone: of a datagram that goes in segments, less than there is. */
    window_charge(sock, (uint32_t)(from->received - from->bytes));
    return op_append(sock->worker, op, from->data.data, (uint32_t)from->data.len);
}

static bool take_addresses(const Asockd__State__Op *from, struct connect_past *past)
{
    bool is_right = from->n_others < CONNECT_ADDRESSES &&
                    restore_endpoint(from->endpoint, &past->addresses[0]);

    for (size_t i = 0; is_right && i < from->n_others; i++)
        is_right = restore_endpoint(from->others[i], &past->addresses[i + 1]);
    past->address_count = (uint32_t)from->n_others + 1;
    return is_right;
}

/* Without its descriptor an attempt begins again. */
static int restore_attempt(struct state_restorer *r, struct op *op,
                           const Asockd__State__Attempt *from)
{
    struct endpoint address;
    int fd, e;

    if (!restore_endpoint(from->address, &address) || address.address_len == 0)
        return restore_fail(r, "an attempt is invalid");
    e = restore_claim(r, from->descriptor, &fd);
    if (e < 0)
        return e == -ENODATA ? 0 : e;
    if (verify_connection(fd, from->cookie, &address) == 0 &&
        connect_restore_attempt(op, &address, fd)) {
        op->sock->worker->fds_used++;
        return 0;
    }
    e = restore_miss(r, "an attempt's descriptor does not match the state");
    if (e == -ENODATA)
        state_discard(fd);
    return e == -ENODATA ? 0 : e;
}

static int fill_connect(struct state_restorer *r, struct op *op, const Asockd__State__Op *from)
{
    struct connect_past past = {
        .host = from->host[0] ? from->host : NULL,
        .port = (uint16_t)from->port,
        .lend = from->lend,
    };
    bool is_up = from->queue == ASOCKD__STATE__OP__QUEUE__SENDS;
    int e;

    if (from->port > UINT16_MAX || strlen(from->host) > CODEC_HOST_MAX ||
        !take_addresses(from, &past) || !restore_endpoint(from->local, &past.local) ||
        !restore_endpoint(from->remote, &past.remote) || from->n_attempts > CONNECT_ADDRESSES ||
        (from->lend && from->total > 0))
        return restore_fail(r, "a connect request is invalid");
    e = connect_restore(op, &past, is_up);
    if (e < 0)
        return e == -ENOMEM ? e : restore_fail(r, "a connect request has no destination");
    for (size_t i = 0; e == 0 && i < from->n_attempts; i++)
        e = restore_attempt(r, op, from->attempts[i]);
    return e == 0 ? fill_send(op, from) : e;
}

static int fill_op(struct state_restorer *r, struct op *op, const Asockd__State__Op *from)
{
    const struct sock *sock = op->sock;
    int e;

    switch (op->verb) {
    case VERB_CONNECT:
        return fill_connect(r, op, from);
    case VERB_SEND:
        if (!sock->more->dgram)
            send_restore(op);
        else if ((e = datagrams_restore_op(r, op, from)) < 0)
            return e;
        return fill_send(op, from);
    case VERB_SHUTDOWN:
        shutdown_restore(op, from->flags & ASOCKD__STATE__OP__FLAG__ENDS_RECEIVING);
        return 0;
    case VERB_DISCONNECT:
        disconnect_restore(op);
        return 0;
    case VERB_HANGUP:
        hangup_restore(op);
        return 0;
    case VERB_CLOSE:
        close_restore(op);
        return 0;
    case VERB_ACCEPT:
        e = accept_restore(op, from->first_id, from->end_id);
        return e == -EINVAL ? restore_fail(r, "the IDs of an accept are in use") : e;
    default:
        op_set_receive_length(op, from->length);
        op->receive_flags = (uint8_t)from->receive_flags;
        op->bytes = from->bytes;
        if (sock->more->dgram)
            return datagrams_restore_op(r, op, from);
        receive_restore(op);
        return 0;
    }
}

static bool has_ops(const struct sock *sock)
{
    switch (sock->state) {
    case SOCK_CONNECTING:
    case SOCK_CONNECTED:
    case SOCK_LINGERING:
    case SOCK_LISTENING:
        return true;
    case SOCK_OPEN:
    case SOCK_BOUND:
        return sock->more->dgram;
    default:
        return false;
    }
}

int restore_op(struct state_restorer *r, struct sock *sock, const Asockd__State__Socket *of,
               const Asockd__State__Op *from)
{
    struct session *s = sock->session;
    struct op *op;
    int e;

    if (from->token == 0 || session_find_op(s, from->token) || from->socket_id != sock->id ||
        !has_ops(sock) || from->n_slices > CODEC_SEGMENTS_MAX ||
        (from->n_slices > 0 && !is_reference(from)) || !is_in_place(sock, of, from))
        return restore_fail(r, "an op is invalid");
    op = from->verb == VERB_HANGUP && !sock_own_more(sock) ? NULL : make_op(sock, from);
    if (!op)
        return -ENOMEM;
    r->ops++;
    if (op->verb == VERB_SEND && is_chain(of, from))
        op->has_pieces = true;
    queue_op(op, from);
    e = shared_restore_slices(r, op, from);
    return e == 0 ? fill_op(r, op, from) : e;
}
