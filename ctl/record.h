/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_RECORD_H
#define CTL_RECORD_H

/*
 * The daemon's records, kept: the library's live only as long as the callback that is given them.
 */
#include <asock/asock.h>

#include <stdbool.h>
#include <stdint.h>

struct record {
    size_t count;
    struct asock_field *fields; /* strings are the record's own */
};

struct records {
    size_t count, room;
    struct record *rows;
};

/* An asock_record_fn; userdata is a struct records. */
void records_add(const struct asock_field *fields, size_t count, void *userdata);
void records_free(struct records *records);
/* The first ones stay. */
void records_cut(struct records *records, size_t count);

/* NULL when there is none of that name. */
const struct asock_field *record_find(const struct record *record, const char *name);

/* "" and 0 likewise, also of the other kind. */
const char *record_text(const struct record *record, const char *name);
int64_t record_number(const struct record *record, const char *name);

/*
 * "name   value" in lines. human: sizes and times in larger units. width: longer lines go on below
 * their value, 0: they are as long as they are.
 */
void record_print(const struct record *record, bool human, size_t width);

#endif
