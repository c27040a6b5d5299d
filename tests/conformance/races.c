/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What happens at the same moment, many times: cancel against completion, close against submit, a
 * callback that releases everything. The library's dispatcher runs; the moment is another one in
 * each round. ASOCK_TEST_ROUNDS: how many (200 if it is not set).
 */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int rounds(void)
{
    const char *text = getenv("ASOCK_TEST_ROUNDS");
    int n = text ? atoi(text) : 0;

    return n > 0 ? n : 200;
}

/* A different distance between the two sides in each round. */
static void stagger(int round)
{
    for (int i = 0; i < round % 17; i++)
        sched_yield();
}

static void count_up(asock_op *op, void *userdata)
{
    (void)op;
    atomic_fetch_add((atomic_int *)userdata, 1);
}

struct target {
    atomic_int *counter;
    int value;
};

static bool reached(void *userdata)
{
    const struct target *target = userdata;

    return atomic_load(target->counter) >= target->value;
}

/* They came, and have returned: their ops may be submitted again. */
static void wait_for(atomic_int *counter, int value)
{
    struct target target = {counter, value};

    ck_assert_msg(wait_condition(reached, &target), "%d callbacks of %d came", atomic_load(counter),
                  value);
    if (fixture.context)
        sync_with_daemon(); /* the dispatcher tells of it behind the callback */
}

/* The other side of each race: a thread that does one thing on a signal. */
struct rival {
    pthread_t thread;
    pthread_barrier_t start;
    void (*act)(struct rival *rival, int round);
    struct pair pair;
    asock_op *op;
    int rounds;
};

static void *run_rival(void *userdata)
{
    struct rival *rival = userdata;

    for (int i = 0; i < rival->rounds; i++) {
        pthread_barrier_wait(&rival->start);
        stagger(i);
        rival->act(rival, i);
        pthread_barrier_wait(&rival->start);
    }
    return NULL;
}

static void rival_start(struct rival *rival, void (*act)(struct rival *, int))
{
    rival->act = act;
    rival->rounds = rounds();
    pthread_barrier_init(&rival->start, NULL, 2);
    ck_assert_int_eq(pthread_create(&rival->thread, NULL, run_rival, rival), 0);
}

static void rival_go(struct rival *rival)
{
    pthread_barrier_wait(&rival->start);
}

static void rival_stop(struct rival *rival)
{
    pthread_join(rival->thread, NULL);
    pthread_barrier_destroy(&rival->start);
}

static void write_byte(struct rival *rival, int round)
{
    char byte = (char)round;

    ck_assert_int_eq(write(rival->pair.peer, &byte, 1), 1);
}

TEST_FIXTURE(fixture_setup_dispatcher, fixture_teardown);

/* Either the data or the cancel wins; the byte is lost to neither. */
START_TEST(test_s2_cancel_races_with_completion)
{
    struct rival rival = {.pair = new_pair(AF_INET)};
    atomic_int called = 0;
    int cancelled = 0;
    char byte = 0, rest;
    asock_op *op = new_op_with(&byte, 1);

    asock_op_set_callback(op, count_up, &called);
    rival_start(&rival, write_byte);
    for (int i = 0; i < rival.rounds; i++) {
        int r;

        pending(asock_receive(rival.pair.socket, op));
        rival_go(&rival);
        stagger(rival.rounds - i);
        r = asock_cancel(op);
        ck_assert(r == 0 || r == -ENOENT);
        rival_go(&rival);
        wait_for(&called, i + 1);
        ck_assert_int_eq(atomic_load(&called), i + 1);
        if (asock_op_get_error(op) == ASOCK_OPERATION_ABORTED) {
            ck_assert_uint_eq(asock_op_get_bytes(op), 0);
            receive_now(rival.pair.socket, &rest, 1);
            ck_assert_int_eq(rest, (char)i);
            cancelled++;
        } else {
            ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
            ck_assert_int_eq(byte, (char)i);
        }
    }
    rival_stop(&rival);
    fprintf(stderr, "# %d rounds, %d won by the cancel\n", rival.rounds, cancelled);
    asock_op_unref(op);
    pair_close(&rival.pair);
}
END_TEST

static void close_socket(struct rival *rival, int round)
{
    (void)round;
    asock_close(rival->pair.socket, rival->op, 0);
}

static bool is_end_by_close(int error)
{
    return error == ASOCK_SUCCESS || error == ASOCK_OPERATION_ABORTED || error == ASOCK_NOT_SOCKET;
}

/*
 * Sends and receives are submitted while another thread closes their socket: each ends once,
 * cleanly.
 */
START_TEST(test_s2_close_races_with_submit)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    struct rival rival = {.op = new_op(), .pair.peer = -1};
    atomic_int called = 0;
    asock_op *ops[6];
    char data[6] = "abcdef";
    int expected = 0;

    for (size_t j = 0; j < 6; j++) {
        ops[j] = new_op_with(&data[j], 1);
        asock_op_set_callback(ops[j], count_up, &called);
    }
    rival_start(&rival, close_socket);
    for (int i = 0; i < rival.rounds; i++) {
        rival.pair.socket = new_connected(fixture.context, server_addr(server));
        rival_go(&rival);
        for (size_t j = 0; j < 6; j++) {
            int r = j % 2 ? asock_receive(rival.pair.socket, ops[j])
                          : asock_send(rival.pair.socket, ops[j]);

            ck_assert_int_ge(r, 0);
            expected += r;
        }
        rival_go(&rival);
        expect(rival.op, ASOCK_SUCCESS);
        wait_for(&called, expected);
        for (size_t j = 0; j < 6; j++)
            ck_assert(is_end_by_close(asock_op_get_error(ops[j])));
        asock_socket_unref(rival.pair.socket);
    }
    rival_stop(&rival);
    ck_assert_int_eq(atomic_load(&called), expected);
    for (size_t j = 0; j < 6; j++)
        asock_op_unref(ops[j]);
    asock_op_unref(rival.op);
    server_stop(server);
}
END_TEST

