/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes a session as records.
 *
 * Happy path: one record for the session, one for each socket, one for each op, in the order of
 * their queues; descriptors are numbered in the order of the records. Nothing changes here, so that
 * this process can go on if the new one fails.
 * Failures: no memory, or a state that is too large. The writer keeps the error, and nothing is
 * handed over.
 *
 * A reply that waits for room goes over as its frame.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/core/loop.h"
#include "daemon/policy/file.h"
#include "daemon/session/session.h"
#include "daemon/session/session_frame.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/state/counters.h"
#include "daemon/state/datagrams.h"
#include "daemon/state/drains.h"
#include "daemon/state/ended.h"
#include "daemon/state/history.h"
#include "daemon/state/lent.h"
#include "daemon/state/policy.h"
#include "daemon/state/questions.h"
#include "daemon/state/rules.h"
#include "daemon/state/save.h"
#include "daemon/state/shared.h"
#include "daemon/state/sharing.h"
#include "daemon/state/state.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

#define ABORTED_TEXT "the daemon was replaced in the meantime"

/* ---- the daemon and its listeners ---- */

void state_save_daemon(struct state_writer *out, const struct worker *w, int lock,
                       uint32_t listeners, uint32_t sessions)
{
    Asockd__State__Record record = ASOCKD__STATE__RECORD__INIT;
    Asockd__State__Daemon daemon = ASOCKD__STATE__DAEMON__INIT;
    struct state_counters room;
    struct state_policy policy;
    struct drains_room drains = {.drains = NULL};
    struct ended_room ended = {.sessions = NULL};
    struct history_room history = {.denials = NULL};
    struct rules_room rules;

    daemon.version = save_text(PACKAGE_VERSION);
    daemon.next_id = w->next_id;
    daemon.saved = w->clock();
    daemon.pid = getpid();
    daemon.listeners = listeners;
    daemon.sessions = sessions;
    daemon.lock = state_add_descriptor(out, lock);
    state_save_counters(&w->stats, &room, &daemon);
    state_save_more_counters(w, &room, &daemon);
    rules_save(w, &rules, &daemon);
    state_save_policy(w->policy, &policy, &daemon);
    if (drains_save(out, w, &drains, &daemon) < 0 || ended_save(out, w, &ended, &daemon) < 0 ||
        history_save(w, &history, &daemon) < 0)
        out->error = -ENOMEM;
    record.kind_case = ASOCKD__STATE__RECORD__KIND_DAEMON;
    record.daemon = &daemon;
    state_add(out, &record);
    drains_free_room(&drains);
    ended_free_room(&ended);
    history_free_room(&history);
}

void state_save_listener(struct state_writer *out, const char *name, bool is_control,
                         const char *path, int fd)
{
    Asockd__State__Record record = ASOCKD__STATE__RECORD__INIT;
    Asockd__State__Listener listener = ASOCKD__STATE__LISTENER__INIT;

    listener.name = save_text(name);
    listener.is_control = is_control;
    listener.path = save_text(path);
    listener.descriptor = state_add_descriptor(out, fd);
    listener.cookie = state_cookie(fd);
    record.kind_case = ASOCKD__STATE__RECORD__KIND_LISTENER;
    record.listener = &listener;
    state_add(out, &record);
}

/* ---- parts ---- */

void save_identity(struct state_writer *out, const struct identity *identity,
                   Asockd__State__Identity *to)
{
    asockd__state__identity__init(to);
    to->uid = identity->uid;
    to->gid = identity->gid;
    to->ownership = identity->ownership;
    to->owner = identity->owner;
    to->pid = identity->pid;
    to->gids_known = identity->gids_known;
    to->gid_count = identity->gid_count;
    if (identity->gids) {
        to->gids = identity->gids;
        to->n_gids = identity->gid_count;
    }
    to->pidfd = state_add_descriptor(out, identity->pidfd);
    to->pidfd_source = identity->pidfd_source;
    to->units_known = identity->units_known;
    to->unit = save_text(identity->unit);
    to->user_unit = save_text(identity->user_unit);
    to->cgroup = save_text(identity->cgroup);
    to->comm = save_text(identity->comm);
}

/* ---- sockets ---- */

