/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/text.h"
#include "base/text.h"

#include <langinfo.h>
#include <string.h>
#include <stdbool.h>
#include <wchar.h>
#include <wctype.h>

/*
 * Characters that change how others look, or cannot be seen: of no use in a name, and of some in a
 * forged one.
 */
static bool is_formatting(uint32_t point)
{
    return point == 0xad || point == 0x61c || point == 0xfeff ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || (point >= 0xfff9 && point <= 0xfffb) ||
           (point >= 0xe0000 && point <= 0xe0fff);
}

static bool is_showable(uint32_t point)
{
    if (point < 0x80)
        return point >= 0x20 && point < 0x7f;
    return !is_formatting(point) && strcmp(nl_langinfo(CODESET), "UTF-8") == 0 &&
           iswprint((wint_t)point) && wcwidth((wchar_t)point) >= 0;
}

static size_t print_escape(FILE *file, uint32_t point)
{
    switch (point) {
    case '\n':
        return fputs("\\n", file) < 0 ? 0 : 2;
    case '\t':
        return fputs("\\t", file) < 0 ? 0 : 2;
    case '\r':
        return fputs("\\r", file) < 0 ? 0 : 2;
    default:
        return (size_t)fprintf(file, point < 0x80 ? "\\x%02x" : "\\u{%x}", point);
    }
}

size_t text_print_escaped(FILE *file, const char *text, char quote)
{
    size_t width = 0, len;

    for (; *text; text += len) {
        uint32_t point;

        len = asock_text_decode(text, TEXT_TO_NUL, &point);
        if (point == TEXT_INVALID) {
            width += (size_t)fprintf(file, "\\x%02x", (unsigned char)*text);
        } else if (point == '\\' || (quote && point == (unsigned char)quote)) {
            width += (size_t)fprintf(file, "\\%c", (char)point);
        } else if (is_showable(point)) {
            fwrite(text, 1, len, file);
            width += point < 0x80 ? 1 : (size_t)wcwidth((wchar_t)point);
        } else {
            width += print_escape(file, point);
        }
    }
    return width;
}

void text_print_cut(FILE *file, const char *escaped, size_t columns)
{
    bool is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    size_t used = 1, len;

    for (; *escaped; escaped += len) {
        uint32_t point;
        size_t width;

        len = asock_text_decode(escaped, TEXT_TO_NUL, &point);
        width = point < 0x80 || point == TEXT_INVALID ? 1 : (size_t)wcwidth((wchar_t)point);
        if (used + width > columns)
            break;
        fwrite(escaped, 1, len, file);
        used += width;
    }
    fputs(is_utf8 ? "\u2026" : "~", file);
    for (; used < columns; used++)
        fputc(' ', file);
}

const char *text_human_size(int64_t bytes, char buf[TEXT_NUMBER_MAX])
{
    static const char units[] = "KMGTPE";
    double value = (double)bytes;
    int unit = -1;

    while (value >= 1023.5 && unit < (int)sizeof(units) - 2) {
        value /= 1024;
        unit++;
    }
    if (unit < 0)
        snprintf(buf, TEXT_NUMBER_MAX, "%lld", (long long)bytes);
    else
        snprintf(buf, TEXT_NUMBER_MAX, "%.*f%c", value < 9.95 ? 1 : 0, value, units[unit]);
    return buf;
}

const char *text_human_ms(int64_t ms, char buf[TEXT_NUMBER_MAX])
{
    long long s = ms / 1000;

    if (s < 60)
        snprintf(buf, TEXT_NUMBER_MAX, "%lld.%llds", s, (long long)(ms % 1000 / 100));
    else if (s < 3600)
        snprintf(buf, TEXT_NUMBER_MAX, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, TEXT_NUMBER_MAX, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else
        snprintf(buf, TEXT_NUMBER_MAX, "%lldd%02lldh", s / 86400, s / 3600 % 24);
    return buf;
}
