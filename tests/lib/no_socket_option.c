/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * no-peerpidfd COMMAND [ARG...], no-passrights COMMAND [ARG...]: runs it where getsockopt and
 * setsockopt of SO_PEERPIDFD, or of SO_PASSRIGHTS, answer ENOPROTOOPT, as kernels before 6.5, or
 * 6.16, do. The first says so in ASOCK_TEST_PEERPIDFD=no.
 * Status 77 when there are no system call filters here.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#ifdef NO_PASSRIGHTS
#define PROGRAM "no-passrights"
#define OPTION SO_PASSRIGHTS
#else
#define PROGRAM "no-peerpidfd"
#define OPTION SO_PEERPIDFD
#endif

/* Both are ints: the low half of an argument is all of it. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW(n) (offsetof(struct seccomp_data, args[n]))
#else
#define LOW(n) (offsetof(struct seccomp_data, args[n]) + 4)
#endif

static int install(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsockopt, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_setsockopt, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(1)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_SOCKET, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(2)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OPTION, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("Usage: " PROGRAM " COMMAND [ARG...]\n", stderr);
        return 2;
    }
    if (install() < 0) {
        perror(PROGRAM);
        return 77;
    }
    if (OPTION == SO_PEERPIDFD)
        setenv("ASOCK_TEST_PEERPIDFD", "no", 1);
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
