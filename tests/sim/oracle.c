/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each stream must contain, and when what must have ended. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/connections.h"
#include "tests/sim/listeners.h"
#include "tests/sim/raw.h"
#include "tests/sim/relay.h"
#include "tests/sim/steps.h"

/* Beyond a deadline: a late turn, and a message's way. */
#define GRACE_MS 1500u
/* What the library gives a daemon that hangs: twice, where it was late itself. */
#define HANG_MS 20000u
/* When the library asks a daemon that counts from when it has read the request. */
#define ASK_MS 5500u

static bool is_lost(const struct stream *stream)
{
    return model_may_be_lost(stream->client) || stream->generation != stream->client->generation;
}

static bool carries(const struct submission *s)
{
    return (s->operation == ASOCK_OPERATION_SEND || s->operation == ASOCK_OPERATION_CONNECT) &&
           s->len > 0;
}

/* ---- what goes out ---- */

static void compare(const struct stream *stream, const struct submission *s, uint64_t count)
{
    const struct byte_queue *log = &stream->tcp->log;
    size_t same = 0;

    if (count > 0)
        same = sim_compare(s->number, 0, log->at + log->start + stream->sent, count);
    if (same < count)
        sim_fail("corrupt-send: byte %zu of submission %u, at %llu of stream %u", same, s->number,
                 (unsigned long long)(stream->sent + same), stream->number);
}

/*
 * How much went of a send that does not report it: what is there. It was the last one then (S28),
 * but nothing of one that was submitted before the connect went.
 */
static uint64_t part_of(const struct submission *s, uint64_t there)
{
    unsigned int intent = s->stream->tcp->intent;

    if (is_lost(s->stream) || s->number < model.intents[intent].submission->number)
        return 0;
    return there < s->len ? there : s->len;
}

/* As far as everything is known. */
static void judge_sent(struct stream *stream)
{
    struct submission *s = stream->next_send ? stream->next_send : stream->first;
    uint64_t there;

    if (!stream->tcp)
        return;
    for (; s && s->is_done && !s->is_unknown; s = s->next_of_stream) {
        stream->next_send = s->next_of_stream ? s->next_of_stream : s;
        if (carries(s) && !s->is_counted) {
            there = byte_queue_len(&stream->tcp->log) - stream->sent;
            if (s->is_partial)
                s->bytes = part_of(s, there);
            if (s->bytes > s->len)
                sim_fail("too-many: submission %u, %llu of %zu bytes", s->number,
                         (unsigned long long)s->bytes, s->len);
            if (s->bytes > there)
                sim_fail("untrue-success: submission %u, %llu bytes told, the kernel has %llu",
                         s->number, (unsigned long long)s->bytes, (unsigned long long)there);
            compare(stream, s, s->bytes);
            stream->sent += s->bytes;
            s->is_counted = true;
        }
    }
    if (!s && is_lost(stream))
        return;
    if (!s && byte_queue_len(&stream->tcp->log) > stream->sent)
        sim_fail("too-many: the kernel has %zu bytes of stream %u, %llu were told",
                 byte_queue_len(&stream->tcp->log), stream->number,
                 (unsigned long long)stream->sent);
}

/* ---- what comes in ---- */

static void compare_received(const struct submission *s, const uint8_t *data, uint64_t count)
{
    struct stream *stream = s->stream;
    size_t same;

    if (count == 0 || stream->is_blurred)
        return;
    connections_guess(stream);
    if (!stream->tcp)
        sim_fail("received-unconnected: submission %u", s->number);
    if (stream->received + count > stream->tcp->consumed)
        sim_fail("received-more: submission %u, %llu bytes behind %llu, %llu were there", s->number,
                 (unsigned long long)count, (unsigned long long)stream->received,
                 (unsigned long long)stream->tcp->consumed);
    same = sim_compare(stream->tcp->manner.salt, stream->received, data, count);
    if (same < count)
        sim_fail("corrupt-receive: byte %zu of submission %u, at %llu of stream %u: %02x", same,
                 s->number, (unsigned long long)(stream->received + same), stream->number,
                 data[same]);
}

