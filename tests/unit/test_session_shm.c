/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared memory in a session, where no client can look: what comes of it when the kernel has no
 * page for a reference, how it is emptied, and what a stranger cannot put there.
 */
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/session/session_farewell.h"
#include "daemon/session/sock.h"
#include "daemon/wire/shm_buffer.h"
#include "proto/errors.h"
#include "tests/lib/skip.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define KIB 1024u
#define MIB (1024u * 1024u)

static struct core *core;
static int peer;

static void setup(void)
{
    core = core_new();
    peer = core_connected(core, 1);
}

static void teardown(void)
{
    if (peer >= 0)
        close(peer);
    core_free(core);
}

/* The id is the first that is free: 1, 2, ... */
static struct shm_buffer *new_buffer(uint32_t id, uint64_t length)
{
    struct request request = {.verb = VERB_REGISTER, .reg = {.length = length}};
    struct reply reply = core_completion(core, core_request(core, &request, NULL, 0));

    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    ck_assert_uint_eq(reply.descriptors, 1);
    ck_assert_uint_eq(reply.segment.buffer, id);
    return session_buffer(core->session, id)->shm;
}

static uint64_t request_in(uint32_t verb, uint32_t flags, const struct segment *at, uint32_t count)
{
    struct request request = {.verb = verb, .socket = 1};

    *request_segments(&request) = (struct segments){at, count};
    if (verb == VERB_RECEIVE)
        request.receive.flags = flags;
    return core_request(core, &request, NULL, 0);
}

static void take_away(struct shm_buffer *shm)
{
    ck_assert_int_eq(mprotect(shm->at, shm->length, PROT_NONE), 0);
}

static void give_back(struct shm_buffer *shm)
{
    ck_assert_int_eq(mprotect(shm->at, shm->length, PROT_READ | PROT_WRITE), 0);
}

static void expect(uint64_t token, uint32_t error, uint64_t bytes)
{
    struct reply reply = core_completion(core, token);

    ck_assert_uint_eq(reply.error, error);
    ck_assert_uint_eq(reply.bytes, bytes);
}

TEST_FIXTURE_TIMEOUT(setup, teardown, 60);

/*
 * The stream has a hole where it would have been: what is behind is aborted (S28), receiving goes
 * on.
 */
START_TEST(test_s14_send_without_a_page)
{
    struct shm_buffer *shm = new_buffer(1, 64 * KIB);
    struct segment all = {1, 0, 64 * KIB}, one = {1, 0, 1};
    uint64_t first, second, third;

    take_away(shm);
    first = request_in(VERB_SEND, 0, &all, 1);
    second = core_send(core, 1, "more", 4, 0);
    third = core_receive(core, 1, 10, 0, 0);
    expect(first, ERR_FAULT, 0);
    expect(second, ERR_OPERATION_ABORTED, 0);
    ck_assert_int_eq(write(peer, "alive", 5), 5);
    expect(third, ERR_SUCCESS, 5);
    give_back(shm);
    expect(request_in(VERB_SEND, 0, &one, 1), ERR_OPERATION_ABORTED, 0);
}
END_TEST

/* What went before the page that is missing is reported. */
START_TEST(test_s14_send_without_its_last_page)
{
    struct shm_buffer *shm = new_buffer(1, 64 * KIB), *missing = new_buffer(2, 4 * KIB);
    struct segment segments[] = {{1, 0, 64 * KIB}, {2, 0, 4 * KIB}};
    static char got[64 * KIB];
    struct reply reply;

    memset(shm->at, 'x', 64 * KIB);
    take_away(missing);
    reply = core_completion(core, request_in(VERB_SEND, 0, segments, 2));
    ck_assert_uint_eq(reply.error, ERR_FAULT);
    ck_assert_uint_gt(reply.bytes, 0);
    for (uint64_t n = 0; n < reply.bytes;) {
        ssize_t r = read(peer, got, sizeof(got));

        ck_assert_int_gt(r, 0);
        n += (uint64_t)r;
        ck_assert_uint_le(n, reply.bytes);
    }
    give_back(missing);
}
END_TEST

