/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/share.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/time.h"

void shares_init(struct shares *shares, uint64_t (*clock)(void))
{
    memset(shares, 0, sizeof(*shares));
    share_init(&shares->root, NULL, NULL);
    shares->clock = clock ? clock : time_now_ns;
}

void share_init(struct share *share, struct share *parent, bool (*step)(struct share *share))
{
    list_init(&share->node);
    list_init(&share->runnable);
    share->parent = parent;
    share->left = SLICE_NS;
    share->step = step;
}

static bool has_work(const struct share *share)
{
    return !list_is_empty(&share->runnable);
}

static struct shares *shares_of(struct share *share)
{
    while (share->parent)
        share = share->parent;
    return container_of(share, struct shares, root);
}

/* ---- samples of the time in the queue ---- */

static void sample_begin(struct share *share)
{
    struct shares *shares = shares_of(share);

    if (shares->wakes++ % WAKES_PER_SAMPLE != 0 || shares->sampled)
        return;
    shares->sampled = share;
    shares->sampled_at = shares->clock();
}

static void sample_end(struct shares *shares, const struct share *share, uint64_t now)
{
    if (shares->sampled != share)
        return;
    shares->sampled = NULL;
    histogram_add(&shares->waits, now - shares->sampled_at);
}

/* ---- the queues ---- */

/* Out of its parent's queue; a parent that has no other work leaves its own. */
static void sleep_share(struct share *share)
{
    for (; share->parent && list_is_linked(&share->node); share = share->parent) {
        list_remove(&share->node);
        if (has_work(share->parent))
            return;
    }
}

static void forget(struct shares *shares, const struct share *share)
{
    if (shares->sampled == share)
        shares->sampled = NULL;
    if (shares->going_on == share)
        shares->going_on = NULL;
}

void share_deinit(struct share *share)
{
    if (!share->node.next)
        return;
    assert(!has_work(share));
    if (list_is_linked(&share->node))
        forget(shares_of(share), share);
    sleep_share(share);
    share->step = NULL;
}

void share_wake(struct share *share)
{
    if (share->parent && !share->step && !has_work(share))
        return; /* it has ended */
    if (share->step && !list_is_linked(&share->node))
        sample_begin(share);
    for (; share->parent && !list_is_linked(&share->node); share = share->parent) {
        /* A slice of its own; what it owes stays. */
        share->left = share->left < 0 ? share->left + SLICE_NS : SLICE_NS;
        list_append(&share->parent->runnable, &share->node);
    }
}

static void to_the_end(struct share *share)
{
    list_remove(&share->node);
    list_append(&share->parent->runnable, &share->node);
}

static struct share *next_of(struct share *share)
{
    struct share *first;

    while ((first = list_first(&share->runnable, struct share, node))->left <= 0) {
        first->left += SLICE_NS;
        to_the_end(first);
    }
    return first;
}

static struct share *next_leaf(struct shares *shares)
{
    struct share *share = &shares->root;

    while (has_work(share))
        share = next_of(share);
    return share;
}

/*
 * If the daemon was stopped or starved within a step, that time looks like the step's own. The
 * limit keeps the session from paying for all of it.
 */
void share_charge(struct share *share, uint64_t ns)
{
    if (ns > STEP_NS_MAX)
        ns = STEP_NS_MAX;
    for (; share->parent; share = share->parent)
        share->left -= (int64_t)ns;
}

static bool has_slice_left(const struct share *share)
{
    for (; share->parent; share = share->parent)
        if (share->left <= 0)
            return false;
    return true;
}

void share_run(struct shares *shares)
{
    uint64_t now = shares->clock(), end = now + TURN_NS;
    const struct share *went_on = shares->going_on;

    shares->going_on = NULL;
    while (share_has_work(shares) && now < end) {
        struct share *share = next_leaf(shares);
        uint64_t before = now;
        bool has_more;

        sample_end(shares, share, now);
        shares->step_end = now + STEP_NS;
        has_more = share->step(share);
        now = shares->clock();
        share_charge(share, now - before);
        if (!has_more)
            sleep_share(share);
        else if (now >= end && has_slice_left(share))
            shares->going_on = share;
    }
    /* With nobody else at work, a slice begins within the turn in which the one before it ends. */
    shares->turns = shares->going_on && shares->going_on == went_on ? shares->turns + 1 : 1;
    if (shares->turns >= SLICE_NS / TURN_NS)
        shares->going_on = NULL;
}

bool share_goes_on(struct share *share)
{
    return shares_of(share)->going_on == share;
}

bool share_step_is_over(const struct shares *shares)
{
    return shares->clock() >= shares->step_end;
}

bool share_look(struct shares *shares, bool is_due)
{
    is_due |= shares->must_look;
    shares->must_look = false;
    return is_due && share_step_is_over(shares);
}
