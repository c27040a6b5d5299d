/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes between a program and its connection.
 * Happy path, up: read into a free slot -> send -> the slot is free again; at the program's end of
 * stream a shutdown goes behind the sends. Down: receive into a free slot -> write -> free; at the
 * peer's end of stream the program's side is shut down. Both over: close.
 * Failures: a send that fails, or a reset behind the peer's end of stream, ends only the upward
 * direction. A receive that fails, an unreadable program, a malformed body end both, by reset. A
 * response whose head is malformed is answered for the server. The daemon has ended, and has taken
 * its memory back while a slow program still had to read what lies there: both end, by reset.
 *
 * Bounded: two slots each way. A slow program leaves no slot to receive into, a slow peer none to
 * read into. While little is said at a time a slot has a small piece of memory, as long as its op
 * is in flight or its data waits; one that is filled makes the lane bulk, and bulk takes blocks of
 * shared memory, which the daemon's kernel reads and writes in place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/answer.h"
#include "gateway/client.h"

/* Pieces of one wake-up; others have their turn then. */
#define READS_MAX 4
/* A block that has waited for so long is given back when others want it. */
#define RECLAIM_SECONDS 0.1

/* ---- slots ---- */

/* NULL: slots have all that the lane may have, or there is no memory. */
static char *small_get(struct lane *lane)
{
    char *data = lane->small_used < lane->pieces ? malloc(CLIENT_SMALL / lane->pieces) : NULL;

    if (data)
        lane->small_used++;
    return data;
}

static void small_put(struct lane *lane, char *data)
{
    free(data);
    lane->small_used--;
}

/*
 * Memory for the lane's next slot. NULL: one of the lane's will be free; if the lane uses none,
 * there is no memory.
 */
static struct slot *slot_take(struct client *client, struct lane *lane)
{
    struct slot *slot = &lane->slots[lane->next];
    char *data = NULL;
    asock_op *op;
    bool is_block;

    if (lane->used == (lane->is_bulk ? 2u : lane->pieces) || slot->state != SLOT_FREE)
        return NULL;
    op = uplink_op(&client->gateway->uplink);
    if (!op) {
        lane->is_bulk = false;
        return NULL;
    }
    if (lane->is_bulk) {
        data = blocks_get(&client->gateway->blocks);
        if (!data)
            gateway_want_blocks(client->gateway);
    }
    is_block = data != NULL;
    if (!data && !(data = small_get(lane))) {
        uplink_op_done(&client->gateway->uplink, op);
        return NULL;
    }
    slot->client = client;
    slot->op = op;
    slot->is_block = is_block;
    slot->data = data;
    slot->size = is_block ? BLOCK_SIZE : CLIENT_SMALL / lane->pieces;
    slot->len = slot->written = 0;
    lane->next ^= 1;
    lane->used++;
    return slot;
}

/* The oldest one, or (taken in vain) the newest. */
static void slot_free(struct lane *lane, struct slot *slot)
{
    if (slot->is_block)
        blocks_put(&slot->client->gateway->blocks, slot->data);
    else
        small_put(lane, slot->data);
    slot->op = uplink_op_done(&slot->client->gateway->uplink, slot->op);
    slot->state = SLOT_FREE;
    lane->used--;
    if (slot == &lane->slots[lane->first])
        lane->first ^= 1;
    else
        lane->next ^= 1;
}

/*
 * A piece that filled the small memory makes the lane bulk, one that would have fitted ends that.
 */
static void note_size(struct lane *lane, const struct slot *slot, size_t n)
{
    if (!slot->is_block && n == slot->size)
        lane->is_bulk = true;
    else if (slot->is_block && n < CLIENT_SMALL)
        lane->is_bulk = false;
}

void pump_end_slots(struct client *client)
{
    struct lane *lanes[] = {&client->up, &client->down};

    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            struct slot *slot = &lanes[i]->slots[j];

            if (slot->state == SLOT_FILLED)
                slot_free(lanes[i], slot);
            /* In flight: it completes all the same, and its callback frees the slot. */
            slot->op = asock_op_unref(slot->op);
        }
    }
}

void pump_free(struct client *client)
{
    struct lane *lanes[] = {&client->up, &client->down};

    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            if (lanes[i]->slots[j].state != SLOT_FREE && !lanes[i]->slots[j].is_block)
                free(lanes[i]->slots[j].data);
}

