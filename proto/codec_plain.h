/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_CODEC_PLAIN_H
#define ASOCK_PROTO_CODEC_PLAIN_H

/*
 * The frames of a connection's life, without protobuf-c: OPEN, CONNECT to an address, SEND, RECEIVE
 * and CREDIT, SHUTDOWN and CLOSE, and completions without a body, of a CONNECT, of a datagram or
 * with a segment. Half of what a small exchange costs the daemon was protobuf-c's walk through its
 * tables. The bytes are the same, and what is in any way unusual is left to protobuf-c: fields out
 * of order or twice, numbers that are too long, fields and arms that are not known here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reply;
struct request;

/* Bytes of the longest head that these encode, without segments of a request. */
#define PLAIN_MAX 208u

/* Bytes of the head in out, which holds `room`; 0: not one of these, or it might not fit. */
size_t asock_codec_plain_put_request(const struct request *request, uint8_t *out, size_t room);
/* The same; out holds PLAIN_MAX. */
size_t asock_codec_plain_put_reply(const struct reply *reply, uint8_t *out);

/*
 * True: *ret is what protobuf-c would have made of it. False: not one of these; *ret is undefined.
 * Segments go into the scratch, CODEC_SCRATCH bytes.
 */
bool asock_codec_plain_get_request(const uint8_t *head, size_t len, char *scratch,
                                   struct request *ret);
bool asock_codec_plain_get_reply(const uint8_t *head, size_t len, struct reply *ret);

#endif
