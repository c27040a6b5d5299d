/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IdleTimeout= and KeepAlive= of the policy, by a clock that the test turns. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/daemon_session.h"
#include "tests/unit/policy_text.h"
#include "daemon/policy/policy.h"
#include "daemon/session/sock.h"
#include "tests/lib/suite.h"
#include "proto/errors.h"

static struct core *core;

static void setup(void)
{
    core = core_new();
}

static void teardown(void)
{
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

/* As after a reload: sessions take it up when they ask next. */
static void set_limits(const char *limits)
{
    struct policy *policy = policy_new(POLICY_ANY);
    char text[128], error[POLICY_ERROR_MAX];

    snprintf(text, sizeof(text), "[Limits]\n%s\n", limits);
    ck_assert_int_eq(policy_text_add(policy, "limits", text, strlen(text), error), 0);
    policy_unref(core->worker.policy);
    core->worker.policy = policy;
}

static struct sock *socket_1(void)
{
    return session_sock(core->session, 1);
}

/* Any byte begins the time again, in either direction; what is pending does not. */
START_TEST(test_s55_idle_connection_is_ended)
{
    uint64_t token, later;
    struct reply reply;
    char byte;
    int peer;

    set_limits("IdleTimeout=10");
    peer = core_connected(core, 1);
    core_pass(core, 9900);
    ck_assert_int_eq(write(peer, "x", 1), 1);
    token = core_receive(core, 1, 1, 0, 0);
    ck_assert(core_has_reply(core, token, &reply));
    core_pass(core, 9900);
    token = core_send(core, 1, "y", 1, 0);
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_int_eq(recv(peer, &byte, 1, 0), 1);
    token = core_receive(core, 1, 1, 0, 0);
    core_pass(core, 9900);
    ck_assert(!core_has_reply(core, token, &reply));
    ck_assert_int_eq(socket_1()->state, SOCK_CONNECTED);
    core_pass(core, 200);
    ck_assert_int_eq(socket_1()->state, SOCK_KILLED);
    ck_assert_str_eq(killer_text(socket_1()->killer), "idle");
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_uint_eq(reply.error, ERR_CONNECTION_ABORTED);
    later = core_receive(core, 1, 1, 0, 0);
    ck_assert(core_has_reply(core, later, &reply));
    ck_assert_uint_eq(reply.error, ERR_CONNECTION_ABORTED);
    ck_assert_int_eq(recv(peer, &byte, 1, 0), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    close(peer);
}
END_TEST

/* Each completion of a multishot begins the time again; that it waits for the next does not. */
START_TEST(test_s55_idle_although_a_multishot_waits)
{
    struct request reg = {.verb = VERB_REGISTER, .reg = {.length = 4096}};
    struct segment slices[] = {{1, 0, 10}, {1, 10, 10}};
    struct request shot = {.verb = VERB_RECEIVE, .socket = 1};
    struct reply reply;
    uint64_t token;
    int peer;

    set_limits("IdleTimeout=10");
    peer = core_connected(core, 1);
    ck_assert_uint_eq(core_completion(core, core_request(core, &reg, NULL, 0)).error, ERR_SUCCESS);
    shot.receive.flags = RECEIVE_MULTISHOT;
    shot.receive.segments = (struct segments){slices, 2};
    token = core_request(core, &shot, NULL, 0);
    core_pass(core, 9900);
    ck_assert_int_eq(write(peer, "x", 1), 1);
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_uint_eq(reply.bytes, 1);
    ck_assert_uint_eq(reply.flags, REPLY_MORE);
    core_pass(core, 9900);
    ck_assert(!core_has_reply(core, token, &reply));
    ck_assert_int_eq(socket_1()->state, SOCK_CONNECTED);
    core_pass(core, 200);
    ck_assert_str_eq(killer_text(socket_1()->killer), "idle");
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_uint_eq(reply.error, ERR_CONNECTION_ABORTED);
    ck_assert_uint_eq(reply.flags & REPLY_MORE, 0);
    close(peer);
}
END_TEST

/* A send that the peer does not take moves nothing, after what the kernel has taken. */
START_TEST(test_s55_idle_although_a_send_waits)
{
    static char block[256 * 1024];
    struct reply reply;
    uint64_t token;
    int peer;

    set_limits("IdleTimeout=10");
    peer = core_connected(core, 1);
    do
        token = core_send(core, 1, block, sizeof(block), 0);
    while (core_has_reply(core, token, &reply));
    core_pass(core, 10200);
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_uint_eq(reply.error, ERR_CONNECTION_ABORTED);
    close(peer);
}
END_TEST

/*
 * A reload that takes the limit away holds for what is connected; and nothing ends what is closed
 * twice.
 */
START_TEST(test_s55_idle_ends_with_the_limit)
{
    int peer, other;

    set_limits("IdleTimeout=10");
    peer = core_connected(core, 1);
    set_limits("Sockets=100");
    core_pass(core, 30000);
    ck_assert_int_eq(socket_1()->state, SOCK_CONNECTED);
    set_limits("IdleTimeout=10");
    other = core_connected(core, 2);
    core_close(core, 2, 0);
    core_pass(core, 30000);
    ck_assert_int_eq(socket_1()->state, SOCK_CONNECTED);
    close(peer);
    close(other);
}
END_TEST

static int64_t option_of_1(uint32_t option)
{
    int64_t value = -1;

    ck_assert_int_eq(netsock_get_option(&socket_1()->ns, option, &value), 0);
    return value;
}

START_TEST(test_keep_alive_of_the_policy)
{
    int peer;

    set_limits("KeepAlive=77");
    peer = core_connected(core, 1);
    ck_assert_int_eq(option_of_1(OPTION_KEEP_ALIVE), 1);
    ck_assert_int_eq(option_of_1(OPTION_KEEP_ALIVE_TIME), 77);
    close(peer);
}
END_TEST
