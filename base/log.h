/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_LOG_H
#define ASOCK_BASE_LOG_H

#include <stddef.h>

/*
 * The log of the daemon, and of asockctl's gateway: a line per event on standard error, with the
 * "<N>" prefix of sd-daemon(3) when standard error is the journal (JOURNAL_STREAM is set). A pipe,
 * a terminal or a socket that takes no line now does not make the caller wait: the line is lost,
 * and the next line is preceded by the number of lost ones. What does not fit into a line is cut.
 * Control characters in the text are escaped.
 */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
};

/* For the whole process, at start; again to change the level. NOTICE unless set. */
void asock_log_setup(enum log_level most);
/* Lines so far. */
unsigned long long asock_log_lost(void);
/* Lines that a process before this one has lost. */
void asock_log_add_lost(unsigned long long lines);
void asock_log(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same of text that has been escaped already. */
void asock_log_escaped(enum log_level level, const char *text, size_t len);

#define log_error(...) asock_log(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) asock_log(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) asock_log(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) asock_log(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) asock_log(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
