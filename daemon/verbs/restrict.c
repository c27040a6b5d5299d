/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RESTRICT: a session narrows what it may reach, permanently.
 * Happy path: the rules are added to the session's view, and apply to every judgement from now on.
 * Connects in progress are judged again, in steps; then the op completes. Connects of sessions that
 * came by its listeners are judged again in the steps of those sessions, and before they win.
 * Established connections continue, as after a reload.
 * Failures: an invalid rule (the text names its line), too many rules, no memory; nothing has
 * changed then. A RESTRICT that is cancelled or times out meanwhile takes effect all the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/session/complete.h"
#include "daemon/core/quota.h"
#include "daemon/policy/policy.h"
#include "daemon/session/session.h"
#include "daemon/session/session_sockets.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static const struct op_class restrict_class = {.name = "restrict"};

/* The parser says "restriction:7: what is wrong", as it names a file. */
static int refuse(struct op *op, int r, const char *error)
{
    char text[POLICY_ERROR_MAX];
    unsigned int line;
    int end = 0;

    if (sscanf(error, "restriction:%u:%n", &line, &end) == 1 && end > 0)
        snprintf(text, sizeof(text), "line %u:%s", line, error + end);
    else
        snprintf(text, sizeof(text), "%s", error);
    return verb_send_failure(op, r == -EBADMSG ? -EINVAL : -ENOBUFS, text);
}

/* Each port of a list becomes a rule of its own, with its own copy of the name. */
static uint64_t memory_of(const uint8_t *text, uint32_t len)
{
    uint64_t ports = 0, names = 0;
    uint32_t line = 0, name = 0;

    for (uint32_t i = 0; i < len && ports < POLICY_RESTRICTION_RULES_MAX; i++) {
        if (text[i] == '\n') {
            line = i + 1;
            name = 0;
        } else if (text[i] == ',') {
            name = name ? name : i - line;
            names += name;
            ports++;
        }
    }
    return MEMORY_RESTRICTION + MEMORY_RULE_FACTOR * (uint64_t)len + MEMORY_RULE * ports + names;
}

int verb_restrict(struct op *op, const struct call *call)
{
    char error[POLICY_ERROR_MAX] = "";
    struct session *s = op->session;
    uint64_t memory = memory_of(call->payload, call->payload_len);
    int r;

    if (quota_charge(s->quota, QUOTA_MEMORY, memory) < 0)
        return verb_send_failure(op, -ENOBUFS, "too little memory left");
    r = policy_view_restrict(s->view, (const char *)call->payload, call->payload_len, error);
    if (r < 0) {
        quota_uncharge(s->quota, QUOTA_MEMORY, memory);
        return refuse(op, r, error);
    }
    s->restrictions += memory;
    op->class = &restrict_class;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    if (call->request->timeout_ms > 0)
        op_set_deadline(s->worker, op, call->request->timeout_ms, complete_timed_out);
    list_append(&s->restricts, &op->node);
    session_judge_connects(s);
    return 0;
}
