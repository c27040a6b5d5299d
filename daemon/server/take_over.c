/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The new daemon's side of a take-over.
 *
 * Happy path: connect to the old daemon, send Hello, check that it knows TAKE_OVER -> after
 * everything that takes time, send TAKE_OVER -> receive the memfd, then the descriptors -> make
 * listeners, sessions, sockets and ops -> send READY -> receive YOURS -> serve them.
 * Failures: no daemon listens there, or it cannot hand over: a message. The state is damaged, names
 * a descriptor that did not come, or is too large for this process: this one sends FAILED and ends,
 * and has touched no connection. The old daemon dies when all has come: this one goes on.
 */
#include "daemon/server/take_over.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/time.h"
#include "daemon/server/take_over_link.h"
#include "daemon/state/state.h"
#include "proto/codec.h"
#include "proto/errors.h"
#include "proto/frame.h"

/* From when a process has closed its descriptors to its end. */
#define ENDED_MS 1000

/* ---- frames ---- */

static int say(int fd, const struct request *request)
{
    uint8_t frame[CODEC_REQUEST_MAX];
    long n = asock_codec_encode_request(request, 0, frame, sizeof(frame));

    if (n <= 0)
        return -EINVAL;
    return send(fd, frame, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -errno;
}

/*
 * Not one byte more than the frame is read: what comes behind it has descriptors. text: its
 * payload.
 */
static int hear(int fd, struct reply *ret, char text[static CODEC_TEXT_MAX + 1], uint64_t until)
{
    uint8_t frame[FRAME_PREFIX + FRAME_HEAD_MAX];
    uint32_t head, payload;
    const char *why;
    int r = link_read(fd, frame, FRAME_PREFIX, until);

    if (r < 0)
        return r;
    if (asock_frame_lengths(frame, FRAME_PREFIX, &head, &payload) <= 0 || payload > CODEC_TEXT_MAX)
        return -EPROTO;
    r = link_read(fd, frame + FRAME_PREFIX, head, until);
    if (r == 0)
        r = link_read(fd, text, payload, until);
    text[r == 0 ? payload : 0] = '\0';
    if (r == 0 && asock_codec_decode_reply(frame + FRAME_PREFIX, head, ret, &why) < 0)
        r = -EPROTO;
    return r;
}

static int fail(const char *dir, int r, const char *why)
{
    log_error("asockd: cannot take over from the asockd in %s: %s", dir, why ? why : strerror(-r));
    return r;
}

/* ---- before ---- */

/*
 * Whoever serves there made the directory; it is the daemon's user's, or root's, or it is not to be
 * trusted.
 */
static int check_server(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    return cred.uid == geteuid() || cred.uid == 0 ? 0 : -EPERM;
}

static int greet(int fd, const char *dir)
{
    const struct request hello = {.verb = VERB_HELLO, .hello = {.version = PROTOCOL_VERSION}};
    char text[CODEC_TEXT_MAX + 1] = "";
    struct reply reply;
    int r = say(fd, &hello);

    if (r == 0)
        r = hear(fd, &reply, text, time_now_ms() + TAKE_OVER_MS);
    if (r < 0)
        return fail(dir, r, NULL);
    if (reply.kind != KIND_WELCOME)
        return fail(dir, -EPROTO, text[0] ? text : "it did not answer with Welcome");
    if (!(reply.welcome.verbs & UINT64_C(1) << VERB_TAKE_OVER))
        return fail(dir, -EOPNOTSUPP,
                    "its version does not support take-over; stop it and start "
                    "this one");
    return 0;
}

int take_over_connect(struct arrival *a, const char *dir)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control.sock", dir);
    int r;

    a->dir = dir;
    if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
        return fail(dir, -ENAMETOOLONG, NULL);
    a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return fail(dir, -errno, NULL);
    if (connect(a->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        return fail(dir, -errno, NULL);
    r = check_server(a->fd);
    if (r < 0)
        return fail(dir, r, "another user's process is listening there");
    return greet(a->fd, dir);
}

/* ---- what comes ---- */

struct cargo {
    struct arrival *arrival;
    struct listeners *listeners;
    const struct listener_spec *specs;
    unsigned int spec_count;
    int memfd, *descriptors;
    int pidfd;    /* of the old one; -1: unknown */
    bool is_gone; /* it had ended, and was waited for, before that could be opened */
    bool *taken;
    uint32_t count;
    const char *what; /* is wrong */
    char text[CODEC_TEXT_MAX + 1];
};

static int receive_state(struct cargo *c, uint64_t until)
{
    int descriptors[LINK_DESCRIPTORS_MAX];
    struct link_message message;
    unsigned int count = 0;
    int r = link_receive(c->arrival->fd, &message, descriptors, &count, until);

    if (r < 0)
        return r;
    if (message.kind == LINK_FAILED)
        c->what = "it cannot hand over its clients; its log says why";
    if (message.kind != LINK_STATE || count != 1 || message.number > STATE_DESCRIPTORS_MAX)
        return -EPROTO;
    c->memfd = descriptors[0];
    c->count = message.number;
    c->descriptors = mem_zalloc(c->count + 1, sizeof(*c->descriptors));
    c->taken = mem_zalloc(c->count + 1, sizeof(*c->taken));
    return c->descriptors && c->taken ? 0 : -ENOMEM;
}

static int receive_descriptors(struct cargo *c, uint64_t until)
{
    int descriptors[LINK_DESCRIPTORS_MAX], r = 0;
    uint32_t done = 0;

    while (r == 0 && done < c->count) {
        struct link_message message;
        unsigned int count = 0;

        r = link_receive(c->arrival->fd, &message, descriptors, &count, until);
        if (r < 0)
            break;
        if (message.kind != LINK_DESCRIPTORS || count == 0 || count != message.number ||
            count > c->count - done)
            return -EPROTO;
        memcpy(c->descriptors + done, descriptors, count * sizeof(int));
        done += count;
        r = link_send(c->arrival->fd, LINK_NEXT, 0, NULL, 0, until);
    }
    /* If it has ended behind the last one that is seen below. */
    return r == -EPIPE && done == c->count ? 0 : r;
}

static bool is_configured(const struct cargo *c, const char *name)
{
    if (c->spec_count == 0)
        return strcmp(name, "default") == 0;
    for (unsigned int i = 0; i < c->spec_count; i++)
        if (strcmp(c->specs[i].name, name) == 0)
            return true;
    return false;
}

static int on_listener(void *data, const struct state_listener *listener)
{
    struct cargo *c = data;
    bool is_known = listener->is_control ? strcmp(listener->name, "control") == 0
                                         : is_configured(c, listener->name);

    if (!is_known || listener->path[0] != '/') {
        c->what = "its listeners differ from those in this configuration; restart it instead";
        return -EINVAL;
    }
    return listeners_add(c->listeners, listener->is_control ? LISTENER_CONTROL : LISTENER_CLIENT,
                         listener->name, listener->fd, listener->path);
}

static int on_session(void *data, const char *listener, struct session_config *config)
{
    const struct cargo *c = data;

    return listeners_configure(c->listeners, listener, config);
}

static int restore(struct cargo *c)
{
    struct state_restorer r = {
        .worker = c->listeners->worker,
        .descriptors = c->descriptors,
        .taken = c->taken,
        .descriptor_count = c->count,
        .configure = on_session,
        .listener = on_listener,
        .data = c,
    };
    struct state_reader in;
    int e = state_open(&in, c->memfd);

    if (e < 0) {
        c->what = e == -EPROTONOSUPPORT ? "its state has a different format"
                                        : "its state is damaged";
        return e;
    }
    e = state_restore(&r, &in);
    state_reader_deinit(&in);
    if (e < 0 && !c->what)
        c->what = r.what;
    if (e == 0 && c->listeners->count != (c->spec_count ? c->spec_count : 1) + 1) {
        c->what = "its listeners differ from those in this configuration; restart it instead";
        e = -EINVAL;
    }
    c->pidfd = r.pid > 0 ? (int)syscall(SYS_pidfd_open, r.pid, 0) : -1;
    c->is_gone = r.pid > 0 && c->pidfd < 0 && errno == ESRCH;
    c->listeners->lock_fd = r.lock;
    c->listeners->clients = r.sessions;
    c->arrival->sessions = r.sessions;
    c->arrival->sockets = r.sockets;
    c->arrival->ops = r.ops;
    return e;
}

/* Its connection is closed, perhaps a moment before the rest of it. */
static bool has_ended(const struct cargo *c)
{
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

    return c->is_gone || (c->pidfd >= 0 && poll(&p, 1, ENDED_MS) > 0);
}

/*
 * Until it says so nothing is ours. If it has ended and has not said FAILED, it has done nothing
 * since it wrote its state, and nobody else has the connections. Its deadline began later than
 * ours, so it may still say so when ours is over. After the shutdown it cannot any more, and goes
 * on; what it said before is still there.
 */
static int agree(struct cargo *c, uint64_t until)
{
    int descriptors[LINK_DESCRIPTORS_MAX];
    struct link_message message;
    unsigned int count = 0;
    int r = link_send(c->arrival->fd, LINK_READY, 0, NULL, 0, until);

    /* It may have said FAILED, and closed its end, before READY was sent. */
    if (r == 0 || r == -EPIPE)
        r = link_receive(c->arrival->fd, &message, descriptors, &count, until + TAKE_OVER_MS);
    if (r == -ETIMEDOUT && shutdown(c->arrival->fd, SHUT_RD) == 0)
        r = link_receive(c->arrival->fd, &message, descriptors, &count,
                         time_now_ms() + TAKE_OVER_MS);
    if ((r == -EPIPE || r == -ECONNRESET) && has_ended(c)) {
        log_warning(
            "the other asockd exited while handing over its clients; this one serves them now");
        return 0;
    }
    if (r == 0 && message.kind == LINK_FAILED)
        c->what = "it took too long";
    if (r == 0 && (message.kind != LINK_YOURS || count > 0))
        r = -EPROTO;
    return r;
}

/* What is left over is of a kind that this version does not know. */
static int check_all_taken(struct cargo *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->taken[i])
            continue;
        c->what = "it sent data that this version does not support";
        return -EPROTO;
    }
    return 0;
}

