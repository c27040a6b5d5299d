/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_PARTS_H
#define ASOCK_LIB_PARTS_H

/*
 * What the files of the library offer each other. Unless it says otherwise a function wants the
 * context's lock held, and keeps it.
 */
#include <pthread.h>

#include "base/time.h"
#include "client-lib/core/objects.h"

/* context.c ---------------------------------------------------------------------- lock and life */

static inline bool asock_is_forked(const asock_context *context)
{
    return *(const volatile uint8_t *)context->fork_mark == 0;
}

/* Takes the lock: 0, -EINVAL (NULL), -ECHILD (forked; the lock may be anybody's). */
int asock_enter(asock_context *context);
static inline void asock_leave(asock_context *context)
{
    pthread_mutex_unlock(&context->lock);
}
void asock_context_add_ref(asock_context *context);
/* Each gives the lock back, and may free the context. */
void asock_context_drop_ref(asock_context *context);
void asock_context_unhold(asock_context *context);
/* In the child of a fork, without the lock: one reference less. */
void asock_context_drop_in_child(asock_context *context);
/* Inside a callback of this context, on the thread that runs it. */
bool asock_is_in_callback(const asock_context *context);

/* session.c ------------------------------------------------------- a connection, begin and end */

int asock_session_dial(const char *path, int *ret);
int asock_session_adopt(int fd);
/* What ASOCK_FD says; the descriptor is close-on-exec from then on. */
int asock_session_inherit(const char *text, int *ret);
/* Until the welcome: what every session may count on. */
void asock_session_guess(asock_context *context);
void asock_session_start(asock_context *context, int fd);
/* Everything ends with ASOCK_CONNECTION_ABORTED; error: why, for asock_context_get_error. */
void asock_session_end(asock_context *context, uint32_t error);
/* The same, but for this op, which ends with ASOCK_TIMED_OUT. */
void asock_session_give_up(asock_op *op);

/* socket.c ------------------------------------------------------------------------------------ */

asock_socket *asock_socket_make(asock_context *context, int family);
void asock_socket_hold(asock_socket *socket);
void asock_socket_unhold(asock_socket *socket);
void asock_socket_use(asock_socket *socket);
void asock_socket_unuse(asock_socket *socket); /* the last one closes it */
/* Looks at it when the next frame is made; does nothing for one that has nothing to say. */
void asock_socket_kick(asock_socket *socket);
void asock_socket_put(asock_socket *socket, enum place place);
void asock_socket_uncount(asock_socket *socket); /* it does not count as open any more */
void asock_sockets_give_ids(asock_context *context);
void asock_socket_closed(asock_socket *socket);                 /* for the daemon it is gone */
void asock_socket_refuse(asock_socket *socket, uint32_t error); /* OPEN failed */

/* close.c ------------------------------------------------------------------------------------- */

/* Nothing is in flight that could end it otherwise than with success. */
bool asock_close_is_certain(const asock_socket *socket);
void asock_close_start(asock_socket *socket, asock_op *op, int linger_ms);
void asock_close_sends_gone(asock_socket *socket); /* what a lingering close waits for */
void asock_close_abort(asock_socket *socket, uint32_t error);
void asock_close_linger_over(struct deadline *deadline);
void asock_close_answered(asock_socket *socket, uint32_t error);

/* op.c, segments.c ---------------------------------------------------------------------------- */

int asock_op_make(asock_context *context, asock_op **ret); /* refs and holds are 0 */
void asock_op_reset(asock_op *op, asock_socket *socket, int operation);
void asock_op_drop_segments(asock_op *op);
void asock_op_unhold(asock_op *op);
bool asock_op_is_busy(const asock_op *op); /* may not be submitted or changed */
bool asock_op_is_in_flight(const asock_op *op);
/* Moves the cursor over at most len octets, telling where they are; returns entries of iov used. */
unsigned int asock_segments_take(const asock_op *op, struct cursor *cursor, size_t *len,
                                 struct iovec *iov, unsigned int cap);

/* submit.c ------------------------------------------------------------------------------------ */

/* The op is in flight from here on. socket NULL: it concerns none. */
void asock_op_start(asock_op *op, asock_socket *socket, int operation);
/* An op of the library's own, nothing queued yet. */
int asock_op_start_own(asock_context *context, asock_socket *socket, int operation, asock_op **ret);

/* cancel.c ------------------------------------------------------------------------------------ */

int asock_cancel_locked(asock_op *op);
void asock_cancel_sent(asock_op *op);                    /* asks the daemon for its end */
void asock_op_end_waiting(asock_op *op, uint32_t error); /* nothing of it has left */
void asock_op_expired(struct deadline *deadline);        /* the same: its time is over */
void asock_op_abandon(asock_op *op); /* a chain of which no further piece will leave */

/* flow.c ---------------------------------------------------------------- the session's limits */

enum flow {
    FLOW_OK,
    FLOW_SOCKET,
    FLOW_SESSION
}; /* may go; the socket's own limit; the session's */
enum flow asock_flow_op(const asock_socket *socket, int operation);
/* Octets that may leave, at least one and at most want (whole: all of it). */
enum flow asock_flow_bytes(const asock_socket *socket, uint64_t want, bool is_whole, uint64_t *ret);
void asock_flow_take(asock_socket *socket, uint64_t bytes, uint32_t ops);
void asock_flow_give(asock_socket *socket, uint64_t bytes, uint32_t ops);
void asock_flow_set_limits(asock_context *context, const struct welcome *limits);

