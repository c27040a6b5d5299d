/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unix streams, with descriptors in them, as unix(7) has them. */
#include <errno.h>
#include <string.h>

#include "tests/sim/kernel.h"

static struct kfile *end_new(void)
{
    struct kfile *file = file_new(FILE_UNIX);
    struct unix_end *end = sim_alloc(sizeof(*end));

    end->cap = sim.faults & 1u << FAULT_SMALL_BUFFERS ? 256 + sim_random(8192) : 208 * 1024;
    file->u.unix_end = end;
    return file;
}

void unix_pair(struct kfile *ret[2])
{
    ret[0] = end_new();
    ret[1] = end_new();
    ret[0]->u.unix_end->peer = ret[1];
    ret[1]->u.unix_end->peer = ret[0];
    ret[0]->u.unix_end->is_connected = ret[1]->u.unix_end->is_connected = true;
}

struct kfile *unix_listen(const char *path)
{
    struct kfile *file = file_new(FILE_LISTENER);

    file->is_nonblocking = true;
    file->u.listener = sim_alloc(sizeof(*file->u.listener));
    strncpy(file->u.listener->path, path, sizeof(file->u.listener->path) - 1);
    return file;
}

static struct kfile *find_listener(const char *path)
{
    for (unsigned int i = 0; i < KERNEL_FDS; i++) {
        struct kfile *file = kernel.fds[i].file;

        if (file && file->kind == FILE_LISTENER && strcmp(file->u.listener->path, path) == 0)
            return file;
    }
    return NULL;
}

int unix_connect(struct kfile *file, const char *path)
{
    struct kfile *listener = find_listener(path), *other;

    if (file->u.unix_end->is_connected)
        return -EISCONN;
    if (!listener)
        return -ECONNREFUSED;
    if (listener->u.listener->count == BACKLOG)
        return -EAGAIN;
    other = end_new();
    other->u.unix_end->peer = file;
    other->u.unix_end->is_connected = file->u.unix_end->is_connected = true;
    file->u.unix_end->peer = other;
    listener->u.listener->queue[listener->u.listener->count++] = other;
    return 0;
}

struct kfile *unix_accept(struct kfile *listener)
{
    struct listener_file *l = listener->u.listener;
    struct kfile *file;

    if (l->count == 0)
        return NULL;
    file = l->queue[0];
    memmove(l->queue, l->queue + 1, --l->count * sizeof(struct kfile *));
    return file;
}

/* The kernel charges for a message as a whole, until its last byte has been read. */
struct message {
    uint64_t end; /* in bytes written */
    uint64_t charged;
};

static void charge_message(struct unix_end *to, size_t len)
{
    struct message message = {to->written, (len + 320 + 511) / 512 * 512 + 256};

    byte_queue_append(&to->messages, &message, sizeof(message));
    to->charged += message.charged;
}

static void uncharge_read(struct unix_end *end)
{
    struct message message;

    while (byte_queue_len(&end->messages) > 0) {
        memcpy(&message, end->messages.at + end->messages.start, sizeof(message));
        if (message.end > end->read)
            return;
        byte_queue_drop(&end->messages, sizeof(message));
        end->charged -= message.charged;
    }
}

ssize_t unix_send(struct kfile *file, const struct iovec *iov, size_t count,
                  const struct passed *passed)
{
    struct unix_end *end = file->u.unix_end, *to;
    size_t room, left;

    if (!end->is_connected)
        return -ENOTCONN;
    if (!end->peer || end->is_write_shut || end->peer->u.unix_end->is_read_shut)
        return -EPIPE;
    to = end->peer->u.unix_end;
    room = to->cap > byte_queue_len(&to->rx) ? to->cap - byte_queue_len(&to->rx) : 0;
    left = iov_total(iov, count);
    if (left == 0)
        return 0;
    if (room == 0)
        return -EAGAIN;
    left = kernel_part(left < room ? left : room);
    room = left;
    if (passed && passed->count > 0) {
        SIM_MUST(to->mark_count < MARKS_MAX);
        to->marks[to->mark_count].at = to->written;
        to->marks[to->mark_count++].passed = *passed;
        for (unsigned int i = 0; i < passed->count; i++)
            passed->files[i]->refs++;
    }
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;

        byte_queue_append(&to->rx, iov[i].iov_base, part);
        left -= part;
    }
    to->written += room;
    charge_message(to, room);
    return (ssize_t)room;
}

