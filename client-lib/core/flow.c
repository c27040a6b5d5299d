/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may have how much outstanding in the daemon (S49, S51).
 *
 * A socket's own limits come from the welcome. The session's are shared so that no number of
 * stalled sockets can stop another one: half of each is dealt out in equal shares, one for every
 * socket the session may have (of ops also for those that these ops are enough for, so that no
 * share shrinks when they come), and no other socket can use a share; the other half is a pool from
 * which a socket takes at most two thirds of what the others have left, or all of it while it is
 * the only one. So the session holds at least a third of its limit when a socket waits for its
 * room, and the daemon tells what it has freed from a quarter on.
 */
#include "client-lib/core/flow.h"

#include "client-lib/core/grant.h"
#include "client-lib/core/socket.h"

/* A piece smaller than this waits for more room, unless it is the rest of its op. */
#define FLOW_PIECE 16384u
/* With less a socket could not send while it receives. */
#define FLOW_OPS 2u
/*
 * Of its ops a socket leaves this part to ops other than receives, which may be pending without
 * end.
 */
#define FLOW_RECEIVES(ops) ((ops) - ((ops) + 3) / 4)

static uint64_t rest_of(uint64_t total, uint64_t part)
{
    return total > part ? total - part : 0;
}

/*
 * The most that one who holds `held` may hold; never less than `least`, so that it can move at all.
 * total: without the shares of the others.
 */
static uint64_t allowed(uint64_t total, uint64_t share, uint64_t all_excess, uint64_t held,
                        uint64_t least, bool is_generous)
{
    uint64_t others = all_excess - rest_of(held, share);
    uint64_t pool = rest_of(total, others);
    uint64_t most = share + (is_generous ? pool : pool / 3 * 2);

    return most > least ? most : least;
}

static bool is_alone(const asock_context *context)
{
    return context->open_sockets <= 1;
}

static enum flow check_op(const asock_socket *socket, int operation)
{
    const asock_context *context = socket->context;
    const struct welcome *limits = &context->limits;
    /* Its receives may be more than it would get now, if it was alone before. */
    bool has_only_receives = operation != ASOCK_OPERATION_RECEIVE &&
                             socket->held_ops <= socket->receives;
    uint64_t most = allowed(context->op_pool, context->op_share, context->excess_ops,
                            socket->held_ops, FLOW_OPS, has_only_receives || is_alone(context));

    if (socket->held_ops >= limits->socket_ops)
        return FLOW_SOCKET;
    if (context->held_ops >= limits->ops || socket->held_ops >= most)
        return FLOW_SESSION;
    if (most > limits->socket_ops)
        most = limits->socket_ops;
    if (most < FLOW_OPS)
        return FLOW_OK;
    if (operation == ASOCK_OPERATION_RECEIVE && socket->receives >= FLOW_RECEIVES(most))
        return most < limits->socket_ops ? FLOW_SESSION : FLOW_SOCKET;
    /* One place is the receives': a stalled send must not stop the reading that would free it. */
    if (operation == ASOCK_OPERATION_SEND && !socket->receives && socket->held_ops + 1 >= most)
        return most < limits->socket_ops ? FLOW_SESSION : FLOW_SOCKET;
    return FLOW_OK;
}

enum flow asock_flow_op(const asock_socket *socket, int operation)
{
    enum flow r = check_op(socket, operation);

    if (r != FLOW_OK)
        asock_grant_want_ops(socket->context);
    return r;
}

uint64_t asock_flow_most(const asock_context *context, uint64_t queued)
{
    uint32_t sockets = context->limits.sockets;
    uint64_t share = queued / 2 / sockets;

    return allowed(queued - share * sockets, share, 0, 0, FLOW_PIECE, true);
}

/* It waits for room only when so much is in use that the daemon reports what is free. */
static uint64_t smallest_piece(const struct welcome *limits)
{
    uint64_t part = limits->queued_max / 16;

    return part > FLOW_PIECE ? FLOW_PIECE : part > 0 ? part : 1;
}

