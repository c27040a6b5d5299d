/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reconnecting while the daemon's queue of connections is full. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/suite.h"

#include <asock/asock.h>

#define PATIENCE_S 30 /* against hanging */

static enum { NOT_FULL, FULL, INTERRUPTED } queue;
static unsigned int interrupts;
static sem_t has_come, may_go;

/* Each interrupt takes 300 ms. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int r = (int)syscall(SYS_clock_gettime, id, ts);

    if (queue == INTERRUPTED)
        ts->tv_sec += interrupts * 3 / 10;
    return r;
}

/* In place of a daemon that hangs: a connect(2) that waits does so until the test lets it go. */
int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct timespec until;

    if (queue == NOT_FULL)
        return (int)syscall(SYS_connect, fd, addr, len);
    errno = fcntl(fd, F_GETFL) & O_NONBLOCK ? EAGAIN : EINTR;
    if (errno == EAGAIN || (queue == INTERRUPTED && ++interrupts < 1000))
        return -1;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    sem_post(&has_come);
    sem_timedwait(&may_go, &until);
    return (int)syscall(SYS_connect, fd, addr, len);
}

static int listener;
static struct sockaddr_un at = {.sun_family = AF_UNIX};
static asock_context *context;

static void await_end(void)
{
    while (asock_context_get_error(context) == 0)
        ck_assert_int_ge(asock_context_process(context), 0);
}

/* A context whose session has ended. */
static void setup(void)
{
    snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/asock-reconnect-%d", (int)getpid());
    unlink(at.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    ck_assert_int_eq(asock_context_new(at.sun_path, &context), 0);
    close(accept(listener, NULL, NULL));
    await_end();
    sem_init(&has_come, 0, 0);
    sem_init(&may_go, 0, 0);
    queue = FULL;
}

static void teardown(void)
{
    asock_context_unref(context);
    close(listener);
    unlink(at.sun_path);
}

TEST_FIXTURE(setup, teardown);

static void *reconnect(void *ret)
{
    *(int *)ret = asock_context_reconnect(context);
    return NULL;
}

START_TEST(test_a_reconnect_that_waits_holds_up_no_other_thread)
{
    asock_socket *socket;
    pthread_t thread;
    int r = 1;

    ck_assert_int_eq(asock_context_start_dispatcher(context), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, reconnect, &r), 0);
    sem_wait(&has_come);
    ck_assert_int_eq(asock_context_get_error(context), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_socket_new(context, AF_INET, &socket), -ENOTCONN);
    ck_assert_int_eq(asock_context_reconnect(context), -EBUSY);
    sem_post(&may_go);
    pthread_join(thread, NULL);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(asock_context_get_error(context), 0);
}
END_TEST

START_TEST(test_a_context_that_ends_while_it_reconnects_stays_so)
{
    pthread_t thread;
    int r = 1;

    ck_assert_int_eq(asock_context_start_dispatcher(context), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, reconnect, &r), 0);
    sem_wait(&has_come);
    context = asock_context_unref(context);
    sem_post(&may_go);
    pthread_join(thread, NULL);
    ck_assert_int_eq(r, -ESHUTDOWN);
    queue = NOT_FULL;
    ck_assert_int_eq(asock_context_new(at.sun_path, &context), 0);
}
END_TEST

/* Each signal would restart the wait for a place in the queue. */
START_TEST(test_signals_do_not_prolong_the_wait)
{
    sem_post(&may_go);
    queue = INTERRUPTED;
    ck_assert_int_eq(asock_context_reconnect(context), -EAGAIN);
    ck_assert_uint_gt(interrupts, 1);
    ck_assert_uint_lt(interrupts, 20);
}
END_TEST
