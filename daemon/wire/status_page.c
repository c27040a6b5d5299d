/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: memfd, size, mapped, sealed against another size. A later process maps it again
 * (daemon/state/), which is why it is not sealed against writing: the daemon never reads it, so
 * that a client that writes to it deceives itself alone.
 * Failures: no descriptor, no memory: nothing is left behind.
 */
#include "daemon/wire/status_page.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/wire/shm_buffer.h"

static int map_page(struct status_page *page)
{
    void *at = mmap(NULL, STATUS_PAGE_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, page->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    page->mark = at;
    return 0;
}

static int open_page(struct status_page *page)
{
    page->fd = shm_buffer_memfd();
    if (page->fd < 0)
        return page->fd;
    if (ftruncate(page->fd, STATUS_PAGE_LENGTH) < 0 ||
        fcntl(page->fd, F_ADD_SEALS, SHM_BUFFER_SEALS) < 0)
        return -errno;
    return map_page(page);
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
    r = map_page(page);
    if (r < 0)
        page = mem_free(page);
    *ret = page;
    return r;
}

struct status_page *status_page_free(struct status_page *page)
{
    if (!page)
        return NULL;
    if (page->mark)
        munmap(page->mark, STATUS_PAGE_LENGTH);
    if (page->fd >= 0)
        close(page->fd);
    return mem_free(page);
}

void status_page_mark(struct status_page *page)
{
    __atomic_store_n(page->mark, 1, __ATOMIC_SEQ_CST);
}
