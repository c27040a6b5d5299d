/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_GROUPS_H
#define ASOCK_TESTS_SIM_GROUPS_H

/*
 * Multicast groups, in the simulated kernel and in the programs: who has joined which by which
 * interface, and what the datagrams to them are sent with.
 */
#include <asock/asock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct client;
struct step;
struct udp;

#define GROUP_ADDRESSES 6u  /* three of each family */
#define GROUP_INTERFACES 3u /* 0: as the routes say */
#define GROUPS (GROUP_ADDRESSES * GROUP_INTERFACES)

enum { MULTICAST_HOPS, MULTICAST_LOOP, MULTICAST_INTERFACE, MULTICAST_OPTIONS };

/* Of a socket of the kernel's. */
struct udp_groups {
    bool joined[GROUPS];
    bool hears_members_alone; /* else what other sockets have joined comes, too */
    int values[MULTICAST_OPTIONS];
};

/* 0 or a negative errno. */
int groups_set_option(struct udp_groups *groups, int level, int name, const void *value,
                      size_t len);

void step_datagram_group(const struct step *step);
/* All has calmed down: who is in which group is what was reported, and what policy lets. */
void groups_judge(void);
/* Its context goes: nothing is reported any more. */
void groups_lost(const struct client *client);
void groups_reset(void);

/* datagrams.c: the socket of a step's slot; NULL: there is none. */
struct datagram_slot {
    struct client *client;
    asock_socket *socket;
    uint16_t port;
    unsigned int generation; /* of the client, when it was made */
};
bool datagrams_slot(uint32_t slot, struct datagram_slot *ret);

#endif
