/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work that one client causes goes on in steps of its share, however much there is of it at once:
 * by a clock of which each look ends a step, counted in turns of the loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/policy/policy.h"
#include "daemon/server/admin.h"
#include "daemon/session/session_end.h"
#include "daemon/session/session_farewell.h"
#include "daemon/session/sock.h"
#include "daemon/session/window.h"
#include "daemon/wire/shm_buffer.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define SOCKETS 48
#define MIB (1024u * 1024u)

static struct core *core;
static int peers[SOCKETS + 1];

static void setup(void)
{
    core = core_new();
}

static void teardown(void)
{
    core_free(core);
    for (uint32_t id = 1; id <= SOCKETS; id++)
        if (peers[id] > 0)
            close(peers[id]);
    memset(peers, 0, sizeof(peers));
}

TEST_FIXTURE(setup, teardown);

static void turn(void)
{
    ev_run(core->worker.loop, EVRUN_NOWAIT);
}

static void connect_all(void)
{
    for (uint32_t id = 1; id <= SOCKETS; id++)
        peers[id] = core_connected(core, id);
}

static void leave(void)
{
    close(core->client);
    core->client = -1;
}

static uint32_t length(const struct list *list)
{
    uint32_t n = 0;

    list_for_each (list, it)
        n++;
    return n;
}

/* Every socket that is closed needs a step's time. */
START_TEST(test_s52_a_session_dies_in_steps)
{
    uint32_t left = SOCKETS;

    connect_all();
    core_hurry(core);
    leave();
    while (core->session) {
        uint32_t before = left;

        turn();
        left = core->session ? core->session->socket_count : 0;
        ck_assert_uint_le(before - left, CORE_HURRIED_STEPS);
    }
}
END_TEST

START_TEST(test_s52_a_session_is_killed_in_steps)
{
    uint32_t left = SOCKETS, alive;

    connect_all();
    core_hurry(core);
    session_kill(core->session);
    do {
        turn();
        alive = 0;
        for (uint32_t id = 1; id <= SOCKETS; id++) {
            const struct sock *sock = session_sock(core->session, id);

            alive += sock && sock->state == SOCK_CONNECTED;
        }
        ck_assert_uint_le(left - alive, CORE_HURRIED_STEPS);
        left = alive;
    } while (alive > 0);
    core_settle(core);
    ck_assert(core->session->has_ended);
}
END_TEST

/* A stop that has no more patience. */
START_TEST(test_the_rest_of_a_session_is_closed_at_once)
{
    connect_all();
    core_hurry(core);
    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    turn();
    ck_assert_uint_gt(core->session->socket_count, 0);
    session_close_rest(core->session);
    ck_assert_uint_eq(core->session->socket_count, 0);
    leave();
}
END_TEST

/* A list of all sockets, hurried: how many messages of how many rows at most. */
static uint32_t list_all(uint32_t *ret_most)
{
    struct request list = {.verb = VERB_LIST, .op = 900300};
    uint32_t sent = 0, messages = 0;
    uint8_t head[CODEC_REQUEST_MAX];
    const uint8_t *payload;
    struct reply reply;
    size_t len;
    long n;

    core->worker.inspect = &admin_inspect_ops;
    connect_all();
    core_hurry(core);
    n = asock_codec_encode_request(&list, 0, head, sizeof(head));
    ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    do {
        uint32_t before = sent;

        turn();
        while (core_reply(core, &reply, &payload, &len) && reply.op == list.op)
            sent++;
        messages += sent > before;
        if (sent - before > *ret_most)
            *ret_most = sent - before;
    } while (sent < SOCKETS + 1);
    return messages;
}

/*
 * A row may have to ask the policy, and what a client has restricted it by: it takes as long as
 * other requests.
 */
START_TEST(test_s52_rows_are_sent_in_steps)
{
    uint32_t most = 0;

    list_all(&most);
    ck_assert_uint_le(most, CORE_HURRIED_SLICE + 1);
}
END_TEST

/*
 * A turn ends within the slice, but what the session does next has replies for the same message.
 * The clock is looked at twice for a row, and once for the turn that it takes.
 */
START_TEST(test_s52_replies_of_a_slice_leave_together)
{
    uint32_t most = 0;

    ck_assert_uint_le(list_all(&most), 3 * SOCKETS / CORE_HURRIED_SLICE + 2);
}
END_TEST

/*
 * A close may reset what waits at a listener, which takes the kernel as long as many other
 * requests.
 */
