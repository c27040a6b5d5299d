/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_RECENT_H
#define ASOCKD_AUDIT_RECENT_H

/*
 * Who was denied what within the last hour, and how often, for the administrator (DENIALS), with or
 * without an audit. Denials that differ only in process and time are one entry. Each person has at
 * most RECENT_PER_PERSON entries, charged to the person's memory. Beyond that limit, or RECENT_MAX,
 * the entry whose last denial is oldest is dropped.
 */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/list.h"
#include "daemon/audit/entry.h"
#include "daemon/core/loop.h"
#include "daemon/identity/identity.h"
#include "proto/codec.h"

/* All entries are searched for each denial, which takes some microseconds. */
#define RECENT_MAX 1024u
#define RECENT_PER_PERSON 128u
#define RECENT_PERIOD_MS (60u * 60u * 1000u)

struct quota;

struct recent_denial {
    struct list node; /* of all entries, ordered by their last denial */
    struct quota *quota;
    uint64_t serial; /* numbers the entries by their first denial */
    uint64_t until, count;
    time_t first, last; /* wall clock, for people */
    uint32_t uid, person, size;
    pid_t pid;        /* of the last denial */
    const char *verb; /* as in recent_note() */
    uint16_t port;
    struct endpoint remote; /* address_len 0: the denial is about a name or a local address */
    struct endpoint local;  /* of a listener, also if its peer was denied; address_len 0: none */
    char comm[IDENTITY_COMM_MAX];
    const char *unit, *user_unit, *listener, *host, *rule, *reason; /* "": none */
    char texts[];
};

struct recent;

struct recent *recent_new(struct worker *w);       /* NULL without memory */
struct recent *recent_free(struct recent *recent); /* accepts NULL; returns it */

/* verb: "connect", "resolve", "bind" or "accept", a static string. recent may be NULL. */
void recent_note(struct recent *recent, const struct audit_entry *entry, const char *verb);

/*
 * From one process to the next: the entry behind this one, in the order of their last denials, or
 * the first; NULL: there is none. And one of them, as the other process had it, with its verb and
 * texts, charged to its person's memory: 0, or -ENOMEM; -EINVAL: there is no such verb.
 */
const struct recent_denial *recent_next(const struct recent *recent,
                                        const struct recent_denial *denial);
int recent_restore(struct recent *recent, const struct recent_denial *past);
void recent_restore_dropped(struct recent *recent, uint64_t dropped);

/* Drops the entries whose hour is over. A deadline calls it. */
void recent_expire(struct recent *recent);

/* The first one from this serial on; NULL: there is none. recent may be NULL. */
const struct recent_denial *recent_from(const struct recent *recent, uint64_t serial);
/* The number of denials for which there was no room. */
uint64_t recent_dropped(const struct recent *recent);

#endif
