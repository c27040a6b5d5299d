/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/net/happy_eyeballs.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "daemon/names/address_order.h"
#include "daemon/core/quota.h"
#include "proto/errors.h"

/* RFC 8305, section 8: the recommended values. */
#define RESOLUTION_DELAY_MS 50
#define ATTEMPT_DELAY_MS 250

static int index_of(int family)
{
    return family == AF_INET6;
}

static bool is_resolving(const struct race *race)
{
    return race->waits_for[0] || race->waits_for[1];
}

static socklen_t length_of(const union resolver_address *addr)
{
    return addr->any.sa_family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6);
}

static void uncharge(struct race *race, struct race_attempt *attempt)
{
    if (attempt->is_charged)
        quota_uncharge(race->quota, QUOTA_ATTEMPTS, 1);
    attempt->is_charged = false;
}

/* The socket's own descriptor is promised to its client; one more at a time has to be had. */
static bool charge(struct race *race, struct race_attempt *attempt)
{
    if (race->running == 0)
        return true;
    attempt->is_charged = quota_charge(race->quota, QUOTA_ATTEMPTS, 1) == 0;
    return attempt->is_charged;
}

static void close_attempt(struct race *race, struct race_attempt *attempt)
{
    netsock_abort(&attempt->ns, race->worker);
    uncharge(race, attempt);
}

static int take_winner(struct race *race, struct race_attempt *attempt)
{
    int fd;

    race->is_won_polled = netsock_is_polled(&attempt->ns, race->worker);
    fd = netsock_release(&attempt->ns, race->worker);
    race_stop(race);
    race->won = attempt->address;
    return fd;
}

static void win(struct race *race, struct race_attempt *attempt)
{
    int fd = take_winner(race, attempt);

    race->hooks->won(race, fd);
}

static void note_failure(struct race *race, int err)
{
    race->had_attempt = true;
    race->error = asock_error_from_errno(err);
}

/* What cannot be told from inside a call of the owner's is told by the loop. */
static void settle_later(struct race *race)
{
    worker_set_deadline(race->worker, &race->settle, 0);
}

static void on_event(struct ev_loop *loop, struct ev_io *io, int events);

