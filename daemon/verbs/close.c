/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLOSE: sock_close.c is the whole of it. Its op is never refused: it works at every limit. */
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"

static const struct op_class close_class = {.name = "close"};

int verb_close(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    uint32_t linger_ms = r->close.linger_ms;

    if (linger_ms == 0 && sock->options)
        linger_ms = (uint32_t)sock->options->values[OPTION_LINGER];
    op->class = &close_class;
    sock_close(sock, op, linger_ms, r->close.abort);
    return 0;
}
