/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same as relay.c, but with a lent socket: read(2) and write(2) go directly to the network.
 *
 * Happy path: standard input is copied to the socket; at its end the sending side is shut down. The
 * socket's data is copied to standard output. When both have ended, CLOSE makes the daemon wait
 * until the peer has acknowledged everything.
 * Failures: as in relay.c. Memory: one buffer each way.
 */
#include "ctl/relay.h"
#include "ctl/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE (256u * 1024u)
/*
 * If the daemon does not confirm the close in this time, the end of the session closes the socket.
 */
#define CLOSE_TIMEOUT_MS 5000

struct buffer {
    char *data;
    size_t start, end; /* bytes from start to end - 1 have not been written yet */
};

struct lent {
    int fd;
    struct relay_manner manner;
    struct stream in, out;
    struct buffer up, down;
    bool in_ended;   /* standard input: end of file */
    bool up_ended;   /* the shutdown is done, or a send failed */
    bool down_ended; /* end of stream, or a receive failed */
    bool out_ended;  /* all written, and standard output closed */
    bool is_broken;  /* an error ended both directions */
    struct relay_result *result;
};

static void fail(struct lent *lent, enum relay_place place, int error)
{
    if (lent->result->place == RELAY_NOWHERE) {
        lent->result->place = place;
        lent->result->error = error;
    }
    if (place != RELAY_SENDING && place != RELAY_RECEIVING)
        lent->is_broken = true;
}

/* The error that the daemon would report. ENOTCONN: the daemon has dissolved the connection. */
static int error_of(int err)
{
    switch (err) {
    case ECONNRESET:
    case EPIPE:
        return ASOCK_CONNECTION_RESET;
    case ETIMEDOUT:
        return ASOCK_TIMED_OUT;
    case ENOTCONN:
        return ASOCK_CONNECTION_ABORTED;
    default:
        return ASOCK_SOCKET_ERROR;
    }
}

static bool is_empty(const struct buffer *buffer)
{
    return buffer->start == buffer->end;
}