static void judge_end_of_stream(const struct submission *s)
{
    struct stream *stream = s->stream;

    if (s->error || !(s->result_flags & ASOCK_END_OF_STREAM) || stream->is_receive_shut)
        return;
    connections_guess(stream);
    if (!stream->tcp || !stream->tcp->fin_received)
        sim_fail("untrue-end: submission %u is told the end of a stream that goes on", s->number);
    /*
     * A blocking call returns the end before the callback of a slice in front of it has run. If the
     * daemon stops in between, that slice's receive ends CONNECTION_ABORTED. judge_gap() looks at
     * what is reported behind it.
     */
    if (stream->received != stream->tcp->peer_written && !stream->is_blurred)
        sim_fail("cut-receive: submission %u is told the end at %llu of %llu bytes", s->number,
                 (unsigned long long)stream->received,
                 (unsigned long long)stream->tcp->peer_written);
}

static void judge_receive(struct submission *s)
{
    bool is_peek = s->flags & ASOCK_PEEK;

    if (s->is_multishot)
        return;
    if (s->bytes > s->len)
        sim_fail("too-many: submission %u, %llu of %zu bytes", s->number,
                 (unsigned long long)s->bytes, s->len);
    if (!is_peek && !s->is_unseen)
        compare_received(s, s->data, s->bytes);
    if (!is_peek)
        s->stream->received += s->bytes;
    judge_end_of_stream(s);
    if (s->error == 0 && s->bytes == 0 && s->len > 0 && !(s->result_flags & ASOCK_END_OF_STREAM))
        sim_fail("empty-receive: submission %u", s->number);
    if (s->error == 0 && s->flags & ASOCK_WAIT_ALL && s->bytes < s->len &&
        !(s->result_flags & ASOCK_END_OF_STREAM))
        sim_fail("short-receive: submission %u waits for all", s->number);
}

static void judge_shots(struct submission *s)
{
    compare_received(s, s->shots.at + s->shots.start, byte_queue_len(&s->shots));
    s->stream->received += byte_queue_len(&s->shots);
    byte_queue_drop(&s->shots, byte_queue_len(&s->shots));
}

/* In the order of submission; one that has not ended yet holds up those behind it. */
static void judge_received(struct stream *stream)
{
    struct submission *s = stream->next_receive ? stream->next_receive : stream->first;

    for (; s; s = s->next_of_stream) {
        stream->next_receive = s;
        if (s->operation != ASOCK_OPERATION_RECEIVE || (s->is_counted && !s->is_unknown))
            continue;
        if (s->is_multishot)
            judge_shots(s);
        if (!s->is_done || s->is_unknown)
            return;
        judge_receive(s);
        stream->is_blurred |= is_lost(stream) && s->error;
        s->is_counted = true;
        sim_free(s->data);
        s->data = NULL;
    }
}

/* Its memory may be no daemon's any more: nothing was taken of the stream. */
static bool has_old_pool(const struct submission *s)
{
    return s->is_multishot && s->stream->client->generation > 0;
}

/*
 * Once a receive has ended CONNECTION_ABORTED none behind it continues the stream, be it with its
 * end, or shows what follows (S46).
 */
static void judge_gap(const struct submission *s, size_t bytes)
{
    struct stream *stream = s->stream;

    if (s->operation != ASOCK_OPERATION_RECEIVE)
        return;
    if (stream->gap && s->number >= stream->gap &&
        (bytes > 0 || (s->is_done && !s->error && s->result_flags & ASOCK_END_OF_STREAM)))
        sim_fail("gap: submission %u goes on behind %u, which was lost", s->number,
                 stream->gap - 1);
    if (s->is_done && s->error == ASOCK_CONNECTION_ABORTED && !s->is_at_once && is_lost(stream) &&
        !(s->flags & ASOCK_PEEK) && !has_old_pool(s) &&
        (!stream->gap || s->number + 1 < stream->gap))
        stream->gap = s->number + 1;
}

