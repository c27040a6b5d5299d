/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: readable -> fill -> frame by frame to the dispatcher -> replies -> flush.
 * Failures: no room for replies (reading pauses until the client reads), more input than a turn's
 * share (the rest in the next turn), end of stream (every socket closes by S42), a broken rule (the
 * client is told, then the same), no memory for an op (a little later again).
 */
#include "daemon/session/session.h"
#include "daemon/session/session_farewell.h"
#include "daemon/session/session_quota.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"
#include "daemon/core/client_log.h"
#include "daemon/policy/policy.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_send.h"
#include "proto/errors.h"
#include "proto/frame.h"

void session_resume_later(struct session *s)
{
    s->must_read = true;
    share_wake(&s->share);
}

void session_ready(struct session *s, struct sock *sock)
{
    if (!list_is_linked(&sock->ready))
        list_append(&s->ready, &sock->ready);
    share_wake(&s->share);
}

/* May the next request be taken? If not, what it waits for will call. */
static bool can_take(struct session *s)
{
    if (!list_is_empty(&s->done) || !transport_reserve(&s->transport, REPLY_ROOM)) {
        transport_wait_room(&s->transport);
        return false;
    }
    if (!s->spare)
        s->spare = op_new(s->worker);
    if (!s->spare || !op_reserve_deadline(s->worker)) {
        worker_set_deadline(s->worker, &s->retry, RETRY_MS);
        return false;
    }
    return true;
}

/*
 * What a client has sent and nobody will take may be the rest of a send: the stream it belongs to was
 * cut, and must not look whole (S42). Where even its socket is unknown, that holds for all of them.
 */
static void note_cut(struct session *s)
{
    for (uint32_t id = 1; id < s->slot_count; id++)
        /* Behind a shutdown there is no more stream that could be cut. */
        if (s->slots[id].sock && s->slots[id].sock->send_side == SIDE_OPEN)
            s->slots[id].sock->is_incomplete = true;
}

/* Octets of the frame, which may be more than there are; 0: it cannot be read. */
static size_t note_cut_frame(struct session *s, const uint8_t *input, size_t len)
{
    char scratch[CODEC_SCRATCH];
    struct request request = {0};
    struct sock *sock;
    uint32_t head, payload;
    const char *why;

    if (asock_frame_lengths(input, len, &head, &payload) <= 0 || len - FRAME_PREFIX < head ||
        asock_codec_decode_request(input + FRAME_PREFIX, head, scratch, &request, &why) < 0)
        return 0;
    sock = session_sock(s, request.socket);
    if (sock && sock->send_side == SIDE_OPEN &&
        (request.verb == VERB_SEND || request.verb == VERB_CONNECT))
        sock->is_incomplete = true;
    return FRAME_PREFIX + (size_t)head + payload;
}

static void note_cut_input(struct session *s)
{
    size_t len;
    const uint8_t *input = transport_input(&s->transport, &len);

    if (transport_has_unread(&s->transport))
        note_cut(s);
    while (len > 0) {
        size_t n = note_cut_frame(s, input, len);

        if (n == 0)
            note_cut(s);
        if (n == 0 || n >= len)
            return;
        input += n;
        len -= n;
    }
}

enum consumed { NEEDS_INPUT, NEEDS_ROOM, SPENT, ENDED };

static enum consumed broken_input(struct session *s, const char *why)
{
    sock_together_end(s);
    session_end(s, ERR_PROTOCOL_ERROR, why);
    return ENDED;
}

static enum consumed consume_some(struct session *s, unsigned int *budget)
{
    while (*budget > 0) {
        struct frame frame;
        size_t len;
        const uint8_t *input = transport_input(&s->transport, &len);
        long n = asock_frame_parse(input, len, &frame);

        if (n == 0)
            return NEEDS_INPUT;
        if (n < 0)
            return broken_input(s, "frame lengths out of range");
        if (!can_take(s))
            return NEEDS_ROOM;
        if (s->dispatch(s, &frame) < 0)
            return broken_input(s, s->why);
        if (s->has_ended)
            return ENDED;
        transport_consume(&s->transport, (size_t)n);
        if (--*budget % TURN_LOOK == 0 && share_step_is_over(&s->worker->shares))
            *budget = 0;
    }
    return SPENT;
}

static enum consumed consume_frames(struct session *s, unsigned int *budget)
{
    enum consumed c;

    s->last_sent = 0;
    c = consume_some(s, budget);
    sock_together_end(s);
    return c;
}

