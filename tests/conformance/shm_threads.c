/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shared memory and multishot receives with a dispatcher. ThreadSanitizer runs this one. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS 8

static void wait_for(sem_t *sem)
{
    struct timespec deadline;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += LIVENESS_MS / 1000;
    while (sem_timedwait(sem, &deadline) < 0)
        ck_assert_msg(errno == EINTR, "nothing came");
}

/* ---- buffers of many threads ---- */

struct worker {
    pthread_t thread;
    asock_socket *socket;
    int failures;
};

static bool round_trip(asock_socket *socket, asock_op *out, asock_op *in, char *data, size_t len)
{
    pattern_fill(data, 0, len);
    memset(data + len, 0, len);
    return asock_op_set_buffer(out, data, len) == 0 &&
           asock_op_set_buffer(in, data + len, len) == 0 && asock_receive(socket, in) == 1 &&
           asock_send(socket, out) == 1 && asock_op_wait(out, LIVENESS_MS) == 0 &&
           asock_op_wait(in, LIVENESS_MS) == 0 && asock_op_get_error(in) == 0 &&
           asock_op_get_bytes(in) == len && pattern_check(data + len, 0, len) == -1;
}

static void *work(void *userdata)
{
    struct worker *worker = userdata;
    asock_context *context = asock_socket_get_context(worker->socket);
    asock_op *out = new_op_of(context), *in = new_op_of(context);

    worker->failures += asock_op_set_flags(in, ASOCK_WAIT_ALL) < 0;
    for (size_t i = 1; i <= 20; i++) {
        asock_buffer *buffer;

        if (asock_buffer_new(context, i * 8000, LIVENESS_MS, &buffer) < 0) {
            worker->failures++;
            break;
        }
        worker->failures += !round_trip(worker->socket, out, in, asock_buffer_data(buffer),
                                        i * 4000);
        asock_buffer_unref(buffer);
    }
    asock_op_unref(out);
    asock_op_unref(in);
    return NULL;
}

TEST_FIXTURE(fixture_setup_dispatcher, fixture_teardown);

START_TEST(test_s13_buffers_of_many_threads)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    struct worker workers[THREADS] = {0};

    for (int i = 0; i < THREADS; i++) {
        workers[i].socket = new_connected(fixture.context, server_addr(server));
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        ck_assert_int_eq(workers[i].failures, 0);
        asock_socket_unref(workers[i].socket);
    }
    server_stop(server);
}
END_TEST

/* ---- slices that go from the dispatcher to another thread, and back from there ---- */

#define SLICES 8

struct stream {
    asock_socket *socket;
    asock_pool *pool;
    pthread_mutex_t lock;
    sem_t filled, ended;
    struct {
        void *data;
        size_t len;
    } ring[SLICES];
    size_t head, tail;
    int error;
};

static void take(asock_op *op, void *userdata)
{
    struct stream *stream = userdata;
    size_t len;
    void *data = asock_op_get_slice(op, &len);

    if (data) {
        pthread_mutex_lock(&stream->lock);
        stream->ring[stream->head % SLICES].data = asock_op_take_slice(op);
        stream->ring[stream->head++ % SLICES].len = len;
        pthread_mutex_unlock(&stream->lock);
        sem_post(&stream->filled);
    }
    if (asock_op_get_result_flags(op) & ASOCK_MORE)
        return;
    if (data && asock_receive_multishot(stream->socket, op) == 1)
        return;
    stream->error = asock_op_get_error(op);
    sem_post(&stream->filled);
}

/* Bytes of the next slice, checked; 0: the stream has ended. */
static size_t consume(struct stream *stream, uint64_t at)
{
    void *data;
    size_t len;

    wait_for(&stream->filled);
    pthread_mutex_lock(&stream->lock);
    if (stream->head == stream->tail) {
        pthread_mutex_unlock(&stream->lock);
        return 0;
    }
    data = stream->ring[stream->tail % SLICES].data;
    len = stream->ring[stream->tail++ % SLICES].len;
    pthread_mutex_unlock(&stream->lock);
    ck_assert_int_eq(pattern_check(data, at, len), -1);
    memset(data, 0xee, len);
    ck_assert_int_eq(asock_pool_give(stream->pool, data), 0);
    return len;
}

static asock_pool *new_pool(size_t slice_len, size_t count)
{
    asock_buffer *buffer;
    asock_pool *pool;

    ck_assert_int_eq(asock_buffer_new(fixture.context, slice_len * count, LIVENESS_MS, &buffer), 0);
    ck_assert_int_eq(asock_pool_new(buffer, slice_len, &pool), 0);
    asock_buffer_unref(buffer);
    return pool;
}

START_TEST(test_s38_slices_between_threads)
{
    struct server *server = server_start(SERVER_SOURCE, AF_INET, 4 * MIB);
    struct stream stream = {.socket = new_connected(fixture.context, server_addr(server)),
                            .pool = new_pool(16 * KIB, SLICES)};
    asock_op *op = new_op();
    uint64_t got = 0;
    size_t n;

    pthread_mutex_init(&stream.lock, NULL);
    sem_init(&stream.filled, 0, 0);
    ck_assert_int_eq(asock_op_set_pool(op, stream.pool), 0);
    ck_assert_int_eq(asock_op_set_callback(op, take, &stream), 0);
    pending(asock_receive_multishot(stream.socket, op));
    while ((n = consume(&stream, got)) > 0)
        got += n;
    ck_assert_uint_eq(got, 4 * MIB);
    ck_assert_int_eq(stream.error, ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_pool_unref(stream.pool);
    asock_socket_unref(stream.socket);
    server_stop(server);
}
END_TEST

START_TEST(test_s38_waiting_while_the_dispatcher_runs)
{
    struct server *server = server_start(SERVER_SOURCE, AF_INET, 4 * MIB);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    asock_pool *pool = new_pool(64 * KIB, 4);
    asock_op *op = new_op();
    uint64_t got = 0;
    size_t len;
    void *data;
    int r;

    ck_assert_int_eq(asock_op_set_pool(op, pool), 0);
    do {
        pending(asock_receive_multishot(sock, op));
        while ((r = asock_receive_next(op, LIVENESS_MS, &data, &len)) == 1) {
            ck_assert_int_eq(pattern_check(data, got, len), -1);
            got += len;
            ck_assert_int_eq(asock_pool_give(pool, data), 0);
        }
        ck_assert_int_eq(r, 0);
        ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    } while (!(asock_op_get_result_flags(op) & ASOCK_END_OF_STREAM));
    ck_assert_uint_eq(got, 4 * MIB);
    asock_op_unref(op);
    asock_pool_unref(pool);
    asock_socket_unref(sock);
    server_stop(server);
}
END_TEST

struct refusal {
    sem_t done;
    int buffer, next;
};

static void try_to_wait(asock_op *op, void *userdata)
{
    struct refusal *refusal = userdata;
    asock_buffer *buffer;
    asock_socket *sock = asock_op_get_socket(op);

    refusal->buffer = asock_buffer_new(asock_socket_get_context(sock), 1, -1, &buffer);
    sem_post(&refusal->done);
}

START_TEST(test_s14_no_waiting_in_a_callback)
{
    struct pair pair = new_pair(AF_INET);
    struct refusal refusal = {0};
    asock_op *op = new_op_with("x", 1);

    sem_init(&refusal.done, 0, 0);
    ck_assert_int_eq(asock_op_set_callback(op, try_to_wait, &refusal), 0);
    pending(asock_send(pair.socket, op));
    wait_for(&refusal.done);
    ck_assert_int_eq(refusal.buffer, -EDEADLK);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST
