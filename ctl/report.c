/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static void print_complaint(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void print_complaint(const char *format, va_list args)
{
    fputs("asockctl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void report_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_complaint(format, args);
    va_end(args);
}

int report_usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_complaint(format, args);
    va_end(args);
    fprintf(stderr, "\"asockctl --help\" lists commands and options.\n");
    return EXIT_USAGE;
}

void *report_need_memory(void *p)
{
    if (!p) {
        report_error("out of memory");
        exit(EXIT_FAILURE);
    }
    return p;
}

static ssize_t log_lines(void *cookie, const char *text, size_t size)
{
    const char *end = text + size;

    (void)cookie;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t len = (size_t)((newline ? newline : end) - text);

        asock_log_escaped(LOG_LEVEL_WARNING, text, len);
        text += newline ? len + 1 : len;
    }
    return (ssize_t)size;
}

void report_without_waiting(void)
{
    FILE *log = fopencookie(NULL, "w", (cookie_io_functions_t){.write = log_lines});

    if (!log)
        return;
    asock_log_setup(LOG_LEVEL_WARNING);
    setvbuf(log, NULL, _IOLBF, BUFSIZ);
    stderr = log;
}

int report_finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_SUCCESS;
    report_error("standard output: %s", strerror(errno));
    return EXIT_FAILURE;
}
