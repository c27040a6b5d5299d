/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/top.h"
#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>

static int64_t number_of(const struct record *row, const char *name)
{
    const struct asock_field *field = record_find(row, name);

    return field && !field->text ? field->number : 0;
}

static char *text_of(const struct record *row, const char *name, const char *otherwise)
{
    const struct asock_field *field = record_find(row, name);

    if ((!field || !field->text || !field->text[0]) && otherwise)
        field = record_find(row, otherwise);
    return report_need_memory(strdup(field && field->text && field->text[0] ? field->text : "-"));
}

static int compare_ids(const void *a, const void *b)
{
    const struct top_socket *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

/*
 * Between two looks by the same clock as the bytes are counted; where no time has passed, what it
 * was.
 */
static void set_rates(struct top_socket *socket, const struct top_socket *before)
{
    double seconds = before ? (double)(socket->age_ms - before->age_ms) / 1000 : 0;

    if (!before)
        return;
    if (seconds <= 0) {
        socket->rate_in = before->rate_in;
        socket->rate_out = before->rate_out;
        return;
    }
    socket->rate_in = (double)(socket->bytes_in - before->bytes_in) / seconds;
    socket->rate_out = (double)(socket->bytes_out - before->bytes_out) / seconds;
}

static void free_sockets(struct top_socket *sockets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(sockets[i].user);
        free(sockets[i].unit);
        free(sockets[i].to);
        free(sockets[i].state);
    }
    free(sockets);
}

void top_take(struct top *top, const struct records *rows)
{
    struct top_socket *sockets = report_need_memory(calloc(rows->count + 1, sizeof(*sockets)));

    for (size_t i = 0; i < rows->count; i++) {
        const struct record *row = &rows->rows[i];
        struct top_socket *socket = &sockets[i];

        socket->id = number_of(row, "id");
        socket->bytes_in = number_of(row, "bytes_in");
        socket->bytes_out = number_of(row, "bytes_out");
        socket->age_ms = number_of(row, "age_ms");
        socket->user = text_of(row, "user", NULL);
        socket->unit = text_of(row, "unit", "command");
        socket->to = text_of(row, "to", NULL);
        socket->state = text_of(row, "state", NULL);
        if (top->count > 0)
            set_rates(socket,
                      bsearch(socket, top->sockets, top->count, sizeof(*socket), compare_ids));
    }
    qsort(sockets, rows->count, sizeof(*sockets), compare_ids);
    free_sockets(top->sockets, top->count);
    free(top->lines);
    top->sockets = sockets;
    top->count = rows->count;
    top->lines = NULL;
    top->line_count = 0;
}

bool top_has(const struct top_line *line, const struct top_socket *socket, enum top_view view)
{
    const struct top_socket *first = line->first;

    if (view == TOP_SOCKETS)
        return first->id == socket->id;
    if (view == TOP_DESTINATIONS)
        return strcmp(first->to, socket->to) == 0;
    return strcmp(first->unit, socket->unit) == 0 && strcmp(first->user, socket->user) == 0;
}

struct order {
    enum top_view view;
    enum top_order order;
};

static int compare_keys(const struct top_socket *a, const struct top_socket *b, enum top_view view)
{
    int r = 0;

    if (view == TOP_DESTINATIONS)
        return strcmp(a->to, b->to);
    r = strcmp(a->unit, b->unit);
    if (r == 0)
        r = strcmp(a->user, b->user);
    if (r == 0 && view == TOP_SOCKETS)
        r = compare_ids(a, b);
    return r;
}

static int compare_sockets(const void *a, const void *b, void *data)
{
    const struct order *order = data;

    return compare_keys(*(const struct top_socket *const *)a, *(const struct top_socket *const *)b,
                        order->view);
}

static double value_of(const struct top_line *line, enum top_order order)
{
    switch (order) {
    case TOP_BY_IN:
        return (double)line->bytes_in;
    case TOP_BY_OUT:
        return (double)line->bytes_out;
    case TOP_BY_SOCKETS:
        return (double)line->sockets;
    case TOP_BY_NAME:
        return 0;
    default:
        return line->rate_in + line->rate_out;
    }
}

/* The most first; what is equal by its name. */
static int compare_lines(const void *a, const void *b, void *data)
{
    const struct order *order = data;
    const struct top_line *x = a, *y = b;
    double left = value_of(x, order->order), right = value_of(y, order->order);

    if (left > right || left < right)
        return left < right ? 1 : -1;
    return compare_keys(x->first, y->first, order->view);
}

static void add(struct top_line *line, const struct top_socket *socket)
{
    line->first = line->first ? line->first : socket;
    line->sockets++;
    line->bytes_in += socket->bytes_in;
    line->bytes_out += socket->bytes_out;
    line->rate_in += socket->rate_in;
    line->rate_out += socket->rate_out;
    line->age_ms = socket->age_ms > line->age_ms ? socket->age_ms : line->age_ms;
}

void top_arrange(struct top *top, enum top_view view, enum top_order order)
{
    const struct top_socket **sorted = report_need_memory(calloc(top->count + 1, sizeof(*sorted)));
    struct order by = {view, order};

    free(top->lines);
    top->lines = report_need_memory(calloc(top->count + 1, sizeof(*top->lines)));
    top->line_count = 0;
    for (size_t i = 0; i < top->count; i++)
        sorted[i] = &top->sockets[i];
    qsort_r(sorted, top->count, sizeof(*sorted), compare_sockets, &by);
    for (size_t i = 0; i < top->count; i++) {
        if (top->line_count == 0 || !top_has(&top->lines[top->line_count - 1], sorted[i], view))
            top->line_count++;
        add(&top->lines[top->line_count - 1], sorted[i]);
    }
    qsort_r(top->lines, top->line_count, sizeof(*top->lines), compare_lines, &by);
    free(sorted);
}

void top_free(struct top *top)
{
    free_sockets(top->sockets, top->count);
    free(top->lines);
    *top = (struct top){0};
}
