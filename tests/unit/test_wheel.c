/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "base/wheel.h"

#include <stdlib.h>

#define TIMERS 300

struct item {
    struct wheel_timer timer;
    bool is_waiting;
};

START_TEST(test_empty_wheel_never_wakes)
{
    static struct wheel wheel;

    asock_wheel_init(&wheel, 1000);
    ck_assert_int_eq(asock_wheel_next(&wheel, 1000), -1);
    ck_assert_ptr_null(asock_wheel_pop(&wheel, UINT64_C(1) << 40));
}
END_TEST

START_TEST(test_a_passed_deadline_is_due_at_once)
{
    static struct wheel wheel;
    struct wheel_timer timer;

    asock_wheel_init(&wheel, 1000);
    wheel_timer_init(&timer);
    asock_wheel_set(&wheel, &timer, 500);
    ck_assert_int_eq(asock_wheel_next(&wheel, 1000), 0);
    ck_assert_ptr_eq(asock_wheel_pop(&wheel, 1000), &timer);
    ck_assert(!wheel_timer_is_set(&timer));
    ck_assert_ptr_null(asock_wheel_pop(&wheel, 1000));
}
END_TEST

START_TEST(test_a_timer_can_be_moved_and_unset)
{
    static struct wheel wheel;
    struct wheel_timer timer;

    asock_wheel_init(&wheel, 0);
    wheel_timer_init(&timer);
    asock_wheel_set(&wheel, &timer, 10);
    asock_wheel_set(&wheel, &timer, 100000);
    ck_assert_ptr_null(asock_wheel_pop(&wheel, 99999));
    ck_assert_ptr_eq(asock_wheel_pop(&wheel, 100000), &timer);
    asock_wheel_set(&wheel, &timer, 100001);
    wheel_timer_unset(&timer);
    ck_assert_ptr_null(asock_wheel_pop(&wheel, 200000));
}
END_TEST

START_TEST(test_nobody_wakes_up_for_a_timer_that_was_unset)
{
    static struct wheel wheel;
    struct wheel_timer gone[3], left;

    asock_wheel_init(&wheel, 7);
    wheel_timer_init(&left);
    for (unsigned int i = 0; i < 3; i++) {
        wheel_timer_init(&gone[i]);
        asock_wheel_set(&wheel, &gone[i], 9 + i * 60);
    }
    asock_wheel_set(&wheel, &left, 40);
    for (unsigned int i = 0; i < 3; i++)
        wheel_timer_unset(&gone[i]);
    ck_assert_int_eq(asock_wheel_next(&wheel, 7), 33);
    wheel_timer_unset(&left);
    ck_assert_int_eq(asock_wheel_next(&wheel, 7), -1);
    ck_assert(wheel_is_empty(&wheel));
}
END_TEST

/* Deadlines that fall onto every level, and beyond the last. */
static uint64_t some_deadline(int i, uint64_t now)
{
    static const uint64_t spans[] = {70, 5000, 300000, 20000000, UINT64_C(400000000)};

    return now + (uint64_t)rand() % spans[i % 5];
}

static int pop_all(struct wheel *wheel, uint64_t now)
{
    struct wheel_timer *timer;
    int n = 0;

    while ((timer = asock_wheel_pop(wheel, now))) {
        struct item *item = container_of(timer, struct item, timer);

        ck_assert(item->is_waiting);
        ck_assert_uint_le(timer->deadline, now);
        item->is_waiting = false;
        n++;
    }
    return n;
}

static void check_none_missed(const struct item *items, uint64_t now)
{
    for (int i = 0; i < TIMERS; i++)
        if (items[i].is_waiting)
            ck_assert_uint_gt(items[i].timer.deadline, now);
}

/* Neither late nor twice, whether the caller sleeps as long as it may or oversleeps. */
START_LOOP_TEST(test_random_timers_expire_once_and_in_time, 0, 20)
{
    static struct wheel wheel;
    static struct item items[TIMERS];
    uint64_t now;
    int left = TIMERS;

    srand((unsigned int)_i + 1);
    now = (uint64_t)rand() * (uint64_t)(_i + 1);
    asock_wheel_init(&wheel, now);
    for (int i = 0; i < TIMERS; i++) {
        wheel_timer_init(&items[i].timer);
        items[i].is_waiting = true;
        asock_wheel_set(&wheel, &items[i].timer, some_deadline(i, now));
    }
    while (left > 0) {
        int64_t next = asock_wheel_next(&wheel, now);

        ck_assert_int_ge(next, 0);
        for (int i = 0; i < TIMERS; i++)
            ck_assert(!items[i].is_waiting || items[i].timer.deadline <= now ||
                      items[i].timer.deadline >= now + (uint64_t)next);
        now += (uint64_t)next + (rand() % 3 == 0 ? (uint64_t)rand() % 1000 : 0);
        left -= pop_all(&wheel, now);
        check_none_missed(items, now);
    }
    ck_assert_int_eq(asock_wheel_next(&wheel, now), -1);
}
END_TEST
