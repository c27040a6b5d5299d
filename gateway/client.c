/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the first byte selects the protocol -> handshake, message by message -> connect
 * (dial.c) -> bytes both ways (pump.c) -> end.
 * Failures: a malformed handshake, or one that takes too long: the protocol's own answer, if it has
 * one, then the end. The program goes away: the connection is reset.
 */
#include "gateway/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/answer.h"
#include "gateway/associate.h"
#include "gateway/splice.h"

#define HANDSHAKE_FIRST 1024u

/* ---- end ---- */

static void forget(struct client *client)
{
    struct gateway *gateway = client->gateway;

    if (client->previous)
        client->previous->next = client->next;
    else
        gateway->clients = client->next;
    if (client->next)
        client->next->previous = client->previous;
    pump_free(client);
    free(client->buf);
    free(client->first);
    free(client->out);
    free(client);
    gateway_client_gone(gateway);
}

/* Everything that is queued on the socket ends; the ops tell. */
static void drop_socket(struct client *client, bool reset)
{
    dial_forget(client);
    client->associate = associate_end(client->associate);
    if (!client->socket && client->op && client->ops > 0)
        (void)asock_cancel(client->op); /* a name is asked for */

    if (client->socket && !reset)
        (void)asock_close(client->socket, NULL, 0); /* a hang-up op would keep it open */
    if (client->socket && reset)
        uplink_abort(client->socket);
    client->socket = asock_socket_unref(client->socket);
    client->op = asock_op_unref(client->op);
    client->hangup = asock_op_unref(client->hangup);
    client->spliced = splice_free(client->spliced, reset);
    pump_end_slots(client);
}