void oracle_shot(struct submission *s, const void *data, size_t len)
{
    judge_gap(s, len);
    byte_queue_append(&s->shots, data, len);
    judge_received(s->stream);
}

/* ---- ends ---- */

/* Of the same queue the first in is the first out. */
static void judge_order(const struct submission *s)
{
    const struct submission *it;

    /* asock_end() waits for no callback. */
    if (s->error || s->is_told_early ||
        (s->operation != ASOCK_OPERATION_SEND && s->operation != ASOCK_OPERATION_SHUTDOWN))
        return;
    for (it = s->stream->first; it != s; it = it->next_of_stream)
        if (it->operation == s->operation && it->how == s->how && !it->is_done &&
            !(it->flags & ASOCK_ERRORS_ONLY) && it->op->has_callback && s->op->has_callback)
            sim_fail("overtaken: submission %u by %u", it->number, s->number);
}

/*
 * Where the stream of a close begins: at the connect that succeeded, or, if none is known to have,
 * at the last one that may have. If all have failed, at the last one: what was sent behind the ones
 * before it has ended with them.
 */
static const struct submission *stream_begin(const struct submission *close)
{
    const struct submission *last = close->stream->first, *open = NULL;

    if (close->stream->connect)
        return close->stream->connect;
    for (const struct submission *it = last; it != close; it = it->next_of_stream) {
        if (it->operation != ASOCK_OPERATION_CONNECT)
            continue;
        last = it;
        if (!it->is_done)
            open = it;
    }
    return open ? open : last;
}

static bool was_asked_to_connect(const struct submission *close)
{
    for (const struct submission *it = close->stream->first; it != close; it = it->next_of_stream)
        if (it->operation == ASOCK_OPERATION_CONNECT)
            return true;
    return false;
}

/*
 * A close with a linger time succeeds (S43) only when the stream has gone out whole, or there was
 * to be none.
 */
static void judge_close(const struct submission *s)
{
    const struct submission *it;
    bool is_whole = true;

    if (s->error || s->linger_ms <= 0 || s->stream->was_bound || s->stream->disconnect ||
        !was_asked_to_connect(s))
        return;
    for (it = stream_begin(s); it != s; it = it->next_of_stream) {
        if (!carries(it) || it->is_after_close || is_lost(s->stream) || !it->is_done)
            continue;
        is_whole &= it->error == 0;
        if (it->error == ASOCK_OPERATION_ABORTED && !it->is_cancelled && it->bytes < it->len)
            sim_fail("untrue-close: submission %u, and %u went out with %llu of %zu bytes",
                     s->number, it->number, (unsigned long long)it->bytes, it->len);
    }
    s->stream->linger_was_told = is_whole;
}

static const struct {
    int option, level, name;
} names[] = {{ASOCK_OPTION_NO_DELAY, IPPROTO_TCP, 1 /* TCP_NODELAY */},
             {ASOCK_OPTION_KEEP_ALIVE, SOL_SOCKET, SO_KEEPALIVE},
             {ASOCK_OPTION_KEEP_ALIVE_COUNT, IPPROTO_TCP, 6 /* TCP_KEEPCNT */}};
#define NAMES (sizeof(names) / sizeof(names[0]))

/* Of all connections of a socket: a disconnect leaves the options. Behind it: of the next one. */
static void find_options(const struct stream *stream, const struct submission *until, int64_t *want)
{
    bool is_later = false;

    if (stream->before)
        find_options(stream->before, NULL, want);
    for (const struct submission *s = stream->first; s; s = s->next_of_stream) {
        is_later |= until && s == until;
        for (size_t i = 0; i < NAMES; i++)
            if (s->operation == ASOCK_OPERATION_SET_OPTION && s->option == names[i].option)
                want[i] = s->is_done && !s->error && !is_later ? s->value : -1;
    }
}