static uint32_t state_of(const struct sock *sock)
{
    switch (sock->state) {
    case SOCK_CONNECTING:
        return ASOCKD__STATE__SOCKET__STATE__CONNECTING;
    case SOCK_CONNECTED:
        return ASOCKD__STATE__SOCKET__STATE__CONNECTED;
    case SOCK_FAILED:
        return ASOCKD__STATE__SOCKET__STATE__FAILED;
    case SOCK_KILLED:
        return ASOCKD__STATE__SOCKET__STATE__KILLED;
    case SOCK_BOUND:
        return ASOCKD__STATE__SOCKET__STATE__BOUND;
    case SOCK_LISTENING:
        return ASOCKD__STATE__SOCKET__STATE__LISTENING;
    case SOCK_LINGERING:
        return ASOCKD__STATE__SOCKET__STATE__LINGERING;
    case SOCK_LENT:
        return ASOCKD__STATE__SOCKET__STATE__LENT;
    default:
        return ASOCKD__STATE__SOCKET__STATE__OPEN;
    }
}

static uint32_t socket_flags(const struct sock *sock)
{
    return (sock->has_small_buffers ? ASOCKD__STATE__SOCKET__FLAG__SMALL_BUFFERS : 0u) |
           (sock->is_incomplete ? ASOCKD__STATE__SOCKET__FLAG__INCOMPLETE : 0u) |
           (sock->has_seen_end ? ASOCKD__STATE__SOCKET__FLAG__SEEN_END : 0u) |
           (sock->has_sent_end ? ASOCKD__STATE__SOCKET__FLAG__SENT_END : 0u) |
           (sock->has_killed_event ? ASOCKD__STATE__SOCKET__FLAG__KILLED_EVENT : 0u) |
           (sock->killer == KILLER_POLICY ? ASOCKD__STATE__SOCKET__FLAG__DENIED_NOW : 0u) |
           (sock->killer == KILLER_IDLENESS ? ASOCKD__STATE__SOCKET__FLAG__IDLE : 0u) |
           (sock->owes_end ? ASOCKD__STATE__SOCKET__FLAG__OWES_END : 0u) |
           (sock->is_audited ? ASOCKD__STATE__SOCKET__FLAG__AUDITED : 0u) |
           (sock->had_more ? ASOCKD__STATE__SOCKET__FLAG__HAD_MORE : 0u) |
           (sock->lingers ? ASOCKD__STATE__SOCKET__FLAG__LINGERS : 0u);
}

static uint32_t count(const struct list *list)
{
    uint32_t n = 0;

    list_for_each (list, it)
        n++;
    return n;
}

static uint32_t count_queue(const struct ring *ops)
{
    uint32_t n = 0;

    ring_for_each (ops, it)
        n++;
    return n;
}

static void fill_socket(const struct sock *sock, Asockd__State__Socket *to)
{
    to->id = sock->id;
    to->serial = sock->serial;
    to->created = sock->created;
    to->connected = sock->connected;
    to->state = state_of(sock);
    to->family = sock->family;
    to->send_side = sock->send_side;
    to->receive_side = sock->receive_side;
    to->receive_error = sock->receive_error;
    to->lost_error = sock->lost_error;
    to->flags = socket_flags(sock);
    to->bytes_in = sock->bytes_in;
    to->bytes_out = sock->bytes_out;
    to->send_freed = sock->send_freed;
    to->ops_freed = sock->ops_freed;
    to->kernel_send = sock->kernel[0];
    to->kernel_receive = sock->kernel[1];
    to->host = save_text(sock->host);
    to->port = sock->port;
    to->active = sock->more->idle ? sock->more->idle->active : 0;
    to->chain = sock_chain(sock) ? sock_chain(sock)->token : 0;
    to->ops = count_queue(&sock->sends) + count_queue(&sock->receives) +
              (sock->more->hangup ? 1 : 0) + (sock->connect ? 1 : 0) +
              (sock_close_op(sock) ? 1 : 0) +
              (sock->more->bound ? count(&sock->more->bound->accepts) : 0);
}

