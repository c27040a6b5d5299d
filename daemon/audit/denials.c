/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/denials.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"

/* Different denials of one user. */
struct user {
    struct list node;
    uint32_t id;
    uint32_t count;
};

struct denial {
    struct list node;    /* of its bucket */
    struct list fifo;    /* of all */
    struct user *user;   /* whose it is */
    struct quota *quota; /* what it is charged to; NULL: nothing */
    uint64_t hash, until, repeats;
    uint32_t size, key_len;
    char key[]; /* and the description behind it */
};

void audit_denials_init(struct audit_denials *d, enum audit_format format)
{
    list_init(&d->fifo);
    for (uint32_t i = 0; i < AUDIT_DENIAL_BUCKETS; i++) {
        list_init(&d->denials[i]);
        list_init(&d->users[i]);
    }
    d->others = 0;
    d->others_until = 0;
    d->format = format;
}

static struct denial *first_of(const struct audit_denials *d)
{
    return list_first(&d->fifo, struct denial, fifo);
}

static void forget_unused(struct user *user)
{
    if (user->count > 0)
        return;
    list_remove(&user->node);
    mem_free(user);
}

static void drop(struct denial *denial)
{
    struct quota *quota = denial->quota;

    list_remove(&denial->node);
    list_remove(&denial->fifo);
    denial->user->count--;
    forget_unused(denial->user);
    quota_uncharge(quota, QUOTA_MEMORY, denial->size);
    quota_unref(quota);
    mem_free(denial);
}

void audit_denials_deinit(struct audit_denials *d)
{
    while (first_of(d))
        drop(first_of(d));
}