static bool is_loopback(const union resolver_address *addr)
{
    if (addr->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
    return ntohl(addr->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/*
 * On loopback the whole handshake happens inside the call, which still says EINPROGRESS: the socket was
 * locked meanwhile. Asked again it knows, and the loop need not be waited for.
 */
static int connect_attempt(struct race_attempt *attempt)
{
    const union resolver_address *addr = &attempt->address;
    int r = netsock_connect(&attempt->ns, &addr->any, length_of(addr));

    if (r == -EINPROGRESS && is_loopback(addr))
        r = netsock_connect(&attempt->ns, &addr->any, length_of(addr));
    return r == -EALREADY ? -EINPROGRESS : r;
}

/*
 * 1: an attempt is under way or has won, or has to wait until there is room for it beside those that are;
 * 0: this address is out.
 */
static int start(struct race *race, struct race_attempt *attempt)
{
    const union resolver_address *addr = &attempt->address;
    uint32_t verdict;
    int r;

    if (!charge(race, attempt))
        return 1;
    attempt->was_started = true;
    verdict = race->hooks->judge(race, &addr->any);
    if (verdict != ERR_SUCCESS) {
        if (!race->had_attempt)
            race->error = verdict;
        uncharge(race, attempt);
        return 0;
    }
    race->last_family = addr->any.sa_family;
    netsock_init(&attempt->ns, on_event, attempt);
    r = netsock_open(&attempt->ns, race->worker, addr->any.sa_family);
    if (r == 0)
        r = race->hooks->prepare(race, &attempt->ns, &addr->any);
    if (r == 0)
        r = connect_attempt(attempt);
    if (r < 0 && r != -EINPROGRESS) {
        close_attempt(race, attempt);
        note_failure(race, r);
        return 0;
    }
    race->running++;
    if (r == 0)
        race->winner = attempt;
    else
        netsock_watch(&attempt->ns, race->worker, EV_WRITE);
    return 1;
}

/* The families take turns; within one the order is RFC 6724's. */
static struct race_attempt *next_attempt(struct race *race)
{
    struct race_attempt *first = NULL;

    for (uint32_t i = 0; i < race->count; i++) {
        struct race_attempt *attempt = &race->attempts[i];

        if (attempt->was_started)
            continue;
        if (attempt->address.any.sa_family != race->last_family)
            return attempt;
        if (!first)
            first = attempt;
    }
    return first;
}

static void advance(struct race *race)
{
    struct race_attempt *attempt;

    if (!race->is_open || race->winner)
        return;
    deadline_unset(&race->attempt_delay);
    while ((attempt = next_attempt(race)))
        if (start(race, attempt))
            break;
    if (race->winner || (race->running == 0 && !is_resolving(race)))
        settle_later(race);
    else if (attempt)
        /* Also without a next address: one may be resolved meanwhile. */
        worker_set_deadline(race->worker, &race->attempt_delay, ATTEMPT_DELAY_MS);
}

static void on_event(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct race_attempt *attempt = io->data;
    struct race *race = attempt->race;
    int r = netsock_connect_result(&attempt->ns);

    (void)loop;
    (void)events;
    if (r == 0) {
        win(race, attempt);
        return;
    }
    close_attempt(race, attempt);
    race->running--;
    note_failure(race, r);
    advance(race);
}

static void on_attempt_delay(struct deadline *deadline)
{
    advance(container_of(deadline, struct race, attempt_delay));
}

static void open_race(struct race *race)
{
    deadline_unset(&race->resolution_delay);
    race->is_open = true;
    /* An attempt that runs has its 250 ms, whatever has come in meanwhile. */
    if (!wheel_timer_is_set(&race->attempt_delay.timer))
        advance(race);
}

static void on_resolution_delay(struct deadline *deadline)
{
    open_race(container_of(deadline, struct race, resolution_delay));
}

static void on_settle(struct deadline *deadline)
{
    struct race *race = container_of(deadline, struct race, settle);
    uint32_t error = race->error;

    if (race->winner) {
        win(race, race->winner);
        return;
    }
    race_stop(race);
    race->hooks->lost(race, error);
}

void race_init(struct race *race, struct worker *w, struct quota *quota,
               const struct race_hooks *hooks)
{
    memset(race, 0, offsetof(struct race, attempts));
    race->worker = w;
    race->quota = quota;
    race->hooks = hooks;
    race->last_family = AF_UNSPEC;
    deadline_init(&race->attempt_delay, on_attempt_delay);
    deadline_init(&race->resolution_delay, on_resolution_delay);
    deadline_init(&race->settle, on_settle);
}

void race_expect(struct race *race, int family)
{
    race->waits_for[index_of(family)] = true;
}

/* Those not yet started in RFC 6724 order; those that run keep their places. */
static void sort_waiting(struct race *race)
{
    union resolver_address waiting[CONNECT_ADDRESSES];
    uint32_t places[CONNECT_ADDRESSES], n = 0;

    for (uint32_t i = 0; i < race->count; i++) {
        if (race->attempts[i].was_started)
            continue;
        places[n] = i;
        waiting[n++] = race->attempts[i].address;
    }
    address_order(waiting, n, NULL);
    for (uint32_t i = 0; i < n; i++)
        race->attempts[places[i]].address = waiting[i];
}

void race_add(struct race *race, const union resolver_address *addresses, unsigned int count)
{
    for (unsigned int i = 0; i < count && race->count < CONNECT_ADDRESSES; i++) {
        struct race_attempt *attempt = &race->attempts[race->count++];

        attempt->race = race;
        attempt->address = addresses[i];
        attempt->was_started = attempt->is_charged = false;
        netsock_init(&attempt->ns, on_event, attempt);
    }
    if (race->count > 1)
        sort_waiting(race);
}

/* The resolver's errors, the one that says most: an answer that may still come, then a name that exists. */
static uint32_t worse(uint32_t a, uint32_t b)
{
    static const uint32_t order[] = {ERR_TRY_AGAIN, ERR_NO_RECOVERY, ERR_NO_BUFFER_SPACE,
                                     ERR_NO_DATA, ERR_HOST_NOT_FOUND};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return a != ERR_SUCCESS ? a : b;
}

void race_family_done(struct race *race, int family, uint32_t error)
{
    race->waits_for[index_of(family)] = false;
    if (error != ERR_SUCCESS && race->count == 0)
        race->error = worse(race->error, error);
    if (race->is_open || !is_resolving(race) || family == AF_INET6) {
        if (race->count > 0 || !is_resolving(race))
            open_race(race);
        return;
    }
    /* Only A so far: AAAA has a moment to catch up. */
    if (race->count > 0)
        worker_set_deadline(race->worker, &race->resolution_delay, RESOLUTION_DELAY_MS);
}

int race_go(struct race *race)
{
    open_race(race);
    return race->winner ? take_winner(race, race->winner) : -1;
}

/* 1: it was closed. */
static int judge_attempt(struct race *race, struct race_attempt *attempt)
{
    uint32_t verdict;

    if (attempt->ns.fd < 0)
        return 0;
    verdict = race->hooks->judge(race, &attempt->address.any);
    if (verdict == ERR_SUCCESS)
        return 0;
    close_attempt(race, attempt);
    race->running--;
    if (race->winner == attempt)
        race->winner = NULL;
    if (!race->had_attempt)
        race->error = verdict;
    return 1;
}

bool race_judge_again(struct race *race)
{
    int closed = 0;

    for (uint32_t i = 0; i < race->count; i++)
        closed += judge_attempt(race, &race->attempts[i]);
    if (closed > 0 && !race->winner) {
        deadline_unset(&race->settle);
        advance(race);
    }
    return closed > 0;
}

bool race_is_denied(const struct race *race)
{
    return race->error == ERR_ACCESS_DENIED && !race->had_attempt && race->running == 0;
}

void race_stop(struct race *race)
{
    deadline_unset(&race->attempt_delay);
    deadline_unset(&race->resolution_delay);
    deadline_unset(&race->settle);
    for (uint32_t i = 0; i < race->count; i++)
        close_attempt(race, &race->attempts[i]);
    race->running = 0;
    race->winner = NULL;
    race->is_open = false;
    race->waits_for[0] = race->waits_for[1] = false;
}

void race_deinit(struct race *race)
{
    race_stop(race);
    deadline_deinit(&race->attempt_delay);
    deadline_deinit(&race->resolution_delay);
    deadline_deinit(&race->settle);
}