/* One session's share of a turn. */
static void run_input(struct session *s)
{
    unsigned int requests = TURN_REQUESTS, reads = TURN_READS;
    enum consumed c;

    if (s->has_ended)
        return;
    for (;;) {
        int r;

        c = consume_frames(s, &requests);
        if (c == ENDED)
            return;
        if (c != NEEDS_INPUT || (reads == 0 && !s->input_ended))
            break;
        if (s->input_ended) {
            session_end(s, ERR_SUCCESS, NULL);
            return;
        }
        reads--;
        r = transport_fill(&s->transport);
        /* Nobody reads the replies any more: what was sent before has been read, that is the end. */
        if (r == 0 && s->transport.out_lost)
            r = -EPIPE;
        if (r == 0)
            break;
        if (r == -ENOMEM) {
            worker_set_deadline(s->worker, &s->retry, RETRY_MS);
            c = NEEDS_ROOM;
            break;
        }
        /* A short read says that there is no more; the watcher knows when there is. */
        if (r > 0 && s->transport.in_emptied && !s->transport.out_lost)
            reads = 0;
        if (r < 0)
            s->input_ended = true;
    }
    transport_trim_input(&s->transport);
    if (c == NEEDS_ROOM) {
        transport_pause(&s->transport);
        return;
    }
    transport_resume(&s->transport);
    if (c == SPENT)
        session_resume_later(s);
}

static struct session *session_of(struct transport *t)
{
    return container_of(t, struct session, transport);
}

static void on_readable(struct transport *t)
{
    session_resume_later(session_of(t));
}

static void on_drained(struct transport *t)
{
    struct session *s = session_of(t);

    s->must_pump = true;
    share_wake(&s->share);
}

/* The other end is gone: what it sent before is still read, then the session ends. */
static void on_lost(struct transport *t)
{
    session_resume_later(session_of(t));
}

/* Where the other end shares this processor it has answered by now, and no poll is needed to hear of it. */
static bool has_come(struct session *s, struct sock *sock)
{
    if (backoff_skips(&s->eager))
        return false;
    sock->wants_read = false;
    sock_run_receives(sock);
    if (s->transport.must_leave) {
        backoff_paid(&s->eager);
        s->eager_misses = 0;
        return true;
    }
    if (s->eager.last > 0 || ++s->eager_misses == EAGER_MISSES)
        backoff_failed(&s->eager);
    return false;
}

/* The answer to what was sent is awaited: it may come at once, and both travel together. */
static bool on_awaits(struct transport *t)
{
    struct session *s = session_of(t);
    struct sock *sock = session_sock(s, s->held_id);

    if (!sock || list_is_empty(&sock->receives) || !list_is_empty(&sock->sends))
        return false;
    return list_is_linked(&sock->node) || !has_come(s, sock);
}

static const struct transport_ops transport_ops = {
    .readable = on_readable,
    .drained = on_drained,
    .awaits = on_awaits,
    .lost = on_lost,
};

/* Its sockets and its input take turns. */
static bool on_step(struct share *share)
{
    struct session *s = container_of(share, struct session, share);
    struct sock *sock = list_first(&s->ready, struct sock, ready);

    if (s->must_pump) {
        s->must_pump = false;
        session_pump(s);
    } else if (sock && (s->sockets_next || !s->must_read)) {
        s->sockets_next = false;
        list_remove(&sock->ready);
        sock_run_events(sock);
    } else if (s->must_read) {
        s->must_read = false;
        s->sockets_next = true;
        run_input(s);
    }
    return s->must_pump || s->must_read || !list_is_empty(&s->ready);
}

static void on_retry(struct deadline *deadline)
{
    session_pump(container_of(deadline, struct session, retry));
}

static void on_no_hello(struct deadline *deadline)
{
    struct session *s = container_of(deadline, struct session, hello);
    char text[64];

    snprintf(text, sizeof(text), "no Hello within %u seconds",
             (unsigned int)s->worker->hello_ms / 1000);
    session_end(s, ERR_TIMED_OUT, text);
}

static void on_gone(struct task *task)
{
    struct session *s = container_of(task, struct session, gone);
    struct worker *w = s->worker;

    assert(list_is_empty(&s->lingering) && list_is_empty(&s->done) && list_is_empty(&s->streams));
    assert(list_is_empty(&s->report) && list_is_empty(&s->room_waiters));
    assert(!s->together && s->op_count == 0 && s->transport.fd < 0);
    assert(list_is_empty(&s->ready));
    share_deinit(&s->share);
    task_deinit(&s->gone);
    deadline_deinit(&s->unread);
    session_drop_status(s);
    list_remove(&s->node);
    if (s->on_gone)
        s->on_gone(s);
    op_free(w, s->spare);
    policy_view_free(s->view);
    session_quota_leave(s);
    peer_deinit(&s->peer);
    mem_free(s->buffers);
    mem_free(s->tokens);
    mem_free(s->slots);
    mem_free(s);
}

