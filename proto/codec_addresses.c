/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec.h"
#include "proto/codec_message.h"

#include <errno.h>
#include <stdalign.h>

/* An endpoint takes some 150 bytes while it is decoded. */
#define ADDRESSES_ARENA 32768u

long asock_codec_encode_addresses(const struct endpoint *endpoints, size_t count, uint8_t *out,
                                  size_t cap)
{
    Asock__V1__Addresses m = ASOCK__V1__ADDRESSES__INIT;
    Asock__V1__Endpoint messages[CODEC_ADDRESSES_MAX], *pointers[CODEC_ADDRESSES_MAX];

    if (count > CODEC_ADDRESSES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (asock_codec_put_endpoint(&endpoints[i], &messages[i]) != 1)
            return -EINVAL;
        pointers[i] = &messages[i];
    }
    m.n_endpoints = count;
    m.endpoints = pointers;
    if (asock__v1__addresses__get_packed_size(&m) > cap)
        return -ENOBUFS;
    return (long)asock__v1__addresses__pack(&m, out);
}

long asock_codec_decode_addresses(const uint8_t *buf, size_t len,
                                  struct endpoint ret[static CODEC_ADDRESSES_MAX])
{
    alignas(max_align_t) uint8_t memory[ADDRESSES_ARENA];
    struct arena arena;
    const Asock__V1__Addresses *m;
    const char *why;

    if (len > CODEC_ADDRESSES_BYTES)
        return -EPROTO;
    asock_arena_init(&arena, memory, sizeof(memory));
    m = asock_codec_unpack(&asock__v1__addresses__descriptor, &arena, buf, len, &why);
    if (!m || m->n_endpoints > CODEC_ADDRESSES_MAX)
        return -EPROTO;
    for (size_t i = 0; i < m->n_endpoints; i++) {
        asock_codec_get_endpoint(m->endpoints[i], &ret[i]);
        if (ret[i].address_len == 0)
            return -EPROTO;
    }
    return (long)m->n_endpoints;
}

/* ---- of a CONNECT ---- */

int asock_codec_put_endpoints(const struct endpoints *from, struct endpoint_messages *room,
                              size_t *ret_count, Asock__V1__Endpoint ***ret)
{
    if (from->count > CODEC_OTHERS_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < from->count; i++) {
        if (asock_codec_put_endpoint(&from->at[i], &room->messages[i]) != 1)
            return -EINVAL;
        room->pointers[i] = &room->messages[i];
    }
    *ret_count = from->count;
    *ret = room->pointers;
    return 0;
}

long asock_codec_get_endpoints(Asock__V1__Endpoint *const *from, size_t count, char *scratch,
                               struct endpoints *ret)
{
    size_t skip = -(uintptr_t)scratch % alignof(struct endpoint);
    struct endpoint *to = (void *)(scratch + skip);

    _Static_assert(sizeof(struct endpoint[CODEC_OTHERS_MAX]) + alignof(struct endpoint) +
                           CODEC_HOST_MAX + CODEC_SERVICE_MAX + 2 <=
                       CODEC_SCRATCH,
                   "the scratch holds as many as there may be, and the strings");
    if (count > CODEC_OTHERS_MAX)
        return -EPROTO;
    for (size_t i = 0; i < count; i++)
        asock_codec_get_endpoint(from[i], &to[i]);
    *ret = (struct endpoints){count > 0 ? to : NULL, (uint32_t)count};
    return count > 0 ? (long)(skip + count * sizeof(*to)) : 0;
}
