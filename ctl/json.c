/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/json.h"
#include "base/text.h"
#include "ctl/record.h"

#include <inttypes.h>
#include <string.h>

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

/* ---- values: docs/asockctl.schema.json ---- */

static void print_number(FILE *file, const struct asock_field *field)
{
    fprintf(file, "%" PRId64, field->number);
}

static void print_plain(FILE *file, const struct asock_field *field)
{
    if (field->text)
        json_print_string(file, field->text);
    else
        print_number(file, field);
}

static void print_bool(FILE *file, const struct asock_field *field)
{
    fputs(field->number ? "true" : "false", file);
}

/* What the daemon may not know: "unknown" is null. */
static void print_if_known(FILE *file, const struct asock_field *field)
{
    if (!field->text)
        print_number(file, field);
    else if (strcmp(field->text, "yes") == 0)
        fputs("true", file);
    else
        fputs("null", file);
}

/* The next of the parts that `separator` divides: its length. NULL: there is none. */
static const char *next_part(const char **rest, const char *separator, size_t *ret_len)
{
    const char *part = *rest;

    if (!*part)
        return NULL;
    *ret_len = strcspn(part, separator);
    *rest = part + *ret_len;
    *rest += strspn(*rest, separator);
    return part;
}

static void print_part(FILE *file, const char *part, size_t len)
{
    char text[256];

    snprintf(text, sizeof(text), "%.*s", (int)len, part);
    json_print_string(file, text);
}

static bool is_number(const char *part, size_t len)
{
    return len > 0 && len < 20 && strspn(part, "0123456789") >= len;
}

static void print_number_part(FILE *file, const char *part, size_t len)
{
    if (is_number(part, len))
        fprintf(file, "%.*s", (int)len, part);
    else
        fputs("null", file);
}

/* "1,2,3", or "5 groups" where only their number is known; "unknown". */
static void print_groups(FILE *file, const struct asock_field *field)
{
    const char *rest = field->text ? field->text : "unknown", *part;
    size_t len, n = 0;

    if (rest[0] && !is_number(rest, strcspn(rest, ","))) {
        print_number_part(file, rest, strcspn(rest, " "));
        return;
    }
    fputc('[', file);
    while ((part = next_part(&rest, ",", &len)))
        if (is_number(part, len))
            fprintf(file, "%s%.*s", n++ ? ", " : "", (int)len, part);
    fputc(']', file);
}

/* "clients=1/64 hellos=0/-" */
static void print_quota(FILE *file, const struct asock_field *field)
{
    const char *rest = field->text ? field->text : "", *part;
    size_t len, n = 0;

    fputc('{', file);
    while ((part = next_part(&rest, " ", &len))) {
        const char *used = memchr(part, '=', len), *most = memchr(part, '/', len);

        if (!used || !most || most < used)
            continue;
        fputs(n++ ? ", " : "", file);
        print_part(file, part, (size_t)(used - part));
        fputs(": {\"used\": ", file);
        print_number_part(file, used + 1, (size_t)(most - used - 1));
        fputs(", \"most\": ", file);
        print_number_part(file, most + 1, (size_t)(part + len - most - 1));
        fputc('}', file);
    }
    fputc('}', file);
}

/*
 * "IPv4 server 192.0.2.53:53 Success 12, ...": words by these names; the last is a number, the
 * optional one may be missing.
 */
static void print_items(FILE *file, const char *text, const char *const *names, size_t count,
                        size_t optional)
{
    const char *part;
    size_t len, n = 0;

    fputc('[', file);
    while ((part = next_part(&text, ",", &len))) {
        const char *words[5] = {0};
        size_t lengths[5] = {0}, found = 0;

        for (size_t at = 0; at < len && found < count; at += strspn(part + at, " ")) {
            words[found] = part + at;
            lengths[found] = strcspn(part + at, " ,");
            at += lengths[found++];
        }
        fputs(n++ ? ", {" : "{", file);
        for (size_t i = 0, word = 0; i < count; i++) {
            bool is_missing = (i == optional && found < count) || word >= found;

            fprintf(file, "%s\"%s\": ", i ? ", " : "", names[i]);
            if (is_missing)
                fputs("null", file);
            else if (i == count - 1)
                print_number_part(file, words[word], lengths[word]);
            else
                print_part(file, words[word], lengths[word]);
            word += !is_missing;
        }
        fputc('}', file);
        text += strspn(text, " ");
    }
    fputc(']', file);
}