static void save_ops(struct state_writer *out, const struct sock *sock)
{
    if (sock->connect)
        save_op(out, sock->connect, ASOCKD__STATE__OP__QUEUE__CONNECT);
    ring_for_each (&sock->sends, it)
        save_op(out, container_of(it, struct op, node), ASOCKD__STATE__OP__QUEUE__SENDS);
    ring_for_each (&sock->receives, it)
        save_op(out, container_of(it, struct op, node), ASOCKD__STATE__OP__QUEUE__RECEIVES);
    if (sock->more->hangup)
        save_op(out, sock->more->hangup, ASOCKD__STATE__OP__QUEUE__HANGUP);
    if (sock_close_op(sock))
        save_op(out, sock_close_op(sock), ASOCKD__STATE__OP__QUEUE__CLOSE);
    if (!sock->more->bound)
        return;
    list_for_each (&sock->more->bound->accepts, it)
        save_op(out, container_of(it, struct op, node), ASOCKD__STATE__OP__QUEUE__ACCEPTS);
}

struct bound_room {
    Asockd__State__Bound bound;
    struct endpoint_room asked, local;
};

static Asockd__State__Bound *bound_in(struct bound_room *room, const struct sock_bound *bound)
{
    asockd__state__bound__init(&room->bound);
    room->bound.asked = save_endpoint(&room->asked, &bound->asked);
    room->bound.local = save_endpoint(&room->local, &bound->local);
    room->bound.is_dual = bound->is_dual;
    room->bound.backlog = bound->backlog;
    room->bound.charged = bound->charged;
    room->bound.accepted = bound->accepted;
    room->bound.refused = bound->refused;
    return &room->bound;
}

static void save_socket(struct state_writer *out, const struct sock *sock, uint64_t dropping)
{
    Asockd__State__Record record = ASOCKD__STATE__RECORD__INIT;
    Asockd__State__Socket socket = ASOCKD__STATE__SOCKET__INIT;
    Asockd__State__Origin origin = ASOCKD__STATE__ORIGIN__INIT;
    Asockd__State__Linger linger = ASOCKD__STATE__LINGER__INIT;
    struct endpoint_room remote, asked;
    struct bound_room bound;
    struct lent_room lent;
    struct datagrams_room datagrams = {.parts = NULL};

    if (sock->send_side == SIDE_MISSED)
        state_needs(out, STATE_FORMAT_MISSED);
    fill_socket(sock, &socket);
    if (sock->more->dgram) {
        state_needs(out, STATE_FORMAT_DATAGRAMS);
        if (datagrams_save(sock, &datagrams, &socket) < 0)
            out->error = -ENOMEM;
    }
    /* One that was killed has lost what it was bound to. */
    if (sock->more->bound && sock->state != SOCK_KILLED) {
        socket.bound = bound_in(&bound, sock->more->bound);
        state_needs(out, STATE_FORMAT_BOUND);
    }
    if (sock->lingers) {
        linger.until = sock_linger_until(sock);
        linger.charged = sock_ending_memory(sock);
        socket.linger = &linger;
        state_needs(out, STATE_FORMAT_LINGER);
    }
    socket.lent = lent_save(out, &lent, sock);
    socket.dropping = dropping;
    socket.remote = save_endpoint(&remote, &sock->remote);
    if (sock->more->options) {
        socket.options_set = sock->more->options->set;
        socket.options = sock->more->options->values;
        socket.n_options = NETSOCK_OPTIONS + 1;
    }
    if (sock->more->origin) {
        origin.asked = save_endpoint(&asked, &sock->more->origin->asked);
        origin.is_dual = sock->more->origin->is_dual;
        socket.origin = &origin;
    }
    if (sock->ns.fd >= 0) {
        socket.descriptor = state_add_descriptor(out, sock->ns.fd);
        socket.cookie = state_cookie(sock->ns.fd);
    }
    record.kind_case = ASOCKD__STATE__RECORD__KIND_SOCKET;
    record.socket = &socket;
    state_add(out, &record);
    datagrams_free_room(&datagrams);
    save_ops(out, sock);
}

/* ---- sessions ---- */

/* Lists of a session's record, which lie in memory of their own. */
struct session_room {
    ProtobufCBinaryData *restrictions, *replies;
    size_t restriction_count, reply_count, before_questions;
    Asockd__State__Slot *slots, **slot_at;
    size_t slot_count;
};

