/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker's queues, and that nothing of an object that has ended is in them. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "daemon/core/loop.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

static uint64_t now;

static uint64_t read_clock(void)
{
    return now;
}

struct thing {
    struct task task, flush;
    struct deadline deadline;
    int runs;
};

static void on_task(struct task *task)
{
    container_of(task, struct thing, task)->runs++;
}

static void on_flush(struct task *task)
{
    container_of(task, struct thing, flush)->runs++;
}

static void on_deadline(struct deadline *deadline)
{
    container_of(deadline, struct thing, deadline)->runs++;
}

static void thing_init(struct thing *thing)
{
    thing->runs = 0;
    task_init(&thing->task, on_task);
    task_init(&thing->flush, on_flush);
    deadline_init(&thing->deadline, on_deadline);
}

static void thing_queue(struct worker *w, struct thing *thing)
{
    worker_defer(w, &thing->task);
    worker_flush_later(w, &thing->flush);
    worker_set_deadline(w, &thing->deadline, 1);
}

static void thing_deinit(struct thing *thing)
{
    task_deinit(&thing->task);
    task_deinit(&thing->flush);
    deadline_deinit(&thing->deadline);
}

static void turn(struct worker *w)
{
    now += 10;
    ev_run(w->loop, EVRUN_NOWAIT);
}

START_TEST(test_work_of_an_ended_object_does_not_run)
{
    struct worker w;
    struct thing thing;

    ck_assert_int_eq(worker_init(&w, read_clock), 0);
    thing_init(&thing);
    thing_queue(&w, &thing);
    turn(&w);
    ck_assert_int_eq(thing.runs, 3);

    thing_queue(&w, &thing);
    thing_deinit(&thing);
    turn(&w);
    ck_assert_int_eq(thing.runs, 3);
    worker_deinit(&w);
}
END_TEST

START_TEST(test_an_ended_object_queues_no_work)
{
    struct worker w;
    struct thing thing;

    ck_assert_int_eq(worker_init(&w, read_clock), 0);
    thing_init(&thing);
    thing_deinit(&thing);
    thing_queue(&w, &thing);
    ck_assert(!list_is_linked(&thing.task.node) && !list_is_linked(&thing.flush.node));
    ck_assert(!deadline_is_set(&thing.deadline));
    turn(&w);
    ck_assert_int_eq(thing.runs, 0);
    worker_deinit(&w);
}
END_TEST

/* ---- what is left to be settled ---- */

struct piece {
    struct task task, flush, settle;
    struct deadline deadline;
    struct worker *worker;
    char *order; /* of both */
};

static void note(struct piece *piece, char kind)
{
    piece->order[strlen(piece->order)] = kind;
    if (kind != 's')
        worker_settle_later(piece->worker, &piece->settle);
}

static void on_piece_task(struct task *task)
{
    note(container_of(task, struct piece, task), 't');
}

static void on_piece_flush(struct task *task)
{
    note(container_of(task, struct piece, flush), 'f');
}

static void on_piece_deadline(struct deadline *deadline)
{
    note(container_of(deadline, struct piece, deadline), 'd');
}

static void on_piece_settle(struct task *task)
{
    note(container_of(task, struct piece, settle), 's');
}

START_TEST(test_what_is_left_to_be_settled_runs_before_the_next_piece_of_work)
{
    char order[16] = "";
    struct piece pieces[2];
    struct worker w;

    ck_assert_int_eq(worker_init(&w, read_clock), 0);
    for (int i = 0; i < 2; i++) {
        struct piece *piece = &pieces[i];

        piece->worker = &w;
        piece->order = order;
        task_init(&piece->task, on_piece_task);
        task_init(&piece->flush, on_piece_flush);
        task_init(&piece->settle, on_piece_settle);
        deadline_init(&piece->deadline, on_piece_deadline);
        worker_defer(&w, &piece->task);
        worker_flush_later(&w, &piece->flush);
        worker_set_deadline(&w, &piece->deadline, 1);
        worker_settle_later(&w, &piece->settle); /* as a watcher's callback does */
        worker_settle_later(&w, &piece->settle);
    }
    turn(&w);
    ck_assert_str_eq(order, "ssdsdststsfsfs");
    task_deinit(&pieces[0].settle);
    worker_settle_later(&w, &pieces[0].settle);
    worker_settle(&w);
    ck_assert_str_eq(order, "ssdsdststsfsfs");
    worker_deinit(&w);
}
END_TEST

