/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/subuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool asock_subuid_read_number(const char *text, uint64_t *ret)
{
    char *end;

    if (strchr(text, '-'))
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 0);
    return end != text && !*end && errno == 0;
}

bool asock_subuid_read_line(char *line, struct subuid_range *ret)
{
    char *first = strchr(line, ':'), *count = first ? strchr(first + 1, ':') : NULL;
    uint64_t from, n;

    if (!count || first == line || strchr(count + 1, ':'))
        return false;
    *first++ = *count++ = '\0';
    if (!asock_subuid_read_number(first, &from) || !asock_subuid_read_number(count, &n) || n == 0 ||
        from > SUBUID_ID_MAX)
        return false;
    ret->owner = line;
    ret->first = (uint32_t)from;
    ret->last = n > SUBUID_ID_MAX - from ? SUBUID_ID_MAX : (uint32_t)(from + n - 1);
    return true;
}
