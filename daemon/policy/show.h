/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_SHOW_H
#define ASOCKD_POLICY_SHOW_H

/*
 * A policy in force as lines, for people; and what it would say of a client that is known in part
 * only.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/policy/policy.h"

enum policy_line_kind {
    POLICY_LINE_FILE,        /* begins one */
    POLICY_LINE_MATCH,       /* a value of [Match]: "User=alice" */
    POLICY_LINE_SETTING,     /* "[Limits] Sockets=64" */
    POLICY_LINE_RULE,        /* "Allow=tcp example.com 443" */
    POLICY_LINE_RESTRICTION, /* a rule of one of the session's; "": it has none, so it allows nothing */
};

#define POLICY_LINE_MAX 1100u
#define POLICY_LINE_TEXT_MAX 1000u /* with the NUL: it fits into a field of a record */

struct policy_line {
    enum policy_line_kind kind;
    const char *file; /* its path; NULL: of a restriction */
    int64_t modified; /* of a FILE: when, in seconds since 1970 */
    size_t rules;     /* of a FILE: how many */
    bool
        is_unknown; /* of a FILE: whether it is about the client is unknown, so the client is denied everything */
    unsigned int restriction; /* from 1 on */
    unsigned int line;        /* 0: not known */
    char text[POLICY_LINE_MAX];
};

/*
 * The number-th line, from 0 on, of the files that are about a client, and of its restrictions;
 * view NULL: of all files. False: there are less. restrictions_only: nothing of the files.
 */
bool policy_show_line(const struct policy *policy, const struct policy_view *view,
                      bool restrictions_only, uint64_t number, struct policy_line *ret);

/*
 * Could this file, by its number, be about the client if the keys of [Match] that are not in given
 * (1u << key) were other than view has them? ret: what it asks for, "Group=wheel".
 */
bool policy_may_match(const struct policy_view *view, const struct identity *identity,
                      const char *listener, unsigned int given, size_t file,
                      char ret[static POLICY_LINE_MAX]);

#endif
