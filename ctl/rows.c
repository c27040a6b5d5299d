/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/rows.h"
#include "ctl/json.h"
#include "ctl/session.h"
#include "ctl/table.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS_MAX 64

size_t rows_terminal_width(void)
{
    struct winsize size = {0};

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col;
}

/* ---- which columns ---- */

/* name, or the first len bytes of it, is its name or its field's. */
static bool is_named(const struct column *column, const char *name, size_t len)
{
    return (strlen(column->name) == len && memcmp(column->name, name, len) == 0) ||
           (strlen(column->field) == len && memcmp(column->field, name, len) == 0);
}

static const struct column *find_column(const struct rows_view *view, const char *name, size_t len)
{
    for (size_t i = 0; i < view->count; i++)
        if (is_named(&view->columns[i], name, len))
            return &view->columns[i];
    return NULL;
}

static bool has_any(const struct records *records, const struct column *column)
{
    for (size_t i = 0; i < records->count; i++) {
        const struct asock_field *field = record_find(&records->rows[i], column->field);

        if (field && (field->text ? field->text[0] != '\0' : field->number != 0))
            return true;
    }
    return false;
}

static size_t default_columns(const struct rows_view *view, const struct records *records,
                              const struct column *ret[static COLUMNS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < view->count && count < COLUMNS_MAX; i++) {
        const struct column *column = &view->columns[i];

        if (column->when == SHOWN || (column->when == SHOWN_IF_ANY && has_any(records, column)))
            ret[count++] = column;
    }
    return count;
}

/* 0: one of the words is none of them; *ret_wrong is it, *ret_len long. */
static size_t chosen_columns(const struct rows_view *view, const char *words,
                             const struct column *ret[static COLUMNS_MAX], const char **ret_wrong,
                             size_t *ret_len)
{
    size_t count = 0, len;

    if (strcmp(words, "all") == 0) {
        for (; count < view->count; count++)
            ret[count] = &view->columns[count];
        return count;
    }
    for (;; words += len + 1) {
        len = strcspn(words, ",");
        *ret_wrong = words;
        *ret_len = len;
        if (count == COLUMNS_MAX)
            return 0;
        ret[count] = find_column(view, words, len);
        if (!ret[count++])
            return 0;
        if (!words[len])
            return count;
    }
}

static void list_columns(const struct rows_view *view)
{
    fputs("asockctl: the columns are:", stderr);
    for (size_t i = 0; i < view->count; i++)
        fprintf(stderr, " %s", view->columns[i].name);
    fputc('\n', stderr);
}

int rows_check(const struct rows_view *view, const struct settings *settings)
{
    const struct column *columns[COLUMNS_MAX];
    const char *wrong, *sort = settings->sort;
    size_t len;

    if (settings->columns && chosen_columns(view, settings->columns, columns, &wrong, &len) == 0) {
        report_error("--columns: there is no column \"%.*s\"", (int)len, wrong);
        list_columns(view);
        return EXIT_USAGE;
    }
    if (sort && !find_column(view, sort + (*sort == '-'), strlen(sort + (*sort == '-')))) {
        report_error("--sort: there is no column \"%s\"", sort);
        list_columns(view);
        return EXIT_USAGE;
    }
    return rows_check_filters(view, settings->args, settings->arg_count);
}

/* ---- what is added to a record ---- */

static void add_text(struct record *record, const char *name, const char *text)
{
    record->fields = report_need_memory(
        reallocarray(record->fields, record->count + 1, sizeof(record->fields[0])));
    record->fields[record->count++] = (struct asock_field){report_need_memory(strdup(name)),
                                                           report_need_memory(strdup(text)), 0};
}

/* Asked once for each that comes after another one: rows of one user stand together mostly. */
static const char *name_of_user(int64_t uid)
{
    static int64_t last = -1;
    static char name[64];
    const struct passwd *entry;

    if (uid == last)
        return name;
    last = uid;
    entry = getpwuid((uid_t)uid);
    if (entry && strlen(entry->pw_name) < sizeof(name))
        strcpy(name, entry->pw_name);
    else
        snprintf(name, sizeof(name), "%" PRId64, uid);
    return name;
}

static void add_destination(struct record *record)
{
    const struct asock_field *host = record_find(record, "host");
    const struct asock_field *port = record_find(record, "port");
    const struct asock_field *remote = record_find(record, "remote");
    char text[300];

    if (!host || !host->text || !host->text[0]) {
        if (remote && remote->text)
            add_text(record, "to", remote->text);
        return;
    }
    if (port && port->number)
        snprintf(text, sizeof(text), "%s:%" PRId64, host->text, port->number);
    else
        snprintf(text, sizeof(text), "%s", host->text);
    add_text(record, "to", text);
}

void rows_complete(struct record *record)
{
    const struct asock_field *uid = record_find(record, "uid");

    if (uid && !record_find(record, "user"))
        add_text(record, "user", uid->text ? uid->text : name_of_user(uid->number));
    if (!record_find(record, "to"))
        add_destination(record);
}

/* ---- order ---- */

struct order {
    const struct column *column;
    bool is_falling;
};

static const struct asock_field *cell_of(const struct column *column, const struct record *row)
{
    const struct asock_field *field = record_find(row, column->field);
    bool is_empty = !field || (field->text && !field->text[0]);

    if (is_empty && column->otherwise)
        field = record_find(row, column->otherwise);
    return field && (!field->text || field->text[0]) ? field : NULL;
}

static int compare_fields(const struct asock_field *a, const struct asock_field *b)
{
    if (!a || !b)
        return (a != NULL) - (b != NULL);
    if (a->text && b->text)
        return strcmp(a->text, b->text);
    if (a->text || b->text)
        return (a->text != NULL) - (b->text != NULL);
    return (a->number > b->number) - (a->number < b->number);
}

