/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HELLO: the client states its name and its needs; the welcome states what is reserved for it and
 * the most that this can be raised to. Another HELLO, at any time, asks for more.
 * Failures: a payload or flags (nothing changes); no common version (the session ends); less room
 * than the client asked for (the welcome has an error, a text, and what is available).
 */
#include <stdio.h>
#include <string.h>

#include "daemon/session/session.h"
#include "daemon/session/session_quota.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

/* why: what was asked for and is not there; NULL: nothing. */
static void tell_welcome(struct session *s, uint64_t token, const char *why)
{
    struct reply reply = {.kind = KIND_WELCOME, .op = token, .body = BODY_WELCOME};
    struct limits most;

    session_quota_ceilings(s, &most);
    reply.error = why ? ERR_NO_BUFFER_SPACE : ERR_SUCCESS;
    reply.welcome = (struct welcome){
        .version = PROTOCOL_VERSION,
        .sockets = s->limits.sockets,
        .ops = s->limits.ops,
        .socket_ops = s->limits.socket_ops,
        .send_window = s->limits.send_window,
        .queued_max = s->limits.queued_max,
        .payload_max = FRAME_PAYLOAD_MAX,
        .head_max = FRAME_HEAD_MAX,
        .buffers = s->limits.buffers,
        .shared_max = s->limits.shared_max,
        .linger_max = s->limits.lingers,
        .resolutions = s->limits.lookups,
        .connects_per_second = s->limits.connects_per_second,
        .kernel_buffers = s->limits.kernel_max,
        .verbs = dispatch_verbs(s->kind),
        .most_sockets = most.sockets,
        .most_ops = most.ops,
        .most_socket_ops = most.socket_ops,
        .most_send_window = most.send_window,
        .most_queued = most.queued_max,
        .lends = s->kind == LISTENER_CLIENT
                     ? 1u << LEND_HELD | 1u << LEND_GIVEN | 1u << LEND_HELD_IF_ALLOWED
                     : 0,
        .send_fields = s->kind == LISTENER_CLIENT ? SEND_FIELDS : 0,
    };
    session_send_reply(s, &reply, why, why ? (uint32_t)strlen(why) : 0);
}

/* HELLO is not an op, so only its own reply reports the error. */
static void refuse(struct session *s, uint64_t token, uint32_t error)
{
    struct reply reply = {.kind = KIND_COMPLETION, .op = token, .error = error};

    session_send_reply(s, &reply, NULL, 0);
}

int hello(struct session *s, const struct call *call)
{
    const struct request *request = call->request;
    struct ask ask = {
        .sockets = request->hello.sockets,
        .ops = request->hello.ops,
        .send_window = request->hello.send_window,
        .queued_max = request->hello.queued_max,
    };
    char why[SESSION_WHY_MAX];
    int r;

    if (request->flags != 0 || call->payload_len > 0) {
        refuse(s, request->op, ERR_INVALID_ARGUMENT);
        return 0;
    }
    if (request->hello.version < PROTOCOL_VERSION) {
        session_end(s, ERR_VERSION_NOT_SUPPORTED,
                    "this daemon supports only version 1 of the "
                    "protocol");
        return 0;
    }
    if (request->hello.name)
        snprintf(s->name, sizeof(s->name), "%s", request->hello.name);
    s->has_hello = true;
    session_quota_said_hello(s);
    r = session_quota_raise(s, &ask, why);
    tell_welcome(s, request->op, r < 0 ? why : NULL);
    return 0;
}
