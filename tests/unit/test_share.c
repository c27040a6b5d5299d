/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shares of the loop's time, by a clock that each step moves: counted in slices, not timed. */
#include <check.h>
#include <string.h>

#include "daemon/core/share.h"
#include "tests/lib/suite.h"

#define US UINT64_C(1000)

static uint64_t now;

static uint64_t read_clock(void)
{
    return now;
}

struct worker_share {
    struct share share;
    uint64_t cost; /* of a step */
    uint64_t spent;
    int left; /* steps to do; < 0: without end */
};

static bool on_step(struct share *share)
{
    struct worker_share *w = container_of(share, struct worker_share, share);

    now += w->cost;
    w->spent += w->cost;
    if (w->left > 0)
        w->left--;
    return w->left != 0;
}

static void session_init(struct worker_share *w, struct share *above, uint64_t cost, int steps)
{
    memset(w, 0, sizeof(*w));
    share_init(&w->share, above, on_step);
    w->cost = cost;
    w->left = steps;
    share_wake(&w->share);
}

/* Runs turns of the loop until no share has work, or so many; returns how many. */
static int turns(struct shares *shares, int most)
{
    int n = 0;

    while (n < most && share_has_work(shares)) {
        share_run(shares);
        n++;
    }
    return n;
}

/* However many sessions each of the others has, and however dear their requests are. */
START_LOOP_TEST(test_s52_a_quiet_user_waits_for_one_slice_of_each_other, 0, 3)
{
    static const uint64_t costs[] = {1 * US, 400 * US, 20000 * US};
    static struct worker_share sessions[5][100];
    struct worker_share quiet;
    struct share users[5], user;
    struct shares shares;
    uint64_t woken;

    shares_init(&shares, read_clock);
    share_init(&user, &shares.root, NULL);
    for (int u = 0; u < 5; u++) {
        share_init(&users[u], &shares.root, NULL);
        for (int i = 0; i < 100; i++)
            session_init(&sessions[u][i], &users[u], costs[_i], -1);
    }
    turns(&shares, 200);
    for (int round = 0; round < 20; round++) {
        woken = now;
        session_init(&quiet, &user, 1 * US, 1);
        while (quiet.left > 0)
            share_run(&shares);
        ck_assert_uint_le(now - woken, 5 * ((uint64_t)SLICE_NS + costs[_i]) + SLICE_NS);
        share_deinit(&quiet.share);
    }
}
END_TEST

/*
 * One user has as much as another, one unit as another of its user, one session as another of its
 * unit.
 */
START_TEST(test_s52_users_then_units_then_sessions)
{
    struct worker_share many[30], two[2], one;
    struct share users[2], units[2];
    uint64_t spent[3] = {0}, least = UINT64_MAX, most = 0;
    struct shares shares;

    shares_init(&shares, read_clock);
    for (int i = 0; i < 2; i++)
        share_init(&users[i], &shares.root, NULL);
    for (int i = 0; i < 2; i++)
        share_init(&units[i], &users[0], NULL);
    for (int i = 0; i < 30; i++)
        session_init(&many[i], &units[0], (10 + 10 * (uint64_t)i) * US, -1); /* cheap and dear */
    for (int i = 0; i < 2; i++)
        session_init(&two[i], &units[1], 5 * US, -1);
    session_init(&one, &users[1], 100 * US, -1);
    turns(&shares, 12000);
    for (int i = 0; i < 30; i++) {
        spent[0] += many[i].spent;
        least = many[i].spent < least ? many[i].spent : least;
        most = many[i].spent > most ? many[i].spent : most;
    }
    spent[1] = two[0].spent + two[1].spent;
    spent[2] = one.spent;
    ck_assert_uint_gt(10 * (spent[0] + spent[1]), 9 * spent[2]);
    ck_assert_uint_lt(9 * (spent[0] + spent[1]), 10 * spent[2]);
    ck_assert_uint_gt(10 * spent[0], 9 * spent[1]);
    ck_assert_uint_lt(9 * spent[0], 10 * spent[1]);
    ck_assert_uint_gt(10 * least, 9 * most);
}
END_TEST

