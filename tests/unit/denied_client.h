/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_DENIED_CLIENT_H
#define ASOCK_TESTS_DENIED_CLIENT_H

/* A client and what it is denied, for tests of the audit. */
#include <string.h>

#include "daemon/audit/entry.h"
#include "daemon/identity/identity.h"
#include "proto/errors.h"

static inline struct identity client(uint32_t uid)
{
    struct identity identity = {.uid = uid, .gid = uid, .pid = 77, .pidfd = -1};

    strcpy(identity.unit, "some.service");
    strcpy(identity.cgroup, "/system.slice/some.service");
    return identity;
}

static inline struct audit_entry denial_of(const struct identity *identity, const char *host)
{
    return (struct audit_entry){
        .event = AUDIT_DENY,
        .identity = identity,
        .pid = identity->pid,
        .session = 3,
        .socket = 4,
        .listener = "default",
        .host = host,
        .port = 443,
        .error = ERR_ACCESS_DENIED,
    };
}

#endif