/* The kernel's socket has what was reported to the program. */
static void judge_options(const struct stream *stream)
{
    int64_t want[NAMES];

    memset(want, 0xff, sizeof(want));
    find_options(stream, stream->disconnect, want);
    for (size_t i = 0; i < NAMES; i++)
        if (want[i] >= 0 && tcp_option(stream->tcp, names[i].level, names[i].name) != want[i])
            sim_fail("lost-option: %d of stream %u is %d, not %d", names[i].option, stream->number,
                     tcp_option(stream->tcp, names[i].level, names[i].name), (int)want[i]);
}

/* ---- a daemon that hangs ---- */

static void freeze_buffers(const struct client *client)
{
    for (unsigned int i = 0; i < BUFFERS; i++) {
        struct model_buffer *buffer = model.buffers[i];

        if (!buffer || !buffer->buffer || buffer->client != client || buffer->is_frozen)
            continue;
        buffer->is_frozen = true;
        buffer->sum = sim_sum(buffer->at, buffer->size);
    }
}

/* What the daemon does after the library has given up (S57) reaches no memory of the program's. */
static void judge_buffers(void)
{
    for (unsigned int i = 0; i < BUFFERS; i++) {
        const struct model_buffer *buffer = model.buffers[i];

        if (buffer && buffer->buffer && buffer->is_frozen &&
            sim_sum(buffer->at, buffer->size) != buffer->sum)
            sim_fail("written-later: a buffer of a session that was given up");
    }
}

void oracle_look(void)
{
    for (unsigned int i = 0; i < CONTEXTS; i++) {
        struct client *client = &model.clients[i];
        uint64_t limit;

        if (!client->context || client->has_given_up ||
            asock_context_get_error(client->context) != ASOCK_TIMED_OUT)
            continue;
        /* It said no Hello for ten seconds, while the program waited for something else. */
        if (asock_context_get_limit(client->context, ASOCK_LIMIT_OPS, &limit) == -EAGAIN) {
            client->is_lost = true;
            continue;
        }
        if (sim_now_ms() > model.stopped_until + GRACE_MS)
            sim_fail("false-hang: a session was given up, and the daemon goes on");
        sim_trace("client %u takes the daemon to hang", i);
        client->is_lost = client->has_given_up = true;
        freeze_buffers(client);
    }
}

static void note_share(const struct submission *s)
{
    struct client *client = s->op->client;
    const char *directory = s->op->op ? asock_op_get_directory(s->op->op) : NULL;

    if (s->operation != ASOCK_OPERATION_SHARE || s->error || !s->op->op)
        return;
    if (!directory)
        sim_fail("no-directory: submission %u has shared", s->number);
    snprintf(client->share, sizeof(client->share), "%s/asock.sock", directory);
    client->share_generation = s->generation;
}

/* Which hosts the policy of daemon.c and the restrictions of asks.c deny. */
void oracle_check_connect(const struct tcp *tcp)
{
    const struct submission *s = model.intents[tcp->intent].submission;
    const struct client *client = s ? s->stream->client : NULL;
    bool is_in = tcp->remote.ss_family == AF_INET;
    unsigned int denies = model_denies(client);
    bool is_current = s && s->generation == client->generation;

    if (!s)
        return; /* the gateway's */

    if (sim.faults & 1u << FAULT_DENIES && tcp->host == (is_in ? HOST_SLOW : HOST_REFUSES))
        sim_fail("denied-connected: submission %u, to host %u", s->number, tcp->host);
    if (is_current &&
        ((denies & 1 && is_in && tcp->host == HOST_ACCEPTS) || (denies & 2 && !is_in)))
        sim_fail("restricted-connected: submission %u, to host %u", s->number, tcp->host);
}

static void judge_connect(struct submission *s)
{
    if (s->error == ASOCK_ACCESS_DENIED && !model_may_deny(s->op->client) &&
        !(sim.faults & (1u << FAULT_DENIES | 1u << FAULT_AUDIT)))
        sim_fail("denied: submission %u, and nothing denies it", s->number);
    if (s->error == 0 || s->bytes > 0)
        connections_find(s);
}

