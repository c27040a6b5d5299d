/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_WINDOW_H
#define ASOCKD_WINDOW_H

/*
 * What a client may send (S49, S51): the bytes of its sends that the kernel has not taken count
 * against the window of their socket and of their session. Bytes and ops that are free again are
 * reported to the client: with the next reply of their socket, or with an event SEND_ROOM once the
 * client may be waiting for them. window.c is the only writer of the counts: queued, beyond,
 * unreported, unreported_ops and unreported_ids of a session; queued, send_freed and ops_freed of a
 * socket.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op;
struct session;
struct sock;
struct task;

/* The words of session->unreported_ids. */
static inline size_t window_words(uint32_t ids)
{
    return ((size_t)ids + 63) / 64;
}

/* Bytes of a send have arrived. */
void window_charge(struct sock *sock, uint32_t bytes);
/*
 * More than the socket's window, or more than the session may queue beside each socket's own share?
 */
bool window_is_over(const struct sock *sock);
/* The kernel has taken these bytes, or they were dropped: the client may send as many more. */
void window_uncharge(struct sock *sock, uint64_t bytes);

/* These bytes and ops were never charged, or are not charged any more: they are free as well. */
void window_free(struct sock *sock, uint64_t bytes, uint32_t ops);
/* A KILLED event waits to be sent; it travels as a report does. */
void window_report(struct sock *sock);
/* The reply of op reports what its socket has not reported yet. */
void window_take(struct op *op);
/* It is about to lose its id, but not its session. */
void window_leave_id(struct sock *sock);
/* sock leaves its session, before its id: what it has not reported is not reported any more. */
void window_leave(struct sock *sock);

/*
 * In a step of the session: sends the reports that are due, as far as there is time. false: there
 * is no room for one.
 */
bool window_flush(struct session *s);
/* session->report_task: something is due. */
void window_run(struct task *task);

#endif
