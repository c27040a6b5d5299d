/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/lib/suite.h"
#include "daemon/core/limits.h"
#include "daemon/server/gate.h"

#define CONTROL (FDS_PER_SESSION * LIMIT_CONTROL_SESSIONS)

START_TEST(test_descriptors_for_everybody)
{
    struct descriptor_shares shares;

    ck_assert_int_eq(plan_share_descriptors(20000, 256, &shares), 0);
    ck_assert_uint_eq(shares.clients, 256);
    ck_assert_uint_eq(shares.waiting, GATES_CLIENTS_MAX);
    ck_assert_uint_eq(shares.sockets,
                      20000 - FDS_RESERVED - CONTROL - GATES_CLIENTS_MAX - 256 * FDS_PER_SESSION);
}
END_TEST

/* However few there are: nothing is shared out twice, and no share is empty. */
START_TEST(test_descriptors_never_suffice_twice)
{
    struct descriptor_shares shares;

    for (uint64_t limit = 0; limit < 3000; limit++) {
        if (plan_share_descriptors(limit, 256, &shares) < 0) {
            ck_assert_uint_lt(limit, 128);
            continue;
        }
        ck_assert_uint_ge(shares.clients, 1);
        ck_assert_uint_ge(shares.waiting, 1);
        ck_assert_uint_ge(shares.sockets, FDS_PER_SESSION * shares.clients);
        ck_assert_uint_eq(FDS_RESERVED + CONTROL + shares.waiting +
                              shares.clients * FDS_PER_SESSION + shares.sockets,
                          limit);
    }
    ck_assert_uint_eq(shares.clients, 256);
}
END_TEST

START_TEST(test_descriptors_without_limit)
{
    struct descriptor_shares shares;

    ck_assert_int_eq(plan_share_descriptors(UINT64_MAX, LIMIT_CLIENTS_MAX, &shares), 0);
    ck_assert_uint_eq(shares.clients, LIMIT_CLIENTS_MAX);
    ck_assert_uint_eq(shares.sockets, UINT32_MAX);
}
END_TEST
