/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/dgram.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"
#include "daemon/net/udp.h"
#include "daemon/policy/learn.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"
#include "proto/errors.h"

_Static_assert(sizeof(struct dgram) < MEMORY_DATAGRAMS, "a socket's grant has room for it");

int dgram_new(struct sock *sock)
{
    struct sock_more *more = sock_own_more(sock);

    if (more)
        more->dgram = mem_zalloc(1, sizeof(*more->dgram));
    if (!sock->more->dgram)
        return -ENOMEM;
    sock->more->dgram->burst = DGRAM_BURST;
    sock->more->dgram->family = sock->family;
    return 0;
}

void dgram_free(struct sock *sock)
{
    if (!sock->more->dgram)
        return;
    dgram_unbound(sock);
    sock_own_more(sock)->dgram = mem_free(sock->more->dgram);
}

int dgram_new_answers(struct sock *sock)
{
    if (quota_charge(sock_quota(sock), QUOTA_MEMORY, sizeof(*sock->more->dgram->answers)) < 0)
        return -ENOBUFS;
    sock->more->dgram->answers = mem_zalloc(1, sizeof(*sock->more->dgram->answers));
    if (!sock->more->dgram->answers) {
        quota_uncharge(sock_quota(sock), QUOTA_MEMORY, sizeof(*sock->more->dgram->answers));
        return -ENOMEM;
    }
    memcpy(sock->more->dgram->answers->keys, sock->worker->token_keys,
           sizeof(sock->worker->token_keys));
    return 0;
}

int dgram_bound(struct sock *sock)
{
    int r = sock_charge_buffers(sock);

    return r < 0 ? r : dgram_new_answers(sock);
}

void dgram_unbound(struct sock *sock)
{
    if (!sock->more->dgram || !sock->more->dgram->answers)
        return;
    quota_uncharge(sock_quota(sock), QUOTA_MEMORY, sizeof(*sock->more->dgram->answers));
    sock->more->dgram->answers = mem_free(sock->more->dgram->answers);
}

/* ---- the kernel's socket ---- */

static int prepare(struct sock *sock, const struct sockaddr *to)
{
    const struct policy_settings *settings = policy_view_settings(session_view(sock->session));
    int r = sock_may_have_options(sock) ? 0 : -EACCES;

    if (r == 0)
        r = netsock_apply_egress(&sock->ns, &settings->egress, to);
    if (r == 0)
        r = sock_fix_buffers(sock, &sock->ns);
    return r == 0 ? netsock_apply_options(&sock->ns, sock->more->options) : r;
}

int dgram_open(struct sock *sock, const struct sockaddr *to)
{
    int r;

    if (sock->ns.fd >= 0)
        return 0;
    r = sock_charge_buffers(sock);
    if (r < 0)
        return r;
    r = udp_open(&sock->ns, sock->worker, to->sa_family);
    if (r == 0)
        r = prepare(sock, to);
    if (r == 0) {
        sock->family = to->sa_family == AF_INET6 ? FAMILY_INET6 : FAMILY_INET;
        /* Receives that came before it have waited for it. */
        sock->wants_read = !ring_is_empty(&sock->receives);
        sock_update_watch(sock);
        return 0;
    }
    netsock_close(&sock->ns, sock->worker);
    sock_uncharge_buffers(sock);
    return r;
}

/*
 * The kernel gives a socket its port before its peer. What a stranger has sent to it in between is
 * in the queue.
 */
static bool hears_peer_alone(struct sock *sock)
{
    return udp_next_length(&sock->ns) == -EAGAIN;
}

/* The one that has sent already keeps its port, and what has come. */
static int connect_own(struct sock *sock, int fd, const struct sockaddr *addr)
{
    socklen_t len = addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                : sizeof(struct sockaddr_in);
    struct netsock other;

    netsock_init(&other, NULL, NULL);
    netsock_adopt(&other, fd, false);
    netsock_close(&other, sock->worker);
    return netsock_connect(&sock->ns, addr, len);
}

