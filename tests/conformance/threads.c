/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The dispatcher thread: callbacks there, calls from every thread. ThreadSanitizer runs this one.
 */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct event {
    sem_t done;
    pthread_t thread;
    int error, results[4];
    uint64_t bytes;
};

static void event_init(struct event *event)
{
    memset(event, 0, sizeof(*event));
    sem_init(&event->done, 0, 0);
}

static void event_wait(struct event *event)
{
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += LIVENESS_MS / 1000;
    while (sem_timedwait(&event->done, &deadline) < 0)
        ck_assert_msg(errno == EINTR, "no callback came");
}

static void tell(asock_op *op, void *userdata)
{
    struct event *event = userdata;

    event->thread = pthread_self();
    event->error = asock_op_get_error(op);
    event->bytes = asock_op_get_bytes(op);
    sem_post(&event->done);
}

TEST_FIXTURE(fixture_setup_dispatcher, fixture_teardown);

START_TEST(test_dispatcher_runs_callbacks_in_its_thread)
{
    struct pair pair = new_pair(AF_INET);
    struct event event;
    char buf[4];
    asock_op *op = new_op_with(buf, 4);

    event_init(&event);
    ck_assert_int_eq(asock_op_set_callback(op, tell, &event), 0);
    pending(asock_receive(pair.socket, op));
    remote_write(pair.peer, "data", 4);
    event_wait(&event);
    ck_assert(!pthread_equal(event.thread, pthread_self()));
    ck_assert_int_eq(event.error, ASOCK_SUCCESS);
    ck_assert_uint_eq(event.bytes, 4);
    ck_assert_mem_eq(buf, "data", 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_dispatcher_refuses_process_and_a_second_one)
{
    asock_context *other = new_context();

    ck_assert_int_eq(asock_context_process(fixture.context), -EBUSY);
    ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), -EBUSY);
    ck_assert_int_eq(asock_context_stop_dispatcher(other), -ENOENT);
    ck_assert_int_eq(asock_context_stop_dispatcher(fixture.context), 0);
    ck_assert_int_eq(asock_context_stop_dispatcher(fixture.context), -ENOENT);
    ck_assert_int_ge(asock_context_process(fixture.context), 0);
    asock_context_unref(other);
}
END_TEST

