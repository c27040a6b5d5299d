/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a session's connection.
 * Happy path: the client has closed its end, and so does the daemon.
 * Where the daemon ends it the last frame says why. The sending side is shut down behind it, and what the
 * client still writes is discarded until it closes its end or a bound is reached: a client that is writing
 * would lose that frame to EPIPE. Descriptors that the client has not fetched keep the connection too: the
 * kernel counts them.
 * As long as it lasts the session counts as a client: who ends sessions by the thousand gets no more.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/session/session.h"
#include "daemon/session/session_farewell.h"

/*
 * Behind the last frame of a session: how long, and how much, a client that is writing may go on before it
 * reads. The daemon's stop is patient for 0.7 s in all.
 */
#define FAREWELL_MS 500u
#define FAREWELL_STOP_MS 100u
#define FAREWELL_BYTES (16u * 1024u * 1024u)
/* Discarded per wake-up, in so many pieces. */
#define DISCARD_PIECE 16384u
#define DISCARD_PIECES 16u

static void part(struct session *s)
{
    ev_io_stop(s->worker->loop, &s->farewell_io);
    deadline_unset(&s->unread);
    close(s->unread_fd);
    s->unread_fd = -1;
    session_part_left(s);
}

static bool is_fetched(const struct session *s)
{
    return s->descriptors_unread == 0 || s->worker->is_stopping || transport_is_read(s->unread_fd);
}

void session_on_unread(struct deadline *deadline)
{
    struct session *s = container_of(deadline, struct session, unread);

    ev_io_stop(s->worker->loop, &s->farewell_io);
    if (is_fetched(s))
        part(s);
    else
        worker_set_deadline(s->worker, deadline, UNREAD_MS);
}

void session_on_farewell(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct session *s = io->data;
    uint8_t piece[DISCARD_PIECE];
    ssize_t n = 1;

    (void)loop;
    (void)events;
    for (unsigned int i = 0; i < DISCARD_PIECES && n > 0 && s->farewell_bytes < FAREWELL_BYTES;
         i++) {
        n = recv(s->unread_fd, piece, sizeof(piece), MSG_DONTWAIT);
        s->farewell_bytes += n > 0 ? (uint32_t)n : 0;
    }
    if (n > 0 ? s->farewell_bytes >= FAREWELL_BYTES : n == 0 || errno != EAGAIN)
        session_on_unread(&s->unread);
}

void session_leave_transport(struct session *s, bool has_last_word)
{
    struct worker *w = s->worker;
    bool is_unread = s->descriptors_unread > 0 && !transport_is_read(s->transport.fd);

    if (!is_unread && (!has_last_word || s->transport.out_lost)) {
        transport_deinit(&s->transport);
        return;
    }
    if (!is_unread)
        s->descriptors_unread = 0;
    s->unread_fd = transport_detach(&s->transport);
    ev_io_set(&s->farewell_io, s->unread_fd, EV_READ);
    ev_io_start(w->loop, &s->farewell_io);
    worker_set_deadline(w, &s->unread, w->is_stopping ? FAREWELL_STOP_MS : FAREWELL_MS);
}
