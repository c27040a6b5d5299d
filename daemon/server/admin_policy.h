/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADMIN_POLICY_H
#define ASOCKD_ADMIN_POLICY_H

/* RELOAD, JUDGE and LEARNED, as struct inspect_ops has them. */
#include "daemon/session/inspect.h"

struct reload_report;

int admin_reload(struct op *op, bool close);
/* A reload has ended: the ops that wait for it, by op->waiting. */
void admin_reloaded(struct list *waiting, int r, const struct reload_report *report);
long admin_judge(struct session *s, const uint8_t *question, size_t len, uint8_t *out, size_t cap,
                 char ret_text[static INSPECT_TEXT_MAX]);
long admin_learned(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);

#endif
