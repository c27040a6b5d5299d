/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whatever a client does with a socket that was lent to it, the daemon's calls on it do not block
 * (S70).
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "daemon/net/tcp.h"
#include "tests/lib/suite.h"

/* Over which something has still to go, and cannot: its peer does not read. */
static int stuck(int *ret_peer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    static char data[65536];

    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    *ret_peer = accept(listener, NULL, NULL);
    ck_assert_int_ge(*ret_peer, 0);
    close(listener);
    while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
        ;
    return fd;
}

/* An hour is longer than any test may take. */
START_TEST(test_s70_a_linger_time_that_comes_right_before_the_close_stops_nobody)
{
    const struct linger hour = {.l_onoff = 1, .l_linger = 3600};
    int peer, fd = stuck(&peer);

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hour, sizeof(hour)), 0);
    netsock_close_lent(fd);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    close(peer);
}
END_TEST

/*
 * A kernel that does not dissolve it, as with TLS in it: the stream ends, whoever else has a
 * descriptor.
 */
START_TEST(test_s70_what_cannot_be_dissolved_is_shut_down)
{
    struct worker worker = {.fds_used = 1};
    struct netsock ns = {.is_lent = true};
    int ends[2], held;
    char byte;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    held = dup(ends[0]);
    netsock_adopt(&ns, ends[0], false);
    netsock_revoke(&ns, &worker);
    ck_assert_int_eq(recv(ends[1], &byte, 1, 0), 0);
    ck_assert_int_eq(send(held, "x", 1, MSG_NOSIGNAL), -1);
    ck_assert_int_eq(ns.fd, -1);
    ck_assert_uint_eq(worker.fds_used, 0);
    close(held);
    close(ends[1]);
}
END_TEST

/* Its timer has ended with it. */
START_TEST(test_s70_nothing_is_interrupted_afterwards)
{
    struct itimerval left;
    int peer, fd = stuck(&peer);

    netsock_close_lent(dup(fd));
    ck_assert_int_eq(getitimer(ITIMER_REAL, &left), 0);
    ck_assert(left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0);
    close(fd);
    close(peer);
}
END_TEST
