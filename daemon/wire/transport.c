/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: readable -> fill -> the session consumes frames -> replies are reserved and committed
 * -> one write at the end of the turn. A frame that carries a descriptor begins a write of its own.
 * Failures: the client stops reading (EAGAIN: a write watcher, which asks for a step of the
 * session; room runs out, the session pauses reading), the client dies (output is dropped, input is
 * read to its end), no memory for a block (the small buffers go on).
 */
#include "daemon/wire/transport.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/wire/client_fd.h"
#include "daemon/wire/unread.h"

/* The last frame may have been waiting there while the block was full. */
static void use_small_output(struct transport *t)
{
    t->out = t->out_small;
    t->out_cap = IO_SMALL;
    t->out_start = 0;
    t->out_end = t->last_len;
    t->last_len = 0;
}

static void drop_fd_pass(struct fd_pass *pass)
{
    list_remove(&pass->node);
    pass->left(pass);
}

static void drop_passes(struct transport *t)
{
    struct fd_pass *pass;

    while ((pass = list_first(&t->passes, struct fd_pass, node)))
        drop_fd_pass(pass);
}

static void put_output(struct transport *t)
{
    if (t->out != t->out_small)
        worker_block_put(t->worker, t->quota, t->out);
    use_small_output(t);
}

static void drop_output(struct transport *t)
{
    drop_passes(t);
    t->last_len = 0;
    put_output(t);
}

