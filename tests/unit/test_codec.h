/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_TEST_CODEC_H
#define ASOCK_TESTS_TEST_CODEC_H

/* Heads by hand: a writer of protobuf's wire format that owes nothing to protobuf-c. */
#include "proto/codec.h"
#include "tests/lib/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct wire {
    uint8_t buf[16384];
    size_t len;
};

/* Numbers of asock.proto. */
enum {
    REQUEST_VERB = 1,
    REQUEST_OP = 2,
    ARM_SEND = 6,
    ARM_RECEIVE = 7,
    ARM_OPEN = 8,
    ARM_CONNECT = 9,
    ARM_CLOSE = 10,
    ARM_SHUTDOWN = 11,
    ARM_CANCEL = 12,
    ARM_SET_OPTION = 13,
    ARM_GET_OPTION = 14,
    ARM_SYNC = 15,
    ARM_HELLO = 16,
    ARM_LIST = 17,
    ARM_SHOW = 18,
    ARM_STATS = 19,
    ARM_KILL = 20,
    ARM_RESTRICTION = 21,
    ARM_REGISTER = 22,
    ARM_UNREGISTER = 23,
    ARM_CREDIT = 24,
    ARM_RESOLVE = 28,
    ARM_HANGUP = 29,
    ARM_SHARE = 30,
    ARM_BIND = 31,
    ARM_LISTEN = 32,
    ARM_ACCEPT = 33,
    ARM_RELOAD = 25,
    ARM_JUDGE = 26,
    ARM_LEARNED = 27,
    ARM_SESSIONS = 40,
    ARM_DENIALS = 41,
    ARM_MONITOR = 42,
    ARM_LISTENER = 43,
    ARM_TAKE_OVER = 44,
};

static inline void wire_varint(struct wire *w, uint64_t value)
{
    for (; value > 0x7f; value >>= 7)
        w->buf[w->len++] = (uint8_t)(value | 0x80);
    w->buf[w->len++] = (uint8_t)value;
}

static inline void wire_number(struct wire *w, uint32_t field, uint64_t value)
{
    wire_varint(w, field << 3);
    wire_varint(w, value);
}

static inline void wire_bytes(struct wire *w, uint32_t field, const void *data, size_t len)
{
    wire_varint(w, field << 3 | 2);
    wire_varint(w, len);
    if (len > 0)
        memcpy(w->buf + w->len, data, len);
    w->len += len;
}

static inline void wire_message(struct wire *w, uint32_t field, const struct wire *inner)
{
    wire_bytes(w, field, inner->buf, inner->len);
}

/* verb, token 7 and an arm. */
static inline void wire_request(struct wire *w, uint32_t verb, uint32_t arm,
                                const struct wire *inner)
{
    w->len = 0;
    wire_number(w, REQUEST_VERB, verb);
    wire_number(w, REQUEST_OP, 7);
    if (arm > 0)
        wire_bytes(w, arm, inner ? inner->buf : NULL, inner ? inner->len : 0);
}

/* Decodes from a chunk of exactly this size, so that a read behind its end is seen. */
static inline int decode_exact(const uint8_t *head, size_t len, char scratch[CODEC_SCRATCH],
                               struct request *ret, const char **ret_why)
{
    uint8_t *exact = malloc(len ? len : 1);
    int r;

    ck_assert_ptr_nonnull(exact);
    memcpy(exact, head, len);
    *ret_why = NULL;
    r = asock_codec_decode_request(exact, len, scratch, ret, ret_why);
    free(exact);
    ck_assert(r == 0 || r == -EPROTO);
    ck_assert(r == 0 || *ret_why);
    return r;
}

/* The same for what a writer holds, when only the outcome is of interest. */
static inline int decode_wire(const struct wire *w, struct request *ret)
{
    static char scratch[CODEC_SCRATCH];
    const char *why;

    return decode_exact(w->buf, w->len, scratch, ret, &why);
}

#endif
