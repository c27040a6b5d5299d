/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: at a restart, sessions that cannot go over end as at a stop, while the others are
 * served -> the state and the descriptors go into the queue of a socket pair -> the manager stores
 * one end of that -> this process closes its own, and the other end tells by not being hung up that
 * the manager has it -> the next process looks at the queue, makes everything, says READY, empties
 * the queue, goes on.
 * Failures: the store has no room or is switched off, the manager does not answer: the queue is
 * emptied, so that no process can find anything there, and the restart becomes a stop. The state is
 * damaged: all its connections are reset. A descriptor is missing: its session ends. The next
 * process dies before it is ready, or has no memory for the state: the one after it finds the same,
 * unless STORE_ATTEMPTS of them have died while they read it.
 *
 * From when it is packed until a process goes on with it each connection is set to end in a reset
 * (SO_LINGER): whoever loses it, the manager or a process that dies, closes nothing that looks
 * whole.
 */
#include "daemon/server/store.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "daemon/server/hand_over.h"
#include "daemon/server/take_over_link.h"
#include "daemon/session/session_end.h"
#include "daemon/state/state.h"
#include "proto/errors.h"

/* 253 descriptors are a message; the kernel caps it at net.core.wmem_max. */
#define QUEUE_BYTES (8 << 20)

static int close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    return *fd = -1;
}

void store_init(struct store *s)
{
    *s = (struct store){.pair = {-1, -1}, .found = -1};
}

void store_deinit(struct store *s)
{
    close_fd(&s->pair[0]);
    close_fd(&s->pair[1]);
    close_fd(&s->found);
}

void store_find(struct store *s, int fd)
{
    int type = 0, first = 0;
    socklen_t len = sizeof(type);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    /* What a process before this one has emptied may still be there. */
    if (s->found < 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
        type == SOCK_SEQPACKET && poll(&p, 1, 0) > 0 && p.revents & POLLIN &&
        setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &first, sizeof(first)) == 0)
        s->found = fd;
    else
        close(fd);
}

void store_prepare(struct store *s, struct listeners *ls)
{
    int bytes = QUEUE_BYTES;

    s->listeners = ls;
    if (ls->lock_fd >= 0 || !getenv("NOTIFY_SOCKET"))
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s->pair) < 0) {
        log_warning("socketpair: %s; a restart will disconnect all clients", strerror(errno));
        s->pair[0] = s->pair[1] = -1;
        return;
    }
    setsockopt(s->pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* ---- the next process ---- */

struct found {
    struct store *store;
    int memfd, *descriptors;
    bool *taken;
    uint32_t count, expected;
};

static int peek_state(struct found *f)
{
    int descriptors[LINK_DESCRIPTORS_MAX];
    struct link_message message;
    unsigned int count = 0;
    int r = link_peek(f->store->found, &message, descriptors, &count);

    if (r < 0)
        return r;
    if (message.kind != LINK_STATE || count != 1 || message.number > STATE_DESCRIPTORS_MAX) {
        for (unsigned int i = 0; i < count; i++)
            close(descriptors[i]);
        return -EPROTO;
    }
    f->memfd = descriptors[0];
    f->expected = message.number;
    f->descriptors = mem_zalloc(f->expected + 1, sizeof(*f->descriptors));
    f->taken = mem_zalloc(f->expected + 1, sizeof(*f->taken));
    return f->descriptors && f->taken ? 0 : -ENOMEM;
}

/* What is missing is missed by the sessions that name it. */
static void peek_descriptors(struct found *f)
{
    int descriptors[LINK_DESCRIPTORS_MAX], r = 0;

    while (r == 0 && f->count < f->expected) {
        struct link_message message;
        unsigned int count = 0;

        r = link_peek(f->store->found, &message, descriptors, &count);
        if (r == 0 && (message.kind != LINK_DESCRIPTORS || count != message.number || count == 0 ||
                       count > f->expected - f->count))
            r = -EPROTO;
        for (unsigned int i = 0; i < count; i++) {
            if (r == 0)
                f->descriptors[f->count++] = descriptors[i];
            else
                close(descriptors[i]);
        }
    }
    if (f->count < f->expected)
        log_error("%u of the %u descriptors of the previous process are missing: %s",
                  (unsigned int)(f->expected - f->count), (unsigned int)f->expected,
                  r == -EAGAIN || r == -EPIPE ? "the service manager's store does not have them"
                                              : strerror(-r));
}

/*
 * How many processes have begun to read it and did not get through is kept where it outlives them:
 * in the queue's own socket, for which the kernel has no use for SO_PRIORITY. False: too many.
 */
static bool count_attempt(int fd)
{
    int count = 0;
    socklen_t len = sizeof(count);

    if (getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &count, &len) < 0 || count >= STORE_ATTEMPTS)
        return count < STORE_ATTEMPTS;
    count++;
    setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &count, sizeof(count));
    return true;
}

