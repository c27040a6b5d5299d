/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps whose ops the library makes: those of one call, and those of begin and end. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "tests/sim/listeners.h"
#include "tests/sim/steps.h"

/* ---- one call, which waits ---- */

static const int timeouts[] = {1, 50, 500, 3000, 20000};

/* In a callback they are refused, and nothing happens. */
static void expect_refusal(ssize_t r)
{
    if (r != -EDEADLK)
        sim_fail("not-refused: a call that waits says %zd in a callback", r);
}

/* Its place among those of the stream is that of the call. */
static struct submission *begin_call(struct client *client, struct stream *stream,
                                     enum asock_operation operation, size_t len, int timeout)
{
    struct submission *s = submission_new(op_make(client), stream, operation);

    s->len = len;
    if (operation != ASOCK_OPERATION_CONNECT)
        s->data = sim_alloc(len);
    if (operation == ASOCK_OPERATION_SEND)
        sim_pattern(s->number, 0, s->data, len);
    submission_made(s, 1);
    s->timeout_ms = (unsigned int)timeout; /* oracle_check_call() looks at it */
    return s;
}

static void end_call(struct submission *s, ssize_t r)
{
    int last = asock_context_get_last_error(s->op->client->context, NULL, 0);

    model.blocked_until = sim_now_ms();
    if (r < 0 && last > 0 && -asock_error_errno(last) != r)
        sim_fail("other-error: submission %u returns %zd, its op had %s", s->number, r,
                 asock_error_name(last));
    s->error = r >= 0 ? 0 : last > 0 ? last : ASOCK_NO_BUFFER_SPACE;
    if (s->operation == ASOCK_OPERATION_SEND) {
        s->bytes = r < 0 ? 0 : s->len;
        /*
         * One that was aborted has sent nothing: its time was over before its turn
         * (asock_send_all(3)).
         */
        s->is_partial = r < 0 && last > 0 && last != ASOCK_OPERATION_ABORTED;
    } else if (s->operation == ASOCK_OPERATION_RECEIVE && r >= 0) {
        s->bytes = (uint64_t)r;
        s->result_flags = r == 0 && s->len > 0 ? ASOCK_END_OF_STREAM : 0;
    }
    submission_done(s);
}

void step_send_all(const struct step *step)
{
    struct stream *stream = stream_at(step->a);
    int timeout = timeouts[step->d % 5];
    uint64_t began = sim_now_ms();
    struct submission *s;
    ssize_t r;

    if (!stream || !stream->client->context)
        return;
    if (is_in_callback(stream->client)) {
        expect_refusal(LIB(asock_send_all(stream->socket, "", 0, timeout)));
        return;
    }
    s = begin_call(stream->client, stream, ASOCK_OPERATION_SEND, step_length(step->c), timeout);
    r = LIB(asock_send_all(stream->socket, s->data, s->len, timeout));
    oracle_check_call("asock_send_all", began, (uint64_t)timeout);
    end_call(s, r);
}

void step_receive_some(const struct step *step)
{
    struct stream *stream = stream_at(step->a);
    int timeout = timeouts[step->d % 5];
    uint64_t began = sim_now_ms();
    struct submission *s;
    ssize_t r;

    if (!stream || !stream->client->context)
        return;
    if (is_in_callback(stream->client)) {
        expect_refusal(LIB(asock_receive_some(stream->socket, NULL, 0, timeout)));
        return;
    }
    s = begin_call(stream->client, stream, ASOCK_OPERATION_RECEIVE, step_length(step->c), timeout);
    r = LIB(asock_receive_some(stream->socket, s->data, s->len, timeout));
    oracle_check_call("asock_receive_some", began, (uint64_t)timeout);
    end_call(s, r);
}

/* To a name, or to an address in text form. */
void step_dial(const struct step *step)
{
    struct client *client = client_of(step->b);
    int timeout = timeouts[step->d % 5];
    uint64_t began = sim_now_ms();
    struct destination to;
    struct stream *stream;
    struct submission *s;
    char host[INET6_ADDRSTRLEN];
    int r;

    if (!client || is_in_callback(client) || model.sockets[step->a % SOCKETS] ||
        model.intent_count == INTENTS)
        return;
    stream = stream_make(client, step->a);
    s = begin_call(client, stream, ASOCK_OPERATION_CONNECT, 0, timeout);
    step_intent(s, step);
    to = step_destination(step->c, s->intent);
    if (to.is_name)
        strcpy(host, to.name);
    else
        getnameinfo((const struct sockaddr *)&to.addr, to.len, host, sizeof(host), NULL, 0,
                    NI_NUMERICHOST);
    r = LIB(asock_dial(client->context, host, to.service, timeout, &stream->socket));
    oracle_check_call("asock_dial", began, (uint64_t)timeout);
    if (r < 0) {
        stream->socket = NULL;
        stream->is_closing = true;
        model.sockets[step->a % SOCKETS] = NULL;
    }
    end_call(s, r);
}

