/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"

#include <stdio.h>
#include <string.h>

size_t asock_text_decode(const char *text, size_t len, uint32_t *ret)
{
    static const uint32_t min[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    uint32_t point = n == 1 ? s[0] : s[0] & (0x7fu >> n);

    *ret = TEXT_INVALID;
    if (s[0] >= 0xf8 || (s[0] >= 0x80 && s[0] < 0xc0))
        return 1;
    for (size_t i = 1; i < n; i++) {
        if (i >= len || (s[i] & 0xc0) != 0x80)
            return 1;
        point = point << 6 | (s[i] & 0x3f);
    }
    if (point < min[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 1;
    *ret = point;
    return n;
}

size_t asock_text_to_json(const char *text, size_t len, char out[static TEXT_JSON_MAX])
{
    uint32_t point;
    size_t n = asock_text_decode(text, len, &point);

    if (point == TEXT_INVALID) {
        snprintf(out, TEXT_JSON_MAX, "\\\\x%02x", (unsigned char)*text);
    } else if (point == '"' || point == '\\') {
        snprintf(out, TEXT_JSON_MAX, "\\%c", (char)point);
    } else if (text_is_control(point) || point == 0x2028 || point == 0x2029) {
        snprintf(out, TEXT_JSON_MAX, "\\u%04x", (unsigned int)point);
    } else {
        memcpy(out, text, n);
        out[n] = '\0';
    }
    return n;
}