/* request.c, turn.c, output.c-------------------------------------------------------------- writing */

bool asock_output_has_room(const struct output *out);
/* One frame. Its payload: so many octets at the op's cursor, which moves; op NULL: there is none. */
int asock_output_add(struct output *out, const struct request *request, asock_op *op,
                     size_t payload_len);
void asock_request_fill(asock_context *context); /* fills the output with what may leave */
void asock_turn_take(asock_socket *socket);      /* its next frame, or it leaves the round */
uint32_t asock_turn_detach(asock_op *op);        /* its deadline is the daemon's from here on */
/* 0: all is written; 1: some waits. */
int asock_output_flush(asock_context *context);
bool asock_output_is_wanted(asock_context *context);

/* input.c, reply.c -------------------------------------------------------------------- reading */

/* Reads and handles what is there, to a bound. */
void asock_input_run(asock_context *context);
/* All that is there; true: something was. */
bool asock_input_drain(asock_context *context);
/* The head is read: 0 and the sink of its payload, or -EPROTO. */
int asock_reply_head(asock_context *context);
/* The payload is where it belongs: 1, or -EPROTO. */
int asock_reply_finish(asock_context *context);

/* complete.c ---------------------------------------------------------------------- the way out */

void asock_op_finish(asock_op *op, uint32_t error, uint64_t bytes);
void asock_op_fail_lost(asock_op *op); /* nothing that it received is there any more */
void asock_op_told(asock_op *op);      /* its callback has returned, or none will run */
void asock_op_drop_flight(asock_op *op, asock_socket *socket);
void asock_op_frame_written(asock_op *op);
void asock_op_shot(asock_op *op, struct slice *slice); /* of a multishot that goes on */
/* Its results are about to be told: those in place are still there, or it has failed. */
void asock_op_check(asock_op *op);
void asock_op_lose_shots(asock_op *op); /* slices that nobody has asked for, and the op with them */
void asock_quiet_finish(struct list *quiet, const asock_op *before); /* NULL: all */
void asock_quiet_finish_some(struct list *quiet, uint32_t count);    /* of sends, the first ones */
void asock_complete_forget(asock_context *context); /* no callback of `done` will run */
int asock_complete_run(asock_context *context);     /* drops the lock around each callback */

/* inspect.c ----------------------------------------------------------------------------------- */

struct inspection {
    uint8_t *octets; /* of each record: its length, then itself */
    size_t len, cap;
    int error;
    char text[CODEC_TEXT_MAX + 1]; /* what the daemon said to a failure; "": nothing */
};

/* Octets of the answer's next record. */
void asock_inspection_begin(struct inspection *inspection, uint32_t len);
/* Decimal digits alone. 0, -EINVAL. */
int asock_inspect_parse_id(const char *text, int64_t *ret);
/* args: "name=value", NULL behind the last. *ret is for free(3). -EINVAL, -ENOMEM. */
int asock_question_make(const char *const *args, uint8_t **ret, size_t *ret_len);
void asock_inspection_append(struct inspection *inspection, const uint8_t *data, size_t len);

/* wait.c -------------------------------------------------------------------------------------- */

/* Makes the daemon tell of an op whose success it would not tell: 0 or -ENOMEM. */
int asock_ask(asock_op *op);
/* The same for all such ops of a socket that the program has let go. */
int asock_ask_all(asock_socket *socket);
void asock_ask_again(asock_socket *socket);
/* Until the connection or a timer has news, or it is `until`; drops the lock while it sleeps. */
void asock_wait_fd(asock_context *context, uint64_t now, uint64_t until);

/* overdue.c ----------------------------------------------------------------------------------- */

/* From here on the daemon has to tell of it: at its deadline, or a grace later it is given up. */
void asock_overdue_watch(asock_op *op);

/* watch.c ------------------------------------------------------------------------------------- */

/* What the program's loop waits for follows what is wanted. */
void asock_watch_update(asock_context *context);
void asock_watch_leave(asock_context *context); /* before the connection is closed or given away */

/* run.c, thread.c ----------------------------------------------------------------------------- */

void asock_run_timers(asock_context *context);
void asock_run_io(
    asock_context *context); /* write, read, timers: what can be done without waiting */
int asock_run_timeout(asock_context *context); /* milliseconds until a timer is due; -1 */
/* Waits until the op has ended: 0 or -ETIMEDOUT. Drops the lock while it sleeps. */
int asock_run_until(asock_op *op, int timeout_ms);
/* The same, or until a multishot without a callback has got octets. */
int asock_run_until_slice(asock_op *op, int timeout_ms);
void asock_wake(asock_context *context);        /* the dispatcher, if there is one */
void asock_wake_waiter(asock_context *context); /* without one: who is in poll(2) */
/* Until the connection has news or somebody wakes it; drops the lock while it sleeps. */
void asock_wait_poll(asock_context *context, int timeout);
bool asock_is_dispatcher(const asock_context *context);
void asock_dispatcher_join(asock_context *context);

#endif