/* Stopped and started with ops in flight: none is lost. */
START_TEST(test_dispatcher_is_stopped_and_started_with_ops_in_flight)
{
    struct pair pair = new_pair(AF_INET);
    struct event event;
    char byte = 0;
    asock_op *op = new_op_with(&byte, 1);

    event_init(&event);
    ck_assert_int_eq(asock_op_set_callback(op, tell, &event), 0);
    for (int i = 0; i < 20; i++) {
        char out = (char)i;

        pending(asock_receive(pair.socket, op));
        ck_assert_int_eq(asock_context_stop_dispatcher(fixture.context), 0);
        remote_write(pair.peer, &out, 1);
        ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
        event_wait(&event);
        ck_assert_int_eq(byte, out);
        /* Its end is the callback's: the op is free now. */
        ck_assert_int_eq(asock_context_stop_dispatcher(fixture.context), 0);
        ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
    }
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

static asock_op *deadlock_op;

static void call_what_would_deadlock(asock_op *op, void *userdata)
{
    struct event *event = userdata;
    asock_op *ended;

    event->results[0] = asock_op_wait(deadlock_op, LIVENESS_MS);
    event->results[1] = asock_context_stop_dispatcher(fixture.context);
    event->results[2] = asock_receive_some(asock_op_get_socket(op), &ended, 1, LIVENESS_MS);
    event->results[3] = asock_context_process(fixture.context);
    sem_post(&event->done);
}

START_TEST(test_dispatcher_refuses_waiting_in_a_callback)
{
    struct pair pair = new_pair(AF_INET);
    struct event event;
    asock_op *op = new_op_with("x", 1);
    char buf;

    event_init(&event);
    deadlock_op = new_op_with(&buf, 1);
    pending(asock_receive(pair.socket, deadlock_op));
    ck_assert_int_eq(asock_op_set_callback(op, call_what_would_deadlock, &event), 0);
    pending(asock_send(pair.socket, op));
    event_wait(&event);
    ck_assert_int_eq(event.results[0], -EDEADLK);
    ck_assert_int_eq(event.results[1], -EDEADLK);
    ck_assert_int_eq(event.results[2], -EDEADLK);
    ck_assert(event.results[3] == -EBUSY || event.results[3] == -EDEADLK);
    asock_cancel(deadlock_op);
    expect(deadlock_op, ASOCK_OPERATION_ABORTED);
    asock_op_unref(deadlock_op);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s9_other_threads_wait_while_the_dispatcher_runs)
{
    struct pair pair = new_pair(AF_INET);
    char buf[4];
    asock_op *op = new_op_with(buf, 4);

    pending(asock_receive(pair.socket, op));
    ck_assert_int_eq(asock_op_wait(op, 10), -ETIMEDOUT);
    remote_write(pair.peer, "data", 4);
    expect_bytes(op, ASOCK_SUCCESS, 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* ------------------------------------------------------------------------------- ten threads */

#define THREADS 10
#define ROUNDS 100

struct worker {
    pthread_t thread;
    int number;
    asock_socket *socket; /* its own, or the shared one */
    const struct sockaddr_storage *addr;
    atomic_int *failures;
};

static void *echo_rounds(void *userdata)
{
    struct worker *worker = userdata;
    asock_socket *sock = new_connected(fixture.context, worker->addr);

    for (int i = 0; i < ROUNDS; i++) {
        int out = worker->number * 1000 + i, in = 0;

        send_now(sock, &out, sizeof(out));
        receive_now(sock, &in, sizeof(in));
        if (in != out)
            atomic_fetch_add(worker->failures, 1);
    }
    asock_socket_unref(sock);
    return NULL;
}

static void run_workers(struct worker *workers, void *(*run)(void *))
{
    for (int i = 0; i < THREADS; i++) {
        workers[i].number = i;
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
}

START_TEST(test_ten_threads_each_with_a_socket)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    struct worker workers[THREADS];
    atomic_int failures = 0;

    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.addr = server_addr(server), .failures = &failures};
    run_workers(workers, echo_rounds);
    ck_assert_int_eq(failures, 0);
    server_wait_ended(server, THREADS);
    server_stop(server);
}
END_TEST

/* Records of 64 bytes, each filled with the number of its thread. */
static void *send_records(void *userdata)
{
    struct worker *worker = userdata;
    char record[64];

    memset(record, 'a' + worker->number, sizeof(record));
    for (int i = 0; i < ROUNDS; i++)
        send_now(worker->socket, record, sizeof(record));
    return NULL;
}

START_TEST(test_s26_sends_of_ten_threads_on_one_socket_stay_whole)
{
    struct pair pair = new_pair(AF_INET);
    struct worker workers[THREADS];
    int counts[THREADS] = {0};
    char record[64];

    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.socket = pair.socket};
    run_workers(workers, send_records);
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        remote_read(pair.peer, record, sizeof(record));
        for (size_t j = 1; j < sizeof(record); j++)
            ck_assert_int_eq(record[j], record[0]);
        counts[record[0] - 'a']++;
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(counts[i], ROUNDS);
    pair_close(&pair);
}
END_TEST

static void count_atomic(asock_op *op, void *userdata)
{
    (void)op;
    atomic_fetch_add((atomic_int *)userdata, 1);
}

static bool reached_zero(void *userdata)
{
    return atomic_load((atomic_int *)userdata) == 0;
}

static void count_down(asock_op *op, void *userdata)
{
    (void)op;
    atomic_fetch_sub((atomic_int *)userdata, 1);
}

static atomic_int submitted_left;

static void *submit_and_cancel(void *userdata)
{
    struct worker *worker = userdata;

    for (int i = 0; i < ROUNDS; i++) {
        static char sink[THREADS];
        asock_op *op = new_op_with(&sink[worker->number], 1);

        asock_op_set_callback(op, count_down, &submitted_left);
        if (asock_receive(worker->socket, op) != 1)
            atomic_fetch_add(worker->failures, 1);
        if (i % 3)
            asock_cancel(op);
        asock_op_unref(op);
    }
    return NULL;
}

/* Cancels race with completions and with the close: each op ends once. */
START_TEST(test_s2_ops_of_ten_threads_complete_exactly_once)
{
    struct pair pair = new_pair(AF_INET);
    struct worker workers[THREADS];
    atomic_int failures = 0;

    atomic_store(&submitted_left, THREADS * ROUNDS);
    for (int i = 0; i < THREADS; i++)
        workers[i] = (struct worker){.socket = pair.socket, .failures = &failures};
    remote_write(pair.peer, "some of them get data", 21);
    run_workers(workers, submit_and_cancel);
    ck_assert_int_eq(failures, 0);
    close_now(pair.socket, 0);
    ck_assert(wait_condition(reached_zero, &submitted_left));
    sync_with_daemon();
    ck_assert_int_eq(submitted_left, 0);
    pair_close(&pair);
}
END_TEST

/* ---- the dispatcher goes, and those who wait for it stay */

struct waiter {
    pthread_t thread;
    asock_op *op;
    char byte;
    int result;
};

static sem_t waits;

static void *wait_for_op(void *userdata)
{
    struct waiter *waiter = userdata;

    sem_post(&waits);
    waiter->result = asock_op_wait(waiter->op, LIVENESS_MS);
    return NULL;
}

static void start_waiters(asock_socket *socket, struct waiter *waiters)
{
    for (int i = 0; i < THREADS; i++) {
        waiters[i].op = new_op_with(&waiters[i].byte, 1);
        pending(asock_receive(socket, waiters[i].op));
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&waiters[i].thread, NULL, wait_for_op, &waiters[i]), 0);
    for (int i = 0; i < THREADS; i++)
        sem_wait(&waits);
}

