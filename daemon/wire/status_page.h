/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATUS_PAGE_H
#define ASOCKD_STATUS_PAGE_H

/*
 * A page in which the daemon says that it takes a session's buffers back: its first four bytes are
 * 0 until then. The daemon writes there and never reads. What a client has copied out of a buffer
 * is what was received as long as the mark, looked at after the copy, is not set.
 */
#include <stdint.h>

#include "daemon/wire/emptier.h"

#define STATUS_PAGE_LENGTH 4096u

struct status_page {
    int fd; /* also for a client that asks for it again */
    struct emptier_job mark;
    void *owner;
};

/* 0 or -errno. */
int status_page_new(struct status_page **ret);
/*
 * Of another process (daemon/state/): fd is the page's if it returns 0. -EBADMSG: it is something
 * else.
 */
int status_page_adopt(int fd, struct status_page **ret);
struct status_page *status_page_free(struct status_page *page); /* NULL, which it accepts too */
/* In the loop: for where there is no process that does it (emptier.h). */
void status_page_mark(struct status_page *page);

#endif
