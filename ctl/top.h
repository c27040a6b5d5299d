/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_TOP_H
#define CTL_TOP_H

/*
 * What "asockctl top" shows: sockets with their rates, by themselves or summed up by client or
 * destination.
 */
#include "ctl/record.h"
#include "ctl/rows.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum top_view { TOP_SOCKETS, TOP_CLIENTS, TOP_DESTINATIONS, TOP_VIEWS };
enum top_order { TOP_BY_RATE, TOP_BY_IN, TOP_BY_OUT, TOP_BY_SOCKETS, TOP_BY_NAME, TOP_ORDERS };

struct top_socket {
    int64_t id, bytes_in, bytes_out, age_ms;
    double rate_in, rate_out; /* bytes a second */
    char *user, *unit, *to, *state;
};

/* A line of the screen. */
struct top_line {
    const struct top_socket *first; /* of those that are summed up */
    size_t sockets;
    int64_t bytes_in, bytes_out, age_ms; /* age: of the oldest */
    double rate_in, rate_out;
};

struct top {
    struct top_socket *sockets; /* by id */
    size_t count;
    struct top_line *lines; /* in their order */
    size_t line_count;
};

/*
 * Rates are between this look and the last one, by the daemon's own clock. The rows must have been
 * completed and filtered.
 */
void top_take(struct top *top, const struct records *rows);
void top_arrange(struct top *top, enum top_view view, enum top_order order);
/* Does the line sum up this socket? */
bool top_has(const struct top_line *line, const struct top_socket *socket, enum top_view view);
void top_free(struct top *top);

#endif
