/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_RECORD_H
#define ASOCKD_AUDIT_RECORD_H

/*
 * An entry in its written form, on its way to the journal or the file. It is charged to the person
 * whom it is about until it has been taken: as memory, and of the audit's queue, of which each may
 * have half of what others leave.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct quota;

struct audit_record {
    struct list node;
    struct quota *quota; /* NULL: none */
    uint32_t charged;
    uint32_t len, cap;
    char data[];
};

/*
 * For cap bytes. quota may be NULL. share: one of so many parts of what the person may have.
 * -EDQUOT, -ENOMEM.
 */
int audit_record_new(struct quota *quota, size_t cap, unsigned int share,
                     struct audit_record **ret);
/* It is len bytes long, and needs no more. Returns it; it may have moved, and is in no list. */
struct audit_record *audit_record_trim(struct audit_record *record, size_t len);
/* Only in the loop's thread. Accepts NULL; returns it. */
struct audit_record *audit_record_free(struct audit_record *record);
void audit_records_free(struct list *records);

#endif
