/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gateway/server.h"
#include "tests/sim/daemon.h"
#include "tests/sim/ev.h"
#include "tests/sim/kernel.h"
#include "tests/sim/steps.h"

#define PROGRAMS 12
#define SLOTS 4
/*
 * Too few for all programs at once. A library that loses its daemon copies all of them: with the
 * gateway's 32 MiB, page faults took four fifths of the simulator's time.
 */
#define BLOCKS 6
#define PATTERN (UINT64_C(7) << 32)

/* gateway/client.h, whose clients are others than those of model.h. */
void client_new(struct gateway *gateway, int fd, bool is_tcp);

enum manner { PROGRAM_SOCKS, PROGRAM_CONNECT };

/* A program and its connection to the gateway. */
struct program_end {
    struct kfile *file; /* its end; NULL: closed */
    enum manner manner;
    unsigned int intent;
    uint8_t said[128]; /* its handshake, and how much of it is there, and was written */
    size_t said_len, said_written;
    uint8_t heard[512];
    size_t heard_len;
    bool has_asked, is_connected, is_refused;
    bool is_eager; /* it does not wait for an answer */
    bool is_mute, wants_fin, has_fin, saw_end, was_reset;
    uint64_t number, written, to_write, received;
    bool was_cut; /* it has gone before its stream was over */
};

static struct relay {
    struct ev_loop *loop;
    struct gateway *gateway;
    bool has_failed, is_running, may_end;
    struct program_end programs[PROGRAMS];
    unsigned int count, slots[SLOTS];
} relay;

void relay_killed(void)
{
    relay.may_end = true;
}

static bool is_short_of_memory(void)
{
    return sim.faults & (1u << FAULT_ALLOC | 1u << FAULT_LIBRARY_ALLOC | 1u << FAULT_NO_MEMORY);
}

/* ---- the gateway ---- */

static int open_session(void *userdata, asock_context **ret)
{
    (void)userdata;
    return asock_context_new(DAEMON_SOCKET, ret);
}

int relay_thread(void *(*run)(void *), void *data)
{
    if (!relay.is_running)
        return EAGAIN;
    run(data);
    return 0;
}

int __wrap_eventfd_write(int fd, eventfd_t value);

int __wrap_eventfd_write(int fd, eventfd_t value)
{
    return write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -1;
}

static bool begin(void)
{
    static const struct gateway_config config = {
        .open = open_session, .answer_timeout_ms = 5000, .blocks = BLOCKS};
    enum actor before = sim.actor;

    if (relay.gateway || relay.has_failed)
        return relay.gateway != NULL;
    sim.actor = ACTOR_CLIENT;
    relay.loop = ev_loop_new(0);
    if (gateway_new(relay.loop, &config, &relay.gateway) < 0) {
        relay.gateway = NULL;
        relay.has_failed = true;
        ev_loop_destroy(relay.loop);
    }
    sim.actor = before;
    model.blocked_until = sim_now_ms();
    return relay.gateway != NULL;
}

static void turn(void)
{
    enum actor before = sim.actor;

    sim.actor = ACTOR_CLIENT;
    relay.is_running = true;
    sim.work++;
    ev_run(relay.loop, EVRUN_NOWAIT);
    relay.is_running = false;
    sim.actor = before;
}

/* ---- the programs ---- */

static bool can_write(const struct program_end *p)
{
    bool has_bytes = p->said_written < p->said_len ||
                     ((p->is_connected || p->is_eager) && p->has_asked && p->to_write > 0);
    bool has_fin = p->wants_fin && !p->has_fin && p->to_write == 0 && p->has_asked &&
                   p->said_written == p->said_len;

    if (!p->file || p->has_fin)
        return false;
    return has_fin || (has_bytes && file_events(p->file) & POLLOUT);
}

static bool can_read(const struct program_end *p)
{
    return p->file && !p->is_mute && !p->saw_end && file_events(p->file) & (POLLIN | POLLHUP);
}

static void let_go(struct program_end *p)
{
    if (p->file)
        file_unref(p->file);
    p->file = NULL;
}

static void write_some(struct program_end *p)
{
    uint8_t data[3000];
    struct iovec iov = {p->said + p->said_written, p->said_len - p->said_written};
    bool is_data = iov.iov_len == 0;
    ssize_t n;

    if (is_data && p->to_write == 0) {
        unix_shutdown(p->file, SHUT_WR);
        p->has_fin = true;
        return;
    }
    if (is_data) {
        iov = (struct iovec){data, 1 + sim_random(sizeof(data))};
        if (iov.iov_len > p->to_write)
            iov.iov_len = p->to_write;
        sim_pattern(p->number, p->written, data, iov.iov_len);
    }
    n = unix_send(p->file, &iov, 1, NULL);
    if (n < 0 && n != -EAGAIN) {
        p->to_write = 0; /* it is not read */
        p->said_written = p->said_len;
        p->was_cut = true;
    } else if (n > 0 && is_data) {
        p->written += (uint64_t)n;
        p->to_write -= (uint64_t)n;
    } else if (n > 0) {
        p->said_written += (size_t)n;
    }
}

