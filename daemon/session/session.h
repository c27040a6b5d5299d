/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_H
#define ASOCKD_SESSION_H

/*
 * A client's connection: its identity, its limits, its sockets by id, its ops by token, and the way
 * its replies go. Frames are handed to the dispatcher that the session was made with.
 *
 * Nothing grows without bound: a request is taken only while there is room for its reply, results
 * that find no room wait in their ops, and ops are limited.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/core/loop.h"
#include "daemon/session/latency.h"
#include "daemon/session/op.h"
#include "daemon/session/session_shm_buffer.h"
#include "daemon/session/sharing.h"
#include "daemon/identity/identity.h"
#include "daemon/wire/transport.h"
#include "daemon/wire/unread.h"
#include "proto/codec.h"

struct frame;
struct policy_view;
struct quota;

enum listener_kind { LISTENER_CLIENT, LISTENER_CONTROL };

struct session_slot {
    struct sock *sock;
    uint64_t dropping; /* token of a chain whose further pieces are dropped; 0: none */
};

/*
 * Where a session's frames go. 0; 1: it is not taken yet, as the client must read first; -EPROTO
 * with session->why set: the session ends.
 */
typedef int (*dispatch_fn)(struct session *s, const struct frame *frame);

/* Of what a session holds, that which is promised to it as long as it lives. */
struct held {
    uint64_t sockets, ops, memory;
    bool is_client; /* one of QUOTA_CLIENTS */
    bool is_mute;   /* one of QUOTA_HELLOS */
};

struct session {
    struct list node; /* worker->sessions */
    struct worker *worker;
    struct transport transport;
    struct identity identity;
    struct policy_view *view; /* see session_view(), sock_policy.h */
    enum listener_kind kind;
    char listener[32]; /* its name */
    char name[CODEC_NAME_MAX + 1];
    uint64_t id, created; /* id: never used twice */
    struct session_sharing sharing;
    dispatch_fn dispatch;
    void (*on_gone)(struct session *s); /* the server's: called before the memory is freed */
    void *on_gone_data;
    struct share share;   /* of the loop's time */
    struct list ready;    /* sockets that something has happened to */
    struct list settling; /* sockets that the end of an op means something to (settle.h) */
    struct list emptying; /* buffers that are not used any more */
    struct task gone, settle;
    struct task report_task; /* SEND_ROOM is due */
    struct task rows_task;   /* more rows than one turn's share */
    /*
     * There was no memory, for the next op or in the kernel; Hello is due; unread_fd is looked at.
     */
    struct deadline retry, hello, unread;
    struct limits limits;
    struct session_slot *slots; /* limits.sockets + 1 of them: slot_count; [0] is unused */
    bool *kept;                 /* as many: ids that are kept for ACCEPTs */
    uint32_t slot_count, slot_cap, socket_count; /* slot_cap: places that there are */
    struct quota *quota; /* what it holds is charged to; NULL: a control session */
    struct held held;
    struct list lingering; /* sockets without an id whose queued sends still go out */
    struct list reports;   /* of connects, that its sockets keep (connect_report.h) */
    struct op **tokens;    /* hash table, token_buckets of them, a power of two */
    uint32_t token_buckets;
    uint32_t op_count;               /* counted ops in progress */
    uint32_t connect_count;          /* CONNECTs whose memory is part of the grant */
    struct op *spare;                /* for the next request: no request fails for want of an op */
    struct list done;                /* ops whose replies found no room */
    struct list resolves;            /* RESOLVE, RELOAD: ops that wait for their answer */
    struct list resolved;            /* RESOLVE: ops that policy has to judge */
    struct list restricts;           /* RESTRICT: ops that wait until connects are judged */
    struct list streams, monitors;   /* LIST and the like, MONITOR: ops that tell records */
    struct session_monitor *monitor; /* NULL: it does not watch */
    uint32_t stream_count, rows;     /* rows: sent since rows_task ran */
    uint64_t queued;                 /* bytes of sends that the kernel has not taken */
    uint64_t beyond;                 /* of these, what is above each socket's own share */
    uint64_t restrictions;           /* bytes charged for them */
    uint64_t unreported, unreported_ops; /* of the freed bytes and ops, not yet reported */
    uint64_t *unreported_ids;        /* a bit for each id: its socket has something unreported */
    uint32_t report_id, report_left; /* the id to look at next, and how many in all */
    struct list room_waiters, room_tries; /* sockets whose receive waits for room; may try now */
    struct sock *batch_of; /* its sends wait for the rest of the input; NULL: none do */
    uint32_t batch_bytes;  /* of them */
    struct sock *reads_of; /* likewise its receives */
    struct latency_past latency;
    struct session_buffer *buffers;            /* LIMIT_BUFFERS places; NULL: there never was one */
    uint32_t buffer_count, descriptors_unread; /* unread: sent, and perhaps not yet fetched */
    uint32_t lending_count, lent_unread;       /* sock_lend.h: to be sent; sent, as above */
    struct unread_mark lent_mark, descriptors_mark; /* of those that are perhaps not fetched */
    struct list lend_waiters;                       /* connects that wait until some are fetched */
    struct deadline lend_look;                      /* whether they are */
    int unread_fd;            /* the session has ended, its client has not read all; -1: none */
    struct ev_io farewell_io; /* what that still writes is discarded */
    uint32_t lend_look_ms, farewell_bytes; /* the second: so much of it */
    bool keeps_buffers;         /* until the client has closed its end, or a bound is reached */
    struct status_page *status; /* NULL: the client has not asked for it */
    uint64_t shared;            /* bytes of all buffers */
    bool has_hello;             /* requests are allowed */
    bool is_handed_over, is_unfit, had_ended; /* to another process; from one: not whole, ended */
    bool has_ended;      /* replies go nowhere; it waits for its lingering sockets, then goes */
    bool is_condemned;   /* by the administrator: its sockets are killed in steps, then it ends */
    bool is_dying;       /* it has ended, and what it had is closed in steps */
    uint32_t next_slot;  /* of those steps */
    uint64_t judge_from; /* the place of the first connect that is still to be judged */
    bool input_ended;    /* end of stream behind what is in the transport */
    bool has_room;       /* who waits for it may try */
    bool must_read, must_write, must_pump, must_discard, must_judge; /* what its next steps are */
    uint8_t last_step, input_look_ms; /* kinds take turns; until input is tried again, 0: at once */
    const char *why;                  /* text of a protocol error */
    uint64_t bytes_in, bytes_out, ops_done; /* of all its sockets, closed ones included */
};

