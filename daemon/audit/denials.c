/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/denials.h"

#include <string.h>

#include "base/alloc.h"
#include "daemon/identity/identity.h"

#define DESCRIPTION_MAX 640u

void audit_denials_init(struct audit_denials *d, enum audit_format format)
{
    d->first = d->count = 0;
    d->others = 0;
    d->others_until = 0;
    d->format = format;
}

static struct audit_denial *slot(struct audit_denials *d, uint32_t i)
{
    return &d->slots[(d->first + i) % AUDIT_DENIALS];
}

void audit_denials_deinit(struct audit_denials *d)
{
    for (uint32_t i = 0; i < d->count; i++)
        mem_free(slot(d, i)->key);
    d->count = 0;
}

/* FNV-1a. Who makes keys collide makes one scan of the table slower, no more: keys are compared. */
static uint64_t hash_of(const char *key, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)key[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static struct audit_denial *find(struct audit_denials *d, uint64_t hash, const char *key,
                                 size_t len)
{
    for (uint32_t i = 0; i < d->count; i++) {
        struct audit_denial *denial = slot(d, i);

        if (denial->hash == hash && denial->key_len == len && memcmp(denial->key, key, len) == 0)
            return denial;
    }
    return NULL;
}

static uint32_t count_of_uid(struct audit_denials *d, uint32_t uid)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < d->count; i++)
        n += slot(d, i)->uid == uid;
    return n;
}

static bool insert(struct audit_denials *d, const struct audit_entry *entry, uint64_t now,
                   const char *key, size_t len)
{
    struct audit_denial *denial;
    char *copy;

    if (d->count == AUDIT_DENIALS)
        return false;
    copy = mem_alloc(len + DESCRIPTION_MAX);
    if (!copy)
        return false;
    memcpy(copy, key, len);
    audit_entry_describe(entry, copy + len, DESCRIPTION_MAX);
    denial = slot(d, d->count++);
    *denial = (struct audit_denial){
        .hash = hash_of(key, len),
        .until = now + AUDIT_PERIOD_MS,
        .uid = entry->peer->uid,
        .key_len = (uint32_t)len,
        .key = copy,
    };
    return true;
}

enum taken { IS_REPEAT, IS_NEW, HAS_NO_PLACE };

static enum taken take(struct audit_denials *d, const struct audit_entry *entry, uint64_t now,
                       uint32_t share)
{
    char key[AUDIT_ENTRY_MAX];
    size_t len = audit_entry_write_key(entry, d->format, key, sizeof(key));
    struct audit_denial *denial = find(d, hash_of(key, len), key, len);

    if (denial) {
        denial->repeats++;
        return IS_REPEAT;
    }
    if (count_of_uid(d, entry->peer->uid) >= share)
        return HAS_NO_PLACE;
    return insert(d, entry, now, key, len) ? IS_NEW : HAS_NO_PLACE;
}

bool audit_denials_take(struct audit_denials *d, struct audit_entry *entry, uint64_t now)
{
    const struct audit_entry uid_only = {
        .event = AUDIT_DENY, .peer = entry->peer, .is_uid_only = true, .error = entry->error};
    enum taken taken = take(d, entry, now, AUDIT_DENIALS_PER_UID);

    if (taken == HAS_NO_PLACE) {
        taken = take(d, &uid_only, now, UINT32_MAX);
        if (taken == IS_NEW)
            *entry = uid_only;
    }
    if (taken != HAS_NO_PLACE)
        return taken == IS_NEW;
    if (d->others++ == 0)
        d->others_until = now + AUDIT_PERIOD_MS;
    return false;
}

static size_t write_others(struct audit_denials *d, char *out, size_t cap)
{
    const struct audit_entry all = {.event = AUDIT_DENY};
    char key[AUDIT_ENTRY_MAX];
    size_t len = audit_entry_write_key(&all, d->format, key, sizeof(key));
    uint64_t count = d->others;

    d->others = 0;
    return audit_entry_write_summary(key, len, "clients to further destinations", count, d->format,
                                     out, cap);
}

size_t audit_denials_next(struct audit_denials *d, uint64_t now, char *out, size_t cap)
{
    size_t n = 0;

    while (n == 0 && d->count > 0 && slot(d, 0)->until <= now) {
        struct audit_denial *denial = slot(d, 0);

        if (denial->repeats > 0)
            n = audit_entry_write_summary(denial->key, denial->key_len,
                                          denial->key + denial->key_len, denial->repeats, d->format,
                                          out, cap);
        denial->key = mem_free(denial->key);
        d->first = (d->first + 1) % AUDIT_DENIALS;
        d->count--;
    }
    if (n == 0 && d->others > 0 && d->others_until <= now)
        n = write_others(d, out, cap);
    return n;
}

uint64_t audit_denials_due(const struct audit_denials *d)
{
    uint64_t due = d->count > 0 ? d->slots[d->first].until : UINT64_MAX;

    return d->others > 0 && d->others_until < due ? d->others_until : due;
}
