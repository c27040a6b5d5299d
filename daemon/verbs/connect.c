/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CONNECT.
 * Happy path: a name is resolved -> its addresses are tried (happy_eyeballs.h), and each is judged
 * before its attempt -> the data of the request is sent first, and the op completes when the kernel
 * has all of it -> the ops that are queued behind it run.
 * Failures: connected or connecting already (the connection is not affected); policy; the audit
 * must record it and cannot; the resolver; every address fails (the last real error); no
 * descriptor; cancel, deadline, close. Nothing stays behind, and the ops that are queued behind it
 * end OPERATION_ABORTED.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "daemon/core/probes.h"
#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/names/host.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/learn.h"
#include "daemon/core/quota.h"
#include "daemon/net/happy_eyeballs.h"
#include "daemon/names/resolver.h"
#include "daemon/names/services.h"
#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_policy.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_lend.h"
#include "daemon/verbs/connect.h"
#include "daemon/verbs/verbs.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

struct policy_question connect_question(const struct connect *c, const struct sockaddr *addr)
{
    return (struct policy_question){
        .protocol = c->op->sock->more->dgram ? POLICY_UDP : POLICY_TCP,
        .host = c->is_by_name ? c->host.name : NULL,
        .port = c->port,
        .traffic_class = sock_traffic_class(c->op->sock),
        .addr = addr,
    };
}

/*
 * Judges an address. A connect that insists on lending is denied if the rules allow the address,
 * but not lending.
 */
static struct policy_answer ask(struct connect *c, const struct policy_question *question)
{
    struct policy_answer answer = policy_judge(session_view(c->op->session), question);
    bool must_lend = c->lend == LEND_HELD || c->lend == LEND_GIVEN;

    if (must_lend && answer.is_allowed && question->addr &&
        !sock_may_lend(c->op->sock, c->lend == LEND_GIVEN, &answer))
        sock_deny_lending(c->op->sock, &answer);
    sock_audit_judged(&c->audit, &answer, question->addr);
    return answer;
}

/* May the name be asked for? */
static struct policy_answer ask_name(struct connect *c)
{
    struct policy_question question = connect_question(c, NULL);

    return ask(c, &question);
}

static void keep_reason(struct connect *c, const struct policy_answer *answer)
{
    snprintf(c->reason, sizeof(c->reason), "%s", answer->reason ? answer->reason : "");
}

static void fail(struct op *op, uint32_t error)
{
    struct connect *c = op->send.connect;

    c->error = error;
    if (error == ERR_ACCESS_DENIED)
        op->text = c->reason[0] ? c->reason : NULL;
    complete(op, error);
}

/* ---- attempts ---- */

static struct connect *connect_of(struct happy_eyeballs *he)
{
    return container_of(he, struct connect, he);
}

static uint32_t judge(struct happy_eyeballs *he, const struct sockaddr *addr)
{
    struct connect *c = connect_of(he);
    struct policy_question question = connect_question(c, addr);
    struct policy_answer answer = ask(c, &question);

    if (answer.is_learned)
        learn_note(he->worker->learn, session_identity(c->op->session),
                   policy_nat64(he->worker->policy), &question, &answer);
    if (answer.is_allowed)
        return ERR_SUCCESS;
    keep_reason(c, &answer);
    return ERR_ACCESS_DENIED;
}

/*
 * A RESTRICT or a reload judges connects in progress again, in steps. A connect whose step has not
 * come yet is judged here, so that none succeeds that is denied now.
 */
static uint32_t judge_again(struct happy_eyeballs *he, const struct sockaddr *addr)
{
    struct connect *c = connect_of(he);
    struct policy_question question = connect_question(c, addr);
    struct policy_answer answer = {.is_allowed = true};

    if (c->is_by_name)
        answer = ask_name(c);
    if (answer.is_allowed)
        answer = ask(c, &question);
    if (answer.is_allowed)
        return ERR_SUCCESS;
    keep_reason(c, &answer);
    return ERR_ACCESS_DENIED;
}

