/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_DENIALS_H
#define ASOCKD_AUDIT_DENIALS_H

/*
 * Denials that were recorded within the last AUDIT_PERIOD_MS. A repeat of one is counted here, and
 * recorded as one summary at the end of its period.
 *
 * A limited number of each user's denials are kept separately. Those above the limit are counted by
 * user id, or, for a person with too many (subordinate) user ids, by the person's own id. Each
 * entry is charged to its user's memory; denials for which even that has no room are counted in one
 * number.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/entry.h"
#include "daemon/core/limits.h"
#include "daemon/identity/identity.h"

#define AUDIT_DENIAL_BUCKETS 256u
#define AUDIT_DESCRIPTION_MAX 640u /* with the NUL */

struct audit_denials {
    struct list fifo; /* all entries; all periods are equally long, so the first ends first */
    struct list denials[AUDIT_DENIAL_BUCKETS], users[AUDIT_DENIAL_BUCKETS];
    struct identity person; /* for an entry that has only a user id */
    uint64_t others;        /* denials for which there was no room at all */
    uint64_t others_until;
    enum audit_format format;
};

void audit_denials_init(struct audit_denials *d, enum audit_format format);
/* Without the summaries that were still due. */
void audit_denials_deinit(struct audit_denials *d);

/* True: record this denial. `entry` may have been replaced by a less specific one. */
bool audit_denials_take(struct audit_denials *d, struct audit_entry *entry, uint64_t now);

/* The next summary that is due at `now`; bytes written to out, 0: none. */
size_t audit_denials_next(struct audit_denials *d, uint64_t now, char *out, size_t cap);
/* When the next period ends; UINT64_MAX: none runs. */
uint64_t audit_denials_due(const struct audit_denials *d);

/*
 * From one process to the next: what has been recorded, in the order in which the periods end. Its
 * repeats are recorded by the process that has counted them.
 */
struct audit_denial_past {
    const char *key, *description;
    size_t key_len;
    uint32_t user;
    uint64_t until;
};
uint32_t audit_denials_count(const struct audit_denials *d);
/* The one behind that, or the first; false: there is none. *place: NULL to begin with. */
bool audit_denials_each(const struct audit_denials *d, const void **place,
                        struct audit_denial_past *ret);
/* quota: its user's, or NULL. -ENOMEM: no memory, or no room in the quota; -EINVAL: it is there. */
int audit_denials_restore(struct audit_denials *d, struct quota *quota,
                          const struct audit_denial_past *past, uint64_t now);

#endif
