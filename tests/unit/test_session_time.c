/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Delays of the daemon, by a clock that the test turns: no test waits, none depends on the machine.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/daemon_session.h"
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

/* More than loopback's buffers hold: the last of it waits in the daemon. */
static uint64_t send_more_than_fits(uint32_t id, uint32_t timeout_ms)
{
    static char block[256 * 1024];
    uint64_t token;

    for (int i = 0; i < 64; i++) {
        struct reply reply;

        token = core_send(core, id, block, sizeof(block), timeout_ms);
        if (!core_has_reply(core, token, &reply))
            return token;
        ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    }
    ck_abort_msg("the kernel took everything");
    return 0;
}

/*
 * On a busy machine the kernel's packets may take their time: what is read for ends, or is reset.
 */
static ssize_t read_all(int peer, int *ret_err)
{
    static char buf[65536];
    struct pollfd pollfd = {.fd = peer, .events = POLLIN};
    ssize_t total = 0, n;
    int one = 1, waits = 0;

    while ((n = read(peer, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN && waits++ < 1000)) {
        if (n > 0)
            total += n;
        else
            poll(&pollfd, 1, 10);
        core_settle(core);
    }
    *ret_err = n < 0 ? errno : 0;
    /* The acknowledgement of the end, which the kernel may delay, is sent at once. */
    setsockopt(peer, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
    return total;
}

static void read_what_there_is(int peer)
{
    static char buf[65536];

    while (read(peer, buf, sizeof(buf)) > 0)
        ;
}

TEST_FIXTURE(setup, teardown);

START_TEST(test_s37_receive_times_out_at_its_deadline_not_before)
{
    int peer = core_connected(core, 1);
    uint64_t token = core_receive(core, 1, 10, 0, 5000);
    struct reply reply;

    core_pass(core, 4999);
    ck_assert(!core_has_reply(core, token, &reply));
    core_pass(core, 1);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_TIMED_OUT);
    ck_assert_uint_eq(reply.bytes, 0);

    /* The connection is unharmed. */
    token = core_receive(core, 1, 10, 0, 0);
    ck_assert_int_eq(write(peer, "x", 1), 1);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    ck_assert_uint_eq(reply.bytes, 1);
    close(peer);
}
END_TEST

/* How many of the ops have completed since the last call, and with what. */
static int collect(const uint64_t *tokens, uint32_t *errors, int count)
{
    const uint8_t *payload;
    struct reply reply;
    size_t len;
    int n = 0;

    core_settle(core);
    while (core_reply(core, &reply, &payload, &len))
        for (int i = 0; i < count; i++)
            if (reply.op == tokens[i]) {
                errors[i] = reply.error;
                n++;
            }
    return n;
}

/* Whatever waits for a connect ends with it, shutdowns of either side included. */
START_LOOP_TEST(test_s23_what_waits_for_a_connect_that_times_out_is_aborted, 0, 3)
{
    static const uint32_t hows[] = {HOW_RECEIVE, HOW_SEND, HOW_BOTH};
    struct request connect = {.verb = VERB_CONNECT, .socket = 1, .timeout_ms = 1000};
    struct request shutdown = {.verb = VERB_SHUTDOWN, .socket = 1};
    uint64_t tokens[3];
    uint32_t errors[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};

    connect.connect.endpoint.address_len = 4;
    memcpy(connect.connect.endpoint.address, "\177\0\0\1", 4);
    connect.connect.endpoint.port = core_hole(core);
    shutdown.shutdown.how = hows[_i];
    core_open(core, 1);
    tokens[0] = core_request(core, &connect, NULL, 0);
    tokens[1] = core_receive(core, 1, 10, 0, 0);
    tokens[2] = core_request(core, &shutdown, NULL, 0);
    ck_assert_int_eq(collect(tokens, errors, 3), 0);
    core_pass(core, 1000);
    ck_assert_int_eq(collect(tokens, errors, 3), 3);
    ck_assert_uint_eq(errors[0], ERR_TIMED_OUT);
    ck_assert_uint_eq(errors[1], ERR_OPERATION_ABORTED);
    ck_assert_uint_eq(errors[2], ERR_OPERATION_ABORTED);
    core_close(core, 1, 0);
    core_settle(core);
}
END_TEST

START_TEST(test_s35_wait_all_that_times_out_tells_what_it_moved)
{
    int peer = core_connected(core, 1);
    uint64_t token = core_receive(core, 1, 10, RECEIVE_WAIT_ALL, 1000);
    struct reply reply;

    ck_assert_int_eq(write(peer, "abc", 3), 3);
    core_pass(core, 1000);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_TIMED_OUT);
    ck_assert_uint_eq(reply.bytes, 3);
    close(peer);
}
END_TEST

