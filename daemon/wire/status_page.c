/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: memfd, size and memory, sealed against another size -> marked by a write, which can
 * fail where a store would end the daemon. A later process writes to it as well (daemon/state/),
 * which is why it is not sealed against writing: the daemon never reads it, so that a client that
 * writes to it deceives itself alone.
 * Failures: no descriptor, no memory: nothing is left behind. A client has punched a hole into it,
 * and there is no memory to mark it: that client sees no mark.
 */
#include "daemon/wire/status_page.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/wire/shm_buffer.h"

static int open_page(struct status_page *page)
{
    page->fd = shm_buffer_memfd();
    if (page->fd < 0)
        return page->fd;
    if (fallocate(page->fd, 0, 0, STATUS_PAGE_LENGTH) < 0 ||
        fcntl(page->fd, F_ADD_SEALS, SHM_BUFFER_SEALS) < 0)
        return -errno;
    return 0;
}

int status_page_new(struct status_page **ret)
{
    struct status_page *page = mem_zalloc(1, sizeof(*page));
    int r;

    if (!page)
        return -ENOMEM;
    r = open_page(page);
    if (r < 0)
        page = status_page_free(page);
    *ret = page;
    return r;
}

int status_page_adopt(int fd, struct status_page **ret)
{
    struct status_page *page;
    int r = shm_buffer_check(fd, STATUS_PAGE_LENGTH);

    if (r < 0)
        return r;
    page = mem_zalloc(1, sizeof(*page));
    if (!page)
        return -ENOMEM;
    page->fd = fd;
    *ret = page;
    return 0;
}

struct status_page *status_page_free(struct status_page *page)
{
    if (!page)
        return NULL;
    if (page->fd >= 0)
        close(page->fd);
    return mem_free(page);
}

void status_page_mark(struct status_page *page)
{
    const uint32_t mark = 1;

    if (pwrite(page->fd, &mark, sizeof(mark), 0) < 0)
        log_error("cannot write to a status page: %s", strerror(errno));
}