static void cancel_op(struct rival *rival, int round)
{
    int r = asock_cancel(rival->op);

    (void)round;
    ck_assert(r == 0 || r == -ENOENT);
}

/* A connect is cancelled while it is answered: success, or nothing of it stays. */
START_TEST(test_s21_cancel_races_with_connect)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    struct rival rival = {.op = new_connect_op(server_addr(server)), .pair.peer = -1};
    atomic_int called = 0;
    int connected = 0;

    asock_op_set_callback(rival.op, count_up, &called);
    rival_start(&rival, cancel_op);
    for (int i = 0; i < rival.rounds; i++) {
        asock_socket *sock = new_socket(AF_INET);
        int error;

        pending(asock_connect(sock, rival.op));
        rival_go(&rival);
        asock_context_flush(fixture.context);
        rival_go(&rival);
        wait_for(&called, i + 1);
        error = asock_op_get_error(rival.op);
        ck_assert(error == ASOCK_SUCCESS || error == ASOCK_OPERATION_ABORTED);
        connected += error == ASOCK_SUCCESS;
        asock_socket_unref(sock);
    }
    rival_stop(&rival);
    sync_with_daemon();
    ck_assert_int_eq(atomic_load(&called), rival.rounds);
    fprintf(stderr, "# %d rounds, %d connected\n", rival.rounds, connected);
    asock_op_unref(rival.op);
    server_stop(server);
}
END_TEST

/*
 * A queued send is cancelled while the peer reads: the stream has all of it, or it broke behind
 * what went.
 */
START_TEST(test_s30_cancel_races_with_a_queued_send)
{
    int broken = 0, n = rounds() / 4 + 1;

    for (int i = 0; i < n; i++) {
        struct pair pair = new_pair(AF_INET);
        char data[3][1000];
        asock_op *ops[3];
        uint64_t bytes = 0, told = 0;

        for (size_t j = 0; j < 3; j++) {
            memset(data[j], 'a' + (int)j, sizeof(data[j]));
            ops[j] = new_op_with(data[j], sizeof(data[j]));
            pending(asock_send(pair.socket, ops[j]));
        }
        asock_context_flush(fixture.context);
        stagger(i);
        asock_cancel(ops[1]);
        for (size_t j = 0; j < 3; j++) {
            ck_assert_int_eq(asock_op_wait(ops[j], LIVENESS_MS), 0);
            told += asock_op_get_bytes(ops[j]);
        }
        if (asock_op_get_error(ops[1]) != ASOCK_SUCCESS)
            broken++;
        /*
         * On a healthy socket nothing of a small send goes without the rest: the third is unharmed.
         */
        ck_assert_int_eq(asock_op_get_error(ops[2]), ASOCK_SUCCESS);
        close_now(pair.socket, 0);
        ck_assert_int_eq(remote_drain(pair.peer, &bytes), REMOTE_FIN);
        ck_assert_uint_eq(bytes, told);
        for (size_t j = 0; j < 3; j++)
            asock_op_unref(ops[j]);
        pair_close(&pair);
    }
    fprintf(stderr, "# %d rounds, %d won by the cancel\n", n, broken);
}
END_TEST

struct release {
    asock_context *context;
    asock_socket *socket;
    asock_op *op;
    atomic_int done;
};

static void release_everything(asock_op *op, void *userdata)
{
    struct release *release = userdata;

    asock_op_unref(op);
    asock_socket_unref(release->socket);
    asock_context_unref(release->context);
    atomic_store(&release->done, 1);
}

static void release_round(struct server *server, int round)
{
    struct release release = {.context = new_context()};
    asock_op *other;
    static char byte = 'x', into; /* outlive the ops */

    ck_assert_int_eq(asock_context_start_dispatcher(release.context), 0);
    release.socket = new_connected(release.context, server_addr(server));
    release.op = new_op_of(release.context);
    other = new_op_of(release.context);
    ck_assert_int_eq(asock_op_set_buffer(other, &into, 1), 0);
    pending(asock_receive(release.socket, other));
    asock_op_unref(other);
    ck_assert_int_eq(asock_op_set_buffer(release.op, &byte, 1), 0);
    asock_op_set_callback(release.op, release_everything, &release);
    pending(asock_send(release.socket, release.op));
    stagger(round);
    wait_for(&release.done, 1);
}

static bool fds_are_back(void *userdata)
{
    return count_fds(getpid()) <= *(size_t *)userdata;
}

/*
 * The last references go in a callback, with an op in flight and the dispatcher running, many times
 * over.
 */
START_TEST(test_s6_callback_releases_everything)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    size_t fds;
    int n = rounds() / 2 + 1;

    release_round(server, 0);
    server_wait_ended(server, 1);
    fds = count_fds(getpid());
    for (int i = 1; i < n; i++)
        release_round(server, i);
    server_wait_ended(server, (unsigned int)n);
    ck_assert(wait_condition(fds_are_back, &fds));
    server_stop(server);
}
END_TEST
