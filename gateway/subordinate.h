/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_SUBORDINATE_H
#define GATEWAY_SUBORDINATE_H

/*
 * The ids that /etc/subuid gives to one user, and to nobody else (subuid(5)): the user's rootless
 * containers run programs as these. Ranges that only NSS knows are not found.
 */
#include <stdbool.h>
#include <sys/types.h>

#define SUBORDINATE_RANGES_MAX 32

struct subordinate {
    struct id_range {
        uid_t first, last;
    } ranges[SUBORDINATE_RANGES_MAX];
    unsigned int count;
};

/* Without such files, or with ones that cannot be read, there are none. */
void subordinate_read(struct subordinate *ret, uid_t user, const char *subuid, const char *passwd);
bool subordinate_has(const struct subordinate *subordinate, uid_t id);

#endif
