/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a byte asks the witness -> it takes what is pending, and answers with a set of
 * numbers. The kernel signals the youngest process of a group first, so the witness has the signal
 * when this process asks.
 * Failures: there is no witness, or it does not answer, because somebody has stopped or killed it:
 * the signal counts as sent to this process alone. It ends with this process.
 */
#include "ctl/witness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 1000
#define WITNESS_NAME "group-witness"

/* Signal handlers have no other way to them. */
static volatile sig_atomic_t asked = -1; /* a socket */
static volatile sig_atomic_t witness_pid;
static uint64_t
    seen; /* what the witness had got when it was last asked, and nobody has asked for since */

/* Without what `asker` has sent: SIGCONT, lest the witness is stopped. */
static uint64_t take_pending(pid_t asker)
{
    const struct timespec now = {0};
    uint64_t numbers = 0;
    siginfo_t info;
    sigset_t all;
    int number;

    sigfillset(&all);
    while ((number = sigtimedwait(&all, &info, &now)) > 0)
        if (info.si_code > 0 || info.si_pid != asker)
            numbers |= UINT64_C(1) << (number - 1);
    return numbers;
}

/* Whoever waits for the end of a pipe of asockctl's is not to wait for the witness. */
static void close_others(int kept)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name); /* "." and "..": 0, which is closed all the same */

        if (fd != kept && fd != dirfd(dir))
            close(fd);
    }
    if (dir)
        closedir(dir);
}

/* Who signals asockctl by its name or its command line, as pkill(1) does, means asockctl alone. */
static void change_name(void)
{
    char *place = program_invocation_name; /* argv[0]; the other arguments follow */
    char read_back[4096];
    size_t len = 0;
    ssize_t n;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

    (void)prctl(PR_SET_NAME, WITNESS_NAME, 0, 0, 0);
    while (fd >= 0 && (n = read(fd, read_back, sizeof(read_back))) > 0 &&
           memcmp(place + len, read_back, (size_t)n) == 0)
        len += (size_t)n;
    if (fd >= 0)
        close(fd);
    memset(place, 0, len);
    if (len > sizeof(WITNESS_NAME))
        memcpy(place, WITNESS_NAME, sizeof(WITNESS_NAME));
}

static _Noreturn void witness(int fd)
{
    pid_t asker = getppid();
    char byte;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    change_name();
    close_others(fd);
    while (read(fd, &byte, 1) == 1) {
        uint64_t numbers = take_pending(asker);

        if (write(fd, &numbers, sizeof(numbers)) != sizeof(numbers))
            break;
    }
    _exit(0);
}

void witness_start(void)
{
    sigset_t all, before;
    int pair[2];
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    child = fork();
    if (child == 0)
        witness(pair[1]);
    close(pair[1]);
    if (child > 0) {
        witness_pid = child;
        asked = pair[0];
    } else {
        close(pair[0]);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

bool witness_saw(int number)
{
    uint64_t bit = UINT64_C(1) << (number - 1), numbers = 0;
    struct pollfd answer = {.fd = asked, .events = POLLIN};
    bool is_seen;

    if (asked < 0)
        return false;
    while (recv(asked, &numbers, sizeof(numbers), MSG_DONTWAIT) > 0)
        ; /* too late for what it was asked about */
    numbers = 0;
    if (number == SIGCONT)
        (void)kill(witness_pid, SIGCONT); /* it may have stopped with the group */
    if (send(asked, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 && poll(&answer, 1, ANSWER_MS) == 1 &&
        recv(asked, &numbers, sizeof(numbers), MSG_DONTWAIT) == sizeof(numbers))
        seen |= numbers;
    is_seen = seen & bit;
    seen &= ~bit;
    return is_seen;
}

void witness_end(void)
{
    int fd = asked;

    asked = -1;
    if (fd >= 0)
        close(fd);
}
