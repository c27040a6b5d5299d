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

struct kept_report; /* audit/connect_report.h */
struct policy_answer;
struct quota;
struct session;
struct sock_bound;
struct sock_ending;
struct lending; /* sock_lend.h */
struct sock_origin;

enum sock_state {
    SOCK_OPEN,
    SOCK_CONNECTING,
    SOCK_CONNECTED,
    SOCK_FAILED,
    SOCK_LINGERING,
    SOCK_DRAINING,
    SOCK_CLOSED,
    SOCK_KILLED,
    SOCK_BOUND,
    SOCK_LISTENING,
    SOCK_LENT, /* its client has the descriptor (sock_lend.h); ns.fd -1: alone */
};

enum side {
    SIDE_OPEN,
    SIDE_SHUT,   /* shut down by the client; the receiving side also: end of stream was seen */
    SIDE_BROKEN, /* ended by an error */
    SIDE_MISSED, /* shut, and a send was refused: broken, if that SHUTDOWN does not come to its turn */
};

/* Thousands of them may be idle: what few have for a while is allocated apart. */
struct sock {
    union {
        struct {
            struct list node;   /* session->room_waiters; later ->lingering, worker->drains */
            struct list report; /* session->report, report_tries */
        };
        struct task gone; /* of none of them any more */
    };
    struct list ready; /* session->ready, or ->settling; later worker->unwatched_drains */
    struct session *session;
    struct worker *worker;
    struct quota *quota; /* of its session, also when that has gone; NULL: none */
    struct netsock ns;
    struct list sends;               /* in order: sends, shutdowns of that side, a disconnect */
    struct list receives;            /* in order */
    struct op *connect;              /* in progress */
    struct op *close;                /* of a lingering socket */
    struct op *hangup;               /* waits for the end of the connection */
    struct op *chain;                /* send whose pieces are still coming */
    struct netsock_options *options; /* NULL: none set */
    struct sock_idle *idle;          /* NULL: no time ends it while it is idle */
    struct dgram *dgram;             /* of datagrams (dgram.h); NULL: of a stream */
    char *host;                      /* the name it connects by, last; NULL: none, or an address */
    struct sock_bound *bound;        /* NULL: it has no local address of its client's */
    struct sock_origin *origin;      /* of an accepted one; NULL: it connects */
    struct sock_ending *ending;      /* NULL: it has none, or not yet */
    struct lending *lending;         /* its descriptor is on the way to the client; else NULL */
    struct kept_report *connect_report; /* of its last connect; NULL: none */
    uint64_t serial;                    /* for people; never used twice */
    uint64_t created;
    uint64_t connected;     /* when, if owes_end */
    struct endpoint remote; /* where to, or from; the kernel forgets it with the connection */
    uint64_t bytes_in, bytes_out;
    uint32_t queued;                /* bytes of sends that the kernel has not taken */
    uint32_t send_freed, ops_freed; /* not yet reported */
    uint32_t id;                    /* 0: none any more */
    uint32_t op_count;              /* counted ops in progress */
    uint32_t kernel[2];             /* what its buffers may grow to; charged */
    uint16_t port;                  /* it connects to, last; host byte order */
    uint8_t shutdown_count;
    uint8_t events;                          /* that its session has still to run */
    uint8_t state;                           /* enum sock_state */
    uint8_t family;                          /* FAMILY_* */
    uint8_t send_side : 4, receive_side : 4; /* enum side */
    uint8_t receive_error;      /* of a broken receiving side: every later receive ends so */
    uint8_t lost_error;         /* that a send got from the kernel: the connection is lost */
    bool has_small_buffers : 1; /* of a fixed size, where the client has set none */
    bool is_incomplete : 1;     /* an accepted send was not wholly taken: FIN would be a lie */
    bool has_seen_end : 1;      /* the peer's FIN was read */
    bool has_sent_end : 1;      /* the kernel has our FIN */
    bool lingers : 1;           /* closed by the client, with a linger time */
    bool has_killed_event : 1;  /* the owner still has to get the event that it was killed */
    bool is_denied_now : 1;     /* killed because policy allows it no more */
    bool is_idle : 1;           /* or because nothing moved for too long */
    bool is_closing : 1;        /* its close is under way: what ends now ends because of it */
    bool owes_end : 1, is_audited : 1; /* its end has to be reported: to MONITOR; to the audit */
    bool wants_read : 1;               /* the last step found the kernel's queue empty */
    bool wants_write : 1;              /* or full */
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
#define SOCK_DENIED_NOW_TEXT "policy"

/* It was never asked to connect. */
static inline bool sock_is_apart(const struct sock *sock)
{
    return sock->state == SOCK_OPEN || sock->bound;
}

/* In which the kernel takes bytes of its stream. */
static inline bool sock_may_send(const struct sock *sock)
{
    return sock->state == SOCK_CONNECTED || sock->state == SOCK_LINGERING;
}

static inline const char *sock_killed_text(const struct sock *sock)
{
    if (sock->is_idle)
        return SOCK_IDLE_TEXT;
    return sock->is_denied_now ? SOCK_DENIED_NOW_TEXT : SOCK_KILLED_TEXT;
}

/* Its OPTION_LINGER: -1 off, 0 reset, else milliseconds. */
int32_t sock_linger(const struct sock *sock);
#define SOCK_BUFFERS_TEXT "the limit of kernel buffer memory has been reached" /* for a refusal */
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
/* The same for an op that is in no queue: a connect in progress, a close that waits. */
void sock_hold_op(struct sock *sock, struct op *op, uint32_t timeout_ms);
void sock_run_events(struct sock *sock);   /* of its watcher */
void sock_run_receives(struct sock *sock); /* of one that listens: its accepts */
void sock_wait_room(struct sock *sock);    /* until its session's output has some */
void sock_hung_up(struct netsock *ns);     /* hangup.h's callback */
/* The watcher follows wants_read, wants_write. */
void sock_update_watch(struct sock *sock);

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
/* As sock_close(), after the op; a new one has its id and options (S73). -ENOMEM: no change. */
int sock_disconnect(struct op *op, bool abort);
/* Its client has gone: it has LINGER_ORPHAN_MS at most. */
void sock_orphan_linger(struct sock *sock);
/* A lingering close is given up: RST, its close ends with error. */
void sock_abort_linger(struct sock *sock, uint32_t error);
/* By the administrator: RST, every op but CLOSE ends with CONNECTION_ABORTED from now on (S55). */
void sock_kill(struct sock *sock);
/*
 * What policy says today of a connection's name, then of its address. What is not up, or has no
 * session any more, is allowed.
 */
struct policy_answer sock_judge(const struct sock *sock);
/* The daemon ends: RST at once, or nothing where all was said. */
void sock_abort(struct sock *sock);

#endif
