/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Datagram sockets from one process to the next.
 *
 * Happy path: the descriptor goes over with its port, its options, its groups and what waits in its
 * queue. What this process knows goes beside it: to whom the socket has sent, whom it may answer,
 * and what has not left yet. Policy judges every address again.
 * Failures: as of every socket (restore_socket.c). A socket that has lost its peer hears each
 * sender judged.
 */
#include "daemon/state/datagrams.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "daemon/net/udp.h"
#include "daemon/session/dgram.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/state/shared.h"
#include "daemon/verbs/verbs.h"

#define HEARD_MAX (DGRAM_ANSWER_ROWS * DGRAM_ANSWER_WAYS)
#define ECN_BITS 3u /* of a traffic class */

/* ---- the old one ---- */

/* e lives as long as the record. */
static Asockd__State__Endpoint *point_to(Asockd__State__Endpoint *part, const struct endpoint *e)
{
    asockd__state__endpoint__init(part);
    part->address.data = (uint8_t *)(uintptr_t)e->address;
    part->address.len = e->address_len;
    part->port = e->port;
    part->scope_id = e->scope_id;
    return part;
}

/* Adds one to the list at the end of those that there are. */
static void add(struct datagrams_room *room, size_t *used, size_t *count, const struct endpoint *e)
{
    if (e->address_len == 0)
        return;
    room->at[*used] = point_to(&room->parts[*used], e);
    (*used)++;
    (*count)++;
}

/* The oldest first: what is restored last is replaced last. */
static void add_destinations(struct datagrams_room *room, size_t *used, const struct dgram *dgram)
{
    room->record.destinations = room->at + *used;
    for (unsigned int i = 0; i < DGRAM_DESTINATIONS; i++) {
        unsigned int place = (dgram->next_destination + i) % DGRAM_DESTINATIONS;

        if (dgram->verdicts[place].is_sent_to)
            add(room, used, &room->record.n_destinations, &dgram->verdicts[place].endpoint);
    }
}

static void add_answers(struct datagrams_room *room, size_t *used, struct dgram_answers *answers)
{
    room->record.keys = answers->keys;
    room->record.n_keys = 2;
    room->record.heard = room->at + *used;
    for (unsigned int i = 0; i < DGRAM_ANSWER_ROWS; i++) {
        const struct dgram_row *row = &answers->rows[i];

        for (unsigned int way = 0; way < DGRAM_ANSWER_WAYS; way++)
            add(room, used, &room->record.n_heard, &row->at[(row->next + way) % DGRAM_ANSWER_WAYS]);
    }
    room->record.groups = room->at + *used;
    for (unsigned int i = 0; i < answers->group_count; i++)
        add(room, used, &room->record.n_groups, &answers->groups[i]);
}

int datagrams_save(const struct sock *sock, struct datagrams_room *room, Asockd__State__Socket *to)
{
    const struct dgram *dgram = sock->more->dgram;
    size_t most = DGRAM_DESTINATIONS + (dgram->answers ? HEARD_MAX + DGRAM_GROUPS_MAX : 0),
           used = 0;

    asockd__state__datagrams__init(&room->record);
    room->parts = mem_zalloc(most, sizeof(*room->parts));
    room->at = mem_zalloc(most, sizeof(struct _Asockd__State__Endpoint *));
    if (!room->parts || !room->at)
        return -ENOMEM;
    add_destinations(room, &used, dgram);
    if (dgram->answers)
        add_answers(room, &used, dgram->answers);
    if (sock->state == SOCK_CONNECTED)
        room->record.peer = point_to(&room->peer, &dgram->peer);
    room->record.hears_peer_alone = dgram->hears_peer_alone;
    room->record.has_no_segments = dgram->has_no_segments;
    room->record.dropped = dgram->dropped;
    room->record.refused = dgram->refused;
    room->record.family = dgram->family;
    to->datagrams = &room->record;
    return 0;
}

void datagrams_free_room(struct datagrams_room *room)
{
    room->parts = mem_free(room->parts);
    room->at = mem_free(room->at);
}

