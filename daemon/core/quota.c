/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the share of a node is computed from the daemon downwards, and what fits into it is
 * added to the node and to each above it.
 * Failures: no room (nothing is charged, the caller says whose share it was), no memory for a node.
 * A user or unit whose connects of the last second are not paid off stays when its last session has
 * gone: who comes back would have them for nothing. It goes when somebody connects later.
 */
#include "daemon/core/quota.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "daemon/core/share.h"

#define BUCKETS 256u
/* Connects are counted in millionths of a second. */
#define TICKS_PER_MS 1000u
#define TICKS_PER_SECOND 1000000u

struct quota {
    struct list node; /* root->buckets[]; of the root: in none */
    struct quota *parent;
    struct list *buckets; /* of the root, of which every node has one of its keys */
    struct list
        debt; /* root->debt, while nothing but connects keeps the node; of the root: those nodes */
    uint64_t now;       /* of the root: when a connect was asked for last, in ticks */
    uint64_t *refusals; /* of the root: of each resource */
    bool is_forced;     /* of the root: quota_force() */
    unsigned int refs;
    unsigned int children, listeners; /* listeners: of the children */
    unsigned int charged;             /* resources with something in use */
    enum quota_level level;
    uint32_t hash;
    uint64_t used[QUOTA_RESOURCES];
    uint64_t limits[QUOTA_RESOURCES];
    struct quota *person;    /* of a user below a listener: the same user, below the daemon */
    void *last;              /* of a user below the daemon: quota_charge_last(); NULL: none */
    struct share share;      /* of a user below the daemon, or of a unit: of the loop's time */
    uint64_t connects_until; /* when the connects so far are paid off, in ticks */
    char key[];
};

/* ---- nodes ---- */

static struct quota *node_new(enum quota_level level, const char *key)
{
    size_t len = strnlen(key, QUOTA_KEY_MAX - 1);
    struct quota *q = mem_zalloc(1, sizeof(*q) + len + 1);

    if (!q)
        return NULL;
    list_init(&q->node);
    list_init(&q->debt);
    memcpy(q->key, key, len);
    q->level = level;
    q->refs = 1;
    for (int i = 0; i < QUOTA_RESOURCES; i++)
        q->limits[i] = QUOTA_NONE;
    return q;
}

struct quota *quota_new(void)
{
    struct quota *q = node_new(QUOTA_DAEMON, "");

    if (!q)
        return NULL;
    q->buckets = mem_alloc(BUCKETS * sizeof(*q->buckets));
    q->refusals = mem_zalloc(QUOTA_RESOURCES, sizeof(*q->refusals));
    if (!q->buckets || !q->refusals) {
        mem_free(q->buckets);
        mem_free(q->refusals);
        return mem_free(q);
    }
    for (unsigned int i = 0; i < BUCKETS; i++)
        list_init(&q->buckets[i]);
    return q;
}

/* FNV-1a, of the key and of whose child it is. */
static uint32_t hash_of(const struct quota *parent, enum quota_level level, const char *key)
{
    uint32_t hash = (2166136261u ^ parent->hash ^ (uint32_t)level) * 16777619u;

    for (size_t i = 0; key[i] && i < QUOTA_KEY_MAX - 1; i++)
        hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    return hash;
}

static struct quota *find_child(const struct quota *parent, enum quota_level level, const char *key,
                                uint32_t hash)
{
    list_for_each (&parent->buckets[hash % BUCKETS], it) {
        struct quota *q = container_of(it, struct quota, node);

        if (q->parent == parent && q->level == level &&
            strncmp(q->key, key, QUOTA_KEY_MAX - 1) == 0)
            return q;
    }
    return NULL;
}

static struct quota *root_of(struct quota *q)
{
    while (q->parent)
        q = q->parent;
    return q;
}

struct quota *quota_child(struct quota *parent, enum quota_level level, const char *key)
{
    uint32_t hash = key ? hash_of(parent, level, key) : 0;
    struct quota *q = key ? find_child(parent, level, key, hash) : NULL;