static bool would_wait(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* True: it made progress. */
static bool receive(struct lent *lent)
{
    ssize_t n = recv(lent->fd, lent->down.data, BUFFER_SIZE, 0);

    if (n < 0 && would_wait())
        return false;
    if (n < 0) {
        fail(lent, RELAY_RECEIVING, error_of(errno));
        lent->up_ended = true;
    }
    lent->down_ended = n <= 0;
    lent->down.start = 0;
    lent->down.end = n > 0 ? (size_t)n : 0;
    lent->result->bytes_in += lent->down.end;
    return true;
}

static bool write_out(struct lent *lent)
{
    struct buffer *down = &lent->down;
    ssize_t n = stream_write(&lent->out, down->data + down->start, down->end - down->start);

    if (n >= 0)
        down->start += (size_t)n;
    else if (n != -EAGAIN)
        fail(lent, RELAY_STDOUT, (int)-n);
    return n >= 0;
}

static bool end_out(struct lent *lent)
{
    int r = stream_end(&lent->out);

    if (r < 0)
        fail(lent, RELAY_STDOUT, -r);
    lent->out_ended = true;
    return true;
}

static bool run_down(struct lent *lent)
{
    if (lent->is_broken || lent->out_ended)
        return false;
    if (!is_empty(&lent->down))
        return write_out(lent);
    return lent->down_ended ? end_out(lent) : receive(lent);
}

static bool read_in(struct lent *lent)
{
    ssize_t n = stream_read(&lent->in, lent->up.data, BUFFER_SIZE);

    if (n == -EAGAIN)
        return false;
    if (n < 0) {
        fail(lent, RELAY_STDIN, (int)-n);
        return true;
    }
    lent->up.start = 0;
    lent->up.end = (size_t)n;
    if (n > 0)
        return true;
    lent->in_ended = true;
    if (!lent->manner.keep_open) {
        if (shutdown(lent->fd, SHUT_WR) < 0)
            fail(lent, RELAY_SENDING, error_of(errno));
        lent->up_ended = true;
    }
    return true;
}

static bool send_up(struct lent *lent)
{
    struct buffer *up = &lent->up;
    ssize_t n = send(lent->fd, up->data + up->start, up->end - up->start, MSG_NOSIGNAL);

    if (n < 0 && would_wait())
        return false;
    if (n < 0) {
        fail(lent, RELAY_SENDING, error_of(errno));
        lent->up_ended = true;
        return true;
    }
    up->start += (size_t)n;
    lent->result->bytes_out += (uint64_t)n;
    return true;
}

static bool run_up(struct lent *lent)
{
    if (lent->is_broken || lent->up_ended)
        return false;
    if (!is_empty(&lent->up))
        return send_up(lent);
    return !lent->in_ended && read_in(lent);
}

static bool is_over(const struct lent *lent)
{
    if (lent->is_broken)
        return true;
    if (!lent->out_ended)
        return false;
    return lent->up_ended || lent->manner.exit_on_close ||
           (lent->manner.keep_open && lent->in_ended && is_empty(&lent->up));
}

/*
 * Behind the peer's end of stream no receive would tell that the connection is over, and standard
 * input may be silent.
 */
static void note_lost(struct lent *lent)
{
    int err = 0;
    socklen_t len = sizeof(err);

    (void)getsockopt(lent->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    fail(lent, RELAY_SENDING, error_of(err ? err : ENOTCONN));
    lent->up_ended = true;
}

static void wait_for_work(struct lent *lent)
{
    bool wants_input = !lent->in_ended && !lent->up_ended && is_empty(&lent->up);
    bool receives = !lent->down_ended && is_empty(&lent->down);
    bool sends = !lent->up_ended && !is_empty(&lent->up);
    bool looks = lent->down_ended && !lent->up_ended && !sends;
    struct pollfd fds[] = {
        {.fd = receives || sends || looks ? lent->fd : -1,
         .events = (short)((receives ? POLLIN : 0) | (sends ? POLLOUT : 0))},
        {.fd = wants_input ? lent->in.fd : -1, .events = POLLIN},
        {.fd = is_empty(&lent->down) ? -1 : lent->out.fd, .events = POLLOUT},
    };

    if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0) {
        if (errno != EINTR)
            fail(lent, RELAY_ITSELF, errno);
        return;
    }
    if (looks && fds[0].revents)
        note_lost(lent);
    lent->in.is_ready |= fds[1].revents != 0;
    lent->out.is_ready |= fds[2].revents != 0;
}

static void run(struct lent *lent)
{
    for (;;) {
        bool goes_on = run_down(lent);

        goes_on |= run_up(lent);
        if (is_over(lent))
            return;
        if (!goes_on)
            wait_for_work(lent);
    }
}

/* Resets an incomplete stream, so that it does not look complete. */
static void close_socket(asock_context *context, asock_socket *socket, bool is_whole)
{
    asock_op *op;

    if (asock_op_new(context, &op) < 0)
        return;
    if (asock_close(socket, op, is_whole ? 0 : ASOCK_CLOSE_ABORT) >= 0)
        (void)asock_op_wait(op, CLOSE_TIMEOUT_MS);
    asock_op_unref(op);
}

void relay_lent(asock_context *context, asock_socket *socket, int fd,
                const struct relay_manner *manner, struct relay_result *ret)
{
    struct lent lent = {.fd = fd, .manner = *manner, .result = ret};

    stream_init(&lent.in, STDIN_FILENO);
    stream_init(&lent.out, STDOUT_FILENO);
    lent.up.data = malloc(BUFFER_SIZE);
    lent.down.data = malloc(BUFFER_SIZE);
    if (lent.up.data && lent.down.data)
        run(&lent);
    else
        fail(&lent, RELAY_ITSELF, ENOMEM);
    close_socket(context, socket, lent.in_ended && is_empty(&lent.up));
    close(fd);
    free(lent.up.data);
    free(lent.down.data);
    stream_deinit(&lent.in);
    stream_deinit(&lent.out);
}
