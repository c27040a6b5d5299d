/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A LIST goes through the sessions by id, in each through its sockets by slot, then through those that
 * linger by serial; last come the draining ones, which have no session. Any of them may go, and new
 * ones come, between two rows: the cursor holds numbers, no pointers.
 */
#include "daemon/server/admin.h"

#include <errno.h>

#include "daemon/server/admin_denials.h"
#include "daemon/server/admin_policy.h"
#include "daemon/server/admin_record.h"
#include "daemon/core/loop.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"

/* Slots come first in a session; behind them `place` is this and a serial. */
#define PLACE_LINGERING (UINT64_C(1) << 32)
/* "Session" of the draining sockets; their `place` is a serial. */
#define CURSOR_DRAINS UINT64_MAX

static bool sees_all(const struct session *s)
{
    return s->kind == LISTENER_CONTROL;
}

/* The first session, from id on, that s may see. */
static struct session *find_session(struct session *s, uint64_t id)
{
    if (!sees_all(s))
        return id <= s->id ? s : NULL;
    list_for_each (&s->worker->sessions, it) {
        struct session *other = container_of(it, struct session, node);

        if (other->id >= id)
            return other;
    }
    return NULL;
}

/* The one with the least serial, from serial on: these lists are in no order. */
static struct sock *find_serial(const struct list *socks, uint64_t serial)
{
    struct sock *found = NULL;

    list_for_each (socks, it) {
        struct sock *sock = container_of(it, struct sock, node);

        if (sock->serial >= serial && (!found || sock->serial < found->serial))
            found = sock;
    }
    return found;
}

static struct sock *next_of_session(const struct session *s, uint64_t *place)
{
    struct sock *sock;

    for (; *place < s->slot_count; (*place)++) {
        sock = s->slots[*place].sock;
        if (sock) {
            (*place)++;
            return sock;
        }
    }
    sock = find_serial(&s->lingering, *place < PLACE_LINGERING ? 0 : *place - PLACE_LINGERING);
    if (sock)
        *place = PLACE_LINGERING + sock->serial + 1;
    return sock;
}

static struct sock *next_sock(struct session *s, struct inspect_cursor *cursor)
{
    struct session *other;
    struct sock *sock;

    while (cursor->session != CURSOR_DRAINS) {
        other = find_session(s, cursor->session);
        if (!other) {
            *cursor = (struct inspect_cursor){.session = CURSOR_DRAINS};
            break;
        }
        if (other->id != cursor->session)
            *cursor = (struct inspect_cursor){.session = other->id};
        sock = next_of_session(other, &cursor->place);
        if (sock)
            return sock;
        *cursor = (struct inspect_cursor){.session = other->id + 1};
    }
    sock = sees_all(s) ? find_serial(&s->worker->drains, cursor->place) : NULL;
    if (sock)
        cursor->place = sock->serial + 1;
    return sock;
}

static long list(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    struct sock *sock = next_sock(s, cursor);
    struct record record;

    if (!sock)
        return 0;
    record_init(&record);
    record_sock(&record, sock);
    return record_encode(&record, out, cap);
}

static struct sock *find_sock_of_session(const struct session *s, uint64_t serial)
{
    struct sock *sock;

    session_for_each_sock (s, sock)
        if (sock->serial == serial)
            return sock;
    return NULL;
}

static struct sock *find_sock(struct session *s, uint64_t serial)
{
    struct sock *sock;

    if (!sees_all(s))
        return find_sock_of_session(s, serial);
    list_for_each (&s->worker->sessions, it) {
        sock = find_sock_of_session(container_of(it, struct session, node), serial);
        if (sock)
            return sock;
    }
    sock = find_serial(&s->worker->drains, serial);
    return sock && sock->serial == serial ? sock : NULL;
}

static long show(struct session *s, uint64_t id, uint8_t *out, size_t cap)
{
    struct session *session = id == 0 ? s : find_session(s, id);
    struct record record;
    struct sock *sock;

    record_init(&record);
    if (session && (id == 0 || session->id == id)) {
        record_session(&record, session, sees_all(s));
        return record_encode(&record, out, cap);
    }
    sock = find_sock(s, id);
    if (!sock)
        return -ESRCH;
    record_sock(&record, sock);
    record_sock_details(&record, sock);
    if (sees_all(s))
        record_sock_denial(&record, sock);
    return record_encode(&record, out, cap);
}

static long sessions(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    struct session *other = find_session(s, cursor->session);
    struct record record;

    if (!other)
        return 0;
    cursor->session = other->id + 1;
    record_init(&record);
    record_session_row(&record, other);
    return record_encode(&record, out, cap);
}

static long stats(struct session *s, uint8_t *out, size_t cap)
{
    struct record record;

    record_init(&record);
    if (sees_all(s))
        record_daemon_stats(&record, s->worker);
    else
        record_session_stats(&record, s);
    return record_encode(&record, out, cap);
}

static int kill_id(struct session *s, uint64_t id)
{
    struct session *session = find_session(s, id);
    struct sock *sock;

    if (id == 0)
        return -ESRCH;
    if (session && session->id == id) {
        session_kill(session);
        return 0;
    }
    sock = find_sock(s, id);
    if (!sock)
        return -ESRCH;
    sock_kill(sock);
    return 0;
}

const struct inspect_ops admin_inspect_ops = {
    .list = list,
    .show = show,
    .stats = stats,
    .kill = kill_id,
    .reload = admin_reload,
    .judge = admin_judge,
    .learned = admin_learned,
    .sessions = sessions,
    .denials = admin_denials,
};