START_TEST(test_s52_sockets_are_closed_in_steps)
{
    struct request request = {.verb = VERB_CLOSE, .op = 900100};
    uint8_t head[CODEC_REQUEST_MAX];
    uint32_t left = SOCKETS;

    connect_all();
    for (uint32_t id = 1; id <= SOCKETS; id++) {
        long n;

        request.op++;
        request.socket = id;
        n = asock_codec_encode_request(&request, 0, head, sizeof(head));
        ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    }
    core_hurry(core);
    while (left > 0) {
        uint32_t before = left;

        turn();
        left = core->session->socket_count;
        ck_assert_uint_le(before - left, CORE_HURRIED_STEPS);
    }
}
END_TEST

/* A few with the replies that leave, of which there are none here. */
START_TEST(test_s52_free_room_is_reported_in_steps)
{
    const uint8_t *payload;
    struct reply reply;
    uint32_t told = 0;
    size_t len;

    connect_all();
    core_hurry(core);
    for (uint32_t id = 1; id <= SOCKETS; id++)
        window_free(session_sock(core->session, id), 0, core->session->limits.socket_ops / 2);
    do {
        uint32_t before = told;

        turn();
        while (core_reply(core, &reply, &payload, &len))
            told += reply.kind == KIND_EVENT && reply.event == EVENT_SEND_ROOM;
        ck_assert_uint_le(told - before, TURN_REPORTS + CORE_HURRIED_SLICE);
    } while (told < SOCKETS);
}
END_TEST

/* Its promise of sockets is given back with them, and it counts as a client until then. */
START_TEST(test_s45_what_dies_is_charged)
{
    struct quota *q = core->session->quota;

    connect_all();
    core_hurry(core);
    leave();
    while (!core->session->has_ended)
        turn();
    ck_assert_uint_ge(quota_usage(q, QUOTA_SOCKETS).used, core->session->socket_count);
    ck_assert_uint_gt(core->session->socket_count, 0);
    ck_assert_uint_eq(quota_usage(q, QUOTA_CLIENTS).used, 1);
    while (core->session)
        turn();
}
END_TEST

/* All of them together: one of many small pieces is as slow as one large one. */
START_TEST(test_s52_buffers_are_emptied_one_after_the_other)
{
    struct shm_buffer *shm;
    uint64_t turns;

    for (int i = 0; i < 16; i++) {
        ck_assert_int_eq(session_add_buffer(core->session, 2 * MIB, false, &shm), 0);
        memset(shm->at, 'x', shm->length);
    }
    core_hurry(core);
    turns = core->worker.stats.turns;
    leave();
    while (core->session)
        turn();
    ck_assert_uint_ge(CORE_HURRIED_STEPS * (core->worker.stats.turns - turns),
                      32 * MIB / SHARED_EMPTY_STEP);
}
END_TEST

/* What has been closed and waits for its peers is its client's work, too. */
START_TEST(test_s52_drains_end_in_steps)
{
    uint32_t left;

    connect_all();
    for (uint32_t id = 1; id <= SOCKETS; id++)
        core_close(core, id, 0);
    core_pass(core, 2 * DRAIN_LOOK_MS);
    ck_assert_uint_eq(core->worker.drain_count, SOCKETS);
    core_hurry(core);
    for (uint32_t id = 1; id <= SOCKETS; id++) {
        close(peers[id]);
        peers[id] = 0;
    }
    for (left = SOCKETS; left > 0; left = core->worker.drain_count) {
        turn();
        ck_assert_uint_le(left - core->worker.drain_count, CORE_HURRIED_STEPS);
    }
}
END_TEST

static uint32_t connecting(void)
{
    uint32_t count = 0;

    for (uint32_t id = 1; id <= SOCKETS; id++)
        count += session_sock(core->session, id)->connect != NULL;
    return count;
}

/* Each connect in progress that a restriction denies needs a step's time. */
START_TEST(test_s52_a_restriction_judges_in_steps)
{
    static const char rules[] = "[Rules]\nAllow=tcp a.test 1\n";
    struct request restrict_it = {.verb = VERB_RESTRICT, .op = 900001};
    uint16_t hole = core_hole(core);
    uint8_t head[CODEC_REQUEST_MAX];
    uint32_t left = SOCKETS;
    long n;

    for (uint32_t id = 1; id <= SOCKETS; id++) {
        core_open(core, id);
        core_connect(core, id, hole);
    }
    ck_assert_uint_eq(connecting(), SOCKETS);
    core_hurry(core);
    n = asock_codec_encode_request(&restrict_it, sizeof(rules) - 1, head, sizeof(head));
    ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    ck_assert_int_eq(write(core->client, rules, sizeof(rules) - 1), sizeof(rules) - 1);
    while (left > 0) {
        uint32_t before = left;

        turn();
        left = connecting();
        ck_assert_uint_le(before - left, CORE_HURRIED_STEPS);
    }
    core_settle(core);
    ck_assert_uint_eq(core_completion(core, 900001).error, ERR_SUCCESS);
}
END_TEST

/*
 * A judgement takes no time, but to take a connect apart that it denies takes as long as a turn
 * may.
 */
