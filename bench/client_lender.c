/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connects of client_lent.c with sockets of bench-lender, and no library. With many at once,
 * all requests that wait leave together, as libasock's do.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/client.h"
#include "bench/lender.h"

/* The socket has room for so many requests and answers: no send waits for the other side. */
#define ABREAST_MAX 128u

static struct lender {
    int link;
    char requests[ABREAST_MAX * LENDER_REQUEST]; /* all alike */
    struct pollfd fds[ABREAST_MAX + 1];          /* behind those of the connections the link's */
    unsigned int wanted;                         /* requests that are still to be sent */
    unsigned int asked;                          /* those that are not answered */
    long started, done, units;
} state;

static void send_requests(void)
{
    size_t len = state.wanted * LENDER_REQUEST;

    if (len == 0)
        return;
    if (send(state.link, state.requests, len, MSG_NOSIGNAL) != (ssize_t)len)
        fail("send");
    state.asked += state.wanted;
    state.wanted = 0;
}

/* -1: no answer is there yet. */
static int take_socket(void)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char answer[LENDER_ANSWER];
    struct iovec data = {.iov_base = answer, .iov_len = sizeof answer};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(state.link, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int fd;

    if (n < 0 && errno == EAGAIN)
        return -1;
    if (n < 0)
        fail("recvmsg");
    errno = 0;
    if (n != (ssize_t)sizeof answer)
        fail(n == 0 ? "the lender has left" : "an answer is cut off");
    if (CMSG_FIRSTHDR(&message) == NULL || control.header.cmsg_type != SCM_RIGHTS)
        fail("an answer has no socket");
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    state.asked--;
    return fd;
}

/* Waits; it is blocking, as those of client_plain.c are. */
static int dial(void)
{
    struct pollfd answer = {.fd = state.link, .events = POLLIN};
    int fd;

    state.wanted++;
    send_requests();
    if (poll(&answer, 1, 30000) != 1)
        fail("the lender does not answer");
    fd = take_socket();
    if (fd < 0 || fcntl(fd, F_SETFL, O_RDWR) < 0)
        fail("fcntl");
    return fd;
}

static void prepare(struct client *c)
{
    unsigned int n = c->o.connections;

    if (n > ABREAST_MAX)
        fail("at most %u connections at once", ABREAST_MAX);
    state.link = unix_connect(c->o.path);
    for (unsigned int i = 0; i < n; i++) {
        memcpy(state.requests + (size_t)i * LENDER_REQUEST, &c->o.server, sizeof c->o.server);
        state.fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    state.fds[n] = (struct pollfd){.fd = state.link, .events = POLLIN};
}

/* ---- connect, echo, close ---- */

static void start_connection(void)
{
    state.wanted++;
    state.started++;
}

static void end_connection(struct pollfd *place)
{
    char x;

    if (recv(place->fd, &x, 1, 0) != 1 || x != 'e')
        fail("a wrong byte came back");
    close(place->fd);
    place->fd = -1;
    state.done++;
    if (state.started < state.units)
        start_connection();
}

static void on_connected(int fd)
{
    struct pollfd *place = state.fds;

    while (place->fd >= 0) /* there are as many places as requests */
        place++;
    place->fd = fd;
    if (send(fd, "e", 1, MSG_NOSIGNAL) != 1)
        fail("send");
}

static void turn(unsigned int n)
{
    int fd;

    send_requests();
    poll(state.fds, n + 1, -1);
    for (unsigned int i = 0; i < n; i++)
        if (state.fds[i].fd >= 0 && state.fds[i].revents != 0)
            end_connection(&state.fds[i]);
    if (state.fds[n].revents != 0)
        while (state.asked > 0 && (fd = take_socket()) >= 0)
            on_connected(fd);
}

static void run_one_at_a_time(long units)
{
    for (long i = 0; i < units; i++) {
        int fd = dial();

        echo_one(fd);
        close(fd);
    }
}

static void run_connections(struct client *c, long units)
{
    unsigned int n = c->o.connections;

    if (n == 1) {
        run_one_at_a_time(units);
        return;
    }
    state.units = units;
    state.started = state.done = 0;
    for (unsigned int i = 0; i < n && state.started < units; i++)
        start_connection();
    while (state.done < units)
        turn(n);
}

static void run_dials(struct client *c, long units)
{
    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns();
        int fd = dial();

        times_add(&c->times, began, now_ns());
        close(fd);
        rest(&c->o);
    }
}

static const struct test tests[] = {
    {"connect", 64, prepare, run_connections},
    {"dial", 64, prepare, run_dials},
    {0},
};

const struct test *lender_test(const char *name)
{
    return test_named(tests, name);
}
