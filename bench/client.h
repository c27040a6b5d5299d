/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

/* The parts of bench-client: client.c measures, a `struct way` does the work it is asked for. */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/common.h"

#define MESSAGE 64u               /* bytes of a message that is answered */
#define IN_FLIGHT (2048u * 1024u) /* bytes of a bulk transfer, where operations are asynchronous */
#define OPERATIONS_MAX 128u       /* but not more of them */

struct options {
    const char *way, *test;
    struct sockaddr_in server, proxy; /* the proxy's port 0: none */
    const char *path; /* Unix socket of asockd, the proxy or bench-lender; NULL: it has none */
    bool socks;       /* the proxy speaks SOCKS5 */
    bool given;       /* with --way lent: sockets are given; otherwise held */
    bool rest;        /* the test "dial": everything of a connection is over before the next one */
    bool shared;      /* memory shared with asockd */
    bool errors_only; /* seven of eight sends report failures only */
    size_t size;      /* bytes of a bulk operation */
    unsigned int connections;
    unsigned int processes; /* run the whole test at the same time; 0: only this one */
    double seconds;
    double rate; /* units to begin in a second, of the test "names"; 0: as fast as it goes */
    long count;  /* instead of seconds */
    long spoil;  /* position of a wrong byte in what is sent, or -1 */
    bool pause;  /* report its begin and its end, and wait for a line each time */
    const char *pids;
};

/* Round trip times in ns, of the run that counts: room for as many as it asks for. */
struct times {
    uint32_t *ns;
    size_t count, most;
};
void times_add(struct times *times, uint64_t began_ns, uint64_t ended_ns);
/* Behind a connection that was closed. */
void rest(const struct options *o);
uint64_t now_ns(void);

struct client {
    struct options o;
    const unsigned char *sent;
    const unsigned char *expected;
    struct times times;
};

/* A test: prepare once, run it several times for so many units, each whole when it returns. */
struct test {
    const char *name;
    long warm; /* units before those that count; 0: what makes 16 MiB */
    void (*prepare)(struct client *c);
    void (*run)(struct client *c, long units);
};

/* Of tests, which end with one without a name; NULL: there is none. */
const struct test *test_named(const struct test *tests, const char *name);
const struct test *plain_test(const char *name);
const struct test *asock_test(const char *name);
const struct test *lent_test(const char *name);
const struct test *lender_test(const char *name);
const struct test *datagram_test(const char *way, const char *name);
/* The test "names" of asock_test(). */
void names_prepare(struct client *c);
void names_run(struct client *c, long units);
/* For those of plain_test(): connected, and blocking. */
int lent_connection(const struct options *o);
int unix_connect(const char *path);
void echo_one(int fd); /* sends a byte over a new connection, and waits for it */

/* Where the proxy takes datagrams, each behind a header; until the process ends. */
struct sockaddr_in socks_associate(const struct options *o);

/* With o.processes: prints the result. */
void crowd_measure(struct client *c, const struct test *test);

/* The position in the pattern of a connection's n-th message. */
static inline uint64_t message_position(unsigned int connection, uint64_t n)
{
    return (uint64_t)connection * 977u + n * MESSAGE;
}

/* Waits until the driver has measured the memory, with nothing or with all connections there. */
void idle_begin(void);
void idle_ready(unsigned int connections);

#endif
