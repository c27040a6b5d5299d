/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_METRICS_H
#define CTL_METRICS_H

/* Prints the daemon's metrics as text for Prometheus and other monitoring systems. */
#include <stdbool.h>
#include <stdio.h>

struct records;

enum metrics_format {
    METRICS_NONE,
    METRICS_OPENMETRICS, /* the specification's version 1.0 */
    METRICS_PROMETHEUS,  /* Prometheus' own, version 0.0.4 */
};

/*
 * Prints the records of STATS with `metrics`. False: they are not metrics, because the daemon is
 * older.
 */
bool metrics_print(FILE *file, const struct records *records, enum metrics_format format);

#endif
