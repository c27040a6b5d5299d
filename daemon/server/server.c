/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: raise the descriptor limit, share it out, open the listeners, give up every right
 * that is not needed any more, say READY, run; on a signal close the listeners, end the sessions,
 * wait until their sockets have closed, return.
 * Failures: whatever cannot be had at the start ends it with a message; sockets that are not closed
 * STOP_PATIENCE_MS after the signal, or at a second one, are reset.
 */
#include "daemon/server/server.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/server/admin.h"
#include "daemon/core/capabilities.h"
#include "daemon/core/client_log.h"
#include "daemon/server/listener.h"
#include "daemon/net/apart.h"
#include "daemon/net/hangup.h"
#include "daemon/net/tcp.h"
#include "daemon/server/notify.h"
#include "daemon/server/plan.h"
#include "daemon/session/op.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/learn.h"
#include "daemon/audit/monitor.h"
#include "daemon/audit/recent.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/quota.h"
#include "daemon/server/reload.h"
#include "daemon/names/resolver.h"
#include "daemon/identity/subids.h"
#include "daemon/names/services.h"
#include "daemon/server/hand_over.h"
#include "daemon/server/hardening.h"
#include "daemon/server/take_over.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/session_end.h"
#include "daemon/server/sharing.h"
#include "daemon/server/store.h"
#include "daemon/wire/emptier.h"
#include "daemon/server/emptier_process.h"

#define STOP_PATIENCE_MS 700u /* the stop as a whole has a second */
/* Behind it: for memory that a client keeps from being emptied (emptier.h). */
#define STOP_EMPTIER_MS 200u
#define STOP_PERIOD 0.002 /* between two looks at what is left */

struct server {
    const struct server_config *config;
    struct worker worker;
    struct listeners listeners;
    struct notifier notifier;
    struct loader *loader;
    struct emptier emptier;
    struct reload reload;
    struct shared_listeners shared;
    struct hand_over hand_over; /* to the next one */
    struct arrival arrival;     /* from the one before; of one that takes over */
    struct store store;         /* the same by way of the service manager */
    struct ev_signal interrupt, terminate, restart, hang_up, user;
    struct ev_timer stop; /* looks whether all has gone */
    uint64_t stop_until;  /* by the worker's clock: then what is left is reset */
    uint64_t leave_until; /* the same: then what can go over does, whatever is left */
    struct task leave;
    bool is_leaving; /* for a next process */
};

/* ---- stop ---- */

static void on_stop_timer(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct server *server = timer->data;
    struct worker *w = &server->worker;

    (void)loop;
    (void)events;
    if (server->is_leaving && !w->is_stopping) {
        worker_flush_later(w, &server->leave);
        return;
    }
    if (w->clock() >= server->stop_until)
        session_end_what_is_left(w);
    if (w->emptier && (server->is_leaving || w->clock() >= server->stop_until + STOP_EMPTIER_MS))
        emptier_give_up(w->emptier);
    if (!list_is_empty(&w->sessions) || !list_is_empty(&w->drains))
        return;
    /* Their ends are recorded now. */
    audit_stop(w->audit);
    if (audit_is_idle(w->audit) || w->clock() >= server->stop_until + AUDIT_STOP_MS)
        worker_stop(w);
}

static void end_all(struct server *server)
{
    struct worker *w = &server->worker;

    w->is_stopping = true;
    server->stop_until = w->clock() + STOP_PATIENCE_MS;
    session_end_all(w);
}

/* No client is accepted any more. */
static void begin_end(struct server *server, const char *why)
{
    struct worker *w = &server->worker;

    log_notice("asockd is stopping: %s", why);
    notifier_stop(&server->notifier);
    server->reload.listeners = NULL;
    listeners_close(&server->listeners);
    ev_timer_set(&server->stop, STOP_PERIOD, STOP_PERIOD);
    ev_timer_start(w->loop, &server->stop);
}

static void begin_stop(struct server *server, const char *why)
{
    begin_end(server, why);
    end_all(server);
}

/*
 * A restart: what can go over is served until the rest has ended, or its patience has, because the
 * next process cannot begin before this one is over.
 */