int dgram_take_connection(struct sock *sock, int fd, const struct sockaddr *addr)
{
    bool is_new = sock->ns.fd < 0;
    int r = 0;

    if (is_new)
        netsock_adopt(&sock->ns, fd, false);
    else
        r = connect_own(sock, fd, addr);
    if (r < 0)
        return r;
    udp_report_errors(&sock->ns);
    netsock_endpoint(addr, &sock->remote);
    if (netsock_remote(&sock->ns, &sock->more->dgram->peer) < 0)
        sock->more->dgram->peer = sock->remote;
    sock->more->dgram->hears_peer_alone = is_new && hears_peer_alone(sock);
    dgram_forget(sock); /* its name may allow what its address alone did not */
    sock->family = addr->sa_family == AF_INET6 ? FAMILY_INET6 : FAMILY_INET;
    return 0;
}

static void end_sends_behind(struct sock *sock)
{
    ring_for_each_safe (&sock->sends, it) {
        struct op *op = container_of(it, struct op, node);

        if (op->verb != VERB_SEND || op->send.datagram->is_behind)
            complete(op, ERR_OPERATION_ABORTED);
    }
}

/*
 * What waited for a peer ends; what was in front of it goes on, and receives do where something may
 * come.
 */
void dgram_connect_failed(struct sock *sock)
{
    bool was_used = sock->ns.fd >= 0;

    if (sock->state == SOCK_CONNECTING)
        sock_move(sock, SOCK_OPEN);
    sock_set_destination(sock, NULL, 0);
    end_sends_behind(sock);
    if (!was_used)
        sock_uncharge_buffers(sock);
    sock->wants_write = was_used && !ring_is_empty(&sock->sends);
    /* Receives wait as before, for the first send; what came meanwhile has waited. */
    sock->wants_read = was_used && !ring_is_empty(&sock->receives);
    sock_update_watch(sock);
}

/* ---- policy ---- */

/* Of reloads and of restrictions that its session is subject to. Both only become more. */
static uint64_t count_changes(const struct sock *sock)
{
    return sock->worker->policy_changes + policy_view_restrictions(sock->session->view);
}

static bool holds(const struct sock *sock, const struct dgram_verdict *verdict)
{
    return sock->worker->now < verdict->until && verdict->policy_changes == count_changes(sock);
}

/* What it says holds from now on. */
static void decide(const struct sock *sock, struct dgram_verdict *verdict, bool is_allowed)
{
    verdict->is_allowed = is_allowed;
    verdict->until = sock->worker->now + DGRAM_VERDICT_MS;
    verdict->policy_changes = count_changes(sock);
}

/* A bound one may hear whom it may not send to. */
static struct dgram_verdict *find(struct dgram *dgram, const struct endpoint *endpoint,
                                  bool is_destination)
{
    bool is_apart = dgram->answers != NULL;
    unsigned int first = is_apart && !is_destination ? DGRAM_DESTINATIONS : 0;
    unsigned int end = is_apart && is_destination ? DGRAM_DESTINATIONS : DGRAM_VERDICTS;

    for (unsigned int i = first; i < end; i++)
        if (memcmp(&dgram->verdicts[i].endpoint, endpoint, sizeof(*endpoint)) == 0)
            return &dgram->verdicts[i];
    return NULL;
}

/*
 * The one that has been there for longest gives way: of destinations, or of addresses that
 * something came from, for strangers must not push out whom the client talks to.
 */
static struct dgram_verdict *place_for(struct dgram *dgram, const struct endpoint *endpoint,
                                       bool is_destination)
{
    struct dgram_verdict *sources = dgram->verdicts + DGRAM_DESTINATIONS;
    struct dgram_verdict *verdict = find(dgram, endpoint, is_destination);

    if (verdict && (!is_destination || verdict < sources))
        return verdict;
    if (verdict)
        *verdict = (struct dgram_verdict){.until = 0};
    verdict = is_destination
                  ? &dgram->verdicts[dgram->next_destination++ % DGRAM_DESTINATIONS]
                  : &sources[dgram->next_source++ % (DGRAM_VERDICTS - DGRAM_DESTINATIONS)];
    *verdict = (struct dgram_verdict){.endpoint = *endpoint};
    return verdict;
}

