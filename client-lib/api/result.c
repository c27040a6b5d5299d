/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results of an op, readable once it has ended. */
#include <errno.h>

#include "client-lib/api/callbacks.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "proto/endpoint.h"

/* Takes the lock. 0: the op has results; 1: it has none (yet); -errno: the lock is not held. */
static int enter_results(asock_op *op)
{
    int r = asock_enter(op ? op->context : NULL);

    if (r < 0)
        return r;
    asock_op_check(op);
    return op->state != OP_DONE && !op->memory.is_more;
}

enum asock_operation asock_op_get_operation(asock_op *op)
{
    int operation = ASOCK_OPERATION_NONE;

    if (!op || asock_enter(op->context) < 0)
        return ASOCK_OPERATION_NONE;
    operation = op->operation;
    asock_leave(op->context);
    return (enum asock_operation)operation;
}

bool asock_op_is_pending(asock_op *op)
{
    bool is_pending;

    if (!op || asock_enter(op->context) < 0)
        return false;
    is_pending = asock_op_is_in_flight(op) || op->is_due;
    asock_leave(op->context);
    return is_pending;
}

int asock_op_get_error(asock_op *op)
{
    int r = enter_results(op);

    if (r < 0)
        return r;
    r = r ? -EINPROGRESS : op->memory.is_more ? 0 : (int)op->error;
    asock_leave(op->context);
    return r;
}

uint64_t asock_op_get_bytes(asock_op *op)
{
    uint64_t bytes;
    int r = enter_results(op);

    if (r < 0)
        return 0;
    bytes = r ? 0 : op->memory.is_more ? op->memory.shot.len : op->bytes;
    asock_leave(op->context);
    return bytes;
}

unsigned int asock_op_get_result_flags(asock_op *op)
{
    unsigned int flags;
    int r = enter_results(op);

    if (r < 0)
        return 0;
    flags = r ? 0 : op->memory.is_more ? ASOCK_MORE : op->result_flags;
    if (r == 0 && op->memory.is_more && op->datagram.length > op->memory.shot.len)
        flags |= ASOCK_TRUNCATED;
    asock_leave(op->context);
    return flags;
}

asock_socket *asock_op_get_socket(asock_op *op)
{
    asock_socket *socket;

    if (!op || asock_enter(op->context) < 0)
        return NULL;
    socket = op->socket;
    asock_leave(op->context);
    return socket;
}

void *asock_op_get_userdata(asock_op *op)
{
    void *userdata;

    if (!op || asock_enter(op->context) < 0)
        return NULL;
    userdata = op->userdata;
    asock_leave(op->context);
    return userdata;
}

asock_socket *asock_op_take_socket(asock_op *op)
{
    asock_socket *socket = NULL;
    int r = enter_results(op);

    if (r < 0)
        return NULL;
    if (op->memory.is_more) {
        socket = op->arrival;
        op->arrival = NULL;
    } else if (r == 0 && op->operation == ASOCK_OPERATION_ACCEPT && !op->error) {
        socket = op->accepted;
        op->accepted = NULL;
    }
    if (socket) {
        asock_context_add_ref(op->context);
    }
    asock_leave(op->context);
    return socket;
}

/*
 * The same; also 0 for a multishot that is in flight, for the datagram that asock_receive_next()
 * has returned.
 */
static int enter_address(asock_op *op)
{
    int r = enter_results(op);

    return r == 1 && op->memory.is_multishot && !op->callback ? 0 : r;
}

static int get_endpoint(asock_op *op, bool is_local, struct sockaddr_storage *ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = enter_address(op);
    if (r < 0)
        return r;
    r = r ? 0 : (int)asock_endpoint_to(is_local ? &op->local : &op->remote, ret);
    asock_leave(op->context);
    return r > 0 ? r : -ENODATA;
}

int asock_op_get_local(asock_op *op, struct sockaddr_storage *ret)
{
    return get_endpoint(op, true, ret);
}

int asock_op_get_remote(asock_op *op, struct sockaddr_storage *ret)
{
    return get_endpoint(op, false, ret);
}

int asock_op_get_datagram(asock_op *op, struct asock_datagram *ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = enter_address(op);
    if (r < 0)
        return r;
    r = r == 0 && op->datagram.remote.address_len > 0 ? 0 : -ENODATA;
    if (r == 0)
        *ret = (struct asock_datagram){
            .length = op->datagram.length,
            .interface = op->datagram.interface,
            .traffic_class = op->datagram.traffic_class,
            .dropped = op->datagram.dropped,
            .refused = op->datagram.refused,
            .segment_size = op->datagram.segment_size,
        };
    asock_leave(op->context);
    return r;
}

static int get_socket_endpoint(asock_socket *socket, bool is_local, struct sockaddr_storage *ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_enter(socket ? socket->context : NULL);
    if (r < 0)
        return r;
    r = (int)asock_endpoint_to(is_local ? &socket->local : &socket->remote, ret);
    asock_leave(socket->context);
    return r > 0 ? r : -ENODATA;
}

int asock_socket_get_local(asock_socket *socket, struct sockaddr_storage *ret)
{
    return get_socket_endpoint(socket, true, ret);
}

int asock_socket_get_remote(asock_socket *socket, struct sockaddr_storage *ret)
{
    return get_socket_endpoint(socket, false, ret);
}

unsigned int asock_op_get_address_count(asock_op *op)
{
    unsigned int count;
    int r = enter_results(op);

    if (r < 0)
        return 0;
    count = r ? 0 : op->address_count;
    asock_leave(op->context);
    return count;
}

int asock_op_get_address(asock_op *op, unsigned int index, struct sockaddr_storage *ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = enter_results(op);
    if (r < 0)
        return r;
    r = r || index >= op->address_count ? 0 : (int)asock_endpoint_to(&op->addresses[index], ret);
    asock_leave(op->context);
    return r > 0 ? r : -ENODATA;
}

int asock_op_get_connect_error(asock_op *op)
{
    int r = enter_results(op);

    if (r < 0)
        return r;
    r = r ? -EINPROGRESS : (int)op->connect_error;
    asock_leave(op->context);
    return r;
}

int asock_op_get_value(asock_op *op, int64_t *ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = enter_results(op);
    if (r < 0)
        return r;
    r = r == 0 && op->has_value ? 0 : -ENODATA;
    if (r == 0)
        *ret = op->value;
    asock_leave(op->context);
    return r;
}

int asock_op_take_fd(asock_op *op)
{
    int r = enter_results(op);

    if (r < 0)
        return r;
    r = r ? -EINPROGRESS : op->fd < 0 ? -ENODATA : op->fd;
    if (r >= 0)
        op->fd = -1;
    asock_leave(op->context);
    return r;
}

const char *asock_op_get_text(asock_op *op)
{
    const char *text;
    int r = enter_results(op);

    if (r < 0)
        return NULL;
    text = r || !op->error || op->is_answered ? NULL : op->text;
    asock_leave(op->context);
    return text;
}

const char *asock_op_get_directory(asock_op *op)
{
    const char *directory = NULL;
    int r = enter_results(op);

    if (r < 0)
        return NULL;
    if (r == 0 && op->operation == ASOCK_OPERATION_SHARE && !op->error)
        directory = op->text;
    asock_leave(op->context);
    return directory;
}
