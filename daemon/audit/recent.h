/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_RECENT_H
#define ASOCKD_AUDIT_RECENT_H

/*
 * Who was denied what within the last hour, and how often, for the administrator to look at; whatever is recorded.
 * Denials that differ in process and time only are one entry. A person has RECENT_PER_PERSON of them, charged as memory of
 * his: of more, and where all have too many, the one that goes was denied longest ago.
 */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/list.h"
#include "daemon/audit/entry.h"
#include "daemon/core/loop.h"
#include "daemon/identity/identity.h"
#include "proto/codec.h"

/* Looked through for each denial: some microseconds. */
#define RECENT_MAX 1024u
#define RECENT_PER_PERSON 128u
#define RECENT_PERIOD_MS (60u * 60u * 1000u)

struct quota;

struct recent_denial {
    struct list node; /* of all, in the order in which they were denied last */
    struct quota *quota;
    uint64_t serial; /* in the order in which they were denied first */
    uint64_t until, count;
    time_t first, last; /* wall clock, for people */
    uint32_t uid, person, size;
    pid_t pid;        /* that was denied last */
    const char *verb; /* as in recent_note() */
    uint16_t port;
    struct endpoint remote; /* address_len 0: a name was denied, or a local address */
    struct endpoint
        local; /* where it may not listen, or not hear the remote one; address_len 0: neither */
    char comm[IDENTITY_COMM_MAX];
    const char *unit, *user_unit, *listener, *host, *rule, *reason; /* "": none */
    char texts[];
};

struct recent;

struct recent *recent_new(struct worker *w);       /* NULL without memory */
struct recent *recent_free(struct recent *recent); /* accepts NULL; returns it */

/* verb: "connect", "resolve", "bind" or "accept"; it outlives the denial. recent may be NULL. */
void recent_note(struct recent *recent, const struct audit_entry *entry, const char *verb);

/* Those whose hour is over go; a deadline sees to it. */
void recent_expire(struct recent *recent);

/* The first one from this serial on; NULL: there is none. recent may be NULL. */
const struct recent_denial *recent_from(const struct recent *recent, uint64_t serial);
/* Denials that found no room. */
uint64_t recent_dropped(const struct recent *recent);

#endif