static void join_waiters(struct waiter *waiters)
{
    for (int i = 0; i < THREADS; i++) {
        pthread_join(waiters[i].thread, NULL);
        ck_assert_int_eq(waiters[i].result, 0);
        ck_assert_int_eq(waiters[i].byte, '0' + i);
        asock_op_unref(waiters[i].op);
    }
}

/* None of them sleeps on for an op whose end another one of them has read. */
START_TEST(test_s9_waiting_threads_outlast_the_dispatcher)
{
    struct pair pair = new_pair(AF_INET);
    struct waiter waiters[THREADS];

    sem_init(&waits, 0, 0);
    for (int i = 0; i < ROUNDS; i++) {
        bool is_restarted = i % 2;

        start_waiters(pair.socket, waiters);
        ck_assert_int_eq(asock_context_stop_dispatcher(fixture.context), 0);
        remote_write(pair.peer, "01234", 5);
        if (is_restarted)
            ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
        remote_write(pair.peer, "56789", 5);
        join_waiters(waiters);
        if (!is_restarted)
            ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
    }
    pair_close(&pair);
}
END_TEST

/* -------------------------------------------------------------------------------- the rest */

START_TEST(test_dispatcher_tells_the_loss_of_the_daemon)
{
    struct pair pair = new_pair(AF_INET);
    static char buf[50];
    atomic_int left = 50;

    for (int i = 0; i < 50; i++) {
        asock_op *op = new_op_with(&buf[i], 1);

        asock_op_set_callback(op, count_down, &left);
        pending(asock_receive(pair.socket, op));
        asock_op_unref(op);
    }
    sync_with_daemon();
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
    ck_assert(wait_condition(reached_zero, &left));
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_CONNECTION_ABORTED);
    pair_close(&pair);
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

static void release_all(asock_op *op, void *userdata)
{
    struct event *event = userdata;

    asock_op_unref(op);
    asock_context_unref(fixture.context);
    sem_post(&event->done);
}

static bool fds_are_back(void *userdata)
{
    size_t *wanted = userdata;

    return count_fds(getpid()) == *wanted;
}

/* The last references go in a callback of the thread that they end. */
START_TEST(test_s6_last_unref_in_a_callback_of_the_dispatcher)
{
    struct pair pair = new_pair(AF_INET);
    size_t fds = fixture.fds + 2; /* the private daemon's guard and pidfd */
    struct event event;
    asock_op *op = new_op_with("x", 1);

    event_init(&event);
    ck_assert_int_eq(asock_op_set_callback(op, release_all, &event), 0);
    pending(asock_send(pair.socket, op));
    pair.socket = asock_socket_unref(pair.socket);
    event_wait(&event);
    fixture.context = NULL;
    close(pair.peer);
    /* Those of the context are gone: its socket, and what it wakes its thread with. */
    ck_assert(wait_condition(fds_are_back, &fds));
}
END_TEST

/* The dispatcher blocks all signals: one that all other threads block stays pending. */
START_TEST(test_dispatcher_blocks_all_signals)
{
    struct pair pair = new_pair(AF_INET);
    sigset_t set, waiting;
    atomic_int called = 0;
    asock_op *op = new_op_with("x", 1);

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGTERM);
    asock_op_set_callback(op, count_atomic, &called);
    for (int i = 0; i < 10; i++) {
        pending(asock_send(pair.socket, op));
        expect(op, ASOCK_SUCCESS);
        sync_with_daemon();
        while (atomic_load(&called) <= i)
            sched_yield();
    }
    sigpending(&waiting);
    ck_assert_int_eq(sigismember(&waiting, SIGUSR1), 1);
    ck_assert_int_eq(sigismember(&waiting, SIGTERM), 1);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_dispatcher_serves_inspection_from_another_thread)
{
    struct pair pair = new_pair(AF_INET);

    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(inspect_rows(fixture.context, "list"), 1);
    pair_close(&pair);
}
END_TEST
