/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-names: a name server that knows every name: its A record is 127.0.0.1, and it has no AAAA
 * record.
 *
 * Prints its UDP port on 127.0.0.1 and answers until its standard input ends.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/common.h"

#define HEADER 12u
#define ANSWER 16u /* a compressed name, type, class, TTL, length, an address */
#define TYPE_A 1u

/* Where the question ends; 0: there is none that can be answered. */
static size_t question_end(const unsigned char *query, size_t len)
{
    size_t at = HEADER;

    while (at < len && query[at] != 0)
        at += query[at] + 1u;
    return at + 5 <= len ? at + 5 : 0;
}

/* The answer replaces the query; its length, 0 for none. */
static size_t answer(unsigned char *packet, size_t len)
{
    static const unsigned char record[ANSWER] = {0xc0, HEADER, 0, TYPE_A, 0,   1, 0, 0,
                                                 0,    60,     0, 4,      127, 0, 0, 1};
    size_t end = len > HEADER ? question_end(packet, len) : 0;
    bool is_address;

    if (end == 0)
        return 0;
    is_address = packet[end - 3] == TYPE_A;
    packet[2] = 0x81; /* a response, recursion desired */
    packet[3] = 0x80; /* and available */
    memset(packet + 6, 0, 6);
    packet[7] = is_address ? 1 : 0;
    if (!is_address)
        return end;
    memcpy(packet + end, record, sizeof record);
    return end + sizeof record;
}

static int open_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        fail("no port");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int main(void)
{
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                            {.fd = open_port(), .events = POLLIN}};

    while (poll(fds, 2, -1) >= 0 && fds[0].revents == 0) {
        unsigned char packet[512 + ANSWER];
        struct sockaddr_in from;
        socklen_t from_len = sizeof from;
        ssize_t n = recvfrom(fds[1].fd, packet, sizeof packet - ANSWER, MSG_DONTWAIT,
                             (struct sockaddr *)&from, &from_len);
        size_t len = n > 0 ? answer(packet, (size_t)n) : 0;

        if (len > 0 && sendto(fds[1].fd, packet, len, 0, (struct sockaddr *)&from, from_len) < 0)
            fail("sendto");
    }
    return 0;
}