void datagrams_save_send(const struct op *op, struct datagram_room *room, Asockd__State__Op *to)
{
    const struct op_datagram *datagram = op->send.datagram;

    asockd__state__datagram__init(&room->record);
    room->record.to = point_to(&room->to, &datagram->to);
    room->record.source = point_to(&room->source, &datagram->source);
    room->record.ecn = datagram->ecn;
    room->record.segment = datagram->segment;
    room->record.is_behind = datagram->is_behind;
    to->datagram = &room->record;
}

/* ---- the new one ---- */

static int restore_destinations(struct state_restorer *r, struct sock *sock,
                                const Asockd__State__Datagrams *from)
{
    struct endpoint to;

    if (from->n_destinations > DGRAM_DESTINATIONS)
        return restore_fail(r, "a datagram socket has more addresses than allowed");
    for (size_t i = 0; i < from->n_destinations; i++) {
        if (!restore_endpoint(from->destinations[i], &to) || to.address_len == 0)
            return restore_fail(r, "an address is invalid");
        dgram_has_sent(sock, &to);
    }
    return 0;
}

/* What its descriptor has joined. */
static int restore_groups(struct state_restorer *r, struct dgram_answers *answers,
                          const Asockd__State__Datagrams *from)
{
    for (size_t i = 0; i < from->n_groups; i++) {
        struct endpoint *group = &answers->groups[answers->group_count++];

        if (!restore_endpoint(from->groups[i], group) || group->address_len == 0)
            return restore_fail(r, "an address is invalid");
    }
    return 0;
}

static int restore_answers(struct state_restorer *r, struct sock *sock,
                           const Asockd__State__Datagrams *from)
{
    struct endpoint heard;
    int e;

    if (from->n_heard > HEARD_MAX || from->n_groups > DGRAM_GROUPS_MAX ||
        (from->n_keys != 0 && from->n_keys != 2) ||
        (sock->state != SOCK_BOUND && from->n_heard + from->n_groups + from->n_keys > 0))
        return restore_fail(r, "a datagram socket has more addresses than allowed");
    if (sock->state != SOCK_BOUND)
        return 0;
    e = dgram_new_answers(sock);
    if (e < 0)
        return e;
    if (from->n_keys > 0)
        memcpy(sock->more->dgram->answers->keys, from->keys,
               sizeof(sock->more->dgram->answers->keys));
    for (size_t i = 0; i < from->n_heard; i++) {
        if (!restore_endpoint(from->heard[i], &heard) || heard.address_len == 0)
            return restore_fail(r, "an address is invalid");
        dgram_remember(sock, &heard);
    }
    return restore_groups(r, sock->more->dgram->answers, from);
}

int datagrams_restore(struct state_restorer *r, struct sock *sock,
                      const Asockd__State__Socket *from)
{
    const Asockd__State__Datagrams *datagrams = from->datagrams;
    int e;

    if (!datagrams)
        return 0;
    if (sock->state == SOCK_LISTENING || from->origin || from->chain || from->send_side ||
        from->receive_side || (from->descriptor && sock->family == FAMILY_ANY) ||
        datagrams->family > FAMILY_INET6)
        return restore_fail(r, "a datagram socket is invalid");
    if (dgram_new(sock) < 0)
        return -ENOMEM;
    sock->more->dgram->hears_peer_alone = datagrams->hears_peer_alone;
    sock->more->dgram->has_no_segments = datagrams->has_no_segments;
    sock->more->dgram->dropped = datagrams->dropped;
    sock->more->dgram->refused = datagrams->refused;
    sock->more->dgram->family = (uint8_t)datagrams->family;
    if (!restore_endpoint(datagrams->peer, &sock->more->dgram->peer) ||
        (sock->state == SOCK_CONNECTED) != (sock->more->dgram->peer.address_len > 0))
        return restore_fail(r, "an address is invalid");
    e = restore_destinations(r, sock, datagrams);
    return e == 0 ? restore_answers(r, sock, datagrams) : e;
}

