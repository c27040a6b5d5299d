/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HISTOGRAM_H
#define ASOCKD_HISTOGRAM_H

/* A histogram of durations, in a fixed number of buckets. */
#include <stdint.h>

#define HISTOGRAM_BOUNDS 17

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* per bucket, not cumulative; the last is unbounded */
    uint64_t sum_us;
};

extern const uint32_t histogram_bounds_us[HISTOGRAM_BOUNDS];

/* A duration that equals a bound is counted in the bucket below the bound. */
void histogram_add(struct histogram *histogram, uint64_t ns);

#endif
