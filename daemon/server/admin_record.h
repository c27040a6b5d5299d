/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADMIN_RECORD_H
#define ASOCKD_ADMIN_RECORD_H

/* A record in the making, and what it says about whom. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/session/inspect.h"
#include "proto/codec.h"

struct session;
struct sock;
struct worker;

#define RECORD_FIELDS_MAX 64u

/* Bytes of a quota as text, in use and limit of everything: 10 times a name and two numbers. */
#define INSPECT_QUOTA_MAX 512u

struct record {
    struct field fields[RECORD_FIELDS_MAX];
    size_t count;
    char texts[INSPECT_RECORD_MAX]; /* of those that had to be made */
    size_t used;
};

void record_init(struct record *record);
void record_number(struct record *record, const char *name, uint64_t number);
/* text lives longer than the record; NULL is the empty text. */
void record_text(struct record *record, const char *name, const char *text);
void record_format(struct record *record, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Of a user or group; or "unknown". */
void record_id(struct record *record, const char *name, uint32_t id);
/* "address:port"; the empty text where there is no address. */
void record_endpoint(struct record *record, const char *name, const struct endpoint *endpoint);
/* As asock_codec_encode_record(). */
long record_encode(const struct record *record, uint8_t *out, size_t cap);

/* A row of LIST; sock may be without a session. */
void record_sock(struct record *record, const struct sock *sock);
/* What SHOW adds to it. */
void record_sock_details(struct record *record, const struct sock *sock);
/*
 * And of its last connect, also of one in progress. sees_all: with the rule, and addresses of name
 * servers and of what was denied.
 */
void record_sock_connect(struct record *record, const struct sock *sock, bool sees_all);
/* And to the administrator, of a connection that policy would not allow any more: why. */
void record_sock_denial(struct record *record, const struct sock *sock);
/* A row of SESSIONS. */
void record_session_row(struct record *record, const struct session *s);
/* SHOW of a session; sees_all: with whom it shares. */
void record_session(struct record *record, const struct session *s, bool sees_all);
/* STATS: of the whole daemon, or of one session. */
void record_daemon_stats(struct record *record, const struct worker *w);
void record_session_stats(struct record *record, const struct session *s);

#endif