enum flow asock_flow_bytes(const asock_socket *socket, uint64_t want, bool is_whole, uint64_t *ret)
{
    asock_context *context = socket->context;
    const struct welcome *limits = &context->limits;
    uint64_t pool = limits->queued_max - context->byte_share * limits->sockets;
    uint64_t most = allowed(pool, context->byte_share, context->excess_bytes, socket->held_bytes,
                            FLOW_PIECE, is_whole || is_alone(context));
    uint64_t window = rest_of(limits->send_window, socket->held_bytes);
    uint64_t session = rest_of(limits->queued_max, context->held_bytes);
    uint64_t piece = smallest_piece(limits), least = is_whole || want < piece ? want : piece;
    uint64_t room = rest_of(most, socket->held_bytes);

    if (room > session)
        room = session;
    if (window < want && window <= room)
        asock_grant_want_window(context);
    else if (room < want)
        asock_grant_want_queued(context);
    if (window < least)
        return FLOW_SOCKET;
    if (room < least)
        return FLOW_SESSION;
    if (room > window)
        room = window;
    *ret = room < want ? room : want;
    return FLOW_OK;
}

/* The sums of what lies beyond the shares, without and then with this socket. */
static void change(asock_socket *socket, uint64_t bytes, uint32_t ops)
{
    asock_context *context = socket->context;

    context->excess_bytes -= rest_of(socket->held_bytes, context->byte_share);
    context->excess_ops -= (uint32_t)rest_of(socket->held_ops, context->op_share);
    context->held_bytes += bytes - socket->held_bytes;
    context->held_ops += ops - socket->held_ops;
    socket->held_bytes = bytes;
    socket->held_ops = ops;
    context->excess_bytes += rest_of(bytes, context->byte_share);
    context->excess_ops += (uint32_t)rest_of(ops, context->op_share);
}

void asock_flow_take(asock_socket *socket, uint64_t bytes, uint32_t ops)
{
    change(socket, socket->held_bytes + bytes, socket->held_ops + ops);
}

void asock_flow_give(asock_socket *socket, uint64_t bytes, uint32_t ops)
{
    asock_context *context = socket->context;
    asock_socket *stalled;

    /* OPEN is counted until the daemon has seen it: the first op that it frees is that. */
    if (ops > 0 && socket->is_open_untold) {
        socket->is_open_untold = false;
        ops--;
    }
    if (bytes > socket->held_bytes)
        bytes = socket->held_bytes;
    if (ops > socket->held_ops)
        ops = socket->held_ops;
    if (bytes == 0 && ops == 0)
        return;
    change(socket, socket->held_bytes - bytes, socket->held_ops - ops);
    asock_socket_kick(socket);
    while ((stalled = list_first(&context->stalled, asock_socket, place_node)))
        asock_socket_kick(stalled);
}

void asock_flow_share(asock_context *context)
{
    const struct welcome *limits = &context->limits;
    uint32_t sharers = asock_grant_op_sharers(context);

    context->byte_share = limits->queued_max / 2 / limits->sockets;
    context->op_share = limits->ops / 2 / sharers;
    context->op_pool = limits->ops - context->op_share * sharers;
}

/* Other limits, other shares: the sums are computed again. */
void asock_flow_set_limits(asock_context *context, const struct welcome *limits)
{
    context->limits = *limits;
    asock_flow_share(context);
    context->excess_bytes = 0;
    context->excess_ops = 0;
    list_for_each (&context->sockets, it) {
        asock_socket *socket = container_of(it, asock_socket, context_node);

        context->excess_bytes += rest_of(socket->held_bytes, context->byte_share);
        context->excess_ops += (uint32_t)rest_of(socket->held_ops, context->op_share);
        asock_socket_kick(socket);
    }
}
