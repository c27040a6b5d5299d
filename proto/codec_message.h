/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_CODEC_MESSAGE_H
#define ASOCK_PROTO_CODEC_MESSAGE_H

/* What the codec of requests and that of replies share; of no use to anybody else. */
#include "proto/asock.pb-c.h"
#include "proto/codec.h"
#include "proto/codec_arena.h"

/*
 * Prefix and head into out. most: what the head of such a message has at the very most, so that a
 * buffer of that size needs no measuring first.
 */
long asock_codec_pack(const ProtobufCMessage *message, size_t most, uint32_t payload_len,
                      uint8_t *out, size_t cap);

/* NULL with a text in *ret_why. The message lives in the arena. */
void *asock_codec_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                         const uint8_t *head, size_t len, const char **ret_why);

/* An endpoint in both forms. message points into endpoint. put: 1 when there is one, 0, -EINVAL. */
int asock_codec_put_endpoint(const struct endpoint *endpoint, Asock__V1__Endpoint *message);
void asock_codec_get_endpoint(const Asock__V1__Endpoint *message, struct endpoint *ret);

/* What stands behind a repeated Endpoint while it is packed. */
struct endpoint_messages {
    Asock__V1__Endpoint messages[CODEC_OTHERS_MAX];
    Asock__V1__Endpoint *pointers[CODEC_OTHERS_MAX];
};

/* -EINVAL: too many, or one that is not set. */
int asock_codec_put_endpoints(const struct endpoints *from, struct endpoint_messages *room,
                              size_t *ret_count, Asock__V1__Endpoint ***ret);
/* Into the beginning of the scratch; returns how much of it is used. -EPROTO: too many. */
long asock_codec_get_endpoints(Asock__V1__Endpoint *const *from, size_t count, char *scratch,
                               struct endpoints *ret);

/* What stands behind a repeated Segment while it is packed. */
struct segment_messages {
    Asock__V1__Segment messages[CODEC_SEGMENTS_MAX];
    Asock__V1__Segment *pointers[CODEC_SEGMENTS_MAX];
};

/* -EINVAL: too many. */
int asock_codec_put_segments(const struct segments *from, struct segment_messages *room,
                             size_t *ret_count, Asock__V1__Segment ***ret);
/* Into the scratch, of which nothing else is used. */
void asock_codec_get_segments(Asock__V1__Segment *const *from, size_t count, char *scratch,
                              struct segments *ret);

#endif
