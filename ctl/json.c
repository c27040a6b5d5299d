/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/json.h"
#include "ctl/record.h"
#include "ctl/text.h"

#include <inttypes.h>

static void print_point(FILE *file, const char *text, size_t len, uint32_t point)
{
    if (point == TEXT_INVALID)
        fputs("\\ufffd", file);
    else if (point == '"' || point == '\\')
        fprintf(file, "\\%c", (char)point);
    else if (point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x2028 || point == 0x2029)
        fprintf(file, "\\u%04x", point);
    else
        fwrite(text, 1, len, file);
}

void json_print_string(FILE *file, const char *text)
{
    size_t len;

    if (!text) {
        fputs("null", file);
        return;
    }
    fputc('"', file);
    for (; *text; text += len) {
        uint32_t point;

        len = text_decode(text, &point);
        print_point(file, text, len, point);
    }
    fputc('"', file);
}

void json_print_record(FILE *file, const struct record *record)
{
    fputc('{', file);
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
    fputc('}', file);
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
