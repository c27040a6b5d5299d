/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes that lie in shared memory are only as sound as the memory: the daemon takes it back when it
 * has ended the session and the completions were not read for long. Before it does it marks the
 * session's status page. So an operation succeeds only if the page has no mark after its bytes were
 * copied, or, where the program reads them in place, just before its completion is reported.
 *
 * When this side learns that the session has ended, its connection is still open, so that the
 * daemon has not yet emptied anything, unless the mark is there. The buffers become private memory
 * with the same contents (buffer.c).
 */
#include "client-lib/shm/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define STATUS_LENGTH 4096u

bool asock_status_is_marked(const struct status *status)
{
#ifndef __SANITIZE_THREAD__ /* which knows no fences; its machines keep loads in order */
    /* What was read before must not be read later than the mark. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
    return status->mark && __atomic_load_n(status->mark, __ATOMIC_ACQUIRE) != 0;
}

int asock_status_map(struct status *status, int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *at;

    if (fstat(fd, &st) < 0 || st.st_size < (off_t)STATUS_LENGTH || seals < 0 ||
        !(seals & F_SEAL_SHRINK))
        return -EPROTO;
    at = mmap(NULL, STATUS_LENGTH, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    if (madvise(at, STATUS_LENGTH, MADV_DONTFORK) < 0) {
        munmap(at, STATUS_LENGTH);
        return -ENOMEM;
    }
    status->mark = at;
    return 0;
}

void asock_status_unmap(struct status *status)
{
    if (status->mark)
        munmap((void *)(uintptr_t)status->mark, STATUS_LENGTH);
    *status = (struct status){0};
}
