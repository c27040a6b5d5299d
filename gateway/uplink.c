/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Before each sleep: write what is queued, then ask the library what to wait for, and how long. */
#include "gateway/uplink.h"

#include <poll.h>

static void process(struct uplink *uplink)
{
    asock_context *context = asock_context_ref(uplink->context);

    asock_context_process(context);
    asock_context_unref(context);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    process(io->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    process(timer->data);
}

static void watch(struct uplink *uplink)
{
    int wanted = asock_context_get_events(uplink->context);
    int events = (wanted & POLLIN ? EV_READ : 0) | (wanted & POLLOUT ? EV_WRITE : 0);
    int fd = asock_context_get_fd(uplink->context);

    if (ev_is_active(&uplink->io) && uplink->io.fd == fd &&
        (uplink->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(uplink->loop, &uplink->io);
    if (!events)
        return;
    ev_io_set(&uplink->io, fd, events);
    ev_io_start(uplink->loop, &uplink->io);
}

static void set_timer(struct uplink *uplink, int ms)
{
    ev_timer_stop(uplink->loop, &uplink->timer);
    if (ms < 0)
        return;
    ev_timer_set(&uplink->timer, ms / 1e3, 0);
    ev_timer_start(uplink->loop, &uplink->timer);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    struct uplink *uplink = prepare->data;
    int ms;

    (void)loop;
    (void)events;
    asock_context_flush(uplink->context);
    ms = asock_context_get_timeout(uplink->context);
    if (ms != 0 && asock_context_get_error(uplink->context)) {
        uplink->lost(uplink);
        return;
    }
    watch(uplink);
    set_timer(uplink, ms);
}

void uplink_init(struct uplink *uplink, struct ev_loop *loop, void (*lost)(struct uplink *uplink),
                 void *userdata)
{
    *uplink = (struct uplink){.loop = loop, .lost = lost, .userdata = userdata};
    ev_init(&uplink->io, on_io);
    ev_init(&uplink->timer, on_timer);
    ev_prepare_init(&uplink->prepare, on_prepare);
    uplink->io.data = uplink->timer.data = uplink->prepare.data = uplink;
    /* Behind every other one: what those submit leaves before the sleep. */
    ev_set_priority(&uplink->prepare, EV_MINPRI);
}

void uplink_start(struct uplink *uplink, asock_context *context)
{
    uplink->context = context;
    ev_prepare_start(uplink->loop, &uplink->prepare);
}

void uplink_stop(struct uplink *uplink)
{
    ev_io_stop(uplink->loop, &uplink->io);
    ev_timer_stop(uplink->loop, &uplink->timer);
    ev_prepare_stop(uplink->loop, &uplink->prepare);
    while (uplink->spare_count > 0)
        asock_op_unref(uplink->spare[--uplink->spare_count]);
    uplink->context = asock_context_unref(uplink->context);
}

asock_op *uplink_op(struct uplink *uplink)
{
    asock_op *op = NULL;

    if (uplink->spare_count > 0)
        return uplink->spare[--uplink->spare_count];
    (void)asock_op_new(uplink->context, &op);
    return op;
}

asock_op *uplink_op_done(struct uplink *uplink, asock_op *op)
{
    if (!op || !uplink->context || uplink->spare_count == UPLINK_OPS_SPARE)
        return asock_op_unref(op);
    uplink->spare[uplink->spare_count++] = op;
    return NULL;
}

/*
 * The op makes the library notice a daemon that does not answer. Without memory for one the close
 * is as good.
 */
void uplink_abort(asock_socket *socket)
{
    asock_op *op = NULL;

    (void)asock_op_new(asock_socket_get_context(socket), &op);
    (void)asock_close(socket, op, ASOCK_CLOSE_ABORT);
    asock_op_unref(op);
}
