/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: what an op has asked for, how far it has come, and when its time is over become a
 * record; with data that waits, in one piece, and the descriptors of a connect's attempts.
 * Failures: no memory. The writer keeps the error.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/state/datagrams.h"
#include "daemon/state/save.h"
#include "daemon/state/shared.h"
#include "daemon/verbs/verbs.h"

Asockd__State__Endpoint *save_endpoint(struct endpoint_room *room, const struct endpoint *e)
{
    asockd__state__endpoint__init(&room->endpoint);
    room->value = *e;
    room->endpoint.address.data = room->value.address;
    room->endpoint.address.len = e->address_len;
    room->endpoint.port = e->port;
    room->endpoint.scope_id = e->scope_id;
    return &room->endpoint;
}

char *save_text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

struct attempt_room {
    Asockd__State__Attempt attempt;
    struct endpoint_room address;
};

/* Everything that it refers to, for as long as the record is written. */
struct op_room {
    Asockd__State__Record record;
    Asockd__State__Op op;
    struct endpoint_room endpoint, local, remote, others[CONNECT_ADDRESSES];
    Asockd__State__Endpoint *other_at[CONNECT_ADDRESSES];
    struct attempt_room attempts[CONNECT_ADDRESSES];
    Asockd__State__Attempt *attempt_at[CONNECT_ADDRESSES];
    struct connect_past past;
    struct datagram_room datagram;
    bool is_datagram;
};

/* In one piece. NULL without memory. */
static uint8_t *join_chunks(const struct op *op, size_t *ret_len)
{
    size_t len = 0;
    uint8_t *data;

    for (const struct chunk *c = op->send.first; c; c = c->next)
        len += c->end - c->start;
    *ret_len = len;
    data = mem_alloc(len ? len : 1);
    if (!data)
        return NULL;
    len = 0;
    for (const struct chunk *c = op->send.first; c; c = c->next) {
        memcpy(data + len, c->data + c->start, c->end - c->start);
        len += c->end - c->start;
    }
    return data;
}

static void fill_addresses(struct state_writer *out, struct op_room *room)
{
    const struct connect_past *past = &room->past;

    room->op.endpoint = save_endpoint(&room->endpoint, &past->addresses[0]);
    for (uint32_t i = 1; i < past->address_count; i++)
        room->other_at[i - 1] = save_endpoint(&room->others[i - 1], &past->addresses[i]);
    if (past->address_count < 2)
        return;
    room->op.others = room->other_at;
    room->op.n_others = past->address_count - 1;
    state_needs(out, STATE_FORMAT_LIST);
}

static void fill_attempts(struct state_writer *out, struct op_room *room)
{
    const struct connect_past *past = &room->past;

    /* That of a datagram socket wins at once, and nothing has been sent by it: it begins again. */
    if (out->most < STATE_FORMAT_ATTEMPT || room->is_datagram)
        return;
    for (uint32_t i = 0; i < past->attempt_count; i++) {
        Asockd__State__Attempt *to = &room->attempts[i].attempt;

        asockd__state__attempt__init(to);
        to->address = save_endpoint(&room->attempts[i].address, &past->attempts[i].address);
        to->descriptor = state_add_descriptor(out, past->attempts[i].fd);
        to->cookie = state_cookie(past->attempts[i].fd);
        room->attempt_at[i] = to;
    }
    room->op.attempts = room->attempt_at;
    room->op.n_attempts = past->attempt_count;
}

static void fill_connect(struct state_writer *out, struct op_room *room, const struct op *op)
{
    connect_save(op, &room->past);
    room->is_datagram = op->sock->more->dgram != NULL;
    room->op.host = save_text(room->past.host);
    room->op.port = room->past.port;
    room->op.lend = room->past.lend;
    if (room->past.lend)
        state_needs(out, STATE_FORMAT_LENT);
    room->op.local = save_endpoint(&room->local, &room->past.local);
    room->op.remote = save_endpoint(&room->remote, &room->past.remote);
    fill_addresses(out, room);
    fill_attempts(out, room);
}

static uint32_t flags_of(const struct op *op)
{
    bool ends_receiving = op->verb == VERB_SHUTDOWN && !op->ends_sending;

    return (op->errors_only ? ASOCKD__STATE__OP__FLAG__ERRORS_ONLY : 0u) |
           (op->ends_sending ? ASOCKD__STATE__OP__FLAG__ENDS_SENDING : 0u) |
           (op->is_counted ? ASOCKD__STATE__OP__FLAG__COUNTED : 0u) |
           (op->has_begun ? ASOCKD__STATE__OP__FLAG__BEGUN : 0u) |
           (op->is_reference ? ASOCKD__STATE__OP__FLAG__REFERENCE : 0u) |
           (op->is_behind_missed ? ASOCKD__STATE__OP__FLAG__BEHIND_MISSED : 0u) |
           (ends_receiving ? ASOCKD__STATE__OP__FLAG__ENDS_RECEIVING : 0u);
}

void save_op(struct state_writer *out, const struct op *op, uint32_t queue)
{
    bool is_send = op->verb == VERB_SEND || op->verb == VERB_CONNECT;
    struct op_room room;
    struct shared_room slices = {0};
    Asockd__State__Op *to = &room.op;
    uint8_t *data = NULL;

    asockd__state__record__init(&room.record);
    asockd__state__op__init(to);
    to->queue = queue;
    to->verb = op->verb;
    to->token = op->token;
    to->bytes = op->bytes;
    to->socket_id = op->socket_id;
    to->flags = flags_of(op);
    to->until = op->deadline ? op->deadline->deadline.timer.deadline : 0;
    if (is_send) {
        to->total = op->send.total;
        to->received = op->send.received;
        data = join_chunks(op, &to->data.len);
        to->data.data = data;
        if (!data)
            out->error = -ENOMEM;
    } else if (op->verb == VERB_RECEIVE) {
        to->length = op_receive_length(op);
        to->receive_flags = op->receive_flags;
    } else if (op->verb == VERB_ACCEPT) {
        accept_save(op, &to->first_id, &to->end_id);
    } else if (op->verb == VERB_DISCONNECT) {
        state_needs(out, STATE_FORMAT_DISCONNECT);
    }
    if (op->verb == VERB_CONNECT)
        fill_connect(out, &room, op);
    else if (is_send && op->sock->more->dgram)
        datagrams_save_send(op, &room.datagram, to);
    if (shared_save_slices(op, &slices, to) < 0)
        out->error = -ENOMEM;
    room.record.kind_case = ASOCKD__STATE__RECORD__KIND_OP;
    room.record.op = to;
    state_add(out, &room.record);
    shared_free_room(&slices);
    mem_free(data);
}
