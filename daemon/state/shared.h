/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_SHARED_H
#define ASOCKD_STATE_SHARED_H

/* A session's shared memory, and what its ops have there, as parts of their records. */
#include "daemon/state/restore.h"

struct op;
struct session;

/* Memory for a record's list. */
struct shared_room {
    void *parts, *at;
};

/* room: for shared_free_room(), once the record was added. -ENOMEM. */
int shared_save(struct state_writer *out, const struct session *s, struct shared_room *room,
                Asockd__State__Session *to);
int shared_save_slices(const struct op *op, struct shared_room *room, Asockd__State__Op *to);
void shared_free_room(struct shared_room *room);

/* As the others of restore.h. */
int shared_restore(struct state_restorer *r, struct session *s, const Asockd__State__Session *from);
int shared_restore_slices(struct state_restorer *r, struct op *op, const Asockd__State__Op *from);
/* Bytes of all slices; more than there can be where that is no number. */
uint64_t shared_slices_total(const Asockd__State__Op *from);

#endif
