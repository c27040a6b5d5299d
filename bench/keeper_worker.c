/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path of an operation: recvmmsg() reads its request into the ring -> it becomes an operation
 * of a queue -> sendmmsg() or recvmmsg() moves its bytes, out of one ring or into the other -> its
 * reply is written behind the other replies -> out_head makes it count -> it leaves the queue ->
 * sendmmsg() gives it to the client.
 *
 * Failure: the worker is killed, at any point of this. The next one repairs each slot: an operation
 * whose reply counts leaves its queue; one whose reply does not count yet gets it again. Of one
 * system call nobody has seen the result: the kernel has stored it in struct call.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/keeper.h"

#define EVENTS 64
#define LISTENER UINT32_MAX
#define REMOTE_BIT 0x80000000u

/* What may be tried on the sockets of a slot without EAGAIN. */
struct ready {
    bool in, out, up, down;
};

struct worker {
    struct setup *setup;
    struct control *control;
    struct slot *slots;
    struct call *call;
    struct ready *ready;
    uint64_t stored; /* bytes of the journal */
    int epoll, link;
    bool journals;
};

/* ---- stores that another worker may find ---- */

/* Here it may be killed. */
static void point(struct worker *w)
{
    if (__atomic_load_n(&w->control->dies_at, __ATOMIC_RELAXED) == 0 || --w->control->dies_at > 0)
        return;
    w->control->killed_ns = now_ns();
    kill(getpid(), SIGKILL);
}

/*
 * Only the compiler could put other stores of this thread behind it, or in front of it: whoever
 * reads them runs after this thread has ended.
 */
static void commit(struct worker *w, uint64_t *at, uint64_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (w->journals) {
        w->stored += sizeof(value);
        point(w);
    }
}

static void begin_call(struct worker *w, const struct slot *s, enum call_kind kind, uint64_t from)
{
    struct call *c = w->call;

    commit(w, &c->kind, CALL_NONE);
    c->message.msg_len = 0;
    c->from = from;
    c->slot = (uint64_t)(s - w->slots);
    w->stored += sizeof(c->from) + sizeof(c->slot) + sizeof(c->message.msg_len);
    commit(w, &c->kind, kind);
}

/* Up to len bytes at the position of a ring, in at most two pieces. */
static void point_into(struct call *c, unsigned char *ring, uint64_t position, uint64_t len)
{
    uint64_t start = position % RING, first = len < RING - start ? len : RING - start;

    c->pieces[0] = (struct iovec){ring + start, first};
    c->pieces[1] = (struct iovec){ring, len - first};
    c->message.msg_hdr = (struct msghdr){.msg_iov = c->pieces, .msg_iovlen = len > first ? 2 : 1};
}

