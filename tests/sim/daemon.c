/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What server.c does around a worker, without signals, arguments and the service manager. */
#include "tests/sim/daemon.h"

#include <string.h>

#include "base/log.h"
#include "daemon/server/admin.h"
#include "daemon/audit/audit.h"
#include "daemon/server/listener.h"
#include "daemon/net/apart.h"
#include "daemon/net/hangup.h"
#include "daemon/server/sharing.h"
#include "daemon/net/tcp.h"
#include "daemon/session/op.h"
#include "daemon/policy/file.h"
#include "daemon/policy/policy.h"
#include "daemon/audit/monitor.h"
#include "daemon/audit/recent.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/policy/learn.h"
#include "daemon/core/quota.h"
#include "daemon/names/resolver.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/wire/shm_buffer.h"
#include "daemon/session/sock.h"
#include "daemon/state/state.h"
#include "tests/sim/bound.h"
#include "tests/sim/counts.h"
#include "tests/sim/ev.h"
#include "tests/sim/held.h"
#include "tests/sim/idle.h"
#include "tests/sim/kernel.h"
#include "tests/sim/lent.h"
#include "tests/sim/policies.h"
#include "tests/sim/seams.h"
#include "tests/sim/sim.h"
#include "tests/sim/starved.h"

#define STOP_MS 700u
#define SEEN 64 /* sessions at a time: far fewer */

static struct daemon {
    struct worker worker;
    struct listeners listeners;
    struct shared_listeners shared;
    bool is_running;
    bool is_stirred;        /* something was done to it from outside of a turn */
    bool is_leaving;        /* what it has is another process's */
    uint64_t stopped_until; /* ns */
} d;

/* What was reserved for a session when it was last checked. */
static struct seen {
    uint64_t session;
    struct limits limits;
} seen[SEEN];

/* Listeners that the daemon before has left; NULL: none. */
static struct kfile *kept_listeners[2];
/* The one that starts gets sessions before it makes listeners for others. */
static bool has_heir;

static int listen_at(const char *path)
{
    struct kfile **kept = &kept_listeners[strcmp(path, DAEMON_CONTROL) == 0];
    int fd = fd_install(*kept ? *kept : unix_listen(path));

    *kept = NULL;

    SIM_MUST(fd >= 0);
    return fd;
}

static void set_limits(struct worker *w, const struct daemon_manner *manner)
{
    if (manner->sockets)
        w->limits.sockets = manner->sockets;
    if (manner->ops)
        w->limits.ops = manner->ops;
    if (manner->queued)
        w->limits.queued_max = manner->queued;
    if (manner->kernel)
        w->limits.kernel_max = manner->kernel;
    if (manner->shared)
        w->limits.shared_max = manner->shared;
    if (manner->memory)
        quota_limit(w->quota, QUOTA_MEMORY, manner->memory);
    /* So few that not every session can be raised to the maximum; all have the minimum. */
    if (sim.faults & 1u << FAULT_FEW_SOCKETS)
        quota_limit(w->quota, QUOTA_SOCKETS, 96);
    quota_limit(w->quota, QUOTA_CLIENTS, 64);
    quota_limit(w->quota, QUOTA_LINGERS, 64);
    quota_limit(w->quota, QUOTA_ATTEMPTS, 32);
}

#define FLAGS "+loopback +private +linklocal +local +special"
/* The ports of lent.h. The gateway would splice what it is lent, past the simulated kernel. */
#define ALLOW_TCP "Allow=tcp * 900-999 " FLAGS " +lend +lend-given\nAllow=tcp * * " FLAGS "\n"
#define ALLOW_UDP "Allow=udp * * " FLAGS "\n"

/* What oracle_check_connect() knows too. */
static struct policy *make_policy(void)
{
    static const char some[] = "[Rules]\n"
                               "Deny=tcp n7.sim *\n"
                               "Deny=tcp 10.0.0.2 *\n"
                               "Deny=tcp 2001:db8::3 *\n" ALLOW_TCP
                               "Deny=udp 10.0.0.2 *\n" ALLOW_UDP;
    static const char any[] = "[Rules]\n" ALLOW_TCP ALLOW_UDP
                              "[Egress]\nOptions=TrafficClass HopLimit\n";
    const char *text = sim.faults & 1u << FAULT_DENIES ? some : any;
    struct policy *policy = policy_new(POLICY_DENY);
    struct conf_reader reader;