static void maybe_finish(struct client *client)
{
    if (client->down.is_done && (client->up.is_done || client->protocol == PROTOCOL_FORWARD))
        client_finish(client);
}

/* ---- up ---- */

static void on_shutdown(asock_op *op, void *userdata)
{
    struct client *client = userdata;

    (void)op;
    client->ops--;
    client->op = uplink_op_done(&client->gateway->uplink, client->op);
    if (client->state == CLIENT_RELAY) {
        client->up.is_done = true;
        maybe_finish(client);
    }
    client_settle(client);
}

/*
 * Behind the last send. The head of a plain request says where it ends, so its server gets no FIN.
 */
static void end_up(struct client *client)
{
    client->up.has_ended = true;
    if (client->protocol == PROTOCOL_FORWARD) {
        if (!client->body.is_done)
            client_abort(client);
        else
            client->up.is_done = true;
        return;
    }
    client->op = uplink_op(&client->gateway->uplink);
    if (!client->op) {
        client_abort(client);
        return;
    }
    asock_op_set_buffer(client->op, NULL, 0);
    asock_op_set_callback(client->op, on_shutdown, client);
    if (asock_shutdown(client->socket, client->op, ASOCK_SHUTDOWN_SEND) == 1) {
        client->ops++;
        return;
    }
    client->up.is_done = true;
    maybe_finish(client);
}

/* Nothing more can be sent after a failed send (S28). What the peer still sends is received. */
static void break_up(struct client *client)
{
    client->up.has_ended = client->up.is_done = client->up.is_broken = true;
    maybe_finish(client);
}

/* Behind the peer's end of stream no receive would tell, and nothing may be sent for long. */
static void note_lost(struct client *client)
{
    if (client->is_lost && client->down.has_ended && !client->up.is_done)
        break_up(client);
}

static void on_hangup(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    client->ops--;
    if (client->state == CLIENT_RELAY) {
        client->is_lost = error && error != ASOCK_OPERATION_NOT_SUPPORTED;
        note_lost(client);
    }
    client_settle(client);
}

/*
 * The peer has ended its stream while the program goes on: no receive would tell that the
 * connection is lost.
 */
static void watch(struct client *client)
{
    if (asock_op_new(client->gateway->uplink.context, &client->hangup) < 0)
        return; /* what receives and sends tell has to do */
    asock_op_set_callback(client->hangup, on_hangup, client);
    if (asock_await_hangup(client->socket, client->hangup) == 1)
        client->ops++;
}

static void receive_more(struct client *client, bool is_company);

void pump_note_passed(struct client *client, size_t n)
{
    if (client->owed != OWED_ALL)
        client->owed -= n < client->owed ? n : client->owed;
}

static void on_sent(asock_op *op, void *userdata)
{
    struct slot *slot = userdata;
    struct client *client = slot->client;
    int error = asock_op_get_error(op);

    client->ops--;
    pump_note_passed(client, slot->taken);
    slot_free(&client->up, slot);
    if (client->state == CLIENT_RELAY && error && !client->up.is_done)
        break_up(client);
    client_settle(client);
}

static void send_slot(struct client *client, struct slot *slot)
{
    slot->state = SLOT_PENDING;
    asock_op_set_callback(slot->op, on_sent, slot);
    asock_op_set_buffer(slot->op, slot->data, slot->len);
    if (asock_send(client->socket, slot->op) == 1) {
        client->ops++;
        return;
    }
    /* Known to be lost already. */
    slot_free(&client->up, slot);
    break_up(client);
}

/* What belongs to the request; the rest has no recipient and is dropped. */
static long of_body(struct client *client, const char *data, size_t len)
{
    if (client->protocol != PROTOCOL_FORWARD)
        return (long)len;
    return http_body_take(&client->body, data, len);
}

/* Nothing more is sent: the program's end, or its loss, is all that counts. */
static void drop_input(struct client *client)
{
    ssize_t n = read(client->io.fd, client->gateway->scratch, GATEWAY_SCRATCH);

    if (n == 0)
        client->up.has_ended = true;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        client_abort(client);
}

static bool is_dropping(const struct client *client)
{
    return client->protocol == PROTOCOL_FORWARD && client->body.is_done;
}

