/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_SLOTS_H
#define ASOCK_LIB_CORE_SLOTS_H

/* Tokens of ops and sockets, and the daemon's ids of sockets: tables, O(1), no search. */
#include <stdbool.h>
#include <stdint.h>

/*
 * Tokens: bit 63 a CANCEL of the op below it; bit 62 the CLOSE of a socket that has no op for it;
 * bit 61 the SYNC that frees ids, with a count below it an UNREGISTER; bit 60 a CREDIT for
 * the op below it; bits 24 to 51 a count that makes each use of a slot another token; bits 0 to 23
 * the slot + 1. The frames that carry a token are shorter the lower its bits are.
 */
#define TOKEN_CANCEL (UINT64_C(1) << 63)
#define TOKEN_CLOSE (UINT64_C(1) << 62)
#define TOKEN_IDS (UINT64_C(1) << 61)
#define TOKEN_CREDIT (UINT64_C(1) << 60)
#define TOKEN_USES_MASK ((UINT32_C(1) << 28) - 1)
#define TOKEN_SLOT_BITS 24
#define SLOTS_MAX (UINT32_C(1) << (TOKEN_SLOT_BITS - 1))

struct slot {
    void *object; /* NULL: free */
    bool is_socket;
    uint32_t uses;
    uint32_t next; /* free slot behind this one, + 1 */
};

struct slots {
    struct slot *at;
    uint32_t count, free; /* free: index + 1 */
};

int asock_slot_take(struct slots *slots, void *object, bool is_socket, uint32_t *ret);
void asock_slot_release(struct slots *slots, uint32_t slot);
uint64_t asock_slot_token(struct slots *slots, uint32_t slot); /* a new one */
/*
 * NULL: no such slot, or it is free. The object's own token tells whether it is still the same use.
 */
const struct slot *asock_slot_find(const struct slots *slots, uint64_t token);

struct id {
    struct asock_socket *owner;
    uint32_t next; /* of the free ones, in the order they became free */
    bool is_free;
};

struct ids {
    struct id *at; /* [1 ... count] */
    uint32_t count, first, last;
    bool sync_wanted, sync_sent; /* a SYNC that tells which closed ids the daemon has let go */
    bool close_since;            /* a CLOSE left behind that SYNC */
};

int asock_ids_grow(struct ids *ids, uint32_t count);
void asock_ids_reset(struct ids *ids, uint32_t count); /* a new session: all of these are free */
uint32_t asock_ids_take(struct ids *ids, struct asock_socket *owner); /* 0: none is free */
void asock_ids_release(struct ids *ids, uint32_t id);
struct asock_socket *asock_ids_owner(const struct ids *ids, uint64_t id);

#endif
