/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_QUOTA_H
#define ASOCKD_QUOTA_H

/*
 * How much of the daemon's resources each client holds. A tree of counters:
 *
 *     daemon - listener - user - unit - session
 *
 * What a session holds is charged to it and to everything above it, before it is allocated. A node
 * may have at most half of what its parent has left beside it,
 *
 *     used + n <= (most of the parent - used by its other children) / 2      (rounded up)
 *
 * and its own limit at most. So k greedy children have 1/(k+1) each, and the next one finds as
 * much. A listener that is the only one has all that the daemon has. Clients of which no unit is
 * known stand directly below their user.
 *
 * A node lives as long as it is referenced, something is charged to it, or a node below it lives: a
 * draining socket is charged to its client's nodes long after the client has gone. If connects per
 * second are limited, the node of a user or unit also lives until its connects are a second old.
 *
 * A user's share of the loop's time, and of resources that do not belong to a listener, must not
 * grow with the number of listeners that the user connects to. So each user also has a node
 * directly below the daemon, called the person.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quota_resource {
    QUOTA_CLIENTS,  /* sessions */
    QUOTA_HELLOS,   /* of them, those that have not said Hello */
    QUOTA_SOCKETS,  /* promised to a session: each may have a descriptor */
    QUOTA_OPS,      /* promised to a session */
    QUOTA_MEMORY,   /* bytes of the daemon's own: promised for what a session may queue, and what it
                       takes beside: blocks, open sockets, connects, slices, restrictions */
    QUOTA_KERNEL,   /* bytes that sockets' buffers in the kernel may grow to */
    QUOTA_SHARED,   /* bytes of shared memory */
    QUOTA_BUFFERS,  /* pieces of it: each has a descriptor and a mapping */
    QUOTA_LOOKUPS,  /* questions to the resolver */
    QUOTA_LINGERS,  /* sockets whose close goes on */
    QUOTA_ATTEMPTS, /* attempts of a connect that run beside the first one */
    QUOTA_AUDIT,    /* bytes of audit entries that were not written yet */
    QUOTA_RESOURCES /* a state has numbers in this order: a new one comes last */
};

enum quota_level { QUOTA_DAEMON, QUOTA_LISTENER, QUOTA_USER, QUOTA_UNIT, QUOTA_SESSION };

#define QUOTA_NONE UINT64_MAX /* no limit of its own */
#define QUOTA_KEY_MAX 512u    /* bytes with the NUL; a longer one is cut */

struct quota;
struct share;
struct quota_usage {
    uint64_t used, most; /* most: as things are now; it may be less than used */
};

/* The daemon's own node, without limits. NULL without memory. */
struct quota *quota_new(void);
/* The parent's child of this level and key, made if there is none; key NULL: always a new one. */
struct quota *quota_child(struct quota *parent, enum quota_level level, const char *key);
/* Whose child it is; of the daemon's own: NULL. */
struct quota *quota_above(const struct quota *q);
struct quota *quota_ref(struct quota *q);
struct quota *quota_unref(struct quota *q); /* accepts NULL; returns it */

/* The user's node below the daemon, of one of its nodes; NULL: none. */
struct quota *quota_person(struct quota *q);
/*
 * Above which share of the loop's time a session of this node stands: its unit's or user's; without
 * these: root.
 */
struct share *quota_share(struct quota *q, struct share *root);
/* Under what is used already: nothing more is charged until it is less. */
void quota_limit(struct quota *q, enum quota_resource resource, uint64_t most);

/* What could be charged now. NULL has unlimited room, here and in the calls below. */
uint64_t quota_room(const struct quota *q, enum quota_resource resource);
/* 0, or -EDQUOT: nothing is charged. */
int quota_charge(struct quota *q, enum quota_resource resource, uint64_t n);
/*
 * While it is on, whatever is charged below this node, the daemon's own, is taken, over any limit:
 * an earlier process has promised it (daemon/state/). quota_room() says nothing of it.
 */
void quota_force(struct quota *q, bool on);
/* As much as was charged, or part of it; asserts. q may be gone when it returns. */
void quota_uncharge(struct quota *q, enum quota_resource resource, uint64_t n);

/*
 * As quota_charge(), over any limit, for a piece of which a user has one at a time: without it he
 * could not go on at all. Its place, empty until the caller fills it; NULL: there is one already,
 * and nothing is charged. Of a node below a user.
 */
void **quota_charge_last(struct quota *q, enum quota_resource resource, uint64_t n);
/* It is given back: whoever uncharges it says so first. Does nothing for another piece. */
void quota_last_returned(struct quota *q, const void *piece);

/*
 * One connect, of `rate` a second: a session may do as many, those of one unit together twice, of
 * one user four times, each saved up for a second at most; 0: any number. false: too many.
 */
bool quota_may_connect(struct quota *q, uint32_t rate, uint64_t now_ms);

/* ---- for people ---- */

/* The highest node that has no room for n more; NULL: there is room. */
const struct quota *quota_full(const struct quota *q, enum quota_resource resource, uint64_t n);
enum quota_level quota_level(const struct quota *q);
const char *quota_key(const struct quota *q);
const char *quota_level_name(enum quota_level level);
const char *quota_resource_name(enum quota_resource resource);
/* The node of this level, from q upwards; NULL: none. */
const struct quota *quota_at(const struct quota *q, enum quota_level level);
struct quota_usage quota_usage(const struct quota *q, enum quota_resource resource);
/* How often a charge was refused, in all nodes below q, which is the daemon's own node. */
uint64_t quota_refusals(const struct quota *q, enum quota_resource resource);
void quota_add_refusals(struct quota *q, enum quota_resource resource, uint64_t n); /* likewise */

#endif
