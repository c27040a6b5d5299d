/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RESOLVE: returns the addresses of a name to a client that could connect to them.
 * Happy path: policy allows the name on some port -> A and AAAA are queried at the same time ->
 * policy judges each address on the ports on which it allows the name -> the client gets the
 * allowed ones, in the order in which CONNECT would try them. Judging takes time; it is charged to
 * the session, and done in its steps.
 * Failures: not a name; policy denies the name (before any query) or all addresses; the audit must
 * record it and cannot; the resolver's errors; cancel, deadline, the session's end. The name is
 * judged again when the answer arrives, because policy may have changed.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/time.h"
#include "daemon/audit/connect_report.h"
#include "daemon/core/quota.h"
#include "daemon/names/address_order.h"
#include "daemon/names/host.h"
#include "daemon/names/resolver.h"
#include "daemon/policy/judge_ports.h"
#include "daemon/policy/policy.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/session_audit.h"
#include "daemon/session/sock_policy.h"
#include "daemon/verbs/verbs.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

struct resolve {
    struct op *op;
    uint64_t began;                   /* ns */
    struct quota *quota;              /* its memory is charged to it */
    struct resolver_query queries[2]; /* A, AAAA */
    bool waits_for[2];
    struct report_lookup lookups[REPORT_LOOKUPS];
    struct host host;
    uint32_t family;
    bool is_admitted; /* policy allows the name, or the address given instead */
    struct policy_ports ports[POLICY_PROTOCOLS]; /* the judgement in progress */
    unsigned int steps;                          /* left in this step of the session */
    unsigned int judged, kept;                   /* of the addresses */
    uint32_t error; /* of the queries that failed, the most specific one */
    unsigned int count;
    union resolver_address addresses[CODEC_ADDRESSES_MAX];
    char reason[POLICY_REASON_MAX + 1]; /* of the last denial; a copy, as the policy may be freed */
    char text[REPORT_REASON_MAX];       /* of any other failure */
    struct sock_audit audit;
    size_t answer_len;
    uint8_t answer[CODEC_ADDRESSES_BYTES];
};

/* ---- policy ---- */

static const char *name_of(const struct resolve *x)
{
    return x->host.kind == HOST_ADDRESS ? NULL : x->host.name;
}

enum verdict { ADMITTED, DENIED, UNDECIDED };

/* False: the step is over. */
static bool ask(struct resolve *x, const struct policy_question *question,
                struct policy_answer *ret)
{
    struct session *s = x->op->session;

    while (!policy_judge_ports_more(session_view(s), question, &x->ports[question->protocol],
                                    &x->steps, ret))
        if (share_step_is_over(&s->worker->shares))
            return false;
    return true;
}

/*
 * Judges addr, or with NULL the name. Undecided: the step is over. One protocol that is allowed
 * suffices. If both are denied, a denial by a rule counts, otherwise TCP's.
 */
static enum verdict judge(struct resolve *x, const struct sockaddr *addr)
{
    struct policy_question question = {.host = name_of(x), .addr = addr};
    struct policy_answer answer, other;

    if (!ask(x, &question, &answer))
        return UNDECIDED;
    if (!answer.is_allowed) {
        question.protocol = POLICY_UDP;
        if (!ask(x, &question, &other))
            return UNDECIDED;
        if (other.is_allowed || (other.file && !answer.file))
            answer = other;
    }
    memset(x->ports, 0, sizeof(x->ports));
    sock_audit_judged(&x->audit, &answer, addr);
    if (!answer.is_allowed)
        snprintf(x->reason, sizeof(x->reason), "%s", answer.reason ? answer.reason : "");
    return answer.is_allowed ? ADMITTED : DENIED;
}

static void fail(struct resolve *x, uint32_t error)
{
    if (error == ERR_ACCESS_DENIED)
        x->op->text = x->reason[0] ? x->reason : NULL;
    complete(x->op, error);
}

/* ---- the answer ---- */

/* False: there is more to do. */
static bool keep_allowed(struct resolve *x)
{
    while (x->judged < x->count) {
        enum verdict verdict = judge(x, &x->addresses[x->judged].any);

        if (verdict == UNDECIDED)
            return false;
        if (verdict == ADMITTED)
            x->addresses[x->kept++] = x->addresses[x->judged];
        x->judged++;
    }
    x->count = x->kept;
    return true;
}

static void tell(struct resolve *x)
{
    struct endpoint endpoints[CODEC_ADDRESSES_MAX];
    long n;

    address_order(x->addresses, x->count, NULL);
    for (unsigned int i = 0; i < x->count; i++)
        asock_endpoint_from(&x->addresses[i].any, sizeof(x->addresses[i]), &endpoints[i]);
    n = asock_codec_encode_addresses(endpoints, x->count, x->answer, sizeof(x->answer));
    x->answer_len = n > 0 ? (size_t)n : 0;
    complete(x->op, n > 0 ? ERR_SUCCESS : ERR_NO_BUFFER_SPACE);
}