static void forget_attempts(int fd)
{
    const int none = 0;

    setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &none, sizeof(none));
}

/* Without a listener of theirs they are lost; the listeners themselves are the manager's. */
static int on_listener(void *data, const struct state_listener *listener)
{
    (void)data;
    (void)listener;
    return -EBADMSG;
}

static int on_session(void *data, const char *listener, struct session_config *config)
{
    return listeners_configure(data, listener, config);
}

static void note(struct store *s, const struct state_restorer *r)
{
    uint64_t now = time_now_ms();

    s->sessions = r->sessions;
    s->sockets = r->sockets;
    s->ops = r->ops;
    s->lost = r->lost;
    s->paused_ms = r->saved && r->saved < now ? now - r->saved : 0;
    s->listeners->clients += r->sessions;
    if (r->lost > 0)
        log_error("disconnecting %u client%s of the previous process: %s", (unsigned int)r->lost,
                  text_plural(r->lost), r->lost_what);
}

/* -EBADMSG and the like with *ret_what: nothing was made. */
static int read_state(struct found *f, struct state_reader *in, const char **ret_what)
{
    int r = peek_state(f);

    if (r == 0) {
        peek_descriptors(f);
        r = state_open(in, f->memfd);
    }
    *ret_what = r == -EPROTONOSUPPORT                          ? "it has a different format"
                : r == -EBADMSG || r == -EPERM || r == -EPROTO ? "it is damaged"
                                                               : strerror(-r);
    return r;
}

static void discard_untaken(struct found *f)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (!f->taken[i])
            state_discard(f->descriptors[i]);
}

static void discard_rest(int fd)
{
    int descriptors[LINK_DESCRIPTORS_MAX];
    struct link_message message;
    unsigned int count = 0;

    while (link_peek(fd, &message, descriptors, &count) == 0)
        for (unsigned int i = 0; i < count; i++)
            state_discard(descriptors[i]);
}

static int restore(struct found *f, struct state_reader *in)
{
    struct store *s = f->store;
    struct state_restorer r = {
        .worker = s->listeners->worker,
        .descriptors = f->descriptors,
        .taken = f->taken,
        .descriptor_count = f->count,
        .configure = on_session,
        .listener = on_listener,
        .saves_what_it_can = true,
        .data = s->listeners,
    };
    int e = state_restore(&r, in);

    if (e == 0)
        note(s, &r);
    else if (e != -ENOMEM)
        log_error(
            "the state of the previous process cannot be used: %s; its clients are disconnected",
            r.what);
    return e;
}

/* It is all there for the next process, which may have more memory: count_attempt(). */
static _Noreturn void leave_to_next(void)
{
    log_error("there is not enough memory for the state of the previous process; the next process "
              "will try again");
    _exit(EXIT_FAILURE);
}

/* What was made so far is not freed. The manager starts another process, which finds nothing. */
static _Noreturn void give_up(struct found *f)
{
    for (uint32_t i = 0; i < f->count; i++)
        state_discard(f->descriptors[i]);
    link_empty(f->store->found);
    _exit(EXIT_FAILURE);
}

void store_restore(struct store *s)
{
    struct found f = {.store = s, .memfd = -1};
    struct state_reader in = {0};
    const char *what;
    int r;

    if (s->found < 0)
        return;
    if (!count_attempt(s->found)) {
        log_error(
            "the state of the previous process is dropped, and its clients are disconnected: %d "
            "processes exited while reading it",
            STORE_ATTEMPTS);
        discard_rest(s->found);
        return;
    }
    r = read_state(&f, &in, &what);
    if (r == 0) {
        r = restore(&f, &in);
        if (r < 0 && r != -ENOMEM)
            give_up(&f);
    }
    if (r == -ENOMEM)
        leave_to_next();
    if (r < 0) {
        log_error(
            "the state of the previous process cannot be read: %s; its clients are disconnected",
            what);
        discard_rest(s->found);
    }
    forget_attempts(s->found);
    discard_untaken(&f);
    state_reader_deinit(&in);
    close_fd(&f.memfd);
    mem_free(f.descriptors);
    mem_free(f.taken);
}