static void begin_restart(struct server *server)
{
    log_notice("asockd is passing its clients to the next process");
    gates_empty(&server->listeners.gates, NULL); /* so that they, too, are ended or passed on */
    store_end_others(&server->store);
    begin_end(server, "restart");
    server->is_leaving = true;
    server->leave_until = server->worker.clock() + STOP_PATIENCE_MS;
}

/* At the end of a turn: no session is in the middle of something. */
static void on_leave(struct task *task)
{
    struct server *server = container_of(task, struct server, leave);
    struct worker *w = &server->worker;

    if (w->is_stopping || (w->clock() < server->leave_until && !store_is_settled(&server->store)))
        return;
    if (store_put(&server->store, &server->notifier) < 0) {
        end_all(server);
        return;
    }
    /* Those who go over wait for the end of this process: what is left has had its patience. */
    end_all(server);
    server->stop_until = w->clock();
    ev_feed_event(w->loop, &server->stop, EV_TIMER);
}

static void on_stop_signal(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    struct server *server = watcher->data;

    (void)loop;
    (void)events;
    if (server->worker.is_stopping)
        server->stop_until = server->worker.clock();
    else if (server->is_leaving)
        end_all(server);
    else
        begin_stop(server, strsignal(watcher->signum));
}

static void on_restart_signal(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    struct server *server = watcher->data;

    if (server->is_leaving || server->worker.is_stopping || !store_is_prepared(&server->store))
        on_stop_signal(loop, watcher, events);
    else
        begin_restart(server);
}

static void on_handed_over(struct hand_over *h)
{
    begin_stop(container_of(h, struct server, hand_over), "another asockd has taken over");
}

/* ---- other signals ---- */

static void on_hang_up(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    struct server *server = watcher->data;

    (void)loop;
    (void)events;
    if (!server->worker.is_stopping && !server->is_leaving)
        reload_begin(&server->reload, false, NULL); /* the log tells what becomes of it */
}

static void on_user_signal(struct ev_loop *loop, struct ev_signal *watcher, int events)
{
    struct server *server = watcher->data;

    (void)loop;
    (void)events;
    server->config->on_user_signal();
}

static void watch_signal(struct server *server, struct ev_signal *watcher, int number,
                         void (*callback)(struct ev_loop *, struct ev_signal *, int))
{
    ev_signal_init(watcher, callback, number);
    watcher->data = server;
    ev_signal_start(server->worker.loop, watcher);
}

static void watch_signals(struct server *server)
{
    signal(SIGPIPE, SIG_IGN);
    watch_signal(server, &server->interrupt, SIGINT, on_stop_signal);
    watch_signal(server, &server->terminate, SIGTERM, on_stop_signal);
    watch_signal(server, &server->restart, SIGUSR1, on_restart_signal);
    watch_signal(server, &server->hang_up, SIGHUP, on_hang_up);
    if (server->config->on_user_signal)
        watch_signal(server, &server->user, SIGUSR2, on_user_signal);
}

static void unwatch_signals(struct server *server)
{
    struct ev_loop *loop = server->worker.loop;

    ev_signal_stop(loop, &server->interrupt);
    ev_signal_stop(loop, &server->terminate);
    ev_signal_stop(loop, &server->restart);
    ev_signal_stop(loop, &server->hang_up);
    ev_signal_stop(loop, &server->user);
}

/* ---- start ---- */

/*
 * A bad file does not keep the daemon from starting: unless the process before has left its policy,
 * everything is denied until a reload succeeds.
 */
static struct policy *load_policy(const struct server_config *config)
{
    char error[POLICY_ERROR_MAX];
    struct policy *policy;
    int r = reload_load_policy(config, error, &policy);

    if (r == 0) {
        reload_tell_policy(&config->policy, policy);
        return policy;
    }
    log_error("%s", error);
    return policy_new_invalid(&config->policy, error);
}

static int init_tables(struct worker *w)
{
    w->learn = learn_new();
    w->recent = recent_new(w);
    w->rule_counts = rule_counts_new();
    w->monitor = monitor_new(w);
    w->subids = subids_new("/etc/subuid", "/etc/passwd");
    w->client_log = client_log_new(w);
    if (w->policy && w->learn && w->recent && w->rule_counts && w->monitor && w->subids &&
        w->client_log)
        return 0;
    log_error("asockd: out of memory");
    return -ENOMEM;
}

