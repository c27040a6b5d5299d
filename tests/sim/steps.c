/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs steps, and between them the world and the programs' event loops. */
#include "tests/sim/steps.h"

#include <string.h>

#include "client-lib/core/objects.h"
#include "tests/sim/daemon.h"
#include "tests/sim/groups.h"
#include "tests/sim/idle.h"
#include "tests/sim/watch.h"
#include "tests/sim/world.h"

#define DEPTH_MAX 3
/* Of the library, where a program has set no other. */
#define LIBRARY_GRACE_MS 10000u

static void step_process(const struct step *step)
{
    struct client *client = client_at(step->a);

    if (client && !is_in_callback(client))
        LIB(asock_context_process(client->context));
}

static void step_flush(const struct step *step)
{
    struct client *client = client_at(step->a);

    if (client)
        LIB(asock_context_flush(client->context));
}

static void step_pass(const struct step *step)
{
    sim.now_ns += (uint64_t)(step->a % 400) * 1000000;
    model.blocked_until = sim_now_ms();
}

static void step_world_only(const struct step *step)
{
    bool is_long = step->d % 16 == 0; /* the program is stopped, perhaps */
    uint64_t until = sim.now_ns + (is_long ? step->c % 30000 : 100) * UINT64_C(1000000);
    uint32_t most = is_long ? 5000 : step->a % 50;

    for (uint32_t i = 0; i < most && sim.now_ns < until; i++)
        world_step(is_long ? until : sim.now_ns + 5000000);
    if (is_long)
        model.late_until = sim_now_ms();
    model.blocked_until = sim_now_ms();
}

static void step_settle_some(const struct step *step)
{
    step_settle(step->a % 30000);
}

/* ---- peers and the daemon ---- */

static struct tcp *connection_at(uint32_t number)
{
    struct tcp *open[KERNEL_CONNECTIONS];
    uint32_t count = 0;

    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        if (kernel.tcps[i]->state == TCP_OPEN)
            open[count++] = kernel.tcps[i];
    return count ? open[number % count] : NULL;
}

static void step_peer(const struct step *step)
{
    struct tcp *tcp = connection_at(step->a);

    if (!tcp)
        return;
    switch (step->kind) {
    case STEP_PEER_WRITE:
        if (!tcp->peer_fin_queued)
            tcp->manner.to_write += step->b % 3000;
        break;
    case STEP_PEER_READ:
        tcp->manner.is_mute = !tcp->manner.is_mute;
        break;
    case STEP_PEER_FIN:
        tcp->manner.stays_open = false;
        break;
    default:
        tcp_reset_by_peer(tcp);
    }
}

static void step_kill_session(const struct step *step)
{
    if (daemon_is_stopped())
        return;
    daemon_kill_session(step->a);
    raw_killed();
    for (unsigned int i = 0; i < CONTEXTS; i++)
        model.clients[i].is_lost = true;
}

static void step_kill_socket(const struct step *step)
{
    if (daemon_is_stopped())
        return;
    daemon_kill_socket(step->a);
    raw_killed();
    for (struct stream *stream = model.streams; stream; stream = stream->next)
        stream->was_killed = true;
}

static void step_stop(const struct step *step)
{
    static const uint32_t times[] = {20, 200, 1000, 5000, 12000, 30000, 60000};

    if (!daemon_is_stopped())
        model.stopped_from = sim_now_ms();
    daemon_stop(times[step->a % 7]);
    model.stopped_until = sim_now_ms() + times[step->a % 7];
    /* The gateway, which may await a close, takes it to hang: its session ends (S57). */
    if (model.stopped_until >= model.stopped_from + LIBRARY_GRACE_MS)
        relay_killed();
}

static void step_restart(const struct step *step)
{
    static const struct daemon_manner manner;

    for (unsigned int i = 0; i < CONTEXTS; i++)
        model.clients[i].is_lost = true;
    raw_killed();
    if (step->kind == STEP_TERMINATE) {
        daemon_terminate();
    } else {
        daemon_kill();
        lent_daemon_killed();
    }
    idle_begin();
    watch_begin();
    daemon_start(&manner);
    if (model.stopped_until > sim_now_ms())
        model.stopped_until = sim_now_ms();
}

