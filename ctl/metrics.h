/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_METRICS_H
#define CTL_METRICS_H

/* The daemon's metrics as text for Prometheus and the like. */
#include <stdbool.h>
#include <stdio.h>

struct records;

enum metrics_format {
    METRICS_NONE,
    METRICS_OPENMETRICS, /* the specification's version 1.0 */
    METRICS_PROMETHEUS,  /* Prometheus' own, version 0.0.4 */
};

/* What STATS told with `metrics`. false: a daemon that knows none told something else. */
bool metrics_print(FILE *file, const struct records *records, enum metrics_format format);

#endif
