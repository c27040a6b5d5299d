/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receives of one socket that arrive together, with what is there and what comes. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/limits.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/wire/shm_buffer.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define REQUESTS 40
#define BYTES 65536

static struct core *core;
static int peer;
static uint8_t data[BYTES];
static size_t sent, taken; /* bytes of the stream: by the peer, by receives that have ended */
static uint8_t batch[REQUESTS * CODEC_REQUEST_MAX];
static size_t batch_len;
static uint64_t tokens[REQUESTS];
static unsigned int asked, ended;
static unsigned int calls; /* that read from the network */
static size_t most;        /* that one of them asked for */

static void count_call(int fd)
{
    int family = AF_UNSPEC;
    socklen_t size = sizeof(family);

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
    calls += family == AF_INET;
}

ssize_t __real_recv(int fd, void *to, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *to, size_t len, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

ssize_t __wrap_recv(int fd, void *to, size_t len, int flags)
{
    count_call(fd);
    return __real_recv(fd, to, len, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    size_t asked_for = 0;

    count_call(fd);
    for (size_t i = 0; i < msg->msg_iovlen; i++)
        asked_for += msg->msg_iov[i].iov_len;
    if (asked_for > most)
        most = asked_for;
    return __real_recvmsg(fd, msg, flags);
}

static void setup(void)
{
    core = core_new();
    peer = core_connected(core, 1);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
}

static void teardown(void)
{
    close(peer);
    core_free(core);
    sent = taken = batch_len = 0;
    asked = ended = calls = 0;
    most = 0;
}

TEST_FIXTURE(setup, teardown);

static void peer_sends(size_t len)
{
    ck_assert_int_eq(write(peer, data + sent, len), (ssize_t)len);
    sent += len;
}

/* Into the batch, which leaves with one write. */
static uint64_t add(struct request *request)
{
    long n;

    request->op = ++core->next_token;
    request->socket = 1;
    n = asock_codec_encode_request(request, 0, batch + batch_len, CODEC_REQUEST_MAX);
    ck_assert_int_gt(n, 0);
    batch_len += (size_t)n;
    return request->op;
}

static void ask(uint64_t len, uint32_t flags)
{
    struct request request = {.verb = VERB_RECEIVE};

    request.receive.length = len;
    request.receive.flags = flags;
    tokens[asked++] = add(&request);
}

static void leave(void)
{
    ck_assert_int_eq(write(core->client, batch, batch_len), (ssize_t)batch_len);
    batch_len = 0;
    core_settle(core);
}

/* The next completion is the next receive's, with the next bytes of the stream. */
static void expect_freed(size_t len, uint64_t send_freed, uint32_t ops_freed)
{
    const uint8_t *payload;
    struct reply reply;
    size_t payload_len;

    ck_assert(core_reply(core, &reply, &payload, &payload_len));
    ck_assert_uint_eq(reply.op, tokens[ended++]);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    ck_assert_uint_eq(reply.flags, 0);
    ck_assert_uint_eq(reply.bytes, len);
    ck_assert_uint_eq(payload_len, len);
    ck_assert_uint_eq(reply.send_freed, send_freed);
    ck_assert_uint_eq(reply.ops_freed, ops_freed);
    ck_assert_mem_eq(payload, data + taken, len);
    taken += len;
}

static void expect(size_t len)
{
    expect_freed(len, 0, 1);
}

static void expect_none(void)
{
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    ck_assert(!core_reply(core, &reply, &payload, &len));
}

START_TEST(test_s34_receives_that_arrive_together_share_what_is_there)
{
    static const size_t lengths[] = {3, 100, 1, 5000, 128, 16, 127, 7};
    size_t rest = 2000, i = 0;

    peer_sends(rest);
    for (size_t n = 0; n < 8; n++)
        ask(lengths[n], 0);
    leave();
    for (; rest > lengths[i]; rest -= lengths[i++])
        expect(lengths[i]);
    expect(rest); /* the first one that is not filled ends with what there is */
    expect_none();
    for (i++; i < 8; i++) {
        peer_sends(1);
        core_settle(core);
        expect(1);
    }
}
END_TEST

/* The first is tried at once, and tells that there is something; one call fills the others. */
START_TEST(test_receives_that_arrive_together_are_filled_with_one_call)
{
    peer_sends(1700);
    for (unsigned int i = 0; i < 1 + RECEIVES_TOGETHER; i++)
        ask(100, 0);
    leave();
    for (unsigned int i = 0; i < 1 + RECEIVES_TOGETHER; i++)
        expect(100);
    ck_assert_uint_eq(calls, 2);
}
END_TEST

/* The first one's reply also tells of a send that no reply has reported. */
START_TEST(test_the_first_of_several_receives_tells_what_is_free)
{
    struct request send = {.verb = VERB_SEND, .socket = 1, .flags = REQUEST_ERRORS_ONLY};

    for (unsigned int i = 0; i < 3; i++)
        ask(10, 0);
    leave();
    core_request(core, &send, data, 300);
    expect_none();
    peer_sends(30);
    core_settle(core);
    expect_freed(10, 300, 2);
    expect(10);
    expect(10);
}
END_TEST

START_TEST(test_s34_waiting_receives_share_what_comes)
{
    for (unsigned int i = 0; i < REQUESTS; i++)
        ask(1 + i, 0);
    leave();
    expect_none();
    peer_sends(500);
    core_settle(core);
    for (unsigned int i = 0; taken < 500; i++)
        expect(sent - taken < 1 + i ? sent - taken : 1 + i);
    expect_none();
}
END_TEST

/* A large one, and ones with flags, between others. */
START_TEST(test_s34_receives_of_all_kinds_keep_their_order)
{
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    peer_sends(40000);
    ask(10, 0);
    ask(10, 0);
    ask(RECEIVE_SMALL, 0);
    ask(RECEIVE_SMALL + 1, 0);
    ask(20, 0);
    ask(20, 0);
    ask(30, RECEIVE_PEEK);
    ask(30, 0);
    ask(30, RECEIVE_WAIT_ALL);
    leave();
    expect(10);
    expect(10);
    expect(RECEIVE_SMALL);
    expect(RECEIVE_SMALL + 1);
    expect(20);
    expect(20);
    ck_assert(core_reply(core, &reply, &payload, &len));
    ck_assert_uint_eq(reply.op, tokens[ended++]);
    ck_assert_mem_eq(payload, data + taken, 30); /* they stay */
    expect(30);
    expect(30);
    expect_none();
}
END_TEST

/* What stands behind a receive in the input finds it done, where the bytes were there. */
START_TEST(test_s36_a_cancel_behind_receives_comes_too_late)
{
    struct request cancel = {.verb = VERB_CANCEL};
    struct reply reply;

    peer_sends(300);
    for (unsigned int i = 0; i < 3; i++)
        ask(100, 0);
    cancel.cancel.target = tokens[2];
    add(&cancel);
    leave();
    for (unsigned int i = 0; i < 3; i++)
        expect(100);
    reply = core_completion(core, cancel.op);
    ck_assert_uint_eq(reply.flags & REPLY_FOUND, 0);
}
END_TEST

/* However many: nothing of the kernel's says that they can end. */
START_TEST(test_s40_receives_behind_a_shutdown_end_at_once)
{
    struct request shut = {.verb = VERB_SHUTDOWN, .socket = 1, .shutdown.how = HOW_RECEIVE};
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    core_completion(core, core_request(core, &shut, NULL, 0));
    for (unsigned int i = 0; i < REQUESTS; i++)
        ask(100, 0);
    leave();
    for (unsigned int i = 0; i < REQUESTS; i++) {
        ck_assert(core_reply(core, &reply, &payload, &len));
        ck_assert_uint_eq(reply.op, tokens[i]);
        ck_assert_uint_eq(reply.flags, REPLY_END_OF_STREAM);
    }
}
END_TEST

START_TEST(test_s32_the_end_comes_behind_the_bytes)
{
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    peer_sends(150);
    shutdown(peer, SHUT_WR);
    for (unsigned int i = 0; i < 4; i++)
        ask(100, 0);
    leave();
    expect(100);
    expect(50);
    for (unsigned int i = 0; i < 2; i++) {
        ck_assert(core_reply(core, &reply, &payload, &len));
        ck_assert_uint_eq(reply.op, tokens[ended++]);
        ck_assert_uint_eq(reply.flags, REPLY_END_OF_STREAM);
        ck_assert_uint_eq(len, 0);
    }
}
END_TEST

/* ---- by reference ---- */

/* What a receive has of the buffer, and the most pieces of it. */
#define PLACE 8192u
#define SEGMENTS 2u

static struct shm_buffer *buffer_of(uint64_t length)
{
    struct request request = {.verb = VERB_REGISTER, .reg = {.length = length}};
    struct reply reply = core_completion(core, core_request(core, &request, NULL, 0));

    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    return session_buffer(core->session, reply.segment.buffer)->shm;
}

/* Each has a place of its own. */
static void ask_into(const struct shm_buffer *shm, const uint64_t *lengths, uint32_t count)
{
    struct segment segments[SEGMENTS];
    struct request request = {.verb = VERB_RECEIVE, .socket = 1};

    for (uint32_t i = 0; i < count; i++)
        segments[i] = (struct segment){shm->id, PLACE * asked + i * PLACE / SEGMENTS, lengths[i]};
    request.receive.segments = (struct segments){segments, count};
    tokens[asked++] = add(&request);
}

static void expect_in(const struct shm_buffer *shm, uint32_t error, size_t len)
{
    const uint8_t *payload;
    struct reply reply;
    size_t payload_len;

    ck_assert(core_reply(core, &reply, &payload, &payload_len));
    ck_assert_uint_eq(reply.op, tokens[ended]);
    ck_assert_uint_eq(reply.error, error);
    ck_assert_uint_eq(reply.bytes, len);
    ck_assert_mem_eq(shm->at + PLACE * ended, data + taken, len);
    taken += len;
    ended++;
}

START_TEST(test_receives_by_reference_are_filled_with_one_call)
{
    struct shm_buffer *shm = buffer_of((1 + RECEIVES_TOGETHER) * PLACE);

    peer_sends(1700);
    for (unsigned int i = 0; i < 1 + RECEIVES_TOGETHER; i++)
        ask_into(shm, (uint64_t[]){100}, 1);
    leave();
    for (unsigned int i = 0; i < 1 + RECEIVES_TOGETHER; i++)
        expect_in(shm, ERR_SUCCESS, 100);
    ck_assert_uint_eq(calls, 2);
}
END_TEST

/* However large the receives are, others have their turn. */
START_TEST(test_s52_one_call_fills_no_more_than_a_step)
{
    struct shm_buffer *shm = buffer_of(REQUESTS * PLACE);

    peer_sends(BYTES);
    for (unsigned int i = 0; i < 12; i++)
        ask_into(shm, (uint64_t[]){12 * PLACE}, 1);
    leave();
    ck_assert_uint_gt(most, 12 * PLACE);
    ck_assert_uint_le(most, STEP_BYTES);
}
END_TEST

START_TEST(test_s34_receives_by_reference_share_what_comes)
{
    struct shm_buffer *shm = buffer_of(REQUESTS * PLACE);

    for (unsigned int i = 0; i < REQUESTS; i++)
        ask_into(shm, (uint64_t[]){1 + i}, 1);
    leave();
    peer_sends(500);
    core_settle(core);
    for (unsigned int i = 0; taken < 500; i++)
        expect_in(shm, ERR_SUCCESS, sent - taken < 1 + i ? sent - taken : 1 + i);
    expect_none();
}
END_TEST

/* Into the client's memory, into several pieces of it, and through the socket. */
START_TEST(test_s34_receives_of_both_kinds_keep_their_order)
{
    struct shm_buffer *shm = buffer_of(REQUESTS * PLACE);

    peer_sends(10000);
    ask(10, 0);
    ask_into(shm, (uint64_t[]){100}, 1);
    ask_into(shm, (uint64_t[]){200}, 1);
    ask(20, 0);
    ask(30, 0);
    ask_into(shm, (uint64_t[]){300}, 1);
    ask_into(shm, (uint64_t[]){RECEIVE_SMALL / 2, 0}, 2);
    ask_into(shm, (uint64_t[]){400}, 1);
    leave();
    expect(10);
    expect_in(shm, ERR_SUCCESS, 100);
    expect_in(shm, ERR_SUCCESS, 200);
    expect(20);
    expect(30);
    expect_in(shm, ERR_SUCCESS, 300);
    expect_in(shm, ERR_SUCCESS, RECEIVE_SMALL / 2);
    expect_in(shm, ERR_SUCCESS, 400);
}
END_TEST

/* Those before it are filled, and those behind it have what it would have had. */
START_TEST(test_s14_a_receive_without_a_page_between_others_ends_alone)
{
    struct shm_buffer *shm = buffer_of(3 * PLACE), *missing = buffer_of(3 * PLACE);

    ck_assert_int_eq(mprotect(missing->at, missing->length, PROT_NONE), 0);
    ask_into(shm, (uint64_t[]){100}, 1);
    ask_into(missing, (uint64_t[]){100}, 1);
    ask_into(shm, (uint64_t[]){100}, 1);
    leave();
    peer_sends(200);
    core_settle(core);
    expect_in(shm, ERR_SUCCESS, 100);
    expect_in(shm, ERR_FAULT, 0);
    expect_in(shm, ERR_SUCCESS, 100);
    ck_assert_int_eq(mprotect(missing->at, missing->length, PROT_READ | PROT_WRITE), 0);
}
END_TEST

START_TEST(test_s32_the_end_comes_behind_the_bytes_by_reference)
{
    struct shm_buffer *shm = buffer_of(REQUESTS * PLACE);
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    for (unsigned int i = 0; i < 3; i++)
        ask_into(shm, (uint64_t[]){100}, 1);
    leave();
    peer_sends(150);
    shutdown(peer, SHUT_WR);
    core_settle(core);
    expect_in(shm, ERR_SUCCESS, 100);
    expect_in(shm, ERR_SUCCESS, 50);
    ck_assert(core_reply(core, &reply, &payload, &len));
    ck_assert_uint_eq(reply.op, tokens[ended++]);
    ck_assert_uint_eq(reply.flags, REPLY_END_OF_STREAM);
}
END_TEST