static int ask_for(struct cargo *c, uint32_t format, uint64_t until)
{
    const struct request request = {
        .verb = VERB_TAKE_OVER, .op = 1, .take_over = {.format = format}};
    struct reply reply;
    int r = say(c->arrival->fd, &request);

    c->what = NULL; /* that was said of a later format */
    if (r == 0)
        r = hear(c->arrival->fd, &reply, c->text, until);
    if (r < 0)
        return r;
    if (reply.kind == KIND_COMPLETION && reply.op == 1 && reply.error == ERR_SUCCESS)
        return 0;
    c->what = c->text[0] ? c->text : asock_error_to_text(reply.error);
    return -EOPNOTSUPP;
}

/* The first version took no format but its own. */
static int ask(struct cargo *c, uint64_t until)
{
    int r = -EOPNOTSUPP;

    for (uint32_t format = STATE_FORMAT_LAST; r == -EOPNOTSUPP && format >= STATE_FORMAT_FIRST;
         format--)
        r = ask_for(c, format, until);
    return r;
}

/*
 * The descriptors of what was not taken are just closed: their connections still belong to the old
 * process.
 */
static _Noreturn void give_up(struct cargo *c, int r)
{
    log_error("asockd: cannot take over: %s; the other daemon continues",
              c->what ? c->what : strerror(-r));
    link_send(c->arrival->fd, LINK_FAILED, 0, NULL, 0, time_now_ms() + 1);
    _exit(EXIT_FAILURE);
}

