/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_H
#define ASOCKD_AUDIT_H

/*
 * The record of who was connected to what: an entry for each connect that ended, each denial, each
 * close. Entries go to the journal or to a file; neither makes the loop wait. What finds no place
 * is counted, and reported once entries are accepted again.
 *
 * What is recorded has a place in the daemon's queue: it leaves with this turn of the loop where it
 * is taken, and is lost if the daemon is killed before.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/denials.h"
#include "daemon/audit/entry.h"
#include "daemon/core/loop.h"
#include "daemon/policy/policy.h"

#define AUDIT_JOURNAL "/run/systemd/journal/socket"

struct audit_config {
    enum policy_audit mode; /* of clients for which no policy file says another one */
    const char *file;       /* NULL: the journal */
    const char *journal;    /* its socket */
};

struct audit;
struct audit_record;

struct audit_stats {
    uint64_t entries; /* that found a place */
    uint64_t queued;  /* of them, not yet taken */
    uint64_t dropped; /* found none, or were given up */
    uint64_t refused; /* connects that could not be recorded, and had to be */
};

/* As audit/sink.h's calls; -errno after a message to the log. */
int audit_new(struct worker *w, const struct audit_config *config, struct audit **ret);
/* What still waits is lost: see audit_is_idle(). Accepts NULL; returns it. */
struct audit *audit_free(struct audit *audit);

/* A reload changes that much: its place stays what it was at the start. */
void audit_set_mode(struct audit *audit, enum policy_audit mode);
/* What counts for a client with that setting. The one call that accepts NULL: there is no audit. */
enum policy_audit audit_mode(const struct audit *audit, enum policy_audit setting);

/*
 * Before the first packet of a connect that has to be recorded: memory for its entry, which finds a
 * place however many others wait then. `known` is what is known of it. -EAGAIN: the queue is full,
 * or nothing is being taken; -ENOMEM.
 */
int audit_reserve(struct audit *audit, const struct audit_entry *known, struct audit_record **ret);
/* It is not needed. Accepts NULL; returns it. */
struct audit_record *audit_cancel(struct audit_record *record);

/* record: as reserved, or NULL. */
void audit_tell(struct audit *audit, const struct audit_entry *entry, struct audit_record *record);
/* Repeats of a denial are summed up. */
void audit_deny(struct audit *audit, const struct audit_entry *entry);

/*
 * From one process to the next: the denials whose repeats are summed up, and how their keys are
 * written. And one of them, charged to its user's memory: 0, or -ENOMEM.
 */
const struct audit_denials *audit_denials(const struct audit *audit);
int audit_restore_denial(struct audit *audit, const struct audit_denial_past *past);

/* Records the summaries that are not due yet: the daemon ends. */
void audit_stop(struct audit *audit);
/* Everything has been taken. */
bool audit_is_idle(struct audit *audit);
struct audit_stats audit_stats(struct audit *audit);
/* What another process has counted before. */
void audit_add_stats(struct audit *audit, uint64_t entries, uint64_t dropped, uint64_t refused);

#endif