/* FNV-1a. Who makes keys collide makes one scan of a bucket slower, no more: keys are compared. */
static uint64_t hash_of(const char *key, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)key[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static struct denial *find(struct audit_denials *d, uint64_t hash, const char *key, size_t len)
{
    list_for_each (&d->denials[hash % AUDIT_DENIAL_BUCKETS], it) {
        struct denial *denial = container_of(it, struct denial, node);

        if (denial->hash == hash && denial->key_len == len && memcmp(denial->key, key, len) == 0)
            return denial;
    }
    return NULL;
}

/* Made if there is none. NULL without memory. */
static struct user *user_of(struct audit_denials *d, uint32_t id)
{
    struct list *bucket = &d->users[id % AUDIT_DENIAL_BUCKETS];
    struct user *user;

    list_for_each (bucket, it) {
        user = container_of(it, struct user, node);
        if (user->id == id)
            return user;
    }
    user = mem_zalloc(1, sizeof(*user));
    if (!user)
        return NULL;
    user->id = id;
    list_append(bucket, &user->node);
    return user;
}

/* Charged, with what is kept of its user. NULL: no room. */
static struct denial *denial_new(struct quota *quota, const char *key, size_t len)
{
    size_t size = sizeof(struct denial) + len + AUDIT_DESCRIPTION_MAX;
    size_t charged = size + sizeof(struct user);
    struct denial *denial;

    if (quota_charge(quota, QUOTA_MEMORY, charged) < 0)
        return NULL;
    denial = mem_zalloc(1, size);
    if (!denial) {
        quota_uncharge(quota, QUOTA_MEMORY, charged);
        return NULL;
    }
    denial->quota = quota ? quota_ref(quota) : NULL;
    denial->size = (uint32_t)charged;
    denial->key_len = (uint32_t)len;
    memcpy(denial->key, key, len);
    return denial;
}

static void add(struct audit_denials *d, struct denial *denial, struct user *user, uint64_t hash,
                uint64_t until)
{
    denial->hash = hash;
    denial->until = until;
    denial->user = user;
    user->count++;
    list_append(&d->denials[hash % AUDIT_DENIAL_BUCKETS], &denial->node);
    list_append(&d->fifo, &denial->fifo);
}

enum taken { IS_REPEAT, IS_NEW, HAS_NO_PLACE };

/* most: of its user. */
static enum taken take(struct audit_denials *d, const struct audit_entry *entry, uint64_t now,
                       uint32_t most)
{
    char key[AUDIT_ENTRY_MAX];
    size_t len = audit_entry_write_key(entry, d->format, key, sizeof(key));
    uint64_t hash = hash_of(key, len);
    struct denial *denial = find(d, hash, key, len);
    struct user *user;

    if (denial) {
        denial->repeats++;
        return IS_REPEAT;
    }
    user = user_of(d, identity_user(entry->identity));
    if (!user)
        return HAS_NO_PLACE;
    if (user->count < most)
        denial = denial_new(entry->quota, key, len);
    if (!denial) {
        forget_unused(user);
        return HAS_NO_PLACE;
    }
    audit_entry_describe(entry, denial->key + len, AUDIT_DESCRIPTION_MAX);
    add(d, denial, user, hash, now + AUDIT_PERIOD_MS);
    return IS_NEW;
}

/*
 * The entry for a user with too many denials: by user id, or by the person's if the person has too
 * many user ids.
 */
static enum taken take_id(struct audit_denials *d, struct audit_entry *entry, uint64_t now)
{
    struct audit_entry only = {.event = AUDIT_DENY,
                               .identity = entry->identity,
                               .quota = entry->quota,
                               .is_uid_only = true,
                               .error = entry->error};
    uint32_t person = identity_user(entry->identity);
    bool is_person = entry->identity->uid == person;
    enum taken taken = take(d, &only, now, is_person ? UINT32_MAX : 2 * AUDIT_DENIALS_PER_USER);

    if (taken == HAS_NO_PLACE && !is_person) {
        d->person = (struct identity){.uid = person, .gid = UINT32_MAX, .pidfd = -1};
        only.identity = &d->person;
        taken = take(d, &only, now, UINT32_MAX);
    }
    if (taken == IS_NEW)
        *entry = only;
    return taken;
}

bool audit_denials_take(struct audit_denials *d, struct audit_entry *entry, uint64_t now)
{
    enum taken taken = take(d, entry, now, AUDIT_DENIALS_PER_USER);

    if (taken == HAS_NO_PLACE)
        taken = take_id(d, entry, now);
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
    return audit_entry_write_summary(key, len,
                                     "clients and destinations that were not counted separately",
                                     count, d->format, out, cap);
}

size_t audit_denials_next(struct audit_denials *d, uint64_t now, char *out, size_t cap)
{
    struct denial *denial;
    size_t n = 0;

    while (n == 0 && (denial = first_of(d)) && denial->until <= now) {
        if (denial->repeats > 0)
            n = audit_entry_write_summary(denial->key, denial->key_len,
                                          denial->key + denial->key_len, denial->repeats, d->format,
                                          out, cap);
        drop(denial);
    }
    if (n == 0 && d->others > 0 && d->others_until <= now)
        n = write_others(d, out, cap);
    return n;
}

uint64_t audit_denials_due(const struct audit_denials *d)
{
    const struct denial *first = first_of(d);
    uint64_t due = first ? first->until : UINT64_MAX;

    return d->others > 0 && d->others_until < due ? d->others_until : due;
}

/* ---- from one process to the next ---- */

uint32_t audit_denials_count(const struct audit_denials *d)
{
    uint32_t count = 0;

    list_for_each (&d->fifo, it)
        count++;
    return count;
}

bool audit_denials_each(const struct audit_denials *d, const void **place,
                        struct audit_denial_past *ret)
{
    const struct list *at = *place ? *place : &d->fifo;
    const struct denial *denial;

    if (at->next == &d->fifo)
        return false;
    denial = container_of(at->next, struct denial, fifo);
    *ret = (struct audit_denial_past){
        .key = denial->key,
        .description = denial->key + denial->key_len,
        .key_len = denial->key_len,
        .user = denial->user->id,
        .until = denial->until,
    };
    *place = at->next;
    return true;
}

/* A period that begins now ends behind it, and none that is there does. */
static uint64_t end_of_period(const struct audit_denials *d, uint64_t until, uint64_t now)
{
    uint64_t latest = now + AUDIT_PERIOD_MS, earliest = 0;

    if (!list_is_empty(&d->fifo))
        earliest = container_of(d->fifo.prev, struct denial, fifo)->until;
    if (until < earliest)
        until = earliest;
    return until < latest ? until : latest;
}

int audit_denials_restore(struct audit_denials *d, struct quota *quota,
                          const struct audit_denial_past *past, uint64_t now)
{
    uint64_t hash = hash_of(past->key, past->key_len);
    struct denial *denial;
    struct user *user;

    if (find(d, hash, past->key, past->key_len))
        return -EINVAL;
    user = user_of(d, past->user);
    if (!user)
        return -ENOMEM;
    denial = denial_new(quota, past->key, past->key_len);
    if (!denial) {
        forget_unused(user);
        return -ENOMEM;
    }
    snprintf(denial->key + past->key_len, AUDIT_DESCRIPTION_MAX, "%s", past->description);
    add(d, denial, user, hash, end_of_period(d, past->until, now));
    return 0;
}