static void init_lists(struct session *s)
{
    list_init(&s->lingering);
    list_init(&s->done);
    list_init(&s->streams);
    list_init(&s->report);
    list_init(&s->room_waiters);
    list_init(&s->ready);
    task_init(&s->gone, on_gone);
    task_init(&s->report_task, session_run_reports);
    task_init(&s->rows_task, session_run_rows);
    deadline_init(&s->retry, on_retry);
    deadline_init(&s->hello, on_no_hello);
    deadline_init(&s->unread, session_on_unread);
}

/* It takes no more requests and tells nothing more; what still lingers for it causes no work of it. */
static void end_work(struct session *s)
{
    s->must_read = s->must_pump = false;
    task_deinit(&s->report_task);
    task_deinit(&s->rows_task);
    deadline_deinit(&s->retry);
    deadline_deinit(&s->hello);
}

/* What may fail, in the order in which it is given back. */
static int acquire(struct session *s, const struct session_config *config, int fd,
                   char why[static SESSION_WHY_MAX])
{
    static const struct limits least = {PROTOCOL_SOCKETS_MIN, PROTOCOL_OPS_MIN,    PROTOCOL_OPS_MIN,
                                        PROTOCOL_WINDOW_MIN,  PROTOCOL_WINDOW_MIN, 0};
    struct worker *w = config->worker;
    int r = 0;

    s->view = policy_view_new(w->policy, &s->peer, s->listener);
    if (s->view && s->kind == LISTENER_CLIENT)
        r = session_quota_enter(s, config->quota ? config->quota : w->quota, why);
    if (r < 0) {
        policy_view_free(s->view);
        return r;
    }
    if (s->view && session_grant(s, &least) == 0 &&
        transport_init(&s->transport, w, s->quota, fd, &transport_ops) == 0)
        return 0;
    policy_view_free(s->view);
    session_quota_leave(s);
    mem_free(s->slots);
    mem_free(s->tokens);
    return -ENOMEM;
}

int session_new(const struct session_config *config, int fd, struct peer *peer,
                char ret_why[static SESSION_WHY_MAX], struct session **ret)
{
    struct worker *w = config->worker;
    struct session *s = mem_zalloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->worker = w;
    s->kind = config->kind;
    s->dispatch = config->dispatch;
    s->on_gone = config->on_gone;
    s->on_gone_data = config->on_gone_data;
    snprintf(s->listener, sizeof(s->listener), "%s", config->listener);
    s->only_hello = true;
    s->unread_fd = -1;
    ev_io_init(&s->farewell_io, session_on_farewell, -1, 0);
    s->farewell_io.data = s;
    s->peer = *peer;
    init_lists(s);
    r = acquire(s, config, fd, ret_why);
    if (r < 0) {
        mem_free(s);
        return r;
    }
    peer_drop_groups(&s->peer);
    share_init(&s->share, quota_share(s->quota, &w->shares.root), on_step);
    s->id = w->next_id++;
    s->created = w->clock();
    list_append(&w->sessions, &s->node);
    w->stats.sessions++;
    worker_set_deadline(w, &s->hello, w->hello_ms);
    transport_resume(&s->transport);
    *ret = s;
    return 0;
}

static uint32_t buckets_for(uint32_t ops)
{
    uint32_t n = 64;

    while (n < ops && n < 65536)
        n *= 2;
    return n;
}

int session_grant(struct session *s, const struct limits *limits)
{
    uint32_t buckets = buckets_for(limits->ops);
    struct session_slot *slots;
    struct op **tokens;

    assert(s->socket_count == 0 && s->op_count == 0);
    slots = mem_zalloc((size_t)limits->sockets + 1, sizeof(*slots));
    tokens = mem_zalloc(buckets, sizeof(struct op *));
    if (!slots || !tokens) {
        mem_free(slots);
        mem_free(tokens);
        return -ENOMEM;
    }
    mem_free(s->slots);
    mem_free(s->tokens);
    s->slots = slots;
    s->slot_count = limits->sockets + 1;
    s->tokens = tokens;
    s->token_buckets = buckets;
    s->limits = *limits;
    return 0;
}

