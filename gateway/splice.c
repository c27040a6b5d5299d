/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path, for each direction: receive a little -> send it to the other socket; or, when there
 * is more, splice from one socket into a pipe -> splice from the pipe to the other socket -> return
 * the pipe. At the end of a stream the other side is shut down. When both streams have ended, CLOSE
 * makes the daemon wait until the peer has everything.
 * Failures: if the peer takes no more data, only the direction to it ends. A reset, an error of the
 * program's socket, or the lack of a pipe or of memory ends both directions, by reset.
 * A reset is reported once: whichever direction notices it, the program never gets an end that
 * looks like that of a complete stream. If neither direction reads or writes, lent_watch.h reports
 * it.
 */
#include "gateway/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/lent_watch.h"

/*
 * The capacity of a pipe, and the most that one call moves: 256 KiB have .56 of direct up, 512 KiB
 * .66, 1 MiB .65.
 */
#define PIPE_SIZE (512 * 1024)
/*
 * What fits into this is copied: to move so little through a pipe takes longer. It is the gateway's
 * scratch.
 */
#define COPY_SIZE (16u * 1024u)
/* The most calls for one direction in one run, and runs in one wake-up: others have their turn. */
#define STEPS_MAX 8
#define RUNS_MAX 8

struct course {
    int from, to;
    int pipe[2];      /* -1: no pipe */
    uint32_t pending; /* bytes that were read and not written yet */
    uint32_t moved;   /* bytes that were written in the last run */
    char *data;    /* has them: the scratch during a run, else memory of its own; NULL: the pipe */
    uint32_t at;   /* where in data they begin */
    bool is_bulk;  /* the next read goes to a pipe */
    bool is_short; /* the last read has brought all that was there */
    bool waits_for_input, waits_for_room;
    bool has_ended; /* the side that is read has ended */
    bool is_cut;    /* and that was not the end of the stream */
    bool is_last;   /* the other direction is over: a close will pass the end on */
    bool is_done;   /* and its end was passed on */
};

struct spliced {
    struct lent_socket lent;
    struct client *client;
    struct course up, down;
    bool is_bounded; /* gateway_bound_buffer() was thought of */
};

/* ---- pipes ---- */