void dgram_forget(struct sock *sock)
{
    if (sock->more->dgram)
        for (unsigned int i = 0; i < DGRAM_VERDICTS; i++)
            sock->more->dgram->verdicts[i].until = 0;
}

static bool is_peer(const struct sock *sock, const struct endpoint *endpoint)
{
    return sock->state == SOCK_CONNECTED &&
           memcmp(&sock->more->dgram->peer, endpoint, sizeof(*endpoint)) == 0;
}

/* Of the peer the name too, by which it was connected. */
static struct policy_answer judge(const struct sock *sock, const struct endpoint *endpoint,
                                  const struct sockaddr *addr, bool is_destination)
{
    struct session *s = sock->session;
    struct policy_question question = {
        .protocol = POLICY_UDP,
        .host = is_peer(sock, endpoint) ? sock->host : NULL,
        .port = endpoint->port,
        .traffic_class = sock_traffic_class(sock),
    };
    struct policy_answer answer = {.is_allowed = true};

    if (question.host)
        answer = policy_judge(session_view(s), &question);
    question.addr = addr;
    if (answer.is_allowed)
        answer = policy_judge(session_view(s), &question);
    if (answer.is_learned && is_destination)
        learn_note(s->worker->learn, session_identity(s), policy_nat64(s->worker->policy),
                   &question, &answer);
    return answer;
}

/* Denials are recorded each time: the audit sums them up. Of what is allowed, only what is new. */
static void record(struct sock *sock, const struct dgram_verdict *verdict, struct sock_audit *audit,
                   const struct policy_answer *answer, const struct sockaddr *addr)
{
    sock_audit_judged(audit, answer, addr);
    if (!answer->is_allowed) {
        sock->worker->stats.connects_denied++;
        sock_audit_denied(sock, audit, answer->reason, NULL);
    } else if (audit->is_open) {
        struct endpoint peer = sock->remote;

        sock_audit_connected(sock, audit, &verdict->endpoint, NULL);
        if (sock->state == SOCK_CONNECTED)
            sock->remote = peer;
    }
}

static uint32_t denied(const char *why, char reason[static POLICY_REASON_MAX + 1])
{
    snprintf(reason, POLICY_REASON_MAX + 1, "%s", why ? why : "");
    return ERR_ACCESS_DENIED;
}

/* Judges a destination that is new, or whose denial has to be reported again. */
static uint32_t judge_destination(struct sock *sock, const struct endpoint *to, bool is_new,
                                  char reason[static POLICY_REASON_MAX + 1])
{
    struct session *s = sock->session;
    struct sock_audit audit = {.is_on = false};
    struct dgram_verdict *verdict;
    struct sockaddr_storage addr;
    struct policy_answer answer;
    socklen_t len;

    if (is_new && s->limits.connects_per_second != 0 &&
        !quota_may_connect(s->quota, s->limits.connects_per_second, s->worker->clock())) {
        snprintf(reason, POLICY_REASON_MAX + 1, "too many new destinations within a second");
        return ERR_NO_BUFFER_SPACE;
    }
    netsock_sockaddr(to, &addr, &len);
    if (sock->state != SOCK_CONNECTED)
        sock->port = to->port;
    answer = judge(sock, to, (const struct sockaddr *)&addr, true);
    if (answer.is_allowed && !dgram_has_source(sock, to))
        answer = (struct policy_answer){.reason = DGRAM_SOURCE_TEXT};
    if (is_new || !answer.is_allowed) {
        if (!sock_audit_begin(sock, &audit))
            answer = (struct policy_answer){
                .reason = "the audit is unavailable, and the policy requires a record"};
    }
    verdict = place_for(sock->more->dgram, to, true);
    record(sock, verdict, &audit, &answer, (const struct sockaddr *)&addr);
    decide(sock, verdict, answer.is_allowed);
    verdict->is_sent_to = answer.is_allowed;
    return answer.is_allowed ? (uint32_t)ERR_SUCCESS : denied(answer.reason, reason);
}

