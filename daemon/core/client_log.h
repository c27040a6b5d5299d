/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CLIENT_LOG_H
#define ASOCKD_CLIENT_LOG_H

/*
 * What the log says of clients whose sessions the daemon had to end: the first one of each user and
 * cause at once, those of the next CLIENT_LOG_MS as one line with their number. A client fills no
 * disk.
 */
#include <stdint.h>

#include "daemon/core/loop.h"

#define CLIENT_LOG_MS 10000u
/*
 * Users and causes at a time; what is above them is counted together. Looked through for each such
 * session.
 */
#define CLIENT_LOG_ROWS 128u
/* Causes of one user that are counted separately; the others are counted as one. */
#define CLIENT_LOG_ROWS_PER_UID 8u

struct client_log;

struct client_log *client_log_new(struct worker *w); /* NULL without memory */
/* Tells what is counted. Accepts NULL; returns it. */
struct client_log *client_log_free(struct client_log *log);

/* log NULL: each one is logged. cause is cut at 200 bytes. */
void client_log_ended(struct client_log *log, uint64_t session, int pid, uint32_t uid,
                      const char *cause);

#endif
