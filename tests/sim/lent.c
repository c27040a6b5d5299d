/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lent connections have a model of their own: a program has the descriptor, and no op moves their
 * bytes. What must hold: the daemon takes and adds nothing; what it has lent is dissolved when it
 * lets go of it; what it has given it keeps nothing of.
 */
#include "tests/sim/lent.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/sim/daemon.h"
#include "tests/sim/steps.h"

#define SLOTS 6
#define PIECE_MAX 20000u

struct lent {
    struct client *client;
    asock_socket *socket; /* NULL: no reference left */
    asock_op *op;         /* NULL: the connect has ended, or is not reported any more */
    unsigned int number, flags;
    uint64_t salt;
    int fd; /* the program's; -1: it has none */
    struct tcp *tcp;
    uint64_t written, read;
    unsigned int generation; /* of the client's session */
    bool is_orphaned;        /* the daemon that had lent it was killed */
    bool is_closed; /* the socket was: the daemon may discard what comes, and end the connection */
};

static struct {
    struct lent *slots[SLOTS], *all[LENTS_MAX];
    unsigned int count;
} all;

void lent_reset(void)
{
    for (unsigned int i = 0; i < all.count; i++)
        sim_free(all.all[i]);
    memset(&all, 0, sizeof(all));
}

bool lent_assign(struct tcp *tcp)
{
    uint16_t port = ntohs(((const struct sockaddr_in *)(const void *)&tcp->remote)->sin_port);

    if (port < LENT_PORT_FIRST || port >= LENT_PORT_FIRST + all.count)
        return false;
    tcp->lent = port - LENT_PORT_FIRST + 1;
    peer_set_manner(tcp, all.all[tcp->lent - 1]->salt);
    return true;
}

/* Only the program moves its bytes. */
static bool is_own(const struct lent *l)
{
    return !l->is_closed && !l->is_orphaned && l->generation == l->client->generation &&
           !model_may_be_lost(l->client);
}

static void close_fd(struct lent *l)
{
    if (l->fd >= 0)
        SIM_MUST(fd_close(l->fd) == 0);
    l->fd = -1;
}

/* ---- it is made ---- */

static void take(struct lent *l, asock_op *op)
{
    int fd = asock_op_take_fd(op);
    const struct kfile *file = fd < 0 ? NULL : fd_file(fd);

    if (fd < 0 && l->flags != ASOCK_LEND_IF_ALLOWED)
        sim_fail("not-lent: connect %u succeeds without a descriptor", l->number);
    if (fd < 0)
        return;
    if (!file || file->kind != FILE_TCP || file->u.tcp->lent != l->number + 1)
        sim_fail("other-socket: connect %u is lent another one's", l->number);
    l->fd = fd;
    l->tcp = file->u.tcp;
    sim_trace("  lent %u: tcp %u", l->number, l->tcp->index);
}

bool lent_may_be_refused(void)
{
    return sim.faults & (1u << FAULT_ALLOC | 1u << FAULT_LIBRARY_ALLOC | 1u << FAULT_NO_MEMORY |
                         1u << FAULT_SMALL_LIMITS);
}

static void on_connected(asock_op *op, void *userdata)
{
    struct lent *l = userdata;

    if (!l->op)
        sim_fail("told-twice: the connect of lent %u", l->number);
    l->op = NULL;
    sim_trace("  lent %u: %s", l->number, asock_error_name(asock_op_get_error(op)));
    if (asock_op_get_error(op) == ASOCK_NO_BUFFER_SPACE && !lent_may_be_refused())
        sim_fail("refused-lent: connect %u", l->number);
    if (asock_op_get_error(op) == 0)
        take(l, op);
    asock_op_unref(op);
}

static struct lent *make(struct client *client, const struct step *step)
{
    static const unsigned int flags[] = {ASOCK_LEND, ASOCK_LEND, ASOCK_LEND_GIVEN,
                                         ASOCK_LEND_IF_ALLOWED};
    struct lent *l = sim_alloc(sizeof(*l));

    l->client = client;
    l->generation = client->generation;
    l->number = all.count;
    l->flags = flags[step->b % 4];
    l->salt = sim_mix(step->salt, 7);
    l->fd = -1;
    all.all[all.count++] = l;
    all.slots[step->a % SLOTS] = l;
    return l;
}

static int start(struct lent *l, const struct step *step)
{
    struct sockaddr_in to = {.sin_family = AF_INET};

    to.sin_addr.s_addr = htonl(0x0a000000 |
                               (step->d % 8 ? HOST_ACCEPTS : 1 + step->d / 8 % (HOST_KINDS - 1)));
    to.sin_port = htons((uint16_t)(LENT_PORT_FIRST + l->number));
    SIM_MUST(asock_op_set_flags(l->op, l->flags) == 0);
    SIM_MUST(asock_op_set_timeout(l->op, step->d / 64 % 4 ? 0 : 50) == 0);
    SIM_MUST(asock_op_set_callback(l->op, on_connected, l) == 0);
    SIM_MUST(asock_op_set_endpoint(l->op, (const struct sockaddr *)&to, sizeof(to)) == 0);
    return LIB(asock_connect(l->socket, l->op));
}