    SIM_MUST(asock_conf_open_text(&reader, "sim.policy", text, strlen(text)) == 0);
    SIM_MUST(policy_file_parse(&reader, POLICY_FILE, POLICY_RULES_MAX, &policy->files[0]) == 0);
    asock_conf_close(&reader);
    policy->file_count = 1;
    return policy;
}

void daemon_start(const struct daemon_manner *manner)
{
    struct audit_config audit = {
        .mode = sim.faults & 1u << FAULT_AUDIT ? POLICY_AUDIT_REQUIRED : POLICY_AUDIT_YES,
        .journal = "/sim/journal",
    };
    struct worker *w = &d.worker;
    uint32_t faults = sim.faults;

    sim.actor = ACTOR_DAEMON;
    sim.faults &= ~(1u << FAULT_ALLOC); /* a start without memory just fails */
    asock_log_setup(sim.is_tracing ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    memset(&d, 0, sizeof(d));
    memset(seen, 0, sizeof(seen));
    SIM_MUST(worker_init(w, NULL) == 0);
    w->policy = make_policy();
    policies_begin(w, make_policy);
    w->learn = learn_new();
    w->recent = recent_new(w);
    w->rule_counts = rule_counts_new();
    w->monitor = monitor_new(w);
    SIM_MUST(w->policy && w->learn && w->recent && w->rule_counts && w->monitor);
    SIM_MUST(audit_new(w, &audit, &w->audit) == 0);
    netsock_buffer_limits(&w->buffers);
    w->inspect = &admin_inspect_ops;
    SIM_MUST(hangups_new(w, sock_hung_up, &w->hangups) == 0);
    SIM_MUST(apart_new(w, &w->apart) == 0);
    seams_emptier_begin(w);
    SIM_MUST(resolver_new(w->loop, NULL, &w->resolver) == 0);
    SIM_MUST(listeners_init(&d.listeners, w) == 0);
    SIM_MUST(listeners_add(&d.listeners, LISTENER_CLIENT, "default", listen_at(DAEMON_SOCKET),
                           NULL) == 0);
    SIM_MUST(listeners_add(&d.listeners, LISTENER_CONTROL, "control", listen_at(DAEMON_CONTROL),
                           NULL) == 0);
    shared_listeners_init(&d.shared, &d.listeners);
    shared_listeners_open(&d.shared, "/sim");
    if (!has_heir)
        shared_listeners_begin(&d.shared);
    w->fds_max = 1024;
    set_limits(w, manner);
    d.is_running = d.is_stirred = true;
    sim.actor = ACTOR_NONE;
    sim.faults = faults;
}

bool daemon_is_running(void)
{
    return d.is_running;
}

bool daemon_is_ready(void)
{
    return d.is_running && !daemon_is_stopped() &&
           (d.is_stirred || simulated_loop_is_ready(d.worker.loop));
}

bool daemon_is_stopped(void)
{
    return sim.now_ns < d.stopped_until;
}

void daemon_stop(uint32_t ms)
{
    d.stopped_until = sim.now_ns + (uint64_t)ms * 1000000;
    sim_trace("daemon: stopped for %u ms", ms);
}

void daemon_continue(void)
{
    d.stopped_until = 0;
}

uint64_t daemon_due(void)
{
    if (d.is_running && daemon_is_stopped())
        return d.stopped_until;
    return d.is_running ? simulated_loop_due(d.worker.loop) : UINT64_MAX;
}

const struct worker *daemon_worker(void)
{
    return &d.worker;
}

uint64_t daemon_turns(void)
{
    return d.worker.stats.turns;
}

void daemon_turn(void)
{
    enum actor before = sim.actor;

    sim.work++;
    sim.actor = ACTOR_DAEMON;
    d.is_stirred = false;
    ev_run(d.worker.loop, EVRUN_NOWAIT);
    sim.actor = before;
    daemon_check();
}

/* ---- the end ---- */

static void step_until(uint64_t until)
{
    struct worker *w = &d.worker;
    uint64_t due;

    while (!list_is_empty(&w->sessions) || !list_is_empty(&w->drains)) {
        if (daemon_is_ready()) {
            daemon_turn();
            continue;
        }
        due = daemon_due();
        if (due > until)
            break;
        sim.now_ns = due > sim.now_ns ? due : sim.now_ns;
    }
}

static void deinit(struct worker *w)
{
    uint64_t used[QUOTA_RESOURCES];

    policies_end(w);
    w->audit = audit_free(w->audit); /* entries that were not taken are charged */
    w->recent = recent_free(w->recent);
    w->rule_counts = rule_counts_free(w->rule_counts);
    w->monitor = monitor_free(w->monitor);
    shared_listeners_deinit(&d.shared);
    for (enum quota_resource r = 0; r < QUOTA_RESOURCES; r++)
        used[r] = quota_usage(w->quota, r).used;
    listeners_deinit(&d.listeners);
    w->resolver = resolver_free(w->resolver);
    w->hangups = hangups_free(w->hangups);
    w->apart = apart_free(w->apart);
    w->policy = policy_unref(w->policy);
    w->learn = learn_free(w->learn);
    seams_emptier_end(w);
    op_free_spares(w);
    worker_deinit(w);
    for (enum quota_resource r = 0; r < QUOTA_RESOURCES; r++)
        if (used[r])
            sim_fail("still-charged: %llu of %s, and nobody is there", (unsigned long long)used[r],
                     quota_resource_name(r));
}

/* As SIGTERM does. */
static void end(void)
{
    enum actor before = sim.actor;
    struct worker *w = &d.worker;
    size_t bytes;
    unsigned int fds;

    daemon_continue();
    d.is_stirred = true;
    sim.actor = ACTOR_DAEMON;
    w->is_stopping = true;
    listeners_close(&d.listeners);
    session_end_all(w);
    step_until(sim.now_ns + STOP_MS * UINT64_C(1000000));
    session_end_what_is_left(w);
    d.is_stirred = true;
    step_until(sim.now_ns + STOP_MS * UINT64_C(1000000));
    if (!list_is_empty(&w->sessions) || !list_is_empty(&w->drains))
        sim_fail("no-end: sessions or sockets survive the daemon's stop");
    audit_stop(w->audit);
    daemon_turn();
    deinit(w);
    d.is_running = false;
    fds = fd_count(ACTOR_DAEMON);
    if (fds)
        sim_fail("left-descriptor: %u of the daemon's", fds);
    if (alloc_count(ACTOR_DAEMON, &bytes) > 0)
        sim_fail("leak: %zu blocks of the daemon's, %zu bytes", alloc_count(ACTOR_DAEMON, &bytes),
                 bytes);
    sim.actor = before;
}

void daemon_terminate(void)
{
    if (!d.is_running)
        return;
    sim_trace("daemon: terminated");
    end();
}

/* ---- from one to the next ---- */

/* A state, and the files behind its descriptors, on the way. */
struct cargo {
    struct state_writer out;
    struct kfile **files;
};

/* lost() is called for each that does not go over. */
static uint32_t choose_sessions(void (*lost)(const struct kfile *end))
{
    uint32_t count = state_choose(&d.worker);

    list_for_each (&d.worker.sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        if (!s->is_handed_over && s->transport.fd >= 0)
            lost(fd_file(s->transport.fd));
    }
    return count;
}

static void load(struct cargo *c, void (*lost)(const struct kfile *end))
{
    struct worker *w = &d.worker;
    uint32_t count = choose_sessions(lost);

    held_remember_unread(w);
    SIM_MUST(state_writer_init(&c->out) == 0);
    state_save_daemon(&c->out, w, -1, 0, count);
    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        if (s->is_handed_over)
            state_save_session(&c->out, s);
    }
    c->files = sim_alloc((c->out.descriptor_count + 1) * sizeof(struct kfile *));
    for (uint32_t i = 0; i < c->out.descriptor_count; i++) {
        c->files[i] = fd_file(c->out.descriptors[i]);
        c->files[i]->refs++;
    }
    list_for_each (&d.listeners.list, it) {
        const struct listener *l = container_of(it, struct listener, node);

        kept_listeners[l->kind == LISTENER_CONTROL] = fd_file(l->fd);
        fd_file(l->fd)->refs++;
    }
    state_leave_drains(w);
    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);

        if (s->is_handed_over)
            state_leave_session(s);
    }
    sim_trace("daemon: restarted with %u sessions", count);
}