int take_over_receive(struct arrival *a, struct listeners *ls, const struct listener_spec *specs,
                      unsigned int count)
{
    struct cargo c = {.arrival = a,
                      .listeners = ls,
                      .specs = specs,
                      .spec_count = count,
                      .memfd = -1,
                      .pidfd = -1};
    uint64_t began = time_now_ms(), until;
    int r = ask(&c, began + TAKE_OVER_MS);

    if (r < 0)
        return fail(a->dir, r, c.what);
    r = receive_state(&c, time_now_ms() + TAKE_OVER_SAVE_MS);
    until = time_now_ms() + TAKE_OVER_MS;
    if (r == 0)
        r = receive_descriptors(&c, until);
    if (r == 0)
        r = restore(&c);
    if (r == 0)
        r = check_all_taken(&c);
    if (r == 0)
        r = agree(&c, time_now_ms() + TAKE_OVER_MS);
    if (r < 0)
        give_up(&c, r);
    close(c.memfd);
    if (c.pidfd >= 0)
        close(c.pidfd);
    mem_free(c.descriptors);
    mem_free(c.taken);
    a->worker = ls->worker;
    a->paused_ms = time_now_ms() - began;
    return 0;
}

/* ---- afterwards ---- */

static void on_link(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct arrival *a = io->data;
    char byte;
    ssize_t n = recv(a->fd, &byte, 1, MSG_DONTWAIT);

    (void)loop;
    (void)events;
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    take_over_deinit(a);
    a->alone(a);
}

void take_over_resume(struct arrival *a, void (*alone)(struct arrival *a))
{
    a->alone = alone;
    ev_io_init(&a->io, on_link, a->fd, EV_READ);
    a->io.data = a;
    ev_io_start(a->worker->loop, &a->io);
    state_resume(a->worker);
}

void take_over_deinit(struct arrival *a)
{
    if (a->worker)
        ev_io_stop(a->worker->loop, &a->io);
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
    a->worker = NULL;
}
