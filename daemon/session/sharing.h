/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SHARING_H
#define ASOCKD_SHARING_H

/*
 * How SHARE creates a listener and how a sharing session serves it: the session asks, the server
 * does the work. Sessions that come by such a listener are judged and charged as the sharer, and
 * end with it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/* A clients' socket's own name in its directory. */
#define LISTENER_SOCKET "asock.sock"

struct op;
struct identity;
struct session;

/* A listener that a session has made, as it goes to another process (daemon/state/). */
struct shared_past {
    const char *name; /* of its directory, which stays */
    int fd;
    uint64_t token; /* of its SHARE; 0: a later one has it */
    bool may_lend;
};

struct sharing {
    /* Why the server cannot create listeners; NULL: it can. */
    const char *problem;
    /*
     * Creates a listener for op->session. 0: the queued op ends later. Otherwise an enum
     * asock_wire_error, with op->text.
     */
    int (*open)(struct sharing *sharing, struct op *op);
    /* The op has ended early: drop its listener. */
    void (*forget)(struct op *op);
    /* Closes the listener that the session's SHARE with that token made. False: there is none. */
    bool (*withdraw)(struct session *s, uint64_t token);
    /* Accepts one client at the session's listeners. True: there may be more. */
    bool (*accept)(struct session *s);
    /* The session has ended: close its listeners and end pending SHAREs. */
    void (*close)(struct session *s);
    /* The session's listener with that number, from 0 on; false: there are no more. */
    bool (*save)(const struct session *s, unsigned int number, struct shared_past *ret);
    /* Takes what another process had, with past->fd on success. -ENOMEM, -EDQUOT, -EINVAL. */
    int (*restore)(struct session *s, const struct shared_past *past);
    /*
     * Whether another process may continue with the listeners: then their directories stay when
     * this one ends.
     */
    void (*stay)(struct sharing *sharing, bool stays);
    /* Another process has the session: forgets its listeners. */
    void (*leave)(struct session *s);
};

/* ---- the session's side (session_sharing.c) ---- */

struct session_sharing {
    /*
     * The session by whose listener it came, and as which it counts; NULL: none. The sharer
     * outlives it.
     */
    struct session *sharer;
    struct list place;       /* in the sharer's sharees */
    struct list sharees;     /* sessions that came by its listeners */
    struct list listeners;   /* owned by the server; one may not be ready yet */
    uint32_t sharee_count;   /* its sharees and all sessions below them */
    uint32_t depth;          /* number of sharers above it */
    uint32_t listener_count; /* its own listeners */
    bool must_accept;        /* clients wait at its listeners */
    bool must_end;           /* its sharer has ended */
    bool may_not_lend;       /* its sharer has not permitted lending */
};

void session_sharing_init(struct session_sharing *sharing);

/* The identity by which it is judged and charged: its own, or that of the topmost sharer. */
const struct identity *session_identity(const struct session *s);
/* Clients wait at one of its shared listeners. */
void session_accept_later(struct session *s);
/*
 * One step of the session each: accepts one such client; ends the session, because its sharer has
 * ended.
 */
void session_accept_step(struct session *s), session_end_with_sharer(struct session *s);
/* Call it when the sharer is set. */
void session_join(struct session *s, struct session *sharer, bool may_lend);
void session_leave_sharer(struct session *s); /* if it has one */
/* It has ended: closes its listeners at once, and makes the sessions that came by them end soon. */
void session_end_sharees(struct session *s);

#endif