static int configure(void *data, const char *listener, struct session_config *config)
{
    return listeners_configure(data, listener, config);
}

static void unload(struct cargo *c, const uint8_t *data, size_t len)
{
    uint32_t count = c->out.descriptor_count;
    struct state_restorer r = {
        .worker = &d.worker,
        .configure = configure,
        .saves_what_it_can = true,
        .data = &d.listeners,
        .descriptor_count = count,
    };
    int *descriptors = sim_alloc((count + 1) * sizeof(int)), e;
    struct state_reader in;

    r.taken = sim_alloc(count + 1);
    for (uint32_t i = 0; i < count; i++)
        SIM_MUST((descriptors[i] = fd_install(c->files[i])) >= 0);
    r.descriptors = descriptors;
    SIM_MUST(state_read(&in, data, len) == 0);
    e = state_restore(&r, &in);
    if (e < 0 || r.lost > 0)
        sim_fail("not-restored: %s", e < 0 ? r.what : r.lost_what);
    for (uint32_t i = 0; i < count; i++)
        if (!r.taken[i])
            sim_fail("not-restored: a descriptor was not taken");
    d.listeners.clients += r.sessions;
    held_check_unread(&d.worker);
    shared_listeners_begin(&d.shared);
    state_resume(&d.worker);
    daemon_check();
    sim_free(descriptors);
    sim_free(r.taken);
    sim_free(c->files);
}

