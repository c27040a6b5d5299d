/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets: made without a word to the daemon; OPEN leaves with the first op.
 *
 * Ids. A socket has one from the start, or waits for one: before the welcome more sockets may be
 * made than the guaranteed ids, and an id is not used again before the daemon has let it go (the
 * answer to CLOSE, or to a SYNC behind it where the close lingers).
 */
#include "client-lib/core/socket.h"

#include <errno.h>
#include <stdlib.h>

#include "client-lib/core/accept.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/close.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/flow.h"
#include "client-lib/core/grant.h"

void asock_socket_hold(asock_socket *socket)
{
    socket->holds++;
}

void asock_socket_unhold(asock_socket *socket)
{
    if (--socket->holds > 0)
        return;
    asock_slot_release(&socket->context->slots, socket->slot);
    free(socket);
}

void asock_socket_use(asock_socket *socket)
{
    socket->users++;
}

void asock_socket_unuse(asock_socket *socket)
{
    if (--socket->users == 0 && !socket->is_closing && !socket->is_closed)
        asock_close_start(socket, NULL, 0);
}

void asock_socket_put(asock_socket *socket, enum place place)
{
    asock_context *context = socket->context;
    struct list *lists[] = {NULL, &context->ready, &context->stalled, &context->idless};

    list_remove(&socket->place_node);
    socket->place = place;
    if (place != PLACE_NONE)
        list_append(lists[place], &socket->place_node);
}

void asock_socket_kick(asock_socket *socket)
{
    if (socket->is_closed || socket->is_close_sent)
        return;
    if (socket->place == PLACE_NONE || socket->place == PLACE_STALLED)
        asock_socket_put(socket, PLACE_READY);
}

void asock_sockets_give_ids(asock_context *context)
{
    struct ids *ids = &context->ids;
    asock_socket *socket;

    while ((socket = list_first(&context->idless, asock_socket, place_node))) {
        socket->id = asock_ids_take(ids, socket);
        if (!socket->id)
            break;
        asock_socket_put(socket, PLACE_READY);
        if (socket->acceptor)
            asock_socket_kick(socket->acceptor->socket);
    }
    if (socket && ids->close_since && !ids->sync_sent)
        ids->sync_wanted = true;
}

asock_socket *asock_socket_make(asock_context *context, int family, bool is_datagram)
{
    asock_socket *socket;

    socket = calloc(1, sizeof(*socket));
    if (!socket)
        return NULL;
    if (asock_slot_take(&context->slots, socket, true, &socket->slot) < 0) {
        free(socket);
        return NULL;
    }
    socket->token = asock_slot_token(&context->slots, socket->slot);
    socket->context = context;
    socket->family = family;
    socket->is_datagram = is_datagram;
    socket->refs = socket->users = 1;
    socket->holds = 2; /* refs, and that it is not closed */
    list_init(&socket->sends);
    list_init(&socket->receives_waiting);
    list_init(&socket->controls);
    list_init(&socket->ops);
    list_init(&socket->quiet_sends);
    list_init(&socket->quiet_options);
    list_init(&socket->close_node);
    list_init(&socket->place_node);
    list_init(&socket->arrival.node);
    list_init(&socket->linger.timer.node);
    socket->linger.expired = asock_close_linger_over;
    socket->linger_default = -1;
    return socket;
}

int asock_socket_enter(asock_context *context, int family, bool is_datagram, asock_socket **ret)
{
    asock_socket *socket;

    if (!context->is_alive)
        return -ENOTCONN;
    if (context->is_welcome &&
        context->open_sockets >= asock_grant_most(context, ASOCK_LIMIT_SOCKETS))
        return -EMFILE;
    socket = asock_socket_make(context, family, is_datagram);
    if (!socket)
        return -ENOMEM;
    list_append(&context->sockets, &socket->context_node);
    context->open_sockets++;
    socket->is_counted = true;
    socket->id = asock_ids_take(&context->ids, socket);
    if (!socket->id) {
        asock_socket_put(socket, PLACE_IDLESS);
        asock_sockets_give_ids(context);
        asock_grant_want_sockets(context);
    }
    *ret = socket;
    return 0;
}

void asock_socket_uncount(asock_socket *socket)
{
    if (socket->is_counted)
        socket->context->open_sockets--;
    socket->is_counted = false;
}

void asock_socket_closed(asock_socket *socket)
{
    asock_context *context = socket->context;

    if (socket->is_closed)
        return;
    socket->is_closed = true;
    asock_socket_uncount(socket);
    asock_socket_put(socket, PLACE_NONE);
    list_remove(&socket->close_node);
    list_remove(&socket->context_node);
    wheel_timer_unset(&socket->linger.timer);
    socket->abandon_token = 0;
    socket->is_open_untold = false;
    asock_flow_give(socket, socket->held_bytes, socket->held_ops);
    if (socket->id)
        asock_ids_release(&context->ids, socket->id);
    socket->id = 0;
    if (context->is_alive)
        asock_sockets_give_ids(context);
    if (context->is_alive)
        asock_accept_unpark(context);
    asock_socket_unhold(socket);
}

/* What waits ends with the error, and then the close, if there is one: it is the last. */
static void refuse_unopened(asock_socket *socket, uint32_t error)
{
    asock_op *op, *close = socket->close_op;

    if (close)
        list_remove(&close->flight_node);
    while ((op = list_first(&socket->ops, asock_op, flight_node))) {
        asock_grant_explain(op);
        asock_op_finish(op, error, 0);
    }
    if (socket->is_closing)
        asock_close_answered(socket, ERR_SUCCESS);
}

void asock_socket_refuse(asock_socket *socket, uint32_t error)
{
    if (socket->acceptor && asock_accept_may_park(socket->acceptor)) {
        asock_accept_park(socket->acceptor);
        return;
    }
    if (socket->acceptor) {
        asock_grant_explain(socket->acceptor);
        asock_op_end_waiting(socket->acceptor, error);
        return;
    }
    socket->open_error = error;
    if (socket->is_opened)
        return; /* the daemon answers what has left and will leave; until CLOSE it keeps its id, and is counted */
    asock_socket_uncount(socket);
    asock_socket_put(socket, PLACE_NONE);
    asock_socket_hold(socket);
    refuse_unopened(socket, error);
    asock_socket_unhold(socket);
}