    assert(level > parent->level);
    if (q)
        return quota_ref(q);
    q = node_new(level, key ? key : "");
    if (q && level == QUOTA_USER && parent->parent) {
        q->person = quota_child(root_of(parent), QUOTA_USER, key);
        if (!q->person)
            q = mem_free(q);
    }
    if (!q)
        return NULL;
    q->parent = parent;
    q->buckets = parent->buckets;
    q->hash = hash;
    if (key)
        list_append(&q->buckets[hash % BUCKETS], &q->node);
    parent->children++;
    parent->listeners += level == QUOTA_LISTENER;
    return q;
}

/* No reference, no node below it, and nothing charged to it. */
static bool is_unused(const struct quota *q)
{
    return q->refs == 0 && q->children == 0 && q->charged == 0;
}

/* A node without a key cannot be found again. */
static bool owes(struct quota *q)
{
    return q->key[0] && q->connects_until > root_of(q)->now;
}

static void keep(struct quota *q)
{
    list_remove(&q->debt);
    list_append(&root_of(q)->debt, &q->debt);
}

static void free_unused(struct quota *q)
{
    while (q && is_unused(q)) {
        struct quota *parent = q->parent;

        if (owes(q))
            return keep(q);
        share_deinit(&q->share);
        quota_unref(q->person);
        list_remove(&q->debt);
        list_remove(&q->node);
        if (parent) {
            parent->children--;
            parent->listeners -= q->level == QUOTA_LISTENER;
        } else {
            mem_free(q->buckets);
            mem_free(q->refusals);
        }
        mem_free(q);
        q = parent;
    }
}

/*
 * The first one has been there for longest: none behind it waits more than the second that can be
 * owed.
 */
static void free_paid(struct quota *root)
{
    struct quota *q;

    while (!list_is_empty(&root->debt)) {
        q = container_of(root->debt.next, struct quota, debt);
        if (is_unused(q) && owes(q))
            return;
        list_remove(&q->debt);
        free_unused(q);
    }
}

/* The daemon ends: no user comes back. */
static void forgive(struct quota *root)
{
    root->now = UINT64_MAX;
    root->refs++; /* it may be what the last one stood below */
    free_paid(root);
    root->refs--;
}

struct quota *quota_above(const struct quota *q)
{
    return q->parent;
}

struct quota *quota_ref(struct quota *q)
{
    q->refs++;
    return q;
}

struct quota *quota_unref(struct quota *q)
{
    if (!q)
        return NULL;
    assert(q->refs > 0);
    q->refs--;
    if (!q->parent && q->refs == 0)
        forgive(q);
    free_unused(q);
    return NULL;
}

struct quota *quota_person(struct quota *q)
{
    while (q && q->level > QUOTA_USER)
        q = q->parent;
    return q && q->person ? q->person : q;
}

struct share *quota_share(struct quota *q, struct share *root)
{
    struct share *above;

    if (!q || q->level < QUOTA_USER)
        return root;
    if (q->person)
        return quota_share(q->person, root);
    above = quota_share(q->parent, root);
    if (q->level == QUOTA_SESSION)
        return above;
    if (!q->share.node.next)
        share_init(&q->share, above, NULL);
    return &q->share;
}

void quota_limit(struct quota *q, enum quota_resource resource, uint64_t most)
{
    q->limits[resource] = most;
}

/* ---- charges ---- */

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Of what the parent may have, `beside` of which is used by others. */
static uint64_t share_of(const struct quota *q, uint64_t parent_most, uint64_t beside)
{
    uint64_t left = less(parent_most, beside);

    if (parent_most == QUOTA_NONE)
        return QUOTA_NONE;
    /* All listeners are made at the start, so a single one shares with no other. */
    if (q->level == QUOTA_LISTENER && q->parent->listeners == 1)
        return left;
    return left / 2 + left % 2;
}

static uint64_t most_of(const struct quota *q, enum quota_resource resource)
{
    uint64_t most = q->limits[resource], share;

    if (!q->parent)
        return most;
    share = share_of(q, most_of(q->parent, resource),
                     q->parent->used[resource] - q->used[resource]);
    return most < share ? most : share;
}

uint64_t quota_room(const struct quota *q, enum quota_resource resource)
{
    return q ? less(most_of(q, resource), q->used[resource]) : QUOTA_NONE;
}

void quota_force(struct quota *q, bool on)
{
    q->is_forced = on;
}

