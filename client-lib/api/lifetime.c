/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The context: made, held, let go.
 *
 * The last reference may go anywhere: in another thread, in a callback of the dispatcher, in one of
 * process(). Ending (everything is dropped, the descriptor closed) happens at once; the memory
 * stays until whoever is inside the library has left (holds).
 */
#include "client-lib/api/lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "client-lib/api/callbacks.h"
#include "client-lib/api/dispatcher.h"
#include "client-lib/core/context.h"
#include "client-lib/core/grant.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/session.h"

#ifndef ASOCK_SYSTEM_SOCKET
#define ASOCK_SYSTEM_SOCKET "/run/asockd/default/asock.sock"
#endif

static void init_lists(asock_context *context)
{
    list_init(&context->sockets);
    list_init(&context->ready);
    list_init(&context->stalled);
    list_init(&context->idless);
    list_init(&context->parked);
    list_init(&context->closes);
    list_init(&context->cancels);
    list_init(&context->syncs);
    list_init(&context->inspections);
    list_init(&context->socketless);
    list_init(&context->done);
    asock_memory_init(&context->memory);
    asock_grant_init(context);
}

static void init_locks(asock_context *context)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&context->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&context->changed, &attr);
    pthread_condattr_destroy(&attr);
}

/* The child of a fork finds a page of zeroes. */
static uint8_t *new_fork_mark(void)
{
    uint8_t *page;

    page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, 1, MADV_WIPEONFORK) < 0) {
        munmap(page, 1);
        return NULL;
    }
    *page = 1;
    return page;
}

static void context_free(asock_context *context)
{
    pthread_mutex_destroy(&context->lock);
    pthread_cond_destroy(&context->changed);
    munmap(context->fork_mark, 1);
    if (context->wake_fd >= 0)
        close(context->wake_fd);
    asock_memory_deinit(&context->memory);
    free(context->slots.at);
    free(context->ids.at);
    free(context->path);
    free(context);
}

static asock_context *context_make(void)
{
    asock_context *context;

    context = calloc(1, sizeof(*context));
    if (!context)
        return NULL;
    context->fork_mark = new_fork_mark();
    if (!context->fork_mark) {
        free(context);
        return NULL;
    }
    context->refs = context->holds = 1;
    context->fd = context->watch_fd = context->wake_fd = -1;
    context->grace_ms = GRACE_MS;
    init_lists(context);
    init_locks(context);
    asock_wheel_init(&context->wheel, time_now_ms());
    return context;
}

static int context_over(int fd, const char *path, asock_context **ret)
{
    asock_context *context;

    context = context_make();
    if (!context)
        return -ENOMEM;
    context->path = path ? strdup(path) : NULL;
    if ((path && !context->path) || asock_ids_grow(&context->ids, PROTOCOL_SOCKETS_MIN) < 0) {
        context_free(context);
        return -ENOMEM;
    }
    asock_session_start(context, fd);
    *ret = context;
    return 0;
}

static int context_over_inherited(const char *text, asock_context **ret)
{
    int fd, r;

    r = asock_session_inherit(text, &fd);
    if (r < 0)
        return r;
    r = context_over(fd, NULL, ret);
    if (r < 0)
        fcntl(fd, F_SETFD, 0); /* it can be taken later */
    return r;
}

int asock_context_new(const char *path, asock_context **ret)
{
    const char *inherited = path ? NULL : secure_getenv("ASOCK_FD");
    int fd, r;

    if (!ret || (path && !*path))
        return -EINVAL;
    if (inherited && *inherited)
        return context_over_inherited(inherited, ret);
    if (!path)
        path = secure_getenv("ASOCK_SOCKET");
    if (!path || !*path)
        path = ASOCK_SYSTEM_SOCKET;
    r = asock_session_dial(path, &fd);
    if (r < 0)
        return r;
    r = context_over(fd, path, ret);
    if (r < 0)
        close(fd);
    return r;
}

int asock_context_new_fd(int fd, asock_context **ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_session_adopt(fd);
    if (r < 0)
        return r;
    return context_over(fd, NULL, ret);
}

asock_context *asock_context_ref(asock_context *context)
{
    if (asock_enter(context) < 0)
        return context;
    asock_context_add_ref(context);
    asock_leave(context);
    return context;
}

void asock_context_unhold(asock_context *context)
{
    bool is_last = --context->holds == 0;

    asock_leave(context);
    if (is_last)
        context_free(context);
}

void asock_context_drop_ref(asock_context *context)
{
    if (--context->refs > 0) {
        asock_leave(context);
        return;
    }
    if (context->is_ended) {
        asock_context_unhold(context);
        return;
    }
    context->is_ended = true;
    asock_session_end(context, ASOCK_OPERATION_ABORTED);
    asock_complete_forget(context);
    if (context->watch_fd >= 0)
        close(context->watch_fd);
    context->watch_fd = -1;
    asock_dispatcher_join(context);
    asock_context_unhold(context);
}

/*
 * Another thread may have been in the middle of anything when the process forked, so of what the
 * context holds only the descriptors are let go; the rest is a copy of memory that is no longer
 * used.
 */
void asock_context_drop_in_child(asock_context *context)
{
    if (--context->refs > 0)
        return;
    if (context->fd >= 0)
        close(context->fd);
    if (context->watch_fd >= 0)
        close(context->watch_fd);
    if (context->wake_fd >= 0)
        close(context->wake_fd);
    asock_output_drop_fd(context);
    context->fd = context->watch_fd = context->wake_fd = -1;
}

asock_context *asock_context_unref(asock_context *context)
{
    int r = asock_enter(context);

    if (r == 0)
        asock_context_drop_ref(context);
    else if (r == -ECHILD)
        asock_context_drop_in_child(context);
    return NULL;
}

/* 0 or why not. */
static int may_reconnect(const asock_context *context)
{
    if (context->is_ended)
        return -ESHUTDOWN;
    if (!context->path)
        return -EOPNOTSUPP;
    if (context->is_alive || context->is_dialing || !list_is_empty(&context->done))
        return -EBUSY;
    return 0;
}

/* A daemon that hangs may leave it waiting for its queue: the others go on meanwhile. */
int asock_context_reconnect(asock_context *context)
{
    int fd = -1, r;

    r = asock_enter(context);
    if (r < 0)
        return r;
    r = may_reconnect(context);
    if (r < 0) {
        asock_leave(context);
        return r;
    }
    context->is_dialing = true;
    context->holds++;
    asock_leave(context);
    r = asock_session_dial(context->path, &fd);
    pthread_mutex_lock(&context->lock);
    context->is_dialing = false;
    if (r == 0 && context->is_ended) {
        close(fd);
        r = -ESHUTDOWN;
    }
    if (r == 0) {
        asock_session_start(context, fd);
        asock_wake(context);
    }
    asock_context_unhold(context);
    return r;
}
