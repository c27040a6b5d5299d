/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: what learn mode has allowed, and who was denied what within the last hour, go over
 * with their counts. Each has a bound, and is kept within that again: what has no room is counted.
 * A denial that the audit has recorded within its period is known there: its repeats are summed up,
 * each by the process that denied it.
 * Failures: no memory. A verb, a protocol or an address that this version does not know: that entry
 * is only counted, because no connection depends on it.
 */
#include "daemon/state/history.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/recent.h"
#include "daemon/core/loop.h"
#include "daemon/names/host.h"
#include "daemon/policy/learn.h"
#include "daemon/policy/policy.h"
#include "daemon/state/save.h"

/* Of one: the path of a policy file is the longest. */
#define TEXT_MAX (2 * PATH_MAX)
/* Denials whose repeats the audit sums up: those of 16 users who are denied as much as they can. */
#define REPEATS_MAX 1024u
/* A serial number is never used twice, and that many are never used. */
#define SERIAL_MAX (UINT64_MAX / 2)

/* ---- the old one ---- */

struct denial_room {
    Asockd__State__Denial denial;
    struct endpoint_room remote, local;
};

static void fill_learned(const struct learn_rule *rule, Asockd__State__Learned *to)
{
    asockd__state__learned__init(to);
    to->uid = rule->uid;
    to->person = rule->person;
    to->protocol = rule->protocol;
    to->host = save_text(rule->host);
    to->port = rule->port;
    to->file = save_text(rule->file);
    to->count = rule->count;
    to->first = rule->first;
    to->last = rule->last;
}

static void fill_denial(const struct recent_denial *d, struct denial_room *room)
{
    Asockd__State__Denial *to = &room->denial;

    asockd__state__denial__init(to);
    to->serial = d->serial;
    to->until = d->until;
    to->count = d->count;
    to->first = d->first;
    to->last = d->last;
    to->uid = d->uid;
    to->person = d->person;
    to->pid = d->pid;
    to->verb = save_text(d->verb);
    to->port = d->port;
    to->remote = save_endpoint(&room->remote, &d->remote);
    to->local = save_endpoint(&room->local, &d->local);
    to->comm = save_text(d->comm);
    to->unit = save_text(d->unit);
    to->user_unit = save_text(d->user_unit);
    to->listener = save_text(d->listener);
    to->host = save_text(d->host);
    to->rule = save_text(d->rule);
    to->reason = save_text(d->reason);
}

static int save_learned(const struct learn *learn, struct history_room *room,
                        Asockd__State__Daemon *to)
{
    const struct learn_rule *rule;
    size_t count = 0;

    while (learn_rule_at(learn, count))
        count++;
    to->learned_dropped = learn_dropped(learn);
    if (count == 0)
        return 0;
    room->learned = mem_zalloc(count, sizeof(*room->learned));
    room->learned_at = mem_zalloc(count, sizeof(struct _Asockd__State__Learned *));
    if (!room->learned || !room->learned_at)
        return -ENOMEM;
    while ((rule = learn_rule_at(learn, to->n_learned))) {
        fill_learned(rule, &room->learned[to->n_learned]);
        room->learned_at[to->n_learned] = &room->learned[to->n_learned];
        to->n_learned++;
    }
    to->learned = room->learned_at;
    return 0;
}

static int save_denials(const struct recent *recent, struct history_room *room,
                        Asockd__State__Daemon *to)
{
    const struct recent_denial *d = NULL;
    size_t count = 0;

    while ((d = recent_next(recent, d)))
        count++;
    to->denials_dropped = recent_dropped(recent);
    if (count == 0)
        return 0;
    room->denials = mem_zalloc(count, sizeof(*room->denials));
    room->denial_at = mem_zalloc(count, sizeof(struct _Asockd__State__Denial *));
    if (!room->denials || !room->denial_at)
        return -ENOMEM;
    while ((d = recent_next(recent, d))) {
        fill_denial(d, &room->denials[to->n_denials]);
        room->denial_at[to->n_denials] = &room->denials[to->n_denials].denial;
        to->n_denials++;
    }
    to->denials = room->denial_at;
    return 0;
}

static void fill_repeated(const struct audit_denial_past *past, Asockd__State__Repeated *to)
{
    asockd__state__repeated__init(to);
    to->user = past->user;
    to->until = past->until;
    to->key = (ProtobufCBinaryData){past->key_len, (uint8_t *)(uintptr_t)past->key};
    to->description = save_text(past->description);
}