/* It says nothing of the connection: the bytes wait for a receive that has room for them. */
START_TEST(test_s14_receive_without_a_page)
{
    struct shm_buffer *shm = new_buffer(1, 4 * KIB);
    struct segment segments[] = {{1, 0, 100}, {1, 100, 100}};
    uint64_t token;

    take_away(shm);
    ck_assert_int_eq(write(peer, "data", 4), 4);
    expect(request_in(VERB_RECEIVE, 0, segments, 1), ERR_FAULT, 0);
    expect(request_in(VERB_RECEIVE, RECEIVE_WAIT_ALL, segments, 2), ERR_FAULT, 0);
    expect(request_in(VERB_RECEIVE, RECEIVE_PEEK, segments, 1), ERR_FAULT, 0);
    expect(request_in(VERB_RECEIVE, RECEIVE_MULTISHOT, segments, 2), ERR_FAULT, 0);
    token = request_in(VERB_RECEIVE, RECEIVE_MULTISHOT, segments, 2);
    expect(token, ERR_FAULT, 0);
    give_back(shm);
    expect(request_in(VERB_RECEIVE, 0, segments, 1), ERR_SUCCESS, 4);
    ck_assert_mem_eq(shm->at, "data", 4);
}
END_TEST

/* As one that pends when the bytes come. */
START_TEST(test_s14_pending_receive_without_a_page)
{
    struct shm_buffer *shm = new_buffer(1, 4 * KIB);
    struct segment segment = {1, 0, 100};
    uint64_t first = request_in(VERB_RECEIVE, 0, &segment, 1);
    uint64_t second = core_receive(core, 1, 100, 0, 0);

    core_settle(core);
    take_away(shm);
    ck_assert_int_eq(write(peer, "data", 4), 4);
    expect(first, ERR_FAULT, 0);
    expect(second, ERR_SUCCESS, 4);
    give_back(shm);
}
END_TEST

/* A large one takes many turns: no other client waits for it. */
START_TEST(test_s14_emptied_in_steps)
{
    struct shm_buffer *shm = new_buffer(1, 48 * MIB);
    struct request request = {.verb = VERB_UNREGISTER, .unregister = {.buffer = 1}};
    uint64_t token, turns;

    memset(shm->at, 'x', 48 * MIB);
    turns = core->worker.stats.turns;
    core_hurry(core);
    token = core_request(core, &request, NULL, 0);
    while (core->session->buffer_count > 0) {
        ck_assert_uint_le(shm->emptied, CORE_HURRIED_STEPS * (core->worker.stats.turns - turns) *
                                            SHARED_EMPTY_STEP);
        ev_run(core->worker.loop, EVRUN_NOWAIT);
    }
    ck_assert_uint_ge(CORE_HURRIED_STEPS * (core->worker.stats.turns - turns),
                      48 * MIB / SHARED_EMPTY_STEP);
    expect(token, ERR_SUCCESS, 0);
    ck_assert_uint_eq(core->session->shared, 0);
}
END_TEST

