/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random operations on many sockets, in whatever order: each one submitted ends once (S2), and the
 * session lives. The seed of a failure is its loop number.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/fixture.h"

enum { SOCKETS = 24, OPS = 10, STEPS = 6000 };

struct party {
    asock_socket *socket; /* NULL: none now */
    asock_op *ops[OPS];
    char into[OPS][5000];
};

static struct party parties[SOCKETS];
static const char *service;
static unsigned int seed;
static int submissions, ends;

static unsigned int dice(unsigned int sides)
{
    return (unsigned int)rand_r(&seed) % sides;
}

static void count(int r)
{
    ck_assert_msg(r == 0 || r == 1 || r == -EBUSY, "a submission is %d", r);
    submissions += r == 1;
}

static asock_op *make_op(void)
{
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &ends), 0);
    return op;
}

static void join(struct party *party)
{
    static char data[1000];
    asock_op *op = make_op();
    int r = asock_socket_new(fixture.context, AF_UNSPEC, &party->socket);

    if (r == 0) {
        for (int i = 0; i < OPS; i++)
            party->ops[i] = make_op();
        if (dice(4) == 0)
            ck_assert_int_eq(asock_op_set_buffer(op, data, 1 + dice(sizeof(data))), 0);
        ck_assert_int_eq(asock_op_set_host(op, "127.0.0.1", service), 0);
        if (dice(10) > 0)
            count(asock_connect(party->socket, op));
    } else {
        ck_assert_int_eq(r, -EMFILE);
        party->socket = NULL;
    }
    asock_op_unref(op);
}

static void leave(struct party *party)
{
    asock_op *op = make_op();

    count(asock_close(party->socket, op, dice(2) ? ASOCK_CLOSE_ABORT : (int)dice(100)));
    asock_op_unref(op);
    for (int i = 0; i < OPS; i++)
        party->ops[i] = asock_op_unref(party->ops[i]);
    party->socket = asock_socket_unref(party->socket);
}

static void receive(struct party *party, int i)
{
    asock_op *op = party->ops[i];

    if (asock_op_set_buffer(op, party->into[i], dice(sizeof(party->into[i]))) < 0)
        return;
    asock_op_set_timeout(op, dice(5) ? 0 : 1 + dice(50));
    asock_op_set_flags(op, dice(4) ? 0 : ASOCK_WAIT_ALL);
    count(asock_receive(party->socket, op));
}

static void send_some(struct party *party, int i)
{
    static char data[2 * MIB];
    asock_op *op = party->ops[i];

    if (asock_op_set_buffer(op, data, dice(dice(8) ? 4000 : sizeof(data))) < 0)
        return;
    asock_op_set_timeout(op, dice(20) ? 0 : 1 + dice(50));
    asock_op_set_flags(op, dice(3) ? 0 : ASOCK_ERRORS_ONLY);
    count(asock_send(party->socket, op));
}

static void do_something(struct party *party)
{
    int i = (int)dice(OPS);
    asock_op *op = party->ops[i];

    switch (dice(12)) {
    case 0:
        asock_cancel(op);
        break;
    case 1:
        if (dice(8) == 0)
            count(asock_shutdown(party->socket, op, (enum asock_how)(1 + dice(3))));
        break;
    case 2:
        count(asock_get_option(party->socket, op, (enum asock_option)(1 + dice(12))));
        break;
    case 3:
        count(asock_set_option(party->socket, op, (enum asock_option)(1 + dice(11)), dice(200)));
        break;
    case 4:
        if (asock_op_is_pending(op))
            asock_op_wait(op, (int)dice(3));
        else
            count(asock_sync(fixture.context, op));
        break;
    case 5:
        if (dice(20) == 0)
            leave(party);
        break;
    case 6:
    case 7:
    case 8:
        receive(party, i);
        break;
    default:
        send_some(party, i);
        break;
    }
}

static void run(unsigned int number)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);

    seed = number;
    submissions = ends = 0;
    service = server_service(server);
    for (int i = 0; i < STEPS; i++) {
        struct party *party = &parties[dice(SOCKETS)];

        if (party->socket)
            do_something(party);
        else
            join(party);
        if (dice(4) == 0)
            pump_turn(-1, 0, (int)dice(2));
        ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
    }
    for (int i = 0; i < SOCKETS; i++)
        if (parties[i].socket)
            leave(&parties[i]);
    wait_count(&ends, submissions);
    sync_with_daemon();
    ck_assert_int_eq(ends, submissions);
    server_stop(server);
}

TEST_FIXTURE_TIMEOUT(fixture_setup, fixture_teardown, 120);

START_LOOP_TEST(test_s2_random_ops_all_end_once, 0, 3)
{
    run((unsigned int)_i);
}
END_TEST

/* The same where limits are met all the time. */
START_LOOP_TEST(test_s49_random_ops_within_the_least_limits, 0, 3)
{
    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 16), 0);
    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_OPS, 64), 0);
    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_QUEUED, MIB), 0);
    run((unsigned int)_i);
}
END_TEST
