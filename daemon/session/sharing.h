/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SHARING_H
#define ASOCKD_SHARING_H

/*
 * How SHARE gets a listener, and a session that shares serves it: the session asks, the server does it. Sessions
 * that come by such a listener count as the sharer, and end with it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct op;
struct identity;
struct session;

struct sharing {
    /* Why no listener can be made; NULL: they can. */
    const char *problem;
    /* A listener for op->session. 0: the op, which is queued, ends later. Or an enum asock_wire_error, with op->text. */
    int (*open)(struct sharing *sharing, struct op *op);
    /* The op ends early: nobody waits for its listener. */
    void (*forget)(struct op *op);
    /* Deals with one client at the session's listeners. True: there may be more. */
    bool (*accept)(struct session *s);
    /* The session has ended: its listeners close, and what SHARE waits for ends. */
    void (*close)(struct session *s);
};

/* ---- the session's side (session_sharing.c) ---- */

struct session_sharing {
    /* By whose listener it came, and as whom it counts; NULL: by one of the daemon's own. It outlives this one. */
    struct session *sharer;
    struct list place;       /* in the sharer's sharees */
    struct list sharees;     /* sessions that came by its listeners */
    struct list listeners;   /* the server's; one may still be in the making */
    uint32_t sharee_count;   /* with those below them */
    uint32_t depth;          /* sharers above it */
    uint32_t listener_count; /* of its own */
    bool must_accept;        /* clients wait at its listeners */
    bool must_end;           /* its sharer has ended */
    bool may_not_lend;       /* its sharer has not said that it may */
};

void session_sharing_init(struct session_sharing *sharing);

/* As whom it is judged, and charged: its own identity, or that of the first one who shared. */
const struct identity *session_identity(const struct session *s);
/* Clients of a listener that it shares have come. */
void session_accept_later(struct session *s);
/* A step of its share each: one such client; its end. */
void session_accept_step(struct session *s), session_end_with_sharer(struct session *s);
/* The sharer is set already. */
void session_join(struct session *s, struct session *sharer, bool may_lend);
void session_leave_sharer(struct session *s); /* if it has one */
/* It has ended: so do its listeners, at once, and those who came by them, soon. */
void session_end_sharees(struct session *s);

#endif