/* One piece. false: no more for now. */
static bool read_piece(struct client *client)
{
    struct slot *slot = slot_take(client, &client->up);
    ssize_t n;
    long part;

    if (!slot && client->up.used == 0)
        client_abort(client); /* no memory */
    if (!slot)
        return false;
    n = read(client->io.fd, slot->data, slot->size);
    if (n <= 0) {
        slot_free(&client->up, slot);
        if (n == 0)
            end_up(client);
        else if (errno != EAGAIN && errno != EINTR)
            client_abort(client);
        return false;
    }
    note_size(&client->up, slot, (size_t)n);
    slot->taken = (size_t)n;
    part = of_body(client, slot->data, (size_t)n);
    if (part <= 0) {
        pump_note_passed(client, slot->taken);
        slot_free(&client->up, slot);
        if (part < 0)
            client_abort(client);
        return false;
    }
    slot->len = (size_t)part;
    send_slot(client, slot);
    if (client->state == CLIENT_RELAY && !client->in_head)
        receive_more(client, true);
    return client->state == CLIENT_RELAY && !client->up.has_ended && (size_t)n == slot->size;
}

void pump_read(struct client *client)
{
    if (!pump_can_read(client)) {
        client->is_choked = true;
        return;
    }
    if (is_dropping(client)) {
        drop_input(client);
        return;
    }
    for (int i = 0; i < READS_MAX && read_piece(client); i++)
        ;
}

bool pump_can_read(const struct client *client)
{
    const struct lane *up = &client->up;

    if (up->has_ended)
        return false;
    if (is_dropping(client))
        return true;
    return up->used < (up->is_bulk && client->gateway->blocks.free_count > 0 ? 2u : 1u);
}

/* ---- down ---- */

static void on_received(asock_op *op, void *userdata);

/*
 * Where little is said at a time one receive is in flight when another one has been answered. That
 * is not asked for again until the other one has been, too, or until something is sent, with which
 * it travels.
 */
static void receive_more(struct client *client, bool is_company)
{
    struct lane *down = &client->down;
    struct slot *slot;

    if (!down->is_bulk && down->used > 0 && !is_company)
        return;
    while (!down->has_ended && (slot = slot_take(client, down))) {
        slot->state = SLOT_PENDING;
        slot->since = ev_now(client->gateway->loop);
        asock_op_set_callback(slot->op, on_received, slot);
        asock_op_set_buffer(slot->op, slot->data, slot->size);
        if (asock_receive(client->socket, slot->op) != 1) {
            slot_free(down, slot);
            client->error = ASOCK_CONNECTION_RESET;
            down->has_ended = true;
            return;
        }
        client->ops++;
    }
    if (!down->has_ended && down->used == 0)
        client_abort(client); /* no memory */
}

int pump_write_first(struct client *client)
{
    int r = deliver(client, client->out, client->out_len, &client->out_written);

    if (r == 1) {
        free(client->out);
        client->out = NULL;
        client->out_len = client->out_written = 0;
    }
    return r;
}

static int write_slots(struct client *client)
{
    struct lane *down = &client->down;
    int r = 1;

    while (r == 1 && down->slots[down->first].state == SLOT_FILLED) {
        struct slot *slot = &down->slots[down->first];

        r = deliver_slot(client, slot);
        if (r == 1)
            slot_free(down, slot);
    }
    return r;
}

/* All was written. */
static void end_down(struct client *client)
{
    bool is_over = client->up.is_done && !client->up.is_broken &&
                   client->protocol != PROTOCOL_FORWARD;

    if (client->error) {
        client_abort(client);
        return;
    }
    if (!client->down.is_done && !is_over) /* close() says it, too */
        shutdown(client->io.fd, SHUT_WR);
    client->down.is_done = true;
    maybe_finish(client);
}

void pump_write(struct client *client)
{
    int r = pump_write_first(client);

    if (r == 1)
        r = write_slots(client);
    client->wants_write = r == 0;
    if (r < 0) {
        client_abort(client);
        return;
    }
    if (client->state == CLIENT_CLOSING && r == 1)
        shutdown(client->io.fd, SHUT_WR);
    if (client->state != CLIENT_RELAY)
        return;
    /* Of a response's head each piece is put in front of what waits already. */
    if (r == 1 || !client->in_head)
        receive_more(client, false);
    if (r == 1 && client->down.has_ended && client->down.used == 0 && !client->in_head)
        end_down(client);
}

