/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static uint32_t read_le32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static void write_le32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

int asock_frame_lengths(const uint8_t *buf, size_t len, uint32_t *ret_head, uint32_t *ret_payload)
{
    uint32_t head, payload;

    if (len < FRAME_PREFIX)
        return 0;
    head = read_le32(buf);
    payload = read_le32(buf + 4);
    if (head == 0 || head > FRAME_HEAD_MAX || payload > FRAME_PAYLOAD_MAX)
        return -EPROTO;
    *ret_head = head;
    *ret_payload = payload;
    return 1;
}

long asock_frame_parse(const uint8_t *buf, size_t len, struct frame *ret)
{
    uint32_t head, payload;
    int r;

    r = asock_frame_lengths(buf, len, &head, &payload);
    if (r <= 0)
        return r;
    if (len - FRAME_PREFIX < (size_t)head + payload)
        return 0;
    ret->head = buf + FRAME_PREFIX;
    ret->head_len = head;
    ret->payload = ret->head + head;
    ret->payload_len = payload;
    return (long)FRAME_PREFIX + head + payload;
}

void asock_frame_prefix(uint8_t out[FRAME_PREFIX], uint32_t head_len, uint32_t payload_len)
{
    write_le32(out, head_len);
    write_le32(out + 4, payload_len);
}