/* Whose session it is hears that; it may be a client without a context here. */
static void session_lost(const struct kfile *end)
{
    bool is_known = false;

    for (unsigned int i = 0; i < CONTEXTS; i++) {
        const asock_context *context = model.clients[i].context;
        const struct kfile *file = context ? fd_file(context->fd) : NULL;

        if (!file || file->u.unix_end->peer != end)
            continue;
        model.clients[i].is_lost = is_known = true;
    }
    if (!is_known)
        raw_killed();
}

static void step_carry(const struct step *step)
{
    static const struct daemon_manner manner;

    (void)step;
    model.carried = sim_now_ms();
    daemon_restart(&manner, session_lost);
    model.away += sim_now_ms() - model.carried;
    if (model.stopped_until > sim_now_ms())
        model.stopped_until = sim_now_ms();
}

static void (*const steps[STEP_KIND_COUNT])(const struct step *) = {
    [STEP_CONTEXT] = step_context,
    [STEP_JOIN] = step_join,
    [STEP_CONTEXT_UNREF] = step_context_unref,
    [STEP_RECONNECT] = step_reconnect,
    [STEP_SOCKET] = step_socket,
    [STEP_SOCKETS] = step_sockets,
    [STEP_SOCKET_UNREF] = step_socket_unref,
    [STEP_OP_UNREF] = step_op_unref,
    [STEP_CONNECT] = step_connect,
    [STEP_SEND] = step_send,
    [STEP_RECEIVE] = step_receive,
    [STEP_SHUTDOWN] = step_shutdown,
    [STEP_CLOSE] = step_close,
    [STEP_SET_OPTION] = step_set_option,
    [STEP_GET_OPTION] = step_get_option,
    [STEP_SYNC] = step_sync,
    [STEP_RESOLVE] = step_resolve,
    [STEP_HANGUP] = step_hangup,
    [STEP_DISCONNECT] = step_disconnect,
    [STEP_SHARE] = step_share,
    [STEP_CANCEL] = step_cancel,
    [STEP_WAIT] = step_wait,
    [STEP_PROCESS] = step_process,
    [STEP_FLUSH] = step_flush,
    [STEP_PASS] = step_pass,
    [STEP_WORLD] = step_world_only,
    [STEP_SETTLE] = step_settle_some,
    [STEP_BUFFER] = step_buffer,
    [STEP_BUFFER_UNREF] = step_buffer_unref,
    [STEP_POOL] = step_pool,
    [STEP_POOL_UNREF] = step_pool_unref,
    [STEP_MULTISHOT] = step_multishot,
    [STEP_TAKE] = step_take,
    [STEP_GIVE] = step_give,
    [STEP_NEXT] = step_next,
    [STEP_INSPECT] = step_inspect,
    [STEP_CONTROL] = step_control,
    [STEP_RESTRICT] = step_restrict,
    [STEP_DETACH] = step_detach,
    [STEP_BEGIN] = step_begin,
    [STEP_END] = step_end,
    [STEP_SEND_ALL] = step_send_all,
    [STEP_RECEIVE_SOME] = step_receive_some,
    [STEP_DIAL] = step_dial,
    [STEP_DATAGRAMS] = step_datagrams,
    [STEP_DATAGRAM_SEND] = step_datagram_send,
    [STEP_DATAGRAM_RECEIVE] = step_datagram_receive,
    [STEP_DATAGRAM_CONNECT] = step_datagram_connect,
    [STEP_DATAGRAM_CANCEL] = step_datagram_cancel,
    [STEP_DATAGRAM_CLOSE] = step_datagram_close,
    [STEP_DATAGRAM_BIND] = step_datagram_bind,
    [STEP_DATAGRAM_ARRIVES] = step_datagram_arrives,
    [STEP_DATAGRAM_GROUP] = step_datagram_group,
    [STEP_SEND_FILE] = step_send_file,
    [STEP_DATAGRAM_DISCONNECT] = step_datagram_disconnect,
    [STEP_PEER_WRITE] = step_peer,
    [STEP_PEER_READ] = step_peer,
    [STEP_PEER_FIN] = step_peer,
    [STEP_PEER_RESET] = step_peer,
    [STEP_KILL_SESSION] = step_kill_session,
    [STEP_KILL_SOCKET] = step_kill_socket,
    [STEP_STOP] = step_stop,
    [STEP_RESTART] = step_carry,
    [STEP_TERMINATE] = step_restart,
    [STEP_KILL] = step_restart,
    [STEP_BIND] = step_bind,
    [STEP_LISTEN] = step_listen,
    [STEP_ACCEPT] = step_accept,
    [STEP_ACCEPT_BEGIN] = step_accept_begin,
    [STEP_TAKE_SOCKET] = step_take_socket,
    [STEP_INCOMING] = step_incoming,
    [STEP_RELOAD] = step_reload,
    [STEP_RESTRICT_PEERS] = step_restrict_peers,
    [STEP_RAW_JOIN] = step_raw_join,
    [STEP_RAW_LISTEN] = step_raw_listen,
    [STEP_RAW_ACCEPT] = step_raw_accept,
    [STEP_RAW_USE] = step_raw_use,
    [STEP_RAW_CLOSE] = step_raw_close,
    [STEP_RAW_CANCEL] = step_raw_cancel,
    [STEP_RAW_ASK] = step_raw_ask,
    [STEP_RAW_MUTE] = step_raw_mute,
    [STEP_RAW_BREAK] = step_raw_break,
    [STEP_RAW_LEAVE] = step_raw_leave,
    [STEP_RELAY_PROGRAM] = step_relay_program,
    [STEP_RELAY_MORE] = step_relay,
    [STEP_RELAY_FIN] = step_relay,
    [STEP_RELAY_CLOSE] = step_relay,
    [STEP_RELAY_MUTE] = step_relay,
    [STEP_LEND] = step_lend,
    [STEP_RAW_LEND] = step_raw_lend,
    [STEP_LENT_USE] = step_lent_use,
    [STEP_LENT_END] = step_lent_end,
};

