/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_H
#define ASOCKD_SOCK_H

/*
 * A client's socket.
 *
 *   OPEN --connect--> CONNECTING --ok--> CONNECTED --close--> LINGERING --all acknowledged-->
 *   DRAINING --> CLOSED | ^                 |                                            ^
 *                        v | connect         +-------------close without linger-----------+
 *                       FAILED
 *   OPEN --bind--> BOUND --listen--> LISTENING; both --a change of policy--> FAILED; OPEN
 *   --accepted--> CONNECTED CONNECTED --lent to its client--> LENT --close--> LINGERING
 *   every state --close or abort--> CLOSED; those with an id --kill--> KILLED --close--> CLOSED
 *
 * A disconnect closes a socket, and a new one in OPEN has its id.
 *
 * CONNECTED has two sides that end apart from each other (enum side). LINGERING has no id any more
 * but a session (so has CONNECTING with `lingers`: it goes on to LINGERING); DRAINING has neither:
 * FIN is sent, input is discarded (S42).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/core/loop.h"
#include "daemon/net/tcp.h"
#include "daemon/session/op.h"
#include "daemon/session/sock_close.h"
#include "daemon/session/sock_idle.h"
#include "daemon/session/sock_kernel.h"
#include "daemon/session/sock_parts.h"

struct kept_report; /* audit/connect_report.h */
struct policy_answer;
struct quota;
struct session;
struct sock_bound;
struct sock_ending;
struct lending; /* sock_lend.h */

/* Thousands of them may be idle: what few have for a while is allocated apart. */
struct sock {
    union {
        struct {
            struct list node;  /* session->room_waiters; later ->lingering, worker->drains */
            struct list ready; /* session->ready, or ->settling; later worker->unwatched_drains */
        };
        struct task gone; /* of none of them any more */
    };
    struct session *session;
    struct worker *worker;
    struct netsock ns;            /* its io.data is sock_quota() */
    struct ring sends;            /* in order: sends, shutdowns of that side, a disconnect */
    struct ring receives;         /* in order */
    struct op *connect;           /* in progress */
    const struct sock_more *more; /* never NULL; sock_own_more() to write to it */
    char *host;                   /* the name it connects by, last; NULL: none, or an address */
    struct sock_ending *ending;   /* NULL: it has none, or not yet */
    struct kept_report *connect_report; /* of its last connect; NULL: none */
    struct endpoint remote; /* where to, or from; the kernel forgets it with the connection */
    uint64_t bytes_in, bytes_out;
    uint32_t queued;     /* bytes of sends that the kernel has not taken */
    uint32_t send_freed; /* not yet reported */
    uint32_t kernel[2];  /* what its buffers may grow to; charged */
    /* Four words. Times are the worker's: 40 bits of milliseconds are 34 years. */
    uint64_t serial : 44;                     /* for people; never used twice */
    uint64_t family : 2;                      /* FAMILY_* */
    uint64_t send_side : 2, receive_side : 2; /* enum side */
    uint64_t shutdown_count : 3;
    bool has_small_buffers : 1; /* of a fixed size, where the client has set none */
    bool is_incomplete : 1;     /* an accepted send was not wholly taken: FIN would be a lie */
    bool has_seen_end : 1;      /* the peer's FIN was read */
    bool has_sent_end : 1;      /* the kernel has our FIN */
    bool lingers : 1;           /* closed by the client, with a linger time */
    bool has_killed_event : 1;  /* the owner still has to get the event that it was killed */
    uint64_t killer : 2;        /* enum killer: of one that was killed */
    bool is_closing : 1;        /* its close is under way: what ends now ends because of it */
    bool owes_end : 1, is_audited : 1; /* its end has to be reported: to MONITOR; to the audit */
    uint64_t created : 40;
    uint64_t events : 8;        /* that its session has still to run */
    uint64_t state : 8;         /* enum sock_state */
    uint64_t receive_error : 8; /* of a broken receiving side: every later receive ends so */
    uint64_t connected : 40;    /* when, if owes_end */
    uint64_t port : 16;         /* it connects to, last; host byte order */
    uint64_t lost_error : 8;    /* that a send got from the kernel: the connection is lost */
    uint64_t id : 18;           /* 0: none any more */
    uint64_t op_count : 19;     /* counted ops in progress */
    uint64_t ops_freed : 20;    /* not yet reported */
    bool wants_read : 1;        /* the last step found the kernel's queue empty */
    bool wants_write : 1;       /* or full */
    bool is_guess : 1;         /* wants_read is: a filled read does not say whether there is more */
    bool had_more : 1;         /* what the last such guess should have been */
    bool is_given : 1;         /* LENT, and not for the daemon to end */
    bool has_lost_connect : 1; /* its connect has failed, and it has not settled */
    bool is_disconnecting : 1; /* a DISCONNECT is among the sends */
};

