/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client-lib/core/slots.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_FIRST 64

static int slots_grow(struct slots *slots)
{
    uint32_t count = slots->count ? slots->count * 2 : SLOTS_FIRST;
    struct slot *at;

    if (count > SLOTS_MAX)
        return -ENOMEM;
    at = reallocarray(slots->at, count, sizeof(*at));
    if (!at)
        return -ENOMEM;
    for (uint32_t i = count; i-- > slots->count;) {
        at[i] = (struct slot){.next = slots->free};
        slots->free = i + 1;
    }
    slots->at = at;
    slots->count = count;
    return 0;
}

int asock_slot_take(struct slots *slots, void *object, bool is_socket, uint32_t *ret)
{
    struct slot *slot;

    if (!slots->free && slots_grow(slots) < 0)
        return -ENOMEM;
    *ret = slots->free - 1;
    slot = &slots->at[*ret];
    slots->free = slot->next;
    slot->object = object;
    slot->is_socket = is_socket;
    return 0;
}

void asock_slot_release(struct slots *slots, uint32_t slot)
{
    slots->at[slot].object = NULL;
    slots->at[slot].next = slots->free;
    slots->free = slot + 1;
}

uint64_t asock_slot_token(struct slots *slots, uint32_t slot)
{
    struct slot *s = &slots->at[slot];

    s->uses = (s->uses + 1) & TOKEN_USES_MASK;
    return (uint64_t)s->uses << TOKEN_SLOT_BITS | (slot + 1);
}

const struct slot *asock_slot_find(const struct slots *slots, uint64_t token)
{
    uint32_t index = (uint32_t)(token & ((UINT32_C(1) << TOKEN_SLOT_BITS) - 1));

    if (index == 0 || index > slots->count || !slots->at[index - 1].object)
        return NULL;
    return &slots->at[index - 1];
}

/* ------------------------------------------------------------------------------------------ ids */

static void ids_append(struct ids *ids, uint32_t id)
{
    ids->at[id] = (struct id){.is_free = true};
    if (ids->last)
        ids->at[ids->last].next = id;
    else
        ids->first = id;
    ids->last = id;
}

int asock_ids_grow(struct ids *ids, uint32_t count)
{
    struct id *at;

    if (count <= ids->count)
        return 0;
    at = reallocarray(ids->at, (size_t)count + 1, sizeof(*at));
    if (!at)
        return -ENOMEM;
    ids->at = at;
    for (uint32_t id = ids->count + 1; id <= count; id++)
        ids_append(ids, id);
    ids->count = count;
    return 0;
}

void asock_ids_reset(struct ids *ids, uint32_t count)
{
    ids->first = ids->last = 0;
    ids->count = count;
    for (uint32_t id = 1; id <= ids->count; id++)
        ids_append(ids, id);
    ids->sync_wanted = ids->sync_sent = ids->close_since = false;
}

uint32_t asock_ids_take(struct ids *ids, struct asock_socket *owner)
{
    uint32_t id = ids->first;

    if (!id)
        return 0;
    ids->first = ids->at[id].next;
    if (!ids->first)
        ids->last = 0;
    ids->at[id] = (struct id){.owner = owner};
    return id;
}

void asock_ids_release(struct ids *ids, uint32_t id)
{
    ids_append(ids, id);
}

struct asock_socket *asock_ids_owner(const struct ids *ids, uint64_t id)
{
    return id >= 1 && id <= ids->count ? ids->at[id].owner : NULL;
}
