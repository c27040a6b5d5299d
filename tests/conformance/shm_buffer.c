/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory that client and daemon share: what it is, and when it goes (S14). */

#include "tests/lib/multishot.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static asock_buffer *new_buffer(size_t size)
{
    asock_buffer *buffer = NULL;

    ck_assert_int_eq(asock_buffer_new(fixture.context, size, LIVENESS_MS, &buffer), 0);
    ck_assert_ptr_nonnull(buffer);
    return buffer;
}

/* Where the library maps shared memory; NULL: where the kernel likes. */
static void *mapped_at;

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (mapped_at && fd >= 0)
        return (void *)syscall(SYS_mmap, mapped_at, len, prot, flags | MAP_FIXED, fd, offset);
    return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

static void count_call(asock_op *op, void *userdata)
{
    (void)op;
    ++*(int *)userdata;
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s14_buffer)
{
    asock_buffer *buffer;
    uint64_t most, count;
    char *data;

    sync_with_daemon();
    ck_assert_int_eq(asock_context_get_limit(fixture.context, ASOCK_LIMIT_SHARED_MEMORY, &most), 0);
    ck_assert_int_eq(asock_context_get_limit(fixture.context, ASOCK_LIMIT_BUFFERS, &count), 0);
    ck_assert_uint_ge(count, 1);
    ck_assert_int_eq(asock_buffer_new(fixture.context, 0, -1, &buffer), -EINVAL);
    ck_assert_int_eq(asock_buffer_new(fixture.context, SIZE_MAX, -1, &buffer), -EINVAL);
    ck_assert_int_eq(asock_buffer_new(fixture.context, 1, -1, NULL), -EINVAL);
    ck_assert_int_eq(asock_buffer_new(NULL, 1, -1, &buffer), -EINVAL);
    ck_assert_int_eq(asock_buffer_new(fixture.context, most + 1, -1, &buffer), -ENOBUFS);
    buffer = new_buffer(5000);
    data = asock_buffer_data(buffer);
    ck_assert_uint_eq((uintptr_t)data % 4096, 0);
    ck_assert_uint_eq(asock_buffer_size(buffer), 8192);
    for (size_t i = 0; i < 8192; i++)
        ck_assert_int_eq(data[i], 0);
    ck_assert_ptr_eq(asock_buffer_ref(buffer), buffer);
    ck_assert_ptr_null(asock_buffer_unref(buffer));
    data[8191] = 1;
    ck_assert_ptr_null(asock_buffer_unref(buffer));
    ck_assert_ptr_null(asock_buffer_unref(NULL));
    ck_assert_ptr_null(asock_buffer_data(NULL));
    ck_assert_uint_eq(asock_buffer_size(NULL), 0);
    ck_assert_int_eq(asock_buffer_is_intact(NULL), -EINVAL);
}
END_TEST

/* All there is, given back and asked for again at once. */
START_TEST(test_s14_quota_comes_back)
{
    uint64_t most;

    sync_with_daemon();
    ck_assert_int_eq(asock_context_get_limit(fixture.context, ASOCK_LIMIT_SHARED_MEMORY, &most), 0);
    for (int i = 0; i < 10; i++) {
        asock_buffer *buffer = new_buffer(most), *more;

        *(char *)asock_buffer_data(buffer) = 1;
        ck_assert_int_eq(asock_buffer_new(fixture.context, 1, -1, &more), -ENOBUFS);
        asock_buffer_unref(buffer);
    }
}
END_TEST

