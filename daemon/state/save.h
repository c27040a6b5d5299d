/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_SAVE_H
#define ASOCKD_STATE_SAVE_H

/* Shared by save*.c. */
#include "daemon/state/state.h"

struct op;

/* Room that an endpoint lies in while its record is written. */
struct endpoint_room {
    Asockd__State__Endpoint endpoint;
    struct endpoint value;
};

Asockd__State__Endpoint *save_endpoint(struct endpoint_room *room, const struct endpoint *e);
/* NULL: "". */
char *save_text(const char *s);
/* to refers to what is in identity. */
void save_identity(struct state_writer *out, const struct identity *identity,
                   Asockd__State__Identity *to);
void save_limits(const struct limits *limits, Asockd__State__Session *to);
void save_op(struct state_writer *out, const struct op *op, uint32_t queue);

#endif
