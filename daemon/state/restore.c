/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes listeners, sessions, sockets and ops from records.
 *
 * Happy path: the daemon, its listeners, then each session with its sockets and ops. Each
 * descriptor is verified, and used once. What was charged is charged again, also over a limit,
 * because it was promised. Nothing starts yet.
 * Failures: a number out of range, a record in the wrong place, a descriptor of another kind, no
 * memory. The whole state is refused then, with a text.
 */
#include "daemon/state/restore.h"

#include <errno.h>
#include <string.h>

#include "daemon/core/quota.h"
#include "daemon/state/drains.h"
#include "daemon/state/ended.h"
#include "daemon/state/history.h"
#include "daemon/state/policy.h"
#include "daemon/state/rules.h"

int restore_fail(struct state_restorer *r, const char *what)
{
    r->what = what;
    return -EBADMSG;
}

int restore_miss(struct state_restorer *r, const char *what)
{
    r->what = what;
    return r->saves_what_it_can ? -ENODATA : -EBADMSG;
}

int restore_claim(struct state_restorer *r, uint32_t number, int *ret)
{
    if (number == 0 || number > r->descriptor_count)
        return restore_miss(r, "a descriptor is missing");
    if (r->taken[number - 1])
        return restore_fail(r, "a descriptor is named twice");
    r->taken[number - 1] = true;
    *ret = r->descriptors[number - 1];
    return 0;
}

void restore_discard(struct state_restorer *r, uint32_t number)
{
    if (!r->saves_what_it_can || number == 0 || number > r->descriptor_count ||
        r->taken[number - 1])
        return;
    r->taken[number - 1] = true;
    state_discard(r->descriptors[number - 1]);
}

void restore_give_up(struct state_restorer *r, struct session *s, const char *what)
{
    if (!s->is_unfit)
        r->lost++;
    s->is_unfit = true;
    r->lost_what = what;
}

/* The next record, which must be of this kind. */
static int next(struct state_reader *in, struct state_restorer *r,
                Asockd__State__Record__KindCase kind, Asockd__State__Record **ret)
{
    int e = state_next(in, ret);

    if (e > 0 && (*ret)->kind_case == kind)
        return 0;
    state_record_free(*ret);
    *ret = NULL;
    if (e == -ENOMEM)
        return e;
    return restore_fail(r, e < 0 ? "a record is damaged" : "a record is out of place");
}

static int restore_listener(struct state_reader *in, struct state_restorer *r)
{
    Asockd__State__Record *record;
    struct state_listener listener;
    int fd = -1, e = next(in, r, ASOCKD__STATE__RECORD__KIND_LISTENER, &record);

    if (e < 0)
        return e;
    e = restore_claim(r, record->listener->descriptor, &fd);
    if (e == 0 && verify_listener(fd, record->listener->cookie, record->listener->path) < 0)
        e = restore_fail(r, "a listener's descriptor does not match the state");
    listener = (struct state_listener){record->listener->name, record->listener->path,
                                       record->listener->is_control, fd};
    if (e == 0)
        e = r->listener(r->data, &listener);
    state_record_free(record);
    return e;
}

static int pass_over_ops(struct state_reader *in, struct state_restorer *r, uint32_t count)
{
    Asockd__State__Record *op;
    int e = 0;

    for (uint32_t i = 0; e == 0 && i < count; i++) {
        e = next(in, r, ASOCKD__STATE__RECORD__KIND_OP, &op);
        state_record_free(op);
    }
    return e;
}

/* Of a session that is not made. */
static int pass_over_socket(struct state_reader *in, struct state_restorer *r)
{
    Asockd__State__Record *record;
    int e = next(in, r, ASOCKD__STATE__RECORD__KIND_SOCKET, &record);

    if (e < 0)
        return e;
    restore_discard(r, record->socket->descriptor);
    e = pass_over_ops(in, r, record->socket->ops);
    state_record_free(record);
    return e;
}

static int restore_socket_and_ops(struct state_reader *in, struct state_restorer *r,
                                  struct session *s)
{
    Asockd__State__Record *record, *op;
    struct sock *sock = NULL;
    int e = next(in, r, ASOCKD__STATE__RECORD__KIND_SOCKET, &record);

    if (e < 0)
        return e;
    e = restore_socket(r, s, record->socket, &sock);
    if (e == -ENODATA)
        e = pass_over_ops(in, r, record->socket->ops);
    else {
        for (uint32_t i = 0; e == 0 && i < record->socket->ops; i++) {
            e = next(in, r, ASOCKD__STATE__RECORD__KIND_OP, &op);
            if (e == 0)
                e = restore_op(r, sock, record->socket, op->op);
            state_record_free(op);
        }
        if (e == 0)
            e = restore_socket_end(r, sock, record->socket);
    }
    state_record_free(record);
    return e;
}

static int restore_session_and_sockets(struct state_reader *in, struct state_restorer *r)
{
    Asockd__State__Record *record;
    struct session *s = NULL;
    int e = next(in, r, ASOCKD__STATE__RECORD__KIND_SESSION, &record);

    if (e < 0)
        return e;
    e = restore_session(r, record->session, &s);
    if (e == -ENODATA) {
        r->lost++;
        r->lost_what = r->what;
        e = 0;
    }
    for (uint32_t i = 0; e == 0 && i < record->session->sockets; i++)
        e = s ? restore_socket_and_ops(in, r, s) : pass_over_socket(in, r);
    state_record_free(record);
    return e;
}

static int restore_daemon(struct state_reader *in, struct state_restorer *r,
                          const Asockd__State__Daemon *from)
{
    int e = 0;

    /* Under the service manager there is none: the listeners are its. */
    if (from->lock || !r->saves_what_it_can)
        e = restore_claim(r, from->lock, &r->lock);
    if (e == 0 && from->lock && verify_lock(r->lock) < 0)
        e = restore_fail(r, "the lock does not match the state");
    r->next_id = from->next_id;
    r->saved = from->saved;
    r->pid = from->pid;
    if (e == 0 && r->next_id >= UINT64_C(1) << 44)
        e = restore_fail(r, "no IDs are left");
    if (e == 0)
        state_restore_policy(r->worker, from);
    for (uint32_t i = 0; e == 0 && i < from->listeners; i++)
        e = restore_listener(in, r);
    for (uint32_t i = 0; e == 0 && i < from->sessions; i++)
        e = restore_session_and_sockets(in, r);
    if (e == 0)
        e = ended_restore(r, from);
    if (e == 0)
        e = drains_restore(r, from);
    if (e == 0)
        rules_restore(r->worker, from);
    return e == 0 ? history_restore(r, from) : e;
}

int state_restore(struct state_restorer *r, struct state_reader *in)
{
    struct worker *w = r->worker;
    Asockd__State__Record *record, *more = NULL;
    int e;

    r->lock = -1;
    r->what = "out of memory";
    if (in->descriptors != r->descriptor_count &&
        (!r->saves_what_it_can || in->descriptors < r->descriptor_count))
        return restore_fail(r, "not all descriptors arrived");
    e = next(in, r, ASOCKD__STATE__RECORD__KIND_DAEMON, &record);
    if (e < 0)
        return e;
    quota_force(w->quota, true);
    e = restore_daemon(in, r, record->daemon);
    quota_force(w->quota, false);
    if (e == 0 && state_next(in, &more) != 0)
        e = restore_fail(r, "there is data after the last record");
    state_record_free(more);
    /* What was made here is not new. */
    if (e == 0) {
        state_restore_counters(w, record->daemon);
        w->next_id = r->next_id;
    }
    state_record_free(record);
    return e;
}
