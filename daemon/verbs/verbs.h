/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_VERBS_H
#define ASOCKD_VERBS_H

/* One entry per verb; each in its own file, which holds the whole life of such an op. */
#include <stdint.h>

#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "proto/codec.h"

struct call {
    const struct request *request;
    const uint8_t *payload;
    uint32_t payload_len;
};

/*
 * Takes an op whose socket (where the verb has one) exists and whose limits were checked.
 * 0: queued or completed; an enum asock_wire_error: to be completed with it; -EPROTO: a broken
 * rule, session->why is set.
 */
typedef int (*verb_fn)(struct op *op, const struct call *call);

int verb_open(struct op *op, const struct call *call);
int verb_connect(struct op *op, const struct call *call);
int verb_send(struct op *op, const struct call *call);
int verb_receive(struct op *op, const struct call *call);
int dgram_send(struct op *op, const struct call *call);    /* SEND, of datagrams */
int dgram_receive(struct op *op, const struct call *call); /* RECEIVE, likewise */
int verb_shutdown(struct op *op, const struct call *call);
int verb_close(struct op *op, const struct call *call);
int verb_cancel(struct op *op, const struct call *call);
int verb_set_option(struct op *op, const struct call *call);
int verb_get_option(struct op *op, const struct call *call);
int verb_sync(struct op *op, const struct call *call);
int verb_restrict(struct op *op, const struct call *call);
int verb_share(struct op *op, const struct call *call);
int verb_register(struct op *op, const struct call *call);
int verb_unregister(struct op *op, const struct call *call);
int verb_credit(struct op *op, const struct call *call);
int verb_hangup(struct op *op, const struct call *call);
int verb_bind(struct op *op, const struct call *call);
int verb_listen(struct op *op, const struct call *call);
int verb_accept(struct op *op, const struct call *call);
int verb_disconnect(struct op *op, const struct call *call);
int verb_resolve(struct op *op, const struct call *call);
int verb_monitor(struct op *op, const struct call *call);
int verb_listener(struct op *op, const struct call *call);
int verb_list(struct op *op, const struct call *call); /* SESSIONS, DENIALS, LEARNED too */
int verb_show(struct op *op, const struct call *call);
int verb_stats(struct op *op, const struct call *call);
int verb_kill(struct op *op, const struct call *call);
int verb_reload(struct op *op, const struct call *call);
int verb_judge(struct op *op, const struct call *call);
int verb_take_over(struct op *op, const struct call *call);

/* What a session on such a listener may ask for: bit N is the verb N (Welcome.verbs). */
uint64_t dispatch_verbs(enum listener_kind kind);

/* HELLO is no op: it is answered by a welcome. 0 or -EPROTO; the session may have ended. */
int hello(struct session *s, const struct call *call);

/*
 * A SEND that continues a chain. 1: it was one; 0: it is a new op; -EPROTO.
 */
int send_piece(struct session *s, const struct call *call);

/* Another row of a list is on its way. False: the next one is for another step, which will come. */
bool verb_may_send_row(struct session *s);
/* The op ends with a record of n bytes; n may be -errno. As a verb_fn. */
int verb_send_record(struct op *op, const uint8_t *record, long n);
/* error: -errno. text is copied. */
int verb_send_failure(struct op *op, long error, const char *text);

/*
 * Behind the SHUTDOWNs of the receiving side that wait for the connect, at the front of
 * sock->sends: the node that they are in front of, or NULL.
 */
struct list *shutdown_receives_end(struct sock *sock);

/*
 * A CONNECT in progress (sock->connect), by the policy of now: one by a name that may not be asked
 * for any more ends, an attempt at an address that is denied is closed. True: one of both.
 */
bool connect_judge_again(struct op *op);

/* The same: to each of its attempts. -errno. */
int connect_set_option(struct op *op, uint32_t option, int32_t value);

/*
 * An op that another process had, of a connected stream socket (daemon/state/): its class. A
 * HANGUP, and a CONNECT that is in progress, begin again when *_resume() is called.
 */
void receive_restore(struct op *op);
/* The same of a datagram socket: without their datagram, which the caller fills. -ENOMEM. */
int dgram_send_restore(struct op *op);
int dgram_receive_restore(struct op *op);
/* An UNREGISTER that waits until its buffer has gone; until: its deadline, 0: none. -ENOMEM. */
int unregister_restore(struct session *s, struct session_buffer *buffer, uint64_t token,
                       uint64_t until, bool errors_only);
/*
 * A RESOLVE: what it asks for. It begins again when resolve_resume() is called, and may be gone
 * when that returns. -ENOMEM; -EINVAL: not a name.
 */
const char *resolve_save(const struct op *op, uint32_t *ret_family);
int resolve_restore(struct op *op, const char *host, uint32_t family);
void resolve_resume(struct op *op);
/* Another process begins it again: it ends here without an audit entry. */
void resolve_leave(struct op *op);
/* A LIST, SESSIONS, or STATS with metrics, at its next record. */
void list_restore(struct op *op, uint64_t place);
void shutdown_restore(struct op *op, bool ends_receiving);
void close_restore(struct op *op);
void disconnect_restore(struct op *op);
void hangup_restore(struct op *op); /* the socket has its own struct sock_more */
void hangup_resume(struct op *op);
struct connect_past {
    const char *host; /* the name; NULL: it is by address */
    uint16_t port;
    struct endpoint local, remote;                /* if it is connected, and still sends its data */
    struct endpoint addresses[CONNECT_ADDRESSES]; /* where to, if it is by address */
    uint32_t address_count;
    struct {
        struct endpoint address;
        int fd;
    } attempts[CONNECT_ADDRESSES]; /* that have begun, and not ended */
    uint32_t attempt_count;
    uint32_t lend; /* how it asks for its socket; 0: it does not */
};
/* false: another process cannot continue the op. past->host lives as long as the op. */
bool connect_save(const struct op *op, struct connect_past *ret);
/* Attempts are not looked at. -ENOMEM; -EINVAL: no such destination, or lending. */
int connect_restore(struct op *op, const struct connect_past *past, bool is_up);
/* One of its attempts goes on; takes fd. False: the connect has no place for it. */
bool connect_restore_attempt(struct op *op, const struct endpoint *address, int fd);
void connect_resume(struct op *op);
/* The ids that an ACCEPT has not used, from *ret_first to the one before *ret_end. */
void accept_save(const struct op *op, uint32_t *ret_first, uint32_t *ret_end);
int accept_restore(struct op *op, uint32_t first,
                   uint32_t end); /* -ENOMEM; -EINVAL: they are not free */
/*
 * Another process continues the connect: closes the descriptors of the attempts here, without a
 * reply or an audit entry.
 */
void connect_leave(struct op *op);

#endif