static void print_lookups(FILE *file, const struct asock_field *field)
{
    static const char *const names[] = {"family", "source", "server", "result", "ms"};

    print_items(file, field->text ? field->text : "", names, 5, 2);
}

static void print_attempts(FILE *file, const struct asock_field *field)
{
    static const char *const names[] = {"address", "result", "ms"};

    print_items(file, field->text ? field->text : "", names, 3, 3);
}

static const struct {
    const char *name;   /* one that ends with '_': all that begin so */
    const char *beside; /* only in a record that has this field too; NULL: in any */
    void (*print)(FILE *file, const struct asock_field *field);
} printers[] = {
    {"alive", NULL, print_if_known},
    {"applies", NULL, print_if_known},
    {"attempts", NULL, print_attempts},
    {"connect_attempts", NULL, print_attempts},
    {"connect_lookups", NULL, print_lookups},
    {"denied", "state", print_bool}, /* in the answer to reload it is a number */
    {"gid", NULL, print_if_known},
    {"groups", NULL, print_groups},
    {"invalid", NULL, print_bool},
    {"learned", NULL, print_bool},
    {"lookups", NULL, print_lookups},
    {"option_keep_alive", NULL, print_bool},
    {"option_no_delay", NULL, print_bool},
    {"owner", NULL, print_if_known},
    {"policy_invalid", NULL, print_bool},
    {"quota_", NULL, print_quota},
    {"uid", NULL, print_if_known},
};

/* Fields whose names begin so are members of an object. */
static const struct {
    const char *prefix, *name;
} objects[] = {
    {"audit_", "audit"},   {"connect_", "connect"}, {"limit_", "limits"}, {"option_", "options"},
    {"policy_", "policy"}, {"quota_", "quota"},     {"tcp_", "tcp"},
};

static bool begins_with(const char *text, const char *begin)
{
    return strncmp(text, begin, strlen(begin)) == 0;
}

static void print_value(FILE *file, const struct record *record, const struct asock_field *field)
{
    for (size_t i = 0; i < sizeof(printers) / sizeof(printers[0]); i++) {
        const char *name = printers[i].name;
        bool is_prefix = name[strlen(name) - 1] == '_';

        if (is_prefix ? !begins_with(field->name, name) : strcmp(field->name, name) != 0)
            continue;
        if (printers[i].beside && !record_find(record, printers[i].beside))
            continue;
        printers[i].print(file, field);
        return;
    }
    print_plain(file, field);
}

static int object_of(const char *name)
{
    for (int i = 0; i < (int)(sizeof(objects) / sizeof(objects[0])); i++)
        if (begins_with(name, objects[i].prefix))
            return i;
    return -1;
}

/* The members of an object, from the first one of them on. */
static void print_object(FILE *file, const struct record *record, size_t first, int object)
{
    json_print_string(file, objects[object].name);
    fputs(": {", file);
    for (size_t i = first; i < record->count; i++) {
        const struct asock_field *field = &record->fields[i];

        if (object_of(field->name) != object)
            continue;
        fputs(i > first ? ", " : "", file);
        json_print_string(file, field->name + strlen(objects[object].prefix));
        fputs(": ", file);
        print_value(file, record, field);
    }
    fputc('}', file);
}

static void print_fields(FILE *file, const struct record *record)
{
    unsigned int printed = 0; /* objects */
    size_t n = 0;

    for (size_t i = 0; i < record->count; i++) {
        const struct asock_field *field = &record->fields[i];
        int object = object_of(field->name);

        if (object >= 0 && printed & 1u << object)
            continue;
        fputs(n++ > 0 ? ", " : "", file);
        if (object >= 0) {
            printed |= 1u << object;
            print_object(file, record, i, object);
            continue;
        }
        json_print_string(file, field->name);
        fputs(": ", file);
        print_value(file, record, field);
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
