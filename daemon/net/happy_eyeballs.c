/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/net/happy_eyeballs.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "daemon/names/address_order.h"
#include "daemon/core/quota.h"
#include "daemon/net/udp.h"
#include "proto/errors.h"

/* RFC 8305, section 8: the recommended values. */
#define RESOLUTION_DELAY_MS 50
#define ATTEMPT_DELAY_MS 250

static int index_of(int family)
{
    return family == AF_INET6;
}

static bool is_resolving(const struct happy_eyeballs *he)
{
    return he->waits_for[0] || he->waits_for[1];
}

static socklen_t length_of(const union resolver_address *addr)
{
    return addr->any.sa_family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6);
}

static void uncharge(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    if (attempt->is_charged)
        quota_uncharge(he->quota, QUOTA_ATTEMPTS, 1);
    attempt->is_charged = false;
}

/*
 * The first attempt uses the descriptor that is reserved for the client's socket. Each one beside
 * it has to be charged.
 */
static bool charge(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    if (he->running == 0)
        return true;
    attempt->is_charged = quota_charge(he->quota, QUOTA_ATTEMPTS, 1) == 0;
    return attempt->is_charged;
}

static uint32_t now_ms(const struct happy_eyeballs *he)
{
    return (uint32_t)he->worker->clock(); /* only differences count */
}

static void begin_attempt(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    attempt->outcome = REPORT_RUNS;
    attempt->order = he->begun++;
    attempt->ms = now_ms(he);
}

/* Only the first call for an attempt counts. */
static void note_outcome(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt,
                         enum report_outcome outcome, uint32_t error)
{
    if (attempt->outcome != REPORT_RUNS)
        return;
    attempt->outcome = (uint8_t)outcome;
    attempt->error = (uint8_t)error;
    attempt->ms = now_ms(he) - attempt->ms;
}

static void close_attempt(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    note_outcome(he, attempt, REPORT_GIVEN_UP, ERR_SUCCESS);
    attempt->is_ready = false;
    netsock_abort(&attempt->ns, he->worker);
    uncharge(he, attempt);
}

static int take_winner(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    int fd;

    he->is_won_polled = netsock_is_polled(&attempt->ns, he->worker);
    fd = netsock_release(&attempt->ns, he->worker);
    note_outcome(he, attempt, REPORT_OK, ERR_SUCCESS);
    happy_eyeballs_stop(he);
    he->won = attempt->address;
    return fd;
}

static void win(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    int fd = take_winner(he, attempt);

    he->hooks->won(he, fd);
}

static void fail_attempt(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt, int err)
{
    he->had_attempt = true;
    he->error = asock_error_from_errno(err);
    note_outcome(he, attempt, REPORT_FAILED, he->error);
    close_attempt(he, attempt);
}

/* Left to happy_eyeballs_run(). False: the caller has to do it. */
static bool leave(struct happy_eyeballs *he, bool *what)
{
    if (!he->hooks->wake)
        return false;
    *what = true;
    he->hooks->wake(he);
    return true;
}

/* Reports later what cannot be reported from inside a call of the owner. */
static void settle_later(struct happy_eyeballs *he)
{
    if (!leave(he, &he->must_settle))
        worker_set_deadline(he->worker, &he->settle, 0);
}

/* The step has been long enough, and another one will go on. */
static bool is_step_over(const struct happy_eyeballs *he)
{
    return he->hooks->wake && share_step_is_over(&he->worker->shares);
}

static void on_event(struct ev_loop *loop, struct ev_io *io, int events);