/* The addresses that seams.c has for "n<value>.sim" (S58). */
static void judge_resolve(const struct submission *s)
{
    asock_op *op = s->op->op;
    bool has_none = s->value % 8 >= 6;

    if (s->error == 0 && has_none)
        sim_fail("made-up: submission %u has addresses of a name without", s->number);
    if ((s->error == ASOCK_HOST_NOT_FOUND || s->error == ASOCK_NO_DATA) && !has_none)
        sim_fail("lost-name: submission %u finds no address, and there are some", s->number);
    if (op && (asock_op_get_address_count(op) > 0) != (s->error == 0))
        sim_fail("no-addresses: submission %u ended %d with %u addresses", s->number, s->error,
                 asock_op_get_address_count(op));
}

/* Never before its cause (S60): the kernel's socket has hung up, or is closed. */
static void judge_hangup(const struct submission *s)
{
    const struct tcp *tcp = s->stream->tcp;
    bool is_over;

    if (!tcp)
        return; /* its connect is reported later */
    is_over = !tcp->file || tcp_events(tcp) & (POLLHUP | POLLERR);
    if (s->error == 0 && !(is_over && tcp->is_write_shut && tcp->fin_received))
        sim_fail("early-hangup: submission %u, and the connection goes on", s->number);
    if (s->error == ASOCK_CONNECTION_RESET && !is_over)
        sim_fail("early-reset: submission %u, and the connection goes on", s->number);
}

/*
 * The library keeps within what is reserved for its session, and what is within it is never
 * refused.
 */
static void judge_refusal(const struct submission *s)
{
    bool is_within = s->operation == ASOCK_OPERATION_SEND ||
                     (s->operation == ASOCK_OPERATION_RECEIVE && !s->is_multishot) ||
                     s->operation == ASOCK_OPERATION_GET_OPTION;
    bool is_short = sim.faults &
                    (1u << FAULT_ALLOC | 1u << FAULT_LIBRARY_ALLOC | 1u << FAULT_NO_MEMORY);

    if (is_within && s->error == ASOCK_NO_BUFFER_SPACE && !is_short)
        sim_fail("refused-within-grant: submission %u", s->number);
}

