/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADMIN_DENIALS_H
#define ASOCKD_ADMIN_DENIALS_H

/* DENIALS, as struct inspect_ops has it. */
#include "daemon/session/inspect.h"

long admin_denials(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);

#endif
