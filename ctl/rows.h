/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_ROWS_H
#define CTL_ROWS_H

/*
 * What list, sessions and denied have in common: records as a table of chosen columns, filtered and sorted. To each record
 * are added "user" (the name of its uid) and "to" (host or address, and port), which filters and columns may name like any
 * other field.
 */
#include "ctl/ctl.h"
#include "ctl/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum cell_kind { CELL_PLAIN, CELL_SIZE, CELL_AGE, CELL_NAME, CELL_DENIED, CELL_TIME };

struct column {
    const char *name; /* for --columns, --sort and filters, as is the field's own name */
    const char *head;
    const char *field;
    const char *otherwise; /* the field to show where the first is missing or empty; NULL: none */
    const char *most;      /* "n/m": the field with m; NULL: none */
    char align;            /* 'l', 'r' */
    enum cell_kind kind;
    enum { SHOWN_ON_REQUEST, SHOWN, SHOWN_IF_ANY } when; /* IF_ANY: some row has it, and not 0 */
};

/* Whose a socket or a session is. */
#define COLUMNS_OF_CLIENT                                                                          \
    {"id", "ID", "id", NULL, NULL, 'r', CELL_PLAIN, SHOWN},                                        \
        {"pid", "PID", "pid", NULL, NULL, 'r', CELL_PLAIN, SHOWN},                                 \
        {"user", "USER", "user", NULL, NULL, 'l', CELL_PLAIN, SHOWN},                              \
        {"uid", "UID", "uid", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},                      \
    {                                                                                              \
        "unit", "UNIT/COMMAND", "unit", "command", NULL, 'l', CELL_PLAIN, SHOWN                    \
    }

/* For rows that a client socket cannot give. */
#define ROWS_NOTE                                                                                  \
    "this is a client socket, which tells about the own session only; --control shows all"

struct rows_view {
    const struct column *columns;
    size_t count;
    const char *sort; /* without --sort; NULL: as they come */
};

/* Are --columns, --sort and the filters among the arguments right? Else an exit status, after a complaint. */
int rows_check(const struct rows_view *view, const struct settings *settings);

/* "user" and "to", filters, order. */
void rows_refine(const struct rows_view *view, const struct settings *settings,
                 struct records *records);

/* "user" and "to" alone; "user" where the record has a uid. */
void rows_complete(struct record *record);

/* width: of the terminal, 0: no limit. */
void rows_print(const struct rows_view *view, const struct settings *settings,
                const struct records *records, size_t width);

/* Does it fit all of these "field=pattern" words? */
bool rows_match(const struct rows_view *view, char *const *filters, int count,
                const struct record *record);

/* They are, without a complaint. */
bool rows_are_filters(const struct rows_view *view, char *const *filters, int count);

/* 0, or an exit status after a complaint: a word that is no filter. */
int rows_check_filters(const struct rows_view *view, char *const *filters, int count);

/*
 * The query's rows as a table or as JSON, once or, with --watch, again and again. Returns the exit status; note goes to
 * standard error where a client's socket can only tell about itself.
 */
int rows_run(const struct rows_view *view, const struct settings *settings, const char *query,
             const char *note);

/* The views of list and sessions. */
extern const struct rows_view rows_of_list, rows_of_sessions;

/* Columns of the terminal that is standard output; 0: it is none. */
size_t terminal_width(void);

#endif
