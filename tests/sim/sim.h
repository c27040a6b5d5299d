/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_H
#define ASOCK_TESTS_SIM_H

/*
 * Deterministic simulation: the daemon and the library in one thread, over a simulated kernel. A
 * seed decides everything. This header is what all parts share: chance, time, who runs, and how a
 * run fails.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* On whose behalf a system call or an allocation is made. */
enum actor { ACTOR_NONE, ACTOR_DAEMON, ACTOR_CLIENT };

/* Kinds of faults. Each program switches some of them on (swarm testing). */
enum fault {
    FAULT_PARTIAL,       /* short reads and writes */
    FAULT_INTERRUPT,     /* EINTR */
    FAULT_SMALL_BUFFERS, /* of Unix and TCP sockets */
    FAULT_SLOW_NET,      /* segments are late and small */
    FAULT_NO_MEMORY,     /* recv and send say ENOMEM and ENOBUFS */
    FAULT_ALLOC,         /* an allocation of the daemon fails */
    FAULT_LIBRARY_ALLOC, /* one of the library fails */
    FAULT_DENIES,        /* policy does not allow everything */
    FAULT_AUDIT,       /* connects have to be recorded, and nothing takes the records for a while */
    FAULT_LATE,        /* a turn begins late */
    FAULT_FEW_SOCKETS, /* the daemon has few of them */
    FAULT_SPARSE_EVENTS, /* a poll does not report everything that is ready */
    FAULT_IDLE,          /* no fault: policy ends connections on which nothing moves */
    FAULT_SMALL_LIMITS,  /* no fault: limits are so small that clients meet them */
    FAULT_COUNT
};

struct sim {
    uint64_t rng;
    uint64_t now_ns;
    enum actor actor;
    uint32_t faults; /* 1u << enum fault */
    bool is_calm;    /* the end of a program: no more faults */
    bool is_tracing;
    uint64_t work; /* turns, deliveries and calls: a run that does too many of them spins */
};

extern struct sim sim;

/* 0 to n - 1; 0 for n 0. */
uint32_t sim_random(uint32_t n);
bool sim_chance(uint32_t one_in);
/* Chance of a fault whose kind is switched on. */
bool sim_fault(enum fault fault, uint32_t one_in);
uint64_t sim_mix(uint64_t a, uint64_t b);
/* Bytes of a stream that only its number and the place decide. */
void sim_pattern(uint64_t number, uint64_t offset, uint8_t *ret, size_t len);
/* The first place where data is not that; len: it is. */
size_t sim_compare(uint64_t number, uint64_t offset, const uint8_t *data, size_t len);
/* Of memory: whether it has changed. */
uint64_t sim_sum(const uint8_t *data, size_t len);
const char *sim_fault_name(enum fault fault);

uint64_t sim_now_ms(void);

/*
 * The run has shown a fault of the project: prints, and ends the process. The first word names its
 * kind.
 */
void sim_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define SIM_MUST(condition)                                                                        \
    ((condition) ? (void)0 : sim_fail("simulator: %s:%d: %s", __FILE__, __LINE__, #condition))

/* Memory of the simulator's own, which never fails and is not counted. */
void *sim_alloc(size_t size); /* zeroed */
void *sim_grow(void *p, size_t size);
void sim_free(void *p);

/* alloc.c: what the daemon and the library have allocated. */
void alloc_reset(void);
size_t alloc_count(enum actor actor, size_t *ret_bytes);
/* As the kernel does when a process is killed. */
void alloc_drop(enum actor actor);

/* A growing queue of bytes. */
struct byte_queue {
    uint8_t *at;
    size_t start, end, cap;
};
static inline size_t byte_queue_len(const struct byte_queue *b)
{
    return b->end - b->start;
}
void byte_queue_append(struct byte_queue *b, const void *data, size_t len);
void byte_queue_drop(struct byte_queue *b, size_t len);
void byte_queue_free(struct byte_queue *b);

#endif
