/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_DENIALS_H
#define ASOCKD_AUDIT_DENIALS_H

/*
 * Denials that were told within the last AUDIT_PERIOD_MS. A repeat of one is counted here, and told as
 * one summary at the end of its period. The table is bounded, and so is one uid's share of it: what
 * is above is counted per uid, and if even that has no place, together.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/entry.h"
#include "daemon/core/limits.h"

struct audit_denial {
    uint64_t hash;
    uint64_t until;
    uint64_t repeats;
    uint32_t uid, key_len;
    char *key; /* and the description behind it */
};

struct audit_denials {
    struct audit_denial
        slots[AUDIT_DENIALS]; /* a ring: all periods are the same, so the first ends first */
    uint32_t first, count;
    uint64_t others; /* that found no place at all */
    uint64_t others_until;
    enum audit_format format;
};

void audit_denials_init(struct audit_denials *d, enum audit_format format);
/* Without the summaries that were still due. */
void audit_denials_deinit(struct audit_denials *d);

/* True: this one is to be told. It may be another entry than the one handed in: `entry` is changed then. */
bool audit_denials_take(struct audit_denials *d, struct audit_entry *entry, uint64_t now);

/* The next summary that is due at `now`; octets written to out, 0: none. */
size_t audit_denials_next(struct audit_denials *d, uint64_t now, char *out, size_t cap);
/* When the next period ends; UINT64_MAX: none runs. */
uint64_t audit_denials_due(const struct audit_denials *d);

#endif