/* However much there is, and however much is wanted: others have their turns between the pieces. */
START_TEST(test_s52_a_receive_of_all_by_reference_takes_steps)
{
    struct segment segment = {1, 0, 4 * MIB};
    const struct sock *sock = session_sock(core->session, 1);
    static char block[256 * KIB];
    uint64_t token, before;
    int size = 16 * MIB, queued = 0;

    new_buffer(1, 4 * MIB);
    if (setsockopt(sock->ns.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        TEST_SKIP("only root may have so large a buffer");
    setsockopt(peer, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    token = request_in(VERB_RECEIVE, RECEIVE_WAIT_ALL, &segment, 1);
    for (int i = 0; i < 1000 && queued < 4 * (int)MIB; i++) {
        (void)!write(peer, block, sizeof(block));
        ck_assert_int_eq(ioctl(sock->ns.fd, FIONREAD, &queued), 0);
    }
    ck_assert_int_ge(queued, 4 * (int)MIB);
    core_hurry(core);
    for (before = sock->bytes_in; sock->bytes_in < 4 * MIB; before = sock->bytes_in) {
        ev_run(core->worker.loop, EVRUN_NOWAIT);
        ck_assert_uint_le(sock->bytes_in - before, CORE_HURRIED_STEPS * STEP_BYTES);
    }
    expect(token, ERR_SUCCESS, 4 * MIB);
}
END_TEST

/* One call fills many slices, within bounds, and each has its completion. */
START_TEST(test_s38_slices_of_one_call)
{
    struct segment slices[64];
    struct request request = {.verb = VERB_RECEIVE, .socket = 1};
    static char data[64 * 100];
    const uint8_t *payload;
    struct reply reply;
    uint64_t token;
    size_t len;

    new_buffer(1, 64 * KIB);
    for (uint32_t i = 0; i < 64; i++)
        slices[i] = (struct segment){1, i * 100, 100};
    request.receive.flags = RECEIVE_MULTISHOT;
    request.receive.segments = (struct segments){slices, 64};
    ck_assert_int_eq(write(peer, data, sizeof(data)), (ssize_t)sizeof(data));
    token = core_request(core, &request, NULL, 0);
    core_settle(core);
    for (uint32_t i = 0; i < 64; i++) {
        ck_assert(core_reply(core, &reply, &payload, &len));
        ck_assert_uint_eq(reply.op, token);
        ck_assert_uint_eq(reply.segment.offset, i * 100);
        ck_assert_uint_eq(reply.bytes, 100);
        ck_assert_uint_eq(reply.flags, i < 63 ? REPLY_MORE : 0);
    }
    ck_assert(!core_reply(core, &reply, &payload, &len));
}
END_TEST

/* Of each size its own: a large piece does not drive out the small ones, nor take their place. */
START_TEST(test_chunks_are_used_again)
{
    struct worker *w = &core->worker;
    struct op *one = op_new(w), *other = op_new(w);
    static uint8_t data[30000];
    const struct chunk *small, *large;

    ck_assert_int_eq(op_append(w, one, data, 1000), 0);
    small = one->send.first;
    ck_assert_int_eq(op_append(w, other, data, sizeof(data)), 0);
    large = other->send.first;
    op_drop_chunks(w, one);
    op_drop_chunks(w, other);
    ck_assert_int_eq(op_append(w, one, data, 513), 0);
    ck_assert_ptr_eq(one->send.first, small);
    ck_assert_int_eq(op_append(w, other, data, sizeof(data) - 1), 0);
    ck_assert_ptr_eq(other->send.first, large);
    ck_assert_uint_eq(w->spare_chunk_bytes, 0);
    op_drop_chunks(w, one);
    op_drop_chunks(w, other);
    op_free(w, one);
    op_free(w, other);
}
END_TEST

/*
 * However small the pieces are in which a send comes: what is held is less than twice what has
 * come.
 */
START_LOOP_TEST(test_pieces_are_put_together, 0, 4)
{
    static const uint32_t lengths[] = {1, 63, 1000, 40000};
    struct worker *w = &core->worker;
    struct op *op = op_new(w);
    static uint8_t data[300000], got[300000];
    uint32_t total = sizeof(data), held = 0, chunks = 0, at = 0;

    for (uint32_t i = 0; i < total; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    for (uint32_t done = 0, n; done < total; done += n) {
        n = lengths[_i] < total - done ? lengths[_i] : total - done;
        ck_assert_int_eq(op_append(w, op, data + done, n), 0);
    }
    for (const struct chunk *c = op->send.first; c; c = c->next) {
        held += c->capacity;
        chunks++;
        memcpy(got + at, c->data + c->start, c->end - c->start);
        at += c->end - c->start;
    }
    ck_assert_uint_eq(at, total);
    ck_assert_mem_eq(got, data, total);
    ck_assert_uint_lt(held, 2 * total);
    ck_assert_uint_lt(chunks, 32);
    op_drop_chunks(w, op);
    op_free(w, op);
}
END_TEST

static const struct session *ended_by_the_daemon(void)
{
    struct session *s = core->session;
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    new_buffer(1, 4 * KIB);
    new_buffer(2, 12 * MIB);
    session_end(s, ERR_CONNECTION_ABORTED, "test");
    core_settle(core);
    while (core_reply(core, &reply, &payload, &len))
        ;
    ck_assert_ptr_eq(core->session, s);
    ck_assert_uint_eq(s->buffer_count, 2);
    return s;
}

/* What it has not read yet lies in the buffers: they stay for a time. */
START_TEST(test_s14_buffers_outlive_a_session_that_the_daemon_ends)
{
    const struct session *s = ended_by_the_daemon();

    core_pass(core, BUFFERS_KEPT_MS - 2 * UNREAD_MS);
    ck_assert_uint_eq(s->buffer_count, 2);
    core_pass(core, 4 * UNREAD_MS);
    ck_assert_ptr_null(core->session);
}
END_TEST

START_TEST(test_s14_buffers_go_when_the_client_closes)
{
    const struct session *s = ended_by_the_daemon();

    ck_assert_int_eq(send(core->client, "nobody reads this", 17, MSG_NOSIGNAL), 17);
    core_settle(core);
    ck_assert_uint_eq(s->buffer_count, 2);
    close(core->client);
    core->client = -1;
    core_pass(core, UNREAD_MS);
    ck_assert_ptr_null(core->session);
}
END_TEST

/* The steady state: slices come from those that were used before. */
START_TEST(test_slices_are_used_again)
{
    struct segment segments[] = {{1, 0, 10}, {1, 10, 10}};
    char got[20];

    new_buffer(1, 4 * KIB);
    for (int i = 0; i < 100; i++) {
        expect(request_in(VERB_SEND, 0, segments, 2), ERR_SUCCESS, 20);
        ck_assert_int_eq(read(peer, got, sizeof(got)), 20);
    }
    ck_assert_uint_eq(core->worker.spare_slice_count, 2);
}
END_TEST

/* ---- descriptors that the client has not fetched ---- */

static unsigned int looks; /* at what the client has not read */

/* The C library's. */
int ioctl(int fd, unsigned long request, ...)
{
    void *argument;
    va_list args;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    looks += request == SIOCOUTQ;
    return (int)syscall(SYS_ioctl, fd, request, argument);
}

/* As many as may be on their way, and one more, which is not taken. */
static uint64_t register_too_many(void)
{
    uint64_t token = 0;

    core->worker.fds_max = 2 * LIMIT_BUFFERS;
    for (unsigned int i = 0; i <= LIMIT_BUFFERS; i++) {
        struct request request = {.verb = VERB_REGISTER, .reg = {.length = 4 * KIB}};

        token = core_request(core, &request, NULL, 0);
    }
    ck_assert_uint_eq(core->session->buffer_count, LIMIT_BUFFERS);
    ck_assert_uint_eq(core->session->descriptors_unread, LIMIT_BUFFERS);
    return token;
}

static void read_replies(void)
{
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    while (core_reply(core, &reply, &payload, &len))
        ;
}

/* The kernel does not say when it reads: it is asked less and less often, each time from 1 ms. */
START_TEST(test_a_client_that_fetches_nothing_is_looked_at_seldom)
{
    uint64_t token = register_too_many();
    struct reply reply;

    looks = 0;
    for (unsigned int i = 0; i < 1000; i++)
        core_pass(core, 1);
    ck_assert_uint_ge(looks, 1000 / LINGER_LOOK_MAX_MS);
    ck_assert_uint_le(looks, 1000 / LINGER_LOOK_MAX_MS + 10);
    read_replies();
    core_pass(core, LINGER_LOOK_MAX_MS + 1);
    ck_assert(core_has_reply(core, token, &reply));
    for (unsigned int id = 1; id <= LIMIT_BUFFERS; id++) {
        struct request request = {.verb = VERB_UNREGISTER, .unregister = {.buffer = id}};

        expect(core_request(core, &request, NULL, 0), ERR_SUCCESS, 0);
    }
    token = register_too_many();
    read_replies();
    core_pass(core, 2 * LINGER_LOOK_MIN_MS);
    ck_assert(core_has_reply(core, token, &reply));
}
END_TEST

/* ---- datagrams ---- */

/* Between the two steps of connect(2) of a datagram socket: it has a port, and no peer yet. */
static void (*between)(int fd);

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (between) {
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&local, sizeof(local)), 0);
        between(fd);
    }
    return __real_connect(fd, addr, len);
}

static void stranger_sends(int fd)
{
    int stranger = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to;
    socklen_t len = sizeof(to);

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&to, &len), 0);
    ck_assert_int_eq(sendto(stranger, "stranger", 8, 0, (struct sockaddr *)&to, len), 8);
    close(stranger);
}

