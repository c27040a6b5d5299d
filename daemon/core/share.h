/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SHARE_H
#define ASOCKD_SHARE_H

/*
 * Who works next: deficit round robin (Shreedhar and Varghese, 1995) over a tree of shares,
 *
 *     all - user - unit - session
 *
 * Readiness only wakes a session's share; share_run() runs the sessions' steps. The time that a
 * step took is charged to the session and to each share above it. A share that has used up its
 * slice goes to the end of the queue of its siblings. So a share that wakes up starts after at most
 * one slice of each other user that has work, however many sessions those have and whatever their
 * requests cost.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/core/histogram.h"

/* Of a share, before its siblings get theirs. */
#define SLICE_NS INT64_C(2000000)
/*
 * Of a turn, before the replies leave and the next poll comes. A slice goes on in the next turn:
 * what a quiet user's step has done does not wait for the slice of whoever comes next.
 */
#define TURN_NS INT64_C(500000)
/* What one step is charged at most. */
#define STEP_NS_MAX (50 * SLICE_NS)
/*
 * Work that is split into steps ends a step after this time; the last thing that it does may take
 * as long again.
 */
#define STEP_NS INT64_C(250000)
/* One wake-up of so many is timed until its step: most requests do not read the clock for it. */
#define WAKES_PER_SAMPLE 16u

struct share {
    struct list node;     /* parent->runnable; unlinked: it has no work */
    struct list runnable; /* of those below it; of a session: always empty */
    struct share *parent; /* NULL: it is the root */
    int64_t left;         /* of its slice, in nanoseconds; below 0: a debt for the next slices */
    bool (*step)(
        struct share *share); /* of a session: does a little of its work; true: there is more */
};

struct shares {
    struct share root;
    uint64_t (*clock)(void); /* nanoseconds */
    uint64_t step_end;       /* of the step that runs */
    struct share *going_on;  /* a session whose slice goes on in the next turn; NULL: none */
    uint32_t turns;          /* for which it has */
    bool must_look;          /* the last request may have been slow: read the clock at once */
    uint32_t wakes;          /* of sessions */
    struct share *sampled;   /* a session that waits for its step since sampled_at; NULL: none */
    uint64_t sampled_at;
    struct histogram waits; /* of those that were sampled */
};

/* clock NULL: CLOCK_MONOTONIC. */
void shares_init(struct shares *shares, uint64_t (*clock)(void));
/* step NULL: it stands above others. */
void share_init(struct share *share, struct share *parent, bool (*step)(struct share *share));
/* It has no more work, nor has anybody below it. Also twice, and of one that is all zeros. */
void share_deinit(struct share *share);
void share_wake(struct share *share);
/* What was done for it outside of its steps. */
void share_charge(struct share *share, uint64_t ns);
/* Runs steps until no share has work, or the time of a turn is over. */
void share_run(struct shares *shares);
/*
 * Did the turn end within this session's slice? It has more work, and the next turn begins with it
 * unless it is charged for more than the rest of the slice.
 */
bool share_goes_on(struct share *share);
/* Is it time to end the present step? */
bool share_step_is_over(const struct shares *shares);
/* The same for many small pieces of work: reads the clock only if is_due, or must_look is set. */
bool share_look(struct shares *shares, bool is_due);
static inline bool share_has_work(const struct shares *shares)
{
    return !list_is_empty(&shares->root.runnable);
}

#endif
