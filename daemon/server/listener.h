/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_LISTENER_H
#define ASOCKD_LISTENER_H

/*
 * The Unix sockets that clients connect to, and the way from there into a session. Which listener a
 * client came by decides what it may ask for.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/server/gate.h"
#include "daemon/server/listener_spec.h"
#include "daemon/core/loop.h"
#include "daemon/session/session.h"

/* Connections that wait to be accepted; the kernel caps it at net.core.somaxconn. */
#define LISTENER_BACKLOG 4096
/* How long a listener rests when not even the spare descriptor helps, in seconds. */
#define LISTENER_PAUSE 0.25
/* One line per cause and minute, however many clients are rejected. */
#define LISTENER_LOG_MS 60000u

struct store;

/* Sessions and descriptors of the whole daemon. */
struct listeners {
    struct list list; /* struct listener */
    struct worker *worker;
    unsigned int count;
    int spare;                  /* held back for accept(2) at the descriptor limit; -1: used up */
    int lock_fd;                /* of the runtime directory; -1: none */
    uint32_t clients, controls; /* sessions; what clients may have is their quotas' matter */
    uint64_t full_logged, stall_logged; /* when; 0: never */
    struct task accept;                 /* one client of those who wait */
    uint64_t accepted;                  /* of those, how many there were */
    struct gates gates;                 /* clients of users who owe time */
};

struct listener {
    struct list node; /* listeners->list; of a shared one: in none */
    struct listeners *listeners;
    enum listener_kind kind;
    char name[LISTENER_NAME_MAX + 1];
    struct quota *quota;    /* of its clients; NULL: it is the control listener, or a shared one */
    bool may_lend;          /* those who come may ask for it, if the sharer may */
    struct session *sharer; /* whose it is, and as whom its clients count; NULL: the daemon's own */
    char path[LISTENER_PATH_BYTES]; /* ours to unlink; "": not ours */
    uint64_t file[2];               /* device and inode of its socket file; 0: unknown */
    int fd;
    struct ev_io io;
    struct ev_timer pause;
    bool is_added;     /* while the daemon ran */
    bool is_ready;     /* a client waits */
    uint64_t accepted; /* listeners->accepted, when this one had its last client */
};

/* 0 or -errno. */
int listeners_init(struct listeners *ls, struct worker *w);
/* Closes what is open, unlinks what is ours. No session may be left. */
void listeners_deinit(struct listeners *ls);

/*
 * Takes fd, which listens, on success. path NULL: somebody else's to unlink. 0, -ENOMEM,
 * -ENAMETOOLONG, -E2BIG: LISTENERS_MAX, -EEXIST: there is one of that name.
 */
int listeners_add(struct listeners *ls, enum listener_kind kind, const char *name, int fd,
                  const char *path);
/* Of one that listeners_add() has just taken: it may be removed again. */
void listeners_mark_added(struct listeners *ls, const char *name);
/* 0; -ESRCH: there is none of that name; -EPERM: it was there from the start. Sessions stay. */
int listeners_remove_added(struct listeners *ls, const char *name);
/*
 * The same for one that is in no list, on behalf of a session. Clients are let in by
 * listener_accept() only; on_clients is called for as long as it has been started.
 */
void listener_init_shared(struct listener *l, struct listeners *ls, struct session *sharer, int fd,
                          void (*on_clients)(struct ev_loop *loop, struct ev_io *io, int events));
void listener_watch(struct listener *l, bool on);
/*
 * For a session that came by the listener of this name in another process; counted by the caller.
 * -ENOENT.
 */
int listeners_configure(struct listeners *ls, const char *name, struct session_config *ret);
/* One client. True: there may be more; false: none is there, or the listener rests for a while. */
bool listener_accept(struct listener *l);
void listener_deinit(struct listener *l); /* closes it */
/* Lets no more clients in. Sessions stay. */
void listeners_close(struct listeners *ls);
/*
 * Of the first listener whose socket file is not there any more, or is another one now, so that no
 * client can connect: what is wrong and what helps, at most cap bytes with the NUL. Returns how
 * many there are.
 */
unsigned int listeners_find_lost(const struct listeners *ls, char *ret_text, size_t cap);
/* Each of them is being polled, or rests for a reason. */
bool listeners_are_polled(const struct listeners *ls);

/*
 * Makes the clients' listeners and DIR/control.sock, under a lock on DIR/asockd.lock. Without any
 * specs the one clients' listener is "default". 0, or -errno after a message to the log:
 * -EADDRINUSE when another daemon has them.
 */
int listeners_bind(struct listeners *ls, const char *dir, const struct listener_spec *specs,
                   unsigned int count);
/*
 * Takes the service manager's descriptors: what it has stored goes to store_find(), the rest are
 * listeners. Their count, or -errno after a message to the log: also when specs name what is not
 * among them, or say what is the socket unit's to say.
 */
int listeners_take_activated(struct listeners *ls, const struct listener_spec *specs,
                             unsigned int count, struct store *store);

#endif