/* A client that sends no Hello for ten seconds is ended: a step may wait that long. */
static void say_hello(enum step_kind kind)
{
    bool waits = kind == STEP_WORLD || kind == STEP_WAIT || kind == STEP_NEXT || kind == STEP_END ||
                 (kind >= STEP_SEND_ALL && kind <= STEP_DETACH);

    for (uint32_t i = 0; waits && i < CONTEXTS; i++)
        step_flush(&(struct step){.a = i});
}

static unsigned int steps_run;

void step_run(const struct step *step)
{
    struct model_op *op;

    if (step->inside) {
        op = model.ops[(step->inside - 1) % OPS];
        if (op && op->has_callback && op->queued_count < QUEUED_STEPS)
            op->queued[op->queued_count++] = *step;
        return;
    }
    if (model.depth == DEPTH_MAX)
        return;
    sim_trace("%s %u %u %u %u", step_name(step->kind), step->a, step->b, step->c, step->d);
    model.depth++;
    steps_run++;
    say_hello(step->kind);
    steps[step->kind](step);
    oracle_look();
    model.depth--;
}

/* ---- event loops ---- */

static bool has_work(const struct client *client)
{
    int events = asock_context_get_events(client->context);
    const struct kfile *file = client->context->fd < 0 ? NULL : fd_file(client->context->fd);

    if (asock_context_get_timeout(client->context) == 0)
        return true;
    return file && events > 0 && file_events(file) & (events | POLLHUP | POLLERR);
}

static bool is_busy(void)
{
    bool is_busy = world_has_work() || raw_has_work() || relay_has_work();

    for (unsigned int i = 0; i < CONTEXTS; i++)
        is_busy |= model.clients[i].context && !is_in_callback(&model.clients[i]) &&
                   has_work(&model.clients[i]);
    return is_busy;
}

static bool run_clients(void)
{
    unsigned int first = sim_random(CONTEXTS);

    for (unsigned int i = 0; i < CONTEXTS; i++) {
        struct client *client = &model.clients[(first + i) % CONTEXTS];

        if (!client->context || is_in_callback(client) || !has_work(client))
            continue;
        LIB(asock_context_process(client->context));
        model_look();
        return true;
    }
    return sim_chance(2) ? raw_run() || relay_run() : relay_run() || raw_run();
}

static uint64_t clients_due(void)
{
    uint64_t due = relay_due();

    for (unsigned int i = 0; i < CONTEXTS; i++) {
        const struct client *client = &model.clients[i];
        int timeout = client->context && !is_in_callback(client)
                          ? asock_context_get_timeout(client->context)
                          : -1;

        if (timeout >= 0 && sim.now_ns + (uint64_t)timeout * 1000000 < due)
            due = sim.now_ns + (uint64_t)timeout * 1000000;
    }
    return due;
}

