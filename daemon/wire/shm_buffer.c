/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: create a memfd, set its size, seal and map it; at the end have a hole punched over
 * all of it, unmap and close it.
 * Failures: no descriptor, no memory, no address space: nothing is left behind.
 */
#include "daemon/wire/shm_buffer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/core/quota.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

uint64_t shm_buffer_rounded(uint64_t length)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (length > SIZE_MAX / 2 - page)
        return 0;
    return (length + page - 1) & ~(page - 1);
}

uint64_t shm_buffer_count_most(void)
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    unsigned long long count;

    if (!file || fscanf(file, "%llu", &count) != 1)
        count = MAPPINGS_DEFAULT;
    if (file)
        fclose(file);
    return count / 2;
}

int shm_buffer_memfd(void)
{
    int fd = memfd_create("asock", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    /* An older kernel does not know the flag. */
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("asock", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

static int make_memory(size_t length, uint8_t **ret)
{
    int fd = shm_buffer_memfd();
    int r = 0;
    void *at = MAP_FAILED;

    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)length) < 0 || fcntl(fd, F_ADD_SEALS, SHM_BUFFER_SEALS) < 0)
        r = -errno;
    if (r == 0)
        at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (r == 0 && at == MAP_FAILED)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret = at;
    return fd;
}

static void go(struct shm_buffer *shm)
{
    struct emptier *emptier = shm->worker->emptier;

    assert(shm->uses == 0 && !list_is_linked(&shm->pass.node));
    list_remove(&shm->node);
    if (emptier)
        emptier_forget(&shm->job, emptier);
    munmap(shm->at, shm->length);
    emptier_close(emptier, shm->pass.fd);
    shm->worker->fds_used--;
    shm->on_gone(shm);
    mem_free(shm);
}

static void on_emptied(struct emptier_job *job, int r)
{
    struct shm_buffer *shm = container_of(job, struct shm_buffer, job);

    if (r == 0)
        shm->emptied = shm->length;
    shm->is_loops = r < 0;
    shm->on_unused(shm);
}

static void empty_some(struct shm_buffer *shm)
{
    size_t rest = shm->length - shm->emptied;
    size_t step = rest < SHARED_EMPTY_STEP ? rest : SHARED_EMPTY_STEP;

    if (fallocate(shm->pass.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)shm->emptied,
                  (off_t)step) < 0)
        log_error("cannot empty shared memory: %s", strerror(errno));
    shm->emptied += step;
}

bool shm_buffer_empty_step(struct shm_buffer *shm)
{
    struct emptier *emptier = shm->worker->emptier;
    bool is_done = shm->is_left || shm->emptied == shm->length;

    /* What its client has not got it cannot lock. */
    if (!is_done && !shm->is_loops && shm->pass.is_sent && emptier_is_there(emptier)) {
        list_remove(&shm->node);
        shm->job = (struct emptier_job){.whom = shm->quota ? quota_person(shm->quota) : NULL,
                                        .fd = shm->pass.fd,
                                        .length = shm->length,
                                        .done = on_emptied};
        emptier_ask(emptier, &shm->job);
        return false;
    }
    if (!is_done)
        empty_some(shm);
    if (!is_done && shm->emptied < shm->length)
        return true;
    go(shm);
    return false;
}

static void on_sent(struct fd_pass *pass)
{
    shm_buffer_unuse(container_of(pass, struct shm_buffer, pass));
}

static void init(struct shm_buffer *shm, struct worker *w, int fd)
{
    w->fds_used++;
    shm->worker = w;
    shm->pass.fd = fd;
    shm->pass.second_fd = -1;
    shm->pass.left = on_sent;
    list_init(&shm->pass.node);
    list_init(&shm->node);
}

int shm_buffer_new(struct worker *w, uint64_t length, struct shm_buffer **ret)
{
    struct shm_buffer *shm;
    int fd;

    if (w->fds_used >= w->fds_max)
        return -EMFILE;
    shm = mem_zalloc(1, sizeof(*shm));
    if (!shm)
        return -ENOMEM;
    shm->length = (size_t)shm_buffer_rounded(length);
    fd = make_memory(shm->length, &shm->at);
    if (fd < 0) {
        mem_free(shm);
        return fd;
    }
    init(shm, w, fd);
    *ret = shm;
    return 0;
}

int shm_buffer_check(int fd, uint64_t length)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    return seals >= 0 && (seals & SHM_BUFFER_SEALS) == SHM_BUFFER_SEALS &&
                   !(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && fstat(fd, &st) == 0 &&
                   st.st_size >= 0 && (uint64_t)st.st_size == length
               ? 0
               : -EBADMSG;
}

