/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/json.h"
#include "base/text.h"
#include "ctl/record.h"

#include <inttypes.h>

void json_print_string(FILE *file, const char *text)
{
    char piece[TEXT_JSON_MAX];

    if (!text) {
        fputs("null", file);
        return;
    }
    fputc('"', file);
    while (*text) {
        text += asock_text_to_json(text, TEXT_TO_NUL, piece);
        fputs(piece, file);
    }
    fputc('"', file);
}

static void print_fields(FILE *file, const struct record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        const struct asock_field *field = &record->fields[i];

        if (i > 0)
            fputs(", ", file);
        json_print_string(file, field->name);
        fputs(": ", file);
        if (field->text)
            json_print_string(file, field->text);
        else
            fprintf(file, "%" PRId64, field->number);
    }
}

void json_print_record(FILE *file, const struct record *record)
{
    fputc('{', file);
    print_fields(file, record);
    fputc('}', file);
}

void json_print_first(FILE *file, const struct records *records, const char *name)
{
    fputc('{', file);
    print_fields(file, &records->rows[0]);
    for (size_t i = 1; i < records->count; i++) {
        if (i == 1) {
            fputs(", ", file);
            json_print_string(file, name);
            fputs(": [", file);
        } else {
            fputs(", ", file);
        }
        json_print_record(file, &records->rows[i]);
    }
    fputs(records->count > 1 ? "]}" : "}", file);
}

void json_print_records(FILE *file, const struct records *records)
{
    fputs("[", file);
    for (size_t i = 0; i < records->count; i++) {
        fputs(i > 0 ? ",\n " : "\n ", file);
        json_print_record(file, &records->rows[i]);
    }
    fputs(records->count > 0 ? "\n]\n" : "]\n", file);
}