static int datagram_peer(struct sockaddr_in *ret)
{
    socklen_t len = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

/* Without it (0) and with it (1): the first slice is the first datagram's of the peer. */
START_LOOP_TEST(test_s65_a_stranger_while_the_kernel_connects, 0, 2)
{
    struct request open = {.verb = VERB_OPEN, .socket = 2, .open = {.type = SOCKET_TYPE_DATAGRAM}};
    struct segment slices[] = {{1, 0, 64}, {1, 64, 64}};
    struct request shots = {.verb = VERB_RECEIVE,
                            .socket = 2,
                            .receive = {.flags = RECEIVE_MULTISHOT, .segments = {slices, 2}}};
    struct shm_buffer *shm = new_buffer(1, 4 * KIB);
    struct sockaddr_in at, from;
    socklen_t len = sizeof(from);
    int far = datagram_peer(&at);
    struct reply reply;
    uint64_t token;
    char got[8];

    expect(core_request(core, &open, NULL, 0), ERR_SUCCESS, 0);
    between = _i == 1 ? stranger_sends : NULL;
    expect(core_connect(core, 2, ntohs(at.sin_port)), ERR_SUCCESS, 0);
    between = NULL;
    token = core_request(core, &shots, NULL, 0);
    core_send(core, 2, "hello", 5, 0);
    ck_assert_int_eq(recvfrom(far, got, sizeof(got), 0, (struct sockaddr *)&from, &len), 5);
    ck_assert_int_eq(sendto(far, "peer", 4, 0, (struct sockaddr *)&from, len), 4);
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_uint_eq(reply.datagram.segment.offset, 0);
    ck_assert_mem_eq(shm->at, "peer\0\0\0\0", 8);
    ck_assert_uint_eq(reply.datagram.refused, (unsigned int)_i);
    close(far);
}
END_TEST
