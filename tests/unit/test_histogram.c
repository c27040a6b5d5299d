/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buckets: each bound belongs to the bucket that it ends, and nothing is lost. */
#include "daemon/core/histogram.h"
#include "tests/lib/suite.h"

START_TEST(test_histogram_bounds)
{
    struct histogram h = {0};

    for (unsigned int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        uint64_t bound = UINT64_C(1000) * histogram_bounds_us[i];

        ck_assert(i == 0 || histogram_bounds_us[i] > histogram_bounds_us[i - 1]);
        histogram_add(&h, bound);
        ck_assert_uint_eq(h.counts[i], i == 0 ? 1 : 2);
        histogram_add(&h, bound + 1);
        ck_assert_uint_eq(h.counts[i + 1], 1);
    }
}
END_TEST

START_TEST(test_histogram_ends)
{
    struct histogram h = {0};

    histogram_add(&h, 0);
    histogram_add(&h, 1999);
    histogram_add(&h, UINT64_C(3600) * 1000000000);
    ck_assert_uint_eq(h.counts[0], 2);
    ck_assert_uint_eq(h.counts[HISTOGRAM_BOUNDS], 1);
    ck_assert_uint_eq(h.sum_us, 3600000001);
}
END_TEST