void oracle_done(struct submission *s)
{
    judge_refusal(s);
    if (!s->stream) {
        if (s->operation == ASOCK_OPERATION_RESOLVE)
            judge_resolve(s);
        s->is_counted = true;
        note_share(s);
        return;
    }
    oracle_look();
    /* A daemon without memory may reject a client. */
    if (s->error == ASOCK_CONNECTION_ABORTED && sim.faults & 1u << FAULT_ALLOC)
        s->stream->client->is_lost = true;
    if (s->error == ASOCK_CONNECTION_ABORTED && !s->is_multishot && !is_lost(s->stream) &&
        !s->stream->was_killed)
        sim_fail("lost-session: submission %u, and nobody has ended anything", s->number);
    judge_order(s);
    if (s->error == ASOCK_FAULT && !s->is_cut)
        sim_fail("made-up: submission %u has ended with a fault of its memory", s->number);
    if (s->operation == ASOCK_OPERATION_HANGUP)
        judge_hangup(s);
    if (s->operation == ASOCK_OPERATION_CONNECT)
        judge_connect(s);
    if (s->operation == ASOCK_OPERATION_CLOSE)
        judge_close(s);
    listeners_done(s);
    judge_sent(s->stream);
    judge_gap(s, s->is_multishot ? 0 : s->bytes);
    judge_received(s->stream);
    disconnect_done(s);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* For the library to notice it where the daemon was stopped meanwhile. */
static uint64_t patience(uint64_t since)
{
    return GRACE_MS + (model.stopped_until > since ? HANG_MS : 0) +
           (model.late_until > since ? ASK_MS : 0);
}

void oracle_check_call(const char *name, uint64_t began, uint64_t timeout_ms)
{
    if (sim_now_ms() > began + timeout_ms + patience(began))
        sim_fail("late: %s() took %llu ms of %llu", name,
                 (unsigned long long)(sim_now_ms() - began), (unsigned long long)timeout_ms);
}

/* One side or the other did not look at deadlines before. A daemon that takes over begins then. */
static uint64_t waits_until(void)
{
    return later(model.blocked_until, model.carried);
}

/*
 * A connect is read with its data: through a small buffer in many turns, which may be late. What
 * comes while there is no daemon is read by the next one.
 */
static uint64_t on_its_way(const struct submission *s)
{
    const uint32_t slow = 1u << FAULT_SMALL_BUFFERS | 1u << FAULT_LATE;
    bool is_slow = s->operation == ASOCK_OPERATION_CONNECT && s->len > 0;

    return model.away - s->away + (is_slow && (sim.faults & slow) == slow ? ASK_MS : 0);
}

/* A program in a callback does not run its event loop, so nothing of its context ends meanwhile. */
void oracle_check_deadlines(void)
{
    for (const struct submission *s = model.submissions; s; s = s->next)
        if (!s->is_done && s->deadline && !(s->flags & ASOCK_ERRORS_ONLY) &&
            sim_now_ms() >
                later(s->deadline, waits_until()) + patience(s->submitted) + on_its_way(s) &&
            !is_in_callback(s->op->client))
            sim_fail("late: submission %u was due at %llu", s->number,
                     (unsigned long long)s->deadline);
}

/* Half a stream never looks like a whole one (S42). */
static void judge_fin(const struct stream *stream)
{
    const struct tcp *tcp = stream->tcp;

    if (!tcp->peer_saw_fin || is_lost(stream))
        return;
    for (const struct submission *s = stream->connect; s; s = s->next_of_stream) {
        if ((s->operation == ASOCK_OPERATION_SHUTDOWN && s->how != ASOCK_SHUTDOWN_RECEIVE) ||
            s->operation == ASOCK_OPERATION_DISCONNECT)
            return; /* what was submitted behind it is not of the stream */
        if (!carries(s) || s->is_after_close || !s->is_done || s->error == 0)
            continue;
        if (s->operation == ASOCK_OPERATION_CONNECT && s != stream->connect)
            continue; /* of a socket that was connected */
        if (s->bytes > 0 && s->bytes < s->len)
            sim_fail("cut-send: the peer of stream %u sees an end in the middle of submission %u",
                     stream->number, s->number);
        if (s->bytes == 0 && s->error == ASOCK_OPERATION_ABORTED && !s->is_cancelled)
            sim_fail("cut-send: the peer of stream %u sees an end without submission %u",
                     stream->number, s->number);
    }
}

static void judge_stream(struct stream *stream)
{
    judge_sent(stream);
    judge_received(stream);
    if (!stream->tcp)
        return;
    judge_options(stream);
    judge_fin(stream);
    if (stream->linger_was_told && stream->tcp->peer_saw_reset && !is_lost(stream) &&
        !stream->was_killed)
        sim_fail("reset-after-close: stream %u was closed with success, and its peer got a reset",
                 stream->number);
}

/* A wait for the end of a connection that goes on, and that no side is left to end. */
static bool is_nobodys(const struct submission *s)
{
    return (s->operation == ASOCK_OPERATION_HANGUP || listeners_is_endless(s)) && !s->op->op;
}

void oracle_judge_ends(void)
{
    for (const struct submission *s = model.submissions; s; s = s->next)
        if (!s->is_done && !(s->flags & ASOCK_ERRORS_ONLY) && !is_nobodys(s))
            sim_fail("never-done: submission %u, operation %d", s->number, s->operation);
}

void oracle_judge_all(void)
{
    for (const struct submission *s = model.submissions; s; s = s->next)
        if ((!s->is_done && !is_nobodys(s)) || s->is_told_early)
            sim_fail("never-%s: submission %u, operation %d", s->is_done ? "told" : "done",
                     s->number, s->operation);
    judge_buffers();
    for (struct stream *stream = model.streams; stream; stream = stream->next)
        judge_stream(stream);
    listeners_judge_all();
    raw_judge_ends();
    relay_judge();
}
