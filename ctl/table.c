/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/table.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cell {
    char *text;   /* escaped */
    size_t width; /* in columns of the terminal */
};

struct table {
    const char *align;
    size_t columns;
    size_t count, room; /* of cells */
    struct cell *cells;
    size_t *widths;
};

struct table *table_new(const char *align)
{
    struct table *table = report_need_memory(calloc(1, sizeof(*table)));

    table->align = align;
    table->columns = strlen(align);
    table->widths = report_need_memory(calloc(table->columns, sizeof(table->widths[0])));
    return table;
}

struct table *table_free(struct table *table)
{
    if (!table)
        return NULL;
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i].text);
    free(table->cells);
    free(table->widths);
    free(table);
    return NULL;
}

void table_add(struct table *table, const char *text, bool quoted)
{
    size_t column = table->count % table->columns;
    struct cell cell = {0};
    size_t len;
    FILE *file = report_need_memory(open_memstream(&cell.text, &len));

    if (quoted)
        fputc('"', file);
    cell.width = text_print_escaped(file, text, quoted ? '"' : 0) + (quoted ? 2 : 0);
    if (quoted)
        fputc('"', file);
    report_need_memory(fclose(file) == 0 ? cell.text : NULL);

    if (table->count == table->room) {
        table->room = table->room ? table->room * 2 : 64;
        table->cells = report_need_memory(reallocarray(table->cells, table->room, sizeof(cell)));
    }
    table->cells[table->count++] = cell;
    if (cell.width > table->widths[column])
        table->widths[column] = cell.width;
}

/* Below this a text says nothing any more. */
#define WIDTH_MIN 4

/*
 * The widest of those that may be cut; SIZE_MAX: none. Numbers are not: a part of one would be
 * another number.
 */
static size_t widest(const struct table *table)
{
    size_t found = SIZE_MAX;

    for (size_t i = 0; i < table->columns; i++) {
        if (table->align[i] == 'r' || table->widths[i] <= WIDTH_MIN)
            continue;
        if (found == SIZE_MAX || table->widths[i] > table->widths[found])
            found = i;
    }
    return found;
}

static void fit(struct table *table, size_t width)
{
    size_t sum = 2 * (table->columns - 1), column;

    for (size_t i = 0; i < table->columns; i++)
        sum += table->widths[i];
    for (; sum > width && (column = widest(table)) != SIZE_MAX; sum--)
        table->widths[column]--;
}

void table_print(struct table *table, size_t width)
{
    if (width > 0)
        fit(table, width);

    for (size_t i = 0; i < table->count; i++) {
        const struct cell *cell = &table->cells[i];
        size_t column = i % table->columns;
        bool is_cut = cell->width > table->widths[column];
        int padding = is_cut ? 0 : (int)(table->widths[column] - cell->width);
        bool last = column == table->columns - 1;

        if (is_cut)
            text_print_cut(stdout, cell->text, table->widths[column]);
        else if (table->align[column] == 'r')
            printf("%*s%s", padding, "", cell->text);
        else /* nothing trails a line */
            printf("%s%*s", cell->text, last ? 0 : padding, "");
        fputs(last ? "\n" : "  ", stdout);
    }
}
