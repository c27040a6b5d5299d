/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the loader's thread reads the files and builds the policy while the loop continues ->
 * the new configuration and policy are in force for every judgement from now on -> connects in
 * progress are judged again, in steps of the control sessions' share; established connections that
 * are denied now are counted, or ended if that was asked for -> the reload is reported, and the
 * loader frees the old policy. Requests that arrive meanwhile are combined into one reload after
 * it.
 * Failures: a file that cannot be read or is invalid, no memory: the old configuration stays, and
 * the requester gets the reason.
 */
#include "daemon/server/reload.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/audit/monitor.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/server/admin_policy.h"
#include "daemon/server/listener.h"
#include "daemon/server/notify.h"
#include "daemon/names/resolver.h"
#include "daemon/server/listener_spec.h"
#include "daemon/server/server.h"
#include "daemon/session/session.h"
#include "daemon/session/session_sockets.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"
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
    sock_kill(sock, KILLER_POLICY);
}

/* It may be gone afterwards. */
static void judge_sock(struct sock *sock, bool close, struct reload_report *report)
{
    if (sock->connect)
        report->cancelled += connect_judge_again(sock->connect);
    else if (sock->more->bound)
        report->cancelled += sock_bound_judge_again(sock);
    else
        judge_connection(sock, close, report);
}

int reload_load_policy(const struct server_config *config, char ret_error[static POLICY_ERROR_MAX],
                       struct policy **ret)
{
    return policy_load(&config->policy, ret_error, ret);
}

/*
 * The most similar problems that are reported one by one; "asockctl policy check" reports all of
 * them.
 */
#define PROBLEMS_LOGGED 16u

static bool log_problem(void *data, const char *text)
{
    unsigned int *left = data;

    if (*left == 0)
        return false;
    --*left;
    log_warning("%s", text);
    return true;
}

static void log_problems(const struct policy *policy)
{
    char first[POLICY_PROBLEM_MAX];
    size_t count = policy_problems(policy, first);
    unsigned int left = PROBLEMS_LOGGED;

    policy_each_problem(policy, log_problem, &left);
    if (count > PROBLEMS_LOGGED)
        log_warning(
            "policy: %zu more users and groups that do not exist; \"asockctl policy check\" "
            "lists all of them",
            count - PROBLEMS_LOGGED);
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
        log_info("policy: %zu file%s, %zu rule%s", policy_file_count(policy),
                 text_plural(policy_file_count(policy)), policy_rule_count(policy),
                 text_plural(policy_rule_count(policy)));
    log_problems(policy);
}

/* ---- the files ---- */

/* Apart from the reload: the thread may hang in it when the daemon ends. */
struct reload_files {
    struct loader_job job;
    struct reload *reload;
    struct reload_source source;
    int r;
    const struct server_config *config;
    struct policy *policy; /* the new one; when all has been judged the one of before; NULL: none */
    char error[CONF_ERROR_MAX];
};

static struct reload_files *files_of(struct loader_job *job)
{
    return container_of(job, struct reload_files, job);
}

/* In the thread. */
static void read_files(struct loader_job *job)
{
    struct reload_files *f = files_of(job);

    f->r = f->source.read(f->source.data, &f->config, f->error);
    if (f->r == 0)
        f->r = reload_load_policy(f->config, f->error, &f->policy);
}

/* In the thread: a policy may have a quarter of a million rules. */
static void drop_policy(struct loader_job *job)
{
    files_of(job)->policy = policy_unref(files_of(job)->policy);
}

static void free_files(struct loader_job *job)
{
    struct reload_files *f = files_of(job);

    policy_unref(f->policy);
    mem_free(f);
}

static void ask(struct reload *reload, struct loader_job *job)
{
    if (reload->ask) {
        reload->ask(reload->loader, job);
        return;
    }
    job->run(job);
    job->done(job);
}

