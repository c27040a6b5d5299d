/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several datagrams of one call, and what becomes of an error in the middle of them (S64, S66). */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/loop.h"
#include "daemon/net/udp.h"
#include "tests/lib/suite.h"

static struct worker worker;
static struct netsock ns;

static void setup(void)
{
    memset(&worker, 0, sizeof(worker));
    worker.fds_max = 10;
    netsock_init(&ns, NULL, NULL);
    ck_assert_int_eq(udp_open(&ns, &worker, AF_INET), 0);
}

static void teardown(void)
{
    close(ns.fd);
}

TEST_FIXTURE(setup, teardown);

/* A port that nothing is bound to, or that *ret_fd is. */
static struct sockaddr_in port(int *ret_fd)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    if (ret_fd)
        *ret_fd = fd;
    else
        close(fd);
    return addr;
}

static void connect_to(struct sockaddr_in addr)
{
    ck_assert_int_eq(netsock_connect(&ns, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    udp_report_errors(&ns);
}

static int send_three(size_t second)
{
    static char bytes[70000];
    struct iovec iov[] = {{bytes, 1}, {bytes, second}, {bytes, 3}};
    struct udp_packet packets[3];

    for (unsigned int i = 0; i < 3; i++)
        packets[i] = (struct udp_packet){&iov[i], 1, {.traffic_class = -1}};
    return udp_send_several(&ns, packets, 3);
}

START_TEST(test_s64_several_go_with_one_call)
{
    char bytes[10];
    int peer;

    connect_to(port(&peer));
    ck_assert_int_eq(send_three(2), 3);
    for (ssize_t i = 1; i <= 3; i++)
        ck_assert_int_eq(recv(peer, bytes, sizeof(bytes), 0), i);
    close(peer);
}
END_TEST

START_TEST(test_s64_up_to_the_one_that_fails)
{
    int peer;

    connect_to(port(&peer));
    ck_assert_int_eq(send_three(70000), 1);
    ck_assert_int_eq(udp_take_error(&ns), 0); /* it is not about a send */
    close(peer);
}
END_TEST

START_TEST(test_s66_a_report_is_taken_once)
{
    struct pollfd poll_fd = {.fd = ns.fd, .events = POLLIN};

    connect_to(port(NULL));
    ck_assert_int_eq(udp_take_error(&ns), 0);
    ck_assert_int_ge(send_three(2), 1);
    poll(&poll_fd, 1, -1);
    ck_assert_int_eq(udp_take_error(&ns), -ECONNREFUSED);
    ck_assert_int_eq(udp_take_error(&ns), 0);
}
END_TEST

START_TEST(test_s65_as_many_as_there_are)
{
    char bytes[4][4];
    struct iovec iov[4];
    struct datagram came[4];
    struct endpoint local;
    struct sockaddr_storage to;
    socklen_t len;
    int peer;

    connect_to(port(&peer));
    ck_assert_int_eq(netsock_local(&ns, &local), 0);
    ck_assert_int_eq(netsock_sockaddr(&local, &to, &len), 0);
    for (size_t i = 0; i < 4; i++)
        iov[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
    memset(came, 0, sizeof(came));
    ck_assert_int_eq(udp_receive_several(&ns, iov, 4, came), -EAGAIN);
    for (size_t i = 2; i <= 6; i += 2)
        ck_assert_int_eq(sendto(peer, "012345", i, 0, (struct sockaddr *)&to, len), (ssize_t)i);
    ck_assert_int_eq(udp_receive_several(&ns, iov, 4, came), 3);
    for (unsigned int i = 0; i < 3; i++) {
        ck_assert_uint_eq(came[i].length, 2 * i + 2);
        ck_assert_uint_eq(came[i].remote.address_len, 4);
        ck_assert_uint_eq(came[i].local.address_len, 4);
    }
    close(peer);
}
END_TEST