void step_lend(const struct step *step)
{
    struct client *client = client_of(step->c);
    struct lent *l;

    if (!client || all.slots[step->a % SLOTS] || all.count == LENTS_MAX)
        return;
    l = make(client, step);
    if (LIB(asock_socket_new(client->context, AF_INET, &l->socket)) < 0)
        l->socket = NULL;
    if (!l->socket || LIB(asock_op_new(client->context, &l->op)) < 0) {
        l->op = NULL;
        return;
    }
    if (start(l, step) != 1)
        l->op = LIB(asock_op_unref(l->op));
}

/* ---- it is used ---- */

static void write_some(struct lent *l, size_t len)
{
    static uint8_t data[PIECE_MAX];
    struct iovec iov = {data, len < PIECE_MAX ? len : PIECE_MAX};
    ssize_t n;

    sim_pattern(l->salt, l->written, data, iov.iov_len);
    n = tcp_send(l->tcp, &iov, 1);
    if (n > 0)
        l->written += (uint64_t)n;
}

static void read_some(struct lent *l, size_t len)
{
    static uint8_t data[PIECE_MAX];
    struct iovec iov = {data, len < PIECE_MAX ? len : PIECE_MAX};
    ssize_t n;

    /* What had come before a reset is still read. */
    n = iov.iov_len > 0 ? tcp_receive(l->tcp, &iov, 1, 0) : 0;
    if (n <= 0)
        return;
    if (is_own(l) && sim_compare(l->tcp->manner.salt, l->read, data, (size_t)n) < (size_t)n)
        sim_fail("corrupt-lent: %zd bytes at %llu of lent %u", n, (unsigned long long)l->read,
                 l->number);
    l->read += (uint64_t)n;
}

void step_lent_use(const struct step *step)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct lent *l = all.slots[step->a % SLOTS];

    if (!l || l->fd < 0)
        return;
    switch (step->b % 16) {
    case 0:
        tcp_shutdown(l->tcp, (int)(step->d % 3)); /* SHUT_RD, SHUT_WR, SHUT_RDWR */
        return;
    case 1:
        l->tcp->is_linger_zero = step->d % 2;
        return;
    case 2: /* it has no peer any more */
        if (step->d % 4 == 0)
            tcp_connect(l->tcp, &none, sizeof(none));
        return;
    default:
        if (step->b % 2)
            write_some(l, step_length(step->c));
        else
            read_some(l, step_length(step->c));
    }
}

/* Of what the daemon has taken nothing may be missing until then. */
static void check_bytes(const struct lent *l)
{
    const struct byte_queue *log;

    if (!l->tcp)
        return;
    log = &l->tcp->log;
    if (byte_queue_len(log) != l->written ||
        sim_compare(l->salt, 0, log->at + log->start, l->written) < l->written)
        sim_fail("added: %zu bytes went by lent %u, the program has written %llu",
                 byte_queue_len(log), l->number, (unsigned long long)l->written);
    if (is_own(l) && l->tcp->consumed != l->read)
        sim_fail("stolen: %llu bytes of lent %u were read, and %llu by the program",
                 (unsigned long long)l->tcp->consumed, l->number, (unsigned long long)l->read);
}

static void let_go(struct lent *l)
{
    check_bytes(l);
    l->is_closed = true;
    if (l->socket)
        l->socket = LIB(asock_socket_unref(l->socket));
    for (unsigned int i = 0; i < SLOTS; i++)
        if (all.slots[i] == l)
            all.slots[i] = NULL;
}

void step_lent_end(const struct step *step)
{
    struct lent *l = all.slots[step->a % SLOTS];

    if (!l)
        return;
    if (step->b % 3 != 1)
        close_fd(l);
    if (step->b % 3 != 0)
        let_go(l);
}

/* ---- what must hold ---- */

static bool daemon_has(const struct tcp *tcp)
{
    for (unsigned int i = 0; i < KERNEL_FDS; i++)
        if (kernel.fds[i].file && kernel.fds[i].owner == ACTOR_DAEMON &&
            kernel.fds[i].file == tcp->file)
            return true;
    return false;
}

void lent_check(void)
{
    for (unsigned int i = 0; i < all.count; i++) {
        const struct lent *l = all.all[i];

        if (l->fd < 0)
            continue;
        if (l->flags == ASOCK_LEND_GIVEN && daemon_has(l->tcp))
            sim_fail("kept: the daemon has a descriptor of lent %u, which was given", l->number);
        if (l->flags != ASOCK_LEND_GIVEN && !l->is_orphaned && l->tcp->state == TCP_OPEN &&
            !daemon_has(l->tcp))
            sim_fail("not-dissolved: lent %u goes on, and the daemon has let go of it", l->number);
    }
}

void lent_daemon_killed(void)
{
    for (unsigned int i = 0; i < all.count; i++)
        all.all[i]->is_orphaned = true;
}

/* Its context goes: nothing is reported any more. The descriptor stays the program's. */
void lent_lost(const struct client *client)
{
    for (unsigned int i = 0; i < all.count; i++) {
        struct lent *l = all.all[i];

        if (l->client != client)
            continue;
        if (l->op)
            l->op = LIB(asock_op_unref(l->op));
        let_go(l);
    }
}

void lent_close_all(void)
{
    for (unsigned int i = 0; i < all.count; i++) {
        close_fd(all.all[i]);
        let_go(all.all[i]);
    }
}

void lent_judge(void)
{
    for (unsigned int i = 0; i < all.count; i++) {
        if (all.all[i]->op)
            sim_fail("never-done: the connect of lent %u", all.all[i]->number);
        check_bytes(all.all[i]);
    }
}