void daemon_restart(const struct daemon_manner *manner, void (*lost)(const struct kfile *end))
{
    enum actor before = sim.actor;
    uint32_t faults = sim.faults;
    struct cargo c = {.files = NULL};
    bool is_invalid = sim.now_ns / 1000 % 3 == 0; /* not random: what was found stays as it is */
    uint32_t number = policies_number();
    const uint8_t *data;
    uint8_t *image;
    size_t len;

    daemon_continue();
    d.is_leaving = true;
    sim.actor = ACTOR_DAEMON;
    sim.faults &= ~(1u << FAULT_ALLOC); /* without memory nothing goes over */
    counts_remember(&d.worker);
    load(&c, lost);
    SIM_MUST(state_finish(&c.out, &data, &len) == 0);
    image = sim_alloc(len);
    memcpy(image, data, len);
    state_writer_deinit(&c.out);
    sim.faults = faults;
    end();
    has_heir = true;
    daemon_start(manner);
    has_heir = false;
    sim.actor = ACTOR_DAEMON;
    sim.faults &= ~(1u << FAULT_ALLOC);
    if (is_invalid)
        policies_invalidate();
    unload(&c, image, len);
    counts_check(&d.worker);
    if (is_invalid)
        policies_kept(number);
    sim_free(image);
    sim.actor = before;
    sim.faults = faults;
}

void daemon_kill(void)
{
    enum actor before = sim.actor;

    if (!d.is_running)
        return;
    sim_trace("daemon: killed");
    sim.actor = ACTOR_NONE;
    policies_drop();
    seams_resolver_drop(d.worker.resolver);
    simulated_loop_drop(d.worker.loop);
    fd_close_all(ACTOR_DAEMON);
    alloc_drop(ACTOR_DAEMON);
    memset(&d, 0, sizeof(d));
    sim.actor = before;
}

static struct session *some_session(uint32_t number)
{
    uint32_t count = 0;

    list_for_each (&d.worker.sessions, it)
        count++;
    list_for_each (&d.worker.sessions, it) {
        if (count > 0 && number-- % count == 0)
            return container_of(it, struct session, node);
    }
    return NULL;
}

void daemon_kill_session(uint32_t number)
{
    enum actor before = sim.actor;
    struct session *s = d.is_running ? some_session(number) : NULL;

    if (!s || s->has_ended)
        return;
    sim_trace("daemon: session %llu is killed", (unsigned long long)s->id);
    sim.actor = ACTOR_DAEMON;
    d.is_stirred = true;
    d.worker.inspect->kill(s, s->id);
    sim.actor = before;
}

void daemon_kill_socket(uint32_t number)
{
    enum actor before = sim.actor;
    struct session *s = d.is_running ? some_session(number) : NULL;
    struct sock *sock = NULL;

    for (uint32_t id = 1; s && id < s->slot_count && !sock; id++)
        if (s->slots[id].sock && number-- % 4 == 0)
            sock = s->slots[id].sock;
    if (!sock || s->has_ended)
        return;
    sim_trace("daemon: socket %llu is killed", (unsigned long long)sock->serial);
    sim.actor = ACTOR_DAEMON;
    d.is_stirred = true;
    d.worker.inspect->kill(s, sock->serial);
    sim.actor = before;
}

