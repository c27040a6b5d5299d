/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session from its record: identity, restrictions, grant, charges, transport.
 * Failures: a number out of range, no memory: the whole state is refused. A restriction that this
 * version does not understand: the session ends when it is ours.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/policy/policy.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/session/session_frame.h"
#include "daemon/session/session_quota.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_lend.h"
#include "daemon/state/drains.h"
#include "daemon/state/questions.h"
#include "daemon/state/restore.h"
#include "daemon/state/shared.h"
#include "daemon/state/sharing.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

/* ---- who it is ---- */

static bool copy_text(char *to, size_t cap, const char *from)
{
    return (size_t)snprintf(to, cap, "%s", from) < cap;
}

static bool copy_texts(struct identity *identity, const Asockd__State__Identity *from)
{
    return copy_text(identity->unit, sizeof(identity->unit), from->unit) &&
           copy_text(identity->user_unit, sizeof(identity->user_unit), from->user_unit) &&
           copy_text(identity->cgroup, sizeof(identity->cgroup), from->cgroup) &&
           copy_text(identity->comm, sizeof(identity->comm), from->comm);
}

static int copy_groups(struct identity *identity, const Asockd__State__Identity *from)
{
    if (from->n_gids == 0)
        return 0;
    identity->gids = mem_alloc(from->n_gids * sizeof(*identity->gids));
    if (!identity->gids)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_gids; i++)
        identity->gids[i] = from->gids[i];
    return 0;
}

static int restore_identity(struct state_restorer *r, const Asockd__State__Identity *from,
                            struct identity *ret)
{
    int e;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = -1;
    if (!from || from->ownership > IDENTITY_OWNER_UNKNOWN ||
        from->pidfd_source > IDENTITY_PIDFD_OPENED || from->gid_count > IDENTITY_GIDS_MAX ||
        (from->n_gids > 0 && from->n_gids != from->gid_count) || from->pid < 0 ||
        !copy_texts(ret, from))
        return restore_fail(r, "an identity is invalid");
    ret->uid = from->uid;
    ret->gid = from->gid;
    ret->ownership = from->ownership;
    ret->owner = from->owner;
    ret->pid = from->pid;
    ret->gids_known = from->gids_known;
    ret->gid_count = from->gid_count;
    ret->pidfd_source = from->pidfd_source;
    ret->units_known = from->units_known;
    if (from->pidfd) {
        e = restore_claim(r, from->pidfd, &ret->pidfd);
        if (e < 0)
            return e;
        if (verify_process(ret->pidfd, ret->pid) < 0)
            return restore_miss(r, "a process descriptor does not match the state");
    }
    return copy_groups(ret, from);
}

/* ---- what it has ---- */

static bool is_within(uint64_t value, uint64_t least, uint64_t most)
{
    return value >= least && value <= most;
}

static int restore_limits(struct state_restorer *r, struct session *s,
                          const Asockd__State__Session *from)
{
    const struct limits granted = {
        .sockets = from->sockets_max,
        .ops = from->ops_max,
        .socket_ops = from->socket_ops_max,
        .send_window = from->send_window,
        .queued_max = from->queued_max,
        .shared_max = from->shared_max,
        .buffers = from->buffers_max,
        .lingers = from->lingers_max,
        .lookups = from->lookups_max,
        .connects_per_second = from->connects_per_second,
        .kernel_max = from->kernel_max,
    };

    if (!is_within(granted.sockets, PROTOCOL_SOCKETS_MIN, LIMIT_SOCKETS_MAX) ||
        !is_within(granted.ops, PROTOCOL_OPS_MIN, LIMIT_OPS_MAX) ||
        !is_within(granted.socket_ops, PROTOCOL_OPS_MIN, LIMIT_OPS_MAX) ||
        !is_within(granted.send_window, PROTOCOL_WINDOW_MIN, LIMIT_WINDOW_MAX) ||
        !is_within(granted.queued_max, PROTOCOL_WINDOW_MIN, LIMIT_QUEUED_MAX))
        return restore_fail(r, "a limit is invalid");
    return session_quota_restore(s, &granted);
}