int shm_buffer_adopt(struct worker *w, int fd, uint64_t length, struct shm_buffer **ret)
{
    struct shm_buffer *shm;
    void *at;

    if (length == 0 || length != shm_buffer_rounded(length) || shm_buffer_check(fd, length) < 0)
        return -EBADMSG;
    shm = mem_zalloc(1, sizeof(*shm));
    if (!shm)
        return -ENOMEM;
    at = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        mem_free(shm);
        return -ENOMEM;
    }
    shm->at = at;
    shm->length = (size_t)length;
    init(shm, w, fd);
    shm->pass.is_sent = true;
    *ret = shm;
    return 0;
}

void shm_buffer_use(struct shm_buffer *shm)
{
    assert(shm->emptied == 0);
    shm->uses++;
}

void shm_buffer_unuse(struct shm_buffer *shm)
{
    assert(shm->uses > 0);
    if (--shm->uses == 0 && shm->is_released)
        shm->on_unused(shm);
}

void shm_buffer_release(struct shm_buffer *shm)
{
    assert(!shm->is_released);
    shm->is_released = true;
    if (shm->uses == 0)
        shm->on_unused(shm);
}

/* ---- slices ---- */

int slices_append(struct worker *w, struct slices *slices, struct shm_buffer *shm, uint64_t offset,
                  uint64_t length, bool is_charged)
{
    struct slice *slice = w->spare_slices;

    if (is_charged && quota_charge(shm->quota, QUOTA_MEMORY, MEMORY_SLICE) < 0)
        return -EDQUOT;
    if (slice) {
        w->spare_slices = slice->next;
        w->spare_slice_count--;
    } else {
        slice = mem_alloc(sizeof(*slice));
        if (!slice) {
            if (is_charged)
                quota_uncharge(shm->quota, QUOTA_MEMORY, MEMORY_SLICE);
            return -ENOMEM;
        }
    }
    *slice = (struct slice){NULL, shm, offset, length, is_charged};
    shm_buffer_use(shm);
    if (slices->last)
        slices->last->next = slice;
    else
        slices->first = slice;
    slices->last = slice;
    slices->count++;
    return 0;
}

void slices_splice(struct slices *slices, struct slices *more)
{
    if (!more->first)
        return;
    if (slices->last)
        slices->last->next = more->first;
    else
        slices->first = more->first;
    slices->last = more->last;
    slices->count += more->count;
    *more = (struct slices){0};
}

void slices_drop_first(struct worker *w, struct slices *slices)
{
    struct slice *slice = slices->first;

    slices->first = slice->next;
    if (!slices->first)
        slices->last = NULL;
    slices->count--;
    if (slice->is_charged)
        quota_uncharge(slice->shm->quota, QUOTA_MEMORY, MEMORY_SLICE);
    shm_buffer_unuse(slice->shm);
    if (w->spare_slice_count >= LIMIT_SLICES_SPARE) {
        mem_free(slice);
        return;
    }
    slice->next = w->spare_slices;
    w->spare_slices = slice;
    w->spare_slice_count++;
}

void slices_drop(struct worker *w, struct slices *slices)
{
    while (slices->first)
        slices_drop_first(w, slices);
}

void slices_advance(struct worker *w, struct slices *slices, uint64_t bytes)
{
    while (slices->first && bytes >= slices->first->length) {
        bytes -= slices->first->length;
        slices_drop_first(w, slices);
    }
    if (bytes == 0)
        return;
    assert(slices->first);
    slices->first->offset += bytes;
    slices->first->length -= bytes;
}

uint64_t slices_total(const struct slices *slices)
{
    uint64_t total = 0;

    for (const struct slice *slice = slices->first; slice; slice = slice->next)
        total += slice->length;
    return total;
}

int slices_gather(const struct slices *slices, struct iovec *iov, int cap, uint64_t *ret_bytes)
{
    int count = 0;

    *ret_bytes = 0;
    for (const struct slice *slice = slices->first; slice && count < cap && *ret_bytes < STEP_BYTES;
         slice = slice->next) {
        uint64_t rest = STEP_BYTES - *ret_bytes;
        size_t length = (size_t)(slice->length < rest ? slice->length : rest);

        iov[count++] = (struct iovec){slice->shm->at + slice->offset, length};
        *ret_bytes += length;
    }
    return count;
}

void slices_free_spares(struct worker *w)
{
    while (w->spare_slices) {
        struct slice *slice = w->spare_slices;

        w->spare_slices = slice->next;
        mem_free(slice);
    }
    w->spare_slice_count = 0;
}