static int init_worker(struct server *server, int emptier_fd)
{
    const struct server_config *config = server->config;
    struct resolver_options options = reload_resolver_options(config);
    struct worker *w = &server->worker;
    int r;

    r = worker_init(w, NULL);
    if (r < 0) {
        log_error("asockd: cannot create the event loop: %s", strerror(-r));
        return r;
    }
    w->without = config->without;
    if (emptier_fd >= 0) {
        emptier_attach(&server->emptier, w, emptier_fd);
        w->emptier = &server->emptier;
    }
    w->policy = load_policy(config);
    r = init_tables(w);
    if (r < 0)
        return r;
    r = loader_new(w, &server->loader);
    if (r < 0) {
        log_error("asockd: cannot start the thread that reads files: %s", strerror(-r));
        return r;
    }
    reload_init(&server->reload, w, &config->source);
    server->reload.notifier = &server->notifier;
    server->reload.ask = loader_ask;
    server->reload.loader = server->loader;
    server->reload.listeners = &server->listeners;
    server->reload.began = config;
    r = audit_new(w, &config->audit, &w->audit);
    if (r < 0)
        return r;
    w->limits = config->limits;
    netsock_buffer_limits(&w->buffers);
    w->hello_ms = 1000 * config->hello_seconds;
    w->inspect = &admin_inspect_ops;
    r = services_new(NULL, &w->services);
    if (r < 0) {
        log_error("asockd: /etc/services: %s", strerror(-r));
        return r;
    }
    r = hangups_new(w, sock_hung_up, &w->hangups);
    if (r == 0)
        r = apart_new(w, &w->apart);
    if (r < 0) {
        log_error("asockd: cannot create an epoll instance: %s", strerror(-r));
        return r;
    }
    r = resolver_new(w->loop, &options, &w->resolver);
    if (r == -EINVAL)
        log_error("asockd: name servers \"%s\": not a list of address[:port] separated by commas",
                  config->servers);
    else if (r < 0)
        log_error("asockd: cannot start the resolver: %s", strerror(-r));
    return r;
}

static int open_listeners(struct server *server)
{
    const struct server_config *config = server->config;
    struct listeners *ls = &server->listeners;
    int r;

    r = listeners_init(ls, &server->worker);
    if (r < 0) {
        log_error("asockd: cannot open /dev/null: %s", strerror(-r));
        return r;
    }
    if (config->takes_over && policy_is_invalid(server->worker.policy)) {
        log_error("asockd: cannot take over with an invalid policy; the other daemon continues");
        return -EINVAL;
    }
    if (config->takes_over)
        return take_over_connect(&server->arrival, config->runtime_dir);
    r = listeners_take_activated(ls, config->listeners, config->listener_count, &server->store);
    if (r != 0)
        return r;
    return listeners_bind(ls, config->runtime_dir, config->listeners, config->listener_count);
}

/* What they were for, files and sockets of others, is open. */
static int give_up_capabilities(void)
{
    int r = capabilities_drop();

    if (r < 0)
        log_error("asockd: cannot drop capabilities: %s", strerror(-r));
    if (r > 0)
        log_notice("asockd was started with capabilities and has dropped them; start it as an "
                   "unprivileged user, as its unit does");
    return r;
}

/* The directories of one that is still there are not those of the dead. */
static void begin_sharing(struct server *server)
{
    const struct server_config *config = server->config;

    shared_listeners_init(&server->shared, &server->listeners);
    if (!config->takes_over)
        shared_listeners_open(&server->shared, config->runtime_dir);
}

/* The one before has ended. */
static void on_alone(struct arrival *a)
{
    struct server *server = container_of(a, struct server, arrival);

    shared_listeners_open(&server->shared, server->config->runtime_dir);
    shared_listeners_begin(&server->shared);
    shared_listeners_own(&server->shared);
}

