/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: read the files, load the policy, hand both to whom they concern; connects in progress are
 * judged anew, connections that are up are counted, or ended where that was asked for.
 * Failures: a file that cannot be read or taken, no memory: everything stays as it was, and whoever
 * asked is told why.
 */
#include "daemon/server/reload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/audit/monitor.h"
#include "daemon/server/listener.h"
#include "daemon/server/notify.h"
#include "daemon/names/resolver.h"
#include "daemon/server/server.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/verbs/verbs.h"

static void judge_connection(struct sock *sock, bool close, struct reload_report *report)
{
    if (sock_judge(sock).is_allowed)
        return;
    if (!close) {
        report->denied++;
        return;
    }
    report->closed++;
    sock->is_outlawed = true;
    sock_kill(sock);
}

/* It may be gone afterwards. */
static void judge_sock(struct sock *sock, bool close, struct reload_report *report)
{
    if (sock->connect)
        report->cancelled += connect_judge_again(sock->connect);
    else if (sock->bound)
        report->cancelled += sock_bound_judge_again(sock);
    else
        judge_connection(sock, close, report);
}

static void judge_session(struct session *s, bool close, struct reload_report *report)
{
    struct sock *sock;

    session_for_each_sock (s, sock)
        judge_sock(sock, close, report);
}

/* Every view first: what ends one connect may start another's attempt. */
static void put_in_force(struct worker *w, struct policy *policy, bool close,
                         struct reload_report *report)
{
    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);

        if (s->sharing.sharer)
            continue; /* the sharer's view is its own */
        if (policy_looks_at_groups(policy))
            peer_read_groups(&s->peer, s->transport.fd);
        policy_view_replace(s->view, policy, &s->peer, s->listener);
        peer_drop_groups(&s->peer);
    }
    policy_unref(w->policy);
    w->policy = policy;
    /* The memory of a session goes in a later task: the list stays as it is. */
    list_for_each (&w->sessions, it)
        judge_session(container_of(it, struct session, node), close, report);
}

int reload_load_policy(const struct server_config *config, char ret_error[static POLICY_ERROR_MAX],
                       struct policy **ret)
{
    return policy_load(&config->policy, ret_error, ret);
}

static void log_problem(void *data, const char *text)
{
    (void)data;
    log_warning("%s", text);
}

struct resolver_options reload_resolver_options(const struct server_config *config)
{
    return (struct resolver_options){
        .servers = config->servers,
        .timeout_ms = (int)config->resolver_timeout * 1000,
        .tries = (int)config->resolver_tries,
        .total_ms = (int)config->resolver_total * 1000,
    };
}

void reload_tell_policy(const struct policy_source *source, const struct policy *policy)
{
    if (source->base == POLICY_ANY)
        log_warning("--allow-any: every client may connect to every address");
    else if (source->base == POLICY_PUBLIC)
        log_notice("--allow-public: every client may connect to globally reachable addresses");
    else if (policy_file_count(policy) == 0)
        log_warning("no policy file in %s: everything is denied", source->dirs[0]);
    else
        log_info("policy: %zu files, %zu rules", policy_file_count(policy),
                 policy_rule_count(policy));
    policy_each_problem(policy, log_problem, NULL);
}

static int read_all(struct reload *reload, const struct server_config **ret, struct policy **policy,
                    struct reload_report *report)
{
    struct worker *w = reload->worker;
    struct resolver_options options;
    int r = reload->source.read(reload->source.data, ret, report->error);

    if (r == 0)
        r = reload_load_policy(*ret, report->error, policy);
    if (r < 0)
        return r;
    options = reload_resolver_options(*ret);
    r = resolver_configure(w->resolver, &options);
    if (r < 0) {
        snprintf(report->error, sizeof(report->error), "name servers \"%s\": %s",
                 (*ret)->servers ? (*ret)->servers : "",
                 r == -EINVAL ? "not \"address[:port],...\"" : strerror(-r));
        *policy = policy_unref(*policy);
    }
    return r;
}

static void log_report(const struct reload_report *report)
{
    log_notice("reloaded: %u connects cancelled, %u connections ended, "
               "%u that would be denied now go on",
               (unsigned int)report->cancelled, (unsigned int)report->closed,
               (unsigned int)report->denied);
}

/* It is no failure of the reload, which cannot help it; whoever asks for one looks at what it says. */
static void look_at_listeners(const struct reload *reload, struct reload_report *report)
{
    if (!reload->listeners)
        return;
    report->lost = listeners_find_lost(reload->listeners, report->problem, sizeof(report->problem));
    if (report->lost > 0)
        log_warning("%s", report->problem);
}

static void tell_monitor(struct worker *w, const struct reload_report *report)
{
    struct audit_entry entry = {.event = AUDIT_LOST};
    char text[96];

    snprintf(text, sizeof(text), "%u cancelled, %u ended, %u denied now",
             (unsigned int)report->cancelled, (unsigned int)report->closed,
             (unsigned int)report->denied);
    entry.reason = report->error[0] ? report->error : text;
    monitor_tell(w->monitor, report->error[0] ? "reload_failed" : "reload", &entry);
}

int reload_run(struct reload *reload, bool close, struct reload_report *ret)
{
    const struct server_config *config;
    struct policy *policy;
    int r;

    memset(ret, 0, sizeof(*ret));
    reload->error[0] = '\0';
    look_at_listeners(reload, ret);
    if (reload->notifier)
        notifier_reloading(reload->notifier);
    r = read_all(reload, &config, &policy, ret);
    if (r < 0) {
        reload->worker->stats.reloads_failed++;
        memcpy(reload->error, ret->error, sizeof(reload->error));
        log_error("reload failed: %s; keeping the current configuration", ret->error);
    } else {
        reload->worker->limits = config->limits;
        if (reload->worker->audit)
            audit_set_mode(reload->worker->audit, config->audit.mode);
        if (reload->source.taken)
            reload->source.taken(reload->source.data);
        put_in_force(reload->worker, policy, close, ret);
        reload->worker->stats.reloads++;
        reload_tell_policy(&config->policy, policy);
        log_report(ret);
    }
    if (reload->notifier)
        notifier_reloaded(reload->notifier);
    tell_monitor(reload->worker, ret);
    return r;
}