/* Bytes, 0 at the end of a stream, -errno. */
static int64_t move(struct worker *w, struct slot *s, enum call_kind kind, uint64_t from)
{
    bool reads = kind == CALL_IN || kind == CALL_DOWN;
    int fd = kind == CALL_IN || kind == CALL_OUT ? s->client : s->remote;
    struct msghdr *message = &w->call->message.msg_hdr;
    ssize_t n;

    if (w->journals) {
        begin_call(w, s, kind, from);
        n = reads ? recvmmsg(fd, &w->call->message, 1, MSG_DONTWAIT, NULL)
                  : sendmmsg(fd, &w->call->message, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        point(w);
        n = n == 1 ? (ssize_t)w->call->message.msg_len : n;
    } else {
        n = reads ? recvmsg(fd, message, MSG_DONTWAIT)
                  : sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return n < 0 ? -errno : n;
}

/* ---- operations ---- */

static struct op *first_of(struct queue *q)
{
    return q->begin < q->end ? &q->ops[q->begin % QUEUE] : NULL;
}

static struct op *last_of(struct queue *q)
{
    return q->end > 0 ? &q->ops[(q->end - 1) % QUEUE] : NULL;
}

static struct frame *frame_at(unsigned char *ring, uint64_t position)
{
    return (struct frame *)(void *)(ring + position % RING);
}

static uint64_t room_for_replies(const struct slot *s)
{
    return RING - (s->out_head - s->out_tail);
}

/* The first operation of the queue ends; of a RECEIVE its payload is in its place already. */
static void finish(struct worker *w, struct slot *s, struct queue *q, uint32_t length)
{
    struct op *op = first_of(q);
    bool is_receive = q == &s->receives;
    uint64_t end = s->out_head + sizeof(struct frame) + (is_receive ? padded(length) : 0);

    *frame_at(s->out,
              s->out_head) = (struct frame){.kind = op->kind, .length = length, .token = op->token};
    if (w->journals) {
        op->bytes = length;
        w->stored += sizeof(op->bytes);
        commit(w, &op->reply_end, end);
    }
    commit(w, &s->out_head, end);
    if (is_receive)
        commit(w, &s->received, op->from + length);
    commit(w, &q->begin, q->begin + 1);
}

static bool send_some(struct worker *w, struct slot *s)
{
    struct op *op = first_of(&s->sends);
    struct ready *ready = &w->ready[s - w->slots];
    uint64_t left;
    int64_t n = 0;

    if (op == NULL || room_for_replies(s) < sizeof(struct frame))
        return false;
    left = op->from + op->length - s->sent;
    if (left > 0) {
        if (!ready->up)
            return false;
        point_into(w->call, s->in, op->at + (s->sent - op->from), left);
        n = move(w, s, CALL_UP, s->sent);
        ready->up = n == (int64_t)left;
        if (n <= 0)
            return false;
        commit(w, &s->sent, s->sent + (uint64_t)n);
        if ((uint64_t)n < left)
            return true;
    }
    if (op->kind == KIND_SHUTDOWN)
        shutdown(s->remote, SHUT_WR);
    finish(w, s, &s->sends, op->length);
    return true;
}

static bool receive_some(struct worker *w, struct slot *s)
{
    struct op *op = first_of(&s->receives);
    struct ready *ready = &w->ready[s - w->slots];
    uint64_t room = room_for_replies(s);
    int64_t n;

    if (op == NULL || !ready->down || room < 2 * sizeof(struct frame))
        return false;
    room -= sizeof(struct frame);
    commit(w, &op->from, s->received);
    room = op->length < room ? op->length : room;
    point_into(w->call, s->out, s->out_head + sizeof(struct frame), room);
    n = move(w, s, CALL_DOWN, s->received);
    if (n < 0) {
        ready->down = false;
        return false;
    }
    finish(w, s, &s->receives, (uint32_t)n);
    return true;
}

/* The next request becomes an operation. */
static bool parse(struct worker *w, struct slot *s)
{
    const struct frame *f = frame_at(s->in, s->parsed);
    uint64_t there = s->in_head - s->parsed, payload;
    struct queue *q;
    struct op *op;

    if (there < sizeof(*f))
        return false;
    payload = f->kind == KIND_SEND ? padded(f->length) : 0;
    q = f->kind == KIND_RECEIVE ? &s->receives : &s->sends;
    if (there < sizeof(*f) + payload || q->end - q->begin == QUEUE)
        return false;
    op = &q->ops[q->end % QUEUE];
    *op = (struct op){.token = f->token,
                      .kind = f->kind,
                      .length = f->length,
                      .at = s->parsed + sizeof(*f),
                      .from = q->begin == q->end ? s->sent : last_of(q)->from + last_of(q)->length,
                      .after = s->parsed + sizeof(*f) + payload};
    w->stored += sizeof(*op) - sizeof(op->reply_end) -
                 sizeof(op->bytes); /* finish() counts these */
    commit(w, &q->end, q->end + 1);
    commit(w, &s->parsed, op->after);
    return true;
}

static void leave(struct worker *w, struct slot *s);

/* False: nothing came, or the client has gone. */
static bool read_requests(struct worker *w, struct slot *s)
{
    struct ready *ready = &w->ready[s - w->slots];
    const struct op *op = first_of(&s->sends);
    uint64_t room = RING - (s->in_head - (op != NULL ? op->at : s->parsed));
    int64_t n;

    if (!ready->in || room == 0)
        return false;
    point_into(w->call, s->in, s->in_head, room);
    n = move(w, s, CALL_IN, s->in_head);
    ready->in = n == (int64_t)room;
    if (n == 0 || n == -ECONNRESET)
        leave(w, s);
    if (n <= 0)
        return false;
    commit(w, &s->in_head, s->in_head + (uint64_t)n);
    return true;
}

static void write_replies(struct worker *w, struct slot *s)
{
    struct ready *ready = &w->ready[s - w->slots];
    uint64_t there = s->out_head - s->out_tail;
    int64_t n;

    if (there == 0 || !ready->out)
        return;
    point_into(w->call, s->out, s->out_tail, there);
    n = move(w, s, CALL_OUT, s->out_tail);
    ready->out = n == (int64_t)there;
    if (n <= 0)
        return;
    commit(w, &s->out_tail, s->out_tail + (uint64_t)n);
    if (w->control->replied_ns == 0)
        w->control->replied_ns = now_ns();
}

static void serve(struct worker *w, struct slot *s)
{
    bool moved = true;

    while (moved && s->client > 0) {
        moved = read_requests(w, s);
        while (s->client > 0 && parse(w, s))
            moved = true;
        while (s->client > 0 && (send_some(w, s) || receive_some(w, s)))
            moved = true;
        if (s->client > 0)
            write_replies(w, s);
    }
}

/* ---- clients that come and go ---- */

/* Without a client: its descriptors are not needed any more. */
static void pass(struct worker *w, const struct slot *s)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    uint64_t slot = (uint64_t)(s - w->slots);
    struct iovec piece = {&slot, sizeof(slot)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    if (!(w->setup->keeps & KEEP_PASSED))
        return;
    if (s->client > 0) {
        int fds[2] = {s->client, s->remote};

        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(fds)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    if (sendmsg(w->link, &message, MSG_NOSIGNAL) < 0)
        fail("descriptors to the keeper");
}

static void watch(struct worker *w, const struct slot *s, int operation)
{
    uint32_t number = (uint32_t)(s - w->slots);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};

    event.data.u32 = number;
    if (epoll_ctl(w->epoll, operation, s->client, &event) < 0)
        fail("epoll_ctl");
    event.data.u32 = number | REMOTE_BIT;
    if (epoll_ctl(w->epoll, operation, s->remote, &event) < 0)
        fail("epoll_ctl");
}

static void leave(struct worker *w, struct slot *s)
{
    int client = s->client, remote = s->remote;

    commit(w, &w->call->kind, CALL_NONE);
    if (w->setup->keeps & KEEP_PASSED) {
        /* The keeper's duplicates would keep them there. */
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, client, NULL);
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, remote, NULL);
    }
    s->client = s->remote = 0;
    pass(w, s);
    close(client);
    close(remote);
}