static void end(struct client *client, bool reset)
{
    struct linger linger = {.l_onoff = 1};
    struct ev_loop *loop = client->gateway->loop;

    if (client->state == CLIENT_ENDED)
        return;
    client->state = CLIENT_ENDED;
    drop_socket(client, reset);
    ev_io_stop(loop, &client->io);
    ev_timer_stop(loop, &client->deadline);
    if (client->leave) {
        client->leave(client->userdata, reset);
        return;
    }
    if (reset && client->is_tcp)
        (void)setsockopt(client->io.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(client->io.fd);
}

void client_abort(struct client *client)
{
    end(client, true);
}

static bool is_all_sent(const struct client *client)
{
    const struct lane *up = &client->up;

    if (client->state != CLIENT_RELAY || up->is_broken || up->used > 0)
        return false;
    return client->protocol == PROTOCOL_FORWARD ? client->body.is_done : up->is_done;
}

bool client_owes(const struct client *client)
{
    struct pollfd program = {.fd = client->io.fd, .events = POLLIN | POLLRDHUP};

    if (client->state == CLIENT_DIALING)
        return client->has_said; /* dial.c: it goes to the server */
    if (client->state != CLIENT_RELAY || client->up.is_broken || is_all_sent(client))
        return false;
    if (client->up.has_ended || client->owes_end)
        return true;
    (void)poll(&program, 1, 0);
    if (program.revents & POLLRDHUP)
        return true; /* its stream has ended, which must be passed on too */
    return client->owed > 0 && (client->owed != OWED_ALL || client->up.used > 0 || program.revents);
}

void client_owes_only(struct client *client, uint64_t coming)
{
    for (int i = 0; i < 2; i++)
        if (client->up.slots[i].state != SLOT_FREE)
            coming += client->up.slots[i].taken;
    coming += splice_pending(client->spliced);
    if (coming < client->owed)
        client->owed = coming;
}

void client_drop(struct client *client)
{
    drop_socket(client, !is_all_sent(client));
    end(client, true);
}

void client_set_deadline(struct client *client, ev_tstamp seconds)
{
    struct ev_loop *loop = client->gateway->loop;

    ev_timer_stop(loop, &client->deadline);
    ev_timer_set(&client->deadline, seconds, 0);
    ev_timer_start(loop, &client->deadline);
}

void client_finish(struct client *client)
{
    bool is_plain = client->protocol == PROTOCOL_FORWARD;

    if (!is_plain && !client->up.is_broken) {
        drop_socket(client, false);
        end(client, false);
        return;
    }
    /*
     * What the program still sends, or has sent in vain, must not make the kernel drop the
     * response.
     */
    client->state = CLIENT_CLOSING;
    drop_socket(client, client->up.is_broken || (is_plain && !client->body.is_done));
    client_set_deadline(client, GATEWAY_DRAIN_SECONDS);
}

bool client_put(struct client *client, const void *data, size_t len)
{
    char *out = realloc(client->out, client->out_len + len + 1);

    if (!out) {
        client_abort(client);
        return false;
    }
    memcpy(out + client->out_len, data, len);
    client->out = out;
    client->out_len += len;
    return true;
}

void client_answer(struct client *client, const void *data, size_t len)
{
    if (!client_put(client, data, len))
        return;
    client->state = CLIENT_CLOSING;
    drop_socket(client, true);
    client_set_deadline(client, GATEWAY_DRAIN_SECONDS);
    pump_write(client);
}

static bool is_splicing(const struct client *client)
{
    return client->spliced && client->state == CLIENT_RELAY && !client->out;
}

void client_settle(struct client *client)
{
    struct ev_loop *loop = client->gateway->loop;
    int events = client->wants_write ? EV_WRITE : 0;
    bool is_watched = ev_is_active(&client->io) && client->io.events & EV_READ;

    if (is_splicing(client) && !splice_watch(client))
        client_abort(client);
    if (client->state == CLIENT_ENDED) {
        if (client->ops == 0 && client->flow_count == 0)
            forget(client);
        return;
    }
    if (is_splicing(client))
        return;
    if (client->state == CLIENT_RELAY && pump_can_read(client))
        client->is_choked = false;
    /*
     * Between a question and its answer there is no room, and nothing comes: to stop watching costs
     * a system call.
     */
    if (client->state == CLIENT_HANDSHAKE || client->state == CLIENT_CLOSING ||
        client->state == CLIENT_ASSOCIATED ||
        (client->state == CLIENT_DIALING && is_watched && !client->is_choked) ||
        (client->state == CLIENT_RELAY && !client->spliced &&
         (pump_can_read(client) || (is_watched && !client->is_choked && !client->up.has_ended))))
        events |= EV_READ;
    if (ev_is_active(&client->io) && (client->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(loop, &client->io);
    if (!events)
        return;
    ev_io_set(&client->io, client->io.fd, events);
    ev_io_start(loop, &client->io);
}

/* ---- handshake ---- */

static void consume(struct client *client, size_t n)
{
    client->len -= n;
    memmove(client->buf, client->buf + n, client->len);
}

/* true: there may be another message. */
static bool run_socks(struct client *client)
{
    struct socks_result result;
    enum socks_step step = socks_read(&client->socks, (const uint8_t *)client->buf, client->len,
                                      &result);

    switch (step) {
    case SOCKS_MORE:
        if (client->len < SOCKS_MESSAGE_MAX)
            return false;
        client_abort(client);
        return false;
    case SOCKS_ANSWER:
        consume(client, result.consumed);
        if (!client_put(client, result.answer, result.answer_len))
            return false;
        pump_write(client);
        return client->state == CLIENT_HANDSHAKE && client->len > 0;
    case SOCKS_CONNECT:
        consume(client, result.consumed);
        dial_connect(client, &result.to, NULL, 0);
        return false;
    case SOCKS_RESOLVE:
        consume(client, result.consumed);
        dial_resolve(client, &result.to);
        return false;
    case SOCKS_ASSOCIATE:
        consume(client, result.consumed);
        associate_begin(client);
        return false;
    default:
        client_answer(client, result.answer, result.answer_len);
        return false;
    }
}

static void run_http(struct client *client)
{
    struct http_request request;
    struct http_refusal why = {0};
    char answer[ANSWER_HTTP_MAX];
    char *head = malloc(client->len + HTTP_ADDED_MAX);
    size_t head_len = 0;
    long n = head ? http_read_request(client->buf, client->len, &request, head, &head_len, &why)
                  : 0;

    if (!head) {
        client_abort(client);
    } else if (n < 0) {
        client_answer(client, answer, answer_http_refusal(why.status, why.text, answer));
    } else if (n > 0) {
        client->protocol = request.kind == HTTP_CONNECT ? PROTOCOL_CONNECT : PROTOCOL_FORWARD;
        client->body = request.body;
        client->in_head = request.kind == HTTP_FORWARD;
        consume(client, (size_t)n);
        dial_connect(client, &request.to, head, head_len);
    }
    free(head);
}

static void run_handshake(struct client *client)
{
    unsigned char first = (unsigned char)client->buf[0];

    if (client->protocol == PROTOCOL_SOCKS || first == SOCKS4_VERSION || first == SOCKS5_VERSION) {
        client->protocol = PROTOCOL_SOCKS;
        while (run_socks(client))
            ;
    } else if (first >= 'A' && first <= 'Z') {
        run_http(client);
    } else {
        client_abort(client);
    }
}

static bool grow(struct client *client)
{
    size_t cap = client->cap ? client->cap * 2 : HANDSHAKE_FIRST;
    char *buf;

    if (client->len < client->cap)
        return true;
    buf = cap <= HTTP_HEAD_MAX ? realloc(client->buf, cap) : NULL;
    if (!buf)
        return false;
    client->buf = buf;
    client->cap = cap;
    return true;
}

static void read_handshake(struct client *client)
{
    ssize_t n;

    if (!grow(client)) {
        client_abort(client);
        return;
    }
    n = read(client->io.fd, client->buf + client->len, client->cap - client->len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(client, n < 0);
        return;
    }
    client->len += (size_t)n;
    run_handshake(client);
}

/* ---- life ---- */

static void drain(struct client *client)
{
    ssize_t n = read(client->io.fd, client->gateway->scratch, GATEWAY_SCRATCH);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end(client, false);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct client *client = io->data;

    (void)loop;
    if (client->spliced && client->state == CLIENT_RELAY) {
        splice_step(client);
        client_settle(client);
        return;
    }
    if (events & EV_WRITE)
        pump_write(client);
    if (events & EV_READ && client->state == CLIENT_HANDSHAKE)
        read_handshake(client);
    else if (events & EV_READ && client->state == CLIENT_RELAY)
        pump_read(client);
    else if (events & EV_READ &&
             (client->state == CLIENT_CLOSING || client->state == CLIENT_ASSOCIATED))
        drain(client);
    else if (events & EV_READ && client->state == CLIENT_DIALING)
        client->is_choked = true; /* reading continues when the server is connected */
    client_settle(client);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct client *client = timer->data;
    char answer[ANSWER_HTTP_MAX];

    (void)loop;
    (void)events;
    /* Data that arrived while this process was stopped counts as in time. */
    if (client->state == CLIENT_HANDSHAKE)
        read_handshake(client);
    if (ev_is_active(timer) || client->state == CLIENT_ENDED)
        ;
    else if (client->state == CLIENT_DIALING)
        dial_look(client);
    else if (client->state == CLIENT_HANDSHAKE && client->len > 0 &&
             client->protocol != PROTOCOL_SOCKS)
        client_answer(client, answer,
                      answer_http_refusal(408, "the request took too long", answer));
    else
        end(client, false);
    client_settle(client);
}

static void start(struct client *client, struct gateway *gateway, int fd, bool is_tcp)
{
    client->gateway = gateway;
    client->is_tcp = is_tcp;
    client->owed = OWED_ALL;
    client->up.pieces = 1;
    client->down.pieces = 2;
    ev_io_init(&client->io, on_io, fd, EV_READ);
    ev_init(&client->deadline, on_deadline);
    client->io.data = client->deadline.data = client;
    client->next = gateway->clients;
    if (client->next)
        client->next->previous = client;
    gateway->clients = client;
    gateway->client_count++;
}

void client_new(struct gateway *gateway, int fd, bool is_tcp)
{
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
        close(fd);
        return;
    }
    start(client, gateway, fd, is_tcp);
    client_set_deadline(client, GATEWAY_HANDSHAKE_SECONDS);
    client_settle(client);
}

void client_adopt(struct gateway *gateway, int fd, asock_socket *socket, int lent,
                  void (*leave)(void *userdata, bool reset), void *userdata)
{
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
        if (lent >= 0)
            close(lent);
        asock_socket_unref(socket);
        leave(userdata, true);
        return;
    }
    client->leave = leave;
    client->userdata = userdata;
    client->socket = socket;
    client->state = CLIENT_RELAY;
    client->protocol = PROTOCOL_CONNECT; /* its answer has been given */
    start(client, gateway, fd, true);
    if (lent >= 0) {
        splice_begin(client, lent);
    } else {
        pump_write(client);
    }
    client_settle(client);
}
