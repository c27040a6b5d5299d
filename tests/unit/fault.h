/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_FAULT_H
#define ASOCK_TESTS_FAULT_H

/*
 * Makes the N-th call of one function fail, once. The calls are those of the project's own objects
 * (the program is linked with --wrap), told apart by the side that runs when they are made; the
 * test's own calls never fail and are not counted.
 */
#include <stdbool.h>

enum fault_side { FAULT_NOBODY, FAULT_DAEMON, FAULT_LIBRARY, FAULT_SIDES };

enum fault_call {
    FAULT_MALLOC,
    FAULT_CALLOC,
    FAULT_REALLOC,
    FAULT_SOCKET,
    FAULT_CONNECT,
    FAULT_SEND,
    FAULT_SENDMSG,
    FAULT_RECV,
    FAULT_RECVMSG,
    FAULT_SETSOCKOPT,
    FAULT_GETSOCKOPT,
    FAULT_GETSOCKNAME,
    FAULT_GETPEERNAME,
    FAULT_SHUTDOWN,
    FAULT_MEMFD_CREATE,
    FAULT_FTRUNCATE,
    FAULT_FALLOCATE,
    FAULT_MADVISE,
    FAULT_MMAP,
    FAULT_CALLS
};

/* Who runs from here on; returns who ran before. */
enum fault_side fault_enter(enum fault_side side);

/* The n-th call (from 0) by side fails from here on; n below 0: none. Counters start again. */
void fault_arm(enum fault_side side, enum fault_call call, int n);
bool fault_was_hit(void);
/* Called where one side would sleep in poll(2): the others may run. NULL: it does not sleep. */
void fault_on_poll(void (*fn)(void *data), void *data);
/* What is armed, for messages; static. */
const char *fault_describe(void);
/* Calls by side since fault_arm(). */
int fault_count(enum fault_side side, enum fault_call call);
/* Blocks of memory that both sides have and have not freed. */
long fault_blocks(void);
/* Of this process: open descriptors; is memory that the daemon shares mapped? */
int fault_descriptors(void);
bool fault_has_shared_memory(void);

const char *fault_call_name(enum fault_call call);

#endif
