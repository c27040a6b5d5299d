/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: up, standard input is read into free slots and each is submitted as a send; at its
 * end a shutdown goes behind them. Down, every free slot is submitted as a receive; the filled ones
 * are written out in order, then submitted again; at the end of stream standard output is closed.
 * Both over: close. On request the end of stream alone is enough (exit_on_close), or the end of
 * standard input is kept here (keep_open).
 *
 * Failures: a send that fails ends the upward direction; what the peer still has to say is
 * received. A receive that fails ends both, when what came before it has been written. Standard
 * input that can't be read and standard output that can't be written end all at once, by RST unless
 * the upward direction was over.
 *
 * Bounded: SLOTS buffers each way. A slow reader of standard output leaves no slot to receive into,
 * and the daemon reads from the network only for a receive; a slow peer leaves no slot to read
 * standard input into.
 */
#include "ctl/relay.h"
#include "ctl/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define SLOTS 8u
#define SLOT_SIZE 65536u

/* A close that the daemon does not confirm in this time is left to the end of the session. */
#define CLOSE_TIMEOUT_MS 5000

enum slot_state {
    SLOT_FREE,
    SLOT_IN_FLIGHT, /* its op is pending */
    SLOT_FILLED,    /* down only: received, to be written out */
};

struct relay;

struct slot {
    struct relay *relay;
    asock_op *op;
    enum slot_state state;
    size_t len, written;
    char *data;
};

/* Used in turn: first is the oldest that is not free, next the one to be submitted next. */
struct ring {
    struct slot slots[SLOTS];
    unsigned int first, next;
};

struct relay {
    asock_context *context;
    asock_socket *socket;
    struct relay_manner manner;
    struct stream in, out;
    struct ring up, down;
    asock_op *shutdown_op, *hangup_op;
    bool in_ended;   /* standard input: end of file */
    bool up_ended;   /* the shutdown is done, or a send failed */
    bool down_ended; /* end of stream, or a receive failed */
    bool out_ended;  /* all written, and standard output closed */
    bool is_broken;  /* nothing further makes sense */
    int lost;        /* the connection is over, with this enum asock_error; 0: it is not */
    struct relay_result result;
};

static void fail(struct relay *relay, enum relay_place place, int error)
{
    if (relay->result.place == RELAY_NOWHERE) {
        relay->result.place = place;
        relay->result.error = error;
    }
    if (place != RELAY_SENDING && place != RELAY_RECEIVING)
        relay->is_broken = true;
}

/* ------------------------------------------------------------------------------ completions */

static void on_sent(asock_op *op, void *userdata)
{
    struct slot *slot = userdata;
    struct relay *relay = slot->relay;
    int error = asock_op_get_error(op);

    relay->result.bytes_out += asock_op_get_bytes(op);
    slot->state = SLOT_FREE;
    if (error) {
        fail(relay, RELAY_SENDING, error);
        relay->up_ended = true;
    }
}

static void on_shutdown(asock_op *op, void *userdata)
{
    struct relay *relay = userdata;
    int error = asock_op_get_error(op);

    if (error)
        fail(relay, RELAY_SENDING, error);
    relay->up_ended = true;
}

/* Behind the peer's end of stream no receive would tell. */
static void note_lost(struct relay *relay)
{
    if (!relay->lost || !relay->down_ended || relay->up_ended)
        return;
    fail(relay, RELAY_SENDING, relay->lost);
    relay->up_ended = true;
}

/* An older daemon does not tell. */
static void on_hangup(asock_op *op, void *userdata)
{
    struct relay *relay = userdata;
    int error = asock_op_get_error(op);

    if (error != ASOCK_OPERATION_NOT_SUPPORTED)
        relay->lost = error;
    note_lost(relay);
}

static void on_received(asock_op *op, void *userdata)
{
    struct slot *slot = userdata;
    struct relay *relay = slot->relay;
    int error = asock_op_get_error(op);

    slot->len = asock_op_get_bytes(op);
    slot->written = 0;
    slot->state = SLOT_FILLED;
    relay->result.bytes_in += slot->len;
    if (error) {
        fail(relay, RELAY_RECEIVING, error);
        relay->up_ended = true;
    }
    if (error || (asock_op_get_result_flags(op) & ASOCK_END_OF_STREAM))
        relay->down_ended = true;
    note_lost(relay);
}