/* ---- many deadlines that pass at once ---- */

#define CROWD 100

static uint64_t ns;

/* Each look takes a quarter of what a turn has for its deadlines. */
static uint64_t read_ns(void)
{
    return ns += TURN_NS / 4;
}

static bool on_step(struct share *share)
{
    (void)share;
    return true;
}

static int count_runs(const struct thing *things)
{
    int runs = 0;

    for (int i = 0; i < CROWD; i++)
        runs += things[i].runs;
    return runs;
}

/*
 * A turn takes as many as it has time for, each the next ones; nor does it think that it is late
 * because of them.
 */
START_TEST(test_s52_deadlines_that_pass_together_take_turns)
{
    static struct thing things[CROWD];
    struct share busy;
    struct worker w;
    int before = 0, after;

    ck_assert_int_eq(worker_init(&w, read_clock), 0);
    w.shares.clock = read_ns;
    for (int i = 0; i < CROWD; i++) {
        thing_init(&things[i]);
        worker_set_deadline(&w, &things[i].deadline, 1);
    }
    share_init(&busy, &w.shares.root, on_step);
    share_wake(&busy);
    now += 2;
    for (int i = 0; before < CROWD; i++) {
        ck_assert_int_lt(i, CROWD);
        now += 3;
        ev_run(w.loop, EVRUN_NOWAIT);
        after = count_runs(things);
        ck_assert_int_gt(after, before);
        ck_assert_int_le(after - before, 4);
        before = after;
    }
    share_deinit(&busy);
    for (int i = 0; i < CROWD; i++)
        thing_deinit(&things[i]);
    worker_deinit(&w);
}
END_TEST

/* No other share has work: the loop does not sleep before those that are left have run. */
START_TEST(test_deadlines_that_are_left_keep_the_loop_awake)
{
    static struct thing things[CROWD];
    struct worker w;

    ck_assert_int_eq(worker_init(&w, read_clock), 0);
    w.shares.clock = read_ns;
    for (int i = 0; i < CROWD; i++) {
        thing_init(&things[i]);
        worker_set_deadline(&w, &things[i].deadline, 1);
    }
    now += 2;
    while (count_runs(things) < CROWD) {
        ev_run(w.loop, EVRUN_NOWAIT);
        ck_assert(count_runs(things) == CROWD || ev_is_active(&w.idle));
    }
    for (int i = 0; i < CROWD; i++)
        thing_deinit(&things[i]);
    worker_deinit(&w);
}
END_TEST

/* ---- a session that goes in the turn in which its last lingering socket does ---- */

static void fill(struct core *core, uint32_t id)
{
    static char block[256 * 1024];

    for (int i = 0; i < 64 && core->session->queued == 0; i++)
        core_send(core, id, block, sizeof(block), 0);
    ck_assert_uint_gt(core->session->queued, 0);
    /* Whatever becomes free is due to be reported at once. */
    core->session->limits.queued_max = 1024;
}

static void leave(struct core *core)
{
    close(core->client);
    core->client = -1;
    core_settle(core);
    ck_assert(core->session && core->session->has_ended);
}

START_TEST(test_a_linger_that_runs_out_queues_no_work_of_its_session)
{
    struct core *core = core_new();
    int peer = core_connected(core, 1);

    fill(core, 1);
    core_close(core, 1, 1000);
    leave(core);
    core_pass(core, 1000); /* the deadline ends the socket, a task frees the session */
    ck_assert_ptr_null(core->session);
    core_free(core);
    close(peer);
}
END_TEST

START_TEST(test_an_orphaned_linger_that_sends_all_queues_no_work_of_its_session)
{
    static char buf[256 * 1024];
    struct core *core = core_new();
    int peer = core_connected(core, 1), one = 1;

    fill(core, 1);
    core_close(core, 1, 10000);
    leave(core);
    for (int i = 0; i < 1000 && core->session; i++) {
        while (read(peer, buf, sizeof(buf)) > 0)
            ;
        /* An acknowledgement that the kernel delays is sent at once, and looked for. */
        setsockopt(peer, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
        core_pass(core, LINGER_LOOK_MAX_MS);
        ck_assert(!core->session || !list_is_linked(&core->session->report_task.node));
    }
    ck_assert_ptr_null(core->session);
    core_free(core);
    close(peer);
}
END_TEST