static uint64_t clock_by_failed(void)
{
    return core_failed(core) * (uint64_t)TURN_NS;
}

START_TEST(test_s52_what_a_restriction_ends_is_of_the_step_that_judges)
{
    static const char rules[] = "[Rules]\nAllow=tcp a.test 1\n";
    struct request restrict_it = {.verb = VERB_RESTRICT, .op = 900001};
    uint16_t hole = core_hole(core);
    uint8_t head[CODEC_REQUEST_MAX];
    uint32_t before = 0;
    long n;

    for (uint32_t id = 1; id <= SOCKETS; id++) {
        core_open(core, id);
        core_connect_by_name(core, id, hole);
    }
    core->worker.shares.clock = clock_by_failed;
    n = asock_codec_encode_request(&restrict_it, sizeof(rules) - 1, head, sizeof(head));
    ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    ck_assert_int_eq(write(core->client, rules, sizeof(rules) - 1), sizeof(rules) - 1);
    while (before < SOCKETS) {
        turn();
        ck_assert_uint_le(core_failed(core) - before, 1);
        before = core_failed(core);
    }
    core_settle(core);
    ck_assert_uint_eq(core_completion(core, 900001).error, ERR_SUCCESS);
}
END_TEST

/* It has its effect, but the op does not wait longer than its deadline. */
START_TEST(test_s37_a_restriction_is_not_waited_for_for_ever)
{
    struct request r = {.verb = VERB_RESTRICT, .op = 900050, .timeout_ms = 50};
    const char rules[] = "[Rules]\nAllow=tcp a.test 1\n";
    uint8_t head[CODEC_REQUEST_MAX];
    const uint8_t *payload;
    struct reply reply;
    size_t len;
    long n;

    connect_all();
    core_hurry(core);
    n = asock_codec_encode_request(&r, sizeof(rules) - 1, head, sizeof(head));
    ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    ck_assert_int_eq(write(core->client, rules, sizeof(rules) - 1), sizeof(rules) - 1);
    while (policy_view_restrictions(core->session->view) == 0)
        turn();
    core_now += 51;
    while (!core_reply(core, &reply, &payload, &len) || reply.op != 900050)
        turn();
    ck_assert_uint_eq(reply.error, ERR_TIMED_OUT);
    ck_assert_uint_eq(policy_view_restrictions(core->session->view), 1);
    leave();
}
END_TEST

#define RANGES 100u

/* Each range of ports that the rules tell apart takes a step's time. */
START_TEST(test_s52_a_resolve_is_judged_in_steps)
{
    struct request resolve = {.verb = VERB_RESOLVE, .op = 900002};
    char rules[RANGES * 32] = "[Rules]\nAllow=tcp a.test 1\n", error[POLICY_ERROR_MAX];
    size_t len = strlen(rules);
    uint8_t head[CODEC_REQUEST_MAX];
    unsigned int turns = 0;
    struct reply reply;
    const uint8_t *payload;
    long n;

    for (unsigned int i = 1; i <= RANGES; i++)
        len += (size_t)snprintf(rules + len, sizeof(rules) - len, "Deny=tcp b.test %u\n", 2 * i);
    ck_assert_int_eq(policy_view_restrict(core->session->view, rules, len, error), 0);
    core_hurry(core);
    resolve.resolve.host = "b.test";
    n = asock_codec_encode_request(&resolve, 0, head, sizeof(head));
    ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    while (!core_reply(core, &reply, &payload, &len)) {
        turn();
        turns++;
    }
    ck_assert_uint_eq(reply.op, 900002);
    ck_assert_uint_eq(reply.error, ERR_ACCESS_DENIED);
    ck_assert_uint_ge(turns, RANGES / CORE_HURRIED_STEPS);
}
END_TEST

static size_t write_much(size_t most)
{
    static char block[64 * 1024];
    size_t done = 0;
    ssize_t n;

    while (done < most && (n = send(core->client, block, sizeof(block), MSG_NOSIGNAL)) > 0)
        done += (size_t)n;
    return done;
}

START_TEST(test_s52_what_is_discarded_is_discarded_in_steps)
{
    uint32_t before = 0;
    size_t written;

    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(core);
    written = write_much(MIB);
    ck_assert_uint_gt(written, 100000);
    core_hurry(core);
    while (core->session && core->session->farewell_bytes < written) {
        turn();
        ck_assert_uint_le(core->session->farewell_bytes - before, CORE_HURRIED_STEPS * 16384);
        before = core->session->farewell_bytes;
    }
    ck_assert_ptr_nonnull(core->session);
}
END_TEST