static struct tcp *connection_of(const struct program_end *p)
{
    for (unsigned int i = kernel.tcp_count; i > 0; i--)
        if (kernel.tcps[i - 1]->intent == p->intent && !kernel.tcps[i - 1]->in.listener)
            return kernel.tcps[i - 1];
    return NULL;
}

static void ask_socks(struct program_end *p)
{
    uint8_t *at = p->said + p->said_len;
    uint16_t port = htons((uint16_t)(KERNEL_PORT_FIRST + p->intent));
    const uint8_t request[] = {5, 1, 0, 1, 10, 0, 0, HOST_ACCEPTS};

    memcpy(at, request, sizeof(request));
    memcpy(at + sizeof(request), &port, 2);
    p->said_len += sizeof(request) + 2;
    p->has_asked = true;
}

static void hear(struct program_end *p, const uint8_t *data, size_t len)
{
    const struct tcp *tcp = connection_of(p);
    size_t same;

    if (len == 0 || p->is_refused)
        return;
    if (!tcp)
        sim_fail("made-up: a program hears of a connection that there is not");
    same = sim_compare(tcp->manner.salt, p->received, data, len);
    if (same < len)
        sim_fail("corrupt-relay: byte %llu of what a peer sent: %02x",
                 (unsigned long long)(p->received + same), data[same]);
    p->received += len;
}

/* Bytes of the answer; 0: not all of it is there. */
static size_t read_answer(struct program_end *p)
{
    const uint8_t *end;
    size_t len = 0;

    if (p->manner == PROGRAM_CONNECT) {
        end = memmem(p->heard, p->heard_len, "\r\n\r\n", 4);
        if (!end)
            return 0;
        p->is_refused = p->heard_len < 12 || memcmp(p->heard + 9, "200", 3) != 0;
        return (size_t)(end - p->heard) + 4;
    }
    if (p->heard_len < 4)
        return 0;
    len = p->heard[3] == 4 ? 22 : 10;
    p->is_refused = p->heard[1] != 0;
    return p->heard_len < len ? 0 : len;
}

static void read_some(struct program_end *p)
{
    uint8_t data[2000];
    bool is_shaking = !p->is_connected && !p->is_refused;
    struct iovec iov = {data, 1 + sim_random(sizeof(data))};
    size_t answer;
    ssize_t n;

    if (is_shaking && iov.iov_len > sizeof(p->heard) - p->heard_len)
        iov.iov_len = sizeof(p->heard) - p->heard_len;
    n = unix_receive(p->file, &iov, 1, 0, NULL);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        p->saw_end = true;
        p->was_reset = n < 0;
        return;
    }
    if (!is_shaking) {
        hear(p, data, (size_t)n);
        return;
    }
    memcpy(p->heard + p->heard_len, data, (size_t)n);
    p->heard_len += (size_t)n;
    if (p->manner == PROGRAM_SOCKS && !p->has_asked && p->heard_len >= 2) {
        if (p->heard[1] != 0)
            sim_fail("other-answer: to a greeting of SOCKS");
        ask_socks(p);
        memmove(p->heard, p->heard + 2, p->heard_len -= 2);
    }
    answer = p->has_asked ? read_answer(p) : 0;
    if (answer == 0)
        return;
    p->is_connected = !p->is_refused;
    hear(p, p->heard + answer, p->heard_len - answer);
}

static bool programs_can(void)
{
    for (unsigned int i = 0; i < relay.count; i++)
        if (can_write(&relay.programs[i]) || can_read(&relay.programs[i]))
            return true;
    return false;
}

static bool run_program(void)
{
    unsigned int first = sim_random(relay.count);

    for (unsigned int i = 0; i < relay.count; i++) {
        struct program_end *p = &relay.programs[(first + i) % relay.count];
        bool reads = can_read(p), writes = can_write(p);

        if (reads && (!writes || sim_chance(2)))
            read_some(p);
        else if (writes)
            write_some(p);
        if (reads || writes)
            return true;
    }
    return false;
}

bool relay_has_work(void)
{
    return relay.gateway && (simulated_loop_is_ready(relay.loop) || programs_can());
}

bool relay_run(void)
{
    if (!relay.gateway)
        return false;
    if (simulated_loop_is_ready(relay.loop) && (!programs_can() || sim_chance(2))) {
        turn();
        return true;
    }
    return run_program();
}

uint64_t relay_due(void)
{
    return relay.gateway ? simulated_loop_due(relay.loop) : UINT64_MAX;
}

/* ---- steps ---- */

