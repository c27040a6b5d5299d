/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a program's handshake to the answer: it wants a connection, or the address of a name.
 * Happy path: connect, with the data that the program has already sent -> the protocol's answer ->
 * pump.c, or splice.c if the daemon lends the connection.
 * Failures:
 * - the connect fails: the program gets the protocol's own answer;
 * - there is no session: the connect waits while one is being opened;
 * - the session has no socket left: the connect waits for a while;
 * - the program goes away: a periodic check notices, and the connect ends.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/answer.h"
#include "gateway/client.h"
#include "gateway/splice.h"

/* Between two looks whether the program still wants its connect. */
#define LOOK_SECONDS 0.25

static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";

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

static void begin_relay(struct client *client)
{
    int fd = asock_op_take_fd(client->op);

    client->state = CLIENT_RELAY;
    client->op = asock_op_unref(client->op);
    if (fd >= 0) {
        pump_end_slots(client);
        splice_begin(client, fd);
        return;
    }
    pump_write(client);
}

static void on_connected(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    client->ops--;
    free(client->first);
    client->first = NULL;
    if (client->state == CLIENT_DIALING) {
        ev_timer_stop(client->gateway->loop, &client->deadline);
        if (error) {
            fail(client, error, asock_op_get_text(op));
        } else if (put_success(client)) {
            begin_relay(client);
        }
    }
    client_settle(client);
}

/* Data that the program has sent after its handshake is sent with the connect. */
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
    client->has_said = *ret_len > 0;
    client->len = 0;
    return true;
}

