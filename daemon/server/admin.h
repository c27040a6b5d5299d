/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADMIN_H
#define ASOCKD_ADMIN_H

/*
 * What LIST, SHOW and STATS tell, and what the other control verbs do. A session of a client
 * listener sees itself and its own sockets, one of the control listener sees everything. Names of
 * fields are stable; new ones may come anywhere.
 */
#include "daemon/session/inspect.h"

extern const struct inspect_ops admin_inspect_ops;

#endif
