/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_TAKE_OVER_H
#define ASOCKD_SESSION_TAKE_OVER_H

/* How TAKE_OVER asks the server for everything that the daemon has. */
#include <stdint.h>

struct op;

struct take_over {
    /* 0: the op, which is queued, ends later. Or an enum asock_wire_error, with op->text. */
    int (*ask)(struct take_over *take_over, struct op *op, uint32_t format);
    /* The op has ended before the hand-over began. */
    void (*forget)(struct take_over *take_over);
};

#endif