/* Also while buffers are kept for it: it may have them for their time, and causes no work. */
START_TEST(test_what_is_discarded_is_bounded_while_buffers_are_kept)
{
    struct shm_buffer *shm;
    size_t written = 0, n = 1;

    ck_assert_int_eq(session_add_buffer(core->session, MIB, false, &shm), 0);
    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    for (int i = 0; i < 1000 && n > 0; i++) {
        core_settle(core);
        n = write_much(MIB);
        written += n;
    }
    ck_assert_uint_gt(written, 16 * MIB);
    ck_assert_uint_lt(written, 24 * MIB);
    ck_assert_ptr_nonnull(core->session);
    ck_assert_uint_eq(core->session->buffer_count, 1);
    core_pass(core, BUFFERS_KEPT_MS + 1);
    ck_assert_uint_eq(core->session->buffer_count, 0);
    leave();
    core_pass(core, UNREAD_MS + 1);
    ck_assert_ptr_null(core->session);
}
END_TEST

/* Receives that had no room, when it is there. */
START_TEST(test_s52_who_waits_for_room_tries_in_steps)
{
    static char data[65536], in[262144];
    uint32_t waiting;

    connect_all();
    for (uint32_t id = 1; id <= SOCKETS; id++) {
        core_receive(core, id, sizeof(data), RECEIVE_WAIT_ALL, 0);
    }
    for (uint32_t id = 1; id <= SOCKETS; id++)
        ck_assert_int_eq(write(peers[id], data, sizeof(data)), (ssize_t)sizeof(data));
    core_settle(core);
    waiting = length(&core->session->room_waiters);
    ck_assert_uint_gt(waiting, 2 * CORE_HURRIED_STEPS);
    core_hurry(core);
    for (int i = 0; i < 1000 && waiting > 0; i++) {
        uint32_t before = waiting;

        while (read(core->client, in, sizeof(in)) > 0)
            ;
        turn();
        waiting = length(&core->session->room_waiters) + length(&core->session->room_tries);
        ck_assert_uint_le(before - waiting, before > waiting ? CORE_HURRIED_STEPS : 0);
    }
    ck_assert_uint_eq(waiting, 0);
}
END_TEST

/* A session of the administrator; its client's end is peers[place]. */
static struct session *control_session(uint32_t place)
{
    struct session_config config = {
        .worker = &core->worker,
        .kind = LISTENER_CONTROL,
        .listener = "control",
        .dispatch = core->session->dispatch,
    };
    char why[SESSION_WHY_MAX];
    struct identity identity;
    struct session *session;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(identity_read(pair[0], &identity), 0);
    ck_assert_int_eq(session_new(&config, pair[0], &identity, why, &session), 0);
    peers[place] = pair[1];
    return session;
}

/* More than its client's end has room for. */
static void tell_too_much(struct session *s)
{
    static const char text[CODEC_TEXT_MAX];
    const struct reply event = {.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SEND_ROOM};

    do {
        for (int i = 0; i < 64; i++)
            session_send_reply(s, &event, text, sizeof(text));
        turn();
    } while (transport_is_idle(&s->transport));
}

/* Clients that have not read, and now all read at once. */
START_LOOP_TEST(test_s52_output_that_waited_is_written_in_steps, 0, 2)
{
    static char in[1 << 20];
    struct session *sessions[12];
    const uint32_t count = sizeof(sessions) / sizeof(sessions[0]);
    uint32_t waiting = count;

    for (uint32_t i = 0; i < count; i++) {
        sessions[i] = control_session(1 + i);
        tell_too_much(sessions[i]);
        if (_i == 1)
            session_end(sessions[i], ERR_CONNECTION_ABORTED, "test");
    }
    core_settle(core);
    core_hurry(core);
    while (waiting > 0) {
        uint32_t before = waiting;

        for (uint32_t i = 0; i < count; i++)
            while (read(peers[1 + i], in, sizeof(in)) > 0)
                ;
        turn();
        waiting = 0;
        for (uint32_t i = 0; i < count; i++)
            waiting += !transport_is_idle(&sessions[i]->transport);
        ck_assert_uint_le(before - waiting, CORE_HURRIED_STEPS);
    }
    for (uint32_t i = 0; i < count; i++)
        session_end(sessions[i], ERR_SUCCESS, NULL);
    core_settle(core);
}
END_TEST

/* The administrator's sessions have what one user has, however many they are. */
START_TEST(test_s52_control_sessions_share)
{
    struct session *sessions[2];

    for (uint32_t i = 0; i < 2; i++)
        sessions[i] = control_session(1 + i);
    ck_assert_ptr_eq(sessions[0]->share.parent, sessions[1]->share.parent);
    ck_assert_ptr_eq(sessions[0]->share.parent->parent, &core->worker.shares.root);
    ck_assert_ptr_ne(sessions[0]->share.parent, core->session->share.parent);
    for (int i = 0; i < 2; i++)
        session_end(sessions[i], ERR_SUCCESS, NULL);
    core_settle(core);
}
END_TEST
