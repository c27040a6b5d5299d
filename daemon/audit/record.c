/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/record.h"

#include <assert.h>
#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"

/* Not less than what the bound of their number allows each. */
static uint32_t cost_of(size_t cap)
{
    size_t size = (sizeof(struct audit_record) + cap + 31) & ~(size_t)15; /* as malloc() does */

    return (uint32_t)(size < AUDIT_RECORD_MIN ? AUDIT_RECORD_MIN : size);
}

static int charge(struct quota *quota, uint32_t cost, unsigned int share)
{
    struct quota_usage usage;

    if (!quota)
        return 0;
    usage = quota_usage(quota, QUOTA_AUDIT);
    if (usage.used + cost > usage.most / share || quota_charge(quota, QUOTA_AUDIT, cost) < 0)
        return -EDQUOT;
    if (quota_charge(quota, QUOTA_MEMORY, cost) == 0)
        return 0;
    quota_uncharge(quota, QUOTA_AUDIT, cost);
    return -EDQUOT;
}

static void uncharge(struct quota *quota, uint32_t cost)
{
    quota_uncharge(quota, QUOTA_AUDIT, cost);
    quota_uncharge(quota, QUOTA_MEMORY, cost);
}

int audit_record_new(struct quota *quota, size_t cap, unsigned int share, struct audit_record **ret)
{
    uint32_t cost = cost_of(cap);
    struct audit_record *record;
    int r = charge(quota, cost, share);

    if (r < 0)
        return r;
    record = mem_alloc(sizeof(*record) + cap);
    if (!record) {
        uncharge(quota, cost);
        return -ENOMEM;
    }
    list_init(&record->node);
    record->quota = quota ? quota_ref(quota) : NULL;
    record->charged = cost;
    record->cap = (uint32_t)cap;
    record->len = 0;
    *ret = record;
    return 0;
}

struct audit_record *audit_record_trim(struct audit_record *record, size_t len)
{
    struct audit_record *less;
    uint32_t cost = cost_of(len);

    assert(!list_is_linked(&record->node) && len <= record->cap);
    record->len = (uint32_t)len;
    less = mem_realloc(record, sizeof(*record) + len);
    if (!less)
        return record;
    list_init(&less->node);
    less->cap = (uint32_t)len;
    uncharge(less->quota, less->charged - cost);
    less->charged = cost;
    return less;
}

struct audit_record *audit_record_free(struct audit_record *record)
{
    if (!record)
        return NULL;
    uncharge(record->quota, record->charged);
    quota_unref(record->quota);
    return mem_free(record);
}

void audit_records_free(struct list *records)
{
    while (!list_is_empty(records)) {
        struct audit_record *record = list_first(records, struct audit_record, node);

        list_remove(&record->node);
        audit_record_free(record);
    }
}
