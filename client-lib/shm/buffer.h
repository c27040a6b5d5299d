/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_SHM_BUFFER_H
#define ASOCK_LIB_SHM_BUFFER_H

/* Memory that the daemon shares: buffers, the segments of ops in them, and the requests about them. */
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
    bool is_lost;     /* when its session ended it had been taken back, or could not be kept */
};

void asock_memory_init(struct memory *memory);
void asock_memory_deinit(struct memory *memory);
/* The session has ended: buffers are ordinary memory from here on. */
void asock_memory_end(asock_context *context);
/* Keeps the first that nobody has taken; closes the others. */
void asock_memory_add_descriptor(asock_context *context, int fd);
/* The next one, if it is the socket with this address of its own; -1: it is missing. The caller's. */
int asock_memory_take_socket(asock_context *context, const struct endpoint *local);
void asock_memory_drop_descriptors(asock_context *context);
/*
 * Bytes in it that were copied, or looked at, before this call are what was received, unless it is true. The
 * loss is the buffer's: a later session says nothing about it.
 */
bool asock_buffer_is_lost(const asock_buffer *buffer);
/* The same of all the buffers in which the op's segments lie, or its slices. */
bool asock_memory_is_lost(const asock_op *op);

/* Its segments are in flight: buffers in which they lie stay, until its callback has returned. Sets op->is_reference. */
void asock_memory_use(asock_op *op);
/* Of an op that goes by reference. room: for CODEC_SEGMENTS_MAX. */
void asock_memory_segments(const asock_op *op, struct segment *room, struct segments *ret);
/* The next UNREGISTER, CREDIT or REGISTER; false: none is due. room: for CODEC_SEGMENTS_MAX. */
bool asock_memory_next(asock_context *context, struct request *ret, struct segment *room);
bool asock_memory_is_wanted(const asock_context *context);
/* REGISTER's reply: 0 or -EPROTO. */
int asock_buffer_answered(asock_op *op, const struct reply *reply);
/* UNREGISTER's reply: false: none is on the way with this token. */
bool asock_buffer_left(asock_context *context, uint64_t token);
void asock_buffer_unuse(asock_buffer *buffer);
void asock_buffer_leave(asock_buffer *buffer); /* nobody refers to it any more */

#endif
