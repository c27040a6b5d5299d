/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADMIN_LISTENER_H
#define ASOCKD_ADMIN_LISTENER_H

/* LISTENER, as struct inspect_ops has it. */
#include "daemon/session/inspect.h"

int admin_add_listener(struct session *s, const char *name, int fd,
                       char ret_text[static INSPECT_TEXT_MAX]);
int admin_remove_listener(struct session *s, const char *name,
                          char ret_text[static INSPECT_TEXT_MAX]);

#endif
