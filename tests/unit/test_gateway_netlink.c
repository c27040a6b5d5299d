/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A cable in a network of the test's own: when its ends send. */
#include "tests/lib/suite.h"
#include "gateway/netlink.h"
#include "gateway/network.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/skip.h"

#define DEADLINE_MS 30000

static int netlink, watch;

static void after(void)
{
    if (netlink < 0)
        return;
    close(netlink);
    close(watch);
}

static void before(void)
{
    static const uint8_t left[6] = {2, 0, 0, 0, 0, 1}, right[6] = {2, 0, 0, 0, 0, 2};
    int r;

    netlink = -1;
    if (geteuid() == 0 ? unshare(CLONE_NEWNET) < 0 : unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return;
    ck_assert_int_eq(netlink_open(&netlink), 0);
    ck_assert_int_eq(netlink_watch(&watch), 0);
    r = netlink_add_veth(netlink, "left", left, "right", right, getpid(), 1500);
    if (r == -EPERM || r == -EOPNOTSUPP) {
        after();
        netlink = -1;
        return;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(netlink_set_up(netlink, "left"), 0);
}

#define NEEDS_NETWORK()                                                                            \
    do {                                                                                           \
        if (netlink < 0)                                                                           \
            TEST_SKIP("no right to make a network namespace, or no veth");                         \
    } while (0)

TEST_FIXTURE(before, after);

START_TEST(test_a_cable_is_up_when_both_ends_are)
{
    NEEDS_NETWORK();
    ck_assert_int_eq(netlink_await_up(watch, "left", 0), -ETIMEDOUT);
    ck_assert_int_eq(netlink_await_up(watch, "right", 0), -ETIMEDOUT);
    ck_assert_int_eq(netlink_set_up(netlink, "right"), 0);
    ck_assert_int_eq(netlink_await_up(watch, "left", DEADLINE_MS), 0);
    ck_assert_int_eq(netlink_await_up(watch, "right", DEADLINE_MS), 0);
}
END_TEST

START_TEST(test_the_other_end_is_set_up_meanwhile)
{
    pid_t child;
    int status;

    NEEDS_NETWORK();
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(netlink_set_up(netlink, "right") == 0 ? 0 : 1);
    ck_assert_int_eq(netlink_await_up(watch, "left", DEADLINE_MS), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(test_a_device_that_is_not_there_is_not_waited_for)
{
    NEEDS_NETWORK();
    ck_assert_int_eq(netlink_await_up(watch, "neither", DEADLINE_MS), -ENODEV);
}
END_TEST

/* Which device was waited for last, and with which result. */
static const char *awaited;
static int awaited_result;

int __real_netlink_await_up(int fd, const char *dev, unsigned int ms);
int __wrap_netlink_await_up(int fd, const char *dev, unsigned int ms);

int __wrap_netlink_await_up(int fd, const char *dev, unsigned int ms)
{
    awaited = dev;
    awaited_result = __real_netlink_await_up(fd, dev, ms);
    return awaited_result;
}

/* Both ends are in one network here. */
START_TEST(test_the_commands_network_has_answers_when_it_is_made)
{
    static const uint8_t outside[6] = {2, 0, 0, 0, 0, 3}, inside[6] = {2, 0, 0, 0, 0, 4};
    struct network_problem why;
    int fd;

    NEEDS_NETWORK();
    fd = network_watch_outside(&why);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(netlink_add_veth(netlink, "cable0", outside, "cable1", inside, getpid(), 1500),
                     0);
    ck_assert_int_eq(netlink_set_up(netlink, "cable0"), 0);
    ck_assert_int_eq(network_make_inside(fd, &why), 0);
    ck_assert_str_eq(awaited, "cable0");
    ck_assert_int_eq(awaited_result, 0);
}
END_TEST

/* What happens when the socket is waited for first: more than it holds, and at last that. */
static bool is_flooded;

int __real_poll(struct pollfd *fds, nfds_t count, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int ms);

static void flood(void)
{
    int other;

    for (uint8_t i = 0; i < 10; i++) {
        const uint8_t one[6] = {2, 0, 0, 0, i, 1}, two[6] = {2, 0, 0, 0, i, 2};
        const char one_name[] = {'a', (char)('0' + i), 0}, two_name[] = {'b', (char)('0' + i), 0};

        ck_assert_int_eq(netlink_add_veth(netlink, one_name, one, two_name, two, getpid(), 1500),
                         0);
    }
    ck_assert_int_eq(netlink_watch(&other), 0);
    ck_assert_int_eq(netlink_set_up(netlink, "right"), 0);
    ck_assert_int_eq(netlink_await_up(other, "left", DEADLINE_MS), 0);
    close(other);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int ms)
{
    if (is_flooded) {
        is_flooded = false;
        flood();
    }
    return __real_poll(fds, count, ms);
}

static void hold_little(void)
{
    ck_assert_int_eq(setsockopt(watch, SOL_SOCKET, SO_RCVBUF, &(int){1}, sizeof(int)), 0);
}

START_TEST(test_lost_messages_are_asked_for_again)
{
    NEEDS_NETWORK();
    hold_little();
    is_flooded = true;
    ck_assert_int_eq(netlink_await_up(watch, "left", DEADLINE_MS), 0);
    ck_assert(!is_flooded);
}
END_TEST

START_TEST(test_a_socket_that_holds_little_ends_in_time)
{
    NEEDS_NETWORK();
    hold_little();
    ck_assert_int_eq(netlink_await_up(watch, "left", 0), -ETIMEDOUT);
}
END_TEST

/* ---- what a kernel could say ---- */

enum { UNKNOWN = 0, DOWN = 2, UP = 6 };

static char message[512];
static size_t message_len;

static void add(uint16_t type, const void *data, uint16_t len)
{
    const struct rtattr attribute = {.rta_len = RTA_LENGTH(len), .rta_type = type};

    memcpy(message + message_len, &attribute, sizeof(attribute));
    memcpy(message + message_len + RTA_LENGTH(0), data, len);
    message_len += RTA_SPACE(len);
}

static void begin(unsigned int flags)
{
    const struct ifinfomsg link = {.ifi_flags = flags};

    memset(message, 0, sizeof(message));
    memcpy(message + NLMSG_HDRLEN, &link, sizeof(link));
    message_len = NLMSG_SPACE(sizeof(link));
}

/* A message in place of the kernel's, and nothing after it. */
static int told(size_t len)
{
    const struct nlmsghdr head = {.nlmsg_len = (uint32_t)message_len, .nlmsg_type = RTM_NEWLINK};
    int pair[2], r;

    memcpy(message, &head, sizeof(head));
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(send(pair[1], message, len, 0), len);
    r = netlink_await_up(pair[0], "left", 0);
    close(pair[0]);
    close(pair[1]);
    return r;
}

static int state(const char *name, uint8_t operstate, unsigned int flags)
{
    begin(flags);
    add(IFLA_OPERSTATE, &operstate, 1);
    add(IFLA_IFNAME, name, (uint16_t)(strlen(name) + 1));
    return told(message_len);
}

/* A new device has IFF_RUNNING before anybody has looked at its cable. */
START_TEST(test_only_up_is_up)
{
    ck_assert_int_eq(state("left", UP, IFF_UP | IFF_RUNNING), 0);
    ck_assert_int_eq(state("left", UNKNOWN, IFF_UP | IFF_RUNNING), -ETIMEDOUT);
    ck_assert_int_eq(state("left", DOWN, IFF_UP), -ETIMEDOUT);
    ck_assert_int_eq(state("right", UP, IFF_UP | IFF_RUNNING), -ETIMEDOUT);
    ck_assert_int_eq(state("left2", UP, IFF_UP | IFF_RUNNING), -ETIMEDOUT);
    ck_assert_int_eq(state("lef", UP, IFF_UP | IFF_RUNNING), -ETIMEDOUT);
}
END_TEST

START_TEST(test_a_message_that_is_cut_says_nothing)
{
    const uint8_t up = UP;

    begin(IFF_UP | IFF_RUNNING);
    add(IFLA_IFNAME, "left", 5);
    add(IFLA_OPERSTATE, &up, 1);
    for (size_t len = 1; len < message_len - 3; len++) /* the last three fill up a word */
        ck_assert_int_eq(told(len), -ETIMEDOUT);
    ck_assert_int_eq(told(message_len), 0);
    memset(message + NLMSG_SPACE(sizeof(struct ifinfomsg)), 0, sizeof(uint16_t)); /* rta_len */
    ck_assert_int_eq(told(message_len), -ETIMEDOUT);
}
END_TEST
