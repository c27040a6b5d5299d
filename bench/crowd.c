/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A test run by many processes at the same time, each with a connection of its own, and a session
 * with asockd where there is one. A round begins when each has got its number of units, and ends
 * when the last one has reported that it is done.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench/client.h"

#define CHILD_WARM 50 /* units of each, before those that count */

static struct crowd {
    int start[2], done[2];
    unsigned int count;
} crowd;

static void be_one(struct client *c, const struct test *test)
{
    long units;
    char byte = 1;

    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(crowd.start[1]);
    close(crowd.done[0]);
    test->prepare(c);
    if (write(crowd.done[1], &byte, 1) != 1)
        fail("write");
    /* Each takes one: the next ones are not written before all are through. */
    while (read(crowd.start[0], &units, sizeof units) == sizeof units) {
        test->run(c, units);
        if (write(crowd.done[1], &byte, 1) != 1)
            fail("write");
    }
    _exit(0);
}

static void await_all(void)
{
    char bytes[64];

    for (unsigned int done = 0; done < crowd.count;) {
        ssize_t n = read(crowd.done[0], bytes, sizeof bytes);

        if (n <= 0)
            fail("a process of the crowd has ended");
        done += (unsigned int)n;
    }
}

static void on_end(int number)
{
    (void)number;
    _exit(1); /* it has said why */
}

static uint64_t run_round(long each)
{
    uint64_t began = now_ns();

    for (unsigned int i = 0; i < crowd.count; i++)
        if (write(crowd.start[1], &each, sizeof each) != sizeof each)
            fail("write");
    await_all();
    return now_ns() - began;
}

void crowd_measure(struct client *c, const struct test *test)
{
    uint64_t ns;
    long each;

    crowd.count = c->o.processes;
    if (pipe(crowd.start) < 0 || pipe(crowd.done) < 0)
        fail("pipe");
    signal(SIGCHLD, on_end);
    for (unsigned int i = 0; i < crowd.count; i++) {
        pid_t pid = fork();

        if (pid < 0)
            fail("fork");
        if (pid == 0)
            be_one(c, test);
    }
    await_all();
    ns = run_round(CHILD_WARM);
    each = (long)(CHILD_WARM / (double)(ns + 1) * c->o.seconds * 1e9);
    each = each > 0 ? each : 1;
    ns = run_round(each);
    signal(SIGCHLD, SIG_IGN); /* they end with this process */
    printf(
        "{\"units\": %ld, \"bytes\": 0, \"seconds\": %.9f, \"cpu_client\": 0, \"cpu_others\": 0}\n",
        each * (long)crowd.count, (double)ns / 1e9);
}
