/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/opening.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct opening {
    atomic_int users; /* the thread and the loop; the last one frees it */
    struct gateway_config config;
    int fd; /* an eventfd: the thread has ended */
    /* Of the thread until then, of the loop from then on. */
    int result;
    asock_context *context;
    struct blocks blocks;
    /* Of the loop. */
    struct ev_loop *loop;
    ev_io io;
    void (*done)(void *userdata, int result, asock_context *context, const struct blocks *blocks);
    void *userdata;
};

int opening_run(const struct gateway_config *config, asock_context **ret, struct blocks *ret_blocks)
{
    unsigned int count = config->blocks && config->blocks < BLOCKS_MAX ? config->blocks
                                                                       : BLOCKS_MAX;
    int r = config->open(config->userdata, ret);

    if (r < 0)
        return r;
    blocks_init(ret_blocks, *ret, count, config->answer_timeout_ms);
    return 0;
}

static void release(struct opening *opening)
{
    if (atomic_fetch_sub(&opening->users, 1) > 1)
        return;
    if (opening->context)
        blocks_deinit(&opening->blocks);
    asock_context_unref(opening->context);
    close(opening->fd);
    free(opening);
}

static void *run(void *userdata)
{
    struct opening *opening = userdata;

    opening->result = opening_run(&opening->config, &opening->context, &opening->blocks);
    (void)eventfd_write(opening->fd, 1);
    release(opening);
    return NULL;
}

static void on_end(struct ev_loop *loop, ev_io *io, int events)
{
    struct opening *opening = io->data;
    asock_context *context = opening->context;

    (void)events;
    ev_io_stop(loop, io);
    opening->context = NULL;
    opening->done(opening->userdata, opening->result, context, &opening->blocks);
    release(opening);
}

/* Signals are the loop's. */
static int start_thread(struct opening *opening)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int r;

    if (pthread_attr_init(&attr) != 0)
        return -ENOMEM;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&thread, &attr, run, opening);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return -r;
}

int opening_start(struct ev_loop *loop, const struct gateway_config *config,
                  void (*done)(void *userdata, int result, asock_context *context,
                               const struct blocks *blocks),
                  void *userdata, struct opening **ret)
{
    struct opening *opening = calloc(1, sizeof(*opening));
    int r;

    if (!opening)
        return -ENOMEM;
    opening->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (opening->fd < 0) {
        r = -errno;
        free(opening);
        return r;
    }
    opening->users = 2;
    opening->config = *config;
    opening->loop = loop;
    opening->done = done;
    opening->userdata = userdata;
    ev_io_init(&opening->io, on_end, opening->fd, EV_READ);
    opening->io.data = opening;
    r = start_thread(opening);
    if (r < 0) {
        close(opening->fd);
        free(opening);
        return r;
    }
    ev_io_start(loop, &opening->io);
    *ret = opening;
    return 0;
}

void opening_drop(struct opening *opening)
{
    if (!opening)
        return;
    ev_io_stop(opening->loop, &opening->io);
    release(opening);
}