static void judge_addresses(struct resolve *x)
{
    if (!keep_allowed(x))
        return;
    if (x->count == 0)
        fail(x, ERR_ACCESS_DENIED);
    else
        tell(x);
}

/* Starts the judgement, which runs in steps of the session. */
static void judge_later(struct resolve *x)
{
    struct session *s = x->op->session;

    x->steps = POLICY_STEPS;
    list_remove(&x->op->node);
    list_append(&s->resolved, &x->op->node);
    share_wake(&s->share);
}

static void finish(struct resolve *x)
{
    if (x->count == 0)
        fail(x, x->error);
    else
        judge_later(x);
}

static uint32_t age_ms(const struct resolve *x)
{
    return (uint32_t)((time_now_ns() - x->began) / 1000000);
}

static void on_resolved(struct resolve *x, int i, const struct resolver_result *result)
{
    histogram_add(&x->op->session->worker->stats.lookups, time_now_ns() - x->began);
    connect_report_answered(&x->lookups[i], age_ms(x), result);
    x->waits_for[i] = false;
    if (result->error != ERR_SUCCESS)
        x->error = resolver_worse(x->error, result->error);
    for (unsigned int k = 0; result->error == ERR_SUCCESS && k < result->count; k++)
        x->addresses[x->count++] = result->addresses[k];
    if (!x->waits_for[!i])
        finish(x);
}

static void on_resolved_v4(struct resolver_query *query, const struct resolver_result *result)
{
    on_resolved(container_of(query, struct resolve, queries[0]), 0, result);
}

static void on_resolved_v6(struct resolver_query *query, const struct resolver_result *result)
{
    on_resolved(container_of(query, struct resolve, queries[1]), 1, result);
}

/* ---- the op ---- */

static void stop_lookups(struct resolve *x)
{
    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++) {
        if (x->queries[i].lookup)
            x->lookups[i] = (struct report_lookup){.outcome = REPORT_GIVEN_UP, .ms = age_ms(x)};
        resolver_cancel(&x->queries[i]);
    }
}

/* As of a connect that fails. Of what the client has ended itself there is nothing to explain. */
static void explain(struct resolve *x, const struct connect_report *report)
{
    struct op *op = x->op;

    if (op->error == ERR_SUCCESS || op->error == ERR_ACCESS_DENIED || op->text ||
        op->error == ERR_OPERATION_ABORTED || op->error == ERR_CONNECTION_ABORTED)
        return;
    connect_report_write_reason(report, op->error, x->text);
    if (x->text[0])
        op->text = x->text;
}

static void resolve_stop(struct op *op)
{
    struct resolve *x = op->resolve;
    struct connect_report report;

    stop_lookups(x);
    if (op->error == ERR_ACCESS_DENIED)
        op->session->worker->stats.resolves_denied++;
    connect_report_init(&report);
    memcpy(report.lookups, x->lookups, sizeof(x->lookups));
    explain(x, &report);
    session_audit_resolved(op->session, &x->audit, x->host.name, op->error, x->reason, &report);
}

static void resolve_cleanup(struct op *op)
{
    struct resolve *x = op->resolve;

    audit_cancel(x->audit.record);
    quota_uncharge(x->quota, QUOTA_MEMORY, sizeof(*x));
    op->resolve = mem_free(x);
}

static void resolve_fill(struct op *op, struct reply *reply, const void **payload,
                         uint32_t *payload_len)
{
    (void)reply;
    *payload = op->resolve->answer;
    *payload_len = (uint32_t)op->resolve->answer_len;
}

/* ---- the question ---- */

static int start_lookup(struct resolve *x, uint32_t family, int i)
{
    static const int families[] = {AF_INET, AF_INET6};
    static const resolver_fn done[] = {on_resolved_v4, on_resolved_v6};
    struct session *s = x->op->session;

    if (family != FAMILY_ANY && family != (i == 0 ? FAMILY_INET : FAMILY_INET6))
        return 0;
    static_assert(2 * RESOLVER_ADDRESSES_MAX <= CODEC_ADDRESSES_MAX, "all fit into an answer");
    x->waits_for[i] = x->queries[i].keeps = true;
    x->began = time_now_ns();
    return resolver_start(s->worker->resolver, s->quota, &x->queries[i], x->host.name, families[i],
                          done[i]);
}

