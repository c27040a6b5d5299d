/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-held [--open] COMMAND...: what a connect costs at least where a gateway holds the first
 * packet of each connection.
 *
 * COMMAND has a network namespace of its own, with the cable of asockctl run --transparent to this
 * process (gateway/network.c). A packet socket sees the first packet of a connection; it is put in
 * front of a listener that is there already, and the connection is accepted, which ends connect(2)
 * in COMMAND. It is closed when COMMAND has closed it.
 *
 * There is nothing else: no dial, no name, no policy, no look at who connects where, no data, no
 * error that is not the end. All connections are to the port of the first one. What the gateway
 * takes more than this and asockd's dial is its own doing; the rest is switches between processes,
 * system calls and TCP.
 *
 * --open: from the second one on no packet is held. The kernel alone answers, as where there is no
 * gateway; this process accepts and closes.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/common.h"
#include "gateway/network.h"
#include "gateway/packet.h"

#define EVENTS 64

static struct held {
    struct network network;
    bool is_open;
    int control; /* COMMAND has its other end until it ends */
    int epoll, listener;
} self = {.listener = -1};

static void need(int r, const struct network_problem *why)
{
    if (r == 0)
        return;
    errno = why->error;
    fail("cannot %s", why->what);
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};

    if (epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

/* ---- connections ---- */

static void open_port(uint16_t port)
{
    check(network_listen(&self.network, AF_INET, port, &self.listener), "listen");
    if (self.is_open &&
        setsockopt(self.listener, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)) < 0)
        fail("SO_DETACH_FILTER");
    check(network_open_port(&self.network, AF_INET, port), "routing rule");
    watch(self.listener);
}

/* The handshake is mostly done when network_put_syn() returns; else epoll tells. */
static void accept_one(void)
{
    int fd = accept4(self.listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        watch(fd);
}

static void take_packet(void)
{
    uint8_t data[HEAD_MAX];
    struct packet syn;
    ssize_t n = recv(self.network.packets, data, sizeof data, 0);

    if (n < 0 || !packet_read_syn(data, (size_t)n, &syn))
        return;
    if (self.listener < 0)
        open_port(syn.flow.target_port);
    check(network_put_syn(&self.network, &syn), "first packet");
    accept_one();
    if (self.is_open) {
        close(self.network.packets);
        self.network.packets = -1;
    }
}

/* false: COMMAND has ended. */
static bool serve(int fd)
{
    if (fd == self.control)
        return false;
    if (fd == self.network.packets)
        take_packet();
    else if (fd == self.listener)
        accept_one();
    else
        close(fd);
    return true;
}

static void run(void)
{
    struct epoll_event events[EVENTS];
    bool goes_on = true;

    self.epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(self.control);
    watch(self.network.packets);
    while (goes_on) {
        int n = epoll_wait(self.epoll, events, EVENTS, -1);

        for (int i = 0; i < n && goes_on; i++)
            goes_on = serve(events[i].data.fd);
    }
}

/* ---- start ---- */

static void say(int control)
{
    if (send(control, "", 1, MSG_NOSIGNAL) != 1)
        exit(1);
}

/* The other side has said why, if it is gone. */
static void hear(int control)
{
    char byte;

    if (recv(control, &byte, 1, 0) != 1)
        exit(1);
}

static _Noreturn void run_command(int control, char **args)
{
    struct network_problem why;
    int outside = network_watch_outside(&why);

    need(outside < 0 ? -1 : 0, &why);
    if (unshare(CLONE_NEWNET) < 0)
        fail("cannot create a network namespace");
    say(control);
    hear(control);
    need(network_make_inside(outside, &why), &why);
    execvp(args[0], args);
    fail("%s", args[0]);
}

static pid_t start_command(char **args)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        fail("socketpair");
    pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(pair[0]);
        run_command(pair[1], args);
    }
    close(pair[1]);
    self.control = pair[0];
    return pid;
}

int main(int argc, char **argv)
{
    struct network_problem why;
    int status;
    pid_t pid;

    self.is_open = argc > 1 && strcmp(argv[1], "--open") == 0;
    if (argc < 2 + self.is_open)
        fail("usage: bench-held [--open] COMMAND...");
    need(network_unshare(&why), &why);
    pid = start_command(argv + 1 + self.is_open);
    hear(self.control);
    need(network_make_outside(pid, &self.network, &why), &why);
    /* There are no datagrams: each packet would pass its filter. */
    close(self.network.datagrams);
    self.network.datagrams = -1;
    say(self.control);
    run();
    network_close(&self.network);
    if (waitpid(pid, &status, 0) < 0)
        fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
