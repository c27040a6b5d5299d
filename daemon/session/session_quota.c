/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a session is promised, and whom that is charged to.
 * Happy path: a client comes in (a place below its user and unit, the least of everything) -> Hello (the
 * least is given back, what was asked for is taken) -> it ends (promises are given back) -> its last
 * lingering socket has left.
 * Failures: somebody's share of something is used up (the client is told whose, of what), no memory.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/policy/policy.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/session_quota.h"

static const struct limits least = {
    .sockets = PROTOCOL_SOCKETS_MIN,
    .ops = PROTOCOL_OPS_MIN,
    .socket_ops = PROTOCOL_OPS_MIN,
    .send_window = PROTOCOL_WINDOW_MIN,
    .queued_max = PROTOCOL_WINDOW_MIN,
};

/* The most that it may have at all, whatever others have. */
static struct limits most_of(const struct session *s)
{
    struct limits most = s->worker->limits;
    const struct policy_limits *own = &policy_view_settings(s->view)->limits;
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
 * The unit, as narrow as it is known: one of a user's manager is below that manager. Without units the
 * control group; the one of all is nobody's.
 */
static const char *unit_key(const struct peer *peer, char *buf, size_t cap)
{
    if (peer->user_unit[0]) {
        snprintf(buf, cap, "%s/%s", peer->unit, peer->user_unit);
        return buf;
    }
    if (peer->unit[0])
        return peer->unit;
    return strlen(peer->cgroup) > 1 ? peer->cgroup : NULL;
}

static struct quota *find_place(const struct session *s, struct quota *listener)
{
    const struct policy_limits *own = &policy_view_settings(s->view)->limits;
    const struct peer *peer = &s->peer;
    char key[QUOTA_KEY_MAX];
    const char *unit = unit_key(peer, key, sizeof(key));
    char uid[16];
    struct quota *user, *group, *place;

    snprintf(uid, sizeof(uid), "%u", (unsigned int)peer_user(peer));
    user = quota_child(listener, QUOTA_USER, uid);
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
    const struct quota *full = quota_full(s->quota, resource, n);

    snprintf(why, SESSION_WHY_MAX, "the %s has %s", quota_level_name(quota_level(full)), what);
    return -EDQUOT;
}

/* ---- promises ---- */

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

/* What a session of that size may come to hold, beside what is charged when it takes it. */
static uint64_t memory_of(uint64_t sockets, uint64_t ops, uint64_t queued)
{
    return MEMORY_SESSION + sockets * MEMORY_SLOT + ops * MEMORY_OP + queued;
}

static int promise(struct session *s, const struct limits *limits, char why[static SESSION_WHY_MAX])
{
    uint64_t memory = memory_of(limits->sockets, limits->ops, limits->queued_max);

    if (quota_charge(s->quota, QUOTA_SOCKETS, limits->sockets) < 0)
        return refuse(s, QUOTA_SOCKETS, limits->sockets, "too few sockets left", why);
    s->held.sockets = limits->sockets;
    if (quota_charge(s->quota, QUOTA_OPS, limits->ops) < 0)
        return refuse(s, QUOTA_OPS, limits->ops, "too few operations left", why);
    s->held.ops = limits->ops;
    if (quota_charge(s->quota, QUOTA_MEMORY, memory) < 0)
        return refuse(s, QUOTA_MEMORY, memory, "too little memory left", why);
    s->held.memory = memory;
    return 0;
}

static int take_place(struct session *s, char why[static SESSION_WHY_MAX])
{
    if (quota_charge(s->quota, QUOTA_CLIENTS, 1) < 0)
        return refuse(s, QUOTA_CLIENTS, 1, "as many clients as it may have", why);
    s->held.is_client = true;
    if (quota_charge(s->quota, QUOTA_HELLOS, 1) < 0)
        return refuse(s, QUOTA_HELLOS, 1, "too many clients that have not sent Hello", why);
    s->held.is_mute = true;
    return promise(s, &least, why);
}

int session_quota_enter(struct session *s, const struct session_config *config,
                        char ret_why[static SESSION_WHY_MAX])
{
    struct limits most = most_of(s);
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

/*
 * As much as was asked for, if there is room. Who does not say is given half of it at most, so that those
 * who come next and do not say either find more than crumbs.
 */
static uint64_t offer(uint64_t room, uint64_t asked, uint64_t at_least, uint64_t most)
{
    uint64_t n = asked != 0 && asked < most ? asked : most;

    if (asked == 0 && n > room / 2)
        n = room / 2;
    if (n > room)
        n = room;
    return n < at_least ? at_least : n;
}

/* Of memory half is left for the sockets that it opens and for its blocks. */
static uint64_t room_to_queue(const struct session *s, const struct limits *limits)
{
    uint64_t room = quota_room(s->quota, QUOTA_MEMORY) / 2;
    uint64_t beside = memory_of(limits->sockets, limits->ops, 0);

    return room > beside ? room - beside : 0;
}

int session_quota_grant(struct session *s, const struct ask *ask,
                        char ret_why[static SESSION_WHY_MAX], struct limits *ret)
{
    struct limits most = most_of(s);

    give_back_promises(s);
    set_limits(s, &most);
    *ret = most;
    ret->sockets = (uint32_t)offer(quota_room(s->quota, QUOTA_SOCKETS), ask->sockets, least.sockets,
                                   most.sockets);
    ret->ops = (uint32_t)offer(quota_room(s->quota, QUOTA_OPS), ask->ops, least.ops, most.ops);
    ret->queued_max = offer(room_to_queue(s, ret), ask->queued_max, least.queued_max,
                            most.queued_max);
    if (ask->send_window != 0 && ask->send_window < most.send_window)
        ret->send_window = ask->send_window < least.send_window ? least.send_window
                                                                : ask->send_window;
    if (ret->socket_ops > ret->ops)
        ret->socket_ops = ret->ops;
    if (ret->send_window > ret->queued_max)
        ret->send_window = ret->queued_max;
    return promise(s, ret, ret_why);
}

void session_quota_said_hello(struct session *s)
{
    deadline_unset(&s->hello);
    if (s->held.is_mute)
        quota_uncharge(s->quota, QUOTA_HELLOS, 1);
    s->held.is_mute = false;
}

/* ---- the end ---- */

void session_quota_end(struct session *s)
{
    session_quota_said_hello(s);
    give_back(s, QUOTA_SOCKETS, &s->held.sockets, s->socket_count);
    give_back(s, QUOTA_OPS, &s->held.ops, s->op_count);
    give_back(s, QUOTA_MEMORY, &s->held.memory, memory_of(s->slot_count, s->op_count, s->queued));
    /* Its descriptor is still there, as are its buffers or descriptors that are on the way to the client; or its sockets. */
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