/* The socket is the keeper's too before anything comes to it. */
static void come(struct worker *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)w->setup->tcp_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int buffer = SOCKET_BUFFER;
    int client = accept4(w->setup->unix_listener, NULL, NULL, SOCK_CLOEXEC);
    struct slot *s = w->slots;

    if (client < 0 && errno == EAGAIN)
        return;
    if (w->control->stops)
        _exit(0);
    while (s < w->slots + w->setup->slots && s->client > 0)
        s++;
    if (client < 0 || s == w->slots + w->setup->slots)
        fail("a client came for whom there is no room");
    memset(s, 0, offsetof(struct slot, in));
    s->remote = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->client = client;
    pass(w, s);
    setsockopt(s->remote, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    setsockopt(s->remote, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    if (connect(s->remote, (struct sockaddr *)&to, sizeof(to)) < 0)
        fail("connect");
    w->ready[s - w->slots] = (struct ready){true, true, true, true};
    watch(w, s, EPOLL_CTL_ADD);
}

/* ---- the next worker ---- */

static void repair_queue(struct slot *s, struct queue *q)
{
    struct op *op = first_of(q), *last = last_of(q);

    if (last != NULL && last->after > s->parsed)
        s->parsed = last->after;
    if (op == NULL || op->reply_end == 0)
        return;
    if (s->out_head < op->reply_end) {
        op->reply_end = 0; /* its reply does not count: it is made again */
        return;
    }
    if (q == &s->receives)
        s->received = op->from + op->bytes;
    q->begin++;
}

/* The call whose result nobody has read. */
static void repair_call(struct worker *w)
{
    struct call *c = w->call;
    struct slot *s = &w->slots[c->slot];
    uint64_t reached = c->from + c->message.msg_len;
    uint64_t *positions[] = {
        [CALL_IN] = &s->in_head, [CALL_OUT] = &s->out_tail, [CALL_UP] = &s->sent};

    if (c->kind == CALL_NONE || c->message.msg_len == 0)
        return;
    if (c->kind == CALL_DOWN) {
        if (reached <= s->received)
            return;
        finish(w, s, &s->receives, (uint32_t)(reached - s->received));
    } else if (reached > *positions[c->kind]) {
        *positions[c->kind] = reached;
    } else {
        return;
    }
    w->control->in_doubt++;
}

static void compare_with_kernel(struct worker *w, const struct slot *s)
{
    uint64_t sent, received;

    offsets_of(s->remote, false, &sent, &received);
    if (sent != s->sent || received != s->received) {
        errno = 0;
        fail("slot %d: sent %llu, received %llu; the kernel says %llu and %llu",
             (int)(s - w->slots), (unsigned long long)s->sent, (unsigned long long)s->received,
             (unsigned long long)sent, (unsigned long long)received);
    }
    w->control->checked += 2;
}

static void recover(struct worker *w, const struct held *held)
{
    for (struct slot *s = w->slots; s < w->slots + w->setup->slots; s++) {
        if (s->client == 0)
            continue;
        if (w->setup->keeps & KEEP_PASSED) {
            s->client = held[s - w->slots].client;
            s->remote = held[s - w->slots].remote;
        }
        repair_queue(s, &s->sends);
        repair_queue(s, &s->receives);
        w->ready[s - w->slots] = (struct ready){true, true, true, true};
        watch(w, s, w->setup->keeps & KEEP_TABLE ? EPOLL_CTL_MOD : EPOLL_CTL_ADD);
    }
    repair_call(w);
    w->call->kind = CALL_NONE;
    for (struct slot *s = w->slots; s < w->slots + w->setup->slots; s++)
        if (s->client > 0)
            compare_with_kernel(w, s);
}

/* ---- the loop ---- */

static void on_event(struct worker *w, const struct epoll_event *event)
{
    uint32_t number = event->data.u32 & ~REMOTE_BIT;
    struct ready *ready = &w->ready[number];
    bool is_remote = event->data.u32 & REMOTE_BIT;

    if (event->events & ~(uint32_t)EPOLLOUT)
        *(is_remote ? &ready->down : &ready->in) = true;
    if (event->events & ~(uint32_t)EPOLLIN)
        *(is_remote ? &ready->up : &ready->out) = true;
    serve(w, &w->slots[number]);
}

static void begin(struct worker *w, bool is_first)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = LISTENER};
    bool has_all = w->setup->keeps & KEEP_TABLE;

    w->epoll = has_all ? w->setup->epoll : epoll_create1(EPOLL_CLOEXEC);
    w->ready = calloc(w->setup->slots, sizeof(*w->ready));
    if (w->epoll < 0 || w->ready == NULL ||
        epoll_ctl(w->epoll, has_all && !is_first ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                  w->setup->unix_listener, &event) < 0)
        fail("a worker cannot begin");
}

