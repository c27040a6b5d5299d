/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-pair PORT: what a proxy of two processes costs at least.
 *
 * The front speaks SOCKS5 at 127.0.0.1:PORT, the back has the network's sockets, as asockctl proxy
 * and asockd. Between them are a Unix socket, with one message for each event and one write for all
 * messages of a turn, and memory that both have mapped, for bulk data. A connection passes the same
 * hops: greeting, request, connect, data, end of stream both ways.
 *
 * There is nothing else: no policy, no quota, no limit, no time-out, no error that is not the end.
 * Sends block, so a slow reader stops everybody. What a proxy of two processes takes more than this
 * is its own doing; the rest is switches between processes, system calls, copies and TCP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/common.h"

#define CONNECTIONS 20000
#define SMALL 2048u
#define BLOCK (512u * 1024u)
#define BLOCKS 2u /* of a connection, each way */
#define BULK 16u  /* connections that have blocks */
#define LINK_BUFFER (256u * 1024u)
#define EVENTS 64
#define READS 4
/* Numbers that no connection has: they are descriptors of standard streams. */
#define ID_LINK 0u
#define ID_LISTENER 1u

enum kind {
    KIND_CONNECT, /* to the address that follows; without one: it is connected */
    KIND_DATA,    /* that follows, or is in a block */
    KIND_FREE,    /* the block is free */
    KIND_END,     /* of the stream */
};

struct message {
    uint32_t kind, id;
    uint32_t len;
    int32_t block; /* -1: the bytes follow */
};

/* Read at one end, sent at the other. */
struct lane {
    bool is_bulk, has_ended;
    bool is_waiting; /* for a free block */
    unsigned int used;
    unsigned int next;
};

enum step { STEP_GREETING, STEP_REQUEST, STEP_CONNECTING, STEP_RELAY };

/* One process's side of a connection. Its number is the front's descriptor. */
struct end {
    int fd;
    int place; /* of its blocks; -1: none yet */
    enum step step;
    bool is_shut; /* the other direction has ended */
    struct lane lane;
};

struct process {
    bool is_front;
    int epoll, link, listener;
    struct end ends[CONNECTIONS];
    unsigned int places;
    char *memory;
    char out[LINK_BUFFER], in[LINK_BUFFER];
    size_t out_len, in_len;
};

static struct process self;

/* ---- what is between both ---- */

static void flush_link(void)
{
    size_t at = 0;

    while (at < self.out_len) {
        ssize_t n = send(self.link, self.out + at, self.out_len - at, MSG_NOSIGNAL);

        if (n < 0)
            exit(0);
        at += (size_t)n;
    }
    self.out_len = 0;
}

static char *put(enum kind kind, uint32_t id, uint32_t len, int block)
{
    struct message m = {kind, id, len, block};
    size_t more = block < 0 ? len : 0;
    char *at;

    if (self.out_len + sizeof m + more > LINK_BUFFER)
        flush_link();
    at = self.out + self.out_len;
    memcpy(at, &m, sizeof m);
    self.out_len += sizeof m + more;
    return at + sizeof m;
}

/* Each connection has places of its own for what goes up and for what comes down. */
static char *block_at(int block)
{
    return self.memory + (size_t)block * BLOCK;
}

static int take_block(struct end *end)
{
    struct lane *lane = &end->lane;
    int block;

    if (end->place < 0)
        end->place = (int)(self.places++ % BULK);
    block = (int)(((unsigned int)end->place * 2 + self.is_front) * BLOCKS + lane->next);
    lane->next = (lane->next + 1) % BLOCKS;
    lane->used++;
    return block;
}

/* ---- the ends ---- */

static void watch(uint32_t id, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = id};

    if (epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

static void maybe_close(struct end *end)
{
    if (end->fd < 0 || !end->lane.has_ended || !end->is_shut)
        return;
    close(end->fd);
    end->fd = -1;
}

/* false: no more for now. */
static bool read_some(uint32_t id, struct end *end)
{
    struct lane *lane = &end->lane;
    size_t size = lane->is_bulk ? BLOCK : SMALL;
    char small[SMALL];
    ssize_t n;
    int block = -1;

    lane->is_waiting = lane->is_bulk && lane->used == BLOCKS;
    if (lane->is_waiting || lane->has_ended || end->fd < 0)
        return false;
    if (lane->is_bulk)
        block = take_block(end);
    n = recv(end->fd, block < 0 ? small : block_at(block), size, MSG_DONTWAIT);
    if (n <= 0 && block >= 0) {
        lane->used--;
        lane->next = (lane->next + BLOCKS - 1) % BLOCKS;
    }
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        lane->has_ended = true;
        put(KIND_END, id, 0, -1);
        maybe_close(end);
        return false;
    }
    if (block < 0)
        memcpy(put(KIND_DATA, id, (uint32_t)n, -1), small, (size_t)n);
    else
        put(KIND_DATA, id, (uint32_t)n, block);
    lane->is_bulk = block < 0 ? (size_t)n == size : n >= (ssize_t)SMALL;
    return (size_t)n == size;
}

