/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LISTENER, on the control listener: adds a listener for clients, whose descriptor came with the
 * request, or removes one.
 * Failures: the descriptor is not a listening Unix stream socket, the name is invalid or in use.
 * The descriptor is closed, and the reply has a text.
 */
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/inspect.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

int verb_listener(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    const char *name = r->listener.name ? r->listener.name : "";
    char text[INSPECT_TEXT_MAX] = "";
    int error;

    if (r->listener.remove)
        error = s->worker->inspect->remove_listener(s, name, text);
    else
        error = s->worker->inspect->add_listener(s, name, transport_take_fd(&s->transport), text);
    if (error < 0) {
        int told = verb_send_failure(op, error, text);

        return error == -ESRCH ? ERR_NOT_FOUND : told;
    }
    complete(op, ERR_SUCCESS);
    return 0;
}
