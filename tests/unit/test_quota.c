/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "daemon/core/quota.h"
#include "daemon/core/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct quota *daemon_of(uint64_t most)
{
    struct quota *q = quota_new();

    for (int i = 0; i < QUOTA_RESOURCES; i++)
        quota_limit(q, (enum quota_resource)i, most);
    return q;
}

static uint64_t used(const struct quota *q)
{
    return quota_usage(q, QUOTA_OPS).used;
}

/* What q can still charge, found by trying: exactly so much, and not one more. */
static uint64_t fill(struct quota *q)
{
    uint64_t room = quota_room(q, QUOTA_OPS);

    ck_assert_int_eq(quota_charge(q, QUOTA_OPS, room + 1), -EDQUOT);
    ck_assert_int_eq(quota_charge(q, QUOTA_OPS, room), 0);
    ck_assert_int_eq(quota_charge(q, QUOTA_OPS, 1), -EDQUOT);
    return room;
}

static void empty(struct quota *q)
{
    quota_uncharge(q, QUOTA_OPS, used(q));
}

START_TEST(test_half_of_what_is_left_at_each_level)
{
    struct quota *daemon = daemon_of(1000);
    struct quota *listener = quota_child(daemon, QUOTA_LISTENER, "default");
    struct quota *user = quota_child(listener, QUOTA_USER, "1000");
    struct quota *unit = quota_child(user, QUOTA_UNIT, "a.service");
    struct quota *one = quota_child(unit, QUOTA_SESSION, NULL);
    struct quota *two = quota_child(unit, QUOTA_SESSION, NULL);

    ck_assert_uint_eq(quota_room(listener, QUOTA_OPS), 1000);
    ck_assert_uint_eq(quota_room(user, QUOTA_OPS), 500);
    ck_assert_uint_eq(quota_room(unit, QUOTA_OPS), 250);
    ck_assert_uint_eq(fill(one), 125);
    ck_assert_uint_eq(fill(two), 63); /* half of 125, rounded up */
    ck_assert_uint_eq(used(daemon), 188);
    empty(one);
    ck_assert_uint_eq(fill(two), 125 - 63);
    empty(two);
    ck_assert_uint_eq(used(daemon), 0);
    quota_unref(one);
    quota_unref(two);
    quota_unref(unit);
    quota_unref(user);
    quota_unref(listener);
    quota_unref(daemon);
}
END_TEST

/* However greedy one is, and however many sessions it has: another user, or unit, has a share. */
START_TEST(test_one_greedy_user_leaves_the_others_their_share)
{
    struct quota *daemon = daemon_of(4096);
    struct quota *listener = quota_child(daemon, QUOTA_LISTENER, "default");
    struct quota *greedy = quota_child(listener, QUOTA_USER, "1");
    struct quota *quiet = quota_child(listener, QUOTA_USER, "2");
    struct quota *sessions[200], *other;

    for (int i = 0; i < 200; i++) {
        sessions[i] = quota_child(greedy, QUOTA_SESSION, NULL);
        fill(sessions[i]);
    }
    ck_assert_uint_le(used(greedy), 2048);
    other = quota_child(quiet, QUOTA_SESSION, NULL);
    ck_assert_uint_ge(quota_room(other, QUOTA_OPS), 512);
    for (int i = 0; i < 200; i++) {
        empty(sessions[i]);
        quota_unref(sessions[i]);
    }
    quota_unref(other);
    quota_unref(greedy);
    quota_unref(quiet);
    quota_unref(listener);
    quota_unref(daemon);
}
END_TEST

START_TEST(test_two_listeners_share)
{
    struct quota *daemon = daemon_of(100);
    struct quota *one = quota_child(daemon, QUOTA_LISTENER, "one");
    struct quota *two;

    ck_assert_uint_eq(quota_room(one, QUOTA_OPS), 100);
    two = quota_child(daemon, QUOTA_LISTENER, "two");
    ck_assert_uint_eq(fill(one), 50);
    ck_assert_uint_eq(fill(two), 25);
    empty(one);
    empty(two);
    quota_unref(one);
    quota_unref(two);
    quota_unref(daemon);
}
END_TEST

