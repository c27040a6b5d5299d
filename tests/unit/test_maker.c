/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue before the process that makes listeners, which the test itself is. */
#include "daemon/server/maker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define JOBS 64u

static struct core *core;
static struct maker maker;
static int process; /* its end */
static struct maker_job jobs[JOBS];
static int results[JOBS]; /* 1: not done */
static unsigned int lates, changes, losses;

static const char alice, bob, carol;

static void on_lost(struct maker *m, const char *why)
{
    (void)m;
    (void)why;
    losses++;
}

static void on_late(struct maker *m)
{
    (void)m;
    changes++;
}

static void done(struct maker_job *job, int r)
{
    results[job - jobs] = r;
    if (r > 0)
        close(r);
}

static void late(struct maker_job *job)
{
    (void)job;
    lates++;
}

/* As the process does. fd -1: none goes with it. */
static void answer(int result, int fd)
{
    struct maker_answer data = {result};
    struct iovec part = {&data, sizeof(data)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    ck_assert_int_eq(sendmsg(process, &message, 0), sizeof(data));
    core_settle(core);
}

/* Which job it is asked to do; -1: none. */
static int asked(void)
{
    struct maker_request request;
    ssize_t n = recv(process, &request, sizeof(request), MSG_DONTWAIT);

    if (n < 0)
        return -1;
    ck_assert_int_eq(n, sizeof(request));
    for (unsigned int i = 0; i < JOBS; i++)
        if (strcmp(jobs[i].name, request.name) == 0)
            return (int)i;
    ck_abort_msg("no such job");
}

static void do_it(unsigned int i)
{
    int fd = jobs[i].is_removal ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);

    answer(0, fd);
    if (fd >= 0)
        close(fd);
}

static void setup(void)
{
    int pair[2];

    core = core_new();
    memset(&maker, 0, sizeof(maker));
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    maker.fd = pair[0];
    maker.pidfd = -1;
    list_init(&maker.users);
    maker.on_lost = on_lost;
    maker.on_late = on_late;
    process = pair[1];
    ck_assert_int_eq(send(process, &(struct maker_answer){0}, sizeof(struct maker_answer), 0),
                     sizeof(struct maker_answer));
    maker_attach(&maker, &core->worker);
    ck_assert_int_eq(maker_begin(&maker, "/tmp"), 0);
    ck_assert_int_gt(recv(process, &(char[256]){0}, 256, 0), 0); /* the path */
    ck_assert_int_eq(send(process, &(struct maker_answer){0}, sizeof(struct maker_answer), 0),
                     sizeof(struct maker_answer));
    ck_assert_int_eq(maker_keep(&maker, NULL, 0), 0);
    ck_assert_int_eq(recv(process, &(char[256]){0}, 256, 0), sizeof(uint32_t)); /* how many names */
    for (unsigned int i = 0; i < JOBS; i++) {
        jobs[i] = (struct maker_job){.done = done, .late = late};
        list_init(&jobs[i].node);
        snprintf(jobs[i].name, sizeof(jobs[i].name), "%032x", i);
        results[i] = 1;
    }
    lates = changes = losses = 0;
}

static void teardown(void)
{
    maker_deinit(&maker);
    close(process);
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

static void ask(unsigned int i, const void *whom, bool is_removal)
{
    jobs[i].whom = whom;
    jobs[i].is_removal = is_removal;
    maker_ask(&maker, &jobs[i]);
}

static void check_order(const unsigned int *order, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        core_settle(core);
        ck_assert_int_eq(asked(), order[i]);
        do_it(order[i]);
        ck_assert_int_eq(results[order[i]] == 1, 0);
    }
    core_settle(core);
    ck_assert_int_eq(asked(), -1);
}

/*
 * However many one user has asked for before: another one waits for the one that is being done and
 * for one more.
 */
START_TEST(test_s52_users_take_turns)
{
    static const unsigned int order[] = {0, 1, 10, 20, 2, 11, 3, 12, 4};

    for (unsigned int i = 0; i < 5; i++)
        ask(i, &alice, true);
    core_settle(core);
    for (unsigned int i = 10; i < 13; i++)
        ask(i, &bob, true);
    ask(20, &carol, false);
    check_order(order, sizeof(order) / sizeof(order[0]));
}
END_TEST

START_TEST(test_what_is_to_be_made_comes_before_what_is_to_be_removed)
{
    /* Of those that wait already the first one has its place. */
    static const unsigned int order[] = {0, 1, 5, 6, 2};

    for (unsigned int i = 0; i < 3; i++)
        ask(i, &alice, true);
    core_settle(core);
    ask(5, &alice, false);
    ask(6, &alice, false);
    check_order(order, sizeof(order) / sizeof(order[0]));
}
END_TEST

START_TEST(test_withdrawn_jobs_are_never_asked_for)
{
    static const unsigned int order[] = {0, 2, 10, 3};

    for (unsigned int i = 0; i < 5; i++)
        ask(i, &alice, false);
    core_settle(core);
    ask(10, &bob, false);
    ask(11, &bob, false);
    ck_assert(!maker_withdraw(&maker, &jobs[0])); /* is being done */
    ck_assert(
        maker_withdraw(&maker, &jobs[1])); /* the user's first: the next one takes its place */
    ck_assert(maker_withdraw(&maker, &jobs[4]));
    ck_assert(maker_withdraw(&maker, &jobs[11]));
    check_order(order, sizeof(order) / sizeof(order[0]));
    ck_assert_int_eq(results[1], 1);
    ck_assert_int_eq(results[4], 1);
    ck_assert_int_eq(results[11], 1);
}
END_TEST

/* A disk that hangs for a while is not the end of it. */
START_TEST(test_one_that_takes_too_long_is_not_dead)
{
    ask(0, &alice, false);
    core_settle(core);
    ask(1, &alice, false);
    ask(2, &bob, true);
    ask(3, &bob, false);
    ck_assert_int_eq(asked(), 0);
    core_pass(core, 3 * MAKER_PATIENCE_MS);
    ck_assert_uint_eq(lates, 1);
    ck_assert_uint_eq(changes, 1);
    ck_assert(maker.is_late);
    ck_assert_int_eq(results[1], -ETIMEDOUT);
    ck_assert_int_eq(results[3], -ETIMEDOUT);
    ck_assert_int_eq(results[0], 1);
    ck_assert_int_eq(results[2], 1);
    do_it(0);
    ck_assert(!maker.is_late);
    ck_assert_uint_eq(changes, 2);
    ck_assert_int_ge(results[0], 2);
    ck_assert_int_eq(asked(), 2); /* what is to be removed has waited */
    do_it(2);
    ck_assert_uint_eq(losses, 0);
    ask(4, &carol, false);
    core_settle(core);
    ck_assert_int_eq(asked(), 4);
    do_it(4);
}
END_TEST

START_TEST(test_one_that_has_ended_fails_all)
{
    for (unsigned int i = 0; i < 5; i++)
        ask(i, i % 2 ? &alice : &bob, i > 2);
    core_settle(core);
    close(process);
    core_settle(core);
    ck_assert_uint_eq(losses, 1);
    for (unsigned int i = 0; i < 5; i++)
        ck_assert_int_eq(results[i], -ESHUTDOWN);
    ask(5, &carol, false);
    core_settle(core);
    ck_assert_int_eq(results[5], -ESHUTDOWN);
    process = open("/dev/null", O_RDONLY | O_CLOEXEC);
}
END_TEST
