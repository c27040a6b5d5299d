/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon reserves for this session, and how it comes to be more.
 *
 * Happy path: the session begins with the least; what needs more (a socket without an id, an op or
 * bytes that find the limit) says so here, the next Hello asks for it, and the welcome that answers
 * sets other limits, so that whatever waits goes on. Nothing waits for a Hello that is not
 * answered: more may be asked for behind it.
 * Failures: the daemon has less than was asked for. Sockets that got no id end, as do a connect
 * whose data will never fit, and a datagram; other ops and bytes go on within what there is. For a
 * while nothing more is asked for. The library itself asks again only for accepts that are parked,
 * since nothing says when the daemon has sockets again.
 */
#include "client-lib/core/grant.h"

#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "client-lib/core/accept.h"
#include "client-lib/core/flow.h"
#include "client-lib/core/socket.h"

/* The first step is so large that most programs need no second; then twice as much each time. */
#define FIRST_SOCKETS 16u
#define FIRST_OPS 64u
#define FIRST_BYTES (1024u * 1024u)
/* With less for each socket a few stalled ones would hold up the others (flow.c). */
#define OPS_PER_SOCKET 4u
#define BYTES_PER_SOCKET 16384u
/* What is used up is not free again at once, and each question costs the daemon a little. */
#define REST_MS 1000u
/* The same for an accept that is parked, doubled each time. */
#define PARKED_MS_MAX 32000u

static const uint64_t least[ASOCK_LIMIT_PAYLOAD + 1] = {
    [ASOCK_LIMIT_SOCKETS] = PROTOCOL_SOCKETS_MIN,
    [ASOCK_LIMIT_OPS] = PROTOCOL_OPS_MIN,
    [ASOCK_LIMIT_SEND_WINDOW] = PROTOCOL_WINDOW_MIN,
    [ASOCK_LIMIT_QUEUED] = PROTOCOL_WINDOW_MIN,
};

/* Those that can be raised. */
static const enum asock_limit raised[] = {ASOCK_LIMIT_SOCKETS, ASOCK_LIMIT_OPS,
                                          ASOCK_LIMIT_SEND_WINDOW, ASOCK_LIMIT_QUEUED};
#define RAISED (sizeof(raised) / sizeof(raised[0]))

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t granted(const struct welcome *limits, enum asock_limit limit)
{
    switch (limit) {
    case ASOCK_LIMIT_SOCKETS:
        return limits->sockets;
    case ASOCK_LIMIT_OPS:
        return limits->ops;
    case ASOCK_LIMIT_SEND_WINDOW:
        return limits->send_window;
    default:
        return limits->queued_max;
    }
}

static uint64_t stated_most(const struct welcome *limits, enum asock_limit limit)
{
    switch (limit) {
    case ASOCK_LIMIT_SOCKETS:
        return limits->most_sockets;
    case ASOCK_LIMIT_OPS:
        return limits->most_ops;
    case ASOCK_LIMIT_SEND_WINDOW:
        return limits->most_send_window;
    default:
        return limits->most_queued;
    }
}

uint64_t asock_grant_most(const asock_context *context, enum asock_limit limit)
{
    uint64_t asked = context->asked[limit], most = UINT32_MAX;

    if (context->is_welcome)
        most = larger(stated_most(&context->limits, limit), granted(&context->limits, limit));
    if (asked)
        most = smaller(most, larger(asked, least[limit]));
    return most;
}

static void raise_to(asock_context *context, enum asock_limit limit, uint64_t to)
{
    uint64_t most = asock_grant_most(context, limit);

    /* Of a window no more is of use than may be queued at all. */
    if (limit == ASOCK_LIMIT_SEND_WINDOW)
        most = smaller(most, asock_grant_most(context, ASOCK_LIMIT_QUEUED));
    to = smaller(to, most);
    if (to <= context->raise.to[limit])
        return;
    context->raise.to[limit] = to;
    context->is_hello_wanted = true;
}

static void raise_sockets(asock_context *context, uint64_t count)
{
    count = smaller(count, asock_grant_most(context, ASOCK_LIMIT_SOCKETS));
    raise_to(context, ASOCK_LIMIT_SOCKETS, count);
    raise_to(context, ASOCK_LIMIT_OPS, count * OPS_PER_SOCKET);
    raise_to(context, ASOCK_LIMIT_QUEUED, count * BYTES_PER_SOCKET);
}