static void start_lookups(struct resolve *x, uint32_t family)
{
    int r = start_lookup(x, family, 1);

    if (r == 0)
        r = start_lookup(x, family, 0);
    if (r == -ENOBUFS)
        x->op->text = "too many names are being resolved";
    if (r < 0)
        fail(x, asock_error_from_errno(r));
}

/* The host is an address: it has been judged, and no query is needed. */
static void take_address(struct resolve *x, uint32_t family)
{
    bool is_inet6 = x->host.address.any.sa_family == AF_INET6;

    if (family != FAMILY_ANY && family != (is_inet6 ? FAMILY_INET6 : FAMILY_INET)) {
        fail(x, ERR_ADDRESS_FAMILY_NOT_SUPPORTED);
        return;
    }
    if (host_find_zone(&x->host) < 0) {
        x->op->text = "there is no such interface";
        fail(x, ERR_INVALID_ARGUMENT);
        return;
    }
    memcpy(&x->addresses[0], &x->host.address, sizeof(x->host.address));
    x->count = 1;
    tell(x);
}

static void judge_name(struct resolve *x)
{
    bool is_address = x->host.kind == HOST_ADDRESS;
    enum verdict verdict = judge(x, is_address ? &x->host.address.any : NULL);

    if (verdict == UNDECIDED)
        return;
    x->is_admitted = true;
    list_remove(&x->op->node);
    list_append(&x->op->session->resolves, &x->op->node);
    if (verdict == DENIED)
        fail(x, ERR_ACCESS_DENIED);
    else if (is_address)
        take_address(x, x->family);
    else
        start_lookups(x, x->family);
}

static int resolve_step(struct op *op)
{
    if (op->resolve->is_admitted)
        judge_addresses(op->resolve);
    else
        judge_name(op->resolve);
    return 1;
}

static const struct op_class resolve_class = {
    .name = "resolve",
    .step = resolve_step,
    .stop = resolve_stop,
    .cleanup = resolve_cleanup,
    .fill = resolve_fill,
};

static void begin(struct resolve *x)
{
    if (session_audit_begin(x->op->session, &x->audit, x->host.name)) {
        judge_later(x);
        return;
    }
    snprintf(x->reason, sizeof(x->reason),
             "the audit is unavailable, and the policy requires a record");
    fail(x, ERR_ACCESS_DENIED);
}

static int check(struct op *op, const struct request *r, struct host *ret)
{
    const char *why = NULL;

    if (r->resolve.malformed)
        why = r->resolve.malformed;
    else if (!r->resolve.host || host_parse(r->resolve.host, ret) < 0)
        why = "neither a host name nor an address";
    else if (r->resolve.family > FAMILY_INET6)
        why = "there is no such address family";
    else if (r->socket != 0)
        why = "RESOLVE takes no socket";
    op->text = why;
    return why ? ERR_INVALID_ARGUMENT : 0;
}

static struct resolve *resolve_new(struct quota *quota)
{
    struct resolve *x;

    if (quota_charge(quota, QUOTA_MEMORY, sizeof(*x)) < 0)
        return NULL;
    x = mem_zalloc(1, sizeof(*x));
    if (!x) {
        quota_uncharge(quota, QUOTA_MEMORY, sizeof(*x));
        return NULL;
    }
    x->quota = quota;
    return x;
}

static void queue(struct op *op, struct resolve *x, const struct host *host, uint32_t family)
{
    struct session *s = op->session;

    x->op = op;
    x->host = *host;
    x->family = family;
    op->resolve = x;
    op->class = &resolve_class;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    list_append(&s->resolves, &op->node);
}

int verb_resolve(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    struct resolve *x;
    struct host host;
    int err = check(op, r, &host);

    if (err != 0)
        return err;
    x = resolve_new(s->quota);
    if (!x) {
        op->text = "too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    s->worker->stats.resolves++;
    queue(op, x, &host, r->resolve.family);
    if (r->timeout_ms > 0)
        op_set_deadline(s->worker, op, r->timeout_ms, complete_timed_out);
    begin(x);
    return 0;
}

/* ---- from one process to the next ---- */

const char *resolve_save(const struct op *op, uint32_t *ret_family)
{
    *ret_family = op->resolve->family;
    return op->resolve->host.name;
}

int resolve_restore(struct op *op, const char *name, uint32_t family)
{
    struct host host;
    struct resolve *x;

    if (host_parse(name, &host) < 0 || family > FAMILY_INET6)
        return -EINVAL;
    x = resolve_new(op->session->quota);
    if (!x)
        return -ENOMEM;
    queue(op, x, &host, family);
    return 0;
}

void resolve_resume(struct op *op)
{
    begin(op->resolve);
}

void resolve_leave(struct op *op)
{
    struct sock_audit *audit = &op->resolve->audit;

    sock_audit_drop(audit);
    audit->is_watched = false;
}
