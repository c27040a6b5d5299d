/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the first byte tells the protocol -> handshake, message by message -> connect, with what the
 * program has sent already -> the protocol's answer -> bytes both ways (pump.c) -> end.
 * Failures: a malformed handshake or one that takes too long, a connect that fails: the protocol's own answer where
 * it has one, then the end. The program goes away: the connection is reset.
 */
#include "gateway/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/answer.h"

#define HANDSHAKE_FIRST 1024u

static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";

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
    free(client->buf);
    free(client->first);
    free(client->out);
    free(client);
    gateway_client_gone(gateway);
}

/* Everything that is queued on the socket ends; the ops tell. */
static void drop_socket(struct client *client, bool reset)
{
    asock_op *close_op;

    if (client->socket && !reset)
        (void)asock_close(client->socket, NULL, 0); /* a hang-up op would keep it open */
    if (client->socket && reset &&
        asock_op_new(asock_socket_get_context(client->socket), &close_op) == 0) {
        (void)asock_close(client->socket, close_op, ASOCK_CLOSE_ABORT);
        asock_op_unref(close_op);
    }
    client->socket = asock_socket_unref(client->socket);
    client->op = asock_op_unref(client->op);
    client->hangup = asock_op_unref(client->hangup);
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
    struct pollfd program = {.fd = client->io.fd, .events = POLLIN};

    if (client->state != CLIENT_RELAY || client->up.is_broken || is_all_sent(client))
        return false;
    if (client->up.has_ended)
        return true;
    return client->owed > 0 && (client->up.used > 0 || poll(&program, 1, 0) > 0);
}

void client_owes_only(struct client *client, uint64_t coming)
{
    client->owed = coming;
    for (int i = 0; i < 2; i++)
        if (client->up.slots[i].state != SLOT_FREE)
            client->owed += client->up.slots[i].taken;
}

void client_drop(struct client *client)
{
    drop_socket(client, !is_all_sent(client));
    end(client, true);
}

static void set_deadline(struct client *client, ev_tstamp seconds)
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
    /* What the program still sends, or has sent in vain, must not make the kernel drop the response. */
    client->state = CLIENT_CLOSING;
    drop_socket(client, client->up.is_broken || (is_plain && !client->body.is_done));
    set_deadline(client, GATEWAY_DRAIN_SECONDS);
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
    set_deadline(client, GATEWAY_DRAIN_SECONDS);
    pump_write(client);
}