/* ---- what must hold ---- */

/* A grant only grows, and what it promises is charged. */
static void check_grant(const struct session *s)
{
    struct seen *before = &seen[s->id % SEEN];
    const struct limits *now = &s->limits, *then = &before->limits;

    if (before->session == s->id &&
        (now->sockets < then->sockets || now->ops < then->ops ||
         now->socket_ops < then->socket_ops || now->send_window < then->send_window ||
         now->queued_max < then->queued_max))
        sim_fail("grant-shrinks: %u sockets, %u ops of session %llu, then %u, %u", then->sockets,
                 then->ops, (unsigned long long)s->id, now->sockets, now->ops);
    *before = (struct seen){s->id, *now};
    if (s->quota && !s->has_ended && (s->held.sockets != now->sockets || s->held.ops != now->ops))
        sim_fail("not-reserved: %u sockets and %u ops, %llu and %llu charged", now->sockets,
                 now->ops, (unsigned long long)s->held.sockets, (unsigned long long)s->held.ops);
}

static void check_sharing(const struct session *s)
{
    uint32_t sharees = 0;

    list_for_each (&s->sharing.sharees, it) {
        const struct session *sharee = container_of(it, struct session, sharing.place);

        sharees += 1 + sharee->sharing.sharee_count;
        if (s->has_ended && !sharee->has_ended && !sharee->sharing.must_end)
            sim_fail("survives: session %llu, and %llu that shared has ended",
                     (unsigned long long)sharee->id, (unsigned long long)s->id);
    }
    if (sharees != s->sharing.sharee_count)
        sim_fail("miscounted: %u sharees, %u counted", sharees, s->sharing.sharee_count);
    if (s->has_ended && !list_is_empty(&s->sharing.listeners))
        sim_fail("survives: a listener of session %llu", (unsigned long long)s->id);
}

static void check_session(const struct session *s)
{
    uint32_t sockets = 0, buffers = 0;
    uint64_t shared = 0;

    for (uint32_t id = 1; id < s->slot_count; id++)
        sockets += s->slots[id].sock != NULL;
    if (sockets != s->socket_count)
        sim_fail("miscounted: %u sockets, %u counted", sockets, s->socket_count);
    for (uint32_t i = 0; s->buffers && i < LIMIT_BUFFERS; i++) {
        buffers += s->buffers[i].shm != NULL;
        shared += s->buffers[i].shm ? s->buffers[i].shm->length : 0;
    }
    if (buffers != s->buffer_count || shared != s->shared)
        sim_fail("miscounted: %u buffers of %llu bytes, %u of %llu counted", buffers,
                 (unsigned long long)shared, s->buffer_count, (unsigned long long)s->shared);
    check_grant(s);
    check_sharing(s);
    bound_check(s);
    if (s->op_count > s->limits.ops && !s->has_ended)
        sim_fail("too-much: %u ops of %u", s->op_count, s->limits.ops);
}

void daemon_check(void)
{
    uint32_t used = 0, listeners = 0;

    list_for_each (&d.worker.sessions, it)
        check_session(container_of(it, struct session, node));
    for (unsigned int i = 0; i < KERNEL_FDS; i++) {
        const struct kfile *file = kernel.fds[i].file;

        used += file && kernel.fds[i].owner == ACTOR_DAEMON &&
                (file->kind == FILE_TCP || file->kind == FILE_UDP || file->kind == FILE_MEMORY);
        listeners += file && kernel.fds[i].owner == ACTOR_DAEMON && file->kind == FILE_LISTENER;
    }
    used += d.worker.shared_listener_count;
    if (listeners > d.listeners.count + d.worker.shared_listener_count)
        sim_fail("left-listener: %u of them", listeners);
    if (used != d.worker.fds_used)
        sim_fail("miscounted: %u descriptors, %u counted", used, d.worker.fds_used);
    held_check(&d.worker);
    idle_check(&d.worker);
    if (!d.is_leaving)
        lent_check();
    starved_check(&d.worker);
}

bool daemon_is_empty(void)
{
    return list_is_empty(&d.worker.sessions) && list_is_empty(&d.worker.drains) &&
           d.listeners.clients == 0 && d.worker.shared_listener_count == 0;
}
