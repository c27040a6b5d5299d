/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"
#include "proto/codec.h"

bool asock_codec_text_is_valid(const char *text, size_t len)
{
    uint32_t point;
    size_t n;

    for (; len > 0; text += n, len -= n) {
        n = asock_text_decode(text, len, &point);
        if (point == TEXT_INVALID || text_is_control(point))
            return false;
    }
    return true;
}
