/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_JSON_H
#define CTL_JSON_H

/*
 * A writer of RFC 8259. Objects of texts and numbers are all that is needed here: a library for it
 * would be a dependency more than code less.
 */
#include <stdint.h>
#include <stdio.h>

struct record;

/*
 * A string with its quotes; NULL is null. A byte that is not UTF-8 becomes the text \xHH; the
 * output is safe on a terminal.
 */
void json_print_string(FILE *file, const char *text);

struct records;

/* An array of them, one a line, with a newline. */
void json_print_records(FILE *file, const struct records *records);

/*
 * One object on one line, without a newline, as docs/asockctl.schema.json has it: the daemon's
 * fields are flat texts and numbers, and become booleans, arrays and nested objects here.
 */
void json_print_record(FILE *file, const struct record *record);

/* The same of the first one, with the others as an array "name" at its end if there are any. */
void json_print_first(FILE *file, const struct records *records, const char *name);

#endif