START_TEST(test_s28_send_that_times_out_closes_the_sending_side)
{
    int peer = core_connected(core, 1), err;
    uint64_t token = send_more_than_fits(1, 3000), later;
    struct reply reply;

    later = core_send(core, 1, "later", 5, 0);
    core_pass(core, 3000);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_TIMED_OUT);
    reply = core_completion(core, later);
    ck_assert_uint_eq(reply.error, ERR_OPERATION_ABORTED);
    ck_assert_uint_eq(reply.bytes, 0);

    /* Half a stream must not look like a whole one (S42). */
    core_completion(core, core_close(core, 1, 0));
    read_all(peer, &err);
    ck_assert_int_eq(err, ECONNRESET);
    close(peer);
}
END_TEST

/* The daemon was stopped: time has passed, and none of its turns. */
static void be_stopped(uint64_t ms)
{
    core_now += ms;
}

START_TEST(test_s37_what_came_while_the_daemon_was_stopped_counts)
{
    int peer = core_connected(core, 1), err;
    uint64_t sent = send_more_than_fits(1, 3000), later = core_send(core, 1, "later", 5, 3000);
    uint64_t received = core_receive(core, 1, 10, 0, 3000);
    struct reply reply;

    ck_assert_int_eq(write(peer, "x", 1), 1);
    be_stopped(10000);
    read_what_there_is(peer);
    reply = core_completion(core, sent);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    reply = core_completion(core, later);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    reply = core_completion(core, received);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    ck_assert_uint_eq(reply.bytes, 1);
    core_completion(core, core_close(core, 1, 0));
    read_all(peer, &err);
    ck_assert_int_eq(err, 0);
    close(peer);
}
END_TEST

START_TEST(test_s37_what_did_not_come_while_the_daemon_was_stopped_times_out)
{
    int peer = core_connected(core, 1);
    uint64_t token = core_receive(core, 1, 10, 0, 3000);
    struct reply reply;

    be_stopped(10000);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_TIMED_OUT);
    close(peer);
}
END_TEST

START_TEST(test_s43_linger_that_expires_resets)
{
    int peer = core_connected(core, 1), err;
    uint64_t token, close_token;
    struct reply reply;

    token = send_more_than_fits(1, 0);
    close_token = core_close(core, 1, 4000);
    core_pass(core, 3999);
    ck_assert(!core_has_reply(core, close_token, &reply));
    core_pass(core, 1);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_OPERATION_ABORTED);
    ck_assert_uint_eq(core_completion(core, close_token).error, ERR_TIMED_OUT);
    read_all(peer, &err);
    ck_assert_int_eq(err, ECONNRESET);
    close(peer);
}
END_TEST

START_TEST(test_s43_linger_that_drains_ends_with_fin)
{
    int peer = core_connected(core, 1), err;
    uint64_t token, close_token;

    token = send_more_than_fits(1, 0);
    close_token = core_close(core, 1, 4000);
    read_all(peer, &err);
    ck_assert_int_eq(err, 0);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
    core_pass(core, LINGER_LOOK_MAX_MS);
    ck_assert_uint_eq(core_completion(core, close_token).error, ERR_SUCCESS);
    close(peer);
}
END_TEST

