/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: stop accepting -> count the bytes that each connection still has to pass on -> run
 * the loop until they are passed on. A program that has ended has closed its connection: everything
 * up to the end of its stream counts, also bytes that did not fit into the buffers yet. A program
 * that still runs may send without end: only the bytes that its kernel holds at this moment count,
 * which the table of TCP sockets says.
 * Failures: the table cannot be read, or lacks the connection: everything counts, until the time is
 * over.
 */
#include "gateway/server.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "gateway/client.h"

#define PORTS 65536u
#define LOOK_SECONDS 0.02
/*
 * The table has all sockets of the host. Looks at it take a tenth of the processor's time at most.
 */
#define LOOK_SHARE 9
/* libev asks the kernel for so many at a time. */
#define EVENTS_OF_RUN 64u

/* Both ends of a connection, as the program has it. */
struct ends {
    struct in6_addr program, gateway; /* IPv4 ones mapped */
    unsigned int program_port, gateway_port;
};

/* Connections from one port of the program's, or of several programs'. */
struct place {
    struct place *next;
    struct client *client;
    struct ends ends;
};

static unsigned int read_address(const struct sockaddr_storage *address, struct in6_addr *ret)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;

    if (address->ss_family == AF_INET) {
        *ret = (struct in6_addr){.s6_addr[10] = 0xff, .s6_addr[11] = 0xff};
        memcpy(&ret->s6_addr[12], &in->sin_addr, sizeof(in->sin_addr));
    } else {
        *ret = ((const struct sockaddr_in6 *)address)->sin6_addr;
    }
    return ntohs(in->sin_port); /* of both families */
}

static bool get_ends(const struct client *client, struct ends *ret)
{
    struct sockaddr_storage program = {0}, gateway = {0};
    socklen_t len = sizeof(program), gateway_len = sizeof(gateway);

    if (getpeername(client->io.fd, (struct sockaddr *)&program, &len) < 0 ||
        getsockname(client->io.fd, (struct sockaddr *)&gateway, &gateway_len) < 0)
        return false;
    ret->program_port = read_address(&program, &ret->program);
    ret->gateway_port = read_address(&gateway, &ret->gateway);
    return true;
}

/* An address in the format of the table: words in the machine's byte order. */
static bool parse_address(const char *text, struct in6_addr *ret)
{
    size_t words = strlen(text) / 8;
    unsigned int word;

    if (words != 1 && words != 4)
        return false;
    *ret = (struct in6_addr){.s6_addr[10] = 0xff, .s6_addr[11] = 0xff};
    for (size_t i = 0; i < words; i++) {
        if (sscanf(text + i * 8, "%8x", &word) != 1)
            return false;
        memcpy(&ret->s6_addr[(words == 1 ? 3 : i) * 4], &word, sizeof(word));
    }
    return true;
}

static bool parse_line(const char *line, struct ends *ret, unsigned long *ret_unsent,
                       unsigned long *ret_inode)
{
    char program[33], gateway[33];

    return sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %*x %lx:%*x %*x:%*x %*x %*u %*u %lu",
                  program, &ret->program_port, gateway, &ret->gateway_port, ret_unsent,
                  ret_inode) == 6 &&
           ret->program_port < PORTS && parse_address(program, &ret->program) &&
           parse_address(gateway, &ret->gateway);
}

static bool is_same(const struct ends *a, const struct ends *b)
{
    return a->program_port == b->program_port && a->gateway_port == b->gateway_port &&
           IN6_ARE_ADDR_EQUAL(&a->program, &b->program) &&
           IN6_ARE_ADDR_EQUAL(&a->gateway, &b->gateway);
}

/*
 * The program's end of the connection: its unsent or unacknowledged bytes. Inode 0: no program
 * holds it any more.
 */
static void count_one(const struct place *place, const struct ends *ends, uint64_t unsent,
                      bool is_orphan)
{
    int waiting = 0;

    while (place && !is_same(&place->ends, ends))
        place = place->next;
    if (place && is_orphan)
        place->client->owes_end = true;
    else if (place && ioctl(place->client->io.fd, FIONREAD, &waiting) == 0)
        client_owes_only(place->client, unsent + (uint64_t)waiting);
}

static void read_table(const char *path, struct place **table)
{
    FILE *file = fopen(path, "re");
    char line[512];

    while (file && fgets(line, sizeof(line), file)) {
        struct ends ends;
        unsigned long unsent, inode;

        if (parse_line(line, &ends, &unsent, &inode))
            count_one(table[ends.program_port], &ends, unsent, inode == 0);
    }
    if (file)
        fclose(file);
}

/* By the program's port. */
static void sort_clients(struct gateway *gateway, struct place *places, struct place **table)
{
    for (struct client *client = gateway->clients; client; client = client->next) {
        struct place **first;

        if (!client->is_tcp || !get_ends(client, &places->ends))
            continue;
        first = &table[places->ends.program_port];
        places->client = client;
        places->next = *first;
        *first = places++;
    }
}

/* What this thread has had; not what others have kept it waiting. */
static ev_tstamp processor_time(void)
{
    struct timespec time = {0};

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (ev_tstamp)time.tv_sec + (ev_tstamp)time.tv_nsec / 1e9;
}

/* Returns how long that took. */
static ev_tstamp count_owed(struct gateway *gateway)
{
    struct place **table = calloc(PORTS, sizeof(struct place *));
    struct place *places = calloc(gateway->client_count + 1, sizeof(*places));
    ev_tstamp began = processor_time();

    if (table && places) {
        sort_clients(gateway, places, table);
        read_table("/proc/self/net/tcp", table);
        read_table("/proc/self/net/tcp6", table);
    }
    free(places);
    free(table);
    ev_now_update(gateway->loop);
    return processor_time() - began;
}

static bool owes(const struct gateway *gateway)
{
    if (gateway->datagrams_sent > 0)
        return true;
    for (const struct client *client = gateway->clients; client; client = client->next)
        if (client_owes(client))
            return true;
    return false;
}

static void look_later(struct gateway *gateway, ev_timer *look, ev_tstamp took)
{
    ev_tstamp left = gateway->drain_end - ev_now(gateway->loop);
    ev_tstamp after = took * LOOK_SHARE > LOOK_SECONDS ? took * LOOK_SHARE : LOOK_SECONDS;

    ev_timer_set(look, after < left ? after : left > 0 ? left : 0, 0);
    ev_timer_start(gateway->loop, look);
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gateway *gateway = timer->data;
    ev_tstamp took;

    (void)events;
    took = count_owed(gateway);
    if (ev_now(loop) >= gateway->drain_end || !owes(gateway))
        ev_break(loop, EVBREAK_ALL);
    else
        look_later(gateway, timer, took);
}

void gateway_drain(struct gateway *gateway, double seconds)
{
    ev_tstamp took;
    ev_timer look;

    /* What waits at a listener, or has just been closed. */
    gateway_accept_no_more(gateway);
    for (unsigned int i = 0; i <= gateway->client_count / EVENTS_OF_RUN + 1; i++)
        ev_run(gateway->loop, EVRUN_NOWAIT);
    took = count_owed(gateway);
    if (!owes(gateway))
        return;
    gateway->drain_end = ev_now(gateway->loop) + seconds;
    ev_init(&look, on_look);
    look.data = gateway;
    look_later(gateway, &look, took);
    ev_run(gateway->loop, 0);
    ev_timer_stop(gateway->loop, &look);
}