static int prepare_socket(struct happy_eyeballs *he, struct netsock *ns,
                          const struct sockaddr *addr)
{
    const struct op *op = connect_of(he)->op;
    int r = sock_may_have_options(op->sock) ? 0 : -EACCES;

    if (r == 0)
        r = netsock_apply_egress(ns, &policy_view_settings(session_view(op->session))->egress,
                                 addr);
    if (r == 0)
        r = sock_fix_buffers(op->sock, ns);
    if (r == 0 && op->send.total > 0)
        netsock_expect_data(ns);
    return r == 0 ? netsock_apply_options(ns, op->sock->more->options) : r;
}

static uint64_t age(const struct connect *c)
{
    return time_now_ns() - c->began;
}

static void stop_lookups(struct connect *c)
{
    connect_note_unanswered(c);
    resolver_cancel(&c->queries[0]);
    resolver_cancel(&c->queries[1]);
}

static void take_connection(struct connect *c, int fd)
{
    struct op *op = c->op;
    struct sock *sock = op->sock;
    bool lends = connect_does_lend(c);
    struct connect_report report;
    uint64_t took;
    int r = 0;

    stop_lookups(c);
    if (sock->more->dgram)
        r = dgram_take_connection(sock, fd, &c->he.won.any);
    else
        netsock_adopt(&sock->ns, fd, c->he.is_won_polled);
    if (r < 0) {
        fail(op, asock_error_from_errno(r));
        return;
    }
    netsock_local(&sock->ns, &c->local);
    netsock_endpoint(&c->he.won.any, &c->remote);
    c->is_up = true;
    sock->connect = NULL;
    if (lends)
        c->audit.lent = c->lend == LEND_GIVEN ? "given" : "held";
    took = age(c);
    histogram_add(&sock->worker->stats.connects, took);
    PROBE3(connected, sock->session->id, (uint64_t)sock->serial, took);
    connect_report_end(c, ERR_SUCCESS, &report);
    sock_audit_connected(sock, &c->audit, &c->remote, &report);
    sock_connect_succeeded(sock);
    if (lends) {
        connect_lend(c);
        return;
    }
    c->lending = lending_free(c->lending);
    /* Shutdowns of the receiving side waited for the connection only, not for the data. */
    if (op->send.total > 0)
        ring_insert_before(&sock->sends, shutdown_receives_end(sock), &op->node);
    else
        complete(op, ERR_SUCCESS);
    send_run(sock);
    sock_run_receives(sock);
}

static void won(struct happy_eyeballs *he, int fd)
{
    take_connection(connect_of(he), fd);
}

static void lost(struct happy_eyeballs *he, uint32_t error)
{
    fail(connect_of(he)->op, error);
}

/* Whatever has happened: what follows takes a step of the session, which pays for it. */
static void wake(struct happy_eyeballs *he)
{
    struct sock *sock = connect_of(he)->op->sock;

    sock->events |= SOCK_CONNECT_GOES_ON;
    session_ready(sock->session, sock);
}

static const struct happy_eyeballs_hooks happy_eyeballs_hooks = {judge, judge_again, prepare_socket,
                                                                 won,   lost,        wake};

static void go_on(struct op *op);

/* Once connected, the op is a send. */
static int connect_step(struct op *op)
{
    struct connect *c = op->send.connect;

    if (c->is_up)
        return send_step(op);
    if (c->waits)
        go_on(op);
    else
        happy_eyeballs_run(&c->he);
    return 1;
}

/*
 * Was the connect denied by policy? The kernel has the same error for its own denials, but those
 * are failed attempts. A connect that is cancelled, or whose client goes, before the denial is
 * reported was denied all the same.
 */