/*
 * A slice lasts for some turns: in between replies leave, also those of a session that came before,
 * and the sockets are looked at.
 */
START_TEST(test_s52_a_turn_ends_within_a_slice)
{
    struct worker_share sessions[2], quiet;
    struct share users[2], user;
    struct shares shares;
    uint64_t before;

    shares_init(&shares, read_clock);
    share_init(&user, &shares.root, NULL);
    session_init(&quiet, &user, 1 * US, 1);
    for (int i = 0; i < 2; i++) {
        share_init(&users[i], &shares.root, NULL);
        session_init(&sessions[i], &users[i], 100 * US, -1);
    }
    before = now;
    share_run(&shares);
    ck_assert_int_eq(quiet.left, 0);
    ck_assert_uint_le(now - before, SLICE_NS / 4 + 100 * US);
    while (sessions[1].spent == 0) {
        ck_assert_uint_le(sessions[0].spent, (uint64_t)SLICE_NS);
        before = now;
        share_run(&shares);
        ck_assert_uint_le(now - before, SLICE_NS / 4 + 100 * US);
    }
    ck_assert_uint_eq(sessions[0].spent, (uint64_t)SLICE_NS);
}
END_TEST

/*
 * Only the session whose slice the end of a turn interrupts goes on, and not beyond the slice: its
 * replies wait for that, and nobody else's do.
 */
START_TEST(test_s52_only_who_is_interrupted_goes_on)
{
    struct worker_share sessions[2], quiet;
    struct share users[2], user;
    struct shares shares;
    int turn;

    shares_init(&shares, read_clock);
    share_init(&user, &shares.root, NULL);
    session_init(&quiet, &user, 1 * US, 1);
    for (int i = 0; i < 2; i++) {
        share_init(&users[i], &shares.root, NULL);
        session_init(&sessions[i], &users[i], 100 * US, i == 0 ? -1 : 8);
    }
    for (turn = 0; sessions[1].spent == 0; turn++) {
        share_run(&shares);
        ck_assert(!share_goes_on(&quiet.share));
        ck_assert(!share_goes_on(&sessions[1].share) || sessions[1].spent > 0);
        ck_assert(share_goes_on(&sessions[0].share) == (sessions[0].spent < (uint64_t)SLICE_NS));
    }
    ck_assert_int_gt(turn, 2);
    while (sessions[1].left > 0)
        share_run(&shares);
    ck_assert(!share_goes_on(&sessions[1].share));
    while (!share_goes_on(&sessions[0].share))
        share_run(&shares);
    share_deinit(&sessions[0].share);
    ck_assert(!share_goes_on(&sessions[0].share));
}
END_TEST

/* Who works alone has one slice after the other: what waits leaves when each of them is over. */
START_TEST(test_s52_a_slice_that_ends_within_a_turn_is_over)
{
    static const uint64_t steps[] = {3 * US, 5 * US, 7 * US, 37 * US};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct worker_share session;
        struct share user;
        struct shares shares;
        uint64_t left = 0;

        shares_init(&shares, read_clock);
        share_init(&user, &shares.root, NULL);
        session_init(&session, &user, steps[i], -1);
        for (int turn = 0; turn < 10000; turn++) {
            share_run(&shares);
            if (!share_goes_on(&session.share))
                left = session.spent;
            ck_assert_uint_le(session.spent - left, 2 * (uint64_t)SLICE_NS);
        }
        share_deinit(&session.share);
        share_deinit(&user);
    }
}
END_TEST

/* What a step took too long is paid off before the next ones. */
START_TEST(test_who_overdraws_waits_for_it)
{
    struct worker_share dear, cheap;
    struct share users[2];
    struct shares shares;

    shares_init(&shares, read_clock);
    for (int i = 0; i < 2; i++)
        share_init(&users[i], &shares.root, NULL);
    session_init(&dear, &users[0], 20000 * US, -1);
    session_init(&cheap, &users[1], 10 * US, -1);
    turns(&shares, 1000);
    ck_assert_uint_lt(dear.spent, cheap.spent + 2 * 20000 * US);
    ck_assert_uint_lt(cheap.spent, dear.spent + 2 * 20000 * US);
}
END_TEST

