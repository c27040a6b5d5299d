/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_message.h"
#include "proto/frame.h"

#include <errno.h>
#include <string.h>

long asock_codec_pack(const ProtobufCMessage *message, size_t most, uint32_t payload_len,
                      uint8_t *out, size_t cap)
{
    size_t len;

    if (cap < most && cap < FRAME_PREFIX + protobuf_c_message_get_packed_size(message))
        return -ENOBUFS;
    len = protobuf_c_message_pack(message, out + FRAME_PREFIX);
    asock_frame_prefix(out, (uint32_t)len, payload_len);
    return (long)(FRAME_PREFIX + len);
}

void *asock_codec_unpack(const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                         const uint8_t *head, size_t len, const char **ret_why)
{
    void *message;

    message = protobuf_c_message_unpack(descriptor, &arena->allocator, len, head);
    if (!message)
        *ret_why = arena->exhausted ? "too many fields" : "malformed message";
    return message;
}

int asock_codec_put_endpoint(const struct endpoint *endpoint, Asock__V1__Endpoint *message)
{
    if (endpoint->address_len == 0)
        return 0;
    if (endpoint->address_len != 4 && endpoint->address_len != 16)
        return -EINVAL;
    asock__v1__endpoint__init(message);
    /* Packing only reads. */
    message->address.data = (uint8_t *)(uintptr_t)endpoint->address;
    message->address.len = endpoint->address_len;
    message->port = endpoint->port;
    message->scope_id = endpoint->scope_id;
    return 1;
}

void asock_codec_get_endpoint(const Asock__V1__Endpoint *message, struct endpoint *ret)
{
    size_t len;

    memset(ret, 0, sizeof(*ret));
    if (!message)
        return;
    len = message->address.len;
    if ((len != 4 && len != 16) || message->port > UINT16_MAX) {
        ret->malformed = true;
        return;
    }
    memcpy(ret->address, message->address.data, len);
    ret->address_len = (uint8_t)len;
    ret->port = (uint16_t)message->port;
    ret->scope_id = message->scope_id;
}
