/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Submissions: made, ended, each once. */
#include "tests/sim/model.h"

#include <errno.h>
#include <string.h>

#include "tests/sim/calls.h"
#include "tests/sim/listeners.h"

/* A program whose callbacks submit ops that end at once would never end. */
#define REPEATS_MAX 12

struct model model;

void model_reset(void)
{
    struct submission *submission;
    struct model_op *op;
    struct stream *stream;

    while ((submission = model.submissions)) {
        model.submissions = submission->next;
        byte_queue_free(&submission->shots);
        sim_free(submission->data);
        sim_free(submission);
    }
    while ((op = model.all_ops)) {
        model.all_ops = op->next;
        sim_free(op);
    }
    while ((stream = model.streams)) {
        model.streams = stream->next;
        sim_free(stream);
    }
    for (unsigned int i = 0; i < BUFFERS; i++)
        sim_free(model.buffers[i]);
    memset(&model, 0, sizeof(model));
}

bool model_is_pending(const struct model_op *op)
{
    return op->submission && !op->submission->is_done;
}

struct submission *submission_new(struct model_op *op, struct stream *stream,
                                  enum asock_operation operation)
{
    struct submission *submission = sim_alloc(sizeof(*submission));

    submission->op = op;
    submission->stream = stream;
    submission->operation = operation;
    submission->number = ++model.submission_count;
    submission->generation = op->client->generation;
    submission->intent = UINT32_MAX;
    submission->next = model.submissions;
    model.submissions = submission;
    return submission;
}

static void append(struct stream *stream, struct submission *submission)
{
    if (stream->last)
        stream->last->next_of_stream = submission;
    else
        stream->first = submission;
    stream->last = submission;
    submission->was_connected = stream->tcp != NULL;
    submission->is_after_close = stream->is_closing;
    if (submission->operation == ASOCK_OPERATION_CLOSE)
        stream->is_closing = true;
    if (submission->operation == ASOCK_OPERATION_SHUTDOWN && submission->how != ASOCK_SHUTDOWN_SEND)
        stream->is_receive_shut = true;
}

void submission_made(struct submission *submission, int r)
{
    struct model_op *op = submission->op;

    sim_trace("  %u: operation %d of stream %d, %zu bytes: %d", submission->number,
              submission->operation, submission->stream ? (int)submission->stream->number : -1,
              submission->len, r);
    if (r < 0) {
        submission->is_refused = submission->is_done = true;
        return;
    }
    if (model_is_pending(op))
        sim_fail("accepted-twice: op of submission %u is in flight, and was taken again",
                 op->submission->number);
    op->submission = submission;
    submission->submitted = sim_now_ms();
    submission->away = model.away;
    submission->timeout_ms = submission->operation == ASOCK_OPERATION_CLOSE
                                 ? 0
                                 : submission->timeout_ms;
    if (submission->timeout_ms)
        submission->deadline = submission->submitted + submission->timeout_ms;
    if (submission->stream)
        append(submission->stream, submission);
    submission->is_at_once = r == 0;
    if (r == 0)
        submission_done(submission);
}

/*
 * What was received is copied: its place may be another op's soon. What was sent must not be read
 * any more.
 */
static void settle_buffer(struct submission *s)
{
    bool is_received = s->operation == ASOCK_OPERATION_RECEIVE && !s->is_multishot;

    if (s->buffer)
        s->buffer->uses--;
    /* Memory that the program had released was freed with this op. */
    if (is_received && s->shared && !s->buffer->buffer)
        s->is_unseen = true;
    if (is_received && s->shared && s->buffer->buffer) {
        s->data = sim_alloc(s->len);
        memcpy(s->data, s->shared, s->len);
    }
    if (is_received || !s->data)
        return;
    memset(s->data, 0xdd, s->len);
    sim_free(s->data);
    s->data = NULL;
}

void submission_done(struct submission *s)
{
    asock_op *op = s->op->op;

    if (s->is_done)
        sim_fail("told-twice: submission %u", s->number);
    s->is_done = true;
    s->done_at = sim_now_ms();
    if (op) {
        s->error = asock_op_get_error(op);
        s->bytes = asock_op_get_bytes(op);
        s->result_flags = asock_op_get_result_flags(op);
    }
    if (s->error < 0)
        sim_fail("not-done: submission %u is told with %d", s->number, s->error);
    sim_trace("  %u: operation %d of stream %d ends: %s, %llu of %zu bytes, flags %u", s->number,
              s->operation, s->stream ? (int)s->stream->number : -1, asock_error_name(s->error),
              (unsigned long long)s->bytes, s->len, s->result_flags);
    /*
     * By the library (S57): the daemon was stopped, and counts from when it has read the request.
     */
    if (s->error == ASOCK_OPERATION_ABORTED && s->timeout_ms &&
        sim_now_ms() > s->submitted + s->timeout_ms && model.stopped_until > s->submitted)
        s->is_cancelled = true;
    settle_buffer(s);
    oracle_done(s);
}

