/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other ends of a worker: clients, and those that they are connected to. Every byte is compared
 * on both sides, and every operation ends once, in its order.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/keeper.h"

#define DEPTH 3u /* operations of a direction at the same time */
#define EVENTS 64
#define PEER_BIT 0x80000000u
#define STUCK_NS (60ull * 1000000000ull)
#define SHORT_STREAM 200000u
#define KILL_EVERY 100u /* turns of the loop, at most */
#define POINTS 20u      /* for each connection, at one of which a worker kills itself */

/* One direction. */
struct stream {
    uint64_t given, got, limit; /* bytes; it ends at the limit */
    uint64_t asked, done;       /* operations, whose tokens are these numbers */
    bool is_shut, is_confirmed; /* by the side that sends; its SHUTDOWN has ended */
    bool has_ended;             /* the other side has seen the end */
};

struct connection {
    int client, peer;
    struct stream up, down;
    unsigned char frame[sizeof(struct frame) + PAYLOAD_MAX]; /* of the client, not written yet */
    size_t frame_done, frame_len;
    unsigned char replies[2 * (sizeof(struct frame) + PAYLOAD_MAX)];
    size_t replies_len;
    bool is_over;
};

struct run {
    struct setup *setup;
    struct load *load;
    struct connection *connections;
    unsigned char *pattern;
    unsigned int left, kills;
    uint64_t countdown; /* until the next kill */
    uint64_t dying;     /* the generation that was killed; 0 */
    uint64_t heard_ns;  /* when the last reply came */
    uint64_t began_ns;  /* processor time of the worker */
    bool is_over;
    int epoll;
};

static int connect_client(const struct setup *setup)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(to.sun_path + 1, setup->unix_name, strlen(setup->unix_name));
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        fail("a client cannot connect");
    return fd;
}

