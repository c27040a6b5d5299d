/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_SHM_STATUS_H
#define ASOCK_LIB_SHM_STATUS_H

/* Whether the daemon has taken shared memory back. */
#include "client-lib/core/objects.h"

/* Octets that were copied, or looked at, before this call are what was received, unless it is true. */
bool asock_memory_is_lost(const struct memory *memory);
int asock_status_map(struct status *status, int fd);
void asock_status_unmap(struct status *status);
/* The session has ended: buffers become private memory with the contents that they have. */
void asock_status_end(struct memory *memory);

#endif
