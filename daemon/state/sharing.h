/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_SHARING_H
#define ASOCKD_STATE_SHARING_H

/* The listeners that sessions share what they have by, and whose listener a session came by. */
#include "daemon/core/limits.h"
#include "daemon/state/restore.h"

/* What a session's record refers to. */
struct sharing_room {
    Asockd__State__Shared shared[LIMIT_SHARED_LISTENERS], *at[LIMIT_SHARED_LISTENERS];
};

void sharing_save(struct state_writer *out, const struct session *s, struct sharing_room *room,
                  Asockd__State__Session *to);

/* As the others of restore.h. Fills config's sharer, if it has one. */
int sharing_configure(struct state_restorer *r, const Asockd__State__Session *from,
                      struct session_config *config);
int sharing_restore(struct state_restorer *r, struct session *s,
                    const Asockd__State__Session *from);

#endif
