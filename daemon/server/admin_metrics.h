/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADMIN_METRICS_H
#define ASOCKD_ADMIN_METRICS_H

/* STATS with `metrics`, as struct inspect_ops has it. */
#include "daemon/session/inspect.h"

long admin_metrics(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);

#endif
