/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/admin_denials.h"

#include "daemon/audit/recent.h"
#include "daemon/core/loop.h"
#include "daemon/server/admin_record.h"
#include "daemon/session/session.h"

static void fill(struct record *record, const struct recent_denial *denial)
{
    record_number(record, "pid", (uint64_t)denial->pid);
    record_text(record, "unit", denial->unit);
    record_text(record, "user_unit", denial->user_unit);
    record_text(record, "command", denial->comm);
    record_id(record, "uid", denial->uid);
    record_text(record, "listener", denial->listener);
    record_text(record, "verb", denial->verb);
    record_text(record, "host", denial->host);
    record_endpoint(record, "remote", &denial->remote);
    record_endpoint(record, "local", &denial->local);
    record_number(record, "port", denial->port);
    record_text(record, "rule", denial->rule);
    record_text(record, "reason", denial->reason);
    record_number(record, "count", denial->count);
    record_number(record, "first", (uint64_t)denial->first);
    record_number(record, "last", (uint64_t)denial->last);
}

#define PLACE_DROPPED (UINT64_MAX - 1) /* behind all denials; what is behind that is over */

long admin_denials(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    const struct recent *recent = s->worker->recent;
    const struct recent_denial *denial = recent_from(recent, cursor->place);
    struct record record;

    record_init(&record);
    if (denial) {
        cursor->place = denial->serial;
        fill(&record, denial);
    } else if (recent_dropped(recent) > 0 && cursor->place <= PLACE_DROPPED) {
        cursor->place = PLACE_DROPPED;
        record_number(&record, "dropped", recent_dropped(recent));
    } else {
        return 0;
    }
    return record_encode(&record, out, cap);
}
