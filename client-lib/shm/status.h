/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_SHM_STATUS_H
#define ASOCK_LIB_SHM_STATUS_H

/* Whether the daemon has taken shared memory back. */
#include "client-lib/core/objects.h"

/*
 * The mark is there: bytes that were copied, or looked at, before this call may not be what was
 * received.
 */
bool asock_status_is_marked(const struct status *status);
int asock_status_map(struct status *status, int fd);
void asock_status_unmap(struct status *status);

#endif
