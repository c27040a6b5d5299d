/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "proto/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_prefix_is_little_endian)
{
    static const uint8_t expected[FRAME_PREFIX] = {0x02, 0x01, 0, 0, 0x06, 0x05, 0x04, 0x03};
    uint8_t out[FRAME_PREFIX];

    asock_frame_prefix(out, 0x0102, 0x03040506);
    ck_assert_mem_eq(out, expected, FRAME_PREFIX);
}
END_TEST

START_TEST(test_frame_in_every_piece)
{
    uint8_t buf[FRAME_PREFIX + 5 + 7 + 3];
    struct frame frame;
    size_t len;

    memset(buf, 0xaa, sizeof(buf));
    asock_frame_prefix(buf, 5, 7);
    for (len = 0; len < FRAME_PREFIX + 12; len++)
        ck_assert_int_eq(asock_frame_parse(buf, len, &frame), 0);
    for (; len <= sizeof(buf); len++) {
        ck_assert_int_eq(asock_frame_parse(buf, len, &frame), FRAME_PREFIX + 12);
        ck_assert_ptr_eq(frame.head, buf + FRAME_PREFIX);
        ck_assert_uint_eq(frame.head_len, 5);
        ck_assert_ptr_eq(frame.payload, buf + FRAME_PREFIX + 5);
        ck_assert_uint_eq(frame.payload_len, 7);
    }
}
END_TEST

/* Refused as soon as the prefix is there, whatever is or is not behind it. */
START_TEST(test_lengths_at_their_limits)
{
    static const struct {
        uint32_t head, payload;
        int expected;
    } cases[] = {
        {0, 0, -EPROTO},
        {0, 1, -EPROTO},
        {1, 0, 1},
        {FRAME_HEAD_MAX, FRAME_PAYLOAD_MAX, 1},
        {FRAME_HEAD_MAX + 1, 0, -EPROTO},
        {1, FRAME_PAYLOAD_MAX + 1, -EPROTO},
        {UINT32_MAX, 0, -EPROTO},
        {1, UINT32_MAX, -EPROTO},
        {UINT32_MAX, UINT32_MAX, -EPROTO},
        {0x80000000, 0x80000000, -EPROTO},
    };
    uint8_t buf[FRAME_PREFIX];
    uint32_t head, payload;
    struct frame frame;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        asock_frame_prefix(buf, cases[i].head, cases[i].payload);
        ck_assert_int_eq(asock_frame_lengths(buf, FRAME_PREFIX - 1, &head, &payload), 0);
        ck_assert_int_eq(asock_frame_lengths(buf, FRAME_PREFIX, &head, &payload),
                         cases[i].expected);
        ck_assert_int_eq(asock_frame_parse(buf, FRAME_PREFIX, &frame),
                         cases[i].expected == 1 ? 0 : -EPROTO);
        if (cases[i].expected == 1) {
            ck_assert_uint_eq(head, cases[i].head);
            ck_assert_uint_eq(payload, cases[i].payload);
        }
    }
}
END_TEST

START_TEST(test_largest_frame)
{
    uint8_t *buf = calloc(1, FRAME_MAX);
    struct frame frame;

    ck_assert_ptr_nonnull(buf);
    asock_frame_prefix(buf, FRAME_HEAD_MAX, FRAME_PAYLOAD_MAX);
    ck_assert_int_eq(asock_frame_parse(buf, FRAME_MAX - 1, &frame), 0);
    ck_assert_int_eq(asock_frame_parse(buf, FRAME_MAX, &frame), FRAME_MAX);
    ck_assert_ptr_eq(frame.payload + frame.payload_len, buf + FRAME_MAX);
    free(buf);
}
END_TEST
