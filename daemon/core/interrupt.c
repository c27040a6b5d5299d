/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/time.h>

/* The most that one wait may take. */
#define WAITS_USEC 1000

/* That it comes is all that it is for. */
static void on_alarm(int number)
{
    (void)number;
}

static void set_up(void)
{
    static bool is_set_up;
    sigset_t alarm_only;

    if (is_set_up)
        return;
    signal(SIGALRM, on_alarm);
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
    is_set_up = true;
}

/* The timer repeats, because its first signal may come before the wait begins. */
void interrupt_begin(void)
{
    const struct itimerval soon = {{.tv_usec = WAITS_USEC}, {.tv_usec = WAITS_USEC}};
    int err = errno;

    set_up();
    setitimer(ITIMER_REAL, &soon, NULL);
    errno = err;
}

void interrupt_end(void)
{
    const struct itimerval off = {0};
    int err = errno;

    setitimer(ITIMER_REAL, &off, NULL);
    errno = err;
}
