/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a callback of a multishot receive may do (S5, S6, S38). */

#include "base/list.h"
#include "tests/lib/suite.h"
#include "tests/lib/multishot.h"

#include <errno.h>
#include <unistd.h>

/* ---- slices that go back inside the callback ---- */

/* Its callbacks make more bytes come, and read their completions before they return. */
struct nest {
    struct seen seen;
    struct pair pair;
    asock_context *control;
    asock_pool *pool;
    char *kept;
    uint64_t written;
};

/* What the daemon has answered is in the library from here on; also inside a callback. */
static void read_all(void)
{
    asock_op *op = new_op();

    pending(asock_sync(fixture.context, op));
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    asock_op_unref(op);
}

/* Until their completion is in the library. */
static void let_come(struct nest *nest, size_t len)
{
    int64_t before = inspect_number(nest->control, "stats", "bytes_in");

    write_pattern(nest->pair.peer, nest->written, len);
    nest->written += len;
    while (inspect_number(nest->control, "stats", "bytes_in") < before + (int64_t)len)
        ;
    read_all();
}

static void give_back_and_wait(struct seen *seen, asock_op *op)
{
    struct nest *nest = container_of(seen, struct nest, seen);

    if (seen->calls == 1)
        nest->kept = asock_op_take_slice(op);
    if (seen->calls == 2 || seen->calls == 3) {
        ck_assert_int_eq(asock_pool_give(nest->pool, asock_op_take_slice(op)), 0);
        read_all();
    }
    if (seen->calls == 2) {
        ck_assert_int_eq(asock_pool_give(nest->pool, nest->kept), 0);
        read_all();
        /* The fourth of these is in the slice that this callback was called with. */
        for (int i = 0; i < 4; i++)
            let_come(nest, 10);
        ck_assert_ptr_null(asock_op_get_slice(op, NULL));
        ck_assert_ptr_null(asock_op_take_slice(op));
        ck_assert_uint_eq(asock_op_get_bytes(op), 10);
    }
    if (seen->calls == 3) {
        let_come(nest, 10);
        let_come(nest, 10);
    }
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s38_slice_given_back_in_its_own_callback)
{
    struct nest nest = {.pair = new_pair(AF_INET), .control = new_control()};
    asock_op *op;

    nest.pool = new_pool(4096, 5);
    nest.seen.then = give_back_and_wait;
    op = new_multishot(nest.pool, &nest.seen);
    pending(asock_receive_multishot(nest.pair.socket, op));
    flush();
    let_come(&nest, 10);
    wait_count(&nest.seen.calls, 1);
    let_come(&nest, 10);
    /* With the slice of the third callback the credit is used up. */
    wait_count(&nest.seen.ends, 1);
    ck_assert_uint_eq(nest.seen.calls, 8);
    ck_assert_uint_eq(nest.seen.bytes, nest.written);
    ck_assert_uint_eq(nest.seen.mismatches, 0);
    asock_op_unref(op);
    asock_pool_unref(nest.pool);
    asock_context_unref(nest.control);
    pair_close(&nest.pair);
}
END_TEST

/* ---- inside the callback (S5, S6) ---- */

static void let_go(struct seen *seen, asock_op *op)
{
    if (seen->calls == 1)
        asock_op_unref(op);
}

START_TEST(test_s05_multishot_let_go_in_its_callback)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 4);
    struct seen seen = {.then = let_go};
    asock_op *op = new_multishot(pool, &seen);

    pending(asock_receive_multishot(pair.socket, op));
    asock_pool_unref(pool);
    for (int i = 1; i <= 10; i++) {
        write_pattern(pair.peer, seen.bytes, 9);
        wait_count(&seen.calls, i);
    }
    remote_finish(pair.peer);
    wait_count(&seen.ends, 1);
    pair_close(&pair);
}
END_TEST

/* The last callback takes its slice, gives it back, and lets go of the pool in both places. */
static void let_pool_go(struct seen *seen, asock_op *op)
{
    asock_pool *pool = seen->userdata;
    void *slice = asock_op_take_slice(op);

    if (seen->ends == 0)
        return;
    ck_assert_ptr_nonnull(slice);
    ck_assert_int_eq(asock_pool_give(pool, slice), 0);
    asock_pool_unref(pool);
    seen->userdata = NULL;
    ck_assert_int_eq(asock_op_set_buffer(op, seen, 0), 0);
    ck_assert_ptr_null(asock_op_get_slice(op, NULL));
}

START_TEST(test_s05_pool_let_go_in_the_last_callback)
{
    struct pair pair = new_pair(AF_INET);
    struct seen seen = {.then = let_pool_go, .userdata = new_pool(4096, 1)};
    asock_op *op = new_multishot(seen.userdata, &seen);

    pending(asock_receive_multishot(pair.socket, op));
    write_pattern(pair.peer, 0, 10);
    wait_count(&seen.ends, 1);
    ck_assert_ptr_null(seen.userdata);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

static void let_all_go(struct seen *seen, asock_op *op)
{
    if (seen->calls > 1)
        return;
    asock_op_unref(op);
    fixture_release_context();
}

START_TEST(test_s06_context_let_go_in_a_shot)
{
    struct pair pair = new_pair(AF_INET);
    asock_context *context = fixture.context;
    asock_pool *pool = new_pool(64, 4);
    struct seen seen = {.then = let_all_go};
    asock_op *op = new_multishot(pool, &seen);

    pump_remove(context);
    write_pattern(pair.peer, 0, 200);
    pending(asock_receive_multishot(pair.socket, op));
    asock_pool_unref(pool);
    asock_socket_unref(pair.socket);
    while (fixture.context) {
        wait_fd(asock_context_get_fd(context), asock_context_get_events(context));
        asock_context_process(context);
    }
    ck_assert_int_eq(seen.calls, 1);
    close(pair.peer);
}
END_TEST

START_TEST(test_s06_cancelled_in_its_callback)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(10, 64);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen);

    seen.cancels = op;
    write_pattern(pair.peer, 0, 300);
    pending(asock_receive_multishot(pair.socket, op));
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.error, ASOCK_OPERATION_ABORTED);
    ck_assert_uint_eq(seen.mismatches, 0);
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST
