/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_PEER_PROC_H
#define ASOCKD_PEER_PROC_H

/* What /proc says about the process that client->pidfd holds: for identity.c, but for the clock. */
#include <stdbool.h>
#include <stdint.h>

struct identity;

/*
 * Fills in unit, user_unit, cgroup and comm; each of them only if it is the client's for certain.
 */
void identity_proc_read(struct identity *identity);

/* Its effective ids, and its groups in any order. 0, or -errno; -ESRCH: it cannot be seen. */
int identity_proc_read_ids(struct identity *identity);

/* Of CLOCK_BOOTTIME, in the unit of /proc/PID/stat. */
uint64_t identity_proc_now(void);

/*
 * Has the process that pidfd was opened for by number the client's user id, and had it begun at
 * `when`? False also when that cannot be read.
 */
bool identity_proc_fits(const struct identity *identity, uint64_t when);

/*
 * Do numbers of our user namespace stand for all there are? If not, 65534 says "not one of ours".
 */
bool identity_proc_maps_all(const char *map);

#endif
