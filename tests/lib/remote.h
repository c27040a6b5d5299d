/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_REMOTE_H
#define ASOCK_TESTS_REMOTE_H

/*
 * The other end of the network. Two kinds: sockets that the test itself moves, one call at a time
 * (remote_*), for what has to happen in a fixed order; and a thread that serves on its own
 * (server_*), where both ends have to move at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------------- moved by the test */

/* A listener on loopback at a free port; family AF_INET or AF_INET6. */
int remote_listen(int family, struct sockaddr_storage *ret);
/* The same with small socket buffers: little fits in while it is not read. */
int remote_listen_small(int family, struct sockaddr_storage *ret);
/* A port without a listener; the descriptor keeps it reserved. */
int remote_closed_port(int family, struct sockaddr_storage *ret);
/* A listener whose backlog is full: a connect is neither taken nor refused. fds: what fills it. */
struct black_hole {
    int listener;
    int fillers[4];
};
void remote_black_hole(struct black_hole *ret, struct sockaddr_storage *addr);
void remote_black_hole_close(struct black_hole *hole);

socklen_t remote_addr_len(const struct sockaddr_storage *addr);
uint16_t remote_port(const struct sockaddr_storage *addr);

/* A connection to that address, which must be there. */
int remote_dial(const struct sockaddr_storage *addr);

/* Takes one connection. All of these run the contexts of pump_add() while they wait. */
int remote_accept(int listener);
bool remote_nobody_waits(int listener); /* nothing to accept, now */
void remote_write(int fd, const void *data, size_t len);
void remote_read(int fd, void *data, size_t len);
bool remote_nothing_to_read(int fd); /* now */
void remote_finish(int fd);          /* FIN; reading goes on */
void remote_reset(int fd);           /* RST; closes fd */

/* Reads to the end: how it ended, and how many bytes there were. */
enum remote_end { REMOTE_FIN = 1, REMOTE_RST };
enum remote_end remote_drain(int fd, uint64_t *bytes);
/* The same, and each byte must be the pattern's, which starts at offset from. */
enum remote_end remote_drain_pattern(int fd, uint64_t from, uint64_t *bytes);

/* Byte i of the pattern: no period of a power of two, so a displaced block shows. */
static inline uint8_t pattern_at(uint64_t i)
{
    return (uint8_t)((i * 2654435761u) >> 13);
}
void pattern_fill(void *data, uint64_t from, size_t len);
/* The first offset in data that differs, or -1. */
long long pattern_check(const void *data, uint64_t from, size_t len);

/* ------------------------------------------------------------------------------ a thread's */

enum server_kind {
    SERVER_ECHO = 1, /* sends back what it gets; FIN for FIN */
    SERVER_SINK,     /* counts what it gets, and checks it against the pattern */
    SERVER_SOURCE,   /* sends `bytes` of the pattern, then FIN */
};

struct server;
struct server_result {
    uint64_t bytes;      /* read, of all connections */
    uint64_t mismatches; /* bytes that were not the pattern's */
    unsigned int connections;
    unsigned int fins, rsts; /* how they ended */
};

struct server *server_start(enum server_kind kind, int family, uint64_t bytes);
const struct sockaddr_storage *server_addr(struct server *server);
const char *server_service(struct server *server); /* its port as text */
/* Waits until count connections have ended. */
void server_wait_ended(struct server *server, unsigned int count);
/* Ends the thread; open connections are closed. */
struct server_result server_stop(struct server *server);

#endif