static void tell_end(struct session *s, uint32_t error, const char *text)
{
    struct reply reply = {.kind = KIND_EVENT, .error = error, .body = BODY_EVENT};

    reply.event = EVENT_SESSION_ENDED;
    if (!text)
        text = asock_error_to_text(error);
    session_send_reply(s, &reply, text, (uint32_t)strnlen(text, CODEC_TEXT_MAX));
}

/* Sockets whose close has been asked for go on lingering: that promise outlives the client. */
static void close_sockets(struct session *s)
{
    for (uint32_t id = 1; id < s->slot_count; id++) {
        struct sock *sock = s->slots[id].sock;

        if (sock)
            sock_close(sock, NULL, 0, sock_linger(sock) == 0);
    }
    list_for_each (&s->lingering, it) {
        sock_orphan_linger(container_of(it, struct sock, node));
    }
}

/* Not while session_end() is at work: what it finds in the transport may keep the session. */
void session_part_left(struct session *s)
{
    if (s->has_ended && s->transport.fd < 0 && list_is_empty(&s->lingering) &&
        s->buffer_count == 0 && s->unread_fd < 0)
        worker_defer(s->worker, &s->gone);
}

static void drop_ops(struct session *s, struct list *ops)
{
    struct op *op;

    while ((op = list_first(ops, struct op, node))) {
        list_remove(&op->node);
        if (op->state == OP_QUEUED) {
            session_unhash_op(s, op);
            op_unset_deadline(s->worker, op);
            op_move(op, OP_DONE);
        }
        op_free(s->worker, op);
    }
}

static void log_end(const struct session *s, uint32_t error, const char *text)
{
    char cause[256];

    snprintf(cause, sizeof(cause), "%s: %s", asock_error_to_name(error),
             text ? text : asock_error_to_text(error));
    client_log_ended(s->worker->client_log, s->id, (int)s->peer.pid, s->peer.uid, cause);
}

void session_end(struct session *s, uint32_t error, const char *text)
{
    if (s->has_ended)
        return;
    if (error) {
        log_end(s, error, text);
        if (error == ERR_PROTOCOL_ERROR)
            s->worker->stats.protocol_errors++;
        tell_end(s, error, text);
    }
    s->has_ended = true;
    note_cut_input(s);
    close_sockets(s);
    drop_ops(s, &s->done);
    drop_ops(s, &s->streams);
    transport_flush_now(&s->transport);
    end_work(s);
    session_leave_transport(s, error != ERR_SUCCESS);
    /* What it still has is its lingering sockets: it is nobody's client any more. */
    peer_forget_process(&s->peer);
    session_quota_end(s);
    session_part_left(s);
}

struct session_slot *session_slot(struct session *s, uint32_t id)
{
    return id > 0 && id < s->slot_count ? &s->slots[id] : NULL;
}

struct sock *session_next_sock(const struct session *s, struct session_iterator *it)
{
    while (it->id + 1 < s->slot_count)
        if (s->slots[++it->id].sock)
            return s->slots[it->id].sock;
    /* Sought before it is needed: the socket that is handed out now may be gone by then. */
    if (!it->next)
        it->next = s->lingering.next;
    if (it->next == &s->lingering)
        return NULL;
    it->next = it->next->next;
    return container_of(it->next->prev, struct sock, node);
}

struct sock *session_sock(struct session *s, uint32_t id)
{
    struct session_slot *slot = session_slot(s, id);

    return slot ? slot->sock : NULL;
}

struct op *session_take_op(struct session *s)
{
    struct op *op = s->spare;

    assert(op);
    s->spare = NULL;
    op->session = s;
    return op;
}

/* The client chooses the tokens: without the keys it cannot choose them so that all are in one bucket. */
static struct op **bucket_of(struct session *s, uint64_t token)
{
    uint64_t hash = (token ^ s->worker->token_keys[0]) * (s->worker->token_keys[1] | 1);

    hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15); /* of a progression, too */
    return &s->tokens[(hash >> 32) & (s->token_buckets - 1)];
}

struct op *session_find_op(struct session *s, uint64_t token)
{
    for (struct op *op = *bucket_of(s, token); op; op = op->hash_next)
        if (op->token == token)
            return op;
    return NULL;
}

void session_hash_op(struct session *s, struct op *op)
{
    struct op **bucket = bucket_of(s, op->token);

    op->hash_next = *bucket;
    *bucket = op;
}

void session_unhash_op(struct session *s, struct op *op)
{
    for (struct op **at = bucket_of(s, op->token); *at; at = &(*at)->hash_next) {
        if (*at != op)
            continue;
        *at = op->hash_next;
        return;
    }
}