START_TEST(test_a_limit_of_its_own_and_who_is_full)
{
    struct quota *daemon = daemon_of(100);
    struct quota *user = quota_child(daemon, QUOTA_USER, "1000");
    struct quota *session = quota_child(user, QUOTA_SESSION, NULL);

    ck_assert_ptr_null(quota_full(session, QUOTA_OPS, 25));
    ck_assert_ptr_eq(quota_full(session, QUOTA_OPS, 26), session);
    ck_assert_ptr_eq(quota_full(session, QUOTA_OPS, 51), user);
    ck_assert_ptr_eq(quota_full(session, QUOTA_OPS, 101), daemon);
    quota_limit(session, QUOTA_OPS, 5);
    ck_assert_uint_eq(fill(session), 5);
    quota_limit(session, QUOTA_OPS, 3); /* less than it has: it keeps that, and gets no more */
    ck_assert_uint_eq(quota_room(session, QUOTA_OPS), 0);
    quota_uncharge(session, QUOTA_OPS, 3);
    ck_assert_uint_eq(quota_room(session, QUOTA_OPS), 1);
    quota_uncharge(session, QUOTA_OPS, 2);
    quota_limit(user, QUOTA_OPS, 4);
    ck_assert_uint_eq(quota_room(session, QUOTA_OPS), 2);
    ck_assert_str_eq(quota_key(user), "1000");
    ck_assert_str_eq(quota_level_name(quota_level(user)), "user");
    ck_assert_ptr_eq(quota_at(session, QUOTA_USER), user);
    ck_assert_ptr_null(quota_at(session, QUOTA_UNIT));
    quota_unref(session);
    quota_unref(user);
    quota_unref(daemon);
}
END_TEST

START_TEST(test_same_key_same_node_until_nothing_is_charged)
{
    struct quota *daemon = daemon_of(100);
    struct quota *a = quota_child(daemon, QUOTA_USER, "1");
    struct quota *unit = quota_child(a, QUOTA_UNIT, "1");
    struct quota *b = quota_child(daemon, QUOTA_USER, "2");
    struct quota *other;

    ck_assert_ptr_eq(quota_child(daemon, QUOTA_USER, "1"), a);
    ck_assert_ptr_ne(a, b);
    other = quota_child(daemon, QUOTA_UNIT, "1");
    ck_assert_ptr_ne(other, unit);
    quota_charge(unit, QUOTA_LINGERS, 2);
    quota_unref(unit);
    quota_unref(a);
    quota_unref(a);
    /* They are held only by what is charged. */
    ck_assert_ptr_eq(quota_child(daemon, QUOTA_USER, "1"), a);
    ck_assert_uint_eq(quota_usage(a, QUOTA_LINGERS).used, 2);
    quota_unref(a);
    quota_uncharge(unit, QUOTA_LINGERS, 1);
    quota_uncharge(unit, QUOTA_LINGERS, 1);
    ck_assert_uint_eq(quota_usage(daemon, QUOTA_LINGERS).used, 0);
    quota_unref(b);
    quota_unref(other);
    quota_unref(daemon);
}
END_TEST

START_TEST(test_connects_per_second)
{
    struct quota *daemon = daemon_of(100);
    struct quota *user = quota_child(daemon, QUOTA_USER, "1000");
    struct quota *unit = quota_child(user, QUOTA_UNIT, "a");
    struct quota *sessions[3];
    int taken[3] = {0};

    for (int i = 0; i < 3; i++) {
        sessions[i] = quota_child(unit, QUOTA_SESSION, NULL);
        while (quota_may_connect(sessions[i], 10, 5000))
            taken[i]++;
    }
    ck_assert_int_eq(taken[0], 10);
    ck_assert_int_eq(taken[1], 10);
    ck_assert_int_eq(taken[2], 0); /* its unit's twenty are gone */
    ck_assert(!quota_may_connect(sessions[0], 10, 5099));
    ck_assert(quota_may_connect(sessions[0], 10, 5100));
    ck_assert(!quota_may_connect(sessions[0], 10, 5100));
    ck_assert(quota_may_connect(sessions[2], 10, 5100));
    for (int i = 0; i < 3; i++)
        quota_unref(sessions[i]);
    quota_unref(unit);
    quota_unref(user);
    quota_unref(daemon);
}
END_TEST

