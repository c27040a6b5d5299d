/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "field=pattern", "field!=pattern", "field>number", "field<number": which rows are meant. */
#include "ctl/rows.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct filter {
    const char *field;
    bool is_not;
    char compare; /* '=', '<', '>' */
    const char *value;
};

#define FIELD_MAX 32

/* name: the field's, a copy. False: it is no filter. */
static bool parse(const char *word, char name[static FIELD_MAX], struct filter *ret)
{
    size_t len = strcspn(word, "!=<>");

    *ret = (struct filter){0};
    if (len == 0 || len >= FIELD_MAX || !word[len])
        return false;
    memcpy(name, word, len);
    name[len] = '\0';
    word += len;
    if (*word == '!') {
        ret->is_not = true;
        word++;
    }
    ret->compare = *word;
    ret->field = name;
    ret->value = word + 1;
    return *word == '=' || (*word && !ret->is_not);
}

static const struct column *find_column(const struct rows_view *view, const char *name)
{
    for (size_t i = 0; i < view->count; i++)
        if (strcmp(view->columns[i].name, name) == 0 || strcmp(view->columns[i].field, name) == 0)
            return &view->columns[i];
    return NULL;
}

/* Milliseconds, where the column shows seconds. */
static bool parse_number(const struct column *column, const char *text, double *ret)
{
    char *end;

    errno = 0;
    *ret = strtod(text, &end);
    if (end == text || errno || *ret != *ret)
        return false;
    if (*end && strchr("KMG", *end)) {
        *ret *= *end == 'K' ? 1024.0 : *end == 'M' ? 1048576.0 : 1073741824.0;
        end++;
    }
    if (column->kind == CELL_AGE)
        *ret *= 1000;
    return !*end;
}

enum fault { FINE, NOT_A_FILTER, NO_SUCH_COLUMN, NOT_A_NUMBER };

/* name: room for the name of its field. */
static enum fault examine(const struct rows_view *view, const char *word,
                          char name[static FIELD_MAX], struct filter *ret)
{
    const struct column *column;
    double number;

    if (!parse(word, name, ret))
        return NOT_A_FILTER;
    column = find_column(view, ret->field);
    if (!column)
        return NO_SUCH_COLUMN;
    return ret->compare == '=' || parse_number(column, ret->value, &number) ? FINE : NOT_A_NUMBER;
}

bool rows_are_filters(const struct rows_view *view, char *const *filters, int count)
{
    char name[FIELD_MAX];
    struct filter filter;

    for (int i = 0; i < count; i++)
        if (examine(view, filters[i], name, &filter) != FINE)
            return false;
    return true;
}

int rows_check_filters(const struct rows_view *view, char *const *filters, int count)
{
    char name[FIELD_MAX];
    struct filter filter;

    for (int i = 0; i < count; i++)
        switch (examine(view, filters[i], name, &filter)) {
        case NOT_A_FILTER:
            return report_usage(
                "\"%s\" is not a filter: use COLUMN=PATTERN, such as unit=foo.service", filters[i]);
        case NO_SUCH_COLUMN:
            return report_usage("there is no column \"%s\" to filter by", filter.field);
        case NOT_A_NUMBER:
            return report_usage("\"%s\": \"%s\" is not a number", filters[i], filter.value);
        case FINE:
            break;
        }
    return 0;
}

static bool fits_text(const char *pattern, const char *text)
{
    return fnmatch(pattern, text, 0) == 0;
}

static bool fits_field(const char *pattern, const struct record *record, const char *name)
{
    const struct asock_field *field = record_find(record, name);
    char number[24];

    if (!field)
        return false;
    snprintf(number, sizeof(number), "%lld", (long long)field->number);
    return fits_text(pattern, field->text ? field->text : number);
}

/* A host or an address, with or without its port. */
static bool fits_destination(const char *pattern, const struct record *record)
{
    const struct asock_field *remote = record_find(record, "remote");
    char address[128];
    char *colon;
    size_t len;

    if (fits_field(pattern, record, "to") || fits_field(pattern, record, "host") ||
        fits_field(pattern, record, "remote"))
        return true;
    if (!remote || !remote->text || strlen(remote->text) >= sizeof(address))
        return false;
    strcpy(address, remote->text);
    colon = strrchr(address, ':');
    if (!colon)
        return false;
    *colon = '\0';
    len = strlen(address);
    if (address[0] != '[')
        return fits_text(pattern, address);
    address[len - 1] = '\0'; /* the bracket */
    return fits_text(pattern, address + 1);
}

static bool fits(const struct column *column, const char *pattern, const struct record *record)
{
    const struct asock_field *field = record_find(record, column->field);

    if (strcmp(column->field, "to") == 0)
        return fits_destination(pattern, record);
    if (strcmp(column->field, "user") == 0)
        return fits_field(pattern, record, "user") || fits_field(pattern, record, "uid");
    if (column->kind == CELL_DENIED)
        return fits_text(pattern, field && field->number ? "denied" : "-");
    return field ? fits_field(pattern, record, column->field) : fits_text(pattern, "");
}

static bool compares(const struct column *column, const struct filter *filter,
                     const struct record *record)
{
    const struct asock_field *field = record_find(record, column->field);
    double number;

    if (!field || field->text || !parse_number(column, filter->value, &number))
        return false;
    return filter->compare == '<' ? (double)field->number < number : (double)field->number > number;
}

bool rows_match(const struct rows_view *view, char *const *filters, int count,
                const struct record *record)
{
    for (int i = 0; i < count; i++) {
        char name[FIELD_MAX];
        struct filter filter;
        const struct column *column;

        if (!parse(filters[i], name, &filter))
            return false;
        column = find_column(view, filter.field);
        if (!column)
            return false;
        if (filter.compare == '=' ? fits(column, filter.value, record) == filter.is_not
                                  : !compares(column, &filter, record))
            return false;
    }
    return true;
}
