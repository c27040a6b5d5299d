/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a CONNECT in progress: part of the session's grant, as long as each of its sockets
 * has no more than one. The worker keeps that of the last one: malloc() is slow for so large a
 * piece.
 */
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/verbs/connect.h"

_Static_assert(sizeof(struct connect) <= MEMORY_CONNECT, "a socket's grant has room for it");

struct connect *connect_new(struct session *s)
{
    bool is_granted = s->connect_count < s->limits.sockets;
    struct connect *c = s->worker->spare_connect;

    if (!is_granted && quota_charge(s->quota, QUOTA_MEMORY, sizeof(*c)) < 0)
        return NULL;
    s->worker->spare_connect = NULL;
    if (!c)
        c = mem_alloc(sizeof(*c));
    if (!c) {
        if (!is_granted)
            quota_uncharge(s->quota, QUOTA_MEMORY, sizeof(*c));
        return NULL;
    }
    memset(c, 0, offsetof(struct connect, audit.rule));
    c->audit.rule[0] = c->reason[0] = c->text[0] = '\0';
    c->host.kind = HOST_NAME;
    c->host.name[0] = c->host.zone[0] = '\0';
    c->is_granted = is_granted;
    s->connect_count += is_granted;
    return c;
}

void connect_free(struct session *s, struct connect *c)
{
    if (c->is_granted)
        s->connect_count--;
    else
        quota_uncharge(s->quota, QUOTA_MEMORY, sizeof(*c));
    if (s->worker->spare_connect)
        mem_free(c);
    else
        s->worker->spare_connect = c;
}
