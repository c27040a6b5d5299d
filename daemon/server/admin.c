/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A LIST goes through the sessions, in each through its sockets by slot, then through those that
 * linger by serial; last come the draining ones, which have no session. Any of them may go, and new
 * ones come, between two rows: each one that goes updates the walk; everything else in the cursor
 * is a number.
 */
#include "daemon/server/admin.h"

#include <errno.h>

#include "daemon/server/admin_denials.h"
#include "daemon/server/admin_listener.h"
#include "daemon/server/admin_metrics.h"
#include "daemon/server/admin_policy.h"
#include "daemon/server/admin_record.h"
#include "daemon/core/loop.h"
#include "daemon/session/session.h"
#include "daemon/session/session_sockets.h"
#include "daemon/session/session_end.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"

/* "Session" of the draining sockets, which have none. */
#define CURSOR_DRAINS UINT64_MAX

static bool sees_all(const struct session *s)
{
    return s->kind == LISTENER_CONTROL;
}

/* NULL: there is none that s may see. */
static struct session *find_session(struct session *s, uint64_t id)
{
    if (!sees_all(s))
        return id == s->id ? s : NULL;
    list_for_each (&s->worker->sessions, it) {
        struct session *other = container_of(it, struct session, node);

        if (other->id == id)
            return other;
    }
    return NULL;
}

static void begin(struct session *s, struct inspect_cursor *cursor)
{
    *cursor = (struct inspect_cursor){.session = s->id};
    list_init(&cursor->walk.node);
    if (sees_all(s))
        walk_begin(&cursor->walk, &s->worker->session_walks, &s->worker->sessions);
}

static void end(struct inspect_cursor *cursor)
{
    walk_end(&cursor->walk);
}

/* The session that the cursor is at; NULL: there is none any more. */
static struct session *session_at(struct session *s, struct inspect_cursor *cursor)
{
    struct session *other;

    if (!sees_all(s))
        return s;
    if (cursor->walk.next == &s->worker->sessions)
        return NULL;
    other = container_of(cursor->walk.next, struct session, node);
    if (other->id != cursor->session) {
        cursor->session = other->id;
        cursor->place = 0;
    }
    return other;
}

static void begin_drains(struct session *s, struct inspect_cursor *cursor)
{
    walk_end(&cursor->walk);
    walk_begin(&cursor->walk, &s->worker->drain_walks, &s->worker->drains);
    cursor->session = CURSOR_DRAINS;
}

/* The socket that it is at, or the first one behind that place. */
static struct sock *sock_at(struct session *s, struct inspect_cursor *cursor)
{
    struct session *other;
    struct sock *sock;

    while (cursor->session != CURSOR_DRAINS) {
        other = session_at(s, cursor);
        sock = other ? session_sock_from(other, &cursor->place) : NULL;
        if (sock)
            return sock;
        if (!sees_all(s))
            return NULL;
        if (other)
            cursor->walk.next = other->node.next;
        else
            begin_drains(s, cursor);
    }
    if (cursor->walk.next == &s->worker->drains)
        return NULL;
    return container_of(cursor->walk.next, struct sock, node);
}

static void advance(struct inspect_cursor *cursor)
{
    if (cursor->session == CURSOR_DRAINS)
        cursor->walk.next = cursor->walk.next->next;
    else
        cursor->place++;
}

static long list(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    struct sock *sock = sock_at(s, cursor);
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
    list_for_each (&s->worker->drains, it) {
        sock = container_of(it, struct sock, node);
        if (sock->serial == serial)
            return sock;
    }
    return NULL;
}

static long show(struct session *s, uint64_t id, uint8_t *out, size_t cap)
{
    struct session *session = id == 0 ? s : find_session(s, id);
    struct record record;
    struct sock *sock;
    size_t count;
    long n;

    record_init(&record);
    if (session) {
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
    count = record.count;
    record_sock_connect(&record, sock, sees_all(s));
    n = record_encode(&record, out, cap);
    if (n >= 0)
        return n;
    record.count = count; /* all texts are as long as they can be: the report has no room */
    return record_encode(&record, out, cap);
}

/* Place 0: it has not been reported yet. */
static long sessions(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    struct session *other = session_at(s, cursor);
    struct record record;

    if (other && cursor->place > 0 && sees_all(s)) {
        cursor->walk.next = other->node.next;
        other = session_at(s, cursor);
    }
    if (!other || cursor->place > 0)
        return 0;
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
    if (session) {
        session_kill(session);
        return 0;
    }
    sock = find_sock(s, id);
    if (!sock)
        return -ESRCH;
    sock_kill(sock, KILLER_ADMINISTRATOR);
    return 0;
}

const struct inspect_ops admin_inspect_ops = {
    .begin = begin,
    .end = end,
    .advance = advance,
    .list = list,
    .show = show,
    .stats = stats,
    .kill = kill_id,
    .reload = admin_reload,
    .judge = admin_judge,
    .learned = admin_learned,
    .sessions = sessions,
    .denials = admin_denials,
    .metrics = admin_metrics,
    .add_listener = admin_add_listener,
    .remove_listener = admin_remove_listener,
};
