/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: nobody is accepted any more -> what each connection has to pass on is counted -> the loop runs until it has.
 * A program that has gone has closed its connection: all up to its end counts, also what has not come here because there
 * was no room. One that still has it may send for ever: what its kernel holds at this moment counts, which the table of
 * TCP sockets tells. Failures: no such table, a connection that is not in it: all counts, for as long as there is time.
 */
#include "gateway/server.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "gateway/client.h"

#define PORTS 65536u
#define LOOK_SECONDS 0.02

static uint16_t port_of(const struct sockaddr_storage *address)
{
    return ntohs(((const struct sockaddr_in *)address)->sin_port); /* of both families */
}

/* Clients by their program's port. Two at the same are both left out. */
static void sort_by_port(struct gateway *gateway, struct client **table)
{
    for (struct client *client = gateway->clients; client; client = client->next) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        uint16_t port;

        if (!client->is_tcp || getpeername(client->io.fd, (struct sockaddr *)&peer, &len) < 0)
            continue;
        port = port_of(&peer);
        table[port] = table[port] ? table[0] : client;
    }
}

/* The program's end of it: bytes that are not here yet, or not acknowledged. */
static void count_one(struct client *client, uint16_t port, uint64_t unsent)
{
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof(own);
    int waiting = 0;

    if (getsockname(client->io.fd, (struct sockaddr *)&own, &len) < 0 || port_of(&own) != port ||
        ioctl(client->io.fd, FIONREAD, &waiting) < 0)
        return;
    client_owes_only(client, unsent + (uint64_t)waiting);
}

/* A socket that no program has any more has no inode. */
static void read_table(const char *path, struct client **table)
{
    FILE *file = fopen(path, "re");
    char line[512];

    while (file && fgets(line, sizeof(line), file)) {
        unsigned int program, gateway;
        unsigned long unsent, inode;

        if (sscanf(line,
                   " %*u: %*32[0-9A-F]:%x %*32[0-9A-F]:%x %*x %lx:%*x %*x:%*x %*x %*u %*u %lu",
                   &program, &gateway, &unsent, &inode) == 4 &&
            inode != 0 && program < PORTS && table[program])
            count_one(table[program], (uint16_t)gateway, unsent);
    }
    if (file)
        fclose(file);
}

static void count_owed(struct gateway *gateway)
{
    struct client **table = calloc(PORTS, sizeof(*table));

    if (!table)
        return;
    sort_by_port(gateway, table);
    read_table("/proc/self/net/tcp", table);
    read_table("/proc/self/net/tcp6", table);
    free(table);
}

static bool owes(const struct gateway *gateway)
{
    for (const struct client *client = gateway->clients; client; client = client->next)
        if (client_owes(client))
            return true;
    return false;
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    const struct gateway *gateway = timer->data;

    (void)events;
    if (ev_now(loop) >= gateway->drain_end || !owes(gateway))
        ev_break(loop, EVBREAK_ALL);
}

void gateway_drain(struct gateway *gateway, double seconds)
{
    ev_timer look;

    /* What waits at a listener, or has just been closed. */
    ev_run(gateway->loop, EVRUN_NOWAIT);
    gateway_accept_no_more(gateway);
    count_owed(gateway);
    if (!owes(gateway))
        return;
    ev_now_update(gateway->loop);
    gateway->drain_end = ev_now(gateway->loop) + seconds;
    ev_timer_init(&look, on_look, LOOK_SECONDS, LOOK_SECONDS);
    look.data = gateway;
    ev_timer_start(gateway->loop, &look);
    ev_run(gateway->loop, 0);
    ev_timer_stop(gateway->loop, &look);
}
