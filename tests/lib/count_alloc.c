/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into a daemon: counts its calls of malloc and its like, in the first eight bytes of the
 * file that ASOCK_TEST_COUNTER names, where a test reads them while the daemon runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, under the names that it keeps for such as this. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_uint_least64_t early; /* before the constructor */
static atomic_uint_least64_t *counter = &early;

__attribute__((constructor)) static void open_counter(void)
{
    const char *path = getenv("ASOCK_TEST_COUNTER");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page;

    if (fd < 0)
        return;
    page = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        counter = page;
}

static void count(void)
{
    atomic_fetch_add(counter, 1);
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count();
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    count();
    *ret = __libc_memalign(alignment, size);
    return *ret != NULL ? 0 : ENOMEM;
}