static int accept_peer(const struct setup *setup)
{
    int fd = accept4(setup->tcp_listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        fail("accept");
    return fd;
}

/* ---- the client ---- */

static bool write_frame(struct connection *c)
{
    while (c->frame_done < c->frame_len) {
        ssize_t n = send(c->client, c->frame + c->frame_done, c->frame_len - c->frame_done,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            fail("a client cannot write");
        c->frame_done += (size_t)n;
    }
    return true;
}

static void put_frame(struct connection *c, enum kind kind, struct stream *s, uint32_t length)
{
    struct frame f = {.kind = kind, .length = length, .token = s->asked++};

    memcpy(c->frame, &f, sizeof(f));
    c->frame_done = 0;
    c->frame_len = sizeof(f);
}

static uint32_t size_of_next(const struct run *r)
{
    return r->load->size != 0 ? r->load->size : 1 + (uint32_t)random_below(PAYLOAD_MAX);
}

static void put_send(struct run *r, struct connection *c)
{
    uint64_t left = c->up.limit - c->up.given;
    uint32_t size = size_of_next(r);

    size = size < left ? size : (uint32_t)left;
    put_frame(c, KIND_SEND, &c->up, size);
    memcpy(c->frame + c->frame_len, pattern_at(r->pattern, c->up.given), size);
    c->frame_len += padded(size);
    c->up.given += size;
}

/* In a ping-pong a SEND and a RECEIVE are asked for when those of the last turn have ended. */
static bool may_ask(const struct run *r, const struct connection *c, const struct stream *s)
{
    if (r->load->size == 0 || r->is_over)
        return s->asked - s->done < DEPTH;
    return s->asked == s->done &&
           (s == &c->up ? c->up.done <= c->down.done : c->down.done < c->up.asked);
}

static void ask(struct run *r, struct connection *c)
{
    while (write_frame(c)) {
        if (c->up.given < c->up.limit && may_ask(r, c, &c->up)) {
            put_send(r, c);
        } else if (!c->down.has_ended && may_ask(r, c, &c->down)) {
            put_frame(c, KIND_RECEIVE, &c->down, size_of_next(r));
        } else if (!c->up.is_shut && c->up.given == c->up.limit && may_ask(r, c, &c->up)) {
            put_frame(c, KIND_SHUTDOWN, &c->up, 0);
            c->up.is_shut = true;
        } else {
            return;
        }
    }
}

static void take_reply(struct run *r, struct connection *c, const struct frame *f,
                       const unsigned char *payload)
{
    struct stream *s = f->kind == KIND_RECEIVE ? &c->down : &c->up;

    errno = 0;
    if (f->token != s->done || s->done == s->asked)
        fail("connection %d: reply %llu came where %llu belongs", (int)(c - r->connections),
             (unsigned long long)f->token, (unsigned long long)s->done);
    s->done++;
    r->load->done++;
    if (f->kind == KIND_SHUTDOWN)
        s->is_confirmed = true;
    if (f->kind != KIND_RECEIVE)
        return;
    if (!pattern_is(r->pattern, s->got, payload, f->length))
        fail("connection %d: other bytes than were sent, from %llu on", (int)(c - r->connections),
             (unsigned long long)s->got);
    s->got += f->length;
    r->load->bytes += f->length;
    if (f->length == 0)
        s->has_ended = true;
}

static void take_replies(struct run *r, struct connection *c)
{
    size_t at = 0;

    while (c->replies_len - at >= sizeof(struct frame)) {
        struct frame f;
        size_t len = sizeof(f);

        memcpy(&f, c->replies + at, sizeof(f));
        len += f.kind == KIND_RECEIVE ? padded(f.length) : 0;
        if (len > sizeof(struct frame) + PAYLOAD_MAX || c->replies_len - at < len)
            break;
        take_reply(r, c, &f, c->replies + at + sizeof(f));
        at += len;
    }
    memmove(c->replies, c->replies + at, c->replies_len - at);
    c->replies_len -= at;
}

static void hear(struct run *r, struct connection *c)
{
    for (;;) {
        size_t room = sizeof(c->replies) - c->replies_len;
        ssize_t n = recv(c->client, c->replies + c->replies_len, room, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            fail("a client is disconnected");
        r->heard_ns = now_ns();
        c->replies_len += (size_t)n;
        take_replies(r, c);
        if ((size_t)n < room)
            return;
    }
}

/* ---- the other end of its connection ---- */

static void take_bytes(struct run *r, struct connection *c)
{
    static unsigned char data[65536];

    while (!c->up.has_ended) {
        ssize_t n = recv(c->peer, data, sizeof(data), MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            fail("connection %d: a peer cannot receive", (int)(c - r->connections));
        errno = 0;
        if (!pattern_is(r->pattern, c->up.got, data, (size_t)n))
            fail("connection %d: other bytes came than were sent, from %llu on",
                 (int)(c - r->connections), (unsigned long long)c->up.got);
        c->up.has_ended = n == 0;
        c->up.got += (uint64_t)n;
        r->load->bytes += (uint64_t)n;
    }
}

static void feed(struct run *r, struct connection *c)
{
    bool echoes = r->load->size != 0 && c->up.got < c->down.limit;
    uint64_t until = echoes ? c->up.got : c->down.limit;

    while (c->down.given < until) {
        uint64_t left = until - c->down.given;
        uint64_t n = echoes ? left : 1 + random_below(3 * PAYLOAD_MAX);
        ssize_t sent = send(c->peer, pattern_at(r->pattern, c->down.given), n < left ? n : left,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            fail("connection %d: a peer cannot send", (int)(c - r->connections));
        c->down.given += (uint64_t)sent;
    }
    if (!c->down.is_shut && c->down.given == c->down.limit) {
        shutdown(c->peer, SHUT_WR);
        c->down.is_shut = true;
    }
}

/* ---- all of them ---- */

static void pump(struct run *r, struct connection *c)
{
    hear(r, c);
    take_bytes(r, c);
    feed(r, c);
    ask(r, c);
    if (c->is_over || !c->up.has_ended || !c->up.is_confirmed || !c->down.has_ended)
        return;
    errno = 0;
    if (c->up.got != c->up.given || c->down.got != c->down.given)
        fail("connection %d: bytes are missing at the end", (int)(c - r->connections));
    c->is_over = true;
    r->left--;
}

static void watch(const struct run *r, int fd, uint32_t data)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = data};

    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

/* Some streams are short: ends of streams are among what a worker leaves behind. */
static uint64_t limit_of_stream(const struct load *load)
{
    return load->size == 0 && random_below(4) == 0 ? random_below(SHORT_STREAM) : UINT64_MAX;
}

static void open_all(struct run *r)
{
    for (unsigned int i = 0; i < r->load->connections; i++) {
        struct connection *c = &r->connections[i];

        c->client = connect_client(r->setup);
        c->peer = accept_peer(r->setup);
        c->up.limit = limit_of_stream(r->load);
        c->down.limit = limit_of_stream(r->load);
        watch(r, c->client, i);
        watch(r, c->peer, i | PEER_BIT);
    }
    r->left = r->load->connections;
    for (unsigned int i = 0; i < r->load->connections; i++)
        pump(r, &r->connections[i]);
}

static void end_all(struct run *r)
{
    r->is_over = true;
    for (unsigned int i = 0; i < r->load->connections; i++) {
        struct connection *c = &r->connections[i];

        c->up.limit = c->up.given;
        c->down.limit = c->down.given;
        pump(r, c);
    }
}

/* What the last kill has cost. */
static void note_recovery(struct run *r)
{
    const struct control *control = r->setup->control;
    struct recovery *recovery = &r->load->recoveries[r->kills++];

    recovery->started_ns = control->started_ns - control->killed_ns;
    recovery->ready_ns = control->ready_ns - control->killed_ns;
    recovery->replied_ns = control->replied_ns - control->killed_ns;
    recovery->served_ns = control->served_ns - control->killed_ns;
}

/*
 * Kills the worker now, or has it kill itself at one of the points between its stores, where it is
 * for nanoseconds only. The next one must have served all before it is killed as well.
 */
static void kill_sometimes(struct run *r)
{
    struct control *control = r->setup->control;
    uint64_t served = __atomic_load_n(&control->served, __ATOMIC_ACQUIRE);

    if (served == r->dying || control->replied_ns == 0)
        return;
    if (r->dying != 0) {
        note_recovery(r);
        r->dying = 0;
        r->countdown = 1 + random_below(KILL_EVERY);
    }
    if (r->kills == r->load->kills) {
        end_all(r);
    } else if (--r->countdown == 0) {
        r->dying = served;
        if (random_below(2) == 0) {
            control->dies_at = 1 + random_below(POINTS * r->load->connections);
        } else {
            control->killed_ns = now_ns();
            kill(control->worker, SIGKILL);
        }
    }
}

static void look_around(struct run *r)
{
    errno = 0;
    if (r->setup->control->failed)
        fail("a worker ended in another way than by SIGKILL");
    if (now_ns() - r->heard_ns > STUCK_NS)
        fail("no reply comes any more; %u connections are left", r->left);
    if (r->is_over)
        return;
    if (r->load->kills > 0) {
        kill_sometimes(r);
    } else if (r->load->done >= r->load->ops) {
        r->load->worker_ns = processor_ns(r->setup->control->worker) - r->began_ns;
        end_all(r);
    }
}

void load_run(struct setup *setup, struct load *load)
{
    struct run r = {.setup = setup,
                    .load = load,
                    .connections = calloc(load->connections, sizeof(struct connection)),
                    .pattern = pattern_new(-1),
                    .countdown = 1 + random_below(KILL_EVERY),
                    .heard_ns = now_ns(),
                    .epoll = epoll_create1(EPOLL_CLOEXEC)};

    if (r.connections == NULL || r.epoll < 0)
        fail("no memory");
    open_all(&r);
    r.began_ns = processor_ns(setup->control->worker);
    while (r.left > 0) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(r.epoll, events, EVENTS, 20);

        for (int i = 0; i < n; i++)
            pump(&r, &r.connections[events[i].data.u32 & ~PEER_BIT]);
        look_around(&r);
    }
    for (unsigned int i = 0; i < load->connections; i++) {
        close(r.connections[i].client);
        close(r.connections[i].peer);
    }
    close(r.epoll);
    free(r.connections);
    free(r.pattern);
}

void load_connects(struct setup *setup, unsigned int times)
{
    struct frame request = {.kind = KIND_SEND, .length = 1}, reply;
    unsigned char bytes[2 * sizeof(request)] = {0};

    memcpy(bytes, &request, sizeof(request));
    for (unsigned int i = 0; i < times; i++) {
        int client = connect_client(setup), peer = accept_peer(setup);

        if (send(client, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes) ||
            recv(client, &reply, sizeof(reply), MSG_WAITALL) != sizeof(reply) ||
            recv(peer, bytes + sizeof(request), 1, MSG_WAITALL) != 1)
            fail("a byte was not exchanged");
        close(client);
        if (recv(peer, bytes + sizeof(request), 1, MSG_WAITALL) != 0)
            fail("a connection does not end");
        close(peer);
    }
}
