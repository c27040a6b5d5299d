/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_LOOP_H
#define ASOCKD_LOOP_H

/*
 * The worker: one libev loop and everything that lives on it. A turn of the loop is
 *     poll, callbacks of watchers, steps of sessions, expired deadlines, tasks, flushes
 * but one that comes late, with deadlines long overdue, leaves them to the next one, which polls
 * first. What each of them leaves to be settled, because it cannot be done on its stack, runs as
 * soon as it is over. Tasks can wait a little longer: objects to be freed. Flushes come last, so
 * that one write carries a turn's replies.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/wheel.h"
#include "daemon/core/limits.h"
#include "daemon/core/share.h"
#include "daemon/core/stats.h"

struct audit;
struct policy;
struct quota;
struct resolver;
struct apart;
struct hangups;
struct subids;
struct services;
struct inspect_ops;
struct chunk;
struct connect;
struct slice;
struct learn;
struct client_log;
struct reload;

/*
 * Work of an object that the worker has queued. The object's destructor ends each of its tasks with
 * task_deinit() and each of its deadlines with deadline_deinit(): what was queued is cancelled, and
 * nothing can queue it again. So the worker never runs work of an object that has gone, whatever is
 * still called on the object before its memory is freed. tests/gates/lifetimes.gate looks for them.
 */
struct task {
    struct list node;
    void (*run)(struct task *task); /* NULL: it has ended */
};

struct deadline {
    struct wheel_timer timer;
    void (*expired)(struct deadline *deadline); /* NULL: it has ended */
};

struct spare_ops {
    struct list ops; /* struct op */
    uint32_t count;
};

/* What a session may be granted. */
struct limits {
    uint32_t sockets, ops, socket_ops;
    uint64_t send_window, queued_max;
    uint64_t shared_max;          /* bytes of shared memory */
    uint32_t buffers;             /* pieces of it */
    uint32_t lingers;             /* sockets whose close goes on */
    uint32_t lookups;             /* questions to the resolver */
    uint32_t connects_per_second; /* 0: any number */
    uint64_t kernel_max;          /* bytes that buffers in the kernel may grow to */
};

extern const struct limits limits_default;

/* Bytes, by the kernel's own count; 0 is not charged. */
struct netsock_buffers {
    uint64_t send_auto, receive_auto;                /* what autotuning may take */
    uint64_t send_most, receive_most, receive_start; /* what may be set; what it begins with */
    uint64_t datagram_send, datagram_receive; /* of a datagram socket whose sizes are not set */
};

struct worker {
    struct ev_loop *loop;
    struct ev_prepare prepare;
    struct ev_idle idle;
    struct ev_io timer;   /* of a timerfd: libev would set and unset a timer for each wait */
    uint64_t timer_until; /* when that fires; 0: it is not set */

    uint64_t (*clock)(void); /* milliseconds, monotonic; tests hand in their own */
    uint64_t now, started;   /* of this turn; of the worker */
    struct wheel wheel;
    bool is_late;       /* this turn leaves the deadlines to the next one */
    bool has_due;       /* the last one had no time for all of them */
    uint64_t last_turn; /* its time */
    unsigned int late_turns;

    struct shares shares;  /* of the sessions' work */
    struct share controls; /* of control sessions, all together: as much as one user */
    struct list settles, tasks, flushes;
    struct list sessions, session_walks; /* struct session; struct walk through them */
    struct list drains, drain_walks;     /* struct sock without a session; likewise */
    struct list unwatched_drains;        /* of them, those that are not watched yet */
    uint32_t drain_count, without; /* the second: heuristics that are off (session/latency.h) */
    uint64_t next_id;              /* of sessions and sockets, for people: never used twice */
    uint64_t token_keys[2];        /* random: of the sessions' tables of tokens */

    struct netsock_buffers buffers; /* of a network socket */
    uint32_t fds_used, fds_max; /* of network sockets, buffers, status pages and shared listeners */
    uint32_t buffer_count, status_count, shared_listener_count;

    struct spare_ops spare_ops, spare_small_ops;
    struct list spare_deadlines; /* struct op_deadline */
    struct chunk *spare_chunks[CHUNK_ORDERS];
    uint32_t spare_chunk_bytes, spare_deadline_count;
    struct slice *spare_slices;
    uint32_t spare_slice_count;
    struct connect *spare_connect; /* memory of one, for the next (verbs/connect_memory.c) */
    void *blocks[IO_BLOCKS_KEPT], *small_blocks[IO_BLOCKS_KEPT];
    unsigned int block_count, small_block_count;

