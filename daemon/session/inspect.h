/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_INSPECT_H
#define ASOCKD_INSPECT_H

/* How the control verbs get their records and do their work: the op asks, admin answers. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct op;
struct session;

/* Where a LIST goes on. */
struct inspect_cursor {
    struct walk walk;
    uint64_t session; /* id */
    uint64_t place;   /* among that session's sockets */
};

/* A record fits into a reply of the transport's small buffer. */
#define INSPECT_RECORD_MAX 3584u

/* Of a failure, for people; the reply's payload. "": nothing to say. */
#define INSPECT_TEXT_MAX 513u

struct inspect_ops {
    /* A LIST, or LEARNED; it ends before the session goes. */
    void (*begin)(struct session *s, struct inspect_cursor *cursor);
    void (*end)(struct inspect_cursor *cursor);
    void (*advance)(struct inspect_cursor *cursor); /* the row has been reported: behind it */
    /* The row that it is at, of those that `s` may see. Bytes written; 0: no more rows. */
    long (*list)(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);
    /* Bytes written; -ESRCH: no such id, or not one that `s` may see. */
    long (*show)(struct session *s, uint64_t id, uint8_t *out, size_t cap);
    long (*stats)(struct session *s, uint8_t *out, size_t cap);
    /* 0, -ESRCH. `s` itself may be what ends. */
    int (*kill)(struct session *s, uint64_t id);

    /* 0: the op, which is queued, ends later, until then in a list by op->waiting. -errno. */
    int (*reload)(struct op *op, bool close);
    /* question: a record. Bytes of a record, or -errno with a text. */
    long (*judge)(struct session *s, const uint8_t *question, size_t len, uint8_t *out, size_t cap,
                  char ret_text[static INSPECT_TEXT_MAX]);
    /* As list, of what learn mode has seen. */
    long (*learned)(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);
    /* Of the sessions that `s` may see; of what was denied lately. */
    long (*sessions)(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);
    long (*denials)(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);
    /* Takes fd (-1: none came). -errno with a text. */
    int (*add_listener)(struct session *s, const char *name, int fd,
                        char ret_text[static INSPECT_TEXT_MAX]);
    /* -ESRCH; other -errno with a text. */
    int (*remove_listener)(struct session *s, const char *name,
                           char ret_text[static INSPECT_TEXT_MAX]);
    /* A row per sample of STATS with `metrics`. */
    long (*metrics)(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap);
};

#endif
