/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/recent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"

struct recent {
    struct worker *worker;
    struct list denials;
    struct deadline expiry; /* of the entry that expires first */
    uint32_t count;
    uint64_t next_serial, dropped;
};

static struct recent_denial *first_of(const struct recent *recent)
{
    return list_first(&recent->denials, struct recent_denial, node);
}

static void drop(struct recent *recent, struct recent_denial *denial)
{
    struct quota *quota = denial->quota;

    list_remove(&denial->node);
    recent->count--;
    quota_uncharge(quota, QUOTA_MEMORY, denial->size);
    quota_unref(quota);
    mem_free(denial);
}

static void watch(struct recent *recent)
{
    const struct recent_denial *first = first_of(recent);
    uint64_t now = recent->worker->clock();

    if (first && !deadline_is_set(&recent->expiry))
        worker_set_deadline(recent->worker, &recent->expiry,
                            first->until > now ? first->until - now : 0);
}

void recent_expire(struct recent *recent)
{
    uint64_t now = recent->worker->clock();
    struct recent_denial *first;

    while ((first = first_of(recent)) && first->until <= now)
        drop(recent, first);
    watch(recent);
}

static void expire(struct deadline *deadline)
{
    recent_expire(container_of(deadline, struct recent, expiry));
}

struct recent *recent_new(struct worker *w)
{
    struct recent *recent = mem_zalloc(1, sizeof(*recent));

    if (!recent)
        return NULL;
    recent->worker = w;
    recent->next_serial = 1;
    list_init(&recent->denials);
    deadline_init(&recent->expiry, expire);
    return recent;
}

struct recent *recent_free(struct recent *recent)
{
    if (!recent)
        return NULL;
    deadline_deinit(&recent->expiry);
    while (first_of(recent))
        drop(recent, first_of(recent));
    return mem_free(recent);
}

/* What two denials that are reported as one have in common. */
struct what {
    const struct audit_entry *entry;
    const char *verb;
    const char *texts[6]; /* in the order of struct recent_denial */
};
#define TEXTS (sizeof(((struct what *)NULL)->texts) / sizeof(const char *))

static const char *text_of(const char *text)
{
    return text ? text : "";
}

/* Stands for a missing address: the denial is about a name, or has no peer. */
static struct endpoint copy_of(const struct endpoint *endpoint)
{
    return endpoint ? *endpoint : (struct endpoint){.address_len = 0};
}

static bool is_address(const struct endpoint *kept, const struct endpoint *endpoint)
{
    const struct endpoint e = copy_of(endpoint);

    return kept->address_len == e.address_len && kept->scope_id == e.scope_id &&
           memcmp(kept->address, e.address, e.address_len) == 0;
}

/*
 * The port that the client asked for. A peer's port does not count: it differs with each
 * connection.
 */
static uint16_t port_of(const struct audit_entry *entry)
{
    return entry->local ? entry->local->port : entry->port;
}

static bool is_same(const struct recent_denial *d, const struct what *what)
{
    const struct audit_entry *e = what->entry;
    const char *const texts[TEXTS] = {d->unit, d->user_unit, d->listener,
                                      d->host, d->rule,      d->reason};

    if (d->uid != e->identity->uid || d->person != identity_user(e->identity) ||
        d->port != port_of(e) || strcmp(d->verb, what->verb) != 0)
        return false;
    if (!is_address(&d->remote, e->remote) || !is_address(&d->local, e->local))
        return false;
    for (size_t i = 0; i < TEXTS; i++)
        if (strcmp(texts[i], what->texts[i]) != 0)
            return false;
    return true;
}

static struct recent_denial *find(const struct recent *recent, const struct what *what)
{
    list_for_each (&recent->denials, it) {
        struct recent_denial *denial = container_of(it, struct recent_denial, node);

        if (is_same(denial, what))
            return denial;
    }
    return NULL;
}

/*
 * Drops the person's oldest entry if the person has too many; otherwise the oldest of all if there
 * are too many.
 */
static void make_place(struct recent *recent, uint32_t person)
{
    struct recent_denial *own = NULL;
    uint32_t count = 0;

    list_for_each (&recent->denials, it) {
        struct recent_denial *denial = container_of(it, struct recent_denial, node);

        if (denial->person != person)
            continue;
        own = own ? own : denial;
        count++;
    }
    if (count >= RECENT_PER_PERSON)
        drop(recent, own);
    else if (recent->count >= RECENT_MAX)
        drop(recent, first_of(recent));
}

static void copy_texts(struct recent_denial *d, const char *const texts[static TEXTS])
{
    const char **const to[TEXTS] = {&d->unit, &d->user_unit, &d->listener,
                                    &d->host, &d->rule,      &d->reason};
    char *at = d->texts;

    for (size_t i = 0; i < TEXTS; i++) {
        size_t size = strlen(texts[i]) + 1;

        *to[i] = memcpy(at, texts[i], size);
        at += size;
    }
}