void asock_grant_start(asock_context *context)
{
    const uint64_t *asked = context->asked;

    memcpy(context->raise.to, least, sizeof(least));
    context->raise.rests_until = 0;
    context->raise.text[0] = '\0';
    context->raise.pause_ms = REST_MS;
    wheel_timer_unset(&context->raise.again.timer);
    raise_sockets(context, asked[ASOCK_LIMIT_SOCKETS]);
    raise_to(context, ASOCK_LIMIT_OPS, asked[ASOCK_LIMIT_OPS]);
    raise_to(context, ASOCK_LIMIT_SEND_WINDOW, asked[ASOCK_LIMIT_SEND_WINDOW]);
    raise_to(context, ASOCK_LIMIT_QUEUED,
             larger(asked[ASOCK_LIMIT_QUEUED], asked[ASOCK_LIMIT_SEND_WINDOW]));
    if (context->open_sockets > context->raise.to[ASOCK_LIMIT_SOCKETS])
        asock_grant_want_sockets(context);
}

void asock_grant_ask(const asock_context *context, struct request *hello)
{
    hello->hello.sockets = (uint32_t)context->raise.to[ASOCK_LIMIT_SOCKETS];
    hello->hello.ops = (uint32_t)context->raise.to[ASOCK_LIMIT_OPS];
    hello->hello.send_window = context->raise.to[ASOCK_LIMIT_SEND_WINDOW];
    hello->hello.queued_max = context->raise.to[ASOCK_LIMIT_QUEUED];
}

/* ---- what needs more ---- */

/* More than there is; what was asked for before the most was known counts as that. */
static bool is_asked(const asock_context *context, enum asock_limit limit)
{
    uint64_t to = smaller(context->raise.to[limit], asock_grant_most(context, limit));

    return to > granted(&context->limits, limit);
}

static bool rests(const asock_context *context)
{
    return context->raise.rests_until && time_now_ms() < context->raise.rests_until;
}

void asock_grant_want_sockets(asock_context *context)
{
    uint64_t count = FIRST_SOCKETS;

    while (count < context->open_sockets)
        count *= 2;
    raise_sockets(context, count);
}

static void want(asock_context *context, enum asock_limit limit, uint64_t first)
{
    uint64_t now = granted(&context->limits, limit);

    if (now >= asock_grant_most(context, limit) || is_asked(context, limit) || rests(context))
        return;
    raise_to(context, limit, larger(first, 2 * now));
}

void asock_grant_want_ops(asock_context *context)
{
    want(context, ASOCK_LIMIT_OPS, FIRST_OPS);
}

void asock_grant_want_queued(asock_context *context)
{
    want(context, ASOCK_LIMIT_QUEUED, FIRST_BYTES);
}

void asock_grant_want_window(asock_context *context)
{
    want(context, ASOCK_LIMIT_SEND_WINDOW, FIRST_BYTES);
    raise_to(context, ASOCK_LIMIT_QUEUED, context->raise.to[ASOCK_LIMIT_SEND_WINDOW]);
}

static void set_again(asock_context *context)
{
    struct raise *raise = &context->raise;

    asock_wheel_set(&context->wheel, &raise->again.timer, time_now_ms() + raise->pause_ms);
    if (raise->pause_ms < PARKED_MS_MAX)
        raise->pause_ms *= 2;
}

static void ask_again(struct deadline *deadline)
{
    asock_context *context = container_of(deadline, asock_context, raise.again);

    if (!context->is_alive || list_is_empty(&context->parked))
        return;
    if (!is_asked(context, ASOCK_LIMIT_SOCKETS))
        raise_sockets(context, 2 * granted(&context->limits, ASOCK_LIMIT_SOCKETS));
    set_again(context);
}

void asock_grant_wait(asock_context *context)
{
    if (!wheel_timer_is_set(&context->raise.again.timer))
        set_again(context);
}

void asock_grant_init(asock_context *context)
{
    wheel_timer_init(&context->raise.again.timer);
    context->raise.again.expired = ask_again;
}

/* ---- the answer ---- */

