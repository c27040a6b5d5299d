/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_OUTPUT_H
#define ASOCK_LIB_WIRE_OUTPUT_H

/* Frames on their way into the Unix socket. */
#include "client-lib/core/objects.h"

bool asock_output_has_room(const struct output *out);
/* One frame. Its payload: so many bytes at the op's cursor, which moves; op NULL: there is none. */
int asock_output_add(struct output *out, const struct request *request, asock_op *op,
                     size_t payload_len);
/*
 * The frame added last has a descriptor, which the output owns from now on. Only one waits at a
 * time (out->has_fd).
 */
void asock_output_pass_fd(asock_context *context, int fd);
void asock_output_drop_fd(asock_context *context);
/* 0: all is written; 1: some waits. */
int asock_output_flush(asock_context *context);
bool asock_output_push(
    asock_context *context); /* the same, but no timer runs; true: something has left */
/*
 * Leaves half a frame, if there is room: a daemon that goes on later then takes streams whose
 * sending side is open as cut, and resets them. Nothing more may be written.
 */
void asock_output_cut(asock_context *context);
bool asock_output_is_wanted(asock_context *context);

#endif