static int server_init(struct server *server, const struct server_config *config)
{
    uint64_t limit = plan_raise_descriptor_limit();
    struct descriptor_shares shares;
    int emptier_fd, r;

    memset(server, 0, sizeof(*server));
    server->config = config;
    server->arrival.fd = -1;
    store_init(&server->store);
    task_init(&server->leave, on_leave);
    ev_timer_init(&server->stop, on_stop_timer, 0., 0.);
    server->stop.data = server;
    plan_widen_descriptor_table(limit);
    r = maker_fork(&server->shared.maker, config->without_filter);
    if (r < 0)
        log_warning("cannot start the process that creates shared listeners: %s", strerror(-r));
    emptier_fd = emptier_fork(config->without_filter);
    if (emptier_fd < 0)
        log_warning("cannot start the process that empties shared memory: %s",
                    strerror(-emptier_fd));
    r = init_worker(server, emptier_fd);
    /* Whoever sees the sockets may signal: it is heard when the loop runs. */
    if (r >= 0)
        watch_signals(server);
    if (r >= 0)
        r = open_listeners(server);
    if (r >= 0)
        r = plan_descriptors(config, server->listeners.count, limit, &shares);
    if (r < 0)
        return r;
    server->worker.fds_max = shares.sockets;
    server->listeners.gates.most = shares.waiting;
    plan_quotas(&server->worker, config, &shares);
    begin_sharing(server);
    hand_over_init(&server->hand_over, &server->listeners, on_handed_over);
    store_prepare(&server->store, &server->listeners);
    r = give_up_capabilities();
    loader_await(server->loader);
    if (r >= 0 && !config->without_filter)
        r = hardening_enter(server->listeners.lock_fd >= 0 || config->takes_over);
    /* The other one stands still from here on: all that takes time is done. */
    if (r >= 0 && config->takes_over)
        r = take_over_receive(&server->arrival, &server->listeners, config->listeners,
                              config->listener_count);
    if (r >= 0)
        store_restore(&server->store);
    if (r >= 0 && policy_is_invalid(server->worker.policy))
        log_error("the policy is invalid: everything is denied until a reload succeeds");
    if (r >= 0 && !config->takes_over)
        shared_listeners_begin(&server->shared);
    return r;
}

static void server_deinit(struct server *server)
{
    struct worker *w = &server->worker;

    shared_listeners_deinit(&server->shared);
    if (!w->loop)
        return;
    /* Clients wait for the end of one that leaves them to the next process. */
    if (server->is_leaving)
        loader_leave(server->loader);
    else
        loader_free(server->loader);
    reload_deinit(&server->reload);
    notifier_deinit(&server->notifier);
    unwatch_signals(server);
    ev_timer_stop(w->loop, &server->stop);
    take_over_deinit(&server->arrival);
    hand_over_deinit(&server->hand_over);
    store_deinit(&server->store);
    task_deinit(&server->leave);
    listeners_deinit(&server->listeners);
    w->resolver = resolver_free(w->resolver);
    w->hangups = hangups_free(w->hangups);
    w->apart = apart_free(w->apart);
    w->services = services_free(w->services);
    w->policy = policy_unref(w->policy);
    w->subids = subids_free(w->subids);
    w->learn = learn_free(w->learn);
    w->recent = recent_free(w->recent);
    w->rule_counts = rule_counts_free(w->rule_counts);
    w->monitor = monitor_free(w->monitor);
    w->client_log = client_log_free(w->client_log);
    w->audit = audit_free(w->audit);
    if (w->emptier)
        emptier_detach(w->emptier);
    op_free_spares(w);
    worker_deinit(w);
}

int server_run(const struct server_config *config)
{
    struct server server;
    int r;

    r = server_init(&server, config);
    if (r >= 0) {
        log_notice("asockd " PACKAGE_VERSION " is running: %u listener%s, at most %u clients and "
                   "%u sockets",
                   server.listeners.count, text_plural(server.listeners.count),
                   (unsigned int)quota_usage(server.worker.quota, QUOTA_CLIENTS).most,
                   (unsigned int)server.worker.fds_max);
        if (config->takes_over) {
            log_notice(
                "asockd has taken over %u client%s, %u socket%s and %u operation%s within %u ms",
                (unsigned int)server.arrival.sessions, text_plural(server.arrival.sessions),
                (unsigned int)server.arrival.sockets, text_plural(server.arrival.sockets),
                (unsigned int)server.arrival.ops, text_plural(server.arrival.ops),
                (unsigned int)server.arrival.paused_ms);
            take_over_resume(&server.arrival, on_alone);
        }
        notifier_start(&server.notifier, &server.worker, &server.listeners);
        store_resume(&server.store, &server.notifier);
        if (!config->takes_over)
            shared_listeners_own(&server.shared);
        worker_run(&server.worker);
    }
    server_deinit(&server);
    return r;
}
