/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/take_over_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(LINK_DESCRIPTORS_MAX * sizeof(int))];
};

static int await(int fd, short events, uint64_t until)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = time_now_ms();
        int r;

        if (now >= until)
            return -ETIMEDOUT;
        r = poll(&p, 1, (int)(until - now));
        if (r > 0)
            return 0;
        if (r < 0 && errno != EINTR)
            return -errno;
    }
}

static void attach(struct msghdr *msg, union control *control, const int *descriptors,
                   unsigned int count)
{
    struct cmsghdr *cmsg;

    memset(control, 0, sizeof(*control));
    msg->msg_control = control->bytes;
    msg->msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(cmsg), descriptors, count * sizeof(int));
}

int link_send(int fd, enum link_kind kind, uint32_t number, const int *descriptors,
              unsigned int count, uint64_t until)
{
    struct link_message message = {kind, number};
    struct iovec iov = {&message, sizeof(message)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union control control;

    if (count > 0)
        attach(&msg, &control, descriptors, count);
    for (;;) {
        ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        int r;

        if (n == (ssize_t)sizeof(message))
            return 0;
        if (n >= 0)
            return -EPROTO; /* so few bytes are not taken in parts */
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        r = await(fd, POLLOUT, until);
        if (r < 0)
            return r;
    }
}

static void close_all(const int *descriptors, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++)
        close(descriptors[i]);
}

static unsigned int take(struct msghdr *msg, int *descriptors)
{
    unsigned int count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t bytes = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        memcpy(descriptors + count, CMSG_DATA(c), bytes);
        count += (unsigned int)(bytes / sizeof(int));
    }
    return count;
}

static int receive(int fd, int flags, struct link_message *ret, int *descriptors,
                   unsigned int *ret_count)
{
    struct iovec iov = {ret, sizeof(*ret)};
    union control control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);

    if (n < 0)
        return -errno;
    if (n == 0)
        return -EPIPE;
    *ret_count = take(&msg, descriptors);
    if (n == (ssize_t)sizeof(*ret) && !(msg.msg_flags & MSG_CTRUNC))
        return 0;
    close_all(descriptors, *ret_count);
    *ret_count = 0;
    return msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
}

int link_receive(int fd, struct link_message *ret, int *ret_descriptors, unsigned int *ret_count,
                 uint64_t until)
{
    int r;

    do {
        r = await(fd, POLLIN, until);
        if (r == 0)
            r = receive(fd, 0, ret, ret_descriptors, ret_count);
    } while (r == -EAGAIN || r == -EINTR);
    return r;
}

int link_peek(int fd, struct link_message *ret, int *ret_descriptors, unsigned int *ret_count)
{
    int r;

    do
        r = receive(fd, MSG_PEEK, ret, ret_descriptors, ret_count);
    while (r == -EINTR);
    return r;
}

void link_empty(int fd)
{
    int descriptors[LINK_DESCRIPTORS_MAX], r;

    do {
        struct link_message message;
        unsigned int count = 0;

        r = receive(fd, 0, &message, descriptors, &count);
        if (r == 0)
            close_all(descriptors, count);
    } while (r == 0 || r == -EINTR || r == -EMFILE || r == -EPROTO);
}

int link_read(int fd, void *to, unsigned int bytes, uint64_t until)
{
    uint8_t *at = to;

    while (bytes > 0) {
        int r = await(fd, POLLIN, until);
        ssize_t n = r == 0 ? recv(fd, at, bytes, MSG_DONTWAIT) : 0;

        if (r < 0)
            return r;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        at += n;
        bytes -= (unsigned int)n;
    }
    return 0;
}
