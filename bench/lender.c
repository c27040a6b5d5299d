/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-lender PATH: what lending a connected socket costs at least.
 *
 * Listens on a Unix socket at PATH, as asockd does where a rule has +lend. Each request names an
 * address (lender.h). A socket is made, connected and asked for its own address, and its descriptor
 * is sent to the client. Requests that came together are read together; each answer is a message of
 * its own, as it carries a descriptor.
 *
 * There is nothing else: no name, no policy, no quota, no audit, no system call filter, no
 * protocol, no socket that is watched or closed for the client, no error that is not the end. It
 * waits for a connect that is not done at once, and for a client that does not read, so either
 * stops everybody. What asockd takes more than this is its own doing; the rest is switches between
 * processes, system calls and TCP.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/lender.h"

#define EVENTS 64

struct client {
    int fd;
    size_t len; /* bytes that were read and not answered: less than a request, between two reads */
    char requests[48 * LENDER_REQUEST];
};

static struct lender {
    int epoll, listener;
} self;

/* ---- a socket ---- */

/* The second connect() tells that the first has succeeded: on loopback it has. */
static int dial(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) < 0)
        fail("socket");
    while (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0) {
        if (errno == EALREADY)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (errno != EINPROGRESS)
            fail("connect");
    }
    return fd;
}

/* false: the client has left. */
static bool send_socket(int to, int fd, char answer[LENDER_ANSWER])
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec data = {.iov_base = answer, .iov_len = LENDER_ANSWER};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};

    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(to, &message, MSG_NOSIGNAL) == (ssize_t)LENDER_ANSWER;
}

static bool lend(int client, const char *request)
{
    char answer[LENDER_ANSWER] = {0};
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    bool is_there;
    int fd;

    memcpy(&address, request, sizeof address);
    fd = dial(&address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        fail("getsockname");
    memcpy(answer, &address, sizeof address);
    is_there = send_socket(client, fd, answer);
    close(fd);
    return is_there;
}

/* ---- clients ---- */

static void watch(int fd, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

    if (epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

static void accept_one(void)
{
    struct client *client = calloc(1, sizeof *client);

    if (client == NULL)
        fail("no memory");
    client->fd = accept4(self.listener, NULL, NULL, SOCK_CLOEXEC);
    if (client->fd < 0)
        fail("accept4");
    watch(client->fd, client);
}

/* false: it has left. */
static bool answer_requests(struct client *client)
{
    ssize_t n = recv(client->fd, client->requests + client->len,
                     sizeof client->requests - client->len, MSG_DONTWAIT);
    size_t at = 0;

    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0)
        return false;
    client->len += (size_t)n;
    for (; client->len - at >= LENDER_REQUEST; at += LENDER_REQUEST)
        if (!lend(client->fd, client->requests + at))
            return false;
    client->len -= at;
    memmove(client->requests, client->requests + at, client->len);
    return true;
}

static void serve(struct client *client)
{
    if (client == NULL) {
        accept_one();
    } else if (!answer_requests(client)) {
        close(client->fd);
        free(client);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        fail("the path is too long");
    memcpy(address.sun_path, path, strlen(path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0)
        fail("%s", path);
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];

    if (argc != 2)
        fail("usage: bench-lender PATH");
    self.epoll = epoll_create1(EPOLL_CLOEXEC);
    self.listener = listen_at(argv[1]);
    watch(self.listener, NULL);
    for (;;) {
        int n = epoll_wait(self.epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++)
            serve(events[i].data.ptr);
    }
}
