/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens to connects goes on in steps of their session's share, whoever tells of it: by a
 * clock of which each look ends a step, counted in turns of the loop.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/session/sock.h"
#include "daemon/verbs/connect.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define SOCKETS 48

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

static void turn(void)
{
    ev_run(core->worker.loop, EVRUN_NOWAIT);
}

static const struct connect *connect_in_progress(uint32_t id)
{
    const struct op *op = session_sock(core->session, id)->connect;

    return op ? op->send.connect : NULL;
}

static uint32_t connecting(void)
{
    uint32_t count = 0;

    for (uint32_t id = 1; id <= SOCKETS; id++)
        count += connect_in_progress(id) != NULL;
    return count;
}

/* Connects of which the daemon waits for the kernel's answer. */
static uint32_t unanswered(void)
{
    uint32_t count = 0;

    for (uint32_t id = 1; id <= SOCKETS; id++) {
        const struct connect *c = connect_in_progress(id);

        count += c && c->he.attempts[0].outcome == REPORT_RUNS;
    }
    return count;
}

/* The kernel tells of all of them at once: each takes a step's time. */
START_TEST(test_s52_answers_to_connects_are_taken_in_steps)
{
    uint16_t hole = core_hole(core);
    uint32_t left = SOCKETS;

    for (uint32_t id = 1; id <= SOCKETS; id++) {
        core_open(core, id);
        core_connect(core, id, hole);
    }
    core_settle(core);
    ck_assert_uint_eq(unanswered(), SOCKETS);
    for (uint32_t id = 1; id <= SOCKETS; id++)
        ck_assert_int_eq(shutdown(connect_in_progress(id)->he.attempts[0].ns.fd, SHUT_RDWR), 0);
    core_hurry(core);
    while (left > 0) {
        uint32_t before = left;

        turn();
        left = unanswered();
        ck_assert_uint_le(before - left, CORE_HURRIED_STEPS);
    }
    core_settle(core);
    ck_assert_uint_eq(connecting(), 0);
}
END_TEST

static void connect_to_many(uint32_t id, uint16_t port, uint32_t others)
{
    struct request request = {.verb = VERB_CONNECT, .socket = id};
    struct endpoint at[32];

    for (uint32_t i = 0; i <= others; i++)
        at[i] = (struct endpoint){
            .address_len = 4, .address = {127, 0, 0, (uint8_t)(i + 1)}, .port = port};
    request.connect.endpoint = at[0];
    request.connect.others = (struct endpoints){&at[1], others};
    core_request(core, &request, NULL, 0);
}

static uint32_t attempts(void)
{
    uint32_t count = 0;

    for (uint32_t id = 1; id <= SOCKETS; id++) {
        const struct connect *c = connect_in_progress(id);

        count += c ? c->he.begun : 0;
    }
    return count;
}

/* Addresses that fail at once, of one connect: each of them takes a step's time, too. */
START_TEST(test_s52_a_list_of_addresses_is_tried_in_steps)
{
    unsigned int turns = 0;

    core_open(core, 1);
    core_settle(core);
    core_hurry(core);
    connect_to_many(1, core->port == 1 ? 2 : 1, 23);
    while (session_sock(core->session, 1)->state != SOCK_FAILED) {
        turn();
        turns++;
    }
    ck_assert_uint_ge(turns, 24 / CORE_HURRIED_STEPS);
}
END_TEST

/* Names of which the answers come at once. */
START_TEST(test_s52_what_is_resolved_is_tried_in_steps)
{
    uint16_t hole = core_hole(core);
    uint32_t before;
    char service[8];

    for (uint32_t id = 1; id <= SOCKETS; id++)
        core_open(core, id);
    snprintf(service, sizeof(service), "%u", hole);
    for (uint32_t id = 1; id <= SOCKETS; id++) {
        struct request request = {.verb = VERB_CONNECT, .op = 900200 + id, .socket = id};
        uint8_t head[CODEC_REQUEST_MAX];
        long n;

        request.connect.host = "localhost";
        request.connect.service = service;
        n = asock_codec_encode_request(&request, 0, head, sizeof(head));
        ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    }
    while (connecting() < SOCKETS)
        turn();
    before = attempts();
    core_hurry(core);
    while (before < SOCKETS) {
        turn();
        ck_assert_uint_le(attempts() - before, CORE_HURRIED_STEPS);
        before = attempts();
    }
}
END_TEST
