/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The session's table of tokens: a client that chooses them well for itself must not make it slow
 * for others.
 */
#include "daemon/core/loop.h"
#include "daemon/session/op.h"
#include "tests/lib/suite.h"
#include "daemon/session/session.h"

#include <stdlib.h>

#define OPS 4096u
#define LONGEST 64u

static struct worker worker;
static struct op ops[OPS];
static struct op *buckets[OPS];

static unsigned int longest_bucket(void)
{
    unsigned int longest = 0;

    for (unsigned int i = 0; i < OPS; i++) {
        unsigned int length = 0;

        for (const struct op *op = buckets[i]; op; op = op->hash_next)
            length++;
        if (length > longest)
            longest = length;
    }
    return longest;
}

/* Tokens first, first + step, ... */
static void check_progression(uint64_t first, uint64_t step)
{
    struct session session = {.worker = &worker, .tokens = buckets, .token_buckets = OPS};

    for (unsigned int i = 0; i < OPS; i++) {
        ops[i].token = first + i * step;
        session_hash_op(&session, &ops[i]);
    }
    ck_assert_uint_le(longest_bucket(), LONGEST);
    for (unsigned int i = 0; i < OPS; i++)
        ck_assert_ptr_eq(session_find_op(&session, ops[i].token), &ops[i]);
    for (unsigned int i = 0; i < OPS; i++)
        session_unhash_op(&session, &ops[i]);
    ck_assert_uint_eq(longest_bucket(), 0);
}

/* The inverse of an odd number modulo 2^64. */
static uint64_t inverse(uint64_t odd)
{
    uint64_t x = odd;

    for (int i = 0; i < 6; i++)
        x *= 2 - odd * x;
    return x;
}

START_TEST(test_tokens_of_any_pattern_are_spread)
{
    /* Any will do that the client does not know; these make it the same in every run. */
    worker.token_keys[0] = UINT64_C(0x0123456789abcdef);
    worker.token_keys[1] = UINT64_C(0xfedcba9876543210);
    for (unsigned int shift = 0; shift < 52; shift++)
        check_progression(1, UINT64_C(1) << shift);
    for (unsigned int shift = 0; shift < 52; shift++)
        check_progression(1, inverse(UINT64_C(0x9e3779b97f4a7c15)) << shift);
}
END_TEST

START_TEST(test_every_daemon_has_keys_of_its_own)
{
    struct worker a, b;

    ck_assert_int_eq(worker_init(&a, NULL), 0);
    ck_assert_int_eq(worker_init(&b, NULL), 0);
    ck_assert(a.token_keys[0] != b.token_keys[0] && a.token_keys[1] != b.token_keys[1]);
    worker_deinit(&a);
    worker_deinit(&b);
}
END_TEST
