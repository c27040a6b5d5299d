/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_MONITOR_H
#define ASOCKD_AUDIT_MONITOR_H

/*
 * Events as they happen, for those who watch: a ring of records that all readers share, charged to
 * the daemon, and there only while somebody reads. What a reader has not taken when the ring comes
 * round is lost to it, and counted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/audit/entry.h"
#include "daemon/core/loop.h"

/* Some thousand events: a second of a busy daemon. */
#define MONITOR_RING (512u * 1024u)

struct monitor;

struct monitor_reader {
    struct list node;
    struct task *news; /* deferred when there is an event */
    uint64_t at;       /* bytes of all events before its next one */
    uint64_t number;   /* of its next one */
    uint64_t missed;   /* that were not reported to it */
};

struct monitor *monitor_new(struct worker *w); /* NULL without memory */
struct monitor *monitor_free(
    struct monitor *monitor); /* no reader is left; accepts NULL, returns it */

/* From here on the reader gets what happens. -EDQUOT, -ENOMEM. */
int monitor_join(struct monitor *monitor, struct monitor_reader *reader);
void monitor_leave(struct monitor *monitor, struct monitor_reader *reader);
/* Somebody does. monitor may be NULL, here and below. */
bool monitor_is_watched(const struct monitor *monitor);

/* event: its name in the record. */
void monitor_tell(struct monitor *monitor, const char *event, const struct audit_entry *entry);

/* The reader's next event, a record; what it has missed comes first. Bytes; 0: there is none. */
long monitor_next(struct monitor *monitor, struct monitor_reader *reader, uint8_t *out, size_t cap);
/* It was not used after all: comes again. */
void monitor_put_back(struct monitor_reader *reader, const struct monitor_reader *before);

#endif
