/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/lib/dns.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TYPE_A 1
#define TYPE_AAAA 28

/* ------------------------------------------------------------------------------- the network */

static bool write_over(const char *path, const char *text)
{
    char temporary[] = "/tmp/asockd-test-file.XXXXXX";
    int fd = mkstemp(temporary);
    bool ok;

    if (fd < 0)
        return false;
    ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0644) == 0 &&
         mount(temporary, path, NULL, MS_BIND, NULL) == 0;
    close(fd);
    unlink(temporary);
    return ok;
}

static bool raise_loopback(void)
{
    struct ifreq request = {.ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    snprintf(request.ifr_name, sizeof(request.ifr_name), "lo");
    ok = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return ok;
}

bool dns_enter_network(void)
{
    return unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && raise_loopback() &&
           write_over("/etc/resolv.conf", "nameserver 127.0.0.1\n") &&
           write_over("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
}

/* -------------------------------------------------------------------------------- the server */

struct name {
    const char *name;
    int rcode; /* -1: no answer */
    const char *a[2], *aaaa[2];
};

static const struct name names[] = {
    {"one.test", 0, {"127.0.0.1"}, {NULL}},
    {"six.test", 0, {NULL}, {"::1"}},
    {"both.test", 0, {"127.0.0.1"}, {"::1"}},
    {"second.test", 0, {"127.0.0.2", "127.0.0.1"}, {NULL}},
    {"empty.test", 0, {NULL}, {NULL}},
    {"broken.test", 2, {NULL}, {NULL}},
    {"silent.test", -1, {NULL}, {NULL}},
};
static const struct name unknown = {"", 3, {NULL}, {NULL}};

struct dns_server {
    int fd, stop[2];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    struct dns_counts counts;
};

/* The question's name in text form; returns the offset behind the question, 0 if it is none. */
static size_t read_question(const uint8_t *packet, size_t len, char *name, size_t size, int *type)
{
    size_t at = 12, to = 0;

    while (at < len && packet[at] != 0) {
        size_t label = packet[at];

        if (at + 1 + label >= len || to + label + 2 > size)
            return 0;
        memcpy(name + to, packet + at + 1, label);
        to += label;
        name[to++] = '.';
        at += label + 1;
    }
    if (at + 5 > len || to == 0)
        return 0;
    name[to - 1] = '\0';
    *type = packet[at + 1] << 8 | packet[at + 2];
    return at + 5;
}

static size_t append_address(uint8_t *packet, size_t at, int type, const char *text)
{
    int family = type == TYPE_A ? AF_INET : AF_INET6;
    uint8_t len = type == TYPE_A ? 4 : 16;
    const uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 1, 0, len};

    memcpy(packet + at, head, sizeof(head));
    ck_assert_int_eq(inet_pton(family, text, packet + at + sizeof(head)), 1);
    return at + sizeof(head) + len;
}

static void answer(struct dns_server *server, uint8_t *packet, size_t len,
                   const struct sockaddr_in *from)
{
    const struct name *entry = &unknown;
    const char *const *addresses;
    char name[256];
    size_t at;
    int type;

    at = read_question(packet, len, name, sizeof(name), &type);
    if (at == 0)
        return;
    pthread_mutex_lock(&server->lock);
    (*(type == TYPE_A      ? &server->counts.a
       : type == TYPE_AAAA ? &server->counts.aaaa
                           : &server->counts.other))++;
    pthread_cond_signal(&server->asked);
    pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(names[i].name, name) == 0)
            entry = &names[i];
    }
    if (entry->rcode < 0)
        return;
    packet[2] = 0x85;
    packet[3] = (uint8_t)(0x80 | entry->rcode);
    memset(packet + 6, 0, 6);
    addresses = type == TYPE_A ? entry->a : entry->aaaa;
    for (size_t i = 0; i < 2 && addresses[i] && (type == TYPE_A || type == TYPE_AAAA); i++) {
        at = append_address(packet, at, type, addresses[i]);
        packet[7]++;
    }
    sendto(server->fd, packet, at, 0, (const struct sockaddr *)from, sizeof(*from));
}

static void *serve(void *userdata)
{
    struct dns_server *server = userdata;
    struct pollfd fds[2] = {{.fd = server->stop[0], .events = POLLIN},
                            {.fd = server->fd, .events = POLLIN}};

    while (poll(fds, 2, -1) >= 0 && !fds[0].revents) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        uint8_t packet[1024];
        ssize_t n = recvfrom(server->fd, packet, 512, MSG_DONTWAIT, (struct sockaddr *)&from,
                             &from_len);

        if (n > 12)
            answer(server, packet, (size_t)n, &from);
    }
    return NULL;
}

struct dns_server *dns_start(void)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct dns_server *server = calloc(1, sizeof(*server));
    sigset_t all, before;

    server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(server->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(pipe2(server->stop, O_CLOEXEC), 0);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->asked, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ck_assert_int_eq(pthread_create(&server->thread, NULL, serve, server), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return server;
}

struct dns_counts dns_counts(struct dns_server *server)
{
    struct dns_counts counts;

    pthread_mutex_lock(&server->lock);
    counts = server->counts;
    pthread_mutex_unlock(&server->lock);
    return counts;
}

struct dns_counts dns_wait_for_both(struct dns_server *server)
{
    struct timespec deadline;
    int r = 0;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 30;
    pthread_mutex_lock(&server->lock);
    while (r == 0 && (server->counts.a == 0 || server->counts.aaaa == 0))
        r = pthread_cond_timedwait(&server->asked, &server->lock, &deadline);
    pthread_mutex_unlock(&server->lock);
    return dns_counts(server);
}

struct dns_server *dns_stop(struct dns_server *server)
{
    ck_assert_int_eq(write(server->stop[1], "", 1), 1);
    pthread_join(server->thread, NULL);
    close(server->fd);
    close(server->stop[0]);
    close(server->stop[1]);
    pthread_cond_destroy(&server->asked);
    pthread_mutex_destroy(&server->lock);
    free(server);
    return NULL;
}