static bool is_loopback(const union resolver_address *addr)
{
    if (addr->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
    return ntohl(addr->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/*
 * On loopback the whole handshake happens inside connect(2), which still returns EINPROGRESS
 * because the socket was locked meanwhile. A second call returns the result, without a turn of the
 * loop.
 */
static int connect_attempt(struct happy_eyeballs_attempt *attempt)
{
    const union resolver_address *addr = &attempt->address;
    int r = netsock_connect(&attempt->ns, &addr->any, length_of(addr));

    if (r == -EINPROGRESS && is_loopback(addr))
        r = netsock_connect(&attempt->ns, &addr->any, length_of(addr));
    return r == -EALREADY ? -EINPROGRESS : r;
}

/*
 * 1: the attempt runs or has won, or waits until the quota has room for it beside the running ones;
 * 0: this address cannot be used.
 */
static int start(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    const union resolver_address *addr = &attempt->address;
    uint32_t verdict;
    int r;

    if (!charge(he, attempt))
        return 1;
    begin_attempt(he, attempt);
    verdict = he->hooks->judge(he, &addr->any);
    if (verdict != ERR_SUCCESS) {
        note_outcome(he, attempt, REPORT_DENIED, verdict);
        if (!he->had_attempt)
            he->error = verdict;
        uncharge(he, attempt);
        return 0;
    }
    he->last_family = addr->any.sa_family;
    netsock_init(&attempt->ns, on_event, attempt);
    attempt->ns.is_apart = he->is_apart && he->worker->apart;
    r = he->is_datagram ? udp_open(&attempt->ns, he->worker, addr->any.sa_family)
                        : netsock_open(&attempt->ns, he->worker, addr->any.sa_family);
    if (r == 0)
        r = he->hooks->prepare(he, &attempt->ns, &addr->any);
    if (r == 0)
        r = connect_attempt(attempt);
    if (r < 0 && r != -EINPROGRESS) {
        fail_attempt(he, attempt, r);
        return 0;
    }
    he->running++;
    if (r == 0)
        he->winner = attempt;
    else
        netsock_watch(&attempt->ns, he->worker, EV_WRITE);
    return 1;
}

/* The families take turns; within one the order is RFC 6724's, or the owner's. */
static struct happy_eyeballs_attempt *next_attempt(struct happy_eyeballs *he)
{
    struct happy_eyeballs_attempt *first = NULL;

    for (uint32_t i = 0; i < he->count; i++) {
        struct happy_eyeballs_attempt *attempt = &he->attempts[i];

        if (attempt->outcome != REPORT_WAITS)
            continue;
        if (attempt->address.any.sa_family != he->last_family)
            return attempt;
        if (!first)
            first = attempt;
    }
    return first;
}

/*
 * Those not yet started in RFC 6724 order; those that run keep their places. Each takes some system
 * calls.
 */
static void sort_waiting(struct happy_eyeballs *he)
{
    union resolver_address waiting[CONNECT_ADDRESSES];
    uint32_t places[CONNECT_ADDRESSES], n = 0;

    if (!he->is_unsorted || he->keeps_order)
        return;
    he->is_unsorted = false;
    for (uint32_t i = 0; i < he->count; i++) {
        if (he->attempts[i].outcome != REPORT_WAITS)
            continue;
        places[n] = i;
        waiting[n++] = he->attempts[i].address;
    }
    address_order(waiting, n, NULL);
    for (uint32_t i = 0; i < n; i++)
        he->attempts[places[i]].address = waiting[i];
}

static void advance(struct happy_eyeballs *he)
{
    struct happy_eyeballs_attempt *attempt;

    he->must_advance = false;
    if (!he->is_open || he->winner)
        return;
    deadline_unset(&he->attempt_delay);
    sort_waiting(he);
    while ((attempt = next_attempt(he))) {
        if (start(he, attempt))
            break;
        if (is_step_over(he) && leave(he, &he->must_advance))
            return;
    }
    if (he->winner || (he->running == 0 && !is_resolving(he)))
        settle_later(he);
    else if (attempt)
        /* Set it even if there is no next address: one may be resolved meanwhile. */
        worker_set_deadline(he->worker, &he->attempt_delay, ATTEMPT_DELAY_MS);
}

/* 1: policy denies it now, and it was closed. */
static int judge_attempt(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    uint32_t verdict;

    if (attempt->ns.fd < 0)
        return 0;
    verdict = he->hooks->judge_again(he, &attempt->address.any);
    if (verdict == ERR_SUCCESS)
        return 0;
    note_outcome(he, attempt, REPORT_DENIED, verdict);
    close_attempt(he, attempt);
    he->running--;
    if (he->winner == attempt)
        he->winner = NULL;
    if (!he->had_attempt)
        he->error = verdict;
    return 1;
}

/* True: it has won. */
static bool look_at(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt)
{
    int r = netsock_connect_result(&attempt->ns);

    attempt->is_ready = false;
    if (r == 0 && judge_attempt(he, attempt) == 0) {
        win(he, attempt);
        return true;
    }
    if (r < 0) {
        fail_attempt(he, attempt, r);
        he->running--;
    }
    advance(he);
    return false;
}

static void on_event(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct happy_eyeballs_attempt *attempt = io->data;

    (void)loop;
    (void)events;
    if (!leave(attempt->he, &attempt->is_ready))
        look_at(attempt->he, attempt);
}

static void on_attempt_delay(struct deadline *deadline)
{
    struct happy_eyeballs *he = container_of(deadline, struct happy_eyeballs, attempt_delay);

    if (!leave(he, &he->must_advance))
        advance(he);
}

static void begin_attempts(struct happy_eyeballs *he)
{
    he->must_begin = false;
    deadline_unset(&he->resolution_delay);
    he->is_open = true;
    /* A running attempt keeps its 250 ms, even if new addresses were added. */
    if (!wheel_timer_is_set(&he->attempt_delay.timer))
        advance(he);
}

static void begin_attempts_later(struct happy_eyeballs *he)
{
    if (!leave(he, &he->must_begin))
        begin_attempts(he);
}

static void on_resolution_delay(struct deadline *deadline)
{
    begin_attempts_later(container_of(deadline, struct happy_eyeballs, resolution_delay));
}

static void settle(struct happy_eyeballs *he)
{
    uint32_t error = he->error;

    he->must_settle = false;
    if (!he->winner) {
        happy_eyeballs_stop(he);
        he->hooks->lost(he, error);
    } else if (judge_attempt(he, he->winner) == 0) {
        win(he, he->winner);
    } else {
        advance(he);
    }
}

static void on_settle(struct deadline *deadline)
{
    settle(container_of(deadline, struct happy_eyeballs, settle));
}

/* A step does one thing at least. */
void happy_eyeballs_run(struct happy_eyeballs *he)
{
    bool has_done = he->must_begin;

    if (he->must_begin)
        begin_attempts(he);
    for (uint32_t i = 0; i < he->count; i++) {
        if (!he->attempts[i].is_ready)
            continue;
        if (has_done && is_step_over(he)) {
            he->hooks->wake(he);
            return;
        }
        if (look_at(he, &he->attempts[i]))
            return;
        has_done = true;
    }
    if (he->must_advance && has_done && is_step_over(he))
        he->hooks->wake(he);
    else if (he->must_advance)
        advance(he);
    if (he->must_settle)
        settle(he);
}

void happy_eyeballs_init(struct happy_eyeballs *he, struct worker *w, struct quota *quota,
                         const struct happy_eyeballs_hooks *hooks)
{
    memset(he, 0, offsetof(struct happy_eyeballs, attempts));
    he->worker = w;
    he->quota = quota;
    he->hooks = hooks;
    he->last_family = AF_UNSPEC;
    deadline_init(&he->attempt_delay, on_attempt_delay);
    deadline_init(&he->resolution_delay, on_resolution_delay);
    deadline_init(&he->settle, on_settle);
}

void happy_eyeballs_expect(struct happy_eyeballs *he, int family)
{
    he->waits_for[index_of(family)] = true;
}

/*
 * If the table is full, each family may have half of it: returns the last address of the other
 * family that has not been tried, to be replaced. NULL: there is none.
 */
static struct happy_eyeballs_attempt *place_for(struct happy_eyeballs *he, int family)
{
    struct happy_eyeballs_attempt *other = NULL;
    uint32_t own = 0;

    if (he->count < CONNECT_ADDRESSES)
        return &he->attempts[he->count++];
    for (uint32_t i = 0; i < he->count; i++) {
        struct happy_eyeballs_attempt *attempt = &he->attempts[i];

        if (attempt->address.any.sa_family == family)
            own++;
        else if (attempt->outcome == REPORT_WAITS)
            other = attempt;
    }
    return own < CONNECT_ADDRESSES / 2 ? other : NULL;
}

static bool is_same(const union resolver_address *a, const union resolver_address *b)
{
    return a->any.sa_family == b->any.sa_family &&
           (a->any.sa_family == AF_INET
                ? a->in.sin_addr.s_addr == b->in.sin_addr.s_addr
                : memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0 &&
                      a->in6.sin6_scope_id == b->in6.sin6_scope_id);
}

/* At an address that is not waiting for its turn; NULL: none. */
static struct happy_eyeballs_attempt *find_attempt(struct happy_eyeballs *he,
                                                   const union resolver_address *address,
                                                   bool is_waiting)
{
    for (uint32_t i = 0; i < he->count; i++)
        if ((he->attempts[i].outcome == REPORT_WAITS) == is_waiting &&
            is_same(&he->attempts[i].address, address))
            return &he->attempts[i];
    return NULL;
}

static void init_attempt(struct happy_eyeballs *he, struct happy_eyeballs_attempt *attempt,
                         const union resolver_address *address)
{
    attempt->he = he;
    attempt->address = *address;
    attempt->is_charged = attempt->is_ready = false;
    attempt->outcome = REPORT_WAITS;
    netsock_init(&attempt->ns, on_event, attempt);
}

void happy_eyeballs_add(struct happy_eyeballs *he, const union resolver_address *addresses,
                        unsigned int count)
{
    /* Which of them give way is said by their order. */
    if (he->count + count > CONNECT_ADDRESSES)
        sort_waiting(he);
    for (unsigned int i = 0; i < count; i++) {
        struct happy_eyeballs_attempt *attempt;

        /* One that another process has begun. */
        if (he->has_adopted && find_attempt(he, &addresses[i], false))
            continue;
        attempt = place_for(he, addresses[i].any.sa_family);
        if (!attempt)
            break;
        init_attempt(he, attempt, &addresses[i]);
    }
    he->is_unsorted = he->count > 1;
}

void happy_eyeballs_family_done(struct happy_eyeballs *he, int family, uint32_t error)
{
    he->waits_for[index_of(family)] = false;
    if (error != ERR_SUCCESS && he->count == 0)
        he->error = resolver_worse(he->error, error);
    if (he->is_open || !is_resolving(he) || family == AF_INET6) {
        if (he->count > 0 || !is_resolving(he))
            begin_attempts_later(he);
        return;
    }
    /* Only A was answered so far: wait 50 ms for AAAA. */
    if (he->count > 0)
        worker_set_deadline(he->worker, &he->resolution_delay, RESOLUTION_DELAY_MS);
}

int happy_eyeballs_go(struct happy_eyeballs *he)
{
    begin_attempts(he);
    return he->winner ? take_winner(he, he->winner) : -1;
}

bool happy_eyeballs_judge_again(struct happy_eyeballs *he)
{
    int closed = 0;

    for (uint32_t i = 0; i < he->count; i++)
        closed += judge_attempt(he, &he->attempts[i]);
    if (closed > 0 && !he->winner) {
        deadline_unset(&he->settle);
        he->must_settle = false;
        advance(he);
    }
    return closed > 0;
}

int happy_eyeballs_set_option(struct happy_eyeballs *he, uint32_t option, int32_t value)
{
    int r = 0;

    for (uint32_t i = 0; i < he->count; i++) {
        struct happy_eyeballs_attempt *attempt = &he->attempts[i];
        int one = attempt->ns.fd >= 0 ? netsock_set_option(&attempt->ns, option, value) : 0;

        if (r == 0)
            r = one;
    }
    return r;
}

bool happy_eyeballs_adopt(struct happy_eyeballs *he, const union resolver_address *address, int fd)
{
    struct happy_eyeballs_attempt *attempt = find_attempt(he, address, true);

    if (!attempt) {
        attempt = place_for(he, address->any.sa_family);
        if (!attempt)
            return false;
        init_attempt(he, attempt, address);
    }
    if (!charge(he, attempt))
        return false;
    begin_attempt(he, attempt);
    netsock_adopt(&attempt->ns, fd, false);
    attempt->ns.is_apart = he->is_apart && he->worker->apart;
    he->last_family = address->any.sa_family;
    he->has_adopted = true;
    he->running++;
    return true;
}

void happy_eyeballs_resume(struct happy_eyeballs *he)
{
    if (he->running == 0)
        return;
    for (uint32_t i = 0; i < he->count; i++)
        if (he->attempts[i].ns.fd >= 0)
            netsock_watch(&he->attempts[i].ns, he->worker, EV_WRITE);
    worker_set_deadline(he->worker, &he->attempt_delay, ATTEMPT_DELAY_MS);
}

static const struct happy_eyeballs_attempt *attempt_of(const struct happy_eyeballs *he,
                                                       uint32_t order)
{
    for (uint32_t i = 0; i < he->count; i++)
        if (he->attempts[i].outcome != REPORT_WAITS && he->attempts[i].order == order)
            return &he->attempts[i];
    return NULL;
}

void happy_eyeballs_report(const struct happy_eyeballs *he, struct connect_report *report)
{
    for (uint32_t i = 0; i < he->begun; i++) {
        const struct happy_eyeballs_attempt *attempt = attempt_of(he, i);
        struct report_attempt told = {.ms = attempt->ms};

        if (attempt->outcome == REPORT_RUNS)
            told.ms = now_ms(he) - attempt->ms;
        told.outcome = attempt->outcome;
        told.error = attempt->error;
        netsock_endpoint(&attempt->address.any, &told.address);
        connect_report_attempt(report, &told);
    }
    report->untried = he->count - he->begun;
}

bool happy_eyeballs_is_denied(const struct happy_eyeballs *he)
{
    return he->error == ERR_ACCESS_DENIED && !he->had_attempt && he->running == 0;
}

void happy_eyeballs_stop(struct happy_eyeballs *he)
{
    deadline_unset(&he->attempt_delay);
    deadline_unset(&he->resolution_delay);
    deadline_unset(&he->settle);
    for (uint32_t i = 0; i < he->count; i++)
        close_attempt(he, &he->attempts[i]);
    he->running = 0;
    he->winner = NULL;
    he->is_open = he->must_begin = he->must_advance = he->must_settle = false;
    he->waits_for[0] = he->waits_for[1] = false;
}

void happy_eyeballs_leave(struct happy_eyeballs *he)
{
    for (uint32_t i = 0; i < he->count; i++) {
        struct netsock *ns = &he->attempts[i].ns;

        if (ns->fd < 0)
            continue;
        /* Not aborted: the socket is the other one's, too. */
        close(netsock_release(ns, he->worker));
        he->worker->fds_used--;
    }
    happy_eyeballs_stop(he);
}

void happy_eyeballs_deinit(struct happy_eyeballs *he)
{
    happy_eyeballs_stop(he);
    deadline_deinit(&he->attempt_delay);
    deadline_deinit(&he->resolution_delay);
    deadline_deinit(&he->settle);
}