static int compare_rows(const void *a, const void *b, void *data)
{
    const struct order *order = data;
    int r = compare_fields(cell_of(order->column, a), cell_of(order->column, b));

    if (r == 0) /* what is equal stays where it is from one look to the next */
        return compare_fields(record_find(a, "id"), record_find(b, "id"));
    return order->is_falling ? -r : r;
}

void rows_refine(const struct rows_view *view, const struct settings *settings,
                 struct records *records)
{
    const char *sort = settings->sort ? settings->sort : view->sort;
    struct order order;
    size_t kept = 0;

    for (size_t i = 0; i < records->count; i++) {
        struct record row = records->rows[i];

        rows_complete(&row);
        records->rows[i] = records->rows[kept]; /* what is left out is freed with the others */
        records->rows[kept] = row;
        kept += rows_match(view, settings->args, settings->arg_count, &row);
    }
    records_cut(records, kept);
    if (!sort)
        return;
    order.is_falling = *sort == '-';
    sort += order.is_falling;
    order.column = find_column(view, sort, strlen(sort));
    if (order.column && records->count > 0)
        qsort_r(records->rows, records->count, sizeof(records->rows[0]), compare_rows, &order);
}

/* ---- cells ---- */

static void write_time(int64_t seconds, char buf[static TEXT_NUMBER_MAX])
{
    time_t when = (time_t)seconds;
    struct tm tm;

    if (!localtime_r(&when, &tm) || strftime(buf, TEXT_NUMBER_MAX, "%F %T", &tm) == 0)
        snprintf(buf, TEXT_NUMBER_MAX, "%" PRId64, seconds);
}

static const char *write_number(enum cell_kind kind, int64_t number, bool human,
                                char buf[static TEXT_NUMBER_MAX])
{
    if (kind == CELL_DENIED)
        snprintf(buf, TEXT_NUMBER_MAX, "%s", number ? "denied" : "-");
    else if (kind == CELL_AGE && human)
        text_human_ms(number, buf);
    else if (kind == CELL_AGE)
        snprintf(buf, TEXT_NUMBER_MAX, "%" PRId64 ".%03d", number / 1000, (int)(number % 1000));
    else if (kind == CELL_SIZE && human)
        text_human_size(number, buf);
    else if (kind == CELL_TIME)
        write_time(number, buf);
    else
        snprintf(buf, TEXT_NUMBER_MAX, "%" PRId64, number);
    return buf;
}

static void add_cell(struct table *table, const struct column *column, const struct record *row,
                     bool human)
{
    const struct asock_field *field = cell_of(column, row);
    const struct asock_field *most = column->most ? record_find(row, column->most) : NULL;
    char number[TEXT_NUMBER_MAX], other[TEXT_NUMBER_MAX], both[2 * TEXT_NUMBER_MAX];

    if (!field) {
        table_add(table, "-", false);
    } else if (field->text) {
        table_add(table, field->text, column->kind == CELL_NAME);
    } else if (most && !most->text) {
        snprintf(both, sizeof(both), "%s/%s",
                 write_number(column->kind, field->number, human, number),
                 write_number(column->kind, most->number, human, other));
        table_add(table, both, false);
    } else {
        table_add(table, write_number(column->kind, field->number, human, number), false);
    }
}

void rows_print(const struct rows_view *view, const struct settings *settings,
                const struct records *records, size_t width)
{
    const struct column *columns[COLUMNS_MAX];
    char align[COLUMNS_MAX + 1] = {0};
    const char *wrong;
    struct table *table;
    size_t count, len;

    if (settings->columns)
        count = chosen_columns(view, settings->columns, columns, &wrong, &len);
    else
        count = default_columns(view, records, columns);
    for (size_t i = 0; i < count; i++)
        align[i] = columns[i]->align;
    table = table_new(align);
    for (size_t i = 0; i < count; i++)
        table_add(table, columns[i]->head, false);
    for (size_t i = 0; i < records->count; i++)
        for (size_t j = 0; j < count; j++)
            add_cell(table, columns[j], &records->rows[i], settings->human);
    table_print(table, width);
    table_free(table);
}

/* ---- a command ---- */

#define CLEAR_SCREEN "\033[H\033[2J\033[3J"

static int print_once(const struct rows_view *view, const struct settings *settings,
                      struct session *session, const char *query)
{
    struct records records = {0};
    int r = session_inspect(session, settings, query, records_add, &records), status = -r;

    if (r >= 0) {
        rows_refine(view, settings, &records);
        if (settings->watch_ms && isatty(STDOUT_FILENO))
            fputs(CLEAR_SCREEN, stdout);
        if (settings->json)
            json_print_records(stdout, &records);
        else
            rows_print(view, settings, &records, rows_terminal_width());
        status = report_finish_output();
    }
    records_free(&records);
    return status;
}

int rows_run(const struct rows_view *view, const struct settings *settings, const char *query,
             const char *note)
{
    struct session session;
    int status = rows_check(view, settings), r;

    if (status)
        return status;
    r = session_open_inspector(settings, &session);
    if (r < 0)
        return -r;
    status = print_once(view, settings, &session, query);
    while (status == EXIT_SUCCESS && settings->watch_ms) {
        (void)poll(NULL, 0, settings->watch_ms);
        if (!isatty(STDOUT_FILENO) && !settings->json)
            putchar('\n');
        status = print_once(view, settings, &session, query);
    }
    if (status == EXIT_SUCCESS && note && !settings->json && !session.is_control)
        report_error("%s", note);
    session_close(&session);
    return status;
}