/* A read ends before the byte that came with the next descriptors. */
static size_t until_mark(const struct unix_end *end, size_t n)
{
    for (unsigned int i = 0; i < end->mark_count; i++) {
        uint64_t at = end->marks[i].at;

        if (at > end->read && at - end->read < n)
            return (size_t)(at - end->read);
    }
    return n;
}

static void drop_passed(const struct passed *passed)
{
    for (unsigned int i = 0; i < passed->count; i++)
        file_unref(passed->files[i]);
}

static struct passed take_mark(struct unix_end *end)
{
    struct passed passed = {.count = 0};

    if (end->mark_count == 0 || end->marks[0].at > end->read)
        return passed;
    passed = end->marks[0].passed;
    memmove(end->marks, end->marks + 1, --end->mark_count * sizeof(end->marks[0]));
    return passed;
}

static ssize_t nothing(struct unix_end *end, size_t want)
{
    int error = end->error;

    if (want == 0)
        return 0;
    end->error = 0;
    if (error)
        return -error;
    if (end->is_read_shut || !end->peer || end->peer->u.unix_end->is_write_shut)
        return 0;
    return -EAGAIN;
}

ssize_t unix_receive(struct kfile *file, const struct iovec *iov, size_t count, int flags,
                     struct passed *ret_passed)
{
    struct unix_end *end = file->u.unix_end;
    size_t n = iov_total(iov, count), there = byte_queue_len(&end->rx);
    struct passed passed;

    if (!end->is_connected)
        return -EINVAL;
    if (there == 0 || n == 0)
        return nothing(end, n);
    n = until_mark(end, kernel_part(n < there ? n : there));
    iov_fill(iov, count, end->rx.at + end->rx.start, n);
    if (flags & MSG_PEEK)
        return (ssize_t)n;
    passed = take_mark(end);
    if (ret_passed)
        *ret_passed = passed;
    else
        drop_passed(&passed);
    byte_queue_drop(&end->rx, n);
    end->read += n;
    uncharge_read(end);
    return (ssize_t)n;
}

void unix_shutdown(struct kfile *file, int how)
{
    struct unix_end *end = file->u.unix_end;

    if (how != SHUT_WR)
        end->is_read_shut = true;
    if (how != SHUT_RD)
        end->is_write_shut = true;
}

void unix_free(struct kfile *file)
{
    struct unix_end *end = file->u.unix_end;

    if (end->peer) {
        struct unix_end *other = end->peer->u.unix_end;

        other->peer = NULL;
        if (byte_queue_len(&end->rx) > 0)
            other->error = ECONNRESET;
    }
    for (unsigned int i = 0; i < end->mark_count; i++)
        drop_passed(&end->marks[i].passed);
    byte_queue_free(&end->rx);
    byte_queue_free(&end->messages);
    sim_free(end);
}

int unix_events(const struct unix_end *end)
{
    const struct unix_end *to;
    int events = 0;

    if (!end->is_connected)
        return POLLOUT | POLLHUP;
    if (!end->peer)
        return POLLIN | POLLOUT | POLLHUP | POLLRDHUP | (end->error ? POLLERR : 0);
    to = end->peer->u.unix_end;
    if (byte_queue_len(&end->rx) > 0 || end->is_read_shut || to->is_write_shut)
        events |= POLLIN;
    if (to->is_write_shut)
        events |= POLLRDHUP;
    if (byte_queue_len(&to->rx) < to->cap || to->is_read_shut)
        events |= POLLOUT;
    if (end->is_read_shut && end->is_write_shut)
        events |= POLLHUP;
    return events;
}

unsigned int unix_unfetched(const struct unix_end *end)
{
    const struct unix_end *to = end->peer ? end->peer->u.unix_end : NULL;
    unsigned int count = 0;

    for (unsigned int i = 0; to && i < to->mark_count; i++)
        for (unsigned int k = 0; k < to->marks[i].passed.count; k++)
            count += to->marks[i].passed.files[k]->kind == FILE_TCP;
    return count;
}
