/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/histogram.h"

/* From the time of a system call to the time-out of a name server, with three bounds per decade. */
const uint32_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
    100,    250,    500,    1000,    2500,    5000,    10000,    25000,   50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000};

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    unsigned int i = 0;

    /* Compare in nanoseconds: rounding down to microseconds could move a value below a bound. */
    while (i < HISTOGRAM_BOUNDS && ns > UINT64_C(1000) * histogram_bounds_us[i])
        i++;
    histogram->counts[i]++;
    histogram->sum_us += ns / 1000;
}
