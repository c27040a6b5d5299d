/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HELLO: the client asks for limits, the welcome tells what binds it.
 * Failures: no common version (the session ends), a second HELLO behind anything else (likewise),
 * no memory for the tables (likewise).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/session.h"
#include "daemon/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

#define PROTOCOL_VERSION 1u

/* What is asked, or the most there is, and never less than the least. */
static uint64_t grant(uint64_t asked, uint64_t least, uint64_t most)
{
    if (asked == 0 || asked > most)
        return most;
    return asked < least ? least : asked;
}

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
    };
    session_send_reply(s, &reply, NULL, 0);
}

int hello(struct session *s, const struct request *request)
{
    const struct limits *most = &s->worker->limits;
    struct limits limits;

    if (!s->only_hello) {
        s->why = "HELLO behind other requests";
        return -EPROTO;
    }
    if (request->hello.version < PROTOCOL_VERSION) {
        session_end(s, ERR_VERSION_NOT_SUPPORTED, "this daemon speaks version 1");
        return 0;
    }
    limits = (struct limits){
        .sockets = (uint32_t)grant(request->hello.sockets, LIMIT_SOCKETS_LEAST, most->sockets),
        .ops = (uint32_t)grant(request->hello.ops, LIMIT_OPS_LEAST, most->ops),
        .socket_ops = most->socket_ops,
        .send_window = grant(request->hello.send_window, LIMIT_WINDOW_LEAST, most->send_window),
        .queued_max = grant(request->hello.queued_max, LIMIT_WINDOW_LEAST, most->queued_max),
    };
    if (limits.socket_ops > limits.ops)
        limits.socket_ops = limits.ops;
    if (limits.send_window > limits.queued_max)
        limits.send_window = limits.queued_max;
    if (session_grant(s, &limits) < 0) {
        session_end(s, ERR_NO_BUFFER_SPACE, NULL);
        return 0;
    }
    if (request->hello.name)
        snprintf(s->name, sizeof(s->name), "%s", request->hello.name);
    s->has_hello = true;
    tell_welcome(s, request->op);
    return 0;
}
