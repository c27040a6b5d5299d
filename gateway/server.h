/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

/* The gateway's own state, for its files. */
#include "base/list.h"
#include "gateway/blocks.h"
#include "gateway/gateway.h"
#include "gateway/uplink.h"

#include <stdbool.h>
#include <sys/socket.h>

/*
 * Connections at a time: each has a descriptor here and a socket in the daemon. More wait in the
 * backlog.
 */
#define GATEWAY_CLIENTS_MAX 8192u
/* The time in which a program has to name its destination. */
#define GATEWAY_HANDSHAKE_SECONDS 30.0
/* For a connect; the daemon's own resolver gives up earlier. */
#define GATEWAY_DIAL_MS 60000u
/* How long a client waits for a socket if the session's sockets are all in use. */
#define GATEWAY_PLACE_SECONDS 5.0
/*
 * How long input is discarded after a final answer, so that the answer arrives although the program
 * has sent more.
 */
#define GATEWAY_DRAIN_SECONDS 2.0

/* Pipes for connections that the daemon has lent. */
#define GATEWAY_PIPES_SPARE 32u

struct client;
struct guard;
struct lent_watch;
struct opening;

/* Waits for a session while one is being opened. */
struct session_wait {
    struct session_wait *next, **link; /* link NULL: it does not wait */
    /* gateway_context() has it, or there is none. */
    void (*tell)(struct session_wait *wait);
};

/* Empty pipes, kept for reuse. */
struct pipes {
    int fds[GATEWAY_PIPES_SPARE][2];
    unsigned int count;
};

/*
 * Waits for a socket while the session has none left. A close frees one when the daemon has
 * answered it.
 */
struct place_wait {
    struct list node;
    ev_tstamp until;
    /*
     * Tries again. False: there is still no socket, and it stays in the list. True: it has left the
     * list, also if is_last.
     */
    bool (*serve)(struct place_wait *wait, bool is_last);
};

struct listener {
    struct listener *next;
    struct gateway *gateway;
    ev_io io;
    unsigned int round; /* of the loop, in which it accepted last */
    int burst;          /* connections accepted at a time: more if some arrive in every round */
    char *path;         /* of a Unix socket, or NULL */
    struct sockaddr_storage address; /* of a TCP socket */
};

struct gateway {
    struct ev_loop *loop;
    struct gateway_config config;
    struct uplink uplink;
    struct blocks blocks;
    struct pipes pipes;
    struct lent_watch *lent; /* NULL: nothing was lent yet */
    ev_timer reclaim;        /* while blocks are short */
    ev_timer retry;          /* while no connection can be accepted */
    struct listener *listeners;
    struct guard *guard;    /* of the TCP listeners; NULL: everybody is served, or there are none */
    struct client *clients; /* a list */
    unsigned int client_count;
    unsigned int association_count; /* of UDP ASSOCIATE */
    unsigned int flow_count;        /* of these */
    size_t datagram_bytes;          /* of these, on their way to the daemon */
    struct list flows;              /* all of them */
    unsigned int datagrams_sent;    /* of a transparent network, on their way to the daemon */
    bool is_paused;                 /* listeners are not watched */
    bool is_draining;               /* and never will be again */
    bool may_bound;                 /* gateway_bound_buffer() does something */
    struct opening *opening;        /* a session */
    struct session_wait *waits;
    struct list places;     /* of place_wait: the first has waited for longest */
    ev_prepare give_places; /* while somebody waits; before the uplink's */
    ev_timer look_at_places;
    ev_tstamp open_failed; /* when no session could be opened; 0: it could */
    ev_tstamp drain_end;   /* of gateway_drain() */
    char *scratch;         /* for what is read and dropped, or copied */
    /* The session has ended, and so have its connections; may be NULL. */
    void (*lost)(void *userdata);
    void *lost_userdata;
};

/* The session; NULL: there is none. */
asock_context *gateway_context(struct gateway *gateway);
/*
 * Opens it again if it was lost, but not at once after a failure. true: `wait` is called back with
 * the result. false: what gateway_context() returns is final.
 */
bool gateway_await_session(struct gateway *gateway, struct session_wait *wait);
/* It waits no more. Accepts one that does not wait. */
void session_wait_end(struct session_wait *wait);
/* Queues behind all others that wait for a socket. */
void gateway_await_place(struct gateway *gateway, struct place_wait *wait);
/* True: others wait for a socket, so a new client has to wait too. */
bool gateway_has_queue(const struct gateway *gateway);
/* Of a TCP connection within this host, or a listener: the kernel is to hold little of its data. */
void gateway_bound_buffer(const struct gateway *gateway, int fd);
/* Blocks are short: makes idle connections give theirs back. */
void gateway_want_blocks(struct gateway *gateway);
/* Stops accepting: connections stay in the listeners' queues. */
void gateway_accept_no_more(struct gateway *gateway);
/* A client has gone. */
void gateway_client_gone(struct gateway *gateway);

#define GATEWAY_SCRATCH 65536u

#endif