static int restore_restrictions(struct state_restorer *r, struct session *s,
                                const Asockd__State__Session *from)
{
    char error[POLICY_ERROR_MAX];

    /* Without one of them it could do more than it may. */
    for (size_t i = 0; i < from->n_restrictions && !s->is_unfit; i++) {
        int e = policy_view_restrict_again(s->view, (const char *)from->restrictions[i].data,
                                           from->restrictions[i].len, error);

        if (e == -ENOMEM)
            return e;
        if (e < 0)
            restore_give_up(r, s, "a restriction of the session cannot be parsed");
    }
    if (from->restrictions_memory > LIMIT_TOTAL_BYTES_MAX)
        return restore_fail(r, "a charge is invalid");
    if (quota_charge(s->quota, QUOTA_MEMORY, from->restrictions_memory) < 0)
        return -EDQUOT;
    s->restrictions = from->restrictions_memory;
    return 0;
}

static bool is_frame(const ProtobufCBinaryData *data)
{
    struct frame frame;
    long n = data->len > 0 ? asock_frame_parse(data->data, data->len, &frame) : 0;

    return n > 0 && (size_t)n == data->len && data->len <= STATE_REPLY_MAX;
}

static int restore_transport(struct state_restorer *r, struct session *s,
                             const Asockd__State__Session *from)
{
    const struct transport_past past = {
        .in = from->input.data,
        .in_len = from->input.len,
        .out = from->output.data,
        .out_len = from->output.len,
        .bytes_in = from->transport_in,
        .bytes_out = from->transport_out,
    };
    int e = transport_restore(&s->transport, &past);

    if (e == -E2BIG || from->n_replies > 2 * (uint64_t)LIMIT_OPS_MAX)
        return restore_fail(r, "a session has more pending input or replies than its limits allow");
    for (size_t i = 0; e == 0 && i + from->replies_instead < from->n_replies; i++)
        e = is_frame(&from->replies[i])
                ? session_add_frame(s, from->replies[i].data, from->replies[i].len)
                : restore_fail(r, "a reply is not a frame");
    return e;
}

static int restore_slots(struct state_restorer *r, struct session *s,
                         const Asockd__State__Session *from)
{
    for (size_t i = 0; i < from->n_slots; i++) {
        struct session_slot *slot = session_slot(s, from->slots[i]->id);

        if (!slot)
            return restore_fail(r, "a socket's ID is out of range");
        slot->dropping = from->slots[i]->dropping;
    }
    return 0;
}

static void restore_hello(struct session *s, const Asockd__State__Session *from)
{
    uint64_t now = s->worker->clock();

    s->has_hello = from->has_hello;
    if (from->has_hello)
        session_quota_said_hello(s);
    else if (from->hello_until)
        worker_set_deadline(s->worker, &s->hello,
                            from->hello_until > now ? from->hello_until - now : 0);
}

static int fill(struct state_restorer *r, struct session *s, const Asockd__State__Session *from)
{
    int e;

    if (from->id == 0 || from->id >= r->next_id || from->lingering > from->sockets ||
        from->sockets - from->lingering > from->sockets_max ||
        from->lent_unread > from->sockets_max || !copy_text(s->name, sizeof(s->name), from->name))
        return restore_fail(r, "a session is invalid");
    s->id = from->id;
    s->created = from->created;
    s->input_ended = from->input_ended;
    s->bytes_in = from->bytes_in;
    s->bytes_out = from->bytes_out;
    s->ops_done = from->ops_done;
    s->lent_unread = from->lent_unread;
    restore_hello(s, from);
    e = restore_limits(r, s, from);
    if (e == 0)
        e = restore_restrictions(r, s, from);
    if (e == 0)
        e = restore_transport(r, s, from);
    if (e == 0)
        e = shared_restore(r, s, from);
    if (e == 0)
        e = questions_restore(r, s, from);
    if (e == 0)
        e = sharing_restore(r, s, from);
    return e == 0 ? restore_slots(r, s, from) : e;
}

static int make(struct state_restorer *r, const Asockd__State__Session *from, int fd,
                struct identity *identity, struct session **ret)
{
    struct session_config config = {.worker = r->worker, .kind = LISTENER_CLIENT};
    char why[SESSION_WHY_MAX];
    int e;

    if (strlen(from->listener) >= sizeof((*ret)->listener))
        return restore_fail(r, "a listener's name is too long");
    config.listener = from->listener;
    e = r->configure(r->data, from->listener, &config);
    if (e < 0)
        return restore_miss(r, "a session's listener does not exist");
    e = sharing_configure(r, from, &config);
    if (e < 0)
        return e;
    if (verify_client(fd, from->cookie, identity) < 0)
        return restore_miss(r, "a client's descriptor does not match the state");
    if (policy_looks_at_groups(r->worker->policy))
        identity_read_groups(identity, fd);
    e = session_new(&config, fd, identity, why, ret);
    if (e == 0 && config.on_gone)
        r->sessions++;
    return e;
}

