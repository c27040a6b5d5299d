/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_DENIALS_H
#define ASOCKD_AUDIT_DENIALS_H

/*
 * Denials that were told within the last AUDIT_PERIOD_MS. A repeat of one is counted here, and told as
 * one summary at the end of its period. Of each user so many are told apart; what is above is counted for its user
 * id, where one person has many of those for his own id. Each is charged to its user's memory; what even that has no
 * room for is counted together.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/entry.h"
#include "daemon/core/limits.h"
#include "daemon/identity/identity.h"

#define AUDIT_DENIAL_BUCKETS 256u

struct audit_denials {
    struct list fifo; /* of all: their periods are the same, so the first ends first */
    struct list denials[AUDIT_DENIAL_BUCKETS], users[AUDIT_DENIAL_BUCKETS];
    struct identity person; /* whom an entry is about that has only his id */
    uint64_t others;        /* that found no place at all */
    uint64_t others_until;
    enum audit_format format;
};

void audit_denials_init(struct audit_denials *d, enum audit_format format);
/* Without the summaries that were still due. */
void audit_denials_deinit(struct audit_denials *d);

/* True: this one is to be told. It may be another entry than the one handed in: `entry` is changed then. */
bool audit_denials_take(struct audit_denials *d, struct audit_entry *entry, uint64_t now);

/* The next summary that is due at `now`; bytes written to out, 0: none. */
size_t audit_denials_next(struct audit_denials *d, uint64_t now, char *out, size_t cap);
/* When the next period ends; UINT64_MAX: none runs. */
uint64_t audit_denials_due(const struct audit_denials *d);

#endif