struct session_config {
    struct worker *worker;
    enum listener_kind kind;
    const char *listener;
    struct quota *quota;    /* of the listener; NULL: the daemon's. A control session has none. */
    struct session *sharer; /* whose listener it is; NULL: the daemon's own */
    bool may_lend;          /* the sharer has permitted lending */
    dispatch_fn dispatch;
    void (*on_gone)(struct session *s); /* may be NULL */
    void *on_gone_data;
};

/* Bytes of the text that says why a client gets no session, or not the limits it needs. */
#define SESSION_WHY_MAX 256u

/*
 * Takes fd (non-blocking) and what identity holds, on success. -ENOMEM, or -EDQUOT: ret_why says
 * whose share of what is used up. The session frees itself when it has ended.
 */
int session_new(const struct session_config *config, int fd, struct identity *identity,
                char ret_why[static SESSION_WHY_MAX], struct session **ret);

/*
 * Ends it; a last frame reports an error to the client. Its sockets close gracefully (S42), in
 * steps; the memory goes later.
 */
void session_end(struct session *s, uint32_t error, const char *text);

/* A socket or a buffer has left; the last one lets a session that has ended go. */
void session_part_left(struct session *s);

/* Slots and tables for a grant that has grown. -ENOMEM: as before. */
int session_grant(struct session *s, const struct limits *limits);

/*
 * Each socket of the session: those with an id, then those whose close goes on. The body may end
 * the socket it is at.
 */
struct session_iterator {
    uint32_t id;
    struct list *next;
};
#define session_for_each_sock(session, sock)                                                       \
    for (struct session_iterator it_ = {0}; ((sock) = session_next_sock(session, &it_)) != NULL;)
struct sock *session_next_sock(const struct session *s, struct session_iterator *it);

struct session_slot *session_slot(struct session *s, uint32_t id); /* NULL: out of range */
struct sock *session_sock(struct session *s, uint32_t id);         /* NULL: none */
/* No socket has it, and it is kept for none. */
bool session_id_is_free(const struct session *s, uint32_t id);

/* The op for the request being dispatched; there always is one. It may be small where that does. */
struct op *session_take_op(struct session *s, bool small);
struct op *session_find_op(struct session *s, uint64_t token);
void session_hash_op(struct session *s, struct op *op);
void session_unhash_op(struct session *s, struct op *op);

/*
 * The same place as transport_reserve() for a receive of up to `want` bytes; NULL: wait for room.
 */
uint8_t *session_reserve(struct session *s, size_t want, size_t gap, size_t *ret_len);
/*
 * A reply whose payload_len bytes lie behind `gap` bytes of the reserved place. guess: the head
 * that was written there, for as many bytes; NULL: none was.
 */
void session_commit(struct session *s, const struct reply *reply, const struct reply *guess,
                    uint8_t *place, size_t gap, size_t payload_len);
/* Sends now, or false: no room. Payload is copied. */
bool session_send_reply(struct session *s, const struct reply *reply, const void *payload,
                        uint32_t payload_len);
/* For how many replies there is room, at most `want`; 0: wait for room. */
unsigned int session_reply_room(struct session *s, unsigned int want);
void session_fill_reply(const struct op *op, struct reply *ret); /* of any verb's completion */
/* The reply of an op in OP_DONE: now, or when there is room. */
void session_reply_op(struct session *s, struct op *op);
/* The replies of session->done, as far as there is room, and time. false: some are left. */
bool session_flush_done(struct session *s);
/* Room for replies, or for another receive, may be there: everything that waits for it goes on. */
void session_pump(struct session *s);
/* Who waits for it tries again, in steps. */
void session_has_room(struct session *s);
/* More input may be taken; something has happened to a socket: in a step of its own. */
void session_resume_later(struct session *s);
void session_run_input(struct session *s); /* reads and dispatches: one share of a turn */
void session_ready(struct session *s, struct sock *sock);
void session_run_rows(struct task *task);

#endif
