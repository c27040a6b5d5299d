/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a session is asked for by everything that is part of it: its sockets by id, its ops by
 * token, to wake its share, and that a part has left. Nothing here calls any of them.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/window.h"

void session_resume_later(struct session *s)
{
    s->must_read = true;
    share_wake(&s->share);
}

void session_ready(struct session *s, struct sock *sock)
{
    if (!list_is_linked(&sock->ready))
        list_append(&s->ready, &sock->ready);
    share_wake(&s->share);
}

bool session_id_is_free(const struct session *s, uint32_t id)
{
    return !s->slots[id].sock && !s->kept[id];
}

static uint32_t buckets_for(uint32_t ops)
{
    uint32_t n = 64;

    while (n < ops && n < 65536)
        n *= 2;
    return n;
}

/*
 * Twice as many at least: a client that asks for one more each time causes no more work than one
 * that asks once.
 */
static int grow_slots(struct session *s, uint32_t count)
{
    uint32_t cap = count > 2 * s->slot_cap ? count : 2 * s->slot_cap;
    struct session_slot *slots;
    uint64_t *unreported_ids;
    bool *kept;

    if (count <= s->slot_cap)
        return 0;
    slots = mem_realloc(s->slots, (size_t)cap * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    s->slots = slots;
    kept = mem_realloc(s->kept, (size_t)cap * sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    s->kept = kept;
    unreported_ids = mem_realloc(s->unreported_ids, window_words(cap) * sizeof(uint64_t));
    if (!unreported_ids)
        return -ENOMEM;
    s->unreported_ids = unreported_ids;
    memset(slots + s->slot_cap, 0, (size_t)(cap - s->slot_cap) * sizeof(*slots));
    memset(kept + s->slot_cap, 0, (size_t)(cap - s->slot_cap) * sizeof(*kept));
    memset(unreported_ids + window_words(s->slot_cap), 0,
           (window_words(cap) - window_words(s->slot_cap)) * sizeof(uint64_t));
    s->slot_cap = cap;
    return 0;
}

static int grow_tokens(struct session *s, uint32_t buckets)
{
    struct op **old = s->tokens;
    uint32_t count = s->token_buckets;
    struct op **tokens;

    if (buckets <= count)
        return 0;
    tokens = mem_zalloc(buckets, sizeof(struct op *));
    if (!tokens)
        return -ENOMEM;
    s->tokens = tokens;
    s->token_buckets = buckets;
    for (uint32_t i = 0; i < count; i++)
        while (old[i]) {
            struct op *op = old[i];

            old[i] = op->hash_next;
            session_hash_op(s, op);
        }
    mem_free(old);
    return 0;
}

int session_grant(struct session *s, const struct limits *limits)
{
    if (grow_slots(s, limits->sockets + 1) < 0 || grow_tokens(s, buckets_for(limits->ops)) < 0)
        return -ENOMEM;
    s->slot_count = limits->sockets + 1;
    s->limits = *limits;
    return 0;
}

struct session_slot *session_slot(struct session *s, uint32_t id)
{
    return id > 0 && id < s->slot_count ? &s->slots[id] : NULL;
}

struct sock *session_next_sock(const struct session *s, struct session_iterator *it)
{
    while (it->id + 1 < s->slot_count)
        if (s->slots[++it->id].sock)
            return s->slots[it->id].sock;
    /* Sought before it is needed: the socket that is handed out now may be gone by then. */
    if (!it->next)
        it->next = s->lingering.next;
    if (it->next == &s->lingering)
        return NULL;
    it->next = it->next->next;
    return container_of(it->next->prev, struct sock, node);
}

struct sock *session_sock(struct session *s, uint32_t id)
{
    struct session_slot *slot = session_slot(s, id);

    return slot ? slot->sock : NULL;
}

struct op *session_take_op(struct session *s, bool small)
{
    struct op *op = small ? op_new_small(s->worker) : NULL;

    if (!op) {
        op = s->spare;
        s->spare = NULL;
    }
    assert(op);
    op->session = s;
    return op;
}

/*
 * The client chooses the tokens: without the keys it cannot choose them so that all are in one
 * bucket.
 */
static struct op **bucket_of(struct session *s, uint64_t token)
{
    uint64_t hash = (token ^ s->worker->token_keys[0]) * (s->worker->token_keys[1] | 1);

    hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15); /* of a progression, too */
    return &s->tokens[(hash >> 32) & (s->token_buckets - 1)];
}

struct op *session_find_op(struct session *s, uint64_t token)
{
    for (struct op *op = *bucket_of(s, token); op; op = op->hash_next)
        if (op->token == token)
            return op;
    return NULL;
}

void session_hash_op(struct session *s, struct op *op)
{
    struct op **bucket = bucket_of(s, op->token);

    op->hash_next = *bucket;
    *bucket = op;
}

void session_unhash_op(struct session *s, struct op *op)
{
    for (struct op **at = bucket_of(s, op->token); *at; at = &(*at)->hash_next) {
        if (*at != op)
            continue;
        *at = op->hash_next;
        return;
    }
}

const struct identity *session_identity(const struct session *s)
{
    while (s->sharing.sharer)
        s = s->sharing.sharer;
    return &s->identity;
}

void session_part_left(struct session *s)
{
    if (s->has_ended && !s->is_dying && s->transport.fd < 0 && list_is_empty(&s->lingering) &&
        s->buffer_count == 0 && !session_is_marking(s) && s->unread_fd < 0 &&
        list_is_empty(&s->sharing.sharees))
        worker_defer(s->worker, &s->gone);
}
