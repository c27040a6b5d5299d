/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_FRAME_H
#define ASOCK_PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1u

/*
 * What a session may count on before its welcome, and what is reserved for one that asks for
 * nothing (docs/PROTOCOL.md).
 */
#define PROTOCOL_SOCKETS_MIN 1u
#define PROTOCOL_OPS_MIN 8u
#define PROTOCOL_SOCKET_OPS_MIN 8u
#define PROTOCOL_WINDOW_MIN (64u * 1024u)

/* The eight bytes in front of every head; both lengths are little endian. */
#define FRAME_PREFIX 8
#define FRAME_HEAD_MAX 4096u
/* Measured in bench/: larger frames gain nothing, smaller ones cost messages. */
#define FRAME_PAYLOAD_MAX (256u * 1024u)
#define FRAME_MAX (FRAME_PREFIX + FRAME_HEAD_MAX + FRAME_PAYLOAD_MAX)

/* One whole frame inside somebody else's buffer. */
struct frame {
    const uint8_t *head;
    const uint8_t *payload;
    uint32_t head_len;
    uint32_t payload_len;
};

/*
 * Looks for a whole frame at the start of buf.
 * Returns its length in bytes, 0 when more bytes are needed, -EPROTO when its lengths are not
 * allowed (seen as soon as the prefix is there, before anything is buffered for it).
 */
long asock_frame_parse(const uint8_t *buf, size_t len, struct frame *ret);

/*
 * Where a frame is only partly here: 1 and its lengths when the prefix is complete and allowed,
 * 0 when it is not complete, -EPROTO.
 */
int asock_frame_lengths(const uint8_t *buf, size_t len, uint32_t *ret_head, uint32_t *ret_payload);

void asock_frame_prefix(uint8_t out[FRAME_PREFIX], uint32_t head_len, uint32_t payload_len);

#endif