void dgram_has_sent(struct sock *sock, const struct endpoint *to)
{
    place_for(sock->more->dgram, to, true)->is_sent_to = true;
}

bool dgram_is_allowed(const struct sock *sock, const struct endpoint *to)
{
    struct sockaddr_storage addr;
    struct policy_answer answer;
    socklen_t len;

    if (netsock_sockaddr(to, &addr, &len) != 0)
        return false;
    answer = judge(sock, to, (const struct sockaddr *)&addr, false);
    return answer.is_allowed && !answer.is_learned && dgram_has_source(sock, to);
}

/* ---- who may be heard, and answered ---- */

/*
 * By the daemon's random keys: a sender cannot choose ports that push another peer out of its row.
 */
static struct dgram_row *row_of(const struct sock *sock, const struct endpoint *endpoint)
{
    const uint64_t *keys = sock->more->dgram->answers->keys;
    uint64_t words[3] = {0, 0, endpoint->port}, hash = keys[0];

    memcpy(words, endpoint->address, endpoint->address_len);
    for (unsigned int i = 0; i < 3; i++) {
        hash = (hash ^ words[i]) * (keys[1] | 1);
        hash ^= hash >> 32;
    }
    return &sock->more->dgram->answers->rows[hash % DGRAM_ANSWER_ROWS];
}

bool dgram_has_heard(const struct sock *sock, const struct endpoint *from)
{
    const struct dgram_row *row = sock->more->dgram->answers ? row_of(sock, from) : NULL;

    for (unsigned int i = 0; row && i < DGRAM_ANSWER_WAYS; i++)
        if (memcmp(&row->at[i], from, sizeof(*from)) == 0)
            return true;
    return false;
}

void dgram_remember(struct sock *sock, const struct endpoint *from)
{
    struct dgram_row *row = row_of(sock, from);

    if (!dgram_has_heard(sock, from))
        row->at[row->next++ % DGRAM_ANSWER_WAYS] = *from;
}

/* What learn mode alone lets pass has to be an answer. */
static bool judge_source(const struct sock *sock, const struct endpoint *from, bool is_sent_to)
{
    struct policy_answer answer;
    struct sockaddr_storage addr;
    socklen_t len;

    if (netsock_sockaddr(from, &addr, &len) != 0)
        return false;
    if (sock->more->bound && sock_bound_judge_peer(sock, (const struct sockaddr *)&addr).is_allowed)
        return true;
    answer = judge(sock, from, (const struct sockaddr *)&addr, false);
    return answer.is_allowed && (!answer.is_learned || is_sent_to);
}

static bool is_admitted(struct sock *sock, const struct endpoint *from)
{
    struct dgram_verdict *verdict = find(sock->more->dgram, from, false);

    if (!verdict || !holds(sock, verdict)) {
        const struct dgram_verdict *sent = find(sock->more->dgram, from, true);
        bool is_sent_to = (sent && sent->is_sent_to) || sock->state == SOCK_CONNECTED;
        bool is_allowed = judge_source(sock, from, is_sent_to);

        verdict = place_for(sock->more->dgram, from, false);
        decide(sock, verdict, is_allowed);
    }
    return verdict->is_allowed;
}

/* A peer was counted, and recorded, by its connect. */
static bool is_recorded(const struct sock *sock, const struct endpoint *to,
                        const struct dgram_verdict *verdict)
{
    return (verdict && verdict->is_sent_to) || is_peer(sock, to);
}

bool dgram_is_known(struct sock *sock, const struct endpoint *to)
{
    const struct dgram_verdict *verdict = find(sock->more->dgram, to, true);

    if (dgram_has_heard(sock, to) && is_admitted(sock, to))
        return true;
    return verdict && verdict->is_allowed && holds(sock, verdict) && is_recorded(sock, to, verdict);
}

uint32_t dgram_may_send(struct sock *sock, const struct endpoint *to,
                        char reason[static POLICY_REASON_MAX + 1])
{
    reason[0] = '\0';
    if (dgram_is_known(sock, to))
        return ERR_SUCCESS;
    return judge_destination(sock, to, !is_recorded(sock, to, find(sock->more->dgram, to, true)),
                             reason);
}

