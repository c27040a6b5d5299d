/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec.h"
#include "base/text.h"
#include "proto/codec_message.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

/* The fields of a record, its texts and what protobuf-c scans them with, in the worst case. */
#define RECORD_ARENA (4u * CODEC_RECORD_MAX)

/* Field 1 of Record, length-delimited: each Field is packed on its own, so that
 * no list is needed. */
#define FIELDS_TAG ((1u << 3) | 2u)

/* A text as it may go over the wire. A character that does not fit goes as a whole. */
static void clean_text(const char *text, char out[CODEC_FIELD_MAX + 1])
{
    size_t used = 0, n;
    uint32_t point;

    for (; *text; text += n) {
        bool is_fit;

        n = asock_text_decode(text, TEXT_TO_NUL, &point);
        is_fit = point != TEXT_INVALID && !text_is_control(point);
        if (!is_fit)
            n = 1;
        if (used + n > CODEC_FIELD_MAX)
            break;
        memcpy(out + used, is_fit ? text : "?", n);
        used += n;
    }
    out[used] = '\0';
}

/* A length in base 128; returns its bytes. */
static size_t put_varint(uint8_t out[5], uint32_t value)
{
    size_t n = 0;

    for (; value > 0x7f; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static long encode_field(const struct field *field, uint8_t *out, size_t cap)
{
    Asock__V1__Field m = ASOCK__V1__FIELD__INIT;
    char name[CODEC_FIELD_MAX + 1], text[CODEC_FIELD_MAX + 1];
    uint8_t prefix[6] = {FIELDS_TAG};
    size_t len, prefix_len;

    clean_text(field->name, name);
    m.name = name;
    if (field->text) {
        clean_text(field->text, text);
        m.text = text;
    } else {
        m.number = field->number;
        m.is_number = true;
    }
    len = asock__v1__field__get_packed_size(&m);
    prefix_len = 1 + put_varint(prefix + 1, (uint32_t)len);
    if (prefix_len + len > cap)
        return -ENOBUFS;
    memcpy(out, prefix, prefix_len);
    asock__v1__field__pack(&m, out + prefix_len);
    return (long)(prefix_len + len);
}

long asock_codec_encode_record(const struct field *fields, size_t count, uint8_t *out, size_t cap)
{
    size_t i, used = 0;
    long n;

    if (count > CODEC_FIELDS_MAX)
        return -EINVAL;
    if (cap > CODEC_RECORD_MAX)
        cap = CODEC_RECORD_MAX;
    for (i = 0; i < count; i++) {
        n = encode_field(&fields[i], out + used, cap - used);
        if (n < 0)
            return n;
        used += (size_t)n;
    }
    return (long)used;
}

static int get_text(const struct arena *arena, const char *text, const char **ret)
{
    size_t len = asock_arena_string_len(arena, text);

    if (len > CODEC_FIELD_MAX || !asock_codec_text_is_valid(text, len))
        return -EPROTO;
    *ret = text;
    return 0;
}

static int get_field(const struct arena *arena, const Asock__V1__Field *m, struct field *ret)
{
    if (get_text(arena, m->name, &ret->name) < 0 || get_text(arena, m->text, &ret->text) < 0)
        return -EPROTO;
    ret->number = m->number;
    if (m->is_number)
        ret->text = NULL;
    return 0;
}

int asock_codec_decode_record(const uint8_t *buf, size_t len,
                              void (*visit)(const struct field *fields, size_t count, void *data),
                              void *data)
{
    alignas(max_align_t) uint8_t memory[RECORD_ARENA];
    struct field fields[CODEC_FIELDS_MAX];
    struct arena arena;
    const Asock__V1__Record *m;
    const char *why;
    size_t i;

    if (len > CODEC_RECORD_MAX)
        return -EPROTO;
    asock_arena_init(&arena, memory, sizeof(memory));
    m = asock_codec_unpack(&asock__v1__record__descriptor, &arena, buf, len, &why);
    if (!m || m->n_fields > CODEC_FIELDS_MAX)
        return -EPROTO;
    for (i = 0; i < m->n_fields; i++) {
        if (get_field(&arena, m->fields[i], &fields[i]) < 0)
            return -EPROTO;
    }
    visit(fields, m->n_fields, data);
    return 0;
}