/* ---------------------------------------------------------------------------------- the work */

/* Submits the slot's op; refused is a mistake of this program, or out of memory. */
static bool submitted(struct relay *relay, struct slot *slot, int r)
{
    if (r < 0) {
        fail(relay, RELAY_ITSELF, -r);
        return false;
    }
    slot->state = SLOT_IN_FLIGHT;
    return true;
}

static void post_receives(struct relay *relay)
{
    struct ring *ring = &relay->down;

    while (!relay->down_ended && !relay->is_broken) {
        struct slot *slot = &ring->slots[ring->next % SLOTS];

        if (slot->state != SLOT_FREE ||
            !submitted(relay, slot, asock_receive(relay->socket, slot->op)))
            return;
        ring->next++;
    }
}

static void write_out(struct relay *relay)
{
    struct ring *ring = &relay->down;

    for (;;) {
        struct slot *slot = &ring->slots[ring->first % SLOTS];

        if (slot->state != SLOT_FILLED)
            break;
        while (slot->written < slot->len) {
            ssize_t n = stream_write(&relay->out, slot->data + slot->written,
                                     slot->len - slot->written);

            if (n == -EAGAIN)
                return;
            if (n < 0) {
                fail(relay, RELAY_STDOUT, (int)-n);
                return;
            }
            slot->written += (size_t)n;
        }
        slot->state = SLOT_FREE;
        ring->first++;
    }
    if (relay->down_ended && !relay->out_ended) {
        int r = stream_end(&relay->out);

        if (r < 0)
            fail(relay, RELAY_STDOUT, -r);
        relay->out_ended = true;
    }
}

static void end_of_input(struct relay *relay)
{
    int r = 0;

    relay->in_ended = true;
    if (!relay->manner.keep_open)
        r = asock_shutdown(relay->socket, relay->shutdown_op, ASOCK_SHUTDOWN_SEND);
    if (r < 0)
        fail(relay, RELAY_ITSELF, -r);
}

static bool wants_input(struct relay *relay)
{
    return !relay->in_ended && !relay->up_ended &&
           relay->up.slots[relay->up.next % SLOTS].state == SLOT_FREE;
}

static void read_in(struct relay *relay)
{
    struct ring *ring = &relay->up;

    while (wants_input(relay) && !relay->is_broken) {
        struct slot *slot = &ring->slots[ring->next % SLOTS];
        ssize_t n = stream_read(&relay->in, slot->data, SLOT_SIZE);

        if (n == -EAGAIN)
            return;
        if (n < 0) {
            fail(relay, RELAY_STDIN, (int)-n);
        } else if (n == 0) {
            end_of_input(relay);
        } else {
            asock_op_set_buffer(slot->op, slot->data, (size_t)n);
            if (submitted(relay, slot, asock_send(relay->socket, slot->op)))
                ring->next++;
        }
    }
}

static bool wants_output(struct relay *relay)
{
    return relay->down.slots[relay->down.first % SLOTS].state == SLOT_FILLED;
}

static void wait_for_work(struct relay *relay)
{
    struct pollfd fds[] = {
        {.fd = asock_context_get_fd(relay->context),
         .events = (short)asock_context_get_events(relay->context)},
        {.fd = wants_input(relay) ? relay->in.fd : -1, .events = POLLIN},
        {.fd = wants_output(relay) ? relay->out.fd : -1, .events = POLLOUT},
    };

    if (poll(fds, sizeof(fds) / sizeof(fds[0]), asock_context_get_timeout(relay->context)) < 0) {
        if (errno != EINTR)
            fail(relay, RELAY_ITSELF, errno);
        return;
    }
    if (fds[1].revents)
        relay->in.is_ready = true;
    if (fds[2].revents)
        relay->out.is_ready = true;
    (void)asock_context_process(relay->context); /* a lost daemon ends the ops */
}

static bool has_sent_all(const struct relay *relay)
{
    for (unsigned int i = 0; i < SLOTS; i++)
        if (relay->up.slots[i].state != SLOT_FREE)
            return false;
    return relay->in_ended;
}