/* ---- begin and end ---- */

static int call_begin(struct submission *s, struct destination *to, asock_callback callback)
{
    asock_socket *socket = s->stream->socket;
    struct model_op *op = s->op;

    switch (s->operation) {
    case ASOCK_OPERATION_SEND:
        return LIB(asock_begin_send(socket, s->data, s->len, callback, op, &op->op));
    case ASOCK_OPERATION_RECEIVE:
        return LIB(asock_begin_receive(socket, s->data, s->len, callback, op, &op->op));
    default:
        if (to->is_name)
            return LIB(
                asock_begin_connect_host(socket, to->name, to->service, callback, op, &op->op));
        return LIB(asock_begin_connect(socket, (const struct sockaddr *)&to->addr, to->len,
                                       callback, op, &op->op));
    }
}

static void fill(struct submission *s, const struct step *step, struct destination *ret)
{
    if (s->operation == ASOCK_OPERATION_CONNECT) {
        step_intent(s, step);
        *ret = step_destination(step->c, s->intent);
        return;
    }
    s->len = step_length(step->d);
    s->data = sim_alloc(s->len);
    if (s->operation == ASOCK_OPERATION_SEND)
        sim_pattern(s->number, 0, s->data, s->len);
}

void step_begin(const struct step *step)
{
    static const enum asock_operation operations[] = {ASOCK_OPERATION_CONNECT, ASOCK_OPERATION_SEND,
                                                      ASOCK_OPERATION_SEND,
                                                      ASOCK_OPERATION_RECEIVE};
    struct stream *stream = stream_at(step->a);
    struct model_op *op, *old = model.ops[step->b % OPS];
    struct destination to;
    struct submission *s;
    int r;

    if (!stream || !stream->client->context || (old && old->op) || model.intent_count == INTENTS ||
        stream_is_disconnecting(stream))
        return;
    op = op_make(stream->client);
    op->is_begun = true;
    op->has_callback = step->b % 4 != 3;
    s = submission_new(op, stream, operations[step->c % 4]);
    fill(s, step, &to);
    r = call_begin(s, &to, op->has_callback ? model_callback : NULL);
    if (r == 0 || (r < 0 && op->op))
        sim_fail("not-begun: submission %u is begun with %d", s->number, r);
    if (r > 0)
        model.ops[step->b % OPS] = op;
    submission_made(s, r);
}

static void check_end(struct model_op *op, int r, uint64_t bytes)
{
    struct submission *s = op->submission;

    if (r < 0)
        sim_fail("not-ended: asock_end() of submission %u says %d", s->number, r);
    if (!s->is_done) {
        s->is_told_early = op->has_callback;
        submission_done(s);
    }
    if (s->error != r || s->bytes != bytes)
        sim_fail("ended-otherwise: submission %u with %d and %llu bytes, asock_end() says %d "
                 "and %llu",
                 s->number, s->error, (unsigned long long)s->bytes, r, (unsigned long long)bytes);
    if (LIB(asock_end(op->op, NULL)) != -EINVAL)
        sim_fail("ended-twice: submission %u", s->number);
}

/* What is still pending it cancels first, or leaves alone. */
void step_end(const struct step *step)
{
    struct model_op *op = model.ops[step->a % OPS];
    uint64_t bytes = 0;
    int r;

    if (!op || !op->op || !op->is_begun)
        return;
    if (asock_op_is_pending(op->op) && !op->in_callback) {
        if (step->b % 2)
            return;
        op->submission->is_cancelled = true;
        LIB(asock_cancel(op->op));
    }
    LIB(asock_op_ref(op->op));
    r = listeners_end(op, &bytes);
    model.blocked_until = sim_now_ms();
    check_end(op, r, bytes);
    listeners_ended(op);
    op->is_begun = false;
    model.ops[step->a % OPS] = NULL;
    op->op = LIB(asock_op_unref(op->op));
}