static int submit(struct client *client, const struct destination *to, size_t first_len)
{
    asock_context *context = client->gateway->uplink.context;
    int r = asock_socket_new(context, AF_UNSPEC, &client->socket);

    if (r == -EMFILE)
        return ASOCK_TOO_MANY_OPEN_SOCKETS;
    if (r < 0 || asock_op_new(context, &client->op) < 0)
        return ASOCK_NO_BUFFER_SPACE;
    if (asock_op_set_host(client->op, to->host, to->service) < 0)
        return ASOCK_INVALID_ARGUMENT;
    asock_op_set_timeout(client->op, GATEWAY_DIAL_MS);
    asock_op_set_callback(client->op, on_connected, client);
    asock_op_set_buffer(client->op, client->first, first_len);
    /*
     * A connect that lends cannot have data, and the gateway must read the response to a plain
     * request.
     */
    if (first_len == 0 && client->protocol != PROTOCOL_FORWARD)
        asock_op_set_flags(client->op, ASOCK_LEND_IF_ALLOWED);
    r = asock_connect(client->socket, client->op);
    if (r != 1)
        return r == 0 ? asock_op_get_error(client->op) : ASOCK_SOCKET_ERROR;
    client->ops++;
    if (first_len == 0)
        pump_receive(client); /* the receive is sent together with the connect */
    return ASOCK_SUCCESS;
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

/* ---- with a session, or when there is one ---- */

void dial_forget(struct client *client)
{
    if (client->parked) {
        session_wait_end(&client->parked->wait);
        list_remove(&client->parked->place.node);
    }
    free(client->parked);
    client->parked = NULL;
}

static bool park(struct client *client, const struct destination *to, size_t first_len,
                 bool is_resolve)
{
    struct parked *parked = calloc(1, sizeof(*parked));

    if (!parked)
        return false;
    list_init(&parked->place.node);
    parked->client = client;
    parked->to = *to;
    parked->first_len = first_len;
    parked->is_resolve = is_resolve;
    client->parked = parked;
    return true;
}

/*
 * A program that ends its stream without sending anything after the handshake wants nothing more.
 * Data that it has sent goes to the server, even if the program no longer waits for an answer.
 */
static bool has_given_up(const struct client *client)
{
    struct pollfd program = {.fd = client->io.fd, .events = POLLRDHUP};
    char byte;

    if (poll(&program, 1, 0) <= 0)
        return false;
    return program.revents & POLLERR ||
           (!client->has_said && recv(client->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0);
}

/*
 * All sockets of the session are in use. Wait: those of connections that were just closed will soon
 * be free.
 */
static bool is_full(const struct client *client, int error)
{
    return error == ASOCK_TOO_MANY_OPEN_SOCKETS && !client->socket;
}

static bool on_place(struct place_wait *wait, bool is_last)
{
    struct parked *parked = container_of(wait, struct parked, place);
    struct client *client = parked->client;
    int error = ASOCK_CONNECTION_ABORTED;

    if (has_given_up(client)) {
        client_abort(client);
        client_settle(client);
        return true;
    }
    if (gateway_context(client->gateway))
        error = submit(client, &parked->to, parked->first_len);
    if (is_full(client, error) && !is_last)
        return false;
    dial_forget(client);
    if (error)
        fail(client, error, NULL);
    client_settle(client);
    return true;
}

static bool wait_for_place(struct client *client, const struct destination *to, size_t first_len)
{
    if (!park(client, to, first_len, false))
        return false;
    client->parked->place.serve = on_place;
    gateway_await_place(client->gateway, &client->parked->place);
    return true;
}

static void serve(struct client *client, const struct destination *to, size_t first_len,
                  bool is_resolve)
{
    int error;

    if (!gateway_context(client->gateway)) {
        fail(client, ASOCK_CONNECTION_ABORTED, "asockd cannot be reached");
        return;
    }
    if (is_resolve)
        error = submit_resolve(client, to->host);
    else if (gateway_has_queue(client->gateway))
        error = ASOCK_TOO_MANY_OPEN_SOCKETS;
    else
        error = submit(client, to, first_len);
    if (!is_resolve && is_full(client, error) && wait_for_place(client, to, first_len))
        return;
    if (error)
        fail(client, error, NULL);
}

static void on_session(struct session_wait *wait)
{
    struct parked *parked = (struct parked *)wait;
    struct client *client = parked->client;

    client->parked = NULL;
    serve(client, &parked->to, parked->first_len, parked->is_resolve);
    free(parked);
    client_settle(client);
}

static void want(struct client *client, const struct destination *to, size_t first_len,
                 bool is_resolve)
{
    struct gateway *gateway = client->gateway;

    client->state = CLIENT_DIALING;
    client_set_deadline(client, LOOK_SECONDS);
    if (gateway_context(gateway)) {
        serve(client, to, first_len, is_resolve);
        return;
    }
    if (!park(client, to, first_len, is_resolve)) {
        client_abort(client);
        return;
    }
    client->parked->wait.tell = on_session;
    if (!gateway_await_session(gateway, &client->parked->wait)) {
        dial_forget(client);
        serve(client, to, first_len, is_resolve);
    }
}

void dial_look(struct client *client)
{
    if (has_given_up(client))
        client_abort(client);
    else
        client_set_deadline(client, LOOK_SECONDS);
}

/* For the head of the response; else nothing is read into it any more. */
static bool resize_buf(struct client *client)
{
    char *buf;

    if (client->protocol != PROTOCOL_FORWARD) {
        free(client->buf);
        client->buf = NULL;
        return true;
    }
    if (client->cap >= HTTP_HEAD_MAX)
        return true;
    buf = realloc(client->buf, HTTP_HEAD_MAX);
    if (!buf)
        return false;
    client->buf = buf;
    client->cap = HTTP_HEAD_MAX;
    return true;
}

void dial_connect(struct client *client, const struct destination *to, const char *head,
                  size_t head_len)
{
    char answer[ANSWER_HTTP_MAX];
    size_t first_len;

    if (!take_first(client, head, head_len, &first_len))
        client_answer(client, answer, answer_http_refusal(400, "the body is malformed", answer));
    else if (!resize_buf(client))
        client_abort(client);
    else
        want(client, to, first_len, false);
}

void dial_resolve(struct client *client, const struct destination *to)
{
    want(client, to, 0, true);
}