static void read_end(uint32_t id, struct end *end)
{
    for (int i = 0; i < READS && read_some(id, end); i++)
        ;
}

static void end_new(uint32_t id, int fd, enum step step)
{
    self.ends[id] = (struct end){.fd = fd, .place = -1, .step = step};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    watch(id, fd, EPOLLIN | EPOLLET);
}

/* ---- front: SOCKS5, addresses of IPv4 ---- */

static void accept_one(void)
{
    int fd = accept4(self.listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        end_new((uint32_t)fd, fd, STEP_GREETING);
}

static void handshake(uint32_t id, struct end *end)
{
    char data[SMALL];
    struct sockaddr_in to = {.sin_family = AF_INET};
    ssize_t n = recv(end->fd, data, sizeof data, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close(end->fd);
        end->fd = -1;
    } else if (end->step == STEP_GREETING) {
        send_all(end->fd, "\5", 2);
        end->step = STEP_REQUEST;
    } else if (n == 10) {
        memcpy(&to.sin_addr, data + 4, sizeof to.sin_addr);
        memcpy(&to.sin_port, data + 8, sizeof to.sin_port);
        memcpy(put(KIND_CONNECT, id, sizeof to, -1), &to, sizeof to);
        end->step = STEP_CONNECTING;
    }
}

static void connected(uint32_t id, struct end *end)
{
    send_all(end->fd, "\5\0\0\1\0\0\0\0\0", 10);
    end->step = STEP_RELAY;
    read_end(id, end);
}

/* ---- back ---- */

static void connect_to(uint32_t id, const char *address)
{
    struct sockaddr_in to;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(&to, address, sizeof to);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    end_new(id, fd, STEP_RELAY);
    put(KIND_CONNECT, id, 0, -1);
}

/* ---- both ---- */

static void take(const struct message *m, const char *data)
{
    struct end *end = &self.ends[m->id];

    switch (m->kind) {
    case KIND_CONNECT:
        if (self.is_front)
            connected(m->id, end);
        else
            connect_to(m->id, data);
        break;
    case KIND_DATA:
        send_all(end->fd, m->block < 0 ? data : block_at(m->block), m->len);
        if (m->block >= 0)
            put(KIND_FREE, m->id, 0, -1);
        break;
    case KIND_FREE:
        end->lane.used--;
        if (end->lane.is_waiting)
            read_end(m->id, end);
        break;
    default:
        shutdown(end->fd, SHUT_WR);
        end->is_shut = true;
        maybe_close(end);
        break;
    }
}

static void take_messages(void)
{
    ssize_t n = recv(self.link, self.in + self.in_len, LINK_BUFFER - self.in_len, MSG_DONTWAIT);
    size_t at = 0;
    struct message m;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        exit(0);
    self.in_len += (size_t)n;
    while (self.in_len - at >= sizeof m) {
        size_t len;

        memcpy(&m, self.in + at, sizeof m);
        len = sizeof m + (m.block < 0 ? m.len : 0);
        if (self.in_len - at < len)
            break;
        take(&m, self.in + at + sizeof m);
        at += len;
    }
    self.in_len -= at;
    memmove(self.in, self.in + at, self.in_len);
}

static void serve(uint32_t id)
{
    struct end *end = &self.ends[id];

    if (id == ID_LINK)
        take_messages();
    else if (id == ID_LISTENER)
        accept_one();
    else if (end->step == STEP_RELAY)
        read_end(id, end);
    else if (end->step != STEP_CONNECTING)
        handshake(id, end);
}

static void run(void)
{
    struct epoll_event events[EVENTS];

    self.epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(ID_LINK, self.link, EPOLLIN);
    if (self.is_front)
        watch(ID_LISTENER, self.listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(self.epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++)
            serve(events[i].data.u32);
        flush_link();
    }
}

static int listen_at(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    /* As asockctl proxy bounds it: what is in the cache is read faster (gateway/server.c). */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){384 * 1024}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        fail("port %s", port);
    return fd;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    int link[2];

    if (argc != 2)
        fail("usage: bench-pair PORT");
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    self.memory = mmap(NULL, (size_t)BULK * 2 * BLOCKS * BLOCK, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self.memory == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0)
        fail("no memory");
    self.is_front = fork() != 0;
    self.link = link[self.is_front];
    close(link[!self.is_front]);
    self.listener = -1;
    if (self.is_front)
        self.listener = listen_at(argv[1]);
    else
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    run();
    return 0;
}
