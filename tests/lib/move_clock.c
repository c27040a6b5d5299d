/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into a program: its clocks are ahead by as many seconds as the first eight bytes of the
 * file that ASOCK_TEST_CLOCK names say. A test moves them while the program runs.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_int_least64_t none;
static atomic_int_least64_t *ahead = &none;

__attribute__((constructor)) static void open_clock(void)
{
    const char *path = getenv("ASOCK_TEST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page;

    if (fd < 0)
        return;
    page = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        ahead = page;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = (int)syscall(SYS_clock_gettime, clock, ret);

    if (r == 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME))
        ret->tv_sec += atomic_load(ahead);
    return r;
}