/* The kernel has taken all of it, the peer's has not. Returns the peer. */
static int send_what_is_not_read(uint64_t *ret_close, uint32_t linger_ms, uint32_t timeout_ms)
{
    struct request r = {.verb = VERB_CLOSE, .socket = 1, .timeout_ms = timeout_ms};
    int small = 4096, peer;
    static char data[200000];

    ck_assert_int_eq(setsockopt(core->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    peer = core_connected(core, 1);
    ck_assert_uint_eq(core_completion(core, core_send(core, 1, data, sizeof(data), 0)).error,
                      ERR_SUCCESS);
    r.close.linger_ms = linger_ms;
    *ret_close = core_request(core, &r, NULL, 0);
    return peer;
}

START_TEST(test_s43_success_waits_for_the_peers_acknowledgement)
{
    uint64_t token;
    int peer = send_what_is_not_read(&token, 4000, 0), err;
    struct reply reply;

    core_pass(core, 3999);
    ck_assert(!core_has_reply(core, token, &reply));
    ck_assert_int_eq(read_all(peer, &err), 200000);
    ck_assert_int_eq(err, 0);
    /* The last look is the one at the end of the time. */
    core_pass(core, 1);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
    close(peer);
}
END_TEST

START_TEST(test_s43_what_is_not_acknowledged_in_time_is_reset)
{
    uint64_t token;
    int peer = send_what_is_not_read(&token, 4000, 0), err;
    struct reply reply;

    core_pass(core, 3999);
    ck_assert(!core_has_reply(core, token, &reply));
    core_pass(core, 1);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_TIMED_OUT);
    read_all(peer, &err);
    ck_assert_int_eq(err, ECONNRESET);
    close(peer);
}
END_TEST

START_TEST(test_s43_timeout_of_the_close_shortens_its_linger_time)
{
    uint64_t token;
    int peer = send_what_is_not_read(&token, 4000, 1000), err;
    struct reply reply;

    core_pass(core, 999);
    ck_assert(!core_has_reply(core, token, &reply));
    core_pass(core, 1);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_TIMED_OUT);
    read_all(peer, &err);
    ck_assert_int_eq(err, ECONNRESET);
    close(peer);
}
END_TEST

/*
 * It reads what its kernel has acknowledged, and writes now and then: it is not reset within the
 * time.
 */
START_TEST(test_s43_a_slow_peer_is_not_reset_within_the_time)
{
    uint64_t token;
    int peer = send_what_is_not_read(&token, 30000, 0), err;

    ck_assert_int_eq(read_all(peer, &err), 200000);
    core_pass(core, LINGER_LOOK_MAX_MS);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
    for (int i = 0; i < 25; i++) {
        core_pass(core, 1000);
        ck_assert_int_eq(send(peer, "line\n", 5, MSG_NOSIGNAL), 5);
    }
    close(peer);
}
END_TEST

/* A close that was asked for goes on when the client goes: it is what exit(3) would do. */
START_TEST(test_s43_linger_outlives_its_client)
{
    int peer = core_connected(core, 1), err;

    send_more_than_fits(1, 0);
    core_close(core, 1, 4000);
    core_settle(core);
    close(core->client);
    core->client = -1;
    core_settle(core);
    ck_assert_ptr_nonnull(core->session);
    read_all(peer, &err);
    ck_assert_int_eq(err, 0);
    core_pass(core, LINGER_LOOK_MAX_MS);
    ck_assert_ptr_null(core->session);
    close(peer);
}
END_TEST

START_TEST(test_s43_an_orphaned_linger_is_bounded)
{
    int peer = core_connected(core, 1);

    send_more_than_fits(1, 0);
    core_close(core, 1, UINT32_MAX);
    close(core->client);
    core->client = -1;
    core_settle(core);
    core_pass(core, LINGER_ORPHAN_MS - 1);
    ck_assert_ptr_nonnull(core->session);
    core_pass(core, 1);
    ck_assert_ptr_null(core->session);
    close(peer);
}
END_TEST

/* It has no id any more, and a session that waits for it. */
START_TEST(test_s55_a_linger_behind_a_connect_can_be_killed)
{
    uint64_t connect_token, close_token;

    core_open(core, 1);
    connect_token = core_connect(core, 1, core_hole(core));
    core_send(core, 1, "data", 4, 0);
    close_token = core_close(core, 1, 4000);
    core_settle(core);
    sock_kill(list_first(&core->session->lingering, struct sock, node), KILLER_ADMINISTRATOR);
    ck_assert_uint_eq(core_completion(core, connect_token).error, ERR_OPERATION_ABORTED);
    ck_assert_uint_eq(core_completion(core, close_token).error, ERR_CONNECTION_ABORTED);
}
END_TEST

START_TEST(test_s42_after_fin_input_is_discarded_for_two_seconds)
{
    int peer = core_connected(core, 1);
    char byte;

    ck_assert_int_eq(write(peer, "unread", 6), 6);
    core_completion(core, core_close(core, 1, 0));
    ck_assert_int_eq(read(peer, &byte, 1), 0); /* FIN, no RST for the unread input */
    core_pass(core, 1999);
    ck_assert_uint_eq(core->worker.fds_used, 1);
    ck_assert_int_eq(write(peer, "more", 4), 4);
    core_settle(core);
    core_pass(core, 1);
    ck_assert_uint_eq(core->worker.fds_used, 0);
    close(peer);
}
END_TEST

