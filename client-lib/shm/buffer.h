/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_SHM_BUFFER_H
#define ASOCK_LIB_SHM_BUFFER_H

/*
 * Memory that the daemon shares: buffers, the segments of ops in them, and the requests about them.
 */
#include "client-lib/core/objects.h"

struct asock_buffer {
    asock_context *context;
    unsigned int refs;
    unsigned int uses; /* segments of ops in flight, and pools */
    uint8_t *at;       /* NULL: not mapped */
    size_t size;
    uint32_t id;      /* 0: the daemon has none, or its session has ended */
    uint64_t token;   /* of its UNREGISTER */
    uint64_t number;  /* of those that have been mapped, ever */
    struct list node; /* memory->leaving, or ->left */
    bool is_lost;     /* at the end of its session its contents were gone, or could not be copied */
};

void asock_memory_init(struct shm *memory);
void asock_memory_deinit(struct shm *memory);
/* The session has ended: makes the buffers ordinary memory. */
void asock_memory_end(asock_context *context);
/* Keeps the oldest descriptors that no reply has taken yet; closes the others. */
void asock_memory_add_descriptor(asock_context *context, int fd);
/*
 * Returns the next descriptor, which the caller owns, if it is the socket with these addresses. -1:
 * it is missing.
 */
int asock_memory_take_socket(asock_context *context, const struct endpoint *local,
                             const struct endpoint *remote);
void asock_memory_drop_descriptors(asock_context *context);
/*
 * False: bytes that were read from the buffer before this call are what was received. True: the
 * daemon has taken the memory back, and they may be zeros. The answer belongs to the buffer and
 * stays, also in a later session.
 */
bool asock_buffer_is_lost(const asock_buffer *buffer);
/* The same for all buffers in which the op's segments or slices lie. */
bool asock_memory_is_lost(const asock_op *op);

/*
 * Keeps the buffers in which the op's segments lie, until its callback has returned. Sets
 * op->is_reference.
 */
void asock_memory_use(asock_op *op);
/* The segments of an op that goes by reference. room: for CODEC_SEGMENTS_MAX. */
void asock_memory_segments(const asock_op *op, struct segment *room, struct segments *ret);
/* The next UNREGISTER, CREDIT or REGISTER; false: none is due. room: for CODEC_SEGMENTS_MAX. */
bool asock_memory_next(asock_context *context, struct request *ret, struct segment *room);
bool asock_memory_is_wanted(const asock_context *context);
/* REGISTER's reply: 0 or -EPROTO. */
int asock_buffer_answered(asock_op *op, const struct reply *reply);
/* UNREGISTER's reply. False: no UNREGISTER with this token is in flight. */
bool asock_buffer_left(asock_context *context, uint64_t token);
void asock_buffer_unuse(asock_buffer *buffer);
void asock_buffer_leave(asock_buffer *buffer); /* nothing refers to it any more: UNREGISTER it */

#endif
