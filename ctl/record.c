/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/record.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void records_add(const struct asock_field *fields, size_t count, void *userdata)
{
    struct records *records = userdata;
    struct record *row;

    if (records->count == records->room) {
        records->room = records->room ? records->room * 2 : 16;
        records->rows = need_memory(
            reallocarray(records->rows, records->room, sizeof(records->rows[0])));
    }
    row = &records->rows[records->count++];
    row->count = count;
    row->fields = need_memory(calloc(count ? count : 1, sizeof(row->fields[0])));
    for (size_t i = 0; i < count; i++) {
        row->fields[i].name = need_memory(strdup(fields[i].name));
        row->fields[i].text = fields[i].text ? need_memory(strdup(fields[i].text)) : NULL;
        row->fields[i].number = fields[i].number;
    }
}

void records_free(struct records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        struct record *row = &records->rows[i];

        for (size_t j = 0; j < row->count; j++) {
            free((char *)row->fields[j].name);
            free((char *)row->fields[j].text);
        }
        free(row->fields);
    }
    free(records->rows);
    *records = (struct records){0};
}

const struct asock_field *record_find(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->count; i++) {
        if (strcmp(record->fields[i].name, name) == 0)
            return &record->fields[i];
    }
    return NULL;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void print_number(const struct asock_field *field, bool human)
{
    char buf[TEXT_NUMBER_MAX];

    if (human && ends_with(field->name, "_ms"))
        fputs(text_human_ms(field->number, buf), stdout);
    else if (human && (strstr(field->name, "bytes") || strstr(field->name, "queued") ||
                       strstr(field->name, "window") || strstr(field->name, "payload")))
        fputs(text_human_size(field->number, buf), stdout);
    else
        printf("%" PRId64, field->number);
}

void record_print(const struct record *record, bool human)
{
    int width = 0;

    for (size_t i = 0; i < record->count; i++) {
        int len = (int)strlen(record->fields[i].name);

        width = len > width ? len : width;
    }
    for (size_t i = 0; i < record->count; i++) {
        const struct asock_field *field = &record->fields[i];
        bool quoted = strcmp(field->name, "name") == 0; /* the client's own word for itself */

        text_print_escaped(stdout, field->name, 0);
        printf("%*s  %s", width - (int)strlen(field->name), "", quoted && field->text ? "\"" : "");
        if (field->text)
            text_print_escaped(stdout, field->text, quoted ? '"' : 0);
        else
            print_number(field, human);
        printf("%s\n", quoted && field->text ? "\"" : "");
    }
}