bool dgram_accepts(struct sock *sock, const struct endpoint *from)
{
    bool is_stranger = sock->state == SOCK_CONNECTED && !is_peer(sock, from);

    /* It was in the kernel's queue before there was a peer. */
    if (is_stranger || !is_admitted(sock, from)) {
        sock->more->dgram->refused++;
        return false;
    }
    if (sock->more->dgram->answers)
        dgram_remember(sock, from);
    return true;
}

bool dgram_accepts_all(struct sock *sock)
{
    return sock->state == SOCK_CONNECTED && sock->more->dgram->hears_peer_alone &&
           is_admitted(sock, &sock->more->dgram->peer);
}

/* ---- the two queues ---- */

void dgram_end(struct sock *sock, uint32_t error)
{
    struct op *op;

    while ((op = ring_first(&sock->sends, struct op, node)))
        complete(op, error);
    while ((op = ring_first(&sock->receives, struct op, node)))
        complete(op, error);
    dgram_unbound(sock);
    sock->more->dgram->port = 0;
}

static bool may_go_on(const struct sock *sock)
{
    return sock->state == SOCK_OPEN || sock->state == SOCK_CONNECTED || sock->state == SOCK_BOUND;
}

static bool is_spent(const struct sock *sock, unsigned int steps)
{
    return steps == TURN_SOCKET_STEPS || (steps > 0 && share_step_is_over(&sock->worker->shares));
}

/* The session's input goes on: what has not left is copied. */
static void keep_borrowed(struct sock *sock)
{
    if (!sock->more->dgram->borrows)
        return;
    sock->more->dgram->borrows = false;
    ring_for_each_safe (&sock->sends, it) {
        struct op *op = container_of(it, struct op, node);
        const uint8_t *input;

        if (op->verb != VERB_SEND)
            continue;
        input = op->send.datagram->input;
        op->send.datagram->input = NULL;
        if (input && op_append(sock->worker, op, input, (uint32_t)op->send.total) < 0)
            complete(op, ERR_NO_BUFFER_SPACE);
    }
}

void dgram_run_sends(struct sock *sock)
{
    unsigned int steps = 0;
    struct op *op;

    while (may_go_on(sock) && (op = ring_first(&sock->sends, struct op, node))) {
        if (is_spent(sock, steps++)) {
            sock->wants_write = true; /* the watcher fires in the next turn */
            break;
        }
        if (op->class->step(op) == 0)
            break;
    }
    keep_borrowed(sock);
    sock_update_watch(sock);
}

/* How many steps have found something. */
static unsigned int run_receives(struct sock *sock)
{
    unsigned int steps = 0, found = 0;
    struct op *op;

    /* One that has disconnected has no session any more. */
    if (!may_go_on(sock) || sock->session->has_ended)
        return 0;
    sock->more->dgram->is_emptied = false;
    while (may_go_on(sock) && sock->ns.fd >= 0 &&
           (op = ring_first(&sock->receives, struct op, node))) {
        if (is_spent(sock, steps++)) {
            sock->wants_read = true;
            break;
        }
        if (op->class->step(op) == 0)
            break;
        found++;
        if (sock->more->dgram->is_emptied && !ring_is_empty(&sock->receives)) {
            sock->wants_read = true;
            break;
        }
    }
    sock_update_watch(sock);
    return found;
}

void dgram_run_receives(struct sock *sock)
{
    run_receives(sock);
}

void dgram_run_events(struct sock *sock, int events)
{
    if (events & EV_WRITE) {
        sock->wants_write = false;
        dgram_run_sends(sock);
    }
    if (!(events & EV_READ))
        return;
    /* While it connects, or while no receive is pending, the watcher must not fire for it again. */
    sock->wants_read = false;
    /*
     * An event, and nothing to read: the kernel would report an error that we already have again
     * and again.
     */
    if (run_receives(sock) == 0 && sock->wants_read && sock->ns.fd >= 0)
        udp_drop_errors(&sock->ns);
    sock_update_watch(sock);
}