void client_settle(struct client *client)
{
    struct ev_loop *loop = client->gateway->loop;
    int events = client->wants_write ? EV_WRITE : 0;

    if (client->state == CLIENT_ENDED) {
        if (client->ops == 0)
            forget(client);
        return;
    }
    if (client->state == CLIENT_HANDSHAKE || client->state == CLIENT_CLOSING ||
        (client->state == CLIENT_RELAY && pump_can_read(client)))
        events |= EV_READ;
    if (ev_is_active(&client->io) && (client->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(loop, &client->io);
    if (!events)
        return;
    ev_io_set(&client->io, client->io.fd, events);
    ev_io_start(loop, &client->io);
}

/* ---- connect ---- */

static void fail(struct client *client, int error, const char *text)
{
    uint8_t reply[SOCKS_ANSWER_MAX];
    char answer[ANSWER_HTTP_MAX];

    if (client->protocol == PROTOCOL_SOCKS)
        client_answer(client, reply, socks_reply(&client->socks, answer_socks(error), NULL, reply));
    else
        client_answer(client, answer, answer_http(error, text, answer));
}

static bool put_success(struct client *client)
{
    struct sockaddr_storage local;
    uint8_t reply[SOCKS_ANSWER_MAX];
    bool has_local = asock_op_get_local(client->op, &local) > 0;

    if (client->protocol == PROTOCOL_CONNECT)
        return client_put(client, established, sizeof(established) - 1);
    if (client->protocol == PROTOCOL_SOCKS)
        return client_put(
            client, reply,
            socks_reply(&client->socks, SOCKS_GRANTED, has_local ? &local : NULL, reply));
    return true;
}

static void on_connected(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    client->ops--;
    free(client->first);
    client->first = NULL;
    if (client->state == CLIENT_DIALING) {
        if (error) {
            fail(client, error, asock_op_get_text(op));
        } else if (put_success(client)) {
            client->state = CLIENT_RELAY;
            pump_watch(client);
            pump_write(client);
        }
    }
    client_settle(client);
}

/* What the program has sent behind its handshake goes with the connect. */
static bool take_first(struct client *client, const char *head, size_t head_len, size_t *ret_len)
{
    size_t rest = client->len;

    if (client->protocol == PROTOCOL_FORWARD) {
        long n = http_body_take(&client->body, client->buf, client->len);

        if (n < 0)
            return false;
        rest = (size_t)n;
    }
    *ret_len = head_len + rest;
    client->first = malloc(*ret_len + 1);
    if (!client->first)
        return false;
    if (head_len > 0)
        memcpy(client->first, head, head_len);
    memcpy(client->first + head_len, client->buf, rest);
    client->len = 0;
    return true;
}

static int submit(struct client *client, const struct destination *to, size_t first_len)
{
    asock_context *context = client->gateway->uplink.context;
    int r = asock_socket_new(context, AF_UNSPEC, &client->socket);

    if (r == -EMFILE)
        return ASOCK_TOO_MANY_OPEN_SOCKETS;
    if (r < 0 || asock_op_new(context, &client->op) < 0 || !pump_init(client))
        return ASOCK_NO_BUFFER_SPACE;
    if (asock_op_set_host(client->op, to->host, to->service) < 0)
        return ASOCK_INVALID_ARGUMENT;
    asock_op_set_timeout(client->op, GATEWAY_DIAL_MS);
    asock_op_set_callback(client->op, on_connected, client);
    asock_op_set_buffer(client->op, client->first, first_len);
    r = asock_connect(client->socket, client->op);
    if (r != 1)
        return r == 0 ? asock_op_get_error(client->op) : ASOCK_SOCKET_ERROR;
    client->ops++;
    return ASOCK_SUCCESS;
}

static void dial(struct client *client, const struct destination *to, const char *head,
                 size_t head_len)
{
    char answer[ANSWER_HTTP_MAX];
    size_t first_len;
    int error;

    ev_timer_stop(client->gateway->loop, &client->deadline);
    if (!gateway_context(client->gateway)) {
        fail(client, ASOCK_CONNECTION_ABORTED, "asockd cannot be reached");
        return;
    }
    if (!take_first(client, head, head_len, &first_len)) {
        client_answer(client, answer, answer_http_refusal(400, "the body is malformed", answer));
        return;
    }
    client->state = CLIENT_DIALING;
    error = submit(client, to, first_len);
    if (error) {
        fail(client, error, NULL);
        return;
    }
    if (client->protocol == PROTOCOL_FORWARD && client->cap < HTTP_HEAD_MAX) {
        char *buf = realloc(client->buf, HTTP_HEAD_MAX); /* for the response's head */

        if (!buf) {
            client_abort(client);
            return;
        }
        client->buf = buf;
        client->cap = HTTP_HEAD_MAX;
    } else if (client->protocol != PROTOCOL_FORWARD) {
        free(client->buf);
        client->buf = NULL;
    }
}

/* ---- resolve ---- */

static void on_resolved(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    struct sockaddr_storage addr;
    uint8_t reply[SOCKS_ANSWER_MAX];
    int error = asock_op_get_error(op);

    client->ops--;
    if (client->state == CLIENT_DIALING) {
        if (error == 0 && asock_op_get_address(op, 0, &addr) > 0)
            client_answer(client, reply, socks_reply(&client->socks, SOCKS_GRANTED, &addr, reply));
        else
            fail(client, error, NULL);
    }
    client_settle(client);
}

/* SOCKS4 has no IPv6. */
static int submit_resolve(struct client *client, const char *host)
{
    asock_context *context = client->gateway->uplink.context;
    int r;

    if (asock_op_new(context, &client->op) < 0)
        return ASOCK_NO_BUFFER_SPACE;
    asock_op_set_timeout(client->op, GATEWAY_DIAL_MS);
    asock_op_set_callback(client->op, on_resolved, client);
    r = asock_resolve(context, client->op, host,
                      client->socks.version == SOCKS4_VERSION ? AF_INET : AF_UNSPEC);
    if (r != 1)
        return r == 0 ? asock_op_get_error(client->op) : ASOCK_INVALID_ARGUMENT;
    client->ops++;
    return ASOCK_SUCCESS;
}

static void resolve(struct client *client, const char *host)
{
    int error = ASOCK_CONNECTION_ABORTED;

    ev_timer_stop(client->gateway->loop, &client->deadline);
    client->state = CLIENT_DIALING;
    if (gateway_context(client->gateway))
        error = submit_resolve(client, host);
    if (error)
        fail(client, error, NULL);
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
        dial(client, &result.to, NULL, 0);
        return false;
    case SOCKS_RESOLVE:
        consume(client, result.consumed);
        resolve(client, result.to.host);
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
        dial(client, &request.to, head, head_len);
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
    if (events & EV_WRITE)
        pump_write(client);
    if (events & EV_READ && client->state == CLIENT_HANDSHAKE)
        read_handshake(client);
    else if (events & EV_READ && client->state == CLIENT_RELAY)
        pump_read(client);
    else if (events & EV_READ && client->state == CLIENT_CLOSING)
        drain(client);
    client_settle(client);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct client *client = timer->data;
    char answer[ANSWER_HTTP_MAX];

    (void)loop;
    (void)events;
    if (client->state == CLIENT_HANDSHAKE && client->len > 0 && client->protocol != PROTOCOL_SOCKS)
        client_answer(client, answer,
                      answer_http_refusal(408, "the request took too long", answer));
    else
        end(client, false);
    client_settle(client);
}

static void start(struct client *client, struct gateway *gateway, int fd, bool is_tcp)
{
    if (is_tcp)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    client->gateway = gateway;
    client->is_tcp = is_tcp;
    client->owed = OWED_ALL;
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
    set_deadline(client, GATEWAY_HANDSHAKE_SECONDS);
    client_settle(client);
}

void client_adopt(struct gateway *gateway, int fd, asock_socket *socket,
                  void (*leave)(void *userdata, bool reset), void *userdata)
{
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
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
    if (asock_op_new(gateway->uplink.context, &client->op) < 0 || !pump_init(client)) {
        client_abort(client);
    } else {
        pump_watch(client);
        pump_write(client);
    }
    client_settle(client);
}
