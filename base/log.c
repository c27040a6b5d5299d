/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_OCTETS 1024

/* The one process-wide setting: a log line has to be possible where no worker is at hand. */
static enum log_level log_most = LOG_LEVEL_NOTICE;
static bool log_journal;

void asock_log_setup(enum log_level most)
{
    log_most = most;
    log_journal = getenv("JOURNAL_STREAM") != NULL;
}

/* What a client can put into a line must not be able to start another one. */
static size_t escape(char *out, size_t cap, const char *text)
{
    size_t n = 0;

    for (; *text && n + 5 < cap; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c != 0x7f)
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
    /* Standard error that is full or gone is no reason to fail. */
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}
