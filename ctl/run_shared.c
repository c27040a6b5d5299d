/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a session, narrowed, with a listener of its own; the command and all of its processes
 * find that by ASOCK_SOCKET. asockctl stays, because the listener goes with its session.
 * Failures: no daemon, a file that is wrong, a daemon that makes no listeners: nothing has run. A
 * daemon that ends later: a message, and the command goes on without it.
 */
#include "ctl/child.h"
#include "ctl/restrict.h"
#include "ctl/run_shared.h"
#include "ctl/text.h"

#include <ev.h>
#include <stdlib.h>
#include <string.h>

#define LISTENER_SOCKET "/asock.sock"

/* In the command's process. */
static void set_environment(const void *data)
{
    const char *directory = data;
    char *path = report_need_memory(malloc(strlen(directory) + sizeof(LISTENER_SOCKET)));

    strcpy(path, directory);
    strcat(path, LISTENER_SOCKET);
    if (setenv("ASOCK_SOCKET", path, 1) < 0 || setenv("ASOCK_SHARE", directory, 1) < 0)
        report_need_memory(NULL);
    free(path);
    unsetenv("ASOCK_FD");
}

/* Nothing is said to this session but that it has ended. */
static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    asock_context *context = io->data;
    int error;

    (void)events;
    asock_context_process(context);
    error = asock_context_get_error(context);
    if (!error)
        return;
    ev_io_stop(loop, io);
    report_error("asockd ended the session: %s; the command continues without network access",
                 asock_strerror(error));
}

static int run(struct session *session, const struct settings *settings, asock_op *op)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
    int fd = asock_context_get_fd(session->context), status;
    ev_io io;

    if (session_share(session, settings, op) < 0)
        return EXIT_OWN;
    ev_io_init(&io, on_readable, fd, EV_READ);
    io.data = session->context;
    if (fd >= 0)
        ev_io_start(loop, &io);
    status = child_run(loop, settings->args, set_environment, asock_op_get_directory(op));
    ev_io_stop(loop, &io);
    return status;
}

int run_shared(struct session *session, const struct settings *settings)
{
    asock_op *op;
    int status;

    if (asock_op_new(session->context, &op) < 0)
        report_need_memory(NULL);
    status = run(session, settings, op);
    asock_op_unref(op);
    return status;
}