/* Who leaves and comes again has no new second to spend. */
START_TEST(test_connects_are_remembered_when_a_client_has_gone)
{
    struct quota *daemon = daemon_of(100), *user, *unit, *session;
    int taken = 0;

    for (int i = 0; i < 20; i++) {
        user = quota_child(daemon, QUOTA_USER, "1000");
        unit = quota_child(user, QUOTA_UNIT, i % 2 ? "a" : "b");
        session = quota_child(unit, QUOTA_SESSION, NULL);
        while (quota_may_connect(session, 10, 5000))
            taken++;
        quota_unref(session);
        quota_unref(unit);
        quota_unref(user);
    }
    ck_assert_int_eq(taken, 40); /* of the user, twenty of each unit */
    user = quota_child(daemon, QUOTA_USER, "2");
    ck_assert(quota_may_connect(user, 10, 5000));
    quota_unref(user);
    user = quota_child(daemon, QUOTA_USER, "1000");
    ck_assert(!quota_may_connect(user, 10, 5000));
    for (taken = 0; quota_may_connect(user, 10, 6000); taken++)
        ;
    ck_assert_int_eq(taken, 40);
    quota_unref(user);
    quota_unref(daemon);
}
END_TEST

/* ---- a random tree against plain sums ---- */

#define NODES 40
#define LEAVES 24

struct model {
    struct quota *q;
    int parent; /* index; -1: the daemon */
    uint64_t used;
};

static struct model nodes[NODES];
static struct quota *root;

static void make_tree(void)
{
    root = daemon_of(1 + (uint64_t)(rand() % 100000));
    for (int i = 0; i < NODES; i++) {
        int inner = NODES - LEAVES;
        int parent = i == 0 ? -1 : rand() % (i < inner ? i : inner);
        struct quota *above = parent < 0 ? root : nodes[parent].q;

        /* Levels are for their names here, and go downwards: as deep as there are any. */
        while (i < inner && parent > 0 && quota_at(above, QUOTA_UNIT)) {
            parent = nodes[parent].parent;
            above = parent < 0 ? root : nodes[parent].q;
        }
        nodes[i] = (struct model){.parent = parent};
        nodes[i].q = quota_child(above,
                                 i >= inner                    ? QUOTA_SESSION
                                 : parent < 0                  ? QUOTA_LISTENER
                                 : quota_at(above, QUOTA_USER) ? QUOTA_UNIT
                                                               : QUOTA_USER,
                                 NULL);
        if (rand() % 4 == 0)
            quota_limit(nodes[i].q, QUOTA_OPS, (uint64_t)(rand() % 5000));
    }
}

static uint64_t used_above(int i)
{
    return i < 0 ? used(root) : used(nodes[i].q);
}

/* No node has more than half of what its siblings leave; sums are sums. */
static void check_tree(int charged)
{
    uint64_t sums[NODES] = {0}, total = 0;

    for (int i = NODES - 1; i >= 0; i--) {
        sums[i] += nodes[i].used;
        ck_assert_uint_eq(used(nodes[i].q), sums[i]);
        if (nodes[i].parent >= 0)
            sums[nodes[i].parent] += sums[i];
        else
            total += sums[i];
    }
    ck_assert_uint_eq(used(root), total);
    ck_assert_uint_le(total, quota_usage(root, QUOTA_OPS).most);
    for (int i = charged; i >= 0; i = nodes[i].parent) {
        struct quota_usage own = quota_usage(nodes[i].q, QUOTA_OPS);
        const struct quota *above = nodes[i].parent < 0 ? root : nodes[nodes[i].parent].q;
        uint64_t beside = used_above(nodes[i].parent) - own.used;

        ck_assert_uint_le(own.used, own.most);
        if (nodes[i].parent >= 0)
            ck_assert_uint_le(own.used, (quota_usage(above, QUOTA_OPS).most - beside + 1) / 2);
    }
}

