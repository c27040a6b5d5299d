/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_QUESTIONS_H
#define ASOCKD_STATE_QUESTIONS_H

/* Ops of a session that have no socket: RESOLVE, and LIST and the like. */
#include "daemon/state/restore.h"

struct session;

/* Memory for a record's list. */
struct questions_room {
    Asockd__State__Question *questions, **at;
};

/* room: for questions_free_room(), once the record was added. -ENOMEM. */
int questions_save(const struct session *s, struct questions_room *room,
                   Asockd__State__Session *to);
void questions_free_room(struct questions_room *room);
/* Another process has them: without an audit entry. */
void questions_leave(struct session *s);

/* As the others of restore.h. */
int questions_restore(struct state_restorer *r, struct session *s,
                      const Asockd__State__Session *from);
void questions_resume(struct session *s);

#endif
