/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/multishot.h"

void see(asock_op *op, void *userdata)
{
    struct seen *seen = userdata;
    size_t len = 1;
    char *data = asock_op_get_slice(op, &len);

    seen->calls++;
    seen->error = asock_op_get_error(op);
    seen->flags = asock_op_get_result_flags(op);
    seen->had_slice = data != NULL;
    ck_assert_uint_eq(len, asock_op_get_bytes(op));
    ck_assert((len > 0) == (data != NULL));
    if (data && pattern_check(data, seen->bytes, len) >= 0)
        seen->mismatches++;
    seen->bytes += len;
    if (seen->takes && data) {
        ck_assert_ptr_eq(asock_op_take_slice(op), data);
        ck_assert_ptr_null(asock_op_take_slice(op));
        seen->taken[seen->taken_count++] = data;
    }
    if (seen->cancels)
        ck_assert_int_eq(asock_cancel(seen->cancels), 0);
    seen->cancels = NULL;
    if (!(seen->flags & ASOCK_MORE)) {
        seen->ends++;
        if (seen->again && data)
            pending(asock_receive_multishot(seen->again, op));
    }
    if (seen->then)
        seen->then(seen, op);
}

asock_pool *new_pool(size_t slice_len, size_t count)
{
    asock_buffer *buffer = NULL;
    asock_pool *pool = NULL;

    ck_assert_int_eq(asock_buffer_new(fixture.context, slice_len * count, LIVENESS_MS, &buffer), 0);
    ck_assert_int_eq(asock_pool_new(buffer, slice_len, &pool), 0);
    /* The pool keeps it. */
    asock_buffer_unref(buffer);
    return pool;
}

asock_op *new_multishot(asock_pool *pool, struct seen *seen)
{
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_pool(op, pool), 0);
    if (seen)
        ck_assert_int_eq(asock_op_set_callback(op, see, seen), 0);
    return op;
}

void write_pattern(int fd, uint64_t from, size_t len)
{
    char data[64 * KIB];

    pattern_fill(data, from, len);
    remote_write(fd, data, len);
}
