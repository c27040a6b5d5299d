/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon ends the session while completions are unread whose bytes lie in shared memory (S14,
 * S46). What is reported as received was received, and is there.
 */

#include "tests/lib/multishot.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER (64 * KIB)
#define BYTES 30000u

static asock_context *control;
static char session_id[32];

static int64_t stat_of(const char *name)
{
    return inspect_number(control, "stats", name);
}

static void setup(void)
{
    fixture_setup();
    control = new_control();
    snprintf(session_id, sizeof(session_id), "%lld",
             (long long)inspect_number(fixture.context, "show", "id"));
}

static void teardown(void)
{
    asock_context_unref(control);
    fixture_teardown();
}

TEST_FIXTURE(setup, teardown);

/* Large receives through the socket, until the library takes memory of its own for them. */
static void warm_up(struct pair *pair)
{
    char *data = malloc(64 * KIB);

    ck_assert_ptr_nonnull(data);
    while (inspect_number(fixture.context, "show", "shared") <= 0) {
        write_pattern(pair->peer, 0, 64 * KIB);
        receive_now(pair->socket, data, 64 * KIB);
    }
    free(data);
}

/* The daemon has received them and has answered; the answer was not read here. */
static void let_come(struct pair *pair, size_t len)
{
    int64_t before = stat_of("bytes_in");

    flush();
    write_pattern(pair->peer, 0, len);
    while (stat_of("bytes_in") < before + (int64_t)len)
        ;
}

static void kill_session(void)
{
    const char *args[] = {session_id, NULL};

    ck_assert_int_ge(asock_context_control(control, "kill", args, NULL, NULL, LIVENESS_MS), 0);
    /* A turn each: what the daemon would do next it has done. */
    for (int i = 0; i < 20; i++)
        stat_of("bytes_in");
}

/* It waits for the client as long as a stop may, which is less than a second. */
static void stop_daemon(void)
{
    asock_context_unref(control);
    control = NULL;
    ck_assert_int_eq(kill(fixture.daemon->pid, SIGTERM), 0);
    ck_assert_int_eq(private_daemon_wait(fixture.daemon), 0);
    fixture.daemon = private_daemon_release(fixture.daemon);
}

static asock_op *receive_into(struct pair *pair, void *data)
{
    asock_op *op = new_op_with(data, BUFFER);

    memset(data, 0xaa, BUFFER);
    pending(asock_receive(pair->socket, op));
    return op;
}

static void expect_pattern(asock_op *op, const void *data)
{
    expect_bytes(op, ASOCK_SUCCESS, BYTES);
    ck_assert_int_eq(pattern_check(data, 0, BYTES), -1);
}

START_TEST(test_s46_unread_receives_of_a_killed_session)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET);
    static char data[BUFFER];
    asock_op *copied, *in_place;
    asock_buffer *buffer;

    warm_up(&pair);
    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    copied = receive_into(&pair, data);
    in_place = receive_into(&other, asock_buffer_data(buffer));
    let_come(&pair, BYTES);
    let_come(&other, BYTES);
    kill_session();
    expect_pattern(copied, data);
    expect_pattern(in_place, asock_buffer_data(buffer));
    ck_assert_int_eq(asock_buffer_is_intact(buffer), 1);
    /* The session has ended, and the daemon has its memory back: this side keeps what was there. */
    pump_turn(-1, 0, 0);
    while (stat_of("buffers") > 0)
        pump_turn(-1, 0, 1);
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(pattern_check(asock_buffer_data(buffer), 0, BYTES), -1);
    ck_assert_int_eq(asock_buffer_is_intact(buffer), 1);
    asock_op_unref(copied);
    asock_op_unref(in_place);
    asock_buffer_unref(buffer);
    pair_close(&pair);
    pair_close(&other);
}
END_TEST

START_TEST(test_s46_unread_receives_of_a_stopped_daemon)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET);
    static char data[BUFFER];
    asock_op *copied, *in_place;
    asock_buffer *buffer;

    warm_up(&pair);
    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    copied = receive_into(&pair, data);
    in_place = receive_into(&other, asock_buffer_data(buffer));
    let_come(&pair, BYTES);
    let_come(&other, BYTES);
    stop_daemon();
    expect_bytes(copied, ASOCK_CONNECTION_ABORTED, 0);
    expect_bytes(in_place, ASOCK_CONNECTION_ABORTED, 0);
    asock_op_unref(copied);
    asock_op_unref(in_place);
    asock_buffer_unref(buffer);
    pair_close(&pair);
    pair_close(&other);
}
END_TEST

/* It was reported, and is read later, in place. */
START_TEST(test_s46_received_bytes_of_a_stopped_daemon)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer;
    asock_op *op;

    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    op = receive_into(&pair, asock_buffer_data(buffer));
    let_come(&pair, BYTES);
    expect_pattern(op, asock_buffer_data(buffer));
    ck_assert_int_eq(asock_buffer_is_intact(buffer), 1);
    stop_daemon();
    /* No call in which the library learns of the end. */
    ck_assert_int_ge(pattern_check(asock_buffer_data(buffer), 0, BYTES), 0);
    ck_assert_int_eq(asock_buffer_is_intact(buffer), 0);
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_buffer_is_intact(buffer), 0);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

/*
 * More pieces than go by reference: the bytes came through the socket, but lie in memory that is
 * taken back.
 */
START_TEST(test_s46_pieces_in_a_buffer_of_a_stopped_daemon)
{
    struct pair pair = new_pair(AF_INET);
    struct iovec pieces[100];
    asock_op *op = new_op_with(NULL, 0);
    asock_buffer *buffer;
    char *data;

    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    data = asock_buffer_data(buffer);
    for (size_t i = 0; i < 100; i++)
        pieces[i] = (struct iovec){data + i * 300, 300};
    ck_assert_int_eq(asock_op_set_buffers(op, pieces, 100), 0);
    pending(asock_receive(pair.socket, op));
    let_come(&pair, BYTES);
    /* Everything is read, and the op was not looked at yet. */
    inspect_number(fixture.context, "show", "id");
    stop_daemon();
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s46_unread_slices_of_a_killed_session)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 16), *second = new_pool(4096, 16);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen), *waits = new_multishot(second, NULL);
    uint64_t got = 0;
    void *data;
    size_t len;

    pending(asock_receive_multishot(pair.socket, op));
    pending(asock_receive_multishot(other.socket, waits));
    let_come(&pair, BYTES);
    let_come(&other, BYTES);
    kill_session();
    while (asock_receive_next(waits, LIVENESS_MS, &data, &len) == 1) {
        ck_assert_int_eq(pattern_check(data, got, len), -1);
        got += len;
    }
    ck_assert_uint_eq(got, BYTES);
    expect(waits, ASOCK_CONNECTION_ABORTED);
    wait_count(&seen.ends, 1);
    ck_assert_uint_eq(seen.bytes, BYTES);
    ck_assert_uint_eq(seen.mismatches, 0);
    ck_assert_int_eq(seen.error, ASOCK_CONNECTION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(waits);
    asock_pool_unref(pool);
    asock_pool_unref(second);
    pair_close(&pair);
    pair_close(&other);
}
END_TEST

/* Also where the stream had ended before, and the end was to be reported behind its last bytes. */
START_TEST(test_s46_unread_slices_of_a_stopped_daemon)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 16), *second = new_pool(4096, 16);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen), *waits = new_multishot(second, NULL);
    void *data;
    size_t len;

    pending(asock_receive_multishot(pair.socket, op));
    pending(asock_receive_multishot(other.socket, waits));
    let_come(&pair, BYTES);
    let_come(&other, BYTES);
    remote_finish(pair.peer);
    remote_finish(other.peer);
    stop_daemon();
    ck_assert_int_eq(asock_receive_next(waits, LIVENESS_MS, &data, &len), 0);
    expect_bytes(waits, ASOCK_CONNECTION_ABORTED, 0);
    wait_count(&seen.ends, 1);
    ck_assert_uint_eq(seen.bytes, 0);
    ck_assert_int_eq(seen.calls, 1);
    ck_assert_int_eq(seen.error, ASOCK_CONNECTION_ABORTED);
    ck_assert_uint_eq(seen.flags, 0);
    asock_op_unref(op);
    asock_op_unref(waits);
    asock_pool_unref(pool);
    asock_pool_unref(second);
    pair_close(&pair);
    pair_close(&other);
}
END_TEST

/* The begin/end style looks at the mark too. */
START_TEST(test_s46_unread_end_of_a_stopped_daemon)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer;
    uint64_t bytes = 99;
    asock_op *op;

    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    pending(asock_begin_receive(pair.socket, asock_buffer_data(buffer), BUFFER, NULL, NULL, &op));
    let_come(&pair, BYTES);
    stop_daemon();
    ck_assert_int_eq(asock_end(op, &bytes), ASOCK_CONNECTION_ABORTED);
    ck_assert_uint_eq(bytes, 0);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

/* A new session has a page of its own: it says nothing about what was lost before. */
START_TEST(test_s46_what_was_taken_back_stays_lost_after_a_reconnect)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET);
    struct private_daemon *before = fixture.daemon;
    struct private_daemon_options options = {.dir = before->dir};
    asock_buffer *buffer;
    asock_op *in_place, *slices;
    asock_pool *pool;
    void *data;
    size_t len;

    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    pool = new_pool(4096, 16);
    in_place = receive_into(&pair, asock_buffer_data(buffer));
    slices = new_multishot(pool, NULL);
    pending(asock_receive_multishot(other.socket, slices));
    let_come(&pair, BYTES);
    let_come(&other, BYTES);
    control = asock_context_unref(control);
    ck_assert_int_eq(kill(before->pid, SIGTERM), 0);
    ck_assert_int_eq(private_daemon_wait(before), 0);
    fixture_start(&options);
    while (asock_context_get_error(fixture.context) == 0)
        pump_turn(-1, 0, 0);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    expect_bytes(in_place, ASOCK_CONNECTION_ABORTED, 0);
    ck_assert_int_eq(asock_receive_next(slices, LIVENESS_MS, &data, &len), 0);
    expect_bytes(slices, ASOCK_CONNECTION_ABORTED, 0);
    asock_op_unref(in_place);
    asock_op_unref(slices);
    asock_pool_unref(pool);
    asock_buffer_unref(buffer);
    pair_close(&pair);
    pair_close(&other);
    fixture_release_context();
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(before);
}
END_TEST