/*
 * So many sockets that each has its part of the ops and bytes, where these could not be raised with
 * them.
 */
static uint32_t usable_sockets(const asock_context *context, const struct welcome *limits)
{
    uint64_t count = limits->sockets;

    if (limits->ops < asock_grant_most(context, ASOCK_LIMIT_OPS))
        count = smaller(count, limits->ops / OPS_PER_SOCKET);
    if (limits->queued_max < asock_grant_most(context, ASOCK_LIMIT_QUEUED))
        count = smaller(count, limits->queued_max / BYTES_PER_SOCKET);
    return (uint32_t)larger(count, 1);
}

/*
 * More sockets than are granted, up to what the ops are enough for, may come without more ops:
 * their shares are kept from the beginning.
 */
uint32_t asock_grant_op_sharers(const asock_context *context)
{
    const struct welcome *limits = &context->limits;
    uint64_t most = asock_grant_most(context, ASOCK_LIMIT_SOCKETS);

    return (uint32_t)larger(limits->sockets, smaller(most, limits->ops / OPS_PER_SOCKET));
}

void asock_grant_limit(asock_context *context, struct welcome *limits)
{
    uint32_t before = context->is_welcome ? context->limits.sockets : 1;

    context->limits = *limits;
    context->is_welcome = true;
    limits->sockets = (uint32_t)smaller(limits->sockets,
                                        asock_grant_most(context, ASOCK_LIMIT_SOCKETS));
    limits->ops = (uint32_t)smaller(limits->ops, asock_grant_most(context, ASOCK_LIMIT_OPS));
    limits->send_window = smaller(limits->send_window,
                                  asock_grant_most(context, ASOCK_LIMIT_SEND_WINDOW));
    limits->queued_max = smaller(limits->queued_max, asock_grant_most(context, ASOCK_LIMIT_QUEUED));
    /* Never fewer than before: a daemon whose limits were raised may state more of the others. */
    limits->sockets = (uint32_t)smaller(larger(usable_sockets(context, limits), before),
                                        limits->sockets);
}

static bool is_answered(const asock_context *context)
{
    return context->welcomes_due == 0 && !context->is_hello_wanted;
}

/*
 * Those that wait for an id and will get none: over what there may be, or over what there is when
 * that was the answer.
 */
static void refuse_sockets(asock_context *context)
{
    uint64_t most = asock_grant_most(context, ASOCK_LIMIT_SOCKETS);

    if (context->raise.to[ASOCK_LIMIT_SOCKETS] < smaller(context->open_sockets, most))
        asock_grant_want_sockets(context);
    if (is_answered(context))
        most = context->limits.sockets;
    while (context->open_sockets > most && !list_is_empty(&context->idless))
        asock_socket_refuse(list_last(&context->idless, asock_socket, place_node),
                            ERR_TOO_MANY_OPEN_SOCKETS);
}

void asock_grant_answered(asock_context *context)
{
    bool is_refused = false;

    refuse_sockets(context);
    if (!is_answered(context))
        return;
    for (size_t i = 0; i < RAISED; i++) {
        is_refused = is_refused || is_asked(context, raised[i]);
        context->raise.to[raised[i]] = granted(&context->limits, raised[i]);
    }
    context->raise.rests_until = is_refused ? time_now_ms() + REST_MS : 0;
    if (!is_refused)
        context->raise.pause_ms = REST_MS;
    asock_accept_unpark(context);
}

static uint64_t whole_most(const asock_context *context, uint64_t window, uint64_t queued)
{
    return smaller(window, asock_flow_most(context, queued));
}

bool asock_grant_is_hopeless(const asock_context *context, uint64_t bytes)
{
    const struct welcome *limits = &context->limits;

    if (!context->is_welcome ||
        bytes <= whole_most(context, limits->send_window, limits->queued_max))
        return false;
    if (bytes > whole_most(context, asock_grant_most(context, ASOCK_LIMIT_SEND_WINDOW),
                           asock_grant_most(context, ASOCK_LIMIT_QUEUED)))
        return true;
    return is_answered(context) && rests(context);
}

void asock_grant_explain(asock_op *op)
{
    if (!op->context->raise.text[0])
        return;
    free(op->text);
    op->text = strdup(op->context->raise.text);
}
