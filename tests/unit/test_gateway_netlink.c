/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A cable in a network of the test's own: when its ends send. */
#include "tests/lib/suite.h"
#include "gateway/netlink.h"

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/skip.h"

#define DEADLINE_MS 30000

static int netlink, watch;

static void before(void)
{
    static const uint8_t left[6] = {2, 0, 0, 0, 0, 1}, right[6] = {2, 0, 0, 0, 0, 2};

    netlink = -1;
    if (geteuid() == 0 ? unshare(CLONE_NEWNET) < 0 : unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return;
    ck_assert_int_eq(netlink_open(&netlink), 0);
    ck_assert_int_eq(netlink_watch(&watch), 0);
    ck_assert_int_eq(netlink_add_veth(netlink, "left", left, "right", right, getpid(), 1500), 0);
    ck_assert_int_eq(netlink_set_up(netlink, "left"), 0);
}

static void after(void)
{
    if (netlink < 0)
        return;
    close(netlink);
    close(watch);
}

#define NEEDS_NETWORK()                                                                            \
    do {                                                                                           \
        if (netlink < 0)                                                                           \
            TEST_SKIP("no right to make a network namespace");                                     \
    } while (0)

TEST_FIXTURE(before, after);

/* The end that was set up first sends no later than the call returns. */
START_TEST(test_a_cable_runs_when_both_ends_are_up)
{
    NEEDS_NETWORK();
    ck_assert_int_eq(netlink_await_running(watch, "left", 0), -ETIMEDOUT);
    ck_assert_int_eq(netlink_await_running(watch, "right", 0), -ETIMEDOUT);
    ck_assert_int_eq(netlink_set_up(netlink, "right"), 0);
    ck_assert_int_eq(netlink_await_running(watch, "left", DEADLINE_MS), 0);
    ck_assert_int_eq(netlink_await_running(watch, "right", DEADLINE_MS), 0);
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
    ck_assert_int_eq(netlink_await_running(watch, "left", DEADLINE_MS), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(test_a_device_that_is_not_there_is_not_waited_for)
{
    NEEDS_NETWORK();
    ck_assert_int_eq(netlink_await_running(watch, "neither", DEADLINE_MS), -ENODEV);
}
END_TEST
