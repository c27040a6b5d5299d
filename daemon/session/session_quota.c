/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a session is promised, and whom that is charged to.
 * Happy path: a client comes in (a place below its user and unit, the least of everything) -> each
 * Hello raises the promise as far as there is room -> it ends (promises are given back) -> its last
 * lingering socket has left.
 * Failures: somebody's share of something is used up (the reply names whose, and of what), no
 * memory. A promise never shrinks.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/policy/policy.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/session_quota.h"
#include "daemon/session/sock_policy.h"

/* The most that it may have at all, whatever others have. */
static struct limits configured(const struct session *s)
{
    struct limits most = s->worker->limits;
    const struct policy_limits *own = &policy_view_settings(session_view(s))->limits;
    const struct {
        enum policy_limit limit;
        uint32_t *number;
    } numbers[] = {
        {POLICY_LIMIT_SOCKETS, &most.sockets},
        {POLICY_LIMIT_OPS, &most.ops},
        {POLICY_LIMIT_SOCKET_OPS, &most.socket_ops},
        {POLICY_LIMIT_BUFFERS, &most.buffers},
        {POLICY_LIMIT_LINGER, &most.lingers},
        {POLICY_LIMIT_RESOLUTIONS, &most.lookups},
        {POLICY_LIMIT_CONNECTS_PER_SECOND, &most.connects_per_second},
    };
    const struct {
        enum policy_limit limit;
        uint64_t *size;
    } sizes[] = {
        {POLICY_LIMIT_SEND_WINDOW, &most.send_window},
        {POLICY_LIMIT_QUEUED, &most.queued_max},
        {POLICY_LIMIT_KERNEL_BUFFERS, &most.kernel_max},
        {POLICY_LIMIT_SHARED_MEMORY, &most.shared_max},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (own->set & 1u << numbers[i].limit)
            *numbers[i].number = (uint32_t)own->value[numbers[i].limit];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (own->set & 1u << sizes[i].limit)
            *sizes[i].size = own->value[sizes[i].limit];
    return most;
}

/* What is not promised, but asked for when it is needed. */
static void set_limits(struct session *s, const struct limits *most)
{
    if (!s->quota)
        return;
    quota_limit(s->quota, QUOTA_KERNEL, most->kernel_max);
    quota_limit(s->quota, QUOTA_SHARED, most->shared_max);
    quota_limit(s->quota, QUOTA_BUFFERS, most->buffers);
    quota_limit(s->quota, QUOTA_LINGERS, most->lingers);
    quota_limit(s->quota, QUOTA_LOOKUPS, most->lookups);
}

/* ---- its place ---- */

/*
 * The unit, as narrow as it is known: one of a user's manager is below that manager. Without units
 * the control group; the one that everything is in does not count.
 */
static const char *unit_key(const struct identity *identity, char *buf, size_t cap)
{
    if (identity->user_unit[0]) {
        snprintf(buf, cap, "%s/%s", identity->unit, identity->user_unit);
        return buf;
    }
    if (identity->unit[0])
        return identity->unit;
    return strlen(identity->cgroup) > 1 ? identity->cgroup : NULL;
}

struct quota *session_quota_user(const struct identity *identity, struct quota *listener)
{
    char uid[16];

    snprintf(uid, sizeof(uid), "%u", (unsigned int)identity_user(identity));
    return quota_child(listener, QUOTA_USER, uid);
}

static struct quota *find_place(const struct session *s, struct quota *listener)
{
    const struct policy_limits *own = &policy_view_settings(session_view(s))->limits;
    const struct identity *identity = &s->identity;
    char key[QUOTA_KEY_MAX];
    const char *unit = unit_key(identity, key, sizeof(key));
    struct quota *user = session_quota_user(identity, listener), *group, *place;

