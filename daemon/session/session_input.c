/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requests of a session.
 *
 * Happy path: a read -> each whole frame is dispatched -> the next read, until there is no more, or
 * the session has had its share of the turn.
 * Failures: a frame that is not one ends the session; no room for a reply or no memory for an op
 * pauses reading, and so does a request whose descriptors the client has no room for.
 */
#include <errno.h>

#include "daemon/core/limits.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/session/send.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "proto/frame.h"

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

/* The kernel does not say when the client reads. */
static void look_later(struct session *s)
{
    uint32_t ms = s->input_look_ms ? 2u * s->input_look_ms : LINGER_LOOK_MIN_MS;

    s->input_look_ms = (uint8_t)(ms < LINGER_LOOK_MAX_MS ? ms : LINGER_LOOK_MAX_MS);
    worker_set_deadline(s->worker, &s->retry, s->input_look_ms);
}

enum consumed { NEEDS_INPUT, NEEDS_ROOM, SPENT, ENDED };

/* What was to have one call has all that it can have. */
static void end_batches(struct session *s)
{
    send_batch_end(s);
    sock_end_reads(s);
}

static enum consumed broken_input(struct session *s, const char *why)
{
    end_batches(s);
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
        int r;

        if (n == 0)
            return NEEDS_INPUT;
        if (n < 0)
            return broken_input(s, "the lengths of a frame are out of range");
        if (!can_take(s))
            return NEEDS_ROOM;
        r = s->dispatch(s, &frame);
        if (r < 0)
            return broken_input(s, s->why);
        if (r > 0) {
            look_later(s);
            return NEEDS_ROOM;
        }
        s->input_look_ms = 0;
        worker_settle(s->worker);
        if (s->has_ended)
            return ENDED;
        transport_consume(&s->transport, (size_t)n);
        if (share_look(&s->worker->shares, --*budget % TURN_LOOK == 0))
            *budget = 0;
    }
    return SPENT;
}

static enum consumed consume_frames(struct session *s, unsigned int *budget)
{
    enum consumed c;

    s->latency.last_sent = s->latency.last_received = 0;
    c = consume_some(s, budget);
    end_batches(s);
    return c;
}

void session_run_input(struct session *s)
{
    unsigned int requests = TURN_REQUESTS, reads = TURN_READS;
    enum consumed c;

    if (s->has_ended)
        return;
    /* An earlier step has read all there was: this one is for what that had no time for. */
    if (s->transport.in_emptied && !s->transport.out_lost)
        reads = 0;
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
        /*
         * The client reads no more replies. All that it sent before has been read, so this is the
         * end.
         */
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
    /*
     * If the client reads no more replies, nothing else may wake the session: the next read finds
     * the end.
     */
    if (c == SPENT || s->transport.out_lost)
        session_resume_later(s);
}
