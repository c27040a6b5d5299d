/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX 1024

/* Process-wide, all of it: a log line has to be possible where no worker is at hand. */
static _Atomic enum log_level log_most = LOG_LEVEL_NOTICE; /* a thread may log, too */
static bool log_journal;                                   /* lines begin with "<N>" */
static enum { BY_WRITE, BY_SEND, BY_POLL } log_way;
static int log_fd = STDERR_FILENO;
static atomic_ullong log_lost, log_untold; /* lines */

/*
 * Standard error may have been redirected since the service manager connected it, systemd.exec(5).
 */
static bool is_journal(const struct stat *st)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;

    return text && sscanf(text, "%llu:%llu", &device, &inode) == 2 && st->st_dev == device &&
           st->st_ino == inode;
}

/*
 * A pipe that is not read, or a terminal that is stopped, must not stop the daemon. O_NONBLOCK
 * belongs to the open file, which other processes share: so a pipe or terminal is opened once more.
 * One of another user cannot be; poll(2) tells whether it takes a line, which is no longer than
 * PIPE_BUF.
 */
static void choose_way(const struct stat *st)
{
    int fd;

    log_way = S_ISSOCK(st->st_mode) ? BY_SEND : BY_WRITE;
    if (!S_ISFIFO(st->st_mode) && !isatty(STDERR_FILENO))
        return;
    fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        log_fd = fd;
    else
        log_way = BY_POLL;
}

void asock_log_setup(enum log_level most)
{
    static bool is_set_up;
    struct stat st;

    log_most = most;
    /* The second time is a reload's: under the filter nothing is opened for writing. */
    if (is_set_up || fstat(STDERR_FILENO, &st) < 0)
        return;
    is_set_up = true;
    log_journal = is_journal(&st);
    choose_way(&st);
}

static bool is_ready(void)
{
    struct pollfd pollfd = {.fd = log_fd, .events = POLLOUT};

    return poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLOUT);
}

/* False: it would have had to wait. Standard error that is gone is no reason to fail. */
static bool put(const char *line, size_t len)
{
    ssize_t n;

    if (log_way == BY_POLL && !is_ready())
        return false;
    n = log_way == BY_SEND ? send(log_fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : write(log_fd, line, len);
    return n >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

static size_t begin_line(char *line, size_t cap, enum log_level level)
{
    return log_journal ? (size_t)snprintf(line, cap, "<%d>", (int)level) : 0;
}

static bool tell_loss(void)
{
    unsigned long long untold = atomic_exchange(&log_untold, 0);
    char line[64];
    size_t n = begin_line(line, sizeof(line), LOG_LEVEL_WARNING);

    n += (size_t)snprintf(line + n, sizeof(line) - n, "log: %llu lines were lost here\n", untold);
    if (put(line, n))
        return true;
    log_untold += untold;
    return false;
}

unsigned long long asock_log_lost(void)
{
    return log_lost;
}

void asock_log_add_lost(unsigned long long lines)
{
    log_lost += lines;
}

/* What a client can put into a line must not be able to start another one. */
static size_t escape(char *out, size_t cap, const char *text)
{
    size_t n = 0;

    for (; *text && n + 5 < cap; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c < 0x7f)
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, cap - n, "\\x%02x", c);
    }
    out[n++] = '\n';
    return n;
}

static void put_or_lose(const char *line, size_t len)
{
    if ((log_untold == 0 || tell_loss()) && put(line, len))
        return;
    log_lost++;
    log_untold++;
}

void asock_log(enum log_level level, const char *format, ...)
{
    char text[LINE_BYTES_MAX], line[LINE_BYTES_MAX + 8];
    size_t n;
    va_list args;

    if (level > log_most)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    n = begin_line(line, sizeof(line), level);
    n += escape(line + n, sizeof(line) - n, text);
    put_or_lose(line, n);
}

void asock_log_escaped(enum log_level level, const char *text, size_t len)
{
    char line[LINE_BYTES_MAX + 8];
    size_t n = begin_line(line, sizeof(line), level), room = sizeof(line) - n - 1;

    len = len < room ? len : room;
    memcpy(line + n, text, len);
    line[n + len] = '\n';
    put_or_lose(line, n + len + 1);
}