    if (!user)
        return NULL;
    group = unit ? quota_child(user, QUOTA_UNIT, unit) : quota_ref(user);
    if (group)
        /* Of a policy file: the clients of one unit, or of one user. */
        quota_limit(group, QUOTA_CLIENTS,
                    own->set & 1u << POLICY_LIMIT_CLIENTS ? own->value[POLICY_LIMIT_CLIENTS]
                                                          : QUOTA_NONE);
    place = group ? quota_child(group, QUOTA_SESSION, NULL) : NULL;
    quota_unref(group);
    quota_unref(user);
    return place;
}

/* Beside the one that shared: what its unit may have, both have together. */
static struct quota *find_place_beside(const struct session *sharer)
{
    return quota_child(quota_above(sharer->quota), QUOTA_SESSION, NULL);
}

/* A sandbox need not learn as whom it is known outside. */
static int refuse(const struct session *s, enum quota_resource resource, uint64_t n,
                  const char *what, char why[static SESSION_WHY_MAX])
{
    const struct quota *full = s->quota ? quota_full(s->quota, resource, n) : NULL;

    snprintf(why, SESSION_WHY_MAX, "the %s has %s",
             full ? quota_level_name(quota_level(full)) : "session", what);
    return -EDQUOT;
}

/* ---- promises ---- */

#define TOO_FEW_SOCKETS "too few sockets left"
#define TOO_FEW_OPS "too few operations left"
#define TOO_LITTLE_MEMORY "too little memory left"

static void give_back(struct session *s, enum quota_resource resource, uint64_t *held,
                      uint64_t left)
{
    if (*held <= left)
        return;
    quota_uncharge(s->quota, resource, *held - left);
    *held = left;
}

static void give_back_promises(struct session *s)
{
    give_back(s, QUOTA_SOCKETS, &s->held.sockets, 0);
    give_back(s, QUOTA_OPS, &s->held.ops, 0);
    give_back(s, QUOTA_MEMORY, &s->held.memory, 0);
}

/*
 * What each socket may queue anyway is counted with it: of use is more than that to larger windows
 * alone.
 */
static uint64_t queue_of(uint64_t window, uint64_t queued)
{
    return window > SOCKET_QUEUED_MIN ? queued : 0;
}

/* What a session of that size may come to hold, beside what is charged when it takes it. */
static uint64_t memory_of(uint64_t sockets, uint64_t ops, uint64_t window, uint64_t queued)
{
    return MEMORY_SESSION + sockets * (MEMORY_SLOT + MEMORY_SOCKET) + ops * MEMORY_OP +
           queue_of(window, queued);
}

/* Of one that has ended, and grants nothing any more. */
static uint64_t memory_left(const struct session *s)
{
    return MEMORY_SESSION + s->slot_count * MEMORY_SLOT + s->socket_count * MEMORY_SOCKET_OPEN +
           s->connect_count * MEMORY_CONNECT + s->op_count * MEMORY_OP + s->queued;
}

/* Whose share of what was too small for n more; of several, the last one is reported. */
static int promise_one(struct session *s, enum quota_resource resource, uint64_t *held, uint64_t n,
                       const char *what, char why[static SESSION_WHY_MAX])
{
    if (quota_charge(s->quota, resource, n) < 0)
        return refuse(s, resource, n, what, why);
    *held += n;
    return 0;
}

static int promise_least(struct session *s, char why[static SESSION_WHY_MAX])
{
    uint64_t memory = memory_of(PROTOCOL_SOCKETS_MIN, PROTOCOL_OPS_MIN, PROTOCOL_WINDOW_MIN,
                                PROTOCOL_WINDOW_MIN);
    int r;

    r = promise_one(s, QUOTA_SOCKETS, &s->held.sockets, PROTOCOL_SOCKETS_MIN, TOO_FEW_SOCKETS, why);
    if (r == 0)
        r = promise_one(s, QUOTA_OPS, &s->held.ops, PROTOCOL_OPS_MIN, TOO_FEW_OPS, why);
    return r == 0 ? promise_one(s, QUOTA_MEMORY, &s->held.memory, memory, TOO_LITTLE_MEMORY, why)
                  : r;
}

static int take_place(struct session *s, char why[static SESSION_WHY_MAX])
{
    if (quota_charge(s->quota, QUOTA_CLIENTS, 1) < 0)
        return refuse(s, QUOTA_CLIENTS, 1, "reached its client limit", why);
    s->held.is_client = true;
    if (quota_charge(s->quota, QUOTA_HELLOS, 1) < 0)
        return refuse(s, QUOTA_HELLOS, 1, "too many clients that have not sent Hello", why);
    s->held.is_mute = true;
    return promise_least(s, why);
}

/* What is not reserved is as configured; the rest is raised when the client asks for it. */
void session_quota_least(const struct session *s, struct limits *ret)
{
    *ret = configured(s);
    ret->sockets = PROTOCOL_SOCKETS_MIN;
    ret->ops = ret->socket_ops = PROTOCOL_OPS_MIN;
    ret->send_window = ret->queued_max = PROTOCOL_WINDOW_MIN;
}

int session_quota_enter(struct session *s, const struct session_config *config,
                        char ret_why[static SESSION_WHY_MAX])
{
    struct limits most = configured(s);
    int r;

    if (config->sharer)
        s->quota = find_place_beside(config->sharer);
    else
        s->quota = find_place(s, config->quota ? config->quota : s->worker->quota);
    if (!s->quota)
        return -ENOMEM;
    set_limits(s, &most);
    r = take_place(s, ret_why);
    if (r < 0)
        session_quota_leave(s);
    return r;
}

void session_quota_refused(struct worker *w, struct quota *listener,
                           const struct identity *identity, uint64_t ns)
{
    struct quota *user = session_quota_user(identity, listener);

    if (user)
        share_charge(quota_share(user, &w->shares.root), ns);
    quota_unref(user);
}

static uint64_t most_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A reload may have lowered them: what has been granted stays. */
void session_quota_ceilings(const struct session *s, struct limits *ret)
{
    const struct limits *now = &s->limits;

    *ret = configured(s);
    ret->sockets = (uint32_t)most_of(ret->sockets, now->sockets);
    ret->ops = (uint32_t)most_of(ret->ops, now->ops);
    ret->socket_ops = (uint32_t)most_of(least_of(ret->socket_ops, ret->ops), now->socket_ops);
    ret->queued_max = most_of(ret->queued_max, now->queued_max);
    ret->send_window = most_of(least_of(ret->send_window, ret->queued_max), now->send_window);
}

/* So many more that each takes `each` of what is left. */
static uint64_t afford(uint64_t *left, uint64_t wanted, uint64_t each)
{
    uint64_t n = least_of(wanted, *left / each);

    *left -= n * each;
    return n;
}

/* Within [what it has, what it may have at all]. */
static uint64_t within(uint64_t now, uint64_t asked, uint64_t most)
{
    return most_of(now, least_of(asked, most));
}

/*
 * The window is raised when all that may be queued then can be paid for, be it what is granted
 * already.
 */
static void plan_queue(const struct limits *now, const struct ask *ask, uint64_t memory,
                       struct limits *next)
{
    uint64_t unpaid = now->queued_max - queue_of(now->send_window, now->queued_max);

