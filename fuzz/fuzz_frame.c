/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/fuzz.h"
#include "proto/frame.h"

#include <errno.h>
#include <string.h>

/*
 * A stream of frames, cut at every place: what is found must not depend on how much of the stream
 * is there, a refusal must come with the prefix, and a prefix must be what its lengths would be
 * written as. Each look at the stream gets a copy of its own length, so that a read past the end
 * is seen.
 */

static long look(const uint8_t *data, size_t len, struct frame *ret)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct frame frame = {0};
    long n;

    MUST(copy);
    memcpy(copy, data, len);
    n = asock_frame_parse(copy, len, &frame);
    if (n > 0) {
        MUST((size_t)n <= len);
        MUST(frame.head == copy + FRAME_PREFIX && frame.payload == frame.head + frame.head_len);
        MUST(frame.head_len >= 1 && frame.head_len <= FRAME_HEAD_MAX);
        MUST(frame.payload_len <= FRAME_PAYLOAD_MAX);
        MUST((size_t)n == FRAME_PREFIX + (size_t)frame.head_len + frame.payload_len);
        *ret = frame;
    }
    free(copy);
    return n;
}

static void check_prefix(const uint8_t *data, const struct frame *frame)
{
    uint8_t again[FRAME_PREFIX];

    asock_frame_prefix(again, frame->head_len, frame->payload_len);
    MUST(memcmp(again, data, FRAME_PREFIX) == 0);
}

/* The frame at the start of data, or why there is none, with every shorter piece before it. */
static long first_frame(const uint8_t *data, size_t len)
{
    struct frame frame = {0};
    uint32_t head = 0, payload = 0;
    long whole = look(data, len, &frame);
    int lengths = asock_frame_lengths(data, len, &head, &payload);
    size_t cut;

    MUST(whole <= 0 || (lengths == 1 && head == frame.head_len && payload == frame.payload_len));
    MUST((whole == -EPROTO) == (lengths == -EPROTO));
    /* Around the prefix and the end every cut, in between a few. */
    for (cut = 0; cut < len && (whole <= 0 || cut < (size_t)whole);
         cut += cut < 2 * FRAME_PREFIX ? 1 : 1 + len / 16) {
        long part = look(data, cut, &frame);

        MUST(part == (cut >= FRAME_PREFIX && whole == -EPROTO ? -EPROTO : 0));
    }
    if (whole > 0) {
        MUST(look(data, (size_t)whole, &frame) == whole);
        MUST(look(data, (size_t)whole - 1, &frame) == 0);
        check_prefix(data, &frame);
    }
    return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    while (size > 0) {
        long n = first_frame(data, size);

        if (n <= 0)
            break;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}
