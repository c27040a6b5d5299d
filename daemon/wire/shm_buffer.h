/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SHARED_H
#define ASOCKD_SHARED_H

/*
 * Memory that a client and the daemon both have mapped. Only the kernel reads and writes it on the
 * daemon's side, in sendmsg(2) and recvmsg(2): what the client does to it changes that client's
 * bytes and nothing else. It cannot be made shorter, so touching it never fails for want of a page
 * behind it.
 *
 *     made --(sent to the client; ops use it)--> released --unused--> emptied --> gone
 *
 * It is emptied by punching a hole over all of it: the client may keep its mapping and then reads
 * zeros, but uses no more memory. A process of its own does that (emptier.h); where there is none,
 * the loop does it, in steps.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/core/loop.h"
#include "daemon/wire/emptier.h"
#include "daemon/wire/transport.h"

struct shm_buffer {
    struct worker *worker;
    struct quota *quota; /* its slices are charged to it; NULL: to none */
    struct fd_pass pass; /* its descriptor on the way to the client; counts as a use */
    struct list node;    /* in the owner's list of buffers to be emptied */
    uint8_t *at;
    size_t length;
    size_t emptied; /* bytes of which the contents are gone */
    struct emptier_job job;
    uint32_t id;
    uint32_t uses; /* what refers to it */
    bool is_released;
    bool is_loops; /* the process cannot be asked */
    bool is_left;  /* another process has it: it goes without being emptied */
    void (*on_unused)(struct shm_buffer *shm); /* there is a step for it */
    void (*on_gone)(struct shm_buffer *shm);   /* emptied; it is freed when this returns */
    void *owner;
};

/*
 * The number of buffers that leaves half of the process's mappings (vm.max_map_count) for other
 * uses.
 */
uint64_t shm_buffer_count_most(void);
/* A memfd without a name that matters, which can be sealed; -errno. */
int shm_buffer_memfd(void);
/* What such memory has. Not F_SEAL_WRITE: both sides write. Nobody can add a seal later. */
#define SHM_BUFFER_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
/* It is such memory, of so many bytes, and nobody can take that away: 0; -EBADMSG. */
int shm_buffer_check(int fd, uint64_t length);
/* Rounded up to whole pages. 0; -ENOMEM; -EMFILE; other -errno. */
int shm_buffer_new(struct worker *w, uint64_t length, struct shm_buffer **ret);
/*
 * The same of memory that another process has made: fd is its if it returns 0. -EBADMSG: it is
 * something else.
 */
int shm_buffer_adopt(struct worker *w, int fd, uint64_t length, struct shm_buffer **ret);
void shm_buffer_use(struct shm_buffer *shm);
void shm_buffer_unuse(struct shm_buffer *shm);
/* on_unused() is called once nothing uses it. */
void shm_buffer_release(struct shm_buffer *shm);
/*
 * A step of one that is unused: the process is asked, or SHARED_EMPTY_STEP of it are emptied, or
 * all of it is, and it goes. false: it is in its owner's list no more, and may be gone. on_unused()
 * is called when there is another step.
 */
bool shm_buffer_empty_step(struct shm_buffer *shm);

/* A part of one, that an op is going to use, or has as credit: a use. */
struct slice {
    struct slice *next;
    struct shm_buffer *shm;
    uint64_t offset, length;
    bool is_charged;
};

struct slices {
    struct slice *first, *last;
    uint32_t count;
};

/*
 * -ENOMEM, -EDQUOT: nothing is added. The segment lies within shared. is_charged: it is none of
 * those that an op has with its grant.
 */
int slices_append(struct worker *w, struct slices *slices, struct shm_buffer *shm, uint64_t offset,
                  uint64_t length, bool is_charged);
/* All of `more` goes to the end; `more` is empty then. */
void slices_splice(struct slices *slices, struct slices *more);
void slices_drop_first(struct worker *w, struct slices *slices);
void slices_drop(struct worker *w, struct slices *slices);
/* So many bytes at the front have been used. */
void slices_advance(struct worker *w, struct slices *slices, uint64_t bytes);
uint64_t slices_total(const struct slices *slices);
/* The first of them, at most cap and STEP_BYTES, as the kernel wants them; returns how many. */
int slices_gather(const struct slices *slices, struct iovec *iov, int cap, uint64_t *ret_bytes);
/* The worker's spare ones. */
void slices_free_spares(struct worker *w);

/* The size that shm_buffer_new() would create; 0: too large for any address space. */
uint64_t shm_buffer_rounded(uint64_t length);

#endif
