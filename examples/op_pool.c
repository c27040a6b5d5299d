/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ten sends outstanding, from a pool of ten operation objects: each is submitted again, with the
 * next line, as soon as it has completed. Sends of a socket go out whole and in the order in which
 * they were submitted, so the lines arrive in order.
 *
 * Usage: op_pool HOST PORT [TEXT]. Sends 100 numbered lines with TEXT, then reads to the end of
 * stream. Standard output: "sent 100 lines, N bytes; received M bytes".
 * Exit status: 0, 1 when anything failed, 2 for misuse.
 */
#include <asock/asock.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define OPS 10
#define LINES 100

struct item {
    asock_op *op;
    char line[128];
};

struct sender {
    asock_socket *socket;
    struct item pool[OPS];
    const char *text;
    int submitted, completed, error;
    unsigned long bytes;
};

static void sent(asock_op *op, void *userdata);

static void send_next(struct sender *sender, struct item *item)
{
    int n = snprintf(item->line, sizeof(item->line), "%d %.100s\n", ++sender->submitted,
                     sender->text);

    asock_op_set_buffer(item->op, item->line, (size_t)n);
    asock_op_set_callback(item->op, sent, sender);
    asock_send(sender->socket, item->op);
}

static void sent(asock_op *op, void *userdata)
{
    struct sender *sender = userdata;

    sender->completed++;
    sender->bytes += asock_op_get_bytes(op);
    if (!sender->error)
        sender->error = asock_op_get_error(op);
    if (sender->error || sender->submitted == LINES)
        return;
    for (int i = 0; i < OPS; i++)
        if (sender->pool[i].op == op)
            send_next(sender, &sender->pool[i]);
}

/* The smallest event loop there is. */
static void turn(asock_context *context)
{
    struct pollfd fd = {.fd = asock_context_get_fd(context),
                        .events = (short)asock_context_get_events(context)};

    poll(&fd, 1, asock_context_get_timeout(context));
    asock_context_process(context);
}

static int send_lines(asock_context *context, struct sender *sender)
{
    for (int i = 0; i < OPS; i++)
        if (asock_op_new(context, &sender->pool[i].op) < 0)
            return -1;
    for (int i = 0; i < OPS; i++)
        send_next(sender, &sender->pool[i]);
    while (sender->completed < sender->submitted)
        turn(context);
    if (sender->error)
        fprintf(stderr, "send: %s\n", asock_strerror(sender->error));
    return sender->error ? -1 : 0;
}

static int read_to_end(struct sender *sender)
{
    asock_op *op = sender->pool[0].op;
    char buffer[4096];
    unsigned long total = 0;
    ssize_t n;

    asock_op_set_callback(op, NULL, NULL);
    if (asock_shutdown(sender->socket, op, ASOCK_SHUTDOWN_SEND) < 0)
        return -1;
    while ((n = asock_receive_some(sender->socket, buffer, sizeof(buffer), -1)) > 0)
        total += (unsigned long)n;
    if (n < 0) {
        fprintf(stderr, "receive: %s\n", strerror((int)-n));
        return -1;
    }
    printf("sent %d lines, %lu bytes; received %lu bytes\n", LINES, sender->bytes, total);
    return 0;
}

int main(int argc, char **argv)
{
    struct sender sender = {.text = argc > 3 ? argv[3] : "a line"};
    asock_context *context;
    int r;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s HOST PORT [TEXT]\n", argv[0]);
        return 2;
    }
    r = asock_context_new(NULL, &context);
    if (r < 0) {
        fprintf(stderr, "asockd: %s\n", strerror(-r));
        return 1;
    }
    r = asock_dial(context, argv[1], argv[2], -1, &sender.socket);
    if (r < 0)
        fprintf(stderr, "connect: %s\n", strerror(-r));
    if (r == 0)
        r = send_lines(context, &sender);
    if (r == 0)
        r = read_to_end(&sender);
    for (int i = 0; i < OPS; i++)
        asock_op_unref(sender.pool[i].op);
    asock_socket_unref(sender.socket);
    asock_context_unref(context);
    return r == 0 ? 0 : 1;
}
