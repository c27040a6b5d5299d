/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_DGRAM_H
#define ASOCKD_DGRAM_H

/*
 * What a datagram socket has beside a stream's (sock.h).
 *
 *   OPEN --connect--> CONNECTING --ok--> CONNECTED --disconnect--> CLOSED
 *     ^                   |
 *     +------failed-------+
 *
 * OPEN --bind--> BOUND --policy has changed--> FAILED
 *
 * In OPEN it sends to the addresses that its sends name; the first one decides the family, and the
 * kernel's socket is made for it. In CONNECTED it has one peer; only what is left from before goes
 * elsewhere, and what has come from elsewhere is dropped. Each send is judged by policy, and so is
 * each datagram that comes: taken is what comes from where the socket may send to, and in BOUND
 * from where its Listen= rule lets something come; whoever sent something may be answered, as long
 * as the socket remembers him. Nothing breaks it: an error is its op's alone. It has no end of
 * stream, and its close has nothing to wait for.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/limits.h"
#include "daemon/policy/policy.h"
#include "daemon/session/op.h"
#include "proto/codec.h"

struct sock;

/* Of a bound one: who sent something last, in places that his address chooses; charged. */
#define DGRAM_ANSWER_ROWS 128u
#define DGRAM_ANSWER_WAYS 8u
struct dgram_row {
    struct endpoint at[DGRAM_ANSWER_WAYS];
    unsigned int next; /* to be replaced */
};

#define DGRAM_BURST 4u       /* of a new one */
#define DGRAM_ALONE 8u       /* so often one came alone: only every 8th time is more looked for */
#define DGRAM_GROUPS_MAX 16u /* the kernel's own limit of IPv4 is 20 */
struct dgram_answers {
    uint64_t keys[2]; /* random: who is in which row */
    struct dgram_row rows[DGRAM_ANSWER_ROWS];
    struct endpoint groups[DGRAM_GROUPS_MAX]; /* it has joined; scope_id: by this interface */
    unsigned int group_count;
};

/* What policy said of an address and port, for a moment. */
struct dgram_verdict {
    struct endpoint endpoint; /* address_len 0: none */
    uint64_t until;           /* worker->now */
    uint64_t policy_changes;  /* reloads and restrictions before it: it holds until the next one */
    bool is_allowed;
    bool is_sent_to; /* recorded as a destination; counted among the connects per second */
};

struct dgram {
    struct dgram_verdict verdicts[DGRAM_VERDICTS];
    unsigned int next_destination, next_source; /* to be replaced */
    uint32_t dropped;                           /* by the kernel, as it said last */
    uint32_t refused;                           /* by policy */
    uint16_t port;                              /* its own; 0: not known yet */
    bool has_no_segments;                       /* the kernel cannot divide what goes its way */
    bool borrows;                  /* sends of the queue have their bytes in the session's input */
    bool is_emptied;               /* a step has received all that there was */
    uint8_t burst;                 /* so many are expected to have come together */
    uint8_t alone;                 /* so often in a row one has come alone */
    uint8_t family;                /* FAMILY_*: the one that it was opened with */
    uint64_t short_since;          /* ms: no memory for what has come; 0: there was some */
    uint64_t short_token;          /* for this receive */
    struct dgram_answers *answers; /* BOUND; else NULL */
    struct endpoint peer;          /* CONNECTED: as the kernel says who sent something */
    bool hears_peer_alone; /* CONNECTED: no one else's is in the kernel's queue, from before that */
};

/* sock becomes one of datagrams. -ENOMEM. */
int dgram_new(struct sock *sock);
void dgram_free(struct sock *sock); /* if it is one */

/*
 * The kernel's socket, if there is none yet, of the family of to. 0 or -errno; -ENOBUFS: no room
 * for its buffers.
 */
int dgram_open(struct sock *sock, const struct sockaddr *to);
/*
 * fd is connected to addr, and charged to the worker: it becomes the socket's, or the one that it
 * has does the same.
 */
int dgram_take_connection(struct sock *sock, int fd, const struct sockaddr *addr);
/* It is as it was before. */
void dgram_connect_failed(struct sock *sock);

/*
 * May it send there? ERR_SUCCESS; ERR_ACCESS_DENIED; ERR_NO_BUFFER_SPACE: too many new destinations
 * in a second. reason: for the client, "" if there is none.
 */
uint32_t dgram_may_send(struct sock *sock, const struct endpoint *to,
                        char reason[static POLICY_REASON_MAX + 1]);
/* May it send there, by what was found a moment ago? Nothing is recorded. */
bool dgram_is_known(struct sock *sock, const struct endpoint *to);
/*
 * May a datagram to `to` have that source address? ERR_SUCCESS; ERR_ACCESS_DENIED, and a static
 * text says why; ERR_ADDRESS_FAMILY_NOT_SUPPORTED.
 */
uint32_t dgram_may_use_source(const struct sock *sock, const struct endpoint *source,
                              const struct endpoint *to, const char **ret_why);
#define DGRAM_SOURCE_TEXT "the source is not the address in [Egress] Source="
/* Has something come from there lately? Of a bound one. */
bool dgram_has_heard(const struct sock *sock, const struct endpoint *from);
/* May what it sends unasked go out, from the address that it is bound to? */
bool dgram_has_source(const struct sock *sock, const struct endpoint *to);
/*
 * Does policy let it send there today? Nothing is recorded, and what learn mode alone lets pass is
 * not enough.
 */
bool dgram_is_allowed(const struct sock *sock, const struct endpoint *to);
/* May the client receive what comes from there? What it may not is counted. */
bool dgram_accepts(struct sock *sock, const struct endpoint *from);
/* Something has come from there that the client may receive, which a bound one may answer. */
void dgram_remember(struct sock *sock, const struct endpoint *from);
/*
 * In another process it was allowed to send there, which is recorded and counted: policy judges it
 * again, as it does after a while.
 */
void dgram_has_sent(struct sock *sock, const struct endpoint *to);
/* Nothing can come that the client may not receive. */
bool dgram_accepts_all(struct sock *sock);
/* What it is judged by has changed. */
void dgram_forget(struct sock *sock);

/*
 * In front of bind(2): its buffers, and memory for whom it may answer, are charged. 0, -ENOBUFS,
 * -ENOMEM.
 */
int dgram_bound(struct sock *sock);
/* The memory alone, in which it may answer nobody yet. 0, -ENOBUFS, -ENOMEM. */
int dgram_new_answers(struct sock *sock);
void dgram_unbound(struct sock *sock); /* it may answer no peer, if it is bound */
/*
 * Joins or leaves a multicast group. Who joins must be allowed to send there, on the port that the
 * socket has. ERR_SUCCESS or an error, with a reason as dgram_may_send().
 */
uint32_t dgram_join(struct sock *sock, const struct endpoint *group,
                    char reason[static POLICY_REASON_MAX + 1]);
uint32_t dgram_leave(struct sock *sock, const struct endpoint *group);
/* Policy has changed: leaves what it may not be in any more. */
void dgram_judge_groups(struct sock *sock);
/* What waits ends. */
void dgram_end(struct sock *sock, uint32_t error);

/* As send_run() and so on. */
void dgram_run_sends(struct sock *sock);
void dgram_run_receives(struct sock *sock);
void dgram_run_events(struct sock *sock, int events);

#endif