/* In sock->events, beside EV_READ and EV_WRITE. */
#define SOCK_HUNG_UP 0x40
#define SOCK_CONNECT_GOES_ON 0x20
#define SOCK_KILLED_TEXT "ended by the administrator" /* why, for the owner */

_Static_assert(LIMIT_SOCKETS_MAX < 1 << 18 && LIMIT_OPS_MAX < 1 << 19,
               "ids and counts have room in their bits");

/* Of its session, also when that has gone; NULL: none. */
static inline struct quota *sock_quota(const struct sock *sock)
{
    return sock->ns.io.data;
}

/* It was never asked to connect. */
static inline bool sock_is_apart(const struct sock *sock)
{
    return sock->state == SOCK_OPEN || sock->more->bound;
}

/* In which the kernel takes bytes of its stream. */
static inline bool sock_may_send(const struct sock *sock)
{
    return sock->state == SOCK_CONNECTED || sock->state == SOCK_LINGERING;
}

/* Its OPTION_LINGER: -1 off, 0 reset, else milliseconds. */
int32_t sock_linger(const struct sock *sock);
#define SOCK_BUFFERS_TEXT "the limit on kernel buffer memory has been reached" /* for a refusal */
const char *sock_state_name(enum sock_state state);
void sock_move(struct sock *sock, enum sock_state to);

/*
 * Within the session's grant, which is charged. -ENOMEM. The session's slot is the caller's to set.
 */
int sock_new(struct session *s, uint32_t id, uint32_t family, struct sock **ret);
int sock_new_kind(struct session *s, uint32_t id, uint32_t family, bool is_datagram,
                  struct sock **ret);
/* One that had no session any more in another process, for sock_drain_restore(). -ENOMEM. */
int sock_new_drain(struct worker *w, struct quota *quota, uint32_t family, struct sock **ret);
/* It is closed: its memory goes in a later task. */
void sock_free_later(struct sock *sock);

/* What it is about to connect to; host is copied, NULL: an address. -ENOMEM: as before. */
int sock_set_destination(struct sock *sock, const char *host, uint16_t port);

/*
 * Appends to the queue of its direction, arms its deadline, and lets the queue run; at the end of
 * the batch if it is the session's reads_of.
 */
void sock_queue_receive(struct sock *sock, struct op *op, uint32_t timeout_ms);
void sock_end_reads(struct session *s);
/* Bytes that were accepted and have not gone? */
bool sock_has_queued_send(const struct sock *sock);
/* Out of its queue: sends, receives, or that of another owner. */
void sock_leave_queue(struct op *op);
/* The send whose pieces are still coming; NULL: none. */
struct op *sock_chain(const struct sock *sock);
/* The same for an op that is in no queue: a connect in progress, a close that waits. */
void sock_hold_op(struct sock *sock, struct op *op, uint32_t timeout_ms);
void sock_run_events(struct sock *sock);   /* of its watcher */
void sock_run_receives(struct sock *sock); /* of one that listens: its accepts */
void sock_wait_room(struct sock *sock);    /* until its session's output has some */
void sock_hung_up(struct netsock *ns);     /* hangup.h's callback */
/* The watcher follows wants_read, wants_write. */
void sock_update_watch(struct sock *sock);
/* FIN, once. False: the kernel says that there is no connection. */
bool sock_send_end(struct sock *sock);

/* What queues behind the connect may run; or ends. */
void sock_connect_succeeded(struct sock *sock);
void sock_connect_failed(struct sock *sock);

void sock_end_receives(struct sock *sock, uint32_t error);
/* Every op but a close ends with error. */
void sock_end_ops(struct sock *sock, uint32_t error);

/*
 * Closes gracefully (S42): its id, if it has one, is free afterwards. linger_ms 0: pending ops end
 * now, and `op` (may be NULL) with them; else it completes as a close with a linger time does
 * (S43). sock may be gone when it returns.
 */
void sock_close(struct sock *sock, struct op *op, uint32_t linger_ms, bool abort);
/*
 * The connection ends now as by sock_close(), after the op; a new socket has the id and the options
 * (S73). -ENOMEM: nothing has happened.
 */
int sock_disconnect(struct op *op, bool abort);
/* Its client has gone: it has LINGER_ORPHAN_MS at most. */
void sock_orphan_linger(struct sock *sock);
/* A lingering close is given up: RST, its close ends with error. */
void sock_abort_linger(struct sock *sock, uint32_t error);
/* RST; every op but CLOSE ends with CONNECTION_ABORTED from now on (S55). */
void sock_kill(struct sock *sock, enum killer killer);
/*
 * What policy says today of a connection's name, then of its address. What is not up, or has no
 * session any more, is allowed.
 */
struct policy_answer sock_judge(const struct sock *sock);
/* The daemon ends: RST at once, or nothing where all was said. */
void sock_abort(struct sock *sock);

#endif
