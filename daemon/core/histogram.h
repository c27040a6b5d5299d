/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HISTOGRAM_H
#define ASOCKD_HISTOGRAM_H

/* How often something took how long: a fixed number of counters, whatever is counted. */
#include <stdint.h>

#define HISTOGRAM_BOUNDS 17

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* of each bucket alone; the last has no bound */
    uint64_t sum_us;
};

extern const uint32_t histogram_bounds_us[HISTOGRAM_BOUNDS];

/* A bound belongs to the bucket that it ends. */
void histogram_add(struct histogram *histogram, uint64_t ns);

#endif