static void tell_failed(struct op *op, bool is_denied)
{
    struct connect *c = op->send.connect;
    struct connect_report report;

    if (is_denied || op->error == ERR_ACCESS_DENIED)
        op->session->worker->stats.connects_denied++;
    if (is_denied || op->error == ERR_ACCESS_DENIED)
        PROBE3(denied, op->session->id, (uint64_t)op->sock->serial, c->reason);
    connect_report_end(c, is_denied ? (uint32_t)ERR_ACCESS_DENIED : op->error, &report);
    if (is_denied || (op->error == ERR_ACCESS_DENIED && c->audit.is_denied)) {
        sock_audit_denied(op->sock, &c->audit, c->reason, &report);
    } else {
        connect_explain(op, &report);
        sock_audit_failed(op->sock, &c->audit, op->error, &report);
    }
}

static void connect_stop(struct op *op)
{
    struct connect *c = op->send.connect;
    bool is_denied = !c->is_up && happy_eyeballs_is_denied(&c->he);

    if (c->is_up)
        return;
    c->lending = lending_free(c->lending);
    stop_lookups(c);
    happy_eyeballs_stop(&c->he);
    if (c->audit.is_open)
        tell_failed(op, is_denied);
}

static void connect_cleanup(struct op *op)
{
    audit_cancel(op->send.connect->audit.record);
    lending_free(op->send.connect->lending);
    happy_eyeballs_deinit(&op->send.connect->he);
    connect_free(op->session, op->send.connect);
    op->send.connect = NULL;
}

static void connect_fill(struct op *op, struct reply *reply, const void **payload,
                         uint32_t *payload_len)
{
    const struct connect *c = op->send.connect;

    (void)payload;
    (void)payload_len;
    reply->body = BODY_CONNECTED;
    memset(&reply->connected, 0, sizeof(reply->connected));
    reply->connected.local = c->local;
    reply->connected.remote = c->remote;
    if (c->is_by_name && !c->is_up)
        reply->connected.connect_error = c->error;
    if (lending_fd_pass(c->lending))
        reply->descriptors = 1;
}

static const struct op_class connect_class = {
    .name = "connect",
    .step = connect_step,
    .stop = connect_stop,
    .cleanup = connect_cleanup,
    .fill = connect_fill,
    .judge = connect_judge_again,
    .take_fd_pass = connect_take_fd_pass,
    .lending = connect_lending,
};

/* ---- addresses ---- */

static void on_resolved(struct connect *c, int family, const struct resolver_result *result)
{
    union resolver_address addresses[RESOLVER_ADDRESSES_MAX];

    connect_note_answer(c, family == AF_INET6, result);
    histogram_add(&c->op->session->worker->stats.lookups, age(c));
    for (unsigned int i = 0; result->error == ERR_SUCCESS && i < result->count; i++) {
        addresses[i] = result->addresses[i];
        asock_sockaddr_set_port(&addresses[i].any, c->port);
    }
    if (result->error == ERR_SUCCESS)
        happy_eyeballs_add(&c->he, addresses, result->count);
    happy_eyeballs_family_done(&c->he, family, result->error);
}

static void on_resolved_v4(struct resolver_query *query, const struct resolver_result *result)
{
    on_resolved(container_of(query, struct connect, queries[0]), AF_INET, result);
}

static void on_resolved_v6(struct resolver_query *query, const struct resolver_result *result)
{
    on_resolved(container_of(query, struct connect, queries[1]), AF_INET6, result);
}

static int family_of(const struct sock *sock)
{
    static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};

    return families[sock->family];
}

/*
 * Names of services and interfaces are looked up only for clients that may connect to something.
 * Services are those of TCP.
 */
static int find_port(struct connect *c, const char *service)
{
    struct session *s = c->op->session;
    int r = services_port(NULL, service, &c->port);

    if (r != -ENOENT || c->op->sock->more->dgram)
        return r;
    c->is_unknown_port = policy_denies_all(session_view(s));
    return c->is_unknown_port ? 0 : services_port(s->worker->services, service, &c->port);
}

/*
 * A denied address needs no interface: it is judged again before its attempt, which reports the
 * denial.
 */