START_TEST(test_s14_unref_while_ops_use_it)
{
    struct pair pair = new_pair_small(AF_INET);
    asock_buffer *buffer = new_buffer(4 * MIB);
    char *data = asock_buffer_data(buffer);
    asock_op *send = new_op_with(data, 4 * MIB), *receive = new_op_with(data, 10);
    uint64_t bytes;

    pattern_fill(data, 0, 4 * MIB);
    pending(asock_send(pair.socket, send));
    pending(asock_receive(pair.socket, receive));
    sync_with_daemon();
    asock_buffer_unref(buffer);
    sync_with_daemon();
    ck_assert_int_eq(inspect_number(fixture.context, "show", "buffers"), 1);
    ck_assert_int_eq(pattern_check(data, 0, 4 * MIB), -1);
    ck_assert_int_eq(asock_cancel(receive), 0);
    expect(receive, ASOCK_OPERATION_ABORTED);
    asock_op_unref(receive);
    asock_op_unref(send);
    asock_socket_unref(pair.socket);
    pair.socket = NULL;
    flush();
    ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, 4 * MIB);
    while (inspect_number(fixture.context, "show", "buffers") != 0)
        sync_with_daemon();
    pair_close(&pair);
}
END_TEST

/*
 * Of an op that lay in a buffer and beside it. It has ended, so the memory beside is the program's
 * to let go, and a new buffer may be where it was before the callback has run: the op has never
 * used that one.
 */
START_TEST(test_s14_buffer_where_other_memory_was)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer = new_buffer(4096), *later;
    char *beside = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct iovec segments[] = {{beside, 10}, {asock_buffer_data(buffer), 10}};
    asock_op *op = new_op_with(NULL, 0);
    int calls = 0;

    ck_assert_ptr_ne(beside, MAP_FAILED);
    ck_assert_int_eq(asock_op_set_buffers(op, segments, 2), 0);
    asock_op_set_callback(op, count_call, &calls);
    pending(asock_receive(pair.socket, op));
    write_pattern(pair.peer, 0, 20);
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    munmap(beside, 4096);
    mapped_at = beside;
    later = new_buffer(4096);
    mapped_at = NULL;
    ck_assert_ptr_eq(asock_buffer_data(later), beside);
    ck_assert_int_eq(calls, 0);
    wait_count(&calls, 1);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    asock_buffer_unref(later);
    while (inspect_number(fixture.context, "show", "buffers") != 0)
        sync_with_daemon();
    pair_close(&pair);
}
END_TEST

/* The daemon's answer is not waited for any more: what it made is given back. */
struct reader {
    asock_socket *socket;
    void *buffer_data;
    int calls;
    uint64_t bytes;
};

/* Receives again, into the same memory. */
static void read_in_place(asock_op *op, void *userdata)
{
    struct reader *reader = userdata;
    size_t n = asock_op_get_bytes(op);

    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    ck_assert_int_eq(pattern_check(reader->buffer_data, reader->bytes, n), -1);
    reader->bytes += n;
    if (++reader->calls < 3)
        pending(asock_receive(reader->socket, op));
}

/*
 * Only the op has it: it stays until the callback has seen what was received, also when that
 * submits again.
 */
START_TEST(test_s14_unref_before_the_callback)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer = new_buffer(4096);
    struct reader reader = {.socket = pair.socket, .buffer_data = asock_buffer_data(buffer)};
    asock_op *op = new_op_with(reader.buffer_data, 4096);
    char data[300];

    pattern_fill(data, 0, sizeof(data));
    ck_assert_int_eq(asock_op_set_callback(op, read_in_place, &reader), 0);
    pending(asock_receive(pair.socket, op));
    asock_buffer_unref(buffer);
    for (int i = 0; i < 3; i++) {
        remote_write(pair.peer, data + 100 * i, 100);
        wait_count(&reader.calls, i + 1);
    }
    ck_assert_uint_eq(reader.bytes, 300);
    sync_with_daemon();
    while (inspect_number(fixture.context, "show", "buffers") != 0)
        ;
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s14_asked_for_in_vain)
{
    asock_buffer *buffer = NULL;
    int64_t made;

    sync_with_daemon();
    private_daemon_freeze(fixture.daemon);
    ck_assert_int_eq(asock_buffer_new(fixture.context, MIB, 20, &buffer), -ETIMEDOUT);
    ck_assert_int_eq(asock_buffer_new(fixture.context, MIB, 0, &buffer), -ETIMEDOUT);
    private_daemon_thaw(fixture.daemon);
    ck_assert_ptr_null(buffer);
    buffer = new_buffer(4096);
    do
        made = inspect_number(fixture.context, "show", "shared");
    while (made == 4096 + (int64_t)MIB);
    ck_assert_int_eq(made, 4096);
    asock_buffer_unref(buffer);
}
END_TEST