START_TEST(test_s42_the_peers_fin_ends_the_discarding)
{
    int peer = core_connected(core, 1);

    core_completion(core, core_close(core, 1, 0));
    ck_assert_uint_eq(core->worker.fds_used, 1);
    close(peer);
    core_settle(core);
    core_pass(core, DRAIN_LOOK_MS);
    ck_assert_uint_eq(core->worker.fds_used, 0);
}
END_TEST

START_TEST(test_s42_a_fin_that_comes_after_the_look)
{
    int peer = core_connected(core, 1);

    core_completion(core, core_close(core, 1, 0));
    core_pass(core, DRAIN_LOOK_MS);
    ck_assert_uint_eq(core->worker.fds_used, 1);
    close(peer);
    core_settle(core);
    ck_assert_uint_eq(core->worker.fds_used, 0);
}
END_TEST

/* No time passes: the second close has the first socket looked at. */
START_TEST(test_s42_the_next_close_has_the_last_one_looked_at)
{
    int first = core_connected(core, 1), second = core_connected(core, 2);

    core_completion(core, core_close(core, 1, 0));
    core_settle(core);
    close(first);
    core_completion(core, core_close(core, 2, 0));
    core_settle(core);
    ck_assert_uint_eq(core->worker.drain_count, 1);
    close(second);
    core_pass(core, DRAIN_LOOK_MS);
    ck_assert_uint_eq(core->worker.drain_count, 0);
}
END_TEST

/* The second close has the first socket looked at, before its peer's end has come. */
static void check_look_before_the_end(const char *bytes, size_t count)
{
    int first = core_connected(core, 1), second = core_connected(core, 2);

    core_completion(core, core_close(core, 1, 0));
    core_settle(core);
    ck_assert_int_eq(write(first, bytes, count), (ssize_t)count);
    core_completion(core, core_close(core, 2, 0));
    core_settle(core);
    ck_assert_uint_eq(core->worker.drain_count, 2);
    close(first);
    core_settle(core);
    ck_assert_uint_eq(core->worker.drain_count, 1);
    close(second);
    core_pass(core, DRAIN_LOOK_MS);
    ck_assert_uint_eq(core->worker.drain_count, 0);
}

START_TEST(test_s42_a_look_that_comes_too_early)
{
    check_look_before_the_end("", 0);
}
END_TEST

START_TEST(test_s42_a_look_that_finds_bytes)
{
    check_look_before_the_end("bytes", 5);
}
END_TEST

START_TEST(test_s42_discarding_is_bounded)
{
    static char block[64 * 1024];
    int peer = core_connected(core, 1);
    size_t sent = 0;

    core_completion(core, core_close(core, 1, 0));
    core_pass(core, DRAIN_LOOK_MS);
    while (core->worker.fds_used == 1 && sent < 8 * DRAIN_BYTES) {
        ssize_t n = send(peer, block, sizeof(block), MSG_NOSIGNAL);

        if (n > 0)
            sent += (size_t)n;
        core_settle(core);
    }
    ck_assert_uint_eq(core->worker.fds_used, 0);
    ck_assert_uint_ge(sent, DRAIN_BYTES);
    close(peer);
}
END_TEST

START_TEST(test_s49_hello_has_ten_seconds)
{
    struct core *mute = core_new_mute();
    struct reply reply;
    const uint8_t *payload;
    size_t len;

    core_pass(mute, 9999);
    ck_assert_ptr_nonnull(mute->session);
    ck_assert(!core_reply(mute, &reply, &payload, &len));
    core_pass(mute, 1);
    ck_assert(core_reply(mute, &reply, &payload, &len));
    ck_assert_uint_eq(reply.event, EVENT_SESSION_ENDED);
    ck_assert_uint_eq(reply.error, ERR_TIMED_OUT);
    core_pass(mute, 500); /* what it may still write is discarded so long */
    ck_assert_ptr_null(mute->session);
    core_free(mute);
    core_pass(core, 100000); /* the one that has said it */
    ck_assert_ptr_nonnull(core->session);
}
END_TEST
