/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Completions of small sends that wait for the answer: with a clock that the test turns. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/daemon_session.h"
#include "tests/lib/suite.h"
#include "proto/errors.h"

static struct core *core;
static int peer;

static bool is_starved;
static unsigned int starved_calls;

/* The C library's, but that the kernel may have no memory for it. */
ssize_t send(int fd, const void *data, size_t len, int flags)
{
    if (!is_starved)
        return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
    starved_calls++;
    errno = ENOBUFS;
    return -1;
}

/* Likewise, of what is read and dropped. */
ssize_t recv(int fd, void *data, size_t len, int flags)
{
    if (!is_starved || !(flags & MSG_TRUNC))
        return syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
    starved_calls++;
    errno = ENOMEM;
    return -1;
}

static void setup(void)
{
    core = core_new();
    peer = core_connected(core, 1);
}

static void teardown(void)
{
    close(peer);
    core_free(core);
}

static bool next_is(uint64_t token)
{
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    if (!core_reply(core, &reply, &payload, &len))
        return false;
    ck_assert_uint_eq(reply.op, token);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    return true;
}

static void answer(void)
{
    char byte;

    ck_assert_int_eq(read(peer, &byte, 1), 1);
    ck_assert_int_eq(write(peer, "a", 1), 1);
}

TEST_FIXTURE_TIMEOUT(setup, teardown, 60);

START_TEST(test_completion_of_a_send_travels_with_the_answer)
{
    uint64_t receive = core_receive(core, 1, 10, 0, 0);
    uint64_t send = core_send(core, 1, "q", 1, 0);

    core_settle(core);
    ck_assert(!next_is(send));
    answer();
    core_settle(core);
    ck_assert(next_is(send));
    ck_assert(next_is(receive));
}
END_TEST

START_TEST(test_completion_of_a_send_waits_two_milliseconds_at_most)
{
    uint64_t send;

    core_receive(core, 1, 10, 0, 0);
    send = core_send(core, 1, "q", 1, 0);
    core_pass(core, HOLD_MS + 1);
    ck_assert(next_is(send));
}
END_TEST

/* A peer that is slow to answer makes a client wait once, then for a long time not again. */
START_TEST(test_completions_are_not_held_where_that_was_in_vain)
{
    uint64_t send;

    core_receive(core, 1, 10, 0, 0);
    send = core_send(core, 1, "q", 1, 0);
    core_pass(core, HOLD_MS + 1);
    ck_assert(next_is(send));
    for (unsigned int i = 0; i < BACKOFF_MIN; i++) {
        send = core_send(core, 1, "q", 1, 0);
        core_settle(core);
        ck_assert(next_is(send));
    }
    send = core_send(core, 1, "q", 1, 0);
    core_settle(core);
    ck_assert(!next_is(send));
    core_pass(core, HOLD_MS + 1);
    ck_assert(next_is(send));
    for (unsigned int i = 0; i < 2 * BACKOFF_MIN; i++) {
        send = core_send(core, 1, "q", 1, 0);
        core_settle(core);
        ck_assert(next_is(send));
    }
}
END_TEST

/* Nothing is awaited, or much is sent: then the next send may depend on it. */
START_TEST(test_other_completions_are_not_held)
{
    static char much[HOLD_BYTES + 1];
    uint64_t send = core_send(core, 1, "q", 1, 0);

    core_settle(core);
    ck_assert(next_is(send));
    core_receive(core, 1, 10, 0, 0);
    send = core_send(core, 1, much, sizeof(much), 0);
    core_settle(core);
    ck_assert(next_is(send));
}
END_TEST

/* What else there is to tell takes it along. */
START_TEST(test_any_reply_takes_held_ones_along)
{
    struct request request = {.verb = VERB_SYNC};
    uint64_t send, sync;

    core_receive(core, 1, 10, 0, 0);
    send = core_send(core, 1, "q", 1, 0);
    core_settle(core);
    sync = core_request(core, &request, NULL, 0);
    core_settle(core);
    ck_assert(next_is(send));
    ck_assert(next_is(sync));
}
END_TEST

/* What a client closes in front of an exchange on another socket, in one write. */
START_TEST(test_completion_of_a_close_travels_with_an_answer_behind_it)
{
    struct request closing = {.verb = VERB_CLOSE, .socket = 2, .op = 1001},
                   sending = {.verb = VERB_SEND, .socket = 1, .op = 1002};
    int other = core_connected(core, 2);
    uint64_t receive = core_receive(core, 1, 10, 0, 0);
    uint8_t frames[2 * CODEC_REQUEST_MAX];
    long n = asock_codec_encode_request(&closing, 0, frames, CODEC_REQUEST_MAX);

    n += asock_codec_encode_request(&sending, 1, frames + n, CODEC_REQUEST_MAX);
    frames[n++] = 'q';
    ck_assert_int_eq(write(core->client, frames, (size_t)n), n);
    core_settle(core);
    ck_assert(!next_is(closing.op));
    answer();
    core_settle(core);
    ck_assert(next_is(closing.op));
    ck_assert(next_is(sending.op));
    ck_assert(next_is(receive));
    close(other);
}
END_TEST

/* Though a receive is pending on the socket whose send was the last to be held. */
START_TEST(test_completion_of_a_close_alone_is_not_held)
{
    int other = core_connected(core, 2);
    uint64_t receive = core_receive(core, 1, 10, 0, 0), send = core_send(core, 1, "q", 1, 0),
             closed;

    core_settle(core);
    answer();
    core_settle(core);
    ck_assert(next_is(send));
    ck_assert(next_is(receive));
    core_receive(core, 1, 10, 0, 0);
    closed = core_close(core, 2, 0);
    core_settle(core);
    ck_assert(next_is(closed));
    close(other);
}
END_TEST

/*
 * The socket is writable all the while: it is tried again a little later, and does not keep the
 * loop busy.
 */
START_TEST(test_what_the_kernel_has_no_memory_for_is_tried_again_later)
{
    struct request sync = {.verb = VERB_SYNC};
    uint64_t token;

    is_starved = true;
    token = core_request(core, &sync, NULL, 0);
    for (unsigned int i = 0; i < 100; i++)
        ev_run(core->worker.loop, EVRUN_NOWAIT);
    ck_assert(!next_is(token));
    ck_assert_uint_eq(starved_calls, 1);
    core_pass(core, RETRY_MS + 1);
    ck_assert_uint_le(starved_calls, 3);
    is_starved = false;
    core_pass(core, RETRY_MS + 1);
    ck_assert(next_is(token));
}
END_TEST

/*
 * The same of what comes for a socket that closes, and while it lingers: it must not keep the loop
 * busy.
 */
static void expect_patience(void)
{
    ck_assert_int_eq(write(peer, "left over", 9), 9);
    is_starved = true;
    for (unsigned int i = 0; i < 100; i++)
        ev_run(core->worker.loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(starved_calls, 1);
    core_pass(core, RETRY_MS + 1);
    ck_assert_uint_eq(starved_calls, 2);
    is_starved = false;
    core_pass(core, RETRY_MS + 1);
}

START_TEST(test_input_of_a_closed_socket_is_tried_again_later)
{
    struct reply reply;
    uint64_t token;

    core_receive(core, 1, 10, 0, 0);
    core_settle(core); /* so that it is watched */
    token = core_close(core, 1, 0);
    core_settle(core);
    ck_assert(core_has_reply(core, token, &reply));
    expect_patience();
    ck_assert_int_eq(core->worker.drain_count, 1);
    shutdown(peer, SHUT_WR);
    core_settle(core);
    ck_assert_int_eq(core->worker.drain_count, 0);
}
END_TEST
