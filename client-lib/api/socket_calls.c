/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sockets of the program: new, let go, asked. */
#include <errno.h>

#include "client-lib/api/lifetime.h"
#include "client-lib/core/ask.h"
#include "client-lib/core/close.h"
#include "client-lib/core/context.h"
#include "client-lib/core/socket.h"

static int socket_new(asock_context *context, int family, bool is_datagram, asock_socket **ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
        r = -EAFNOSUPPORT;
    else
        r = asock_socket_enter(context, family, is_datagram, ret);
    if (r == 0)
        asock_context_add_ref(context);
    asock_leave(context);
    return r;
}

int asock_socket_new(asock_context *context, int family, asock_socket **ret)
{
    return socket_new(context, family, false, ret);
}

int asock_socket_new_udp(asock_context *context, int family, asock_socket **ret)
{
    return socket_new(context, family, true, ret);
}

asock_socket *asock_socket_ref(asock_socket *socket)
{
    if (!socket || asock_enter(socket->context) < 0)
        return socket;
    /* In a callback, of an op that held it, it may be the first one again. */
    if (socket->refs++ == 0) {
        asock_socket_hold(socket);
        asock_socket_use(socket);
        asock_context_add_ref(socket->context);
    }
    asock_leave(socket->context);
    return socket;
}

asock_socket *asock_socket_unref(asock_socket *socket)
{
    asock_context *context;
    int r;

    if (!socket)
        return NULL;
    context = socket->context;
    r = asock_enter(context);
    if (r == -ECHILD && --socket->refs == 0)
        asock_context_drop_in_child(context);
    if (r < 0)
        return NULL;
    if (--socket->refs > 0) {
        asock_leave(context);
        return NULL;
    }
    /* Without memory to ask: the close tells how they end. */
    if (asock_ask_all(socket) < 0 && !socket->is_closing && !socket->is_closed)
        asock_close_start(socket, NULL, 0);
    asock_socket_unuse(socket);
    asock_socket_unhold(socket);
    asock_context_drop_ref(context);
    return NULL;
}

asock_context *asock_socket_get_context(asock_socket *socket)
{
    return socket && !asock_is_forked(socket->context) ? socket->context : NULL;
}

unsigned int asock_socket_get_id(asock_socket *socket)
{
    unsigned int id;

    if (!socket || asock_enter(socket->context) < 0)
        return 0;
    id = socket->is_closing ? 0 : socket->id;
    asock_leave(socket->context);
    return id;
}

int asock_socket_is_connected(asock_socket *socket)
{
    int r = asock_enter(socket ? socket->context : NULL);

    if (r < 0)
        return r;
    r = socket->is_connected && !socket->is_over && !socket->is_closing && !socket->is_closed &&
        !socket->is_dead;
    asock_leave(socket->context);
    return r;
}

int asock_socket_set_userdata(asock_socket *socket, void *userdata)
{
    int r = asock_enter(socket ? socket->context : NULL);

    if (r < 0)
        return r;
    socket->userdata = userdata;
    asock_leave(socket->context);
    return 0;
}

void *asock_socket_get_userdata(asock_socket *socket)
{
    void *userdata;

    if (!socket || asock_enter(socket->context) < 0)
        return NULL;
    userdata = socket->userdata;
    asock_leave(socket->context);
    return userdata;
}
