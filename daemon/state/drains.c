/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the descriptor goes over with its deadline. The next process drops what still comes
 * in, and closes the connection when the peer ends it. It is charged to the same user and unit.
 * Failures: no memory, a number out of range. A descriptor is missing, or something else: that
 * connection is forgotten.
 */
#include "daemon/state/drains.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_lend.h"
#include "daemon/state/lent.h"
#include "daemon/state/save.h"

/* ---- the old one ---- */

struct drain_room {
    Asockd__State__Drain drain;
    Asockd__State__Socket socket;
    struct endpoint_room remote;
    struct lent_room lent;
};

static char *key_at(const struct sock *sock, enum quota_level level)
{
    const struct quota *q = quota_at(sock_quota(sock), level);

    return save_text(q ? quota_key(q) : NULL);
}

static void fill(struct state_writer *out, const struct sock *sock, struct drain_room *room)
{
    Asockd__State__Socket *socket = &room->socket;
    struct drain_past past;

    asockd__state__drain__init(&room->drain);
    asockd__state__socket__init(socket);
    sock_drain_save(sock, &past);
    room->drain.socket = socket;
    room->drain.until = past.until;
    room->drain.drained = past.drained;
    room->drain.charged = past.charged;
    room->drain.listener = key_at(sock, QUOTA_LISTENER);
    room->drain.user = key_at(sock, QUOTA_USER);
    room->drain.unit = key_at(sock, QUOTA_UNIT);
    socket->serial = sock->serial;
    socket->created = sock->created;
    socket->family = sock->family;
    socket->bytes_in = sock->bytes_in;
    socket->bytes_out = sock->bytes_out;
    socket->kernel_send = sock->kernel[0];
    socket->kernel_receive = sock->kernel[1];
    socket->host = save_text(sock->host);
    socket->port = sock->port;
    socket->remote = save_endpoint(&room->remote, &sock->remote);
    if (sock->ns.is_lent)
        socket->lent = lent_save(out, &room->lent, sock);
    socket->descriptor = state_add_descriptor(out, sock->ns.fd);
    socket->cookie = state_cookie(sock->ns.fd);
}

int drains_save(struct state_writer *out, const struct worker *w, struct drains_room *room,
                Asockd__State__Daemon *to)
{
    if (!state_takes_drains(out) || w->drain_count == 0)
        return 0;
    room->drains = mem_zalloc(w->drain_count, sizeof(*room->drains));
    room->at = mem_zalloc(w->drain_count, sizeof(struct _Asockd__State__Drain *));
    if (!room->drains || !room->at)
        return -ENOMEM;
    list_for_each (&w->drains, it) {
        struct drain_room *one = &room->drains[to->n_drains];

        fill(out, container_of(it, struct sock, node), one);
        room->at[to->n_drains++] = &one->drain;
    }
    to->drains = room->at;
    return 0;
}

void drains_free_room(struct drains_room *room)
{
    room->drains = mem_free(room->drains);
    room->at = mem_free(room->at);
}

/* ---- the new one ---- */

/* A node of its own below that unit, or that user; NULL: no memory. */
static struct quota *find_place(struct quota *listener, const Asockd__State__Drain *from)
{
    struct quota *user, *unit, *place;

    if (!from->user[0])
        return quota_child(listener, QUOTA_SESSION, NULL);
    user = quota_child(listener, QUOTA_USER, from->user);
    if (!user)
        return NULL;
    unit = from->unit[0] ? quota_child(user, QUOTA_UNIT, from->unit) : quota_ref(user);
    place = unit ? quota_child(unit, QUOTA_SESSION, NULL) : NULL;
    quota_unref(unit);
    quota_unref(user);
    return place;
}

static bool is_in_range(const struct state_restorer *r, const Asockd__State__Drain *from)
{
    const Asockd__State__Socket *socket = from->socket;

    return socket && socket->serial > 0 && socket->serial < r->next_id &&
           socket->family <= FAMILY_INET6 && socket->port <= UINT16_MAX &&
           strlen(socket->host) <= CODEC_HOST_MAX && socket->kernel_send <= INT32_MAX &&
           socket->kernel_receive <= INT32_MAX && from->charged >= MEMORY_SOCKET_ALONE &&
           from->charged <= MEMORY_SOCKET_ALONE + SOCKET_QUEUED_MIN &&
           from->drained < DRAIN_BYTES && strlen(from->user) < QUOTA_KEY_MAX &&
           strlen(from->unit) < QUOTA_KEY_MAX &&
           (!socket->lent || (!socket->lent->given && !socket->lent->travel));
}

static int make(struct state_restorer *r, const Asockd__State__Drain *from, struct sock **ret)
{
    const struct drain_past past = {from->until, from->drained, from->charged};
    struct session_config config = {.worker = r->worker, .kind = LISTENER_CLIENT};
    struct quota *place;
    int e;

    /* It has no use for a listener but this: without one it is the user's alone. */
    if (r->configure(r->data, from->listener, &config) < 0 || !config.quota)
        config.quota = r->worker->quota;
    place = find_place(config.quota, from);
    if (!place)
        return -ENOMEM;
    e = sock_new_drain(r->worker, place, from->socket->family, ret);
    quota_unref(place);
    return e == 0 ? sock_drain_restore(*ret, &past) : e;
}

static int adopt(struct state_restorer *r, struct sock *sock, const Asockd__State__Socket *from)
{
    int fd, e = restore_claim(r, from->descriptor, &fd);

    if (e < 0)
        return e;
    e = from->lent ? verify_lent(fd, from->cookie)
                   : verify_connection(fd, from->cookie, &sock->remote);
    if (e < 0) {
        e = restore_miss(r, "a closed connection's descriptor does not match the state");
        if (e == -ENODATA)
            state_discard(fd);
        return e;
    }
    netsock_adopt(&sock->ns, fd, false);
    sock->worker->fds_used++;
    return lent_restore(r, sock, from->lent);
}

static int fill_sock(struct state_restorer *r, struct sock *sock, const Asockd__State__Socket *from)
{
    sock->serial = from->serial;
    sock->created = from->created;
    sock->bytes_in = from->bytes_in;
    sock->bytes_out = from->bytes_out;
    if (!restore_endpoint(from->remote, &sock->remote))
        return restore_fail(r, "an address is invalid");
    if (sock_set_destination(sock, from->host[0] ? from->host : NULL, (uint16_t)from->port) < 0)
        return -ENOMEM;
    if (quota_charge(sock_quota(sock), QUOTA_KERNEL,
                     (uint64_t)from->kernel_send + from->kernel_receive) < 0)
        return -EDQUOT;
    sock->kernel[0] = from->kernel_send;
    sock->kernel[1] = from->kernel_receive;
    return adopt(r, sock, from);
}

static int restore(struct state_restorer *r, const Asockd__State__Drain *from)
{
    struct sock *sock = NULL;
    int e;

    if (!is_in_range(r, from))
        return restore_fail(r, "a closed connection is invalid");
    e = make(r, from, &sock);
    if (e < 0)
        return e;
    e = fill_sock(r, sock, from->socket);
    if (e < 0)
        sock_abort(sock);
    return e == -ENODATA ? 0 : e;
}

int drains_restore(struct state_restorer *r, const Asockd__State__Daemon *from)
{
    int e = 0;

    for (size_t i = 0; e == 0 && i < from->n_drains; i++)
        e = restore(r, from->drains[i]);
    return e;
}

void drains_resume(struct worker *w)
{
    list_for_each (&w->drains, it)
        sock_drain_resume(container_of(it, struct sock, node));
}