START_LOOP_TEST(test_random_charges_add_up_and_keep_their_shares, 0, 20)
{
    srand((unsigned int)_i + 1);
    make_tree();
    for (int step = 0; step < 3000; step++) {
        int i = rand() % 3 ? NODES - LEAVES + rand() % LEAVES : rand() % NODES;
        uint64_t n = (uint64_t)rand() % (rand() % 5 ? 20 : 20000);
        uint64_t room = quota_room(nodes[i].q, QUOTA_OPS);
        bool does_fit = n <= room;

        if (rand() % 3 == 0) {
            n = nodes[i].used ? (uint64_t)rand() % (nodes[i].used + 1) : 0;
            quota_uncharge(nodes[i].q, QUOTA_OPS, n);
            nodes[i].used -= n;
            check_tree(-1);
            continue;
        }
        ck_assert_int_eq(quota_charge(nodes[i].q, QUOTA_OPS, n), does_fit ? 0 : -EDQUOT);
        ck_assert(!quota_full(nodes[i].q, QUOTA_OPS, 0));
        if (does_fit)
            nodes[i].used += n;
        check_tree(does_fit && n > 0 ? i : -1);
    }
    for (int i = 0; i < NODES; i++) {
        quota_uncharge(nodes[i].q, QUOTA_OPS, nodes[i].used);
        nodes[i].used = 0;
    }
    check_tree(-1);
    ck_assert_uint_eq(used(root), 0);
    for (int i = NODES - 1; i >= 0; i--)
        quota_unref(nodes[i].q);
    quota_unref(root);
}
END_TEST

/* The loop's time is a user's, through however many listeners he comes. */
START_TEST(test_s52_a_user_has_one_share_over_all_listeners)
{
    struct quota *daemon = quota_new();
    struct quota *listeners[2], *users[2], *units[2], *other;
    struct shares shares;

    shares_init(&shares, NULL);
    for (int i = 0; i < 2; i++) {
        listeners[i] = quota_child(daemon, QUOTA_LISTENER, i == 0 ? "default" : "second");
        users[i] = quota_child(listeners[i], QUOTA_USER, "1000");
        units[i] = quota_child(users[i], QUOTA_UNIT, "a.service");
    }
    other = quota_child(listeners[0], QUOTA_USER, "1001");
    ck_assert_ptr_ne(users[0], users[1]);
    ck_assert_ptr_eq(quota_person(units[0]), quota_person(users[1]));
    ck_assert_ptr_ne(quota_person(other), quota_person(users[1]));
    ck_assert_ptr_eq(quota_share(users[0], &shares.root), quota_share(users[1], &shares.root));
    ck_assert_ptr_ne(quota_share(other, &shares.root), quota_share(users[1], &shares.root));
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_eq(quota_share(units[i], &shares.root)->parent,
                         quota_share(users[0], &shares.root));
    /* Persons are no listeners: what these may have is not halved because of them. */
    quota_limit(daemon, QUOTA_OPS, 100);
    ck_assert_uint_eq(quota_room(listeners[0], QUOTA_OPS), 50);
    for (int i = 0; i < 2; i++) {
        quota_unref(units[i]);
        quota_unref(users[i]);
    }
    quota_unref(listeners[1]);
    ck_assert_uint_eq(quota_room(listeners[0], QUOTA_OPS), 100);
    quota_unref(other);
    quota_unref(listeners[0]);
    quota_unref(daemon);
}
END_TEST
