/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HELLO: the client asks for limits, the welcome tells what binds it.
 * Failures: a payload, or flags (nothing has changed), no common version (the session ends), a second HELLO behind anything else (likewise), too
 * little left for the least of everything (likewise), no memory for the tables (likewise).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/session/session.h"
#include "daemon/session/session_quota.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

static void tell_welcome(struct session *s, uint64_t token)
{
    struct reply reply = {.kind = KIND_WELCOME, .op = token, .body = BODY_WELCOME};

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
    };
    session_send_reply(s, &reply, NULL, 0);
}

/* It is no op, so nothing but its own reply tells. */
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
    struct limits limits;

    if (!s->only_hello) {
        s->why = "HELLO after other requests";
        return -EPROTO;
    }
    if (request->flags != 0 || call->payload_len > 0) {
        refuse(s, request->op, ERR_INVALID_ARGUMENT);
        return 0;
    }
    if (request->hello.version < PROTOCOL_VERSION) {
        session_end(s, ERR_VERSION_NOT_SUPPORTED, "this daemon speaks version 1");
        return 0;
    }
    if (session_quota_grant(s, &ask, why, &limits) < 0) {
        session_end(s, ERR_NO_BUFFER_SPACE, why);
        return 0;
    }
    if (session_grant(s, &limits) < 0) {
        session_end(s, ERR_NO_BUFFER_SPACE, NULL);
        return 0;
    }
    if (request->hello.name)
        snprintf(s->name, sizeof(s->name), "%s", request->hello.name);
    s->has_hello = true;
    session_quota_said_hello(s);
    tell_welcome(s, request->op);
    return 0;
}