static bool is_over(const struct relay *relay)
{
    if (relay->is_broken)
        return true;
    if (!relay->out_ended)
        return false;
    return relay->up_ended || relay->manner.exit_on_close ||
           (relay->manner.keep_open && has_sent_all(relay));
}

static void relay_loop(struct relay *relay)
{
    for (;;) {
        post_receives(relay);
        write_out(relay);
        read_in(relay);
        if (is_over(relay))
            return;
        post_receives(relay); /* into what was written out just now */
        wait_for_work(relay);
    }
}

/* ---------------------------------------------------------------------------- begin and end */

static int slot_init(struct slot *slot, struct relay *relay, asock_callback callback)
{
    int r = asock_op_new(relay->context, &slot->op);

    if (r < 0)
        return r;
    slot->relay = relay;
    slot->data = malloc(SLOT_SIZE);
    if (!slot->data)
        return -ENOMEM;
    r = asock_op_set_callback(slot->op, callback, slot);
    return r < 0 ? r : asock_op_set_buffer(slot->op, slot->data, SLOT_SIZE);
}

static int relay_init(struct relay *relay)
{
    int r = asock_context_set_always_pending(relay->context, true);

    for (unsigned int i = 0; i < SLOTS && r >= 0; i++) {
        r = slot_init(&relay->up.slots[i], relay, on_sent);
        if (r >= 0)
            r = slot_init(&relay->down.slots[i], relay, on_received);
    }
    if (r >= 0)
        r = asock_op_new(relay->context, &relay->shutdown_op);
    if (r >= 0)
        r = asock_op_set_callback(relay->shutdown_op, on_shutdown, relay);
    if (r >= 0)
        r = asock_op_new(relay->context, &relay->hangup_op);
    if (r >= 0)
        r = asock_op_set_callback(relay->hangup_op, on_hangup, relay);
    if (r >= 0)
        r = asock_await_hangup(relay->socket, relay->hangup_op);
    return r;
}

int relay_new(asock_context *context, asock_socket *socket, const struct relay_manner *manner,
              struct relay **ret)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    int r;

    if (!relay)
        return -ENOMEM;
    relay->manner = *manner;
    relay->context = asock_context_ref(context);
    relay->socket = asock_socket_ref(socket);
    stream_init(&relay->in, STDIN_FILENO);
    stream_init(&relay->out, STDOUT_FILENO);
    r = asock_context_get_fd(context) < 0 ? -EMFILE : relay_init(relay);
    if (r < 0) {
        relay_release(relay);
        relay_free(relay);
        return r;
    }
    *ret = relay;
    return 0;
}

/* Afterwards no op of the socket is in flight, unless the daemon does not answer. */
static void close_socket(struct relay *relay)
{
    bool is_whole = relay->up_ended ? relay->in_ended : has_sent_all(relay);
    asock_op *op;

    if (asock_op_new(relay->context, &op) < 0)
        return;
    if (asock_close(relay->socket, op, is_whole ? 0 : ASOCK_CLOSE_ABORT) >= 0)
        (void)asock_op_wait(op, CLOSE_TIMEOUT_MS);
    (void)asock_context_process(relay->context);
    asock_op_unref(op);
}

void relay_run(struct relay *relay, struct relay_result *ret)
{
    relay_loop(relay);
    *ret = relay->result; /* before the close ends what is pending */
    close_socket(relay);
}

static void ring_release(struct ring *ring)
{
    for (unsigned int i = 0; i < SLOTS; i++)
        ring->slots[i].op = asock_op_unref(ring->slots[i].op);
}

void relay_release(struct relay *relay)
{
    if (!relay)
        return;
    ring_release(&relay->up);
    ring_release(&relay->down);
    relay->shutdown_op = asock_op_unref(relay->shutdown_op);
    relay->hangup_op = asock_op_unref(relay->hangup_op);
    relay->socket = asock_socket_unref(relay->socket);
    relay->context = asock_context_unref(relay->context);
    stream_deinit(&relay->in);
    stream_deinit(&relay->out);
}

struct relay *relay_free(struct relay *relay)
{
    if (!relay)
        return NULL;
    for (unsigned int i = 0; i < SLOTS; i++) {
        free(relay->up.slots[i].data);
        free(relay->down.slots[i].data);
    }
    free(relay);
    return NULL;
}
