/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/connections.h"

#include <netinet/in.h>

#include "tests/sim/kernel.h"
#include "tests/sim/model.h"
#include "tests/sim/sim.h"

void connections_find(struct submission *s)
{
    struct sockaddr_storage local;
    uint16_t port;

    if ((s->op->op ? asock_op_get_local(s->op->op, &local)
                   : asock_socket_get_local(s->stream->socket, &local)) < 0)
        sim_fail("no-address: submission %u has connected", s->number);
    port = local.ss_family == AF_INET
               ? ((const struct sockaddr_in *)(const void *)&local)->sin_port
               : ((const struct sockaddr_in6 *)(const void *)&local)->sin6_port;
    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        struct tcp *tcp = kernel.tcps[i];
        uint16_t own = tcp->local.ss_family == AF_INET
                           ? ((const struct sockaddr_in *)(const void *)&tcp->local)->sin_port
                           : ((const struct sockaddr_in6 *)(const void *)&tcp->local)->sin6_port;

        if (tcp->local.ss_family && own == port && tcp->intent == s->intent)
            s->stream->tcp = tcp;
    }
    s->stream->connect = s;
    if (!s->stream->tcp)
        sim_fail("no-connection: submission %u has connected, and there is none", s->number);
}

/* Those that have lost the race may have ended, too, and have been read by nobody. */
static struct tcp *tcp_of_connect(const struct submission *s)
{
    struct tcp *ended = NULL;

    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        struct tcp *tcp = kernel.tcps[i];

        if (tcp->intent == s->intent && tcp->consumed > 0)
            return tcp;
        if (tcp->intent == s->intent && tcp->fin_received)
            ended = tcp;
    }
    return ended;
}

void connections_guess(struct stream *stream)
{
    for (const struct submission *s = stream->first; s && !stream->tcp; s = s->next_of_stream)
        if (s->intent != UINT32_MAX && (!s->is_done || s->error))
            stream->tcp = tcp_of_connect(s);
}