static void run_queued(struct model_op *op)
{
    struct step steps[QUEUED_STEPS];
    unsigned int count = op->queued_count;

    memcpy(steps, op->queued, sizeof(steps));
    op->queued_count = 0;
    op->repeats++;
    /* Some are run in each callback, as a program's own would be. */
    for (unsigned int i = 0; i < count; i++)
        if (steps[i].d % 3 == 0 && !sim.is_calm && op->repeats < REPEATS_MAX)
            op->queued[op->queued_count++] = steps[i];
    for (unsigned int i = 0; i < count; i++) {
        struct step step = steps[i];

        step.inside = 0;
        step_run(&step);
    }
}

/* What it keeps the library from writing for longer leaves late. */
#define LATE_CALLBACK_MS 1000u

void model_callback(asock_op *raw, void *userdata)
{
    struct model_op *op = userdata;
    struct submission *s = op->submission;
    enum actor before = sim.actor;
    uint64_t began = sim_now_ms();
    asock_op *own = op->op;

    sim.actor = ACTOR_NONE;
    if (!s)
        sim_fail("told-unasked: a callback of an op that was never submitted");
    if (s->is_done && !s->is_told_early)
        sim_fail("told-twice: submission %u", s->number);
    op->in_callback++;
    op->op = raw;
    if (s->is_multishot && asock_op_get_slice(raw, &(size_t){0})) {
        size_t len;
        const void *data = asock_op_get_slice(raw, &len);

        oracle_shot(s, data, len);
    }
    if (s->accepts_on && asock_op_get_result_flags(raw) & ASOCK_MORE)
        listeners_arrival(s);
    else if (s->is_told_early)
        s->is_told_early = false;
    else if (!s->is_multishot || !(asock_op_get_result_flags(raw) & ASOCK_MORE))
        submission_done(s);
    op->op = own;
    if (op->queued_count > 0)
        run_queued(op);
    op->in_callback--;
    model.blocked_until = sim_now_ms();
    if (model.blocked_until > began + LATE_CALLBACK_MS)
        model.late_until = model.blocked_until;
    sim.actor = before;
}

void model_look(void)
{
    oracle_look();
    for (struct model_op *op = model.all_ops; op; op = op->next)
        if (op->op && !op->has_callback && model_is_pending(op) && !asock_op_is_pending(op->op) &&
            !op->submission->is_multishot)
            submission_done(op->submission);
}

/*
 * Who comes as another user. Where calls are short or interrupted the daemon says so, at most, in
 * part.
 */
static bool is_refused(const struct client *client)
{
    bool is_cut = sim.faults & (1u << FAULT_PARTIAL | 1u << FAULT_INTERRUPT);
    uint64_t limit;
    int error;

    if (!client->sharer || !client->context)
        return false;
    error = asock_context_get_error(client->context);
    return error == ASOCK_ACCESS_DENIED ||
           (error == ASOCK_CONNECTION_ABORTED && is_cut &&
            asock_context_get_limit(client->context, ASOCK_LIMIT_OPS, &limit) == -EAGAIN);
}

unsigned int model_denies(const struct client *client)
{
    unsigned int denies = 0;

    for (; client; client = client->sharer) {
        denies |= client->denies;
        if (client->sharer && client->sharer->generation != client->sharer_generation)
            break;
    }
    return denies;
}

bool model_may_deny(const struct client *client)
{
    while (client && !client->may_deny)
        client = client->sharer;
    return client != NULL;
}

bool model_may_be_lost(const struct client *client)
{
    for (; client; client = client->sharer)
        if (client->is_lost || is_refused(client) ||
            (client->sharer &&
             (!client->sharer->context || client->sharer->generation != client->sharer_generation)))
            return true;
    return false;
}

/* What is lost is not reported: the ops of a context end with it, without a callback. */
void model_lost(struct client *client)
{
    for (struct submission *s = model.submissions; s; s = s->next) {
        if (s->op->client != client)
            continue;
        s->is_told_early = false;
        if (s->is_done)
            continue;
        s->is_done = s->is_counted = s->is_unknown = true;
        s->error = ASOCK_CONNECTION_ABORTED;
        if (s->buffer)
            s->buffer->uses--;
    }
}