void worker_run(struct setup *setup, int link, const struct held *held)
{
    struct worker w = {.setup = setup,
                       .control = setup->control,
                       .slots = setup->memory,
                       .call = setup->call,
                       .link = link,
                       .journals = setup->keeps & KEEP_JOURNAL};

    w.control->worker = getpid();
    w.control->started_ns = now_ns();
    w.control->replied_ns = 0;
    begin(&w, held == NULL);
    if (held != NULL)
        recover(&w, held);
    w.control->ready_ns = now_ns();
    for (struct slot *s = w.slots; held != NULL && s < w.slots + setup->slots; s++)
        if (s->client > 0)
            serve(&w, s);
    w.control->served_ns = now_ns();
    __atomic_store_n(&w.control->served, w.control->generation, __ATOMIC_RELEASE);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(w.epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == LISTENER)
                come(&w);
            else if (w.slots[events[i].data.u32 & ~REMOTE_BIT].client > 0)
                on_event(&w, &events[i]);
        }
        w.control->journal_bytes = w.stored;
    }
}

double worker_stores_ns(struct setup *setup, unsigned int times)
{
    struct worker w = {.control = setup->control,
                       .slots = setup->memory,
                       .call = setup->call,
                       .journals = setup->keeps & KEEP_JOURNAL};
    struct slot *s = w.slots;
    uint64_t began = now_ns();

    for (unsigned int i = 0; i < times; i++) {
        if (w.journals)
            begin_call(&w, s, CALL_IN, s->in_head);
        *frame_at(s->in, s->in_head) = (struct frame){.kind = KIND_SEND, .length = 64, .token = i};
        commit(&w, &s->in_head, s->in_head + sizeof(struct frame) + 64);
        parse(&w, s);
        if (w.journals)
            begin_call(&w, s, CALL_UP, s->sent);
        commit(&w, &s->sent, s->sent + 64);
        finish(&w, s, &s->sends, 64);
        if (w.journals)
            begin_call(&w, s, CALL_OUT, s->out_tail);
        commit(&w, &s->out_tail, s->out_head);
    }
    memset(s, 0, offsetof(struct slot, in));
    return (double)(now_ns() - began) / times;
}