static void add(struct quota *q, enum quota_resource resource, uint64_t n)
{
    for (; q && n > 0; q = q->parent) {
        q->charged += q->used[resource] == 0;
        q->used[resource] += n;
    }
}

int quota_charge(struct quota *q, enum quota_resource resource, uint64_t n)
{
    /* The share of a node is never more than its parent has room for: it is the one to look at. */
    if (n > quota_room(q, resource) && !root_of(q)->is_forced) {
        root_of(q)->refusals[resource]++;
        return -EDQUOT;
    }
    add(q, resource, n);
    return 0;
}

void **quota_charge_last(struct quota *q, enum quota_resource resource, uint64_t n)
{
    struct quota *person = quota_person(q);

    if (person->last)
        return NULL;
    add(q, resource, n);
    return &person->last;
}

void quota_last_returned(struct quota *q, const void *piece)
{
    struct quota *person = quota_person(q);

    if (person && person->last == piece)
        person->last = NULL;
}

void quota_uncharge(struct quota *q, enum quota_resource resource, uint64_t n)
{
    if (!q || n == 0)
        return;
    for (struct quota *at = q; at; at = at->parent) {
        assert(at->used[resource] >= n);
        at->used[resource] -= n;
        at->charged -= at->used[resource] == 0;
    }
    free_unused(q);
}

/* ---- connects per second ---- */

static uint64_t cost_at(const struct quota *q, uint32_t rate)
{
    unsigned int times = q->level == QUOTA_SESSION ? 1 : q->level == QUOTA_UNIT ? 2 : 4;

    return TICKS_PER_SECOND / ((uint64_t)rate * times);
}

bool quota_may_connect(struct quota *q, uint32_t rate, uint64_t now_ms)
{
    uint64_t now = now_ms * TICKS_PER_MS;

    if (!q || rate == 0)
        return true;
    root_of(q)->now = now;
    free_paid(root_of(q));
    for (const struct quota *at = q; at->level > QUOTA_LISTENER; at = at->parent)
        if (less(at->connects_until, now) + cost_at(at, rate) > TICKS_PER_SECOND)
            return false;
    for (struct quota *at = q; at->level > QUOTA_LISTENER; at = at->parent) {
        if (at->connects_until < now)
            at->connects_until = now;
        at->connects_until += cost_at(at, rate);
    }
    return true;
}

/* ---- for people ---- */

const struct quota *quota_full(const struct quota *q, enum quota_resource resource, uint64_t n)
{
    const struct quota *above = q->parent ? quota_full(q->parent, resource, n) : NULL;

    if (above)
        return above;
    return n > quota_room(q, resource) ? q : NULL;
}

enum quota_level quota_level(const struct quota *q)
{
    return q->level;
}

const char *quota_key(const struct quota *q)
{
    return q->key;
}

const char *quota_level_name(enum quota_level level)
{
    static const char *const names[] = {"daemon", "listener", "user", "unit", "session"};

    return names[level];
}

const char *quota_resource_name(enum quota_resource resource)
{
    static const char *const names[QUOTA_RESOURCES] = {
        [QUOTA_CLIENTS] = "clients",      [QUOTA_HELLOS] = "hellos",
        [QUOTA_SOCKETS] = "sockets",      [QUOTA_OPS] = "ops",
        [QUOTA_MEMORY] = "memory",        [QUOTA_KERNEL] = "kernel_buffers",
        [QUOTA_SHARED] = "shared_memory", [QUOTA_BUFFERS] = "buffers",
        [QUOTA_LOOKUPS] = "resolutions",  [QUOTA_LINGERS] = "lingering",
        [QUOTA_ATTEMPTS] = "attempts",    [QUOTA_AUDIT] = "audit",
    };

    return names[resource];
}

const struct quota *quota_at(const struct quota *q, enum quota_level level)
{
    while (q && q->level != level)
        q = q->parent;
    return q;
}

struct quota_usage quota_usage(const struct quota *q, enum quota_resource resource)
{
    return (struct quota_usage){.used = q->used[resource], .most = most_of(q, resource)};
}

uint64_t quota_refusals(const struct quota *q, enum quota_resource resource)
{
    return q->refusals[resource];
}

void quota_add_refusals(struct quota *q, enum quota_resource resource, uint64_t n)
{
    q->refusals[resource] += n;
}