    struct limits limits;
    uint32_t hello_ms;   /* until which a session has to say Hello */
    struct quota *quota; /* the daemon's own; without limits to begin with */
    struct policy *policy;
    uint64_t policy_changes; /* number of reloads so far */
    struct subids *subids;   /* NULL: no user id is subordinate */
    struct resolver *resolver;
    struct hangups *hangups;   /* watches for connections that are over; NULL: none is watched */
    struct emptier *emptier;   /* NULL: the loop empties shared memory */
    struct apart *apart;       /* watches lent sockets; NULL: libev watches them */
    struct services *services; /* NULL: ports are numbers */
    struct audit *audit;       /* NULL: none */
    const struct inspect_ops *inspect; /* answers LIST, SHOW, STATS */
    struct sharing *sharing;           /* makes listeners for SHARE; NULL: SHARE is refused */
    struct take_over *take_over;       /* hands everything over; NULL: TAKE_OVER is refused */
    struct client_log *client_log;     /* NULL: each line for itself */
    struct learn *learn;               /* what learn mode let pass; NULL: not recorded */
    struct recent *recent;             /* what was denied lately; NULL: likewise */
    struct rule_counts *rule_counts;   /* connects by rule; NULL: likewise */
    struct monitor *monitor;           /* for MONITOR; NULL: MONITOR is refused */
    struct reload *reload;             /* NULL: reload is not possible */
    struct stats stats;
    struct histogram turns;          /* the work of each between two polls, but for its watchers */
    bool is_stopping, is_completing; /* the second: complete() is on the stack */
};

/* clock NULL: CLOCK_MONOTONIC. 0 or -errno. */
int worker_init(struct worker *w, uint64_t (*clock)(void));
/* Asserts that no session is left, nor work of anything. Accepts a worker whose init failed. */
void worker_deinit(struct worker *w);
void worker_run(struct worker *w);
void worker_stop(struct worker *w); /* worker_run returns after this turn */
/* Network sockets that are open. */
static inline uint32_t worker_sockets(const struct worker *w)
{
    return w->fds_used - w->buffer_count - w->status_count - w->shared_listener_count;
}

static inline void task_init(struct task *task, void (*run)(struct task *task))
{
    list_init(&task->node);
    task->run = run;
}

/*
 * Runs in this turn's task phase, or in the next turn when called from a task. Once, if set twice.
 */
void worker_defer(struct worker *w, struct task *task);
void worker_flush_later(struct worker *w, struct task *task);
/*
 * Runs when worker_settle() is called: at the end of each piece of work, which it is to be over
 * with.
 */
void worker_settle_later(struct worker *w, struct task *task);
void worker_settle(struct worker *w);
static inline void task_cancel(struct task *task)
{
    list_remove(&task->node);
}
/* Cancelled; setting it again does nothing. */
static inline void task_deinit(struct task *task)
{
    task_cancel(task);
    task->run = NULL;
}

static inline void deadline_init(struct deadline *d, void (*expired)(struct deadline *d))
{
    wheel_timer_init(&d->timer);
    d->expired = expired;
}
static inline bool deadline_is_set(const struct deadline *d)
{
    return wheel_timer_is_set(&d->timer);
}
void worker_set_deadline(struct worker *w, struct deadline *d, uint64_t ms_from_now);
static inline void deadline_unset(struct deadline *d)
{
    wheel_timer_unset(&d->timer);
}
/* Unset; setting it again does nothing. */
static inline void deadline_deinit(struct deadline *d)
{
    deadline_unset(d);
    d->expired = NULL;
}

/* A block of IO_BLOCK bytes, charged; NULL: no memory, or none left for `quota`. */
void *worker_block_get(struct worker *w, struct quota *quota);
/*
 * The same where nothing goes on without it: if there is no room for it, one session of a user has
 * one all the same. A quota's limits may be so small, or its memory so much promised, that none
 * would ever be had.
 */
void *worker_block_get_last(struct worker *w, struct quota *quota);
void worker_block_put(struct worker *w, struct quota *quota, void *block);
/* The same of IO_SMALL bytes. */
void *worker_small_block_get(struct worker *w);
void worker_small_block_put(struct worker *w, void *block);

#endif
