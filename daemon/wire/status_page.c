/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: memfd, size, mapped for writing, then sealed against every other writer.
 * Failures: no descriptor, no memory, a kernel before 5.1 (no F_SEAL_FUTURE_WRITE): nothing is left behind.
 */
#include "daemon/wire/status_page.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/wire/shm_buffer.h"

/* The mapping that is there may be written to; no other one can be, nor can the descriptor. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static int open_page(struct status_page *page)
{
    void *at;

    page->fd = shm_buffer_memfd();
    if (page->fd < 0)
        return page->fd;
    if (ftruncate(page->fd, STATUS_PAGE_LENGTH) < 0)
        return -errno;
    at = mmap(NULL, STATUS_PAGE_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, page->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    page->mark = at;
    return fcntl(page->fd, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
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
