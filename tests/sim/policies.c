/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/policies.h"

#include <errno.h>
#include <ev.h>
#include <string.h>

#include "base/conf.h"
#include "daemon/policy/file.h"
#include "daemon/server/reload.h"
#include "daemon/server/server.h"
#include "tests/sim/kernel.h"

/* Of datagrams none forbids anything but groups. */
#define UDP "Listen=udp * *\n"

/* What policies_let_listen() and the like know too. */
static const char *const texts[POLICIES] = {
    "[Rules]\n" UDP "Listen=tcp * *\n",
    "[Rules]\n" UDP "Listen=tcp * * from 10.0.0.0/30,2001:db8::/126\n",
    "[Rules]\n" UDP "Listen=tcp ::/0 *\n",
    "[Rules]\n" UDP
    "Listen=tcp 0.0.0.0/0 * from 10.0.0.0/30\nListen=tcp ::/0 * from 2001:db8::/126\n",
    "[Rules]\n" UDP
    "Reserve=tcp * 1024-65535\n", /* by a file that applies to every client: it forbids nothing */
};

/* In front of "*", which is not about groups. */
static const char groups_text[] = "[Rules]\nAllow=udp 239.1.0.0/16 * +local\n"
                                  "Allow=udp ff15::/16 * +local\n";

static struct {
    struct worker *worker;
    struct policy *(*make)(void);
    struct reload reload;
    struct server_config config;
    struct loader_job *job; /* that the thread is at; NULL: none */
    struct ev_io io;
    int fd;
    uint32_t number, next;
    unsigned int changes;
    bool may_close; /* a reload may end connections */
} p;

bool policies_let_listen(uint32_t number, bool is_in6, bool is_all)
{
    if (number == 2)
        return is_in6 && !is_all;
    return number != 4;
}

bool policies_let_group(uint32_t number)
{
    return number < 2;
}

bool policies_let_in(uint32_t number, bool is_in6, unsigned int host)
{
    if (number == 1 || number == 3)
        return host < 4;
    return number == 2 ? is_in6 : number == 0;
}

void policies_choose(uint32_t number, bool closes)
{
    p.next = number % POLICIES;
    p.may_close |= closes;
}

void policies_settled(void)
{
    p.may_close = false;
}

bool policies_may_close(void)
{
    return p.may_close;
}

unsigned int policies_changes(void)
{
    return p.changes;
}

uint32_t policies_number(void)
{
    return p.number;
}

static struct policy_file *parse(const char *text)
{
    struct policy_file *file;
    struct conf_reader reader;

    SIM_MUST(asock_conf_open_text(&reader, "listen.policy", text, strlen(text)) == 0);
    SIM_MUST(policy_file_parse(&reader, POLICY_FILE, POLICY_RULES_MAX, &file) == 0);
    asock_conf_close(&reader);
    return file;
}

static void forget_any(struct policy *policy)
{
    for (size_t i = 0; i < policy->file_count; i++)
        if (strcmp(policy->files[i]->path, "--allow-any") == 0)
            policy->files[i]->listen_count = 0; /* texts[] say who may listen */
}

/* Whoever reads files has memory for it. */
static void add_files(struct policy *policy)
{
    uint32_t faults = sim.faults;

    sim.faults &= ~(1u << FAULT_ALLOC);
    if (policy->file_count == 0) {
        struct policy *made = p.make();

        memcpy(policy->files, made->files, sizeof(policy->files));
        policy->file_count = made->file_count;
        made->file_count = 0;
        policy_unref(made);
    }
    forget_any(policy);
    policy->files[policy->file_count++] = parse(texts[p.next]);
    if (policies_let_group(p.next)) {
        memmove(policy->files + 1, policy->files, policy->file_count++ * sizeof(policy->files[0]));
        policy->files[0] = parse(groups_text);
    }
    if (sim.faults & 1u << FAULT_IDLE)
        policy->files[policy->file_count++] = parse("[Limits]\nIdleTimeout=2\n");
    sim.faults = faults;
    sim_trace("policy: number %u", p.next);
    p.number = p.next;
    p.changes++;
}

/* ---- the thread ---- */

static void arm(uint64_t due)
{
    fd_file(p.fd)->u.timer = due;
}

static void finish(struct loader_job *job)
{
    const struct policy *before = p.worker->policy;

    job->run(job);
    job->done(job);
    if (p.worker->policy != before)
        add_files(p.worker->policy);
}

static void on_time(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct loader_job *job = p.job;

    (void)loop;
    (void)io;
    (void)events;
    p.job = NULL;
    arm(0);
    if (job)
        finish(job);
}

/* A job that frees a previous policy is not urgent, and nothing waits for it. */
static void ask(struct loader *loader, struct loader_job *job)
{
    (void)loader;
    if (p.job) {
        finish(job);
        return;
    }
    p.job = job;
    arm(sim.now_ns + 1 + (uint64_t)sim_random(sim_chance(2) ? 300 : 2) * 1000000);
}

static int read_config(void *data, const struct server_config **ret,
                       char ret_error[static CONF_ERROR_MAX])
{
    (void)data;
    if (sim_chance(8)) {
        strcpy(ret_error, "asockd.conf:1: it is wrong");
        return -EBADMSG;
    }
    p.config.limits = p.worker->limits;
    p.config.policy.dirs[0] = "/sim";
    p.config.audit.mode = sim.faults & 1u << FAULT_AUDIT ? POLICY_AUDIT_REQUIRED : POLICY_AUDIT_YES;
    *ret = &p.config;
    return 0;
}

void policies_begin(struct worker *w, struct policy *(*make)(void))
{
    const struct reload_source source = {.read = read_config};

    p.worker = w;
    p.make = make;
    p.next = sim.faults & 1u << FAULT_DENIES ? 1 : 0;
    p.job = NULL;
    p.may_close = false;
    reload_init(&p.reload, w, &source);
    p.reload.ask = ask;
    p.fd = fd_install(file_new(FILE_TIMER));
    ev_io_init(&p.io, on_time, p.fd, EV_READ);
    ev_io_start(w->loop, &p.io);
    add_files(w->policy);
}

void policies_invalidate(void)
{
    const struct policy_source source = {.base = POLICY_DENY};

    policy_unref(p.worker->policy);
    p.worker->policy = policy_new_invalid(&source, "sim.policy:1: it is wrong");
    SIM_MUST(p.worker->policy);
    sim_trace("policy: invalid");
}

void policies_kept(uint32_t number)
{
    if (policy_is_invalid(p.worker->policy))
        sim_fail("not-restored: the policy");
    forget_any(p.worker->policy);
    p.number = number;
}

void policies_end(struct worker *w)
{
    if (p.job)
        p.job->drop(p.job);
    reload_deinit(&p.reload);
    ev_io_stop(w->loop, &p.io);
    fd_close(p.fd);
    p.job = NULL;
}

void policies_drop(void)
{
    memset(&p.reload, 0, sizeof(p.reload));
    p.job = NULL;
}
