/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A terminal with room has at least this much: WAKEUP_CHARS of the kernel's n_tty.c. */
#define TERMINAL_ROOM 256

static int open_again(int fd)
{
    char path[sizeof("/proc/self/fd/") + 11];
    int mode = fcntl(fd, F_GETFL);

    if (mode < 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, (mode & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void stream_init(struct stream *stream, int standard_fd)
{
    struct stat st = {0};
    bool is_terminal = isatty(standard_fd) == 1;

    *stream = (struct stream){
        .standard_fd = standard_fd,
        .fd = standard_fd,
        .kind = STREAM_BLOCKING,
        .piece = is_terminal ? TERMINAL_ROOM : PIPE_BUF,
    };
    if (fstat(standard_fd, &st) < 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        stream->kind = STREAM_SOCKET;
    } else if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
        stream->kind = STREAM_NEVER_BLOCKS;
    } else if (S_ISFIFO(st.st_mode) || is_terminal) {
        int fd = open_again(standard_fd);

        if (fd >= 0) {
            stream->fd = fd;
            stream->kind = STREAM_NEVER_BLOCKS;
        }
    }
    if (stream->kind != STREAM_BLOCKING) {
        stream->piece = SSIZE_MAX;
        stream->is_ready = true;
    }
}

static ssize_t result_of(struct stream *stream, ssize_t n)
{
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        stream->is_ready = false;
        return -EAGAIN;
    }
    if (stream->kind == STREAM_BLOCKING)
        stream->is_ready = false;
    return n < 0 ? -errno : n;
}

ssize_t stream_read(struct stream *stream, void *data, size_t len)
{
    if (!stream->is_ready)
        return -EAGAIN;
    if (stream->kind == STREAM_SOCKET)
        return result_of(stream, recv(stream->fd, data, len, MSG_DONTWAIT));
    return result_of(stream, read(stream->fd, data, len));
}

ssize_t stream_write(struct stream *stream, const void *data, size_t len)
{
    if (!stream->is_ready)
        return -EAGAIN;
    if (len > stream->piece)
        len = stream->piece;
    if (stream->kind == STREAM_SOCKET)
        return result_of(stream, send(stream->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL));
    return result_of(stream, write(stream->fd, data, len));
}

int stream_end(struct stream *stream)
{
    int null_fd;

    if (stream->kind == STREAM_SOCKET) /* standard input may be the same one */
        return shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
    stream_deinit(stream);
    if (close(stream->standard_fd) < 0)
        return -errno;
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_fd >= 0 && null_fd != stream->standard_fd) {
        (void)dup2(null_fd, stream->standard_fd);
        close(null_fd);
    }
    return 0;
}

void stream_deinit(struct stream *stream)
{
    if (stream->fd != stream->standard_fd)
        close(stream->fd);
    stream->fd = stream->standard_fd;
}