/*
 * Receives of one stream: what the first one got lies in shared memory, the second one's bytes and
 * the end came inline.
 */
struct behind {
    struct pair pair;
    asock_buffer *buffer;
    asock_op *ops[3];
    int errors[3], told;
    uint64_t bytes[3];
};

#define SECOND 50u

static void note_end(asock_op *op, void *userdata)
{
    struct behind *b = userdata;

    ck_assert_ptr_eq(op, b->ops[b->told]);
    b->errors[b->told] = asock_op_get_error(op);
    b->bytes[b->told++] = asock_op_get_bytes(op);
}

static void begin_behind(struct behind *b, asock_callback callback)
{
    static char data[2][SECOND];

    *b = (struct behind){.pair = new_pair(AF_INET)};
    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &b->buffer), 0);
    b->ops[0] = new_op_with(asock_buffer_data(b->buffer), BUFFER);
    b->ops[1] = new_op_with(data[0], SECOND);
    b->ops[2] = new_op_with(data[1], SECOND);
    for (int i = 0; i < 3; i++) {
        if (callback)
            asock_op_set_callback(b->ops[i], callback, b);
        pending(asock_receive(b->pair.socket, b->ops[i]));
    }
    let_come(&b->pair, BYTES);
    let_come(&b->pair, SECOND);
    remote_finish(b->pair.peer);
    stop_daemon();
}

static void end_behind(struct behind *b)
{
    for (int i = 0; i < 3; i++)
        asock_op_unref(b->ops[i]);
    asock_buffer_unref(b->buffer);
    pair_close(&b->pair);
}

START_TEST(test_s46_nothing_follows_what_was_taken_back)
{
    struct behind b;

    begin_behind(&b, NULL);
    for (int i = 0; i < 3; i++) {
        expect_bytes(b.ops[i], ASOCK_CONNECTION_ABORTED, 0);
        ck_assert_uint_eq(asock_op_get_result_flags(b.ops[i]), 0);
    }
    end_behind(&b);
}
END_TEST

START_TEST(test_s46_nothing_follows_what_was_taken_back_in_callbacks)
{
    struct behind b;

    begin_behind(&b, note_end);
    while (b.told < 3)
        pump_turn(-1, 0, LIVENESS_MS);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(b.errors[i], ASOCK_CONNECTION_ABORTED);
        ck_assert_uint_eq(b.bytes[i], 0);
    }
    end_behind(&b);
}
END_TEST

/* A peek does not show it either. */
START_TEST(test_s46_no_peek_shows_what_follows)
{
    struct pair pair = new_pair(AF_INET);
    static char data[SECOND], other[SECOND];
    asock_buffer *buffer;
    asock_op *lost, *peek = new_op_with(data, SECOND);

    ck_assert_int_eq(asock_buffer_new(fixture.context, BUFFER, LIVENESS_MS, &buffer), 0);
    lost = receive_into(&pair, asock_buffer_data(buffer));
    ck_assert_int_eq(asock_op_set_flags(peek, ASOCK_PEEK), 0);
    pending(asock_receive(pair.socket, peek));
    let_come(&pair, BYTES);
    write_pattern(pair.peer, 0, SECOND);
    /* This one's answer comes behind both. */
    receive_now(pair.socket, other, SECOND);
    stop_daemon();
    expect_bytes(lost, ASOCK_CONNECTION_ABORTED, 0);
    expect_bytes(peek, ASOCK_CONNECTION_ABORTED, 0);
    asock_op_unref(lost);
    asock_op_unref(peek);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

/* What the program has looked at stays what it was. */
START_TEST(test_s46_what_was_looked_at_before_stays)
{
    struct behind b;

    begin_behind(&b, NULL);
    expect_bytes(b.ops[1], ASOCK_SUCCESS, SECOND);
    expect_bytes(b.ops[0], ASOCK_CONNECTION_ABORTED, 0);
    expect_bytes(b.ops[1], ASOCK_SUCCESS, SECOND);
    expect_bytes(b.ops[2], ASOCK_CONNECTION_ABORTED, 0);
    end_behind(&b);
}
END_TEST

/*
 * Copied out of the library's own memory, which was taken back: that is known as soon as the answer
 * is read.
 */
START_TEST(test_s46_nothing_follows_what_could_not_be_copied)
{
    struct pair pair = new_pair(AF_INET);
    static char data[BUFFER], behind[SECOND];
    asock_op *copied, *op = new_op_with(behind, SECOND);

    warm_up(&pair);
    copied = receive_into(&pair, data);
    pending(asock_receive(pair.socket, op));
    let_come(&pair, BYTES);
    let_come(&pair, SECOND);
    stop_daemon();
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    expect_bytes(copied, ASOCK_CONNECTION_ABORTED, 0);
    asock_op_unref(copied);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST
