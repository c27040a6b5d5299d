/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_text.h"
#include "proto/codec.h"

#include <stdint.h>

/* What a first octet says: how many follow, and the bounds of the next one (Unicode, table 3-7). */
static int sequence(uint8_t first, uint8_t *ret_low, uint8_t *ret_high)
{
    *ret_low = 0x80;
    *ret_high = 0xbf;
    if (first >= 0x20 && first < 0x7f)
        return 0;
    if (first >= 0xc2 && first <= 0xdf) {
        if (first == 0xc2)
            *ret_low = 0xa0; /* U+0080 to U+009F are control characters */
        return 1;
    }
    if (first >= 0xe0 && first <= 0xef) {
        if (first == 0xe0)
            *ret_low = 0xa0;
        if (first == 0xed)
            *ret_high = 0x9f;
        return 2;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (first == 0xf0)
            *ret_low = 0x90;
        if (first == 0xf4)
            *ret_high = 0x8f;
        return 3;
    }
    return -1;
}

size_t asock_text_next(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    uint8_t low, high;
    int more, i;

    if (len == 0)
        return 0;
    more = sequence(p[0], &low, &high);
    if (more < 0 || (size_t)more >= len)
        return 0;
    for (i = 1; i <= more; i++) {
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return (size_t)more + 1;
}

bool asock_codec_text_is_valid(const char *text, size_t len)
{
    size_t n;

    for (; len > 0; text += n, len -= n) {
        n = asock_text_next(text, len);
        if (n == 0)
            return false;
    }
    return true;
}