/* Of more than REPEATS_MAX, those whose periods end last. */
static int save_repeats(const struct audit_denials *denials, struct history_room *room,
                        Asockd__State__Daemon *to)
{
    uint32_t count = audit_denials_count(denials);
    uint32_t skipped = count > REPEATS_MAX ? count - REPEATS_MAX : 0;
    struct audit_denial_past past;
    const void *place = NULL;

    if (count == 0)
        return 0;
    room->repeats = mem_zalloc(count - skipped, sizeof(*room->repeats));
    room->repeat_at = mem_zalloc(count - skipped, sizeof(struct _Asockd__State__Repeated *));
    if (!room->repeats || !room->repeat_at)
        return -ENOMEM;
    for (uint32_t i = 0; audit_denials_each(denials, &place, &past); i++) {
        if (i < skipped)
            continue;
        fill_repeated(&past, &room->repeats[to->n_repeats]);
        room->repeat_at[to->n_repeats] = &room->repeats[to->n_repeats];
        to->n_repeats++;
    }
    to->repeats = room->repeat_at;
    to->repeats_format = denials->format;
    return 0;
}

int history_save(const struct worker *w, struct history_room *room, Asockd__State__Daemon *to)
{
    int r = save_learned(w->learn, room, to);

    if (r == 0)
        r = save_denials(w->recent, room, to);
    return r == 0 && w->audit ? save_repeats(audit_denials(w->audit), room, to) : r;
}

void history_free_room(struct history_room *room)
{
    room->learned = mem_free(room->learned);
    room->learned_at = mem_free(room->learned_at);
    room->denials = mem_free(room->denials);
    room->denial_at = mem_free(room->denial_at);
    room->repeats = mem_free(room->repeats);
    room->repeat_at = mem_free(room->repeat_at);
}

/* ---- the new one ---- */

static int restore_learned(struct state_restorer *r, const Asockd__State__Learned *from)
{
    const struct learn_past past = {
        .count = from->count,
        .first = (time_t)from->first,
        .last = (time_t)from->last,
        .uid = from->uid,
        .person = from->person,
        .port = (uint16_t)from->port,
        .protocol = (uint8_t)from->protocol,
        .host = from->host,
        .file = from->file,
    };
    struct host host;

    if (from->port > UINT16_MAX || from->protocol >= POLICY_PROTOCOLS ||
        strlen(from->file) > TEXT_MAX || host_parse(from->host, &host) < 0) {
        learn_restore_dropped(r->worker->learn, from->count);
        return 0;
    }
    return learn_restore(r->worker->learn, &past);
}

static bool has_texts(const Asockd__State__Denial *from)
{
    const char *const texts[] = {from->unit, from->user_unit, from->listener,
                                 from->host, from->rule,      from->reason};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strlen(texts[i]) > TEXT_MAX)
            return false;
    return strlen(from->comm) < IDENTITY_COMM_MAX;
}

static int restore_denial(struct state_restorer *r, const Asockd__State__Denial *from)
{
    struct recent_denial past = {
        .serial = from->serial,
        .until = from->until,
        .count = from->count,
        .first = (time_t)from->first,
        .last = (time_t)from->last,
        .uid = from->uid,
        .person = from->person,
        .pid = from->pid,
        .verb = from->verb,
        .port = (uint16_t)from->port,
        .unit = from->unit,
        .user_unit = from->user_unit,
        .listener = from->listener,
        .host = from->host,
        .rule = from->rule,
        .reason = from->reason,
    };
    int e = -EINVAL;

    if (from->serial > 0 && from->serial <= SERIAL_MAX && from->port <= UINT16_MAX &&
        has_texts(from) && restore_endpoint(from->remote, &past.remote) &&
        restore_endpoint(from->local, &past.local)) {
        snprintf(past.comm, sizeof(past.comm), "%s", from->comm);
        e = recent_restore(r->worker->recent, &past);
    }
    if (e != -EINVAL)
        return e;
    recent_restore_dropped(r->worker->recent, from->count);
    return 0;
}

/* Written in another way, or of no use, it is recorded again when it is repeated. */
static int restore_repeats(struct state_restorer *r, const Asockd__State__Daemon *from)
{
    struct audit *audit = r->worker->audit;
    int e = 0;

    if (!audit || from->repeats_format != audit_denials(audit)->format)
        return 0;
    for (size_t i = 0; e == 0 && i < from->n_repeats && i < REPEATS_MAX; i++) {
        const Asockd__State__Repeated *repeated = from->repeats[i];
        const struct audit_denial_past past = {
            .key = (const char *)repeated->key.data,
            .description = repeated->description,
            .key_len = repeated->key.len,
            .user = repeated->user,
            .until = repeated->until,
        };

        if (past.key_len > 0 && past.key_len <= AUDIT_ENTRY_MAX)
            e = audit_restore_denial(audit, &past);
    }
    return e;
}

int history_restore(struct state_restorer *r, const Asockd__State__Daemon *from)
{
    const struct worker *w = r->worker;
    int e = 0;

    for (size_t i = 0; e == 0 && w->learn && i < from->n_learned; i++)
        e = restore_learned(r, from->learned[i]);
    for (size_t i = 0; e == 0 && w->recent && i < from->n_denials; i++)
        e = restore_denial(r, from->denials[i]);
    if (e == 0 && w->learn)
        learn_restore_dropped(w->learn, from->learned_dropped);
    if (e == 0 && w->recent)
        recent_restore_dropped(w->recent, from->denials_dropped);
    return e == 0 ? restore_repeats(r, from) : e;
}
