/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: cache_put() copies an answer into an entry of its user, cache_find() gives it back
 * until it is too old. A timer drops what is older than any entry may be; what has ended earlier is
 * dropped when somebody asks for it.
 * Failures: no memory, none left for the user, too many entries: the answer is not kept.
 */
#include "daemon/names/cache.h"

#include <ev.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/time.h"
#include "daemon/core/quota.h"
#include "daemon/names/host.h"

#define BUCKETS 1024u

struct cache {
    struct ev_loop *loop;
    struct ev_timer expire;
    struct list buckets[BUCKETS]; /* struct entry */
    struct list oldest;           /* struct entry, in the order in which they came */
    struct list users;            /* struct user */
    unsigned int count;
};

struct user {
    struct list node;    /* cache->users */
    struct quota *quota; /* held, so that no other user has its address */
    struct list oldest;  /* struct entry */
    unsigned int count;
};

struct entry {
    struct list bucket, age, of_user;
    struct user *user;
    uint64_t came, until;
    size_t size;
    int family;
    unsigned int count;
    char name[HOST_TEXT_MAX + 1];
    union resolver_address addresses[];
};

static struct list *bucket_of(struct cache *cache, const struct quota *quota, const char *name,
                              int family)
{
    uint64_t hash = hash_bytes(name, strlen(name)) + hash_bytes(&quota, sizeof(quota));

    hash += (uint64_t)family;
    return &cache->buckets[(hash ^ hash >> 32) % BUCKETS];
}

static void user_free(struct user *user)
{
    list_remove(&user->node);
    quota_unref(user->quota);
    mem_free(user);
}

static void entry_free(struct cache *cache, struct entry *entry)
{
    struct user *user = entry->user;

    list_remove(&entry->bucket);
    list_remove(&entry->age);
    list_remove(&entry->of_user);
    quota_uncharge(user->quota, QUOTA_MEMORY, entry->size);
    cache->count--;
    if (--user->count == 0)
        user_free(user);
    mem_free(entry);
}

static struct quota *user_of(struct quota *quota)
{
    return (struct quota *)(uintptr_t)quota_at(quota, QUOTA_USER);
}

static struct user *find_user(struct cache *cache, const struct quota *quota)
{
    list_for_each (&cache->users, it) {
        struct user *user = container_of(it, struct user, node);

        if (user->quota == quota)
            return user;
    }
    return NULL;
}

static struct entry *find(struct cache *cache, const struct quota *quota, const char *name,
                          int family)
{
    list_for_each (bucket_of(cache, quota, name, family), it) {
        struct entry *entry = container_of(it, struct entry, bucket);

        if (entry->user->quota == quota && entry->family == family && !strcmp(entry->name, name))
            return entry;
    }
    return NULL;
}

static struct entry *oldest_of(const struct list *oldest)
{
    return list_first(oldest, struct entry, age);
}

static void watch_oldest(struct cache *cache, uint64_t now)
{
    const struct entry *first = oldest_of(&cache->oldest);
    uint64_t end = first ? first->came + CACHE_LIFE_MS : 0;

    if (!first || ev_is_active(&cache->expire))
        return;
    ev_timer_set(&cache->expire, end > now ? (ev_tstamp)(end - now) / 1e3 : 0., 0.);
    ev_timer_start(cache->loop, &cache->expire);
}

static void on_expire(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct cache *cache = timer->data;
    uint64_t now = time_now_ms();
    struct entry *entry;

    (void)loop, (void)events;
    while ((entry = oldest_of(&cache->oldest)) && entry->came + CACHE_LIFE_MS <= now)
        entry_free(cache, entry);
    watch_oldest(cache, now);
}

/* The user's, made if need be. NULL: no memory. */
static struct user *take_user(struct cache *cache, struct quota *quota)
{
    struct user *user = find_user(cache, quota);

    if (user)
        return user;
    user = mem_zalloc(1, sizeof(*user));
    if (!user)
        return NULL;
    user->quota = quota_ref(quota);
    list_init(&user->oldest);
    list_append(&cache->users, &user->node);
    return user;
}

/* Charged to the user. NULL: no memory. */
static struct entry *entry_new(struct cache *cache, struct quota *quota, unsigned int count)
{
    size_t size = sizeof(struct entry) + count * sizeof(union resolver_address);
    struct entry *entry;
    struct user *user;

    if (quota_charge(quota, QUOTA_MEMORY, size) < 0)
        return NULL;
    entry = mem_zalloc(1, size);
    user = entry ? take_user(cache, quota) : NULL;
    if (!user) {
        quota_uncharge(quota, QUOTA_MEMORY, size);
        mem_free(entry);
        return NULL;
    }
    entry->user = user;
    entry->size = size;
    entry->count = count;
    user->count++;
    cache->count++;
    list_append(&user->oldest, &entry->of_user);
    list_append(&cache->oldest, &entry->age);
    return entry;
}

void cache_put(struct cache *cache, struct quota *quota, const char *name, int family,
               const struct resolver_result *result)
{
    uint64_t now = time_now_ms(), life = (uint64_t)result->ttl * 1000;
    struct entry *entry;
    struct user *user;

    quota = user_of(quota);
    if (!quota || result->ttl == 0)
        return;
    entry = find(cache, quota, name, family);
    if (entry)
        entry_free(cache, entry);
    user = find_user(cache, quota);
    if (user && user->count >= CACHE_USER_ENTRIES)
        entry_free(cache, list_first(&user->oldest, struct entry, of_user));
    if (cache->count >= CACHE_ENTRIES)
        return;
    entry = entry_new(cache, quota, result->count);
    if (!entry)
        return;
    entry->came = now;
    entry->until = now + (life < CACHE_LIFE_MS ? life : CACHE_LIFE_MS);
    entry->family = family;
    strcpy(entry->name, name);
    memcpy(entry->addresses, result->addresses, result->count * sizeof(result->addresses[0]));
    list_append(bucket_of(cache, quota, name, family), &entry->bucket);
    watch_oldest(cache, now);
}

bool cache_find(struct cache *cache, struct quota *quota, const char *name, int family,
                struct resolver_result *ret)
{
    struct entry *entry;

    quota = user_of(quota);
    entry = quota ? find(cache, quota, name, family) : NULL;
    if (!entry)
        return false;
    if (entry->until <= time_now_ms()) {
        entry_free(cache, entry);
        return false;
    }
    ret->error = ERR_SUCCESS;
    ret->source = RESOLVER_CACHE;
    ret->count = entry->count;
    memcpy(ret->addresses, entry->addresses, entry->count * sizeof(ret->addresses[0]));
    return true;
}

void cache_clear(struct cache *cache)
{
    struct entry *entry;

    while ((entry = oldest_of(&cache->oldest)))
        entry_free(cache, entry);
}

struct cache *cache_new(struct ev_loop *loop)
{
    struct cache *cache = mem_zalloc(1, sizeof(*cache));

    if (!cache)
        return NULL;
    cache->loop = loop;
    for (unsigned int i = 0; i < BUCKETS; i++)
        list_init(&cache->buckets[i]);
    list_init(&cache->oldest);
    list_init(&cache->users);
    ev_timer_init(&cache->expire, on_expire, 0., 0.);
    cache->expire.data = cache;
    return cache;
}

struct cache *cache_free(struct cache *cache)
{
    if (!cache)
        return NULL;
    cache_clear(cache);
    ev_timer_stop(cache->loop, &cache->expire);
    return mem_free(cache);
}