static ssize_t send_fd_pass(struct transport *t, int fd, size_t len, const struct fd_pass *pass)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    int fds[2] = {pass->fd, pass->second_fd};
    size_t size = sizeof(int) * (pass->second_fd < 0 ? 1 : 2);
    struct iovec iov = {t->out + t->out_start, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    memset(&control, 0, sizeof(control));
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(cmsg), fds, size);
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Where too many are on their way, perhaps another program's of our user, the client misses it. */
static ssize_t send_with_pass(struct transport *t, int fd, size_t len, struct fd_pass *pass)
{
    ssize_t n = send_fd_pass(t, fd, len, pass);

    pass->is_sent = n > 0;
    if (n < 0 && errno == ETOOMANYREFS)
        n = send(fd, t->out + t->out_start, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n;
}

/* Bytes up to where the next descriptor's frame begins, behind that of `first`. */
static size_t write_length(const struct transport *t, const struct fd_pass *first)
{
    const struct fd_pass *next = first;

    if (first && first->at == t->bytes_out)
        next = first->node.next == &t->passes
                   ? NULL
                   : container_of(first->node.next, struct fd_pass, node);
    return next ? (size_t)(next->at - t->bytes_out) : t->out_end - t->out_start;
}

static ssize_t write_some(struct transport *t, int fd)
{
    struct fd_pass *first = list_first(&t->passes, struct fd_pass, node);
    size_t len = write_length(t, first);
    ssize_t n;

    if (first && first->at > t->bytes_out)
        first = NULL;
    n = first ? send_with_pass(t, fd, len, first)
              : send(fd, t->out + t->out_start, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return n;
    t->charged += unread_charge((size_t)n);
    if (first)
        drop_fd_pass(first);
    return n;
}

/*
 * 1: all written; 0: the rest waits for the watcher; -ENOMEM: the rest waits, but the kernel does
 * not say when it has memory; other -errno: the other end is gone.
 */
static int write_out(struct transport *t, int fd)
{
    while (t->out_start < t->out_end) {
        ssize_t n = write_some(t, fd);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : errno == ENOBUFS ? -ENOMEM : -errno;
        t->out_start += (size_t)n;
        t->bytes_out += (uint64_t)n;
        if (t->out_start == t->out_end)
            put_output(t);
    }
    drop_output(t);
    return 1;
}

static void tell_drained(struct transport *t)
{
    if (!t->out_waits)
        return;
    t->out_waits = false;
    t->ops->drained(t);
}

static void flush(struct transport *t)
{
    size_t before = t->out_start;
    int r = write_out(t, t->fd);
    bool waits = r == 0 || r == -ENOMEM;

    t->must_leave = false;
    if (r == 0)
        ev_io_start(t->worker->loop, &t->write_io);
    else
        ev_io_stop(t->worker->loop, &t->write_io);
    /* The socket may be writable all the time, so a watcher would not help: use a timer. */
    if (r == -ENOMEM)
        worker_set_deadline(t->worker, &t->retry, RETRY_MS);
    if (waits && t->out_start == before)
        return;
    if (r < 0 && !waits) {
        t->out_lost = true;
        drop_output(t);
        t->ops->lost(t);
    }
    tell_drained(t);
}

static void on_retry(struct deadline *deadline)
{
    flush(container_of(deadline, struct transport, retry));
}

/* No other reply came to travel with it. */
static void on_hold_over(struct deadline *deadline)
{
    struct transport *t = container_of(deadline, struct transport, hold);

    /* It came in this very turn, in which the time was over. */
    if (t->must_leave)
        return;
    backoff_failed(&t->holding);
    t->must_leave = true;
    worker_flush_later(t->worker, &t->flush);
}

static bool hold(struct transport *t)
{
    if (t->must_leave || !t->ops->awaits(t)) {
        if (deadline_is_set(&t->hold))
            backoff_paid(&t->holding);
        deadline_unset(&t->hold);
        return false;
    }
    if (deadline_is_set(&t->hold))
        return true;
    if (backoff_skips(&t->holding))
        return false;
    /* The clock's present millisecond is partly over. */
    worker_set_deadline(t->worker, &t->hold, HOLD_MS + 1);
    return true;
}

static void on_flush(struct task *task)
{
    struct transport *t = container_of(task, struct transport, flush);

    /* It leaves when the owner's slice is over: within a few turns. */
    if (!t->out_waits && t->ops->goes_on(t)) {
        worker_flush_later(t->worker, &t->flush);
        return;
    }
    if (hold(t))
        return;
    /* What came while it was asked for leaves with the rest. */
    task_cancel(&t->flush);
    flush(t);
}

/* Many clients may read at once: each write is a step of its session. */
static void on_writable(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct transport *t = io->data;

    (void)events;
    ev_io_stop(loop, io);
    t->ops->writable(t);
}

void transport_write(struct transport *t)
{
    deadline_unset(&t->hold); /* what was held meanwhile leaves with the rest */
    flush(t);
}

static void on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct transport *t = io->data;

    (void)loop;
    (void)events;
    t->in_emptied = false;
    t->ops->readable(t);
}

int transport_init(struct transport *t, struct worker *w, struct quota *quota, int fd,
                   bool takes_fds, const struct transport_ops *ops)
{
    int size = IO_SOCKET_BUFFER;

    memset(t, 0, sizeof(*t));
    t->out_small = mem_alloc(IO_SMALL);
    if (!t->out_small)
        return -ENOMEM;
    t->worker = w;
    t->quota = quota;
    t->ops = ops;
    t->fd = fd;
    list_init(&t->passes);
    t->passed_fd = -1;
    t->takes_fds = takes_fds;
    t->refuses_fds = client_fd_refuses_descriptors(fd);
    /* The kernel gives as much as net.core.wmem_max allows; it does with less. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    use_small_output(t);
    task_init(&t->flush, on_flush);
    deadline_init(&t->hold, on_hold_over);
    deadline_init(&t->retry, on_retry);
    ev_io_init(&t->read_io, on_readable, fd, EV_READ);
    ev_io_init(&t->write_io, on_writable, fd, EV_WRITE);
    t->read_io.data = t->write_io.data = t;
    return 0;
}

int transport_take_fd(struct transport *t)
{
    int fd = t->passed_fd;

    t->passed_fd = -1;
    return fd;
}

static void drop_passed_fd(struct transport *t)
{
    int fd = transport_take_fd(t);

    if (fd >= 0)
        client_fd_close(fd);
}

static void drop_input(struct transport *t)
{
    if (t->in_cap == IO_BLOCK)
        worker_block_put(t->worker, t->quota, t->in);
    else
        worker_small_block_put(t->worker, t->in);
    t->in = NULL;
    t->in_start = t->in_end = t->in_cap = 0;
}

int transport_detach(struct transport *t)
{
    int fd = t->fd;

    task_deinit(&t->flush);
    deadline_deinit(&t->hold);
    deadline_deinit(&t->retry);
    ev_io_stop(t->worker->loop, &t->read_io);
    ev_io_stop(t->worker->loop, &t->write_io);
    drop_input(t);
    drop_passed_fd(t);
    drop_passes(t);
    t->fd = -1;
    return fd;
}

void transport_drop_rest(struct transport *t, int fd)
{
    drop_output(t);
    t->out_small = t->out = mem_free(t->out_small);
    if (fd >= 0) /* not one that another process has */
        shutdown(fd, SHUT_WR);
}

int transport_write_rest(struct transport *t, int fd)
{
    int r;

    if (!t->out_small)
        return 1;
    r = t->out_lost ? -EPIPE : write_out(t, fd);
    if (r != 0 && r != -ENOMEM)
        transport_drop_rest(t, fd);
    return r;
}

int transport_leave(struct transport *t)
{
    int fd = t->fd;

    ev_io_stop(t->worker->loop, &t->read_io);
    ev_io_stop(t->worker->loop, &t->write_io);
    task_cancel(&t->flush);
    deadline_unset(&t->hold);
    deadline_unset(&t->retry);
    t->out_lost = true;
    drop_output(t);
    t->fd = -1;
    return fd;
}

void transport_resume(struct transport *t)
{
    ev_io_start(t->worker->loop, &t->read_io);
}

void transport_pause(struct transport *t)
{
    ev_io_stop(t->worker->loop, &t->read_io);
}

/* Without room for a block small frames go on; so do large ones, of one session of a user. */
static int prepare_small_input(struct transport *t)
{
    size_t len = t->in_end - t->in_start;

    if (!t->in) {
        t->in = worker_small_block_get(t->worker);
        t->in_cap = t->in ? IO_SMALL : 0;
    } else if (t->in_start > 0) {
        memmove(t->in, t->in + t->in_start, len);
    }
    t->in_start = 0;
    t->in_end = len;
    return t->in_end < t->in_cap ? 0 : -ENOMEM;
}

/* Makes sure of a block with room behind the input. 0, -ENOBUFS, -ENOMEM. */
static int prepare_input(struct transport *t)
{
    size_t len = t->in_end - t->in_start;
    uint8_t *block;

    if (t->in_cap == IO_BLOCK) {
        if (t->in_start == t->in_end)
            t->in_start = t->in_end = 0;
        /* Moving costs; do it only where a whole frame might not fit behind. */
        if (t->in_cap - t->in_end >= FRAME_MAX)
            return 0;
        if (t->in_start > 0) {
            memmove(t->in, t->in + t->in_start, len);
            t->in_start = 0;
            t->in_end = len;
        }
        return t->in_end < t->in_cap ? 0 : -ENOBUFS;
    }
    block = worker_block_get(t->worker, t->quota);
    if (!block && prepare_small_input(t) == 0)
        return 0;
    if (!block)
        block = worker_block_get_last(t->worker, t->quota);
    if (!block)
        return -ENOMEM;
    if (len > 0)
        memcpy(block, t->in + t->in_start, len);
    worker_small_block_put(t->worker, t->in);
    t->in = block;
    t->in_cap = IO_BLOCK;
    t->in_start = 0;
    t->in_end = len;
    return 0;
}

/* One descriptor waits at a time. */
static ssize_t read_some(struct transport *t, void *to, size_t len)
{
    int taken = -1;
    ssize_t n;

    if (!t->takes_fds)
        return client_fd_recv(t->fd, to, len, t->refuses_fds);
    n = client_fd_recv_taking(t->fd, to, len, &taken);
    if (taken < 0)
        return n;
    drop_passed_fd(t);
    t->passed_fd = taken;
    return n;
}

int transport_fill(struct transport *t)
{
    ssize_t n;
    int r;

    r = prepare_input(t);
    if (r < 0)
        return r;
    do {
        n = read_some(t, t->in + t->in_end, t->in_cap - t->in_end);
    } while (n < 0 && errno == EINTR);
    t->in_emptied = n < (ssize_t)(t->in_cap - t->in_end);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    t->in_end += (size_t)n;
    t->bytes_in += (uint64_t)n;
    return 1;
}

bool transport_has_unread(const struct transport *t)
{
    char byte;

    return recv(t->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void transport_trim_input(struct transport *t)
{
    size_t len = t->in_end - t->in_start;
    uint8_t *small;

    if (!t->in)
        return;
    if (len == 0) {
        drop_input(t);
        return;
    }
    if (len > IO_SMALL || t->in_cap != IO_BLOCK)
        return;
    small = worker_small_block_get(t->worker);
    if (!small)
        return; /* the block serves as well */
    memcpy(small, t->in + t->in_start, len);
    drop_input(t);
    t->in = small;
    t->in_cap = IO_SMALL;
    t->in_end = len;
}

static void compact_output(struct transport *t)
{
    size_t len = t->out_end - t->out_start;

    memmove(t->out, t->out + t->out_start, len);
    t->out_start = 0;
    t->out_end = len;
}

static bool enlarge_output(struct transport *t)
{
    size_t len = t->out_end - t->out_start;
    uint8_t *block;

    if (t->out != t->out_small)
        return false;
    block = worker_block_get(t->worker, t->quota);
    if (!block)
        return false;
    memcpy(block, t->out + t->out_start, len);
    t->out = block;
    t->out_cap = IO_BLOCK;
    t->out_start = 0;
    t->out_end = len;
    return true;
}

size_t transport_room(struct transport *t, size_t want)
{
    if (t->out_cap - t->out_end < want) {
        /* A quarter at least: a client that reads in sips must not cost a move per sip. */
        if (t->out_start >= t->out_cap / 4)
            compact_output(t);
        if (t->out_cap - t->out_end < want)
            enlarge_output(t);
    }
    if (t->out_cap == t->out_end)
        t->out_waits = true;
    return t->out_cap - t->out_end;
}

uint8_t *transport_reserve(struct transport *t, size_t len)
{
    if (transport_room(t, len) < len) {
        t->out_waits = true;
        return NULL;
    }
    return t->out + t->out_end;
}

void transport_commit(struct transport *t, size_t len)
{
    assert(len <= t->out_cap - t->out_end);
    if (t->out_lost)
        return;
    t->out_end += len;
    if (!t->may_hold)
        t->must_leave = true;
    else if (deadline_is_set(&t->hold))
        return;
    /* With a write watcher armed the socket is known to be full. */
    if (!ev_is_active(&t->write_io))
        worker_flush_later(t->worker, &t->flush);
}

uint8_t *transport_reserve_last(struct transport *t, size_t len)
{
    uint8_t *place = transport_reserve(t, len);

    assert(len <= IO_SMALL);
    if (!place)
        transport_flush_now(t);
    if (!place)
        place = transport_reserve(t, len);
    return place || t->out == t->out_small ? place : t->out_small;
}

void transport_commit_last(struct transport *t, const uint8_t *place, size_t len)
{
    if (place == t->out_small && t->out != t->out_small)
        t->last_len = (uint16_t)len;
    else
        transport_commit(t, len);
}

void transport_commit_fd_pass(struct transport *t, size_t len, struct fd_pass *pass)
{
    if (t->out_lost) {
        pass->left(pass);
        return;
    }
    pass->at = t->bytes_out + (t->out_end - t->out_start);
    list_append(&t->passes, &pass->node);
    transport_commit(t, len);
}

void transport_flush_now(struct transport *t)
{
    if (!t->out_lost)
        (void)write_out(t, t->fd);
}