/* ---- the head of a response ---- */

static void refuse_response(struct client *client, const char *why)
{
    char answer[ANSWER_HTTP_MAX];

    client_answer(client, answer, answer_http(ASOCK_PROTOCOL_ERROR, why, answer));
}

/* Moves what came to the head. false: the client is at its end. */
static bool gather_head(struct client *client, struct slot *slot)
{
    if (slot->len > client->cap - client->len) {
        refuse_response(client, "the response header is too large");
        return false;
    }
    memcpy(client->buf + client->len, slot->data, slot->len);
    if (slot->is_block && !blocks_are_intact(&client->gateway->blocks)) {
        client_abort(client);
        return false;
    }
    client->len += slot->len;
    slot_free(&client->down, slot);
    return true;
}

/* One head, which may be followed by another one. Returns what http_read_response() does. */
static long pass_head(struct client *client, size_t *at)
{
    size_t size = client->len - *at + HTTP_ADDED_MAX, head_len;
    char *head = malloc(size);
    int status = 0;
    long n = head ? http_read_response(client->buf + *at, client->len - *at, head, &head_len,
                                       &status)
                  : -1;

    if (n > 0) {
        *at += (size_t)n;
        client->in_head = status < 200;
        if (!client_put(client, head, head_len))
            n = -1;
    }
    free(head);
    return n;
}

static void read_head(struct client *client)
{
    size_t at = 0;
    long n;

    do
        n = pass_head(client, &at);
    while (n > 0 && client->in_head);
    if (client->state == CLIENT_ENDED)
        return;
    if (n < 0) {
        refuse_response(client, "the response header is malformed");
        return;
    }
    if (!client->in_head && !client_put(client, client->buf + at, client->len - at))
        return;
    client->len -= at;
    memmove(client->buf, client->buf + at, client->len);
    if (!client->in_head) {
        free(client->buf);
        client->buf = NULL;
    }
}

/* What a receive has brought: bytes in its slot, the end, or an error. */
static void take_received(struct client *client, asock_op *op, struct slot *slot, int error)
{
    struct lane *down = &client->down;
    bool is_end = slot->state == SLOT_FREE && asock_op_get_result_flags(op) & ASOCK_END_OF_STREAM;

    if (error == ASOCK_OPERATION_ABORTED) {
        down->is_bulk = false; /* given back for others */
    } else if (error || is_end) {
        client->error = error;
        down->has_ended = true;
        down->has_hole |= error != 0;
        if (is_end && !client->up.has_ended && !client->hangup &&
            client->protocol != PROTOCOL_FORWARD)
            watch(client); /* once: each receive that was asked for tells the end */
    } else if (!client->in_head) {
        note_size(down, slot, slot->len);
    }
    if (client->in_head && slot->state == SLOT_FILLED && gather_head(client, slot))
        read_head(client);
    if (client->in_head && client->state == CLIENT_RELAY && down->has_ended)
        refuse_response(client, "the server closed the connection without sending a response");
    if (client->state == CLIENT_RELAY)
        pump_write(client);
}

static void on_received(asock_op *op, void *userdata)
{
    struct slot *slot = userdata;
    struct client *client = slot->client;
    int error = asock_op_get_error(op);

    client->ops--;
    if (client->state == CLIENT_DIALING && !error)
        client_abort(client); /* before the connect has completed? Never a hole in the stream */
    slot->len = asock_op_get_bytes(op);
    slot->state = SLOT_FILLED;
    slot->since = ev_now(client->gateway->loop);
    if (slot->len == 0 || client->state != CLIENT_RELAY || client->down.has_hole)
        slot_free(&client->down, slot);
    if (client->state == CLIENT_RELAY && !client->spliced) /* of one that was lent: refused */
        take_received(client, op, slot, error);
    client_settle(client);
}

void pump_receive(struct client *client)
{
    receive_more(client, false);
}

void pump_reclaim(struct client *client, ev_tstamp now)
{
    for (int i = 0; i < 2; i++) {
        struct slot *slot = &client->down.slots[i];

        if (slot->state == SLOT_PENDING && slot->is_block && now - slot->since > RECLAIM_SECONDS)
            asock_cancel(slot->op);
    }
}