static void free_room(struct session_room *room)
{
    for (size_t i = 0; i < room->reply_count; i++)
        mem_free(room->replies[i].data);
    mem_free(room->replies);
    mem_free(room->restrictions);
    mem_free(room->slots);
    mem_free(room->slot_at);
}

static int keep_frame(struct session_room *room, const uint8_t *frame, size_t len)
{
    uint8_t *copy = len > 0 ? mem_alloc(len) : NULL;

    if (!copy)
        return len > 0 ? -ENOMEM : -EINVAL;
    memcpy(copy, frame, len);
    room->replies[room->reply_count++] = (ProtobufCBinaryData){len, copy};
    return 0;
}

static int keep_done(struct session_room *room, const struct list *ops)
{
    uint8_t frame[STATE_REPLY_MAX];
    int r = 0;

    list_for_each (ops, it) {
        if (r == 0)
            r = keep_frame(
                room, frame,
                session_encode_reply(container_of(it, struct op, node), frame, sizeof(frame)));
    }
    return r;
}

/* It has no socket, and ends with what it had done so far. */
static int keep_ended_one(struct session_room *room, const struct op *op, uint32_t error)
{
    uint8_t frame[CODEC_REPLY_MAX + sizeof(ABORTED_TEXT)];
    const char *why = error ? ABORTED_TEXT : "";
    struct reply reply;
    long n;

    session_fill_reply(op, &reply);
    reply.error = error;
    n = asock_codec_encode_reply(&reply, (uint32_t)strlen(why), frame, CODEC_REPLY_MAX);
    if (n <= 0)
        return -EINVAL;
    memcpy(frame + n, why, strlen(why));
    return keep_frame(room, frame, (size_t)n + strlen(why));
}

static int keep_ended(struct session_room *room, const struct list *ops, uint32_t error)
{
    int r = 0;

    list_for_each (ops, it) {
        if (r == 0)
            r = keep_ended_one(room, container_of(it, struct op, node), error);
    }
    return r;
}

/* SHAREs whose listener is not there yet are in no list. */
static int keep_ended_shares(struct session_room *room, const struct session *s)
{
    int r = 0;

    for (uint32_t i = 0; s->sharing.listener_count > 0 && i < s->token_buckets; i++)
        for (const struct op *op = s->tokens[i]; r == 0 && op; op = op->hash_next)
            if (op->verb == VERB_SHARE)
                r = keep_ended_one(room, op, ERR_CONNECTION_ABORTED);
    return r;
}

static int collect_replies(const struct session *s, struct session_room *room)
{
    size_t most = count(&s->done) + count(&s->resolves) + count(&s->resolved) + count(&s->streams) +
                  count(&s->restricts) + s->sharing.listener_count;
    int r;

    room->replies = mem_zalloc(most + 1, sizeof(*room->replies));
    if (!room->replies)
        return -ENOMEM;
    r = keep_done(room, &s->done);
    /* They are in force; the connects that they wait for begin again, and are judged then. */
    if (r == 0)
        r = keep_ended(room, &s->restricts, ERR_SUCCESS);
    if (r == 0)
        r = keep_ended_shares(room, s);
    room->before_questions = room->reply_count;
    /* For a reader that does not know Session.questions. */
    if (r == 0)
        r = keep_ended(room, &s->resolves, ERR_CONNECTION_ABORTED);
    if (r == 0)
        r = keep_ended(room, &s->resolved, ERR_CONNECTION_ABORTED);
    return r == 0 ? keep_ended(room, &s->streams, ERR_CONNECTION_ABORTED) : r;
}

static int collect_restrictions(const struct session *s, struct session_room *room)
{
    const char *said;
    size_t len;

    room->restrictions = mem_zalloc(POLICY_RESTRICTIONS_MAX, sizeof(*room->restrictions));
    if (!room->restrictions)
        return -ENOMEM;
    while ((said = policy_view_restriction(s->view, (unsigned int)room->restriction_count, &len)))
        room->restrictions[room->restriction_count++] = (ProtobufCBinaryData){
            len, (uint8_t *)(uintptr_t)said};
    return 0;
}

