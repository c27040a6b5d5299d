/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/table.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <stdlib.h>

enum cell_kind { CELL_PLAIN, CELL_SIZE, CELL_AGE, CELL_NAME, CELL_DENIED };

static const struct column {
    const char *head;
    const char *field;
    const char *otherwise; /* the field to show where the first is missing or empty */
    char align;            /* 'l', 'r' */
    enum cell_kind kind;
} columns[] = {
    {"ID", "id", NULL, 'r', CELL_PLAIN},
    {"PID", "pid", NULL, 'r', CELL_PLAIN},
    {"UNIT/COMMAND", "unit", "command", 'l', CELL_PLAIN},
    {"UID", "uid", NULL, 'r', CELL_PLAIN},
    {"SOCKET", "socket", NULL, 'r', CELL_PLAIN},
    {"STATE", "state", NULL, 'l', CELL_PLAIN},
    {"LOCAL", "local", NULL, 'l', CELL_PLAIN},
    {"REMOTE", "remote", NULL, 'l', CELL_PLAIN},
    {"HOST", "host", NULL, 'l', CELL_PLAIN},
    {"POLICY", "denied", NULL, 'l', CELL_DENIED},
    {"OPS", "ops", NULL, 'r', CELL_PLAIN},
    {"QUEUED", "queued", NULL, 'r', CELL_SIZE},
    {"IN", "bytes_in", NULL, 'r', CELL_SIZE},
    {"OUT", "bytes_out", NULL, 'r', CELL_SIZE},
    {"AGE", "age_ms", NULL, 'r', CELL_AGE},
    {"NAME", "name", NULL, 'l', CELL_NAME},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static void add_number(struct table *table, enum cell_kind kind, int64_t number, bool human)
{
    char buf[TEXT_NUMBER_MAX];

    if (kind == CELL_DENIED)
        snprintf(buf, sizeof(buf), "%s", number ? "denied" : "-");
    else if (kind == CELL_AGE && human)
        text_human_ms(number, buf);
    else if (kind == CELL_AGE)
        snprintf(buf, sizeof(buf), "%" PRId64 ".%03d", number / 1000, (int)(number % 1000));
    else if (kind == CELL_SIZE && human)
        text_human_size(number, buf);
    else
        snprintf(buf, sizeof(buf), "%" PRId64, number);
    table_add(table, buf, false);
}

static bool is_empty(const struct asock_field *field)
{
    return !field || (field->text && !field->text[0]);
}

static void add_cell(struct table *table, const struct column *column, const struct record *row,
                     bool human)
{
    const struct asock_field *field = record_find(row, column->field);

    if (is_empty(field) && column->otherwise)
        field = record_find(row, column->otherwise);
    if (is_empty(field))
        table_add(table, "-", false);
    else if (field->text)
        table_add(table, field->text, column->kind == CELL_NAME);
    else
        add_number(table, column->kind, field->number, human);
}

static void print_table(const struct records *records, bool human)
{
    char align[COLUMN_COUNT + 1] = {0};
    struct table *table;

    for (size_t i = 0; i < COLUMN_COUNT; i++)
        align[i] = columns[i].align;
    table = table_new(align);
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        table_add(table, columns[i].head, false);
    for (size_t i = 0; i < records->count; i++) {
        for (size_t j = 0; j < COLUMN_COUNT; j++)
            add_cell(table, &columns[j], &records->rows[i], human);
    }
    table_print(table);
    table_free(table);
}

static int run_list(const struct settings *settings)
{
    struct session session;
    struct records records = {0};
    int status = EXIT_FAILURE;

    if (session_open_inspector(settings, &session) < 0)
        return EXIT_FAILURE;
    if (session_inspect(&session, settings, "list", records_add, &records) >= 0) {
        if (settings->json)
            json_print_records(stdout, &records);
        else
            print_table(&records, settings->human);
        status = finish_output();
        if (!settings->json && !session.is_control)
            complain("this is a client socket, which tells about the own session only; "
                     "--control shows all");
    }
    records_free(&records);
    session_close(&session);
    return status;
}

const struct command command_list = {
    .name = "list",
    .arguments = "",
    .summary = "the sockets that asockd holds, a line each",
    .help =
        "Lists the sockets that asockd holds for its clients.\n\n"
        "ID is the one for \"asockctl show\", PID to UID say whose it is, SOCKET is its number\n"
        "in its session, HOST the name that it was connected by, POLICY whether the connection\n"
        "would be denied today, OPS and QUEUED are pending requests and bytes,\n"
        "IN and OUT are bytes received and sent, AGE is in seconds. NAME is what the client calls itself.\n"
        "On a client socket the list has the own session's sockets only, that is: none.\n",
    .options = INSPECTOR_OPTIONS,
    .run = run_list,
};
