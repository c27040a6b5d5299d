/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "name=value" texts to the record that JUDGE has as its payload. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/api/inspect.h"

#define NAME_MAX_LEN 15u

struct question {
    struct field fields[CODEC_FIELDS_MAX];
    char names[CODEC_FIELDS_MAX][NAME_MAX_LEN + 1];
    size_t count;
};

static bool is_number(const char *name)
{
    static const char *const names[] = {"uid", "gid", "id", "pid", "also", "row", "restriction"};
    size_t i = 0;

    while (i < sizeof(names) / sizeof(names[0]) && strcmp(name, names[i]) != 0)
        i++;
    return i < sizeof(names) / sizeof(names[0]);
}

static int take(struct question *q, const char *arg)
{
    const char *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) : 0;
    struct field *field = &q->fields[q->count];
    char *name = q->names[q->count];

    if (q->count == CODEC_FIELDS_MAX || len == 0 || len > NAME_MAX_LEN)
        return -EINVAL;
    memcpy(name, arg, len);
    q->count++;
    *field = (struct field){.name = name, .text = equals + 1};
    if (is_number(name)) {
        field->text = NULL;
        return asock_inspect_parse_id(equals + 1, &field->number);
    }
    len = strlen(field->text);
    return len <= CODEC_FIELD_MAX && asock_codec_text_is_valid(field->text, len) ? 0 : -EINVAL;
}

int asock_question_make(const char *const *args, uint8_t **ret, size_t *ret_len)
{
    struct question q = {.count = 0};
    uint8_t record[CODEC_RECORD_MAX];
    long n;

    for (; *args; args++)
        if (take(&q, *args) < 0)
            return -EINVAL;
    n = asock_codec_encode_record(q.fields, q.count, record, sizeof(record));
    if (n < 0)
        return -EINVAL;
    *ret = malloc((size_t)n + 1); /* an empty one is one too */
    if (!*ret)
        return -ENOMEM;
    memcpy(*ret, record, (size_t)n);
    *ret_len = (size_t)n;
    return 0;
}
