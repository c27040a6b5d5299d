/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A state is written and read while one call after the other fails. The error is the right one, and
 * never says that the state is damaged: the old process continues, and a next one may have more
 * memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/policy/learn.h"
#include "daemon/session/session_end.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/fault.h"
#include "tests/unit/state_parts.h"

static const enum fault_call calls[] = {FAULT_MALLOC,       FAULT_CALLOC,    FAULT_REALLOC,
                                        FAULT_MEMFD_CREATE, FAULT_FALLOCATE, FAULT_MMAP};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* The sealed memfd, or -errno. */
static int save(const struct core *core, int lock)
{
    struct state_writer w;
    int r = state_writer_init(&w);

    if (r == 0) {
        state_save_daemon(&w, &core->worker, lock, 0, 1);
        state_save_session(&w, core->session);
        r = state_seal(&w);
    }
    state_writer_deinit(&w);
    return r;
}

/* What there is to save: a connection with ops that wait, an attempt, a drain, what was learned. */
static int fill(struct core *core)
{
    static const uint8_t data[100];
    const struct learn_past past = {.count = 1, .host = "example.org", .file = ""};
    int peer = core_connected(core, 1);

    core_receive(core, 1, 100, 0, 3000);
    core_open(core, 2);
    core_connect(core, 2, core_hole(core));
    core_send(core, 2, data, sizeof(data), 0);
    core_connected(core, 3);
    core_close(core, 3, 0);
    core_settle(core);
    ck_assert_uint_eq(core->worker.drain_count, 1);
    core->worker.learn = learn_new();
    ck_assert_int_eq(learn_restore(core->worker.learn, &past), 0);
    ck_assert(state_carries(core->session));
    return peer;
}

START_LOOP_TEST(test_no_memory_while_it_is_written, 0, CALLS)
{
    struct core *core = core_new();
    int peer = fill(core), lock = memfd_create("lock", 0), n = 0, r;
    int descriptors = fault_descriptors();
    long blocks = fault_blocks();
    uint64_t token;

    do {
        fault_arm(FAULT_DAEMON, calls[_i], n++);
        fault_enter(FAULT_DAEMON);
        r = save(core, lock);
        fault_enter(FAULT_NOBODY);
        ck_assert_msg((r >= 0) == !fault_was_hit(), "%s: %d", fault_describe(), r);
        if (r >= 0)
            close(r);
        ck_assert_msg(fault_blocks() == blocks, "%s", fault_describe());
        ck_assert_msg(fault_descriptors() == descriptors, "%s", fault_describe());
    } while (fault_was_hit());
    ck_assert_int_gt(n, 1);
    /* Nothing of the session has changed. */
    token = core_receive(core, 1, 5, 0, 0);
    ck_assert_int_eq(write(peer, "hello", 5), 5);
    core_settle(core);
    ck_assert(state_carries(core->session));
    ck_assert_ptr_nonnull(session_find_op(core->session, token));
    close(lock);
    close(peer);
    core->worker.learn = learn_free(core->worker.learn);
    core_free(core);
}
END_TEST

/* One whose client has not fetched a descriptor is in the record of the daemon. */
START_LOOP_TEST(test_no_memory_while_an_ended_session_is_written, 0, CALLS)
{
    struct core *core = core_new();
    int lock = memfd_create("lock", 0), n = 0, r;
    int descriptors;
    long blocks;

    core_lend(core);
    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(core);
    descriptors = fault_descriptors();
    blocks = fault_blocks();
    do {
        struct state_writer w;
        uint32_t count;

        fault_arm(FAULT_DAEMON, calls[_i], n++);
        fault_enter(FAULT_DAEMON);
        r = state_writer_init(&w);
        if (r == 0) {
            state_save_daemon(&w, &core->worker, lock, 0, 0);
            r = state_seal(&w);
        }
        count = r < 0 ? 0 : w.descriptor_count;
        state_writer_deinit(&w);
        fault_enter(FAULT_NOBODY);
        ck_assert_uint_eq(count, r < 0 ? 0 : 2); /* the lock, and the connection */
        ck_assert_msg((r >= 0) == !fault_was_hit(), "%s: %d", fault_describe(), r);
        if (r >= 0)
            close(r);
        ck_assert_msg(fault_blocks() == blocks, "%s", fault_describe());
        ck_assert_msg(fault_descriptors() == descriptors, "%s", fault_describe());
    } while (fault_was_hit());
    ck_assert(n > 1 || calls[_i] == FAULT_CALLOC); /* of larger pieces only */
    close(lock);
    core_free(core);
}
END_TEST

/* In a process of its own, which ends as the daemon does then: 0, or the -errno of the failure. */
static int restore(enum fault_call call, int n, bool is_ended, bool *ret_hit)
{
    pid_t pid = fork();
    int status = 0;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct state_writer w;
        const uint8_t *data;
        struct parts p;
        struct taker t;
        size_t len;
        int r;

        parts_fill(&p);
        taker_prepare(&t);
        if (is_ended) {
            p.session.sockets = 0;
            p.session.lent_unread = 1;
            parts_write_ended(&p, &w);
        } else {
            parts_fill_format_2(&p);
            parts_fill_format_3(&p);
            parts_fill_format_4(&p);
            parts_write(&p, &w);
            taker_make_history(&t);
            taker_make_format(&t, 4);
        }
        state_finish(&w, &data, &len);
        fault_arm(FAULT_DAEMON, call, n);
        fault_enter(FAULT_DAEMON);
        r = taker_take(&t, data, len);
        fault_enter(FAULT_NOBODY);
        _exit((r == 0 ? 0 : r == -ENOMEM ? 1 : 2) + (fault_was_hit() ? 4 : 0));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "call %d of %s: signal %d", n, fault_call_name(call),
                  WTERMSIG(status));
    *ret_hit = WEXITSTATUS(status) & 4;
    return (WEXITSTATUS(status) & 3) == 0 ? 0 : (WEXITSTATUS(status) & 3) == 1 ? -ENOMEM : -EBADMSG;
}

START_LOOP_TEST(test_no_memory_while_it_is_read, 0, 6)
{
    bool is_hit = true;
    int n = 0;

    while (is_hit) {
        int r = restore(calls[_i % 3], n, _i >= 3, &is_hit);

        ck_assert_msg(r == (is_hit ? -ENOMEM : 0), "call %d of %s: %d", n,
                      fault_call_name(calls[_i % 3]), r);
        n++;
    }
    ck_assert_int_gt(n, 1);
}
END_TEST
