/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a session's connection, and of its buffers.
 * Happy path: the client has closed its end, so what lies in the buffers is not read any more. They
 * are taken back, and the daemon closes its end too.
 * Where the daemon ends it the last frame says why. The sending side is shut down behind it, and
 * what the client still writes is discarded until it closes its end or a bound is reached: a client
 * that is writing would lose that frame to EPIPE. What the client has made no room for yet, that
 * frame with it, is written meanwhile. Descriptors that the client has not fetched keep the
 * connection too: the kernel counts them. Where the daemon ends it completions may be unread, too,
 * whose bytes lie in the buffers. These stay, and stay charged, until the client has closed its
 * end, for BUFFERS_KEPT_MS at most; at a stop for as long as it waits. As long as it lasts the
 * session counts as a client: who ends sessions by the thousand gets no more.
 */
#include <errno.h>

#include "daemon/session/session.h"
#include "daemon/session/session_farewell.h"
#include "daemon/session/session_quota.h"
#include "daemon/wire/client_fd.h"

/*
 * Behind the last frame of a session: how long, and how much, a client that is writing may go on
 * before it reads. The daemon's stop is patient for 0.7 s in all.
 */
#define FAREWELL_MS 500u
#define FAREWELL_STOP_MS 100u
#define FAREWELL_BYTES (16u * 1024u * 1024u)
/* Discarded at a time. */
#define DISCARD_PIECE 16384u

static void release(struct session *s)
{
    s->keeps_buffers = false;
    session_release_buffers(s);
}

/*
 * The process that it has ended in may still have to write what is left: it shuts the sending side
 * down behind that, not we.
 */
static void drop_rest(struct session *s, int fd)
{
    transport_drop_rest(&s->transport, s->had_ended ? -1 : fd);
}

static void close_without_rest(struct session *s, int fd)
{
    drop_rest(s, fd);
    if (fd >= 0)
        client_fd_close(fd);
}

static void part(struct session *s)
{
    ev_io_stop(s->worker->loop, &s->farewell_io);
    s->must_discard = s->must_write = false;
    deadline_unset(&s->retry);
    deadline_unset(&s->unread);
    close_without_rest(s, s->unread_fd);
    s->unread_fd = -1;
    session_quota_end(s);
    session_part_left(s);
}

/* Descriptors: the kernel counts them, of lent sockets, too. */
static bool may_be_unread(const struct session *s)
{
    return s->descriptors_unread > 0 || s->lent_unread > 0;
}

bool session_has_unread(const struct session *s)
{
    return s->unread_fd >= 0 && may_be_unread(s) && !unread_is_nothing(s->unread_fd);
}

static void stop_waiting(struct session *s)
{
    ev_io_stop(s->worker->loop, &s->farewell_io);
    deadline_unset(&s->retry);
    if (s->keeps_buffers)
        release(s);
    /* The next process, if there is one, has it by now (daemon/state/ended.c). */
    if (s->worker->is_stopping || !session_has_unread(s))
        part(s);
    else
        worker_set_deadline(s->worker, &s->unread, UNREAD_MS);
}

void session_on_unread(struct deadline *deadline)
{
    stop_waiting(container_of(deadline, struct session, unread));
}

static void watch(struct session *s, int events)
{
    ev_io_stop(s->worker->loop, &s->farewell_io);
    ev_io_set(&s->farewell_io, s->unread_fd, events);
    if (events)
        ev_io_start(s->worker->loop, &s->farewell_io);
}

static int watched(const struct session *s)
{
    return ev_is_active(&s->farewell_io) ? s->farewell_io.events & (EV_READ | EV_WRITE) : 0;
}

void session_on_farewell(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct session *s = io->data;

    (void)loop;
    if (events & EV_WRITE) {
        watch(s, watched(s) & ~EV_WRITE);
        s->must_write = true;
    }
    s->must_discard |= (events & EV_READ) != 0;
    share_wake(&s->share);
}

void session_write_rest(struct session *s)
{
    int r = transport_write_rest(&s->transport, s->unread_fd);
    int events = watched(s);

    if (r == -ENOMEM)
        worker_set_deadline(s->worker, &s->retry, RETRY_MS);
    watch(s, r == 0 ? events | EV_WRITE : events & ~EV_WRITE);
}

/*
 * A client that has written that much may still have to read what is in the buffers: they stay as
 * long as they would for a client that says nothing, and that it closes its end is not noticed any
 * more.
 */
static void has_written_enough(struct session *s)
{
    if (s->keeps_buffers)
        watch(s, watched(s) & ~EV_READ);
    else
        stop_waiting(s);
}

void session_discard(struct session *s)
{
    uint8_t piece[DISCARD_PIECE];
    ssize_t n = 1;

    s->must_discard = false;
    while (n > 0 && s->farewell_bytes < FAREWELL_BYTES) {
        n = client_fd_recv(s->unread_fd, piece, sizeof(piece), s->transport.refuses_fds);
        s->farewell_bytes += n > 0 ? (uint32_t)n : 0;
        if (share_step_is_over(&s->worker->shares))
            break; /* the watcher fires in the next turn */
    }
    if (n > 0 && s->farewell_bytes >= FAREWELL_BYTES)
        has_written_enough(s);
    else if (n == 0 || (n < 0 && errno != EAGAIN))
        stop_waiting(s);
}

static uint32_t patience(const struct session *s)
{
    if (s->keeps_buffers)
        return BUFFERS_KEPT_MS;
    return s->worker->is_stopping ? FAREWELL_STOP_MS : FAREWELL_MS;
}

void session_leave_transport(struct session *s, bool has_last_word)
{
    struct worker *w = s->worker;
    bool is_unread = may_be_unread(s) && !unread_is_nothing(s->transport.fd);

    s->keeps_buffers = has_last_word && s->buffer_count > 0 && !s->transport.out_lost;
    if (!s->keeps_buffers)
        session_release_buffers(s);
    if (!is_unread && (!has_last_word || s->transport.out_lost)) {
        close_without_rest(s, transport_detach(&s->transport));
        return;
    }
    if (!is_unread)
        s->descriptors_unread = s->lent_unread = 0;
    s->unread_fd = transport_detach(&s->transport);
    watch(s, EV_READ);
    if (has_last_word)
        session_write_rest(s);
    else
        drop_rest(s, s->unread_fd);
    worker_set_deadline(w, &s->unread, patience(s));
}

void session_farewell_end(struct session *s)
{
    if (s->keeps_buffers)
        release(s);
    if (s->unread_fd >= 0)
        part(s);
}
