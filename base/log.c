/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_OCTETS 1024

/* The one process-wide setting: a log line has to be possible where no worker is at hand. */
static enum log_level log_most = LOG_LEVEL_NOTICE;
static bool log_journal;

/* Standard error may have been redirected since the service manager connected it, systemd.exec(5). */
static bool is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return text && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void asock_log_setup(enum log_level most)
{
    log_most = most;
    log_journal = is_journal();
}

/* Standard error that is full or gone is no reason to fail; a journal that hangs none to wait. */
static void put(const char *line, size_t len)
{
    ssize_t n;

    if (log_journal)
        n = send(STDERR_FILENO, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        n = write(STDERR_FILENO, line, len);
    (void)n;
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

void asock_log(enum log_level level, const char *format, ...)
{
    char text[LINE_MAX_OCTETS], line[LINE_MAX_OCTETS + 8];
    size_t n = 0;
    va_list args;

    if (level > log_most)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (log_journal)
        n = (size_t)snprintf(line, sizeof(line), "<%d>", (int)level);
    n += escape(line + n, sizeof(line) - n, text);
    put(line, n);
}
