/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets that disconnect, and connect again (S73). Each connection is a stream of its own for the
 * oracle, with its own bytes and its own peer, so that nothing of one may show in the other.
 */
#include "client-lib/core/objects.h"
#include "tests/sim/steps.h"

bool stream_is_disconnecting(const struct stream *stream)
{
    for (const struct submission *s = stream->first; s; s = s->next_of_stream)
        if (s->operation == ASOCK_OPERATION_DISCONNECT && !s->is_done)
            return true;
    return false;
}

void step_disconnect(const struct step *step)
{
    static const unsigned int timeouts[] = {0, 0, 0, 5, 60, 500, 3000, 20000};
    struct stream *stream = stream_at(step->a);
    struct model_op *op;
    struct submission *s;

    if (!stream || !stream->client->context)
        return;
    op = op_for(stream->client, step->b);
    if (!op || model_is_pending(op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_DISCONNECT);
    s->timeout_ms = timeouts[step->c % 8];
    SIM_MUST(asock_op_set_timeout(op->op, s->timeout_ms) == 0);
    SIM_MUST(asock_op_set_flags(op->op, 0) == 0);
    submission_made(s, LIB(asock_disconnect(stream->socket, op->op)));
}

/* Its callback may be still to come. */
static bool has_ended(const struct submission *s)
{
    const struct model_op *op = s->op;

    return s->is_done || !op->op || op->submission != s || op->op->state == OP_DONE ||
           op->op->state == OP_HELD;
}

/* The end of an option that is not reported may be implied later. */
static bool may_go_on(const struct submission *s)
{
    return s->operation == ASOCK_OPERATION_SET_OPTION ||
           s->operation == ASOCK_OPERATION_GET_OPTION || s->operation == ASOCK_OPERATION_CLOSE;
}

/*
 * Every other op of the connection has ended, and with success all that was sent has gone, unless
 * the program, or the library because it was overdue, has cancelled it.
 */
static void judge(const struct submission *disconnect)
{
    const struct stream *stream = disconnect->stream;
    bool is_behind_connect = false;

    for (const struct submission *s = stream->first; s != disconnect; s = s->next_of_stream) {
        is_behind_connect |= s == stream->connect;
        if (!has_ended(s) && !may_go_on(s))
            sim_fail("outlives: submission %u, the disconnect %u of its connection", s->number,
                     disconnect->number);
        if (is_behind_connect && s->is_done && s->operation == ASOCK_OPERATION_RECEIVE &&
            s->error == ASOCK_NOT_CONNECTED)
            sim_fail("untrue-disconnect: submission %u, and %u was too late for its connection",
                     disconnect->number, s->number);
        if (!disconnect->error && is_behind_connect && s->is_done && s->len > 0 &&
            (s->operation == ASOCK_OPERATION_SEND || s == stream->connect) &&
            s->error == ASOCK_OPERATION_ABORTED && !s->is_cancelled && !s->timeout_ms &&
            s->bytes < s->len)
            sim_fail("untrue-disconnect: submission %u, and %u went out with %llu of %zu bytes",
                     disconnect->number, s->number, (unsigned long long)s->bytes, s->len);
    }
}

/* Its socket goes on: what follows is of another stream. */
static void renew(struct stream *stream)
{
    struct stream *next = sim_alloc(sizeof(*next));

    next->client = stream->client;
    next->generation = stream->generation;
    next->was_killed = stream->was_killed;
    next->family = stream->family;
    next->socket = stream->socket;
    next->before = stream;
    next->number = model.stream_count++;
    next->next = model.streams;
    model.streams = next;
    for (unsigned int i = 0; i < SOCKETS; i++)
        if (model.sockets[i] == stream)
            model.sockets[i] = next;
    stream->socket = NULL;
    stream->is_closing = true;
    sim_trace("  stream %u goes on as %u", stream->number, next->number);
}

void disconnect_done(struct submission *s)
{
    struct stream *stream = s->stream;

    if (s->operation != ASOCK_OPERATION_DISCONNECT ||
        (s->error && s->error != ASOCK_CONNECTION_RESET))
        return;
    if (stream->disconnect)
        sim_fail("disconnected-twice: submission %u behind %u", s->number,
                 stream->disconnect->number);
    judge(s);
    stream->disconnect = s;
    if (stream->socket && !stream->is_closing)
        renew(stream);
}
