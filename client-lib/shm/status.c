/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Octets that lie in shared memory are only as sound as the memory: the daemon takes it back when it has ended the
 * session and nobody has read the completions for long. Before it does it marks the session's status page. So an
 * operation is told as a success only if the page has no mark after its octets were copied, or, where the
 * program reads them in place, just before it is told.
 *
 * When this side learns that the session has ended, its connection is still open, so that the daemon has not yet emptied
 * anything, unless the mark is there. The buffers become private memory with the same contents.
 */
#include "client-lib/shm/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client-lib/shm/buffer.h"

#define STATUS_LENGTH 4096u

static bool is_marked(const struct status *status)
{
#ifndef __SANITIZE_THREAD__ /* which knows no fences; its machines keep loads in order */
    /* What was read before must not be read later than the mark. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
    return status->mark && __atomic_load_n(status->mark, __ATOMIC_ACQUIRE) != 0;
}

bool asock_memory_is_lost(const struct memory *memory)
{
    return memory->status.is_lost || is_marked(&memory->status);
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

/* Without memory for it the buffer stays what it is, and the page is still to be looked at. */
static bool make_private(const asock_buffer *buffer)
{
    void *copy = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);

    if (copy == MAP_FAILED)
        return false;
    memcpy(copy, buffer->at, buffer->size);
    if (madvise(copy, buffer->size, MADV_DONTFORK) == 0 &&
        mremap(copy, buffer->size, buffer->size, MREMAP_MAYMOVE | MREMAP_FIXED, buffer->at) !=
            MAP_FAILED)
        return true;
    munmap(copy, buffer->size);
    return false;
}

void asock_status_end(struct memory *memory)
{
    bool is_private = true, is_lost;

    /* What was there before the session has ended is private already; once more does no harm. */
    for (size_t i = 0; i < memory->count; i++)
        is_private = make_private(memory->buffers[i]) && is_private;
    is_lost = asock_memory_is_lost(memory);
    if (is_private)
        asock_status_unmap(&memory->status);
    memory->status.is_lost = is_lost;
}