START_TEST(test_who_has_ended_does_not_work)
{
    struct worker_share session;
    struct share user;
    struct shares shares;

    shares_init(&shares, read_clock);
    share_init(&user, &shares.root, NULL);
    session_init(&session, &user, 10 * US, 3);
    share_deinit(&session.share);
    share_wake(&session.share);
    ck_assert(!share_has_work(&shares));
    share_run(&shares);
    ck_assert_uint_eq(session.spent, 0);
    share_deinit(&user);
}
END_TEST

/*
 * A daemon that was stopped within a step cannot tell: whoever had it does not pay for all of that.
 */
START_TEST(test_s52_a_step_that_slept_costs_little)
{
    struct worker_share sleeper, other;
    struct share users[2];
    struct shares shares;

    shares_init(&shares, read_clock);
    for (int i = 0; i < 2; i++)
        share_init(&users[i], &shares.root, NULL);
    session_init(&sleeper, &users[0], US * 3600 * 1000000, -1);
    share_run(&shares);
    ck_assert_uint_eq(sleeper.spent, sleeper.cost);
    sleeper.cost = 10 * US;
    sleeper.spent = 0;
    session_init(&other, &users[1], 10 * US, -1);
    for (int i = 0; i < 100000 && sleeper.spent == 0; i++)
        share_run(&shares);
    ck_assert_uint_gt(sleeper.spent, 0);
    ck_assert_uint_ge(other.spent, (uint64_t)STEP_NS_MAX / 2); /* for that it does */
    ck_assert_uint_le(other.spent, (uint64_t)(STEP_NS_MAX + 2 * SLICE_NS));
}
END_TEST

/* What was done for somebody outside of his steps. */
START_TEST(test_s52_what_is_charged_is_paid_off)
{
    struct worker_share rich, poor;
    struct share users[2];
    struct shares shares;

    shares_init(&shares, read_clock);
    for (int i = 0; i < 2; i++)
        share_init(&users[i], &shares.root, NULL);
    session_init(&poor, &users[0], 10 * US, -1);
    session_init(&rich, &users[1], 10 * US, -1);
    share_charge(&poor.share, 10 * (uint64_t)SLICE_NS);
    turns(&shares, 100);
    ck_assert_uint_ge(rich.spent, poor.spent + 9 * (uint64_t)SLICE_NS);
    ck_assert_uint_le(rich.spent, poor.spent + 11 * (uint64_t)SLICE_NS);
}
END_TEST

/*
 * The first wake-up is timed, until its step and not until the end of it; a session that ends
 * meanwhile is forgotten.
 */
START_TEST(test_the_time_in_the_queue_is_sampled)
{
    struct shares shares;
    struct share user;
    struct worker_share first, second;
    uint64_t count = 0;

    now = 1;
    shares_init(&shares, read_clock);
    share_init(&user, &shares.root, NULL);
    session_init(&first, &user, 400 * US, 1);
    now += 3000 * US;
    session_init(&second, &user, 400 * US, 1);
    turns(&shares, 10);
    ck_assert_uint_eq(shares.waits.sum_us, 3000);
    for (unsigned int i = 0; i <= HISTOGRAM_BOUNDS; i++)
        count += shares.waits.counts[i];
    ck_assert_uint_eq(count, 1);

    for (unsigned int i = 2; i < WAKES_PER_SAMPLE; i++) {
        share_wake(&first.share);
        turns(&shares, 10);
    }
    ck_assert_ptr_null(shares.sampled);
    share_wake(&first.share);
    ck_assert_ptr_eq(shares.sampled, &first.share);
    share_deinit(&first.share);
    ck_assert_ptr_null(shares.sampled);
    share_wake(&second.share);
    turns(&shares, 10);
    ck_assert_uint_eq(shares.waits.sum_us, 3000);
    share_deinit(&second.share);
    share_deinit(&user);
}
END_TEST