static bool take_pipe(struct gateway *gateway, struct course *course)
{
    struct pipes *spare = &gateway->pipes;

    if (course->pipe[0] >= 0)
        return true;
    if (spare->count > 0) {
        spare->count--;
        course->pipe[0] = spare->fds[spare->count][0];
        course->pipe[1] = spare->fds[spare->count][1];
        return true;
    }
    if (pipe2(course->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        course->pipe[0] = course->pipe[1] = -1;
        return false;
    }
    (void)fcntl(course->pipe[0], F_SETPIPE_SZ,
                PIPE_SIZE); /* on failure the default size suffices */
    return true;
}

/* A pipe that is not empty cannot be reused: close it. */
static void drop_pipe(struct gateway *gateway, struct course *course)
{
    struct pipes *spare = &gateway->pipes;

    if (course->pipe[0] < 0)
        return;
    if (course->pending == 0 && spare->count < GATEWAY_PIPES_SPARE) {
        spare->fds[spare->count][0] = course->pipe[0];
        spare->fds[spare->count][1] = course->pipe[1];
        spare->count++;
    } else {
        close(course->pipe[0]);
        close(course->pipe[1]);
    }
    course->pipe[0] = course->pipe[1] = -1;
}

/* ---- little: through the scratch ---- */

static void drop_data(struct gateway *gateway, struct course *course)
{
    if (course->data != gateway->scratch)
        free(course->data);
    course->data = NULL;
}

/* The scratch is for others, too. 0 or -ENOMEM. */
static int keep_data(struct gateway *gateway, struct course *course)
{
    char *data;

    if (course->data != gateway->scratch)
        return 0;
    data = malloc(course->pending);
    if (!data)
        return -ENOMEM;
    memcpy(data, course->data + course->at, course->pending);
    course->data = data;
    course->at = 0;
    return 0;
}

static ssize_t receive(struct gateway *gateway, struct course *course)
{
    ssize_t n;

    do
        n = recv(course->from, gateway->scratch, COPY_SIZE, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        course->data = gateway->scratch;
        course->at = 0;
    }
    return n < 0 ? -errno : n;
}

static ssize_t transmit(struct course *course)
{
    ssize_t n;

    do
        n = send(course->to, course->data + course->at, course->pending,
                 MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        course->at += (uint32_t)n;
    return n < 0 ? -errno : n;
}

/* ---- one direction ---- */

static ssize_t move(int from, int to, size_t len)
{
    ssize_t n;

    do
        n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Reads. 1: bytes came, or the end; 0: nothing to read yet; -errno. */
static int fill(struct gateway *gateway, struct course *course)
{
    ssize_t n;

    if (course->is_bulk && !take_pipe(gateway, course))
        return -errno;
    n = course->is_bulk ? move(course->from, course->pipe[1], PIPE_SIZE) : receive(gateway, course);
    if (n > 0)
        course->pending = (uint32_t)n;
    else
        drop_pipe(gateway, course);
    course->is_short = n < (ssize_t)COPY_SIZE;
    if (n > 0)
        course->is_bulk = !course->is_short;
    course->has_ended = n == 0;
    course->waits_for_input = n == -EAGAIN;
    return n == -EAGAIN ? 0 : n < 0 ? (int)n : 1;
}

/* Writes what was read. 1: bytes were written; 0: no room yet; -errno. */
static int empty(struct gateway *gateway, struct course *course)
{
    ssize_t n = course->data ? transmit(course)
                             : move(course->pipe[0], course->to, course->pending);

    course->waits_for_room = n == -EAGAIN;
    if (n == -EAGAIN)
        return 0;
    if (n <= 0)
        return n < 0 ? (int)n : -EPIPE;
    course->pending -= (uint32_t)n;
    course->moved += (uint32_t)n;
    if (course->pending == 0) {
        drop_data(gateway, course);
        drop_pipe(gateway, course);
    }
    return 1;
}

static void end_course(struct course *course)
{
    if (!course->is_last)
        (void)shutdown(course->to, SHUT_WR);
    course->is_done = true;
}

/* Runs one direction. On -errno *ret_reads says whether reading failed, not writing. */
static int run(struct gateway *gateway, struct course *course, bool *ret_reads)
{
    int r = 1;

    course->waits_for_input = course->waits_for_room = course->is_short = false;
    course->moved = 0;
    for (int i = 0; i < STEPS_MAX && r > 0 && !course->is_done; i++) {
        *ret_reads = course->pending == 0;
        if (course->pending > 0)
            r = empty(gateway, course);
        else if (course->has_ended && course->is_cut)
            r = -ECONNRESET;
        else if (course->has_ended)
            end_course(course);
        else if (course->is_short)
            break;
        else
            r = fill(gateway, course);
    }
    /* If more is possible, the watcher fires again at once. */
    if (r > 0 && !course->is_done) {
        course->waits_for_room = course->pending > 0;
        course->waits_for_input = course->pending == 0;
    }
    if (r >= 0 && keep_data(gateway, course) < 0) {
        *ret_reads = true; /* ends both */
        r = -ENOMEM;
    }
    return r < 0 ? r : 0;
}

/* ---- both ---- */

static void drop_pending(struct gateway *gateway, struct course *course)
{
    drop_data(gateway, course);
    drop_pipe(gateway, course);
    course->pending = 0;
}

static void break_up(struct client *client, struct course *up)
{
    drop_pending(client->gateway, up);
    up->has_ended = up->is_done = client->up.is_broken = true;
}

static void note_up(struct client *client, const struct course *up)
{
    pump_note_passed(client, up->moved);
    client->up.has_ended = up->has_ended;
    client->up.is_done = up->is_done;
    client->up.used = up->pending > 0;
}

/* A distant server needs as large a buffer as the kernel chooses. */
static bool is_within_host(int fd)
{
    struct sockaddr_storage peer = {0};
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer;
    socklen_t len = sizeof(peer);

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return false;
    if (peer.ss_family == AF_INET)
        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return peer.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* Little data needs no bound, and most connections have little. */
static void bound_bulk(struct spliced *spliced)
{
    if (!spliced->down.is_bulk || spliced->is_bounded)
        return;
    spliced->is_bounded = true;
    if (is_within_host(spliced->lent.fd))
        gateway_bound_buffer(spliced->client->gateway, spliced->lent.fd);
}

/* Both directions once. False: the connection is over. */
static bool run_once(struct client *client)
{
    struct gateway *gateway = client->gateway;
    struct spliced *spliced = client->spliced;
    bool is_reading;
    int r = run(gateway, &spliced->up, &is_reading);

    if (r < 0 && is_reading) {
        client_abort(client);
        return false;
    }
    if (r < 0) {
        /*
         * Behind the peer's FIN it would be EPIPE. What has come before is still there to be read,
         * the error is not.
         */
        spliced->down.is_cut = r != -EPIPE;
        break_up(client, &spliced->up);
    }
    note_up(client, &spliced->up);
    spliced->down.is_last = spliced->up.is_done && !client->up.is_broken;
    if (run(gateway, &spliced->down, &is_reading) < 0) {
        client_abort(client);
        return false;
    }
    if (!spliced->up.is_done || !spliced->down.is_done)
        return true;
    client_finish(client);
    return false;
}

static bool has_moved_little(const struct course *course)
{
    return course->moved > 0 && course->moved <= COPY_SIZE && course->waits_for_input;
}

/*
 * The answer was there at once, so the server runs on this processor. The program probably does,
 * too, and has gone on: its next bytes may be there. Bulk needs no such look, and takes its time.
 */
static bool goes_on_at_once(const struct spliced *spliced)
{
    return has_moved_little(&spliced->up) && has_moved_little(&spliced->down);
}

static void run_both(struct client *client)
{
    struct spliced *spliced = client->spliced;

    for (int i = 0; i < RUNS_MAX; i++) {
        if (!run_once(client))
            return;
        if (!goes_on_at_once(spliced))
            break;
    }
    bound_bulk(spliced);
}

static void watch(struct ev_loop *loop, ev_io *io, int events)
{
    if (ev_is_active(io) && (io->events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(loop, io);
    if (!events)
        return;
    ev_io_set(io, io->fd, events);
    ev_io_start(loop, io);
}

bool splice_watch(struct client *client)
{
    struct spliced *spliced = client->spliced;
    const struct course *up = &spliced->up, *down = &spliced->down;
    uint32_t events = (down->waits_for_input ? EPOLLIN : 0u) | (up->waits_for_room ? EPOLLOUT : 0u);

    watch(client->gateway->loop, &client->io,
          (up->waits_for_input ? EV_READ : 0) | (down->waits_for_room ? EV_WRITE : 0));
    /*
     * Its end alone, unless there is something left in it: the kernel would tell again and again.
     */
    if (events || down->is_done)
        return lent_watch_set(client->gateway->lent, &spliced->lent, events);
    lent_watch_unset(client->gateway->lent, &spliced->lent);
    return true;
}

/* Neither direction says anything that would find it, behind the peer's end of stream. */
static bool is_lost(const struct spliced *spliced, uint32_t found)
{
    return found & (EPOLLERR | EPOLLHUP) && spliced->down.is_done && !spliced->up.is_done;
}

static void on_lent(struct lent_socket *lent, uint32_t found)
{
    struct spliced *spliced = container_of(lent, struct spliced, lent);
    struct client *client = spliced->client;

    if (is_lost(spliced, found)) {
        break_up(client, &spliced->up);
        client_finish(client);
    } else {
        run_both(client);
    }
    client_settle(client);
}

void splice_step(struct client *client)
{
    int r = pump_write_first(client);

    client->wants_write = r == 0;
    if (r < 0)
        client_abort(client);
    else if (r > 0)
        run_both(client);
}

void splice_begin(struct client *client, int fd)
{
    struct gateway *gateway = client->gateway;
    struct spliced *spliced = NULL;

    if (gateway->lent || lent_watch_new(gateway->loop, &gateway->lent) == 0)
        spliced = calloc(1, sizeof(*spliced));
    if (!spliced) {
        close(fd);
        client_abort(client);
        return;
    }
    spliced->up = (struct course){.from = client->io.fd, .to = fd, .pipe = {-1, -1}};
    spliced->down = (struct course){.from = fd, .to = client->io.fd, .pipe = {-1, -1}};
    spliced->lent = (struct lent_socket){.fd = fd, .tell = on_lent};
    spliced->client = client;
    client->spliced = spliced;
    splice_step(client);
}

size_t splice_pending(const struct spliced *spliced)
{
    return spliced ? spliced->up.pending : 0;
}

struct spliced *splice_free(struct spliced *spliced, bool reset)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct gateway *gateway;

    if (!spliced)
        return NULL;
    gateway = spliced->client->gateway;
    lent_watch_unset(gateway->lent, &spliced->lent);
    drop_pending(gateway, &spliced->up);
    drop_pending(gateway, &spliced->down);
    /*
     * The daemon resets the connection too, unless it has died; then close() alone would send FIN.
     */
    if (reset)
        (void)!connect(spliced->lent.fd, &none, sizeof(none));
    close(spliced->lent.fd);
    free(spliced);
    return NULL;
}