static void greet(struct program_end *p)
{
    static const uint8_t greeting[] = {5, 1, 0};

    if (p->manner == PROGRAM_SOCKS) {
        memcpy(p->said, greeting, sizeof(greeting));
        p->said_len = sizeof(greeting);
        return;
    }
    p->said_len = (size_t)snprintf((char *)p->said, sizeof(p->said),
                                   "CONNECT 10.0.0.%u:%u HTTP/1.1\r\n\r\n", HOST_ACCEPTS,
                                   KERNEL_PORT_FIRST + p->intent);
    p->has_asked = true;
}

void step_relay_program(const struct step *step)
{
    enum actor before = sim.actor;
    struct program_end *p;
    struct kfile *pair[2];
    int fd;

    if (relay.count == PROGRAMS || model.intent_count == INTENTS || !begin())
        return;
    p = &relay.programs[relay.count];
    *p = (struct program_end){
        .manner = step->b % 2 ? PROGRAM_SOCKS : PROGRAM_CONNECT,
        .intent = model.intent_count,
        .number = PATTERN + relay.count,
        .to_write = step_length(step->c),
        .is_eager = step->d % 3 == 0,
        .wants_fin = step->d % 4 == 1,
    };
    model.intents[model.intent_count].submission = NULL;
    model.intents[model.intent_count++].peer = *step;
    relay.slots[step->a % SLOTS] = relay.count++;
    unix_pair(pair);
    sim.actor = ACTOR_CLIENT;
    fd = fd_install(pair[0]);
    SIM_MUST(fd >= 0);
    pair[0]->is_nonblocking = true;
    p->file = pair[1];
    greet(p);
    client_new(relay.gateway, fd, false);
    sim.actor = before;
}

void step_relay(const struct step *step)
{
    struct program_end *p = &relay.programs[relay.slots[step->a % SLOTS]];

    if (!p->file)
        return;
    if (step->kind == STEP_RELAY_MORE && !p->wants_fin)
        p->to_write += step_length(step->b);
    else if (step->kind == STEP_RELAY_FIN)
        p->wants_fin = true;
    else if (step->kind == STEP_RELAY_MUTE)
        p->is_mute = !p->is_mute;
    else if (step->kind == STEP_RELAY_CLOSE) {
        p->was_cut = true;
        let_go(p);
    }
}

/* ---- what must come of it ---- */

static bool is_whole(const struct program_end *p, const struct tcp *tcp)
{
    return byte_queue_len(&tcp->log) == p->written;
}

static void judge_log(const struct program_end *p, const struct tcp *tcp)
{
    size_t len = byte_queue_len(&tcp->log);
    size_t same = len > 0 ? sim_compare(p->number, 0, tcp->log.at + tcp->log.start, len) : 0;

    if (same < len)
        sim_fail("corrupt-relay: byte %zu of what a program sent", same);
    if (len > p->written)
        sim_fail("too-many: %zu bytes of a program's %llu", len, (unsigned long long)p->written);
    if (tcp->peer_saw_fin && !is_whole(p, tcp) && !relay.may_end)
        sim_fail("cut-relay: a peer sees the end behind %zu of %llu bytes", len,
                 (unsigned long long)p->written);
}

/* No side has ended anything, and memory was never short: both streams have arrived. */
static void judge_whole(const struct program_end *p, const struct tcp *tcp)
{
    if (relay.may_end || is_short_of_memory() || p->was_cut || tcp->peer_reset || tcp->error ||
        !p->is_connected)
        return;
    if (!p->saw_end || p->received != tcp->peer_written)
        sim_fail("lost-relay: a program has %llu of %llu bytes%s", (unsigned long long)p->received,
                 (unsigned long long)tcp->peer_written, p->saw_end ? "" : ", and no end");
    if (!tcp->peer_saw_fin || !is_whole(p, tcp))
        sim_fail("lost-relay: a peer has %zu of %llu bytes%s", byte_queue_len(&tcp->log),
                 (unsigned long long)p->written, tcp->peer_saw_fin ? "" : ", and no end");
}

void relay_judge(void)
{
    for (unsigned int i = 0; i < relay.count; i++) {
        const struct program_end *p = &relay.programs[i];
        const struct tcp *tcp = connection_of(p);

        if (tcp)
            judge_log(p, tcp);
        if (tcp)
            judge_whole(p, tcp);
        if (p->file && !p->saw_end)
            sim_fail("waits-forever: a program of the gateway's");
    }
    if (relay.gateway && relay.gateway->client_count > 0)
        sim_fail("never-gone: %u connections of the gateway's", relay.gateway->client_count);
}

void relay_calm_down(void)
{
    for (unsigned int i = 0; i < relay.count; i++) {
        relay.programs[i].is_mute = false;
        relay.programs[i].wants_fin = true;
    }
}

void relay_end(void)
{
    enum actor before = sim.actor;

    for (unsigned int i = 0; i < relay.count; i++)
        let_go(&relay.programs[i]);
    sim.actor = ACTOR_CLIENT;
    gateway_free(relay.gateway);
    if (relay.gateway)
        ev_loop_destroy(relay.loop);
    sim.actor = before;
    memset(&relay, 0, sizeof(relay));
}
