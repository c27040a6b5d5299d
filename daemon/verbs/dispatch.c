/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A frame becomes an op: decoded, checked against what holds for every verb, handed to its verb.
 * What is wrong with one op ends that op; what makes the stream of frames itself doubtful ends the
 * session.
 */
#include "daemon/core/probes.h"
#include "daemon/verbs/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/send.h"
#include "daemon/session/window.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

enum verb_trait {
    ON_SOCKET = 1,    /* Request.socket names a live socket */
    COUNTED = 2,      /* against the limits of ops */
    WITH_PAYLOAD = 4, /* other verbs have none */
    ERRORS_ONLY = 8,  /* may be asked not to tell success */
    ON_CONTROL = 16,  /* also on the control listener, which has no sockets of its own */
    ONLY_CONTROL = 32,
    DEAR = 64, /* may take as long as many others: a close of what waits at a listener 2 ms */
};

struct verb_entry {
    verb_fn handle;
    unsigned int traits;
};

static const struct verb_entry verbs[] = {
    [VERB_OPEN] = {verb_open, COUNTED | ERRORS_ONLY},
    [VERB_CONNECT] = {verb_connect, ON_SOCKET | COUNTED | WITH_PAYLOAD | DEAR},
    [VERB_SEND] = {verb_send, ON_SOCKET | COUNTED | WITH_PAYLOAD | ERRORS_ONLY},
    [VERB_RECEIVE] = {verb_receive, ON_SOCKET | COUNTED},
    [VERB_SHUTDOWN] = {verb_shutdown, ON_SOCKET},
    [VERB_CLOSE] = {verb_close, ON_SOCKET | DEAR},
    [VERB_CANCEL] = {verb_cancel, ON_CONTROL},
    [VERB_SET_OPTION] = {verb_set_option, ON_SOCKET | COUNTED | ERRORS_ONLY},
    [VERB_GET_OPTION] = {verb_get_option, ON_SOCKET | COUNTED},
    [VERB_SYNC] = {verb_sync, ON_CONTROL},
    [VERB_RESTRICT] = {verb_restrict, WITH_PAYLOAD | DEAR},
    [VERB_SHARE] = {verb_share, DEAR},
    [VERB_REGISTER] = {verb_register, DEAR},
    [VERB_UNREGISTER] = {verb_unregister, 0},
    [VERB_CREDIT] = {verb_credit, ON_SOCKET | ERRORS_ONLY},
    [VERB_RESOLVE] = {verb_resolve, DEAR},
    [VERB_HANGUP] = {verb_hangup, ON_SOCKET},
    [VERB_BIND] = {verb_bind, ON_SOCKET | COUNTED | DEAR},
    [VERB_LISTEN] = {verb_listen, ON_SOCKET | COUNTED | DEAR},
    [VERB_ACCEPT] = {verb_accept, ON_SOCKET | COUNTED | DEAR},
    [VERB_DISCONNECT] = {verb_disconnect, ON_SOCKET | DEAR},
    [VERB_LIST] = {verb_list, ON_CONTROL | DEAR},
    [VERB_SHOW] = {verb_show, ON_CONTROL | DEAR},
    [VERB_STATS] = {verb_stats, ON_CONTROL | DEAR},
    [VERB_KILL] = {verb_kill, ONLY_CONTROL | DEAR},
    [VERB_RELOAD] = {verb_reload, ONLY_CONTROL},
    [VERB_JUDGE] = {verb_judge, ON_CONTROL | WITH_PAYLOAD | DEAR},
    [VERB_LEARNED] = {verb_list, ONLY_CONTROL | DEAR},
    [VERB_SESSIONS] = {verb_list, ON_CONTROL | DEAR},
    [VERB_DENIALS] = {verb_list, ONLY_CONTROL | DEAR},
    [VERB_MONITOR] = {verb_monitor, ONLY_CONTROL | DEAR},
    [VERB_LISTENER] = {verb_listener, ONLY_CONTROL | DEAR},
    [VERB_TAKE_OVER] = {verb_take_over, ONLY_CONTROL | DEAR},
};

static const struct verb_entry *find_verb(uint32_t verb)
{
    if (verb >= sizeof(verbs) / sizeof(verbs[0]) || !verbs[verb].handle)
        return NULL;
    return &verbs[verb];
}

static bool is_for(const struct verb_entry *entry, enum listener_kind kind)
{
    unsigned int traits = entry->traits;

    return kind == LISTENER_CONTROL ? traits & (ON_CONTROL | ONLY_CONTROL)
                                    : !(traits & ONLY_CONTROL);
}

uint64_t dispatch_verbs(enum listener_kind kind)
{
    uint64_t bits = 0;

    static_assert(sizeof(verbs) / sizeof(verbs[0]) <= 64, "Welcome.verbs has 64 bits");
    for (uint32_t verb = 0; verb < sizeof(verbs) / sizeof(verbs[0]); verb++)
        if (verbs[verb].handle && is_for(&verbs[verb], kind))
            bits |= (uint64_t)1 << verb;
    return bits;
}

static int broken(struct session *s, const char *why)
{
    s->why = why;
    return -EPROTO;
}

/* Of a receive into the reply, of a stream. */
static bool is_small(const struct request *r, const struct sock *sock)
{
    return r->verb == VERB_RECEIVE && r->receive.segments.count == 0 &&
           r->receive.length <= UINT32_MAX && !(r->receive.flags & RECEIVE_MULTISHOT) && sock &&
           !sock->more->dgram;
}

