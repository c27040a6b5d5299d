/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_STREAM_H
#define CTL_STREAM_H

/*
 * Standard input or output, whatever it is, without ever waiting in a read or write that poll did
 * not promise. O_NONBLOCK is not set on it: the file description is shared with whoever started us.
 *
 *   regular file        read and write at once: they wait for the disk alone
 *   socket              MSG_DONTWAIT
 *   pipe, terminal      opened again by /proc/self/fd: a file description of our own, O_NONBLOCK
 *   any, if that fails  poll first, then one read; or one write of what fits if poll has said that
 *                       there is room
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum stream_kind {
    STREAM_BLOCKING,     /* only after poll, and in small pieces */
    STREAM_NEVER_BLOCKS, /* at any time */
    STREAM_SOCKET,
};

struct stream {
    int standard_fd; /* STDIN_FILENO or STDOUT_FILENO */
    int fd;          /* the one to use and to poll: standard_fd or our own */
    enum stream_kind kind;
    size_t piece;  /* most bytes of one write */
    bool is_ready; /* worth a try; cleared when it would have to wait, set by the poller */
};

void stream_init(struct stream *stream, int standard_fd);

/* Bytes; 0: end of file; -EAGAIN: poll, set is_ready; any other errno: it failed. */
ssize_t stream_read(struct stream *stream, void *data, size_t len);
/* Bytes; -EAGAIN likewise; -EPIPE without a signal if SIGPIPE is ignored. */
ssize_t stream_write(struct stream *stream, const void *data, size_t len);

/*
 * Output: tells the reader that this was all. The descriptor's number stays taken. Returns 0 or
 * what close had to say.
 */
int stream_end(struct stream *stream);

void stream_deinit(struct stream *stream);

#endif
