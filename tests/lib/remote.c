/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/lib/remote.h"
#include "tests/lib/wait.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static int bind_loopback(int family, int buffer, struct sockaddr_storage *ret)
{
    socklen_t len = sizeof(*ret);
    int fd, r;

    memset(ret, 0, sizeof(*ret));
    ret->ss_family = (sa_family_t)family;
    if (family == AF_INET)
        ((struct sockaddr_in *)ret)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)ret)->sin6_addr = in6addr_loopback;
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_msg(fd >= 0, "socket: errno %d", errno);
    if (buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    r = bind(fd, (struct sockaddr *)ret, remote_addr_len(ret));
    ck_assert_msg(r == 0, "bind: errno %d", errno);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

int remote_listen(int family, struct sockaddr_storage *ret)
{
    int fd = bind_loopback(family, 0, ret);

    ck_assert_int_eq(listen(fd, 64), 0);
    return fd;
}

int remote_listen_small(int family, struct sockaddr_storage *ret)
{
    int fd = bind_loopback(family, 4096, ret);

    ck_assert_int_eq(listen(fd, 64), 0);
    return fd;
}

int remote_closed_port(int family, struct sockaddr_storage *ret)
{
    return bind_loopback(family, 0, ret);
}

void remote_black_hole(struct black_hole *ret, struct sockaddr_storage *addr)
{
    ret->listener = bind_loopback(AF_INET, 0, addr);
    ck_assert_int_eq(listen(ret->listener, 0), 0);
    /* A backlog of 0 holds one connection; the handshakes of the others are dropped. */
    for (size_t i = 0; i < sizeof(ret->fillers) / sizeof(ret->fillers[0]); i++) {
        ret->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(ret->fillers[i], (struct sockaddr *)addr, remote_addr_len(addr));
    }
    wait_fd(ret->fillers[0], POLLOUT);
}

void remote_black_hole_close(struct black_hole *hole)
{
    for (size_t i = 0; i < sizeof(hole->fillers) / sizeof(hole->fillers[0]); i++)
        close(hole->fillers[i]);
    close(hole->listener);
}

socklen_t remote_addr_len(const struct sockaddr_storage *addr)
{
    return addr->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

uint16_t remote_port(const struct sockaddr_storage *addr)
{
    if (addr->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)addr)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)addr)->sin6_port);
}

int remote_dial(const struct sockaddr_storage *addr)
{
    int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)addr, remote_addr_len(addr)), 0);
    return fd;
}

int remote_accept(int listener)
{
    int fd;

    wait_fd(listener, POLLIN);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    ck_assert_msg(fd >= 0, "accept: errno %d", errno);
    return fd;
}

static bool readable_now(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    return poll(&pollfd, 1, 0) == 1;
}

bool remote_nobody_waits(int listener)
{
    return !readable_now(listener);
}

bool remote_nothing_to_read(int fd)
{
    return !readable_now(fd);
}

void remote_write(int fd, const void *data, size_t len)
{
    const char *from = data;

    while (len > 0) {
        ssize_t n = send(fd, from, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0) {
            ck_assert_msg(errno == EAGAIN, "send: errno %d", errno);
            wait_fd(fd, POLLOUT);
            continue;
        }
        from += n;
        len -= (size_t)n;
    }
}

void remote_read(int fd, void *data, size_t len)
{
    char *to = data;
    size_t wanted = len;

    while (len > 0) {
        ssize_t n = recv(fd, to, len, MSG_DONTWAIT);

        if (n < 0) {
            ck_assert_msg(errno == EAGAIN, "recv: errno %d", errno);
            wait_fd(fd, POLLIN);
            continue;
        }
        ck_assert_msg(n > 0, "end of stream after %zu of %zu bytes", wanted - len, wanted);
        to += n;
        len -= (size_t)n;
    }
}

void remote_finish(int fd)
{
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
}

void remote_reset(int fd)
{
    struct linger linger = {.l_onoff = 1};

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
}

static enum remote_end drain(int fd, bool check, uint64_t from, uint64_t *bytes)
{
    uint64_t count = 0;
    char buf[65536];

    for (;;) {
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (n > 0) {
            if (check)
                ck_assert_int_eq(pattern_check(buf, from + count, (size_t)n), -1);
            count += (uint64_t)n;
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            wait_fd(fd, POLLIN);
            continue;
        }
        ck_assert_msg(n == 0 || errno == ECONNRESET, "recv: errno %d", errno);
        if (bytes)
            *bytes = count;
        return n == 0 ? REMOTE_FIN : REMOTE_RST;
    }
}

enum remote_end remote_drain(int fd, uint64_t *bytes)
{
    return drain(fd, false, 0, bytes);
}

enum remote_end remote_drain_pattern(int fd, uint64_t from, uint64_t *bytes)
{
    return drain(fd, true, from, bytes);
}

void pattern_fill(void *data, uint64_t from, size_t len)
{
    uint8_t *to = data;

    for (size_t i = 0; i < len; i++)
        to[i] = pattern_at(from + i);
}

long long pattern_check(const void *data, uint64_t from, size_t len)
{
    const uint8_t *at = data;

    for (size_t i = 0; i < len; i++) {
        if (at[i] != pattern_at(from + i))
            return (long long)i;
    }
    return -1;
}