/* With its texts. NULL: no room. */
static struct recent_denial *make(struct recent *recent, struct quota *quota, uint32_t person,
                                  const char *const texts[static TEXTS])
{
    size_t size = sizeof(struct recent_denial);
    struct recent_denial *d;

    for (size_t i = 0; i < TEXTS; i++)
        size += strlen(texts[i]) + 1;
    make_place(recent, person);
    if (quota_charge(quota, QUOTA_MEMORY, size) < 0)
        return NULL;
    d = mem_zalloc(1, size);
    if (!d) {
        quota_uncharge(quota, QUOTA_MEMORY, size);
        return NULL;
    }
    d->quota = quota ? quota_ref(quota) : NULL;
    d->size = (uint32_t)size;
    d->person = person;
    copy_texts(d, texts);
    list_init(&d->node);
    recent->count++;
    return d;
}

/* NULL: no room. */
static struct recent_denial *add(struct recent *recent, const struct what *what)
{
    const struct audit_entry *e = what->entry;
    struct recent_denial *d = make(recent, e->quota, identity_user(e->identity), what->texts);

    if (!d)
        return NULL;
    d->serial = recent->next_serial++;
    d->first = time(NULL);
    d->uid = e->identity->uid;
    d->verb = what->verb;
    d->port = port_of(e);
    d->remote = copy_of(e->remote);
    d->local = copy_of(e->local);
    return d;
}

void recent_note(struct recent *recent, const struct audit_entry *entry, const char *verb)
{
    struct what what = {entry,
                        verb,
                        {entry->identity->unit, entry->identity->user_unit,
                         text_of(entry->listener), text_of(entry->host), text_of(entry->rule),
                         text_of(entry->reason)}};
    struct recent_denial *denial;

    if (!recent)
        return;
    denial = find(recent, &what);
    if (!denial)
        denial = add(recent, &what);
    if (!denial) {
        recent->dropped++;
        return;
    }
    denial->count++;
    denial->pid = entry->pid;
    memcpy(denial->comm, entry->identity->comm, sizeof(denial->comm));
    denial->last = time(NULL);
    denial->until = recent->worker->clock() + RECENT_PERIOD_MS;
    list_remove(&denial->node);
    list_append(&recent->denials, &denial->node);
    watch(recent);
}

/* ---- from one process to the next ---- */

const struct recent_denial *recent_next(const struct recent *recent,
                                        const struct recent_denial *denial)
{
    const struct list *next = denial ? denial->node.next : recent ? recent->denials.next : NULL;

    if (!next || next == &recent->denials)
        return NULL;
    return container_of(next, struct recent_denial, node);
}

/* The same text as recent_note() has, which outlives the state. NULL: no such verb. */
static const char *verb_of(const char *verb)
{
    static const char *const known[] = {"connect", "resolve", "bind", "accept"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i], verb) == 0)
            return known[i];
    return NULL;
}

/* Its hour ends no later than one that begins now. */
static uint64_t end_of_hour(const struct recent *recent, uint64_t until)
{
    uint64_t latest = recent->worker->clock() + RECENT_PERIOD_MS;

    return until < latest ? until : latest;
}

int recent_restore(struct recent *recent, const struct recent_denial *past)
{
    const char *const texts[TEXTS] = {past->unit, past->user_unit, past->listener,
                                      past->host, past->rule,      past->reason};
    const char *verb = verb_of(past->verb);
    struct recent_denial *d;
    struct quota *quota;
    char key[16];

    if (!verb)
        return -EINVAL;
    snprintf(key, sizeof(key), "%u", (unsigned int)past->person);
    quota = quota_child(recent->worker->quota, QUOTA_USER, key);
    d = quota ? make(recent, quota, past->person, texts) : NULL;
    quota_unref(quota);
    if (!d)
        return -ENOMEM;
    d->serial = past->serial;
    d->until = end_of_hour(recent, past->until);
    d->count = past->count;
    d->first = past->first;
    d->last = past->last;
    d->uid = past->uid;
    d->pid = past->pid;
    d->verb = verb;
    d->port = past->port;
    d->remote = past->remote;
    d->local = past->local;
    memcpy(d->comm, past->comm, sizeof(d->comm));
    list_append(&recent->denials, &d->node);
    if (recent->next_serial <= d->serial)
        recent->next_serial = d->serial + 1;
    watch(recent);
    return 0;
}

void recent_restore_dropped(struct recent *recent, uint64_t dropped)
{
    recent->dropped += dropped;
}

const struct recent_denial *recent_from(const struct recent *recent, uint64_t serial)
{
    const struct recent_denial *found = NULL;

    if (!recent)
        return NULL;
    list_for_each (&recent->denials, it) {
        const struct recent_denial *denial = container_of(it, struct recent_denial, node);

        if (denial->serial >= serial && (!found || denial->serial < found->serial))
            found = denial;
    }
    return found;
}

uint64_t recent_dropped(const struct recent *recent)
{
    return recent ? recent->dropped : 0;
}