static int set_resolver(struct reload_files *f)
{
    struct resolver_options options = reload_resolver_options(f->config);
    int r = resolver_configure(f->reload->worker->resolver, &options);

    if (r < 0)
        snprintf(f->error, sizeof(f->error), "name servers \"%s\": %s",
                 f->config->servers ? f->config->servers : "",
                 r == -EINVAL ? "not a list of address[:port] separated by commas" : strerror(-r));
    return r;
}

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool has_same_listeners(const struct server_config *a, const struct server_config *b)
{
    bool is_same = a->listener_count == b->listener_count;

    for (unsigned int i = 0; is_same && i < a->listener_count; i++) {
        const struct listener_spec *x = &a->listeners[i], *y = &b->listeners[i];

        is_same = strcmp(x->name, y->name) == 0 && strcmp(x->directory, y->directory) == 0 &&
                  x->has_mode == y->has_mode && x->mode == y->mode &&
                  x->has_group == y->has_group && x->group == y->group;
    }
    return is_same;
}

/* What a daemon reads when it starts, and not again. */
static void compare(const struct server_config *a, const struct server_config *b, char *ret)
{
    const struct {
        const char *name;
        bool is_same;
    } settings[] = {
        {"Clients=", a->clients == b->clients},
        {"HelloMax=", a->hellos == b->hellos},
        {"HelloTimeout=", a->hello_seconds == b->hello_seconds},
        {"TotalSockets=", a->total_sockets == b->total_sockets},
        {"TotalOps=", a->total_ops == b->total_ops},
        {"TotalMemory=", a->total_memory == b->total_memory},
        {"TotalSharedMemory=", a->total_shared == b->total_shared},
        {"TotalBuffers=", a->total_buffers == b->total_buffers},
        {"TotalKernelBuffers=", a->total_kernel == b->total_kernel},
        {"[Listener]", has_same_listeners(a, b)},
        {"[Audit] File=", is_same_text(a->audit.file, b->audit.file)},
    };
    size_t len = 0;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (!settings[i].is_same)
            len += (size_t)snprintf(ret + len, RELOAD_RESTART_MAX - len, "%s%s",
                                    len > 0 ? ", " : "", settings[i].name);
}

/* ---- the end ---- */

static void log_report(const struct reload_report *report)
{
    log_notice(
        "reloaded: %u connect request%s cancelled, %u connection%s ended, %u still open that the "
        "policy now denies",
        (unsigned int)report->cancelled, text_plural(report->cancelled),
        (unsigned int)report->closed, text_plural(report->closed), (unsigned int)report->denied);
    if (report->restart[0])
        log_warning("settings that changed but take effect only after a restart: %s",
                    report->restart);
}

/*
 * It is no failure of the reload, which cannot help it; whoever asks for one looks at what it says.
 */
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

static void finish(struct reload *reload, int r)
{
    struct worker *w = reload->worker;

    reload->result = r;
    if (r < 0) {
        w->stats.reloads_failed++;
        memcpy(reload->error, reload->report.error, sizeof(reload->error));
        log_error("reload failed: %s; keeping the current configuration", reload->error);
    } else {
        w->stats.reloads++;
        log_report(&reload->report);
    }
    if (reload->notifier)
        notifier_reloaded(reload->notifier);
    tell_monitor(w, &reload->report);
    admin_reloaded(&reload->waiting, r, &reload->report);
    reload->is_running = false;
    if (reload->is_wanted)
        worker_defer(w, &reload->next);
}

/*
 * This is the last reference to the previous policy: its memory goes where that takes no time of
 * the loop's.
 */
static void let_go(struct reload *reload)
{
    struct reload_files *f = reload->files;

    reload->files = NULL;
    f->policy = reload->before;
    reload->before = NULL;
    f->job.run = drop_policy;
    f->job.done = free_files;
    if (policy_is_last(f->policy))
        ask(reload, &f->job);
    else
        free_files(&f->job);
}

/* ---- who it concerns ---- */

/* A little more of it; false: all have been judged. */
static bool judge_more(struct reload *reload)
{
    struct worker *w = reload->worker;

    while (reload->walk.next != &w->sessions) {
        struct session *s = container_of(reload->walk.next, struct session, node);
        struct sock *sock;

        if (s->id != reload->session) {
            reload->session = s->id;
            reload->place = 0;
            session_view(s);
        }
        sock = session_sock_from(s, &reload->place);
        reload->place++;
        if (sock)
            judge_sock(sock, reload->is_closing, &reload->report);
        else
            reload->walk.next = s->node.next;
        worker_settle(w); /* what a denied one leaves is of this step, too */
        if (share_step_is_over(&w->shares))
            return true;
    }
    return false;
}

