/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations of the daemon and the library: counted, failing when the program says so, filled with
 * a pattern when they are freed, and all gone at once when a process is killed.
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "tests/sim/real.h"
#include "tests/sim/sim.h"

#define GARBAGE 0xa5
/* How much of a block is filled: filling the rest would cost more than it finds. */
#define FILLED 4096u

struct entry {
    void *p;
    size_t size;
    enum actor actor;
};

/* Open addressing; a power of two, never more than half full. */
static struct entry *table;
static size_t cap, used;
/* Of each actor: blocks, and bytes. */
static size_t blocks[ACTOR_CLIENT + 1], totals[ACTOR_CLIENT + 1];

static size_t place_of(const void *p)
{
    return (size_t)sim_mix((uint64_t)(uintptr_t)p, 7) & (cap - 1);
}

static void insert(void *p, size_t size, enum actor actor)
{
    size_t i = place_of(p);

    while (table[i].p)
        i = (i + 1) & (cap - 1);
    table[i] = (struct entry){p, size, actor};
}

static void grow(void)
{
    struct entry *old = table;
    size_t old_cap = cap;

    cap = cap ? cap * 2 : 4096;
    table = sim_alloc(cap * sizeof(*table));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].p)
            insert(old[i].p, old[i].size, old[i].actor);
    sim_free(old);
}

static void *track(void *p, size_t size)
{
    if (!p || sim.actor == ACTOR_NONE)
        return p;
    if (2 * (used + 1) > cap)
        grow();
    insert(p, size, sim.actor);
    used++;
    blocks[sim.actor]++;
    totals[sim.actor] += size;
    return p;
}

/* An entry behind a hole may belong into the hole. */
static void close_hole(size_t hole)
{
    for (size_t i = (hole + 1) & (cap - 1); table[i].p; i = (i + 1) & (cap - 1)) {
        size_t home = place_of(table[i].p);

        if (((i - home) & (cap - 1)) < ((i - hole) & (cap - 1)))
            continue;
        table[hole] = table[i];
        table[i].p = NULL;
        hole = i;
    }
}

static struct entry *find(const void *p)
{
    if (!p || !cap)
        return NULL;
    for (size_t i = place_of(p); table[i].p; i = (i + 1) & (cap - 1))
        if (table[i].p == p)
            return &table[i];
    return NULL;
}

static void forget(struct entry *entry)
{
    size_t hole = (size_t)(entry - table);

    blocks[entry->actor]--;
    totals[entry->actor] -= entry->size;
    entry->p = NULL;
    used--;
    close_hole(hole);
}

static bool fails(void)
{
    if (!(sim.actor == ACTOR_DAEMON && sim_fault(FAULT_ALLOC, 300)) &&
        !(sim.actor == ACTOR_CLIENT && sim_fault(FAULT_LIBRARY_ALLOC, 300)))
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size)
{
    void *p = fails() ? NULL : __real_malloc(size);

    /* As MALLOC_PERTURB_ does it: the code must not count on zeros. */
    if (p && sim.actor != ACTOR_NONE)
        memset(p, GARBAGE ^ 0xff, size < FILLED ? size : FILLED);
    return track(p, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : track(__real_calloc(count, size), count * size);
}

void *__wrap_realloc(void *p, size_t size)
{
    struct entry *entry = find(p);
    void *new;

    if (!p)
        return __wrap_malloc(size);
    if (fails())
        return NULL;
    new = __real_realloc(p, size);
    if (new &&entry) {
        forget(entry);
        track(new, size);
    }
    return new;
}

void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
    return __wrap_realloc(p, count * size);
}

char *__wrap_strdup(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = __wrap_malloc(len);

    return copy ? memcpy(copy, text, len) : NULL;
}

void __wrap_free(void *p)
{
    struct entry *entry = find(p);

    if (entry) {
        memset(p, GARBAGE, entry->size < FILLED ? entry->size : FILLED);
        forget(entry);
    }
    __real_free(p);
}

size_t alloc_count(enum actor actor, size_t *ret_bytes)
{
    *ret_bytes = totals[actor];
    return blocks[actor];
}

void alloc_drop(enum actor actor)
{
    for (size_t i = 0; i < cap; i++) {
        while (table[i].p && table[i].actor == actor) {
            void *p = table[i].p;

            forget(&table[i]);
            __real_free(p);
        }
    }
}

void alloc_reset(void)
{
    for (size_t i = 0; i < cap; i++)
        if (table[i].p)
            __real_free(table[i].p);
    sim_free(table);
    table = NULL;
    cap = used = 0;
    memset(blocks, 0, sizeof(blocks));
    memset(totals, 0, sizeof(totals));
}
