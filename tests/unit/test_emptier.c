/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue before the process that empties shared memory, which the test itself is. */
#include "daemon/wire/emptier.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define JOBS 64u

static struct core *core;
static struct emptier emptier;
static int process; /* its end */
static int null;
static struct emptier_job jobs[JOBS];
static int results[JOBS]; /* 1: not done */
static uint32_t places[JOBS];

static const char users[EMPTIER_THREADS + 1];

/* Instead of the C library's: the kernel may have no memory for a while. */
static int send_fails; /* an errno; 0: it does not */

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (send_fails) {
        errno = send_fails;
        return -1;
    }
    return syscall(SYS_sendmsg, fd, message, flags);
}

static void done(struct emptier_job *job, int r)
{
    results[job - jobs] = r;
}

static void setup(void)
{
    int pair[2];

    core = core_new();
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    process = pair[1];
    emptier_attach(&emptier, &core->worker, pair[0]);
    for (unsigned int i = 0; i < JOBS; i++) {
        jobs[i] = (struct emptier_job){.fd = null, .length = i + 1, .done = done};
        results[i] = 1;
    }
}

static void teardown(void)
{
    emptier_detach(&emptier);
    if (process >= 0)
        close(process);
    close(null);
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

static void ask(unsigned int i, unsigned int user)
{
    jobs[i].whom = &users[user];
    emptier_ask(&emptier, &jobs[i]);
}

/* Which job the process is asked to do; -1: none. */
static int asked(void)
{
    struct emptier_request request;
    struct iovec data = {&request, sizeof(request)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int fd;

    core_settle(core);
    if (recvmsg(process, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
        return -1;
    ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&message));
    memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
    close(fd);
    ck_assert_uint_lt(request.place, EMPTIER_THREADS);
    places[request.length - 1] = request.place;
    return (int)request.length - 1;
}

static void do_it(unsigned int i)
{
    const struct emptier_answer answer = {.place = places[i]};

    ck_assert_int_eq(send(process, &answer, sizeof(answer), 0), sizeof(answer));
    core_settle(core);
}

START_TEST(test_s52_a_user_occupies_one_thread)
{
    ask(0, 0);
    ask(1, 0);
    ask(2, 1);
    ask(3, 0);
    ck_assert_int_eq(asked(), 0);
    ck_assert_int_eq(asked(), 2);
    ck_assert_int_eq(asked(), -1);
    do_it(2); /* of the other one: the first user's stands still */
    ck_assert_int_eq(results[2], 0);
    ck_assert_int_eq(asked(), -1);
    do_it(0);
    ck_assert_int_eq(results[0], 0);
    ck_assert_int_eq(asked(), 1);
    do_it(1);
    ck_assert_int_eq(asked(), 3);
    ck_assert_int_eq(results[3], 1);
}
END_TEST

static const int passing[] = {EAGAIN, ETOOMANYREFS, ENOBUFS, ENOMEM};

/* It is asked again; the loop empties nothing itself. */
START_LOOP_TEST(test_s52_it_waits_for_room_and_memory, 0, sizeof(passing) / sizeof(passing[0]))
{
    send_fails = passing[_i];
    ask(0, 0);
    ck_assert_int_eq(asked(), -1);
    ck_assert_int_eq(results[0], 1);
    send_fails = 0;
    core_pass(core, RETRY_MS);
    ck_assert_int_eq(asked(), 0);
    do_it(0);
    ck_assert_int_eq(results[0], 0);
}
END_TEST

START_TEST(test_s52_as_many_users_as_threads)
{
    for (unsigned int i = 0; i <= EMPTIER_THREADS; i++)
        ask(i, i);
    for (unsigned int i = 0; i < EMPTIER_THREADS; i++)
        ck_assert_int_eq(asked(), i);
    ck_assert_int_eq(asked(), -1);
    do_it(7);
    ck_assert_int_eq(asked(), EMPTIER_THREADS);
    ck_assert_uint_eq(places[EMPTIER_THREADS], places[7]);
}
END_TEST

START_TEST(test_one_that_is_forgotten_is_never_done)
{
    ask(0, 0);
    ask(1, 0);
    ask(2, 1);
    ck_assert_int_eq(asked(), 0);
    ck_assert_int_eq(asked(), 2);
    emptier_forget(&jobs[0], &emptier); /* the process has it */
    emptier_forget(&jobs[1], &emptier); /* it waits behind that */
    do_it(0);
    ck_assert_int_eq(asked(), -1);
    ck_assert_int_eq(results[0], 1);
    ck_assert_int_eq(results[1], 1);
    emptier_forget(&jobs[1], &emptier); /* again */
    ask(1, 0);
    ck_assert_int_eq(asked(), 1); /* its user may go on */
}
END_TEST

START_TEST(test_when_the_process_ends_whoever_asked_does_it)
{
    for (unsigned int i = 0; i < 4; i++)
        ask(i, i / 2);
    ck_assert_int_eq(asked(), 0);
    ck_assert(emptier_is_there(&emptier));
    close(process);
    process = -1;
    core_settle(core);
    for (unsigned int i = 0; i < 4; i++)
        ck_assert_int_eq(results[i], -ESHUTDOWN);
    ck_assert(!emptier_is_there(&emptier));
}
END_TEST

START_TEST(test_an_answer_to_nothing_ends_it)
{
    const struct emptier_answer answer = {.place = 3};

    ask(0, 0);
    ck_assert_int_eq(asked(), 0);
    ck_assert_int_eq(send(process, &answer, sizeof(answer), 0), sizeof(answer));
    core_settle(core);
    ck_assert_int_eq(results[0], -ESHUTDOWN);
    ck_assert(!emptier_is_there(&emptier));
}
END_TEST

START_TEST(test_a_descriptor_that_cannot_be_sent)
{
    jobs[0].fd = -1;
    ask(0, 0);
    ask(1, 0);
    ck_assert_int_eq(asked(), 1);
    ck_assert_int_eq(results[0], -EBADF);
}
END_TEST

/* Nothing of the daemon waits any more, and the process has all that is still to be done. */
START_TEST(test_at_the_daemons_end)
{
    struct emptier_request request;

    for (unsigned int i = 0; i < 4; i++)
        ask(i, 0);
    ck_assert_int_eq(asked(), 0);
    emptier_give_up(&emptier);
    for (unsigned int i = 0; i < 4; i++)
        ck_assert_int_eq(results[i], 0);
    for (unsigned int i = 1; i < 4; i++)
        ck_assert_int_eq(recv(process, &request, sizeof(request), MSG_DONTWAIT), sizeof(request));
    ck_assert_int_eq(recv(process, &request, sizeof(request), MSG_DONTWAIT), 0);
    ask(4, 0); /* of a session that ends only now */
    core_settle(core);
    ck_assert_int_eq(results[4], 0);
}
END_TEST