/* What arrived with it is charged from here on; complete() gives it back. */
static struct op *make_op(struct session *s, const struct verb_entry *entry,
                          const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = session_sock(s, r->socket);
    struct op *op = session_take_op(s, is_small(r, sock));

    op->token = r->op;
    op->verb = (uint8_t)r->verb;
    op->socket_id = r->socket;
    op->errors_only = entry && (r->flags & REQUEST_ERRORS_ONLY) != 0;
    op->is_counted = entry && entry->traits & COUNTED;
    if (entry && entry->traits & ON_SOCKET)
        op->sock = sock;
    if (op->is_counted)
        s->op_count++;
    if (op->sock && op->is_counted)
        sock->op_count++;
    if (r->verb == VERB_SEND || r->verb == VERB_CONNECT) {
        op->send.received = call->payload_len;
        if (op->sock)
            window_charge(sock, call->payload_len);
    }
    PROBE3(request, s->id, r->verb, r->op);
    s->worker->stats.requests++;
    s->worker->stats.verbs[entry && r->verb < VERBS_MAX ? r->verb : 0]++;
    return op;
}

static int check_limits(const struct op *op)
{
    const struct session *s = op->session;
    const struct sock *sock = op->sock;

    if (op->is_counted && s->op_count > s->limits.ops)
        return ERR_NO_BUFFER_SPACE;
    if (op->is_counted && sock && sock->op_count > s->limits.socket_ops)
        return ERR_NO_BUFFER_SPACE;
    if (op->verb != VERB_SEND && op->verb != VERB_CONNECT)
        return 0;
    return sock && window_is_over(sock) ? ERR_NO_BUFFER_SPACE : 0;
}

static bool has_too_many_segments(const struct request *r)
{
    return (r->verb == VERB_SEND && segments_are_too_many(&r->send.segments)) ||
           (r->verb == VERB_RECEIVE && segments_are_too_many(&r->receive.segments)) ||
           (r->verb == VERB_CREDIT && segments_are_too_many(&r->credit.segments));
}

static int check(const struct op *op, const struct verb_entry *entry, const struct call *call)
{
    uint32_t flags = call->request->flags;
    int err;

    if (!entry || !is_for(entry, op->session->kind))
        return ERR_OPERATION_NOT_SUPPORTED;
    if (entry->traits & ON_SOCKET && !op->sock)
        return ERR_NOT_SOCKET;
    if (op->sock && op->sock->state == SOCK_KILLED && op->verb != VERB_CLOSE)
        return ERR_CONNECTION_ABORTED;
    if (op->sock && op->sock->state == SOCK_LENT && op->verb != VERB_CLOSE &&
        (op->verb != VERB_GET_OPTION || op->sock->is_given))
        return ERR_INVALID_ARGUMENT;
    if (flags & ~(uint32_t)REQUEST_ERRORS_ONLY || (flags && !(entry->traits & ERRORS_ONLY)))
        return ERR_INVALID_ARGUMENT;
    if (has_too_many_segments(call->request) ||
        (call->payload_len > 0 && !(entry->traits & WITH_PAYLOAD)))
        return ERR_INVALID_ARGUMENT;
    err = check_limits(op);
    /* Behind a send that failed none has an error of its own (S28). */
    if (err != 0 && op->verb == VERB_SEND && op->sock->send_side == SIDE_BROKEN)
        err = ERR_OPERATION_ABORTED;
    return err;
}

/*
 * Behind a SHUTDOWN or DISCONNECT that waits for its turn: the stream misses it, if that never
 * comes (S28).
 */
static void miss(struct sock *sock, const struct call *call)
{
    const struct request *r = call->request;
    bool has_bytes = call->payload_len > 0 || r->send.total_len > 0 || r->send.segments.count > 0;

    if (has_bytes && sock->send_side == SIDE_SHUT &&
        (sock->shutdown_count > 0 || sock->is_disconnecting))
        sock->send_side = SIDE_MISSED;
}

/* Further pieces of a chain whose first was refused are dropped. */
static void refuse(struct op *op, const struct call *call, uint32_t error)
{
    const struct request *r = call->request;
    struct session_slot *slot = session_slot(op->session, r->socket);

    if (r->verb == VERB_SEND && r->send.more && slot)
        slot->dropping = r->op;
    if (r->verb == VERB_SEND && op->sock)
        miss(op->sock, call);
    complete(op, error);
}

static int run(struct session *s, const struct call *call)
{
    const struct verb_entry *entry = find_verb(call->request->verb);
    struct op *op;
    int r;

    if (session_find_op(s, call->request->op))
        return broken(s, "the token is already in use");
    op = make_op(s, entry, call);
    s->worker->shares.must_look |= entry && entry->traits & DEAR;
    r = check(op, entry, call);
    if (r == 0)
        r = entry->handle(op, call);
    if (r < 0)
        /* The session ends; its op with it. */
        complete(op, ERR_PROTOCOL_ERROR);
    else if (r > 0)
        refuse(op, call, (uint32_t)r);
    return r < 0 ? r : 0;
}

int dispatch_frame(struct session *s, const struct frame *frame)
{
    char scratch[CODEC_SCRATCH];
    struct request request;
    struct call call = {&request, frame->payload, frame->payload_len};
    int r;

    r = asock_codec_decode_request(frame->head, frame->head_len, scratch, &request, &s->why);
    if (r < 0)
        return r;
    if (s->batch_of && (request.verb != VERB_SEND || request.socket != s->batch_of->id))
        send_batch_end(s);
    if (s->reads_of && (request.verb != VERB_RECEIVE || request.socket != s->reads_of->id))
        sock_end_reads(s);
    if (request.verb == VERB_HELLO)
        return hello(s, &call);
    if (!s->has_hello)
        return broken(s, "HELLO must be the first request");
    if (request.verb == VERB_REGISTER && !session_may_pass_buffer(s, request.reg.status))
        return 1;
    if (request.verb == VERB_SEND) {
        r = send_piece(s, &call);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return run(s, &call);
}