    if (ask->send_window <= SOCKET_QUEUED_MIN)
        next->queued_max = ask->queued_max;
    if (ask->send_window <= SOCKET_QUEUED_MIN || memory < unpaid)
        return;
    memory -= unpaid;
    next->queued_max += afford(&memory, ask->queued_max - now->queued_max, 1);
    next->send_window = within(now->send_window, ask->send_window, next->queued_max);
}

/*
 * From what it has to what it asks for, as far as there is room. Of memory half is left for its
 * blocks, and what else it takes beside.
 */
static void plan_raise(const struct session *s, const struct ask *ask, struct limits *next)
{
    const struct limits *now = &s->limits;
    uint64_t memory = quota_room(s->quota, QUOTA_MEMORY) / 2;
    uint64_t sockets = least_of(ask->sockets - now->sockets, quota_room(s->quota, QUOTA_SOCKETS));
    uint64_t ops = least_of(ask->ops - now->ops, quota_room(s->quota, QUOTA_OPS));

    next->sockets += (uint32_t)afford(&memory, sockets, MEMORY_SLOT + MEMORY_SOCKET);
    next->ops += (uint32_t)afford(&memory, ops, MEMORY_OP);
    plan_queue(now, ask, memory, next);
}

/* Whose share of what is used up, where less is to be had than was asked for; 0: all is. */
static int say_shortage(const struct session *s, const struct ask *ask, const struct limits *next,
                        char why[static SESSION_WHY_MAX])
{
    uint64_t sockets = ask->sockets - s->limits.sockets, ops = ask->ops - s->limits.ops;

    if (quota_room(s->quota, QUOTA_SOCKETS) < sockets)
        return refuse(s, QUOTA_SOCKETS, sockets, TOO_FEW_SOCKETS, why);
    if (quota_room(s->quota, QUOTA_OPS) < ops)
        return refuse(s, QUOTA_OPS, ops, TOO_FEW_OPS, why);
    if (next->sockets < ask->sockets || next->ops < ask->ops ||
        next->queued_max < ask->queued_max ||
        next->send_window < least_of(ask->send_window, ask->queued_max))
        return refuse(s, QUOTA_MEMORY,
                      memory_of(ask->sockets, ask->ops, ask->send_window, ask->queued_max) -
                          s->held.memory,
                      TOO_LITTLE_MEMORY, why);
    return 0;
}

/* There is room for it: somebody looked. */
static void take_more(struct session *s, const struct limits *next)
{
    uint64_t memory = memory_of(next->sockets, next->ops, next->send_window, next->queued_max);
    int r = quota_charge(s->quota, QUOTA_SOCKETS, next->sockets - s->held.sockets);

    r |= quota_charge(s->quota, QUOTA_OPS, next->ops - s->held.ops);
    r |= quota_charge(s->quota, QUOTA_MEMORY, memory - s->held.memory);
    assert(r == 0);
    s->held.sockets = next->sockets;
    s->held.ops = next->ops;
    s->held.memory = memory;
}

int session_quota_raise(struct session *s, const struct ask *wanted,
                        char ret_why[static SESSION_WHY_MAX])
{
    const struct limits *now = &s->limits;
    struct held before = s->held;
    struct limits most, next = *now;
    struct ask ask;
    int r;

    session_quota_ceilings(s, &most);
    ask.sockets = (uint32_t)within(now->sockets, wanted->sockets, most.sockets);
    ask.ops = (uint32_t)within(now->ops, wanted->ops, most.ops);
    ask.queued_max = within(now->queued_max, wanted->queued_max, most.queued_max);
    ask.send_window = within(now->send_window, wanted->send_window, most.send_window);
    plan_raise(s, &ask, &next);
    next.socket_ops = (uint32_t)within(now->socket_ops, next.ops, most.socket_ops);
    r = say_shortage(s, &ask, &next, ret_why);
    take_more(s, &next);
    if (session_grant(s, &next) == 0)
        return r;
    give_back(s, QUOTA_SOCKETS, &s->held.sockets, before.sockets);
    give_back(s, QUOTA_OPS, &s->held.ops, before.ops);
    give_back(s, QUOTA_MEMORY, &s->held.memory, before.memory);
    snprintf(ret_why, SESSION_WHY_MAX, "the daemon is out of memory");
    return -ENOMEM;
}

int session_quota_restore(struct session *s, const struct limits *granted)
{
    take_more(s, granted);
    return session_grant(s, granted);
}

void session_quota_said_hello(struct session *s)
{
    deadline_unset(&s->hello);
    if (s->held.is_mute)
        quota_uncharge(s->quota, QUOTA_HELLOS, 1);
    s->held.is_mute = false;
}

/* ---- the end ---- */

/* Descriptors of lent sockets that its client has not fetched count as sockets. */
static uint64_t sockets_left(const struct session *s)
{
    return (uint64_t)s->socket_count + (s->unread_fd >= 0 ? s->lent_unread : 0);
}

void session_quota_end(struct session *s)
{
    session_quota_said_hello(s);
    give_back(s, QUOTA_SOCKETS, &s->held.sockets, sockets_left(s));
    give_back(s, QUOTA_OPS, &s->held.ops, s->op_count);
    give_back(s, QUOTA_MEMORY, &s->held.memory, memory_left(s));
    /*
     * Its descriptor is still there, as are its buffers or descriptors that are on the way to the
     * client; or its sockets.
     */
    if (s->unread_fd >= 0 || s->is_dying)
        return;
    if (s->held.is_client)
        quota_uncharge(s->quota, QUOTA_CLIENTS, 1);
    s->held.is_client = false;
}

void session_quota_leave(struct session *s)
{
    session_quota_end(s);
    give_back_promises(s);
    quota_uncharge(s->quota, QUOTA_MEMORY, s->restrictions);
    s->restrictions = 0;
    s->quota = quota_unref(s->quota);
}