int restore_session(struct state_restorer *r, const Asockd__State__Session *from,
                    struct session **ret)
{
    struct identity identity;
    int fd = -1, e = restore_identity(r, from->identity, &identity);

    if (e == 0)
        e = restore_claim(r, from->descriptor, &fd);
    if (e == 0)
        e = make(r, from, fd, &identity, ret);
    if (e < 0) {
        identity_deinit(&identity);
        if (e == -ENODATA && fd >= 0)
            state_discard(fd);
        else if (e == -ENODATA)
            restore_discard(r, from->descriptor);
        return e;
    }
    e = fill(r, *ret, from);
    /* Its view is below the sharer's, which may lack a restriction: nothing of it begins again. */
    if (e == 0 && (*ret)->sharing.sharer && (*ret)->sharing.sharer->is_unfit)
        restore_give_up(r, *ret, "the session that shares its rights with this one is incomplete");
    return e;
}

/* ---- it is ours ---- */

static int option(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static void end_in_reset(int fd, bool on)
{
    const struct linger reset = {.l_onoff = on};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

/*
 * A listening socket would hand it on to what it accepts. Of a lent one it is the client's, which
 * goes on with the connection if no process does.
 */
static void end_socket_in_reset(const struct sock *sock, bool on)
{
    struct connect_past past;

    if (sock->ns.fd >= 0 && !sock->more->bound && !sock->more->dgram && !sock->ns.is_lent)
        end_in_reset(sock->ns.fd, on);
    if (!sock->connect)
        return;
    connect_save(sock->connect, &past);
    for (uint32_t i = 0; i < past.attempt_count; i++)
        end_in_reset(past.attempts[i].fd, on);
}

void state_end_in_reset(const struct session *s, bool on)
{
    struct sock *sock;

    session_for_each_sock (s, sock)
        end_socket_in_reset(sock, on);
}

void state_discard(int fd)
{
    if (option(fd, SO_PROTOCOL) == IPPROTO_TCP)
        netsock_dissolve(fd);
    close(fd);
}

static void resume_socket(struct session *s, struct sock *sock)
{
    end_socket_in_reset(sock, false);
    if (sock->more->hangup)
        hangup_resume(sock->more->hangup);
    if (sock->connect) {
        connect_resume(sock->connect);
        return;
    }
    if (sock->lingers) {
        sock_linger_resume(sock);
        return;
    }
    /* As after a reload: what policy does not let be bound any more is not. */
    if (sock->more->bound && sock_bound_judge_again(sock))
        return;
    if (sock->state == SOCK_LISTENING && !list_is_empty(&sock->more->bound->accepts)) {
        sock->events |= EV_READ;
        session_ready(s, sock);
    }
    if (sock->state == SOCK_CONNECTED)
        sock_idle_begin(sock);
    else if (!sock->more->dgram)
        return;
    if (ring_is_empty(&sock->sends) && ring_is_empty(&sock->receives))
        return;
    sock->events |= EV_READ | EV_WRITE;
    session_ready(s, sock);
}

/* What its client has sent behind what the state has is lost: no stream of it may look whole. */
static void cut_sockets(struct session *s)
{
    struct sock *sock;

    session_for_each_sock (s, sock)
        sock->is_incomplete |= sock->state == SOCK_CONNECTED;
}

void state_resume(struct worker *w)
{
    drains_resume(w);
    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);
        struct sock *sock;

        if (s->had_ended) {
            session_end(s, ERR_SUCCESS, NULL);
            continue;
        }
        /* Nothing of it begins again: without a restriction it could connect where it may not. */
        if (s->is_unfit) {
            cut_sockets(s);
            session_end(s, ERR_CONNECTION_ABORTED,
                        "the daemon was replaced and could not take over all of the session");
            session_end_lingering(s);
            continue;
        }
        lending_on_look(&s->lend_look); /* the descriptors in its output are counted now */
        session_for_each_sock (s, sock)
            resume_socket(s, sock);
        session_resume_buffers(s);
        questions_resume(s);
        worker_flush_later(w, &s->report_task);
        session_has_room(s);
        session_resume_later(s);
    }
}