static bool judge_step(struct share *share)
{
    struct reload *reload = container_of(share, struct reload, share);

    if (judge_more(reload))
        return true;
    walk_end(&reload->walk);
    let_go(reload);
    finish(reload, 0);
    return false;
}

/*
 * What is judged from now on is judged by it, whoever's turn of these steps has not come yet:
 * session_view().
 */
static void put_in_force(struct reload *reload, struct policy *policy)
{
    struct worker *w = reload->worker;

    reload->before = w->policy;
    w->policy = policy;
    w->stats.policies++;
    w->policy_changes++;
    rule_counts_clear(w->rule_counts);
    reload->session = 0;
    walk_begin(&reload->walk, &w->session_walks, &w->sessions);
    share_wake(&reload->share);
}

static void on_read(struct loader_job *job)
{
    struct reload_files *f = files_of(job);
    struct reload *reload = f->reload;
    struct worker *w = reload->worker;
    struct policy *policy = f->policy;

    if (f->r == 0)
        f->r = set_resolver(f);
    if (f->r < 0) {
        int r = f->r;

        memcpy(reload->report.error, f->error, sizeof(f->error));
        reload->files = NULL;
        f->job.run = drop_policy;
        f->job.done = free_files;
        ask(reload, &f->job);
        finish(reload, r);
        return;
    }
    if (reload->began)
        compare(reload->began, f->config, reload->report.restart);
    w->limits = f->config->limits;
    if (w->audit)
        audit_set_mode(w->audit, f->config->audit.mode);
    if (reload->source.taken)
        reload->source.taken(reload->source.data);
    f->policy = NULL;
    reload_tell_policy(&f->config->policy, policy);
    put_in_force(reload, policy);
}

/* ---- the beginning ---- */

static void begin(struct task *task)
{
    struct reload *reload = container_of(task, struct reload, next);
    struct reload_files *f = mem_zalloc(1, sizeof(*f));

    reload->is_running = true;
    reload->is_wanted = false;
    reload->is_closing = reload->is_closing_wanted;
    reload->is_closing_wanted = false;
    list_splice(&reload->waiting, &reload->wanting);
    memset(&reload->report, 0, sizeof(reload->report));
    reload->error[0] = '\0';
    look_at_listeners(reload, &reload->report);
    if (reload->notifier)
        notifier_reloading(reload->notifier);
    if (!f) {
        snprintf(reload->report.error, sizeof(reload->report.error), "out of memory");
        finish(reload, -ENOMEM);
        return;
    }
    f->job = (struct loader_job){.run = read_files, .done = on_read, .drop = free_files};
    list_init(&f->job.node);
    f->reload = reload;
    f->source = reload->source;
    reload->files = f;
    ask(reload, &f->job);
}

void reload_begin(struct reload *reload, bool close, struct list *waiting)
{
    reload->is_wanted = true;
    reload->is_closing_wanted |= close;
    if (waiting)
        list_append(&reload->wanting, waiting);
    if (!reload->is_running)
        worker_defer(reload->worker, &reload->next);
}

void reload_init(struct reload *reload, struct worker *w, const struct reload_source *source)
{
    *reload = (struct reload){.worker = w, .source = *source};
    list_init(&reload->waiting);
    list_init(&reload->wanting);
    list_init(&reload->walk.node);
    task_init(&reload->next, begin);
    share_init(&reload->share, &w->controls, judge_step);
    w->reload = reload;
}

void reload_deinit(struct reload *reload)
{
    if (!reload->worker)
        return;
    assert(list_is_empty(&reload->waiting) && list_is_empty(&reload->wanting));
    share_deinit(&reload->share);
    task_deinit(&reload->next);
    walk_end(&reload->walk);
    /* With a policy in force whose turn to be judged by has come: nothing of it is the thread's. */
    if (reload->before)
        mem_free(reload->files);
    policy_unref(reload->before);
    reload->worker->reload = NULL;
    reload->worker = NULL;
}