void store_resume(struct store *s, struct notifier *n)
{
    if (s->found < 0)
        return;
    log_notice(
        "took over %u client%s, %u socket%s and %u operation%s from the previous process within %u "
        "ms",
        (unsigned int)s->sessions, text_plural(s->sessions), (unsigned int)s->sockets,
        text_plural(s->sockets), (unsigned int)s->ops, text_plural(s->ops),
        (unsigned int)s->paused_ms);
    link_empty(s->found);
    close_fd(&s->found);
    notifier_forget(n, STORE_NAME);
    state_resume(s->listeners->worker);
}

/* ---- the process before ---- */

static bool is_at_lasting_listener(const struct store *s, const struct session *session)
{
    list_for_each (&s->listeners->list, it) {
        const struct listener *l = container_of(it, struct listener, node);

        if (strcmp(l->name, session->listener) == 0)
            return !l->is_added;
    }
    return false;
}

void store_end_others(struct store *s)
{
    list_for_each (&s->listeners->worker->sessions, it) {
        struct session *session = container_of(it, struct session, node);

        if (!state_may_carry(session) || !is_at_lasting_listener(s, session))
            session_end(session, ERR_CONNECTION_ABORTED, "the daemon is stopping");
    }
}

bool store_is_settled(const struct store *s)
{
    const struct worker *w = s->listeners->worker;

    list_for_each (&w->sessions, it) {
        if (!state_carries(container_of(it, struct session, node)))
            return false;
    }
    return true;
}

/* Nobody reads from the queue meanwhile: what has no room in it now never will. */
static int pack(int fd, int memfd, const struct state_writer *out)
{
    uint32_t done = 0;
    int r = link_send(fd, LINK_STATE, out->descriptor_count, &memfd, 1, 0);

    while (r == 0 && done < out->descriptor_count) {
        uint32_t left = out->descriptor_count - done;
        uint32_t n = left < LINK_DESCRIPTORS_MAX ? left : LINK_DESCRIPTORS_MAX;

        r = link_send(fd, LINK_DESCRIPTORS, n, out->descriptors + done, n, 0);
        done += n;
    }
    return r == -ETIMEDOUT ? -ENOBUFS : r;
}

static void end_in_reset(const struct store *s, bool on)
{
    list_for_each (&s->listeners->worker->sessions, it) {
        const struct session *session = container_of(it, struct session, node);

        if (session->is_handed_over)
            state_end_in_reset(session, on);
    }
}

/* Closed by all, it would be gone, and the other end hung up. */
static int check_stored(struct store *s)
{
    struct pollfd p = {.fd = s->pair[0]};

    close_fd(&s->pair[1]);
    return poll(&p, 1, 0) == 0 ? 0 : -ENOSPC;
}

static const char *reason(int r)
{
    switch (r) {
    case -ENOSPC:
        return "the service manager does not store them (FileDescriptorStoreMax= of the unit)";
    case -ETIMEDOUT:
        return "the service manager did not respond in time";
    case -ETOOMANYREFS:
        return "there are more descriptors than RLIMIT_NOFILE (LimitNOFILE= of the unit)";
    case -ENOBUFS:
        return "there are more descriptors than a socket's queue has room for (net.core.wmem_max)";
    default:
        return strerror(-r);
    }
}

static int deliver(struct store *s, struct notifier *n, int memfd, const struct state_writer *out)
{
    int r;

    end_in_reset(s, true);
    r = pack(s->pair[0], memfd, out);
    if (r == 0)
        r = notifier_store(n, STORE_NAME, s->pair[1], time_now_ms() + STORE_MS);
    if (r == 0)
        r = check_stored(s);
    if (r < 0)
        end_in_reset(s, false);
    return r;
}

static int put(struct store *s, struct notifier *n, uint32_t *ret_sessions)
{
    struct state_writer out;
    int memfd = -1, r = state_writer_init(&out);

    if (r == 0)
        r = memfd = hand_over_save(s->listeners, &out, ret_sessions);
    if (r >= 0)
        r = deliver(s, n, memfd, &out);
    close_fd(&memfd);
    state_writer_deinit(&out);
    return r;
}

int store_put(struct store *s, struct notifier *n)
{
    uint32_t sessions = 0;
    int r = put(s, n, &sessions);

    if (r == 0) {
        log_notice("asockd has handed over %u client%s to the next process", (unsigned int)sessions,
                   text_plural(sessions));
        hand_over_leave(s->listeners->worker, true);
        return 0;
    }
    if (s->pair[1] >= 0)
        link_empty(s->pair[1]);
    hand_over_forget(s->listeners->worker);
    log_error("the clients cannot be passed on to the next process, and are disconnected: %s",
              reason(r));
    return r;
}
