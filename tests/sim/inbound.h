/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_INBOUND_H
#define ASOCK_TESTS_SIM_INBOUND_H

/*
 * TCP sockets of the simulated kernel that are bound and listen. What comes is a connection as any
 * other, with a peer that sends and resets while it waits to be accepted.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct tcp;

/* What a TCP socket has of it. */
struct inbound {
    bool is_bound;
    struct backlog *backlog; /* of one that listens */
    struct tcp *listener;    /* that it has come by; NULL: it was connected to */
    unsigned int place;      /* among those that came by it; of a listener: how many came */
    bool is_waiting, is_in4; /* to be accepted; its peer comes by IPv4 */
    int admission;           /* when it was taken: 1: policy lets it in, 0: not, -1: not known */
    bool is_taken, is_told;  /* by the daemon; to the program */
};

/* The host's own addresses, and those of all. */
enum { LOCAL_ANY4, LOCAL_OWN4, LOCAL_ANY6, LOCAL_OWN6, LOCAL_FOREIGN, LOCAL_KINDS };
/* Ports that are asked for, so that two ask for the same. */
#define INBOUND_PORT 45000u

socklen_t inbound_local(unsigned int kind, uint16_t port, struct sockaddr_storage *ret);
uint16_t inbound_port(const struct sockaddr_storage *addr);

int inbound_accept(struct tcp *listener, struct sockaddr *addr, socklen_t *len, int flags);
int inbound_listen(struct tcp *tcp, int backlog);
void inbound_closed(struct tcp *tcp);
int inbound_events(const struct tcp *tcp);
/* One that listens, by number; NULL: there is none. */
struct tcp *inbound_at(uint32_t number);
/* A peer connects to it: by the number of its connect; NULL: it is not let in. */
struct tcp *inbound_arrive(struct tcp *listener, bool is_in6, unsigned int host,
                           unsigned int intent);
/* tcp.c: NULL: there are too many. */
struct tcp *tcp_new(int family);
/*
 * The program's: sets the manner of the peer of a connect; and the daemon takes one that has come.
 */
void peers_assign(struct tcp *tcp);
void peer_set_manner(struct tcp *tcp, uint64_t salt); /* what it does by itself */
void listeners_accepting(struct tcp *tcp);

#endif
