/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_ROWS_H
#define CTL_ROWS_H

/*
 * Shared by list, sessions and denied: shows records as a table of chosen columns, filtered and
 * sorted. Each record also gets the fields "user" (the name of its uid) and "to" (host or address,
 * and port), which filters and columns may name like any other field.
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

/* The columns that say to whom a socket or a session belongs. */
#define COLUMNS_OF_CLIENT                                                                          \
    {"id", "ID", "id", NULL, NULL, 'r', CELL_PLAIN, SHOWN},                                        \
        {"pid", "PID", "pid", NULL, NULL, 'r', CELL_PLAIN, SHOWN},                                 \
        {"user", "USER", "user", NULL, NULL, 'l', CELL_PLAIN, SHOWN},                              \
        {"uid", "UID", "uid", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},                      \
    {                                                                                              \
        "unit", "UNIT/COMMAND", "unit", "command", NULL, 'l', CELL_PLAIN, SHOWN                    \
    }

/* For rows that only the control socket provides. */
#define ROWS_NOTE                                                                                  \
    "this is a client socket, which shows only asockctl's own session; use --control to see all sessions"

struct rows_view {
    const struct column *columns;
    size_t count;
    const char *sort; /* without --sort; NULL: as they come */
};

/*
 * 0: --columns, --sort and the filters among the arguments are valid. Otherwise an exit status,
 * after a message.
 */
int rows_check(const struct rows_view *view, const struct settings *settings);

/* Adds "user" and "to", then filters and sorts. */
void rows_refine(const struct rows_view *view, const struct settings *settings,
                 struct records *records);

/* Adds only "user" and "to"; "user" if the record has a uid. */
void rows_complete(struct record *record);

/* width: of the terminal, 0: no limit. */
void rows_print(const struct rows_view *view, const struct settings *settings,
                const struct records *records, size_t width);

/* True: the record matches all of these "field=pattern" words. */
bool rows_match(const struct rows_view *view, char *const *filters, int count,
                const struct record *record);

/* True: all words are valid filters. Prints nothing. */
bool rows_are_filters(const struct rows_view *view, char *const *filters, int count);

/* 0: all words are valid filters. Otherwise an exit status, after a message. */
int rows_check_filters(const struct rows_view *view, char *const *filters, int count);

/*
 * Prints the query's rows as a table or as JSON, once or, with --watch, repeatedly. Returns the
 * exit status. On a client's socket, which only reports its own session, note is printed on
 * standard error.
 */
int rows_run(const struct rows_view *view, const struct settings *settings, const char *query,
             const char *note);

/* The views of list and sessions. */
extern const struct rows_view rows_of_list, rows_of_sessions;

/* The width of the terminal in columns; 0: standard output is not a terminal. */
size_t rows_terminal_width(void);

#endif