START_TEST(test_s14_no_descriptor_left)
{
    struct rlimit before, none;
    asock_buffer *buffer = NULL;
    int next;

    sync_with_daemon();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    next = dup(0);
    close(next);
    none.rlim_cur = (rlim_t)next;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, LIVENESS_MS, &buffer), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    buffer = new_buffer(4096);
    ck_assert_int_eq(inspect_number(fixture.context, "show", "buffers"), 1);
    asock_buffer_unref(buffer);
}
END_TEST

/* Whatever a client does to its memory changes its own bytes. */
START_TEST(test_s14_punched_is_zeros)
{
    struct pair pair = new_pair(AF_INET), quiet = new_pair(AF_INET);
    asock_buffer *buffer = new_buffer(64 * KIB), *other = new_buffer(64 * KIB);
    char *data = asock_buffer_data(buffer), *kept = asock_buffer_data(other);
    asock_op *op = new_op_with(data, 64 * KIB), *quiet_op = new_op_with(kept, 64 * KIB);
    static char got[64 * KIB];

    memset(data, 'x', 64 * KIB);
    pattern_fill(kept, 0, 64 * KIB);
    ck_assert_int_eq(madvise(data, 32 * KIB, MADV_REMOVE), 0);
    pending(asock_send(pair.socket, op));
    pending(asock_send(quiet.socket, quiet_op));
    expect_bytes(op, ASOCK_SUCCESS, 64 * KIB);
    expect_bytes(quiet_op, ASOCK_SUCCESS, 64 * KIB);
    remote_read(pair.peer, got, 64 * KIB);
    for (size_t i = 0; i < 64 * KIB; i++)
        ck_assert_int_eq(got[i], i < 32 * KIB ? 0 : 'x');
    remote_read(quiet.peer, got, 64 * KIB);
    ck_assert_int_eq(pattern_check(got, 0, 64 * KIB), -1);
    asock_op_unref(op);
    asock_op_unref(quiet_op);
    asock_buffer_unref(buffer);
    asock_buffer_unref(other);
    pair_close(&pair);
    pair_close(&quiet);
}
END_TEST

/* Other memory in its place: the daemon still has what it made. */
START_TEST(test_s14_remapped_is_what_it_was)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer = new_buffer(8192);
    char *data = asock_buffer_data(buffer), got[8192];
    asock_op *op = new_op_with(data, 8192);

    memset(data, 'x', 8192);
    ck_assert_ptr_eq(
        mmap(data, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        data);
    memset(data, 'y', 8192);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 8192);
    remote_read(pair.peer, got, 8192);
    for (size_t i = 0; i < 8192; i++)
        ck_assert_int_eq(got[i], i < 4096 ? 'x' : 'y');
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s14_not_in_the_child_of_a_fork)
{
    asock_buffer *buffer = new_buffer(4096);
    void *data = asock_buffer_data(buffer);
    int status;
    pid_t pid;

    memcpy(data, "parent", 6);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        unsigned char there;
        asock_buffer *more;
        bool ok = mincore(data, 4096, &there) < 0 && errno == ENOMEM;

        ok = ok && asock_buffer_new(fixture.context, 1, -1, &more) == -ECHILD;
        asock_buffer_unref(buffer);
        asock_context_unref(fixture.context);
        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_mem_eq(data, "parent", 6);
    asock_buffer_unref(buffer);
}
END_TEST

/* The last reference to a context may be a buffer's. */
START_TEST(test_s14_buffer_keeps_its_context)
{
    asock_buffer *buffer = new_buffer(4096);

    fixture_release_context();
    *(char *)asock_buffer_data(buffer) = 1;
    asock_buffer_unref(buffer);
}
END_TEST
