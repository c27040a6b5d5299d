/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_ENTRY_H
#define ASOCKD_AUDIT_ENTRY_H

/*
 * What the audit says about one event, and its two written forms: fields of the journal's native
 * protocol, and a line of JSON. docs/AUDIT.md lists the fields; they are a contract.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

struct connect_report;
struct endpoint;
struct identity;
struct quota;

enum audit_event {
    AUDIT_CONNECT, /* an allowed connect has ended, whatever came of it */
    AUDIT_RESOLVE, /* the same of a name that is resolved for nothing else */
    AUDIT_LISTEN,  /* a client's socket listens */
    AUDIT_ACCEPT,  /* a connection of it has become a socket */
    AUDIT_DENY,
    AUDIT_CLOSE,
    AUDIT_LOST, /* entries were lost for lack of room */
};

enum audit_format { AUDIT_NATIVE, AUDIT_JSON };

/* Pointers may be NULL, numbers but the byte counts 0: there is no such field then. */
struct audit_entry {
    enum audit_event event;
    const struct identity *identity; /* as whom policy sees the client */
    struct quota *quota; /* of its user, to which what is kept of it is charged; NULL: none */
    pid_t pid;           /* its process */
    uint64_t sharer;     /* the session by whose listener it came */
    bool is_uid_only;    /* the entry has nothing else about the client */
    uint64_t session, socket;
    const char *listener;
    const char *name; /* the client's claim */
    const char *host;
    const struct endpoint *remote;
    const struct endpoint
        *local; /* where a client listens, or may not; the remote one is a peer then */
    uint16_t port;
    bool is_datagram;                    /* a UDP socket */
    const char *rule;                    /* "file:line" */
    bool is_learned;                     /* no rule allowed it: learn mode did */
    const struct connect_report *report; /* of a connect, or a denial of one */
    const char *lent; /* "held" or "given": the client got the socket itself; else NULL */
    const char *reason;
    uint32_t error;
    uint64_t bytes_in, bytes_out; /* of a close */
    uint64_t duration_ms;         /* of a connect, a resolve, a close or a session */
    bool has_ended;               /* of a session: it has, so 0 is its duration, too */
    uint64_t count;               /* of repeats, or of what was lost */
};

/* Holds every entry, all of its texts as long as they can be and escaped (test_audit). */
#define AUDIT_ENTRY_MAX 20480u
/*
 * Bytes that its outcome adds to what is known before a connect: address, rule, error, twice in
 * part; its report.
 */
#define AUDIT_OUTCOME_MAX 4608u
/* Of a rule's text, with the NUL. */
#define AUDIT_RULE_MAX 320u

/* Bytes written, 0: more than cap. */
size_t audit_entry_write(const struct audit_entry *entry, enum audit_format format, char *out,
                         size_t cap);

/*
 * Denials that are the same but for process, socket and time have the same key. It is a part of the
 * written form: a summary of repeats is made of it.
 */
size_t audit_entry_write_key(const struct audit_entry *entry, enum audit_format format, char *out,
                             size_t cap);
/* "unit (uid 1) to host port 2" or "unit (uid 1), listening on …", for a summary's message. */
void audit_entry_describe(const struct audit_entry *entry, char *out, size_t cap);
size_t audit_entry_write_summary(const char *key, size_t key_len, const char *description,
                                 uint64_t count, enum audit_format format, char *out, size_t cap);

#endif