int datagrams_verify(const struct sock *sock, int fd, uint64_t cookie)
{
    return verify_datagrams(fd, cookie, sock->family == FAMILY_INET6 ? AF_INET6 : AF_INET,
                            sock->more->bound ? &sock->more->bound->local : NULL,
                            sock->state == SOCK_CONNECTED ? &sock->more->dgram->peer : NULL);
}

void datagrams_adopted(struct sock *sock)
{
    struct endpoint peer;

    /* Somebody has taken its peer from it: anybody can send to it now. */
    if (netsock_remote(&sock->ns, &peer) < 0)
        sock->more->dgram->hears_peer_alone = false;
}

static bool is_send(const struct sock *sock, const Asockd__State__Op *from)
{
    const Asockd__State__Datagram *datagram = from->datagram;
    bool is_reference = from->flags & ASOCKD__STATE__OP__FLAG__REFERENCE;

    if (from->verb != VERB_SEND || !datagram || from->total > DGRAM_MAX ||
        from->bytes > from->total || datagram->ecn > ECN_BITS ||
        (datagram->segment > 0 && (datagram->segment >= from->total ||
                                   from->total > (uint64_t)datagram->segment * UDP_SEGMENTS_MAX)))
        return false;
    /* It has left as a whole, unless its segments leave one after the other. */
    if (from->bytes > 0 && (!sock->more->dgram->has_no_segments || datagram->segment == 0 ||
                            from->bytes % datagram->segment != 0))
        return false;
    if (is_reference)
        return from->received == 0 && from->data.len == 0 &&
               shared_slices_total(from) == from->total;
    return from->received == from->total && from->data.len == from->total;
}

static bool is_receive(const Asockd__State__Op *from)
{
    bool is_reference = from->flags & ASOCKD__STATE__OP__FLAG__REFERENCE;

    if (from->verb != VERB_RECEIVE || from->bytes != 0 || from->length > INT64_MAX)
        return false;
    if (from->receive_flags == RECEIVE_MULTISHOT)
        return is_reference && from->n_slices > 0;
    return (from->receive_flags & ~(uint32_t)RECEIVE_PEEK) == 0 &&
           (!is_reference || shared_slices_total(from) == from->length);
}

static bool is_disconnect(const struct sock *sock, const Asockd__State__Op *from)
{
    return from->verb == VERB_DISCONNECT && from->bytes == 0 && !sock->is_disconnecting &&
           (sock->state == SOCK_CONNECTED || sock->state == SOCK_CONNECTING);
}

bool datagrams_is_in_place(const struct sock *sock, const Asockd__State__Op *from)
{
    switch (from->queue) {
    case ASOCKD__STATE__OP__QUEUE__CONNECT:
        return from->verb == VERB_CONNECT && !sock->connect && sock->state == SOCK_CONNECTING &&
               from->bytes == 0 && from->total == 0 && from->data.len == 0 && from->n_attempts == 0;
    case ASOCKD__STATE__OP__QUEUE__SENDS:
        return is_send(sock, from) || is_disconnect(sock, from);
    case ASOCKD__STATE__OP__QUEUE__RECEIVES:
        return is_receive(from);
    default:
        return false;
    }
}

static int restore_send(struct state_restorer *r, struct op *op, const Asockd__State__Op *from)
{
    struct op_datagram *datagram;

    if (dgram_send_restore(op) < 0)
        return -ENOMEM;
    datagram = op->send.datagram;
    datagram->ecn = (uint8_t)from->datagram->ecn;
    datagram->segment = (uint16_t)from->datagram->segment;
    datagram->is_behind = from->datagram->is_behind;
    if (!restore_endpoint(from->datagram->to, &datagram->to) ||
        !restore_endpoint(from->datagram->source, &datagram->source))
        return restore_fail(r, "an address is invalid");
    return 0;
}

int datagrams_restore_op(struct state_restorer *r, struct op *op, const Asockd__State__Op *from)
{
    return op->verb == VERB_SEND ? restore_send(r, op, from) : dgram_receive_restore(op);
}
