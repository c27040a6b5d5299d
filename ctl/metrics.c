/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/metrics.h"

#include "ctl/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "asockd_"
#define US_PER_SECOND 1000000

/*
 * The suffix of a metric's name in its samples. In Prometheus' format it is part of the metric's
 * name.
 */
static const char *suffix_of(const char *type)
{
    if (strcmp(type, "counter") == 0)
        return "_total";
    return strcmp(type, "info") == 0 ? "_info" : "";
}

/*
 * The daemon's names are made of these; whatever else calls itself a daemon cannot break a line, or
 * a terminal.
 */
static void print_name(FILE *file, const char *text)
{
    for (; *text; text++) {
        bool is_plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                        (*text >= '0' && *text <= '9');

        fputc(is_plain ? *text : '_', file);
    }
}

/*
 * Escapes backslash, newline and, in a label, the quotation mark. Records have no other control
 * characters.
 */
static void print_escaped(FILE *file, const char *text, bool is_label)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", file);
        else if (*text == '\\' || (is_label && *text == '"'))
            fprintf(file, "\\%c", *text);
        else
            fputc(*text, file);
    }
}

static void print_head(FILE *file, const struct record *record, enum metrics_format format)
{
    const char *name = record_text(record, "metric"), *type = record_text(record, "type");
    const char *unit = record_text(record, "unit");
    bool is_open = format == METRICS_OPENMETRICS;
    const char *suffix = is_open ? "" : suffix_of(type);

    if (!is_open && strcmp(type, "info") == 0)
        type = "gauge";
    fputs("# TYPE " PREFIX, file);
    print_name(file, name);
    fprintf(file, "%s ", suffix);
    print_name(file, type);
    if (is_open && *unit) {
        fputs("\n# UNIT " PREFIX, file);
        print_name(file, name);
        fputc(' ', file);
        print_name(file, unit);
    }
    fputs("\n# HELP " PREFIX, file);
    print_name(file, name);
    fprintf(file, "%s ", suffix);
    print_escaped(file, record_text(record, "help"), false);
    fputc('\n', file);
}

/* Prints value / per exactly; per is a power of ten. */
static void print_value(FILE *file, uint64_t value, uint64_t per)
{
    int digits = 0;

    for (uint64_t n = per; n >= 10; n /= 10)
        digits++;
    if (digits == 0)
        fprintf(file, "%" PRIu64 "\n", value);
    else
        fprintf(file, "%" PRIu64 ".%0*" PRIu64 "\n", value / per, digits, value % per);
}

static void print_sample(FILE *file, const struct record *record)
{
    const char *label = record_text(record, "label");

    fputs(PREFIX, file);
    print_name(file, record_text(record, "metric"));
    fputs(suffix_of(record_text(record, "type")), file);
    if (*label) {
        fputc('{', file);
        print_name(file, label);
        fputs("=\"", file);
        print_escaped(file, record_text(record, "of"), true);
        fputs("\"}", file);
    }
    fputc(' ', file);
    print_value(file, (uint64_t)record_number(record, "value"),
                (uint64_t)record_number(record, "per"));
}

/* A bound in seconds as the specification writes it: 0.25, 1.0. */
static void print_bound(FILE *file, const char *us)
{
    char text[32];

    if (*us == '+') {
        fputs("+Inf", file);
        return;
    }
    snprintf(text, sizeof(text), "%g", strtod(us, NULL) / US_PER_SECOND);
    fprintf(file, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void print_histogram(FILE *file, const struct record *record)
{
    const char *name = record_text(record, "metric");
    const char *at = record_text(record, "buckets");
    uint64_t count = 0;

    while (*at) {
        const char *colon = strchr(at, ':');
        char *end;

        if (!colon)
            break;
        count = strtoull(colon + 1, &end, 10);
        fputs(PREFIX, file);
        print_name(file, name);
        fputs("_bucket{le=\"", file);
        print_bound(file, at);
        fprintf(file, "\"} %" PRIu64 "\n", count);
        at = end + strspn(end, " ");
    }
    fputs(PREFIX, file);
    print_name(file, name);
    fprintf(file, "_count %" PRIu64 "\n" PREFIX, count);
    print_name(file, name);
    fputs("_sum ", file);
    print_value(file, (uint64_t)record_number(record, "sum_us"), US_PER_SECOND);
}

bool metrics_print(FILE *file, const struct records *records, enum metrics_format format)
{
    const char *last = "";

    for (size_t i = 0; i < records->count; i++) {
        const struct record *record = &records->rows[i];
        const char *name = record_text(record, "metric");

        if (!*name)
            return false;
        if (strcmp(name, last) != 0)
            print_head(file, record, format);
        last = name;
        if (record_find(record, "buckets"))
            print_histogram(file, record);
        else
            print_sample(file, record);
    }
    if (format == METRICS_OPENMETRICS)
        fputs("# EOF\n", file);
    return records->count > 0;
}