static bool go_on(uint64_t until)
{
    uint64_t due;

    if (sim_chance(world_has_work() ? 3 : 1) && run_clients())
        return true;
    due = clients_due();
    if (!world_step(due < until ? due : until))
        return false;
    if (!is_busy())
        oracle_check_deadlines();
    return true;
}

void step_world(unsigned int count)
{
    while (count-- > 0)
        if ((!is_busy() && !sim_chance(4)) || !go_on(sim.now_ns + 5000000))
            return;
}

void step_settle(uint64_t ms)
{
    uint64_t until = sim.now_ns + ms * 1000000;

    while (sim.now_ns < until && go_on(until))
        ;
}

/* Also what is begun in a callback meanwhile, be it in the very end. */
static void settle_all(void)
{
    unsigned int before;

    do {
        before = steps_run;
        step_settle(25000);
    } while (steps_run != before);
}

/* ---- the end ---- */

/* Everything that delays something stops doing so. */
static void calm_down(void)
{
    sim.is_calm = true;
    daemon_continue();
    raw_calm_down();
    relay_calm_down();
    if (model.stopped_until > sim_now_ms())
        model.stopped_until = sim_now_ms();
    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        if (kernel.tcps[i]->state == TCP_CONNECTING)
            kernel.tcps[i]->due = sim.now_ns;
        kernel.tcps[i]->manner.is_mute = kernel.tcps[i]->manner.stays_open = false;
        kernel.tcps[i]->manner.pace = kernel.tcps[i]->manner.reads = 0;
    }
}

/*
 * Whoever lets go of a pool with slices of it taken cannot give them back: a multishot that waits
 * for them is his to end. So is what waits for the end of a connection that no side ends.
 */
static void cancel_stranded(void)
{
    for (struct model_op *op = model.all_ops; op; op = op->next)
        if (op->op && model_is_pending(op) &&
            ((op->pool && model.pools[op->pool_slot].pool != op->pool &&
              op->submission->is_multishot) ||
             op->submission->operation == ASOCK_OPERATION_HANGUP ||
             listeners_is_endless(op->submission))) {
            op->submission->is_cancelled = true;
            LIB(asock_cancel(op->op));
        }
}

static void give_everything(void)
{
    for (unsigned int i = 0; i < POOLS; i++) {
        struct step step = {.a = i};

        while (model.pools[i].pool && model.pools[i].taken_count > 0)
            step_give(&step);
    }
}

static void take_everything(void)
{
    for (struct model_op *op = model.all_ops; op; op = op->next)
        while (step_has_next(op) && step_take_next(op, 0))
            ;
}

static void end_everything(void)
{
    for (unsigned int i = 0; i < OPS; i++) {
        struct step step = {.a = i};

        step_end(&step);
    }
}

/* False: there was none. */
static bool unref_sockets(void)
{
    bool has_unreffed = false;

    for (unsigned int i = 0; i < SOCKETS; i++) {
        struct step step = {.a = i};

        has_unreffed |= model.sockets[i] != NULL;
        step_socket_unref(&step);
    }
    return has_unreffed;
}

static void unref_everything(void)
{
    raw_leave_all();
    relay_end();
    for (unsigned int i = 0; i < CONTEXTS; i++) {
        struct step step = {.a = i};

        step_context_unref(&step);
    }
}

void step_finish(void)
{
    size_t bytes;

    calm_down();
    for (unsigned int i = 0; i < 8; i++) {
        settle_all();
        take_everything();
        give_everything();
        listeners_judge_waiting();
        cancel_stranded();
        calm_down();
    }
    model_look();
    oracle_judge_ends();
    groups_judge();
    end_everything();
    unref_sockets();
    lent_close_all();
    do
        settle_all();
    while (unref_sockets() || datagrams_close_all());
    model_look();
    oracle_judge_all();
    datagrams_judge();
    lent_judge();
    unref_everything();
    step_settle(90000);
    if (!daemon_is_empty())
        sim_fail("never-gone: the daemon still has sessions or sockets");
    if (fd_count(ACTOR_CLIENT) > 0)
        sim_fail("left-descriptor: %u of the clients'", fd_count(ACTOR_CLIENT));
    if (alloc_count(ACTOR_CLIENT, &bytes) > 0)
        sim_fail("leak: %zu blocks of the library's, %zu bytes", alloc_count(ACTOR_CLIENT, &bytes),
                 bytes);
    daemon_terminate();
}
