/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/record.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS "_ms"

void records_add(const struct asock_field *fields, size_t count, void *userdata)
{
    struct records *records = userdata;
    struct record *row;

    if (records->count == records->room) {
        records->room = records->room ? records->room * 2 : 16;
        records->rows = report_need_memory(
            reallocarray(records->rows, records->room, sizeof(records->rows[0])));
    }
    row = &records->rows[records->count++];
    row->count = count;
    row->fields = report_need_memory(calloc(count ? count : 1, sizeof(row->fields[0])));
    for (size_t i = 0; i < count; i++) {
        row->fields[i].name = report_need_memory(strdup(fields[i].name));
        row->fields[i].text = fields[i].text ? report_need_memory(strdup(fields[i].text)) : NULL;
        row->fields[i].number = fields[i].number;
    }
}

void records_cut(struct records *records, size_t count)
{
    for (size_t i = count; i < records->count; i++) {
        struct record *row = &records->rows[i];

        for (size_t j = 0; j < row->count; j++) {
            free((char *)row->fields[j].name);
            free((char *)row->fields[j].text);
        }
        free(row->fields);
    }
    records->count = count;
}

void records_free(struct records *records)
{
    records_cut(records, 0);
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

const char *record_text(const struct record *record, const char *name)
{
    const struct asock_field *field = record_find(record, name);

    return field && field->text ? field->text : "";
}

int64_t record_number(const struct record *record, const char *name)
{
    const struct asock_field *field = record_find(record, name);

    return field && !field->text ? field->number : 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* A number of bytes. Not every field with such a word is one: "audit_queued" counts entries. */
static bool is_size(const char *name)
{
    static const char *const names[] = {
        "bytes_in",
        "bytes_out",
        "queued",
        "shared",
        "kernel_buffers",
        "limit_send_window",
        "limit_queued",
        "limit_shared",
        "option_send_buffer",
        "limit_kernel_buffers",
        "tcp_not_sent",
        "option_receive_buffer",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static void print_number(FILE *file, const struct asock_field *field, bool human)
{
    char buf[TEXT_NUMBER_MAX];

    if (human && ends_with(field->name, MS))
        fputs(text_human_ms(field->number, buf), file);
    else if (human && is_size(field->name))
        fputs(text_human_size(field->number, buf), file);
    else
        fprintf(file, "%" PRId64, field->number);
}

/* "clients=1/64 memory=65536/- ...", with what is in bytes in larger units. For free(3). */
static char *human_quota(const char *text)
{
    static const char *const sizes[] = {"memory=", "kernel_buffers=", "shared_memory=", "audit="};
    char used[TEXT_NUMBER_MAX], most[TEXT_NUMBER_MAX], *value;
    size_t size;
    FILE *file = report_need_memory(open_memstream(&value, &size));

    for (; *text; text += strspn(text, " ")) {
        size_t i = 0, len = strcspn(text, " ");
        int64_t number, limit;
        int n;

        while (i < 4 && strncmp(text, sizes[i], strlen(sizes[i])) != 0)
            i++;
        n = i < 4 ? sscanf(text + strlen(sizes[i]), "%" SCNd64 "/%" SCNd64, &number, &limit) : 0;
        if (n > 0)
            fprintf(file, "%s%s/%s", sizes[i], text_human_size(number, used),
                    n == 2 ? text_human_size(limit, most) : "-");
        else
            fwrite(text, 1, len, file);
        text += len;
        if (*text)
            fputc(' ', file);
    }
    return report_need_memory(fclose(file) == 0 ? value : NULL);
}

/* For free(3). */
static char *value_of(const struct asock_field *field, bool human)
{
    bool quoted = strcmp(field->name, "name") == 0; /* the client's own word for itself */
    bool is_quota = human && field->text && strncmp(field->name, "quota_", 6) == 0;
    char *value, *quota = is_quota ? human_quota(field->text) : NULL;
    size_t len;
    FILE *file = report_need_memory(open_memstream(&value, &len));

    if (!field->text)
        print_number(file, field, human);
    if (quoted && field->text)
        fputc('"', file);
    if (field->text)
        text_print_escaped(file, quota ? quota : field->text, quoted ? '"' : 0);
    if (quoted && field->text)
        fputc('"', file);
    free(quota);
    return report_need_memory(fclose(file) == 0 ? value : NULL);
}

/*
 * How much of it goes into a line of this many bytes: up to a space or a comma where there is one.
 */
static size_t line_length(const char *value, size_t room)
{
    size_t len = strlen(value);

    if (len <= room)
        return len;
    for (size_t i = room; i > room / 2; i--)
        if (value[i] == ' ' || value[i - 1] == ',')
            return i;
    while (room > 1 && ((unsigned char)value[room] & 0xc0) == 0x80)
        room--; /* not within a character */
    return room;
}

#define ROOM_MIN 16

static void print_value(const char *value, int indent, size_t width)
{
    size_t room = width > (size_t)indent + ROOM_MIN ? width - (size_t)indent : 0;

    while (room > 0 && strlen(value) > room) {
        size_t len = line_length(value, room);

        printf("%.*s\n%*s", (int)len, value, indent, "");
        value += len;
        value += *value == ' ';
    }
    printf("%s\n", value);
}

/* Of its name: without "_ms" if the value is not in milliseconds. */
static int name_length(const struct asock_field *field, bool human)
{
    bool is_time = human && !field->text && ends_with(field->name, MS);

    return (int)(strlen(field->name) - (is_time ? strlen(MS) : 0));
}

void record_print(const struct record *record, bool human, size_t width)
{
    int names = 0;

    for (size_t i = 0; i < record->count; i++) {
        int len = name_length(&record->fields[i], human);

        names = len > names ? len : names;
    }
    for (size_t i = 0; i < record->count; i++) {
        const struct asock_field *field = &record->fields[i];
        int len = name_length(field, human);
        char *value = value_of(field, human), *name;

        name = report_need_memory(strndup(field->name, (size_t)len));
        text_print_escaped(stdout, name, 0);
        printf("%*s  ", names - len, "");
        free(name);
        print_value(value, names + 2, width);
        free(value);
    }
}
