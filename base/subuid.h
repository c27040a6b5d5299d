/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_SUBUID_H
#define ASOCK_BASE_SUBUID_H

/*
 * A line of /etc/subuid (subuid(5)), as newuidmap(1) reads it: OWNER:FIRST:COUNT. The owner is a
 * name or an id. The highest id stands for no user and is in no range.
 */
#include <stdbool.h>
#include <stdint.h>

#define SUBUID_ID_MAX (UINT32_MAX - 1)

struct subuid_range {
    const char *owner; /* within the line */
    uint32_t first, last;
};

/* Cuts the line, without its newline, into its fields. False: newuidmap(1) would skip it. */
bool asock_subuid_read_line(char *line, struct subuid_range *ret);
/* Hexadecimal and octal numbers count too. */
bool asock_subuid_read_number(const char *text, uint64_t *ret);

#endif