static int collect_slots(const struct session *s, struct session_room *room)
{
    size_t n = 0;

    for (uint32_t id = 1; id < s->slot_count; id++)
        n += !s->slots[id].sock && s->slots[id].dropping;
    room->slots = mem_zalloc(n + 1, sizeof(*room->slots));
    room->slot_at = mem_zalloc(n + 1, sizeof(struct _Asockd__State__Slot *));
    if (!room->slots || !room->slot_at)
        return -ENOMEM;
    for (uint32_t id = 1; id < s->slot_count; id++) {
        Asockd__State__Slot *slot = &room->slots[room->slot_count];

        if (s->slots[id].sock || !s->slots[id].dropping)
            continue;
        asockd__state__slot__init(slot);
        slot->id = id;
        slot->dropping = s->slots[id].dropping;
        room->slot_at[room->slot_count++] = slot;
    }
    return 0;
}

void save_limits(const struct limits *limits, Asockd__State__Session *to)
{
    to->sockets_max = limits->sockets;
    to->ops_max = limits->ops;
    to->socket_ops_max = limits->socket_ops;
    to->send_window = limits->send_window;
    to->queued_max = limits->queued_max;
    to->shared_max = limits->shared_max;
    to->buffers_max = limits->buffers;
    to->lingers_max = limits->lingers;
    to->lookups_max = limits->lookups;
    to->connects_per_second = limits->connects_per_second;
    to->kernel_max = limits->kernel_max;
}

static void fill_transport(const struct transport *t, Asockd__State__Session *to)
{
    size_t len;
    const uint8_t *input = transport_input(t, &len);

    to->input.data = (uint8_t *)(uintptr_t)input;
    to->input.len = len;
    to->output.data = t->out + t->out_start;
    to->output.len = t->out_end - t->out_start;
    to->transport_in = t->bytes_in;
    to->transport_out = t->bytes_out;
}

static void fill_session(const struct session *s, Asockd__State__Session *to)
{
    to->id = s->id;
    to->created = s->created;
    to->listener = save_text(s->listener);
    to->name = save_text(s->name);
    to->cookie = state_cookie(s->transport.fd);
    to->has_hello = s->has_hello;
    to->hello_until = deadline_is_set(&s->hello) ? s->hello.timer.deadline : 0;
    to->input_ended = s->input_ended;
    to->bytes_in = s->bytes_in;
    to->bytes_out = s->bytes_out;
    to->ops_done = s->ops_done;
    to->lent_unread = s->lent_unread;
    to->restrictions_memory = s->restrictions;
    to->lingering = count(&s->lingering);
    to->sockets = s->socket_count + to->lingering;
    save_limits(&s->limits, to);
    fill_transport(&s->transport, to);
}

void state_save_session(struct state_writer *out, const struct session *s)
{
    Asockd__State__Record record = ASOCKD__STATE__RECORD__INIT;
    Asockd__State__Session session = ASOCKD__STATE__SESSION__INIT;
    Asockd__State__Identity record_identity;
    struct session_room room = {0};
    struct shared_room shared = {0};
    struct questions_room questions = {0};
    struct sharing_room sharing;
    struct sock *sock;
    int r = collect_replies(s, &room);

    if (r == 0)
        r = collect_restrictions(s, &room);
    if (r == 0)
        r = collect_slots(s, &room);
    if (r == 0)
        r = shared_save(out, s, &shared, &session);
    if (r == 0)
        r = questions_save(s, &questions, &session);
    if (r < 0 && !out->error)
        out->error = r;
    fill_session(s, &session);
    session.descriptor = state_add_descriptor(out, s->transport.fd);
    sharing_save(out, s, &sharing, &session);
    save_identity(out, &s->identity, &record_identity);
    session.identity = &record_identity;
    session.restrictions = room.restrictions;
    session.n_restrictions = room.restriction_count;
    session.replies = room.replies;
    session.n_replies = room.reply_count;
    session.replies_instead = (uint32_t)(room.reply_count - room.before_questions);
    session.slots = room.slot_at;
    session.n_slots = room.slot_count;
    record.kind_case = ASOCKD__STATE__RECORD__KIND_SESSION;
    record.session = &session;
    state_add(out, &record);
    free_room(&room);
    shared_free_room(&shared);
    questions_free_room(&questions);
    session_for_each_sock (s, sock)
        save_socket(out, sock, sock->id ? s->slots[sock->id].dropping : 0);
}
