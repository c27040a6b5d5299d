/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_PEER_PROC_H
#define ASOCKD_PEER_PROC_H

/* What /proc says about the process that peer->pidfd holds; identity/identity.c's own. */
#include <stdbool.h>
#include <stdint.h>

struct peer;

/* Fills in unit, user_unit, cgroup and comm; each of them only if it is the peer's for certain. */
void peer_proc_read(struct peer *peer);

/* Its effective ids, and its groups in any order. 0, or -errno; -ESRCH: it cannot be seen. */
int peer_proc_read_ids(struct peer *peer);

/* Of CLOCK_BOOTTIME, in the unit of /proc/PID/stat. */
uint64_t peer_proc_now(void);

/*
 * Has the process that pidfd was opened for by number the peer's user id, and had it begun at `when`?
 * False also when that cannot be read.
 */
bool peer_proc_fits(const struct peer *peer, uint64_t when);

/* Do numbers of our user namespace stand for all there are? If not, 65534 says "not one of ours". */
bool peer_proc_maps_all(const char *map);

#endif