static int find_zone(struct connect *c)
{
    struct policy_question question = connect_question(c, &c->host.address.any);

    if (!c->host.zone[0] || !policy_judge(session_view(c->op->session), &question).is_allowed)
        return 0;
    return host_find_zone(&c->host);
}

static int prepare_host(struct connect *c, const struct sock *sock, const struct request *r)
{
    const char *service = r->connect.service ? r->connect.service : "";
    int err;

    if (host_parse(r->connect.host, &c->host) < 0)
        return ERR_INVALID_ARGUMENT;
    err = find_port(c, service);
    if (err == -ENOENT)
        c->op->text = services_problem(c->op->session->worker->services);
    if (err < 0)
        return ERR_INVALID_ARGUMENT;
    if (c->host.kind == HOST_ADDRESS && find_zone(c) < 0)
        return ERR_INVALID_ARGUMENT;
    if (c->host.kind == HOST_ADDRESS)
        return connect_take_address(c, sock, &c->host.address, sizeof(c->host.address));
    c->is_by_name = true;
    return 0;
}

static int prepare(struct connect *c, const struct sock *sock, const struct request *r)
{
    bool has_endpoint = r->connect.endpoint.address_len != 0 || r->connect.endpoint.malformed;

    if (has_endpoint == (r->connect.host != NULL) ||
        (has_endpoint ? r->connect.service != NULL : r->connect.others.count > 0))
        return ERR_INVALID_ARGUMENT;
    if (!has_endpoint)
        return prepare_host(c, sock, r);
    return r->connect.others.count > 0
               ? connect_to_list(c, sock, &r->connect.endpoint, &r->connect.others)
               : connect_to_endpoint(c, sock, &r->connect.endpoint);
}

/* A and AAAA are queried separately, at the same time (RFC 8305, section 3). */
static int start_lookup(struct op *op, int family)
{
    struct connect *c = op->send.connect;
    struct resolver *resolver = op->session->worker->resolver;
    struct quota *quota = op->session->quota;

    if (family_of(op->sock) != AF_UNSPEC && family_of(op->sock) != family)
        return 0;
    happy_eyeballs_expect(&c->he, family);
    if (family == AF_INET)
        return resolver_start(resolver, quota, &c->queries[0], c->host.name, family,
                              on_resolved_v4);
    return resolver_start(resolver, quota, &c->queries[1], c->host.name, family, on_resolved_v6);
}

static void start_resolving(struct op *op)
{
    struct policy_answer answer = ask_name(op->send.connect);
    int r;

    if (!answer.is_allowed) {
        keep_reason(op->send.connect, &answer);
        fail(op, ERR_ACCESS_DENIED);
        return;
    }
    r = start_lookup(op, AF_INET6);
    if (r == 0)
        r = start_lookup(op, AF_INET);
    if (r == -ENOBUFS)
        op->text = "too many names are being resolved";
    if (r < 0)
        fail(op, asock_error_from_errno(r));
}

static void start_racing(struct connect *c)
{
    int fd = happy_eyeballs_go(&c->he);

    if (fd >= 0)
        take_connection(c, fd);
}

/* Nothing begins before there is room for the descriptor that it may come to. */
static void go_on(struct op *op)
{
    struct connect *c = op->send.connect;

    c->waits = c->lending && lending_waits(c->lending);
    if (c->waits)
        return;
    happy_eyeballs_resume(&c->he); /* what another process has begun */
    if (c->is_by_name)
        start_resolving(op);
    else
        start_racing(c);
}

bool connect_judge_again(struct op *op)
{
    struct connect *c = op->send.connect;
    struct policy_answer answer = {.is_allowed = true};

    if (c->is_by_name)
        answer = ask_name(c);
    if (answer.is_allowed)
        return happy_eyeballs_judge_again(&c->he);
    keep_reason(c, &answer);
    fail(op, ERR_ACCESS_DENIED);
    return true;
}

int connect_set_option(struct op *op, uint32_t option, int32_t value)
{
    return happy_eyeballs_set_option(&op->send.connect->he, option, value);
}

static void deny_unasked(struct op *op, const char *reason)
{
    const struct policy_answer answer = {.is_allowed = false, .reason = reason};
    struct connect *c = op->send.connect;

    sock_audit_judged(&c->audit, &answer,
                      c->host.kind == HOST_ADDRESS ? &c->host.address.any : NULL);
    keep_reason(c, &answer);
    fail(op, ERR_ACCESS_DENIED);
}

static int check_connect(struct op *op, const struct call *call)
{
    const struct sock *sock = op->sock;

    if (sock->more->bound) {
        op->text = "a bound socket can listen but not connect";
        return ERR_OPERATION_NOT_SUPPORTED;
    }
    if (sock->more->dgram && call->payload_len > 0)
        return ERR_INVALID_ARGUMENT;
    if (sock->state == SOCK_CONNECTING)
        return ERR_ALREADY_IN_PROGRESS;
    return sock->state == SOCK_CONNECTED ? ERR_IS_CONNECTED : 0;
}

/* A datagram socket that has been used has been charged for its buffers already. */
static int charge_buffers(struct sock *sock)
{
    return sock->more->dgram && sock->ns.fd >= 0 ? 0 : sock_charge_buffers(sock);
}

/* A socket that failed to connect may try again: resets what the last attempt left. */
static void begin(struct op *op, uint32_t timeout_ms)
{
    struct sock *sock = op->sock;

    sock_move(sock, SOCK_CONNECTING);
    sock->send_side = sock->receive_side = SIDE_OPEN;
    sock->is_incomplete = sock->has_seen_end = false;
    sock->lost_error = ERR_SUCCESS;
    sock->connect_report = connect_report_drop(sock->connect_report);
    sock->connect = op;
    op->has_begun = true;
    sock_hold_op(sock, op, timeout_ms);
}

static bool may_connect_now(struct session *s)
{
    uint32_t rate = s->limits.connects_per_second;

    return rate == 0 || quota_may_connect(s->quota, rate, s->worker->clock());
}

void connect_init(struct connect *c, struct op *op)
{
    c->op = op;
    c->began = time_now_ns();
    happy_eyeballs_init(&c->he, op->session->worker, op->session->quota, &happy_eyeballs_hooks);
    c->he.is_datagram = op->sock->more->dgram != NULL;
    op->send.connect = c;
    op->class = &connect_class;
}

void connect_start(struct op *op)
{
    struct connect *c = op->send.connect;

    if (!sock_audit_begin(op->sock, &c->audit))
        deny_unasked(op, "the audit is unavailable, and the policy requires a record");
    else if (c->is_unknown_port)
        deny_unasked(op, policy_view_unmatched(op->session->view));
    else
        go_on(op);
}

int verb_connect(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    struct connect *c;
    int err = check_connect(op, call);

    if (err != 0)
        return err;
    if (r->connect.malformed) {
        op->text = r->connect.malformed;
        return ERR_INVALID_ARGUMENT;
    }
    if (!may_connect_now(op->session)) {
        op->text = "too many connect requests within a second";
        return ERR_NO_BUFFER_SPACE;
    }
    c = connect_new(op->session);
    if (!c) {
        op->text = "too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    connect_init(c, op);
    op->send.total = call->payload_len;
    err = connect_prepare_lending(op, call);
    if (err == 0)
        err = prepare(c, sock, r);
    if (err != 0)
        return err;
    if (op_append(sock->worker, op, call->payload, call->payload_len) < 0 ||
        sock_set_destination(sock, c->is_by_name ? c->host.name : NULL, c->port) < 0)
        return ERR_NO_BUFFER_SPACE;
    if (charge_buffers(sock) < 0) {
        op->text = SOCK_BUFFERS_TEXT;
        return ERR_NO_BUFFER_SPACE;
    }
    begin(op, r->timeout_ms);
    connect_start(op);
    return 0;
}
