/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/groups.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "tests/sim/policies.h"
#include "tests/sim/steps.h"
#include "tests/sim/udp.h"

#define OPS_MAX 2000
#define PORTS 64u
#define NO_INTERFACE 9

/* ---- the kernel ---- */

static int number_of(const struct group_req *request)
{
    const struct sockaddr_in *in = (const void *)&request->gr_group;
    const struct sockaddr_in6 *in6 = (const void *)&request->gr_group;
    bool is_in6 = in6->sin6_family == AF_INET6;
    unsigned int address = is_in6 ? in6->sin6_addr.s6_addr[15] : ntohl(in->sin_addr.s_addr) & 0xff;

    if (request->gr_interface >= GROUP_INTERFACES)
        return -ENODEV;
    SIM_MUST(address < GROUP_ADDRESSES / 2);
    return (int)((address + (is_in6 ? 3 : 0)) * GROUP_INTERFACES + request->gr_interface);
}

static int change(struct udp_groups *groups, const void *value, bool join)
{
    int at = number_of(value);

    if (at < 0)
        return at;
    if (groups->joined[at] == join)
        return join ? -EADDRINUSE : -EADDRNOTAVAIL;
    groups->joined[at] = join;
    return 0;
}

int groups_set_option(struct udp_groups *groups, int level, int name, const void *value, size_t len)
{
    static const struct {
        int level, name, option;
    } known[] = {
        {IPPROTO_IP, IP_MULTICAST_TTL, MULTICAST_HOPS},
        {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, MULTICAST_HOPS},
        {IPPROTO_IP, IP_MULTICAST_LOOP, MULTICAST_LOOP},
        {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, MULTICAST_LOOP},
        {IPPROTO_IPV6, IPV6_MULTICAST_IF, MULTICAST_INTERFACE},
    };
    int number = 0;

    if (name == MCAST_JOIN_GROUP || name == MCAST_LEAVE_GROUP)
        return change(groups, value, name == MCAST_JOIN_GROUP);
    if (level == IPPROTO_IP && name == IP_MULTICAST_IF) {
        groups->values[MULTICAST_INTERFACE] = ((const struct ip_mreqn *)value)->imr_ifindex;
        return 0;
    }
    memcpy(&number, value, len < sizeof(number) ? len : sizeof(number));
    if ((level == IPPROTO_IP && name == IP_MULTICAST_ALL) ||
        (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_ALL))
        groups->hears_members_alone = number == 0;
    for (unsigned int i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].level == level && known[i].name == name)
            groups->values[known[i].option] = number;
    return 0;
}

/* ---- the programs ---- */

/* What a socket is known to be in and to have; by its port. */
struct known {
    struct datagram_slot slot; /* socket NULL: nothing was asked */
    bool joined[GROUPS];
    unsigned int changes[GROUPS]; /* of policy, when it asked to join */
    bool is_set[MULTICAST_OPTIONS];
    int values[MULTICAST_OPTIONS];
    bool is_unknown; /* not all that happened was reported */
};

enum ask { ASK_JOIN, ASK_LEAVE, ASK_OPTION };

struct asked {
    struct known *known;
    asock_op *op; /* NULL: it is done */
    enum ask ask;
    unsigned int at; /* group, GROUPS of one by no interface, or option */
    int value;
    unsigned int changes; /* of policy, when it was asked */
};

static struct {
    struct known known[PORTS];
    struct asked asked[OPS_MAX];
    unsigned int count;
} all;

void groups_reset(void)
{
    memset(&all, 0, sizeof(all));
}

void groups_lost(const struct client *client)
{
    for (unsigned int i = 0; i < all.count; i++) {
        struct asked *a = &all.asked[i];

        if (a->known->slot.client == client && a->op)
            a->op = LIB(asock_op_unref(a->op));
    }
    for (unsigned int i = 0; i < PORTS; i++)
        if (all.known[i].slot.client == client)
            all.known[i].is_unknown = true;
}

static bool may_deny(const struct known *k)
{
    return model_may_deny(k->slot.client);
}

static void joined(struct asked *a)
{
    struct known *k = a->known;

    if (a->changes == policies_changes() && !policies_let_group(policies_number()))
        sim_fail("joined-denied: the socket of port %u is in group %u", k->slot.port, a->at);
    k->joined[a->at] = true;
    k->changes[a->at] = a->changes;
}

/* Policy may have made the socket leave since it joined. */
static bool may_have_left(const struct known *k, unsigned int at)
{
    return k->changes[at] != policies_changes() || may_deny(k);
}

static void told(struct asked *a, int error)
{
    struct known *k = a->known;

    sim_trace("group: port %u, ask %u of %u ends: %d", k->slot.port, a->ask, a->at, error);
    a->op = NULL;
    if (error == ASOCK_TIMED_OUT || error == ASOCK_CONNECTION_ABORTED)
        k->is_unknown = true;
    if (k->is_unknown)
        return;
    if (a->ask == ASK_OPTION) {
        if (error)
            return;
        k->is_set[a->at] = true;
        k->values[a->at] = a->value;
        return;
    }
    if (a->at == GROUPS && !error)
        sim_fail("joined-nowhere: port %u, by an interface that there is not", k->slot.port);
    if (a->at == GROUPS)
        return;
    if (error == ASOCK_ADDRESS_ALREADY_IN_USE && !k->joined[a->at])
        sim_fail("not-joined: port %u, group %u, and it is said to be", k->slot.port, a->at);
    if (a->ask == ASK_JOIN && !error)
        joined(a);
    if (a->ask == ASK_JOIN)
        return;
    if (!error && !k->joined[a->at])
        sim_fail("left-twice: port %u, group %u", k->slot.port, a->at);
    if (error == ASOCK_ADDRESS_NOT_AVAILABLE && k->joined[a->at] && !may_have_left(k, a->at))
        sim_fail("left-by-itself: port %u, group %u", k->slot.port, a->at);
    if (!error || error == ASOCK_ADDRESS_NOT_AVAILABLE)
        k->joined[a->at] = false;
}

static void done(asock_op *op, void *userdata)
{
    told(userdata, asock_op_get_error(op));
    asock_op_unref(op);
}

static struct known *known_of(const struct datagram_slot *slot)
{
    struct known *k = &all.known[slot->port % PORTS];

    k->slot = *slot;
    return k;
}

/* NULL: no memory, or too many. */
static struct asked *ask(struct known *k, enum ask what, unsigned int at, int value)
{
    struct asked *a;
    asock_op *op;

    if (all.count == OPS_MAX || LIB(asock_op_new(k->slot.client->context, &op)) < 0)
        return NULL;
    a = &all.asked[all.count++];
    *a = (struct asked){k, op, what, at, value, policies_changes()};
    SIM_MUST(asock_op_set_callback(op, done, a) == 0);
    return a;
}

/* r: what the library said of it. */
static void made(struct asked *a, int r)
{
    asock_op *op = a->op;

    if (r == 1)
        return;
    SIM_MUST(r == 0);
    told(a, LIB(asock_op_get_error(op)));
    LIB(asock_op_unref(op));
}

static void set_group(struct asked *a, unsigned int at)
{
    unsigned int address = at / GROUP_INTERFACES;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {0xff, 0x15}};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xef010000 | address)};

    in6.sin6_addr.s6_addr[15] = (uint8_t)(address - GROUP_ADDRESSES / 2);
    if (address < GROUP_ADDRESSES / 2)
        SIM_MUST(asock_op_set_endpoint(a->op, (const struct sockaddr *)&in, sizeof(in)) == 0);
    else
        SIM_MUST(asock_op_set_endpoint(a->op, (const struct sockaddr *)&in6, sizeof(in6)) == 0);
}

/* Mostly of the socket's family, and few groups by few interfaces, so that a leave meets a join. */
static unsigned int choose_group(const struct datagram_slot *slot, uint32_t salt)
{
    const struct udp *udp = udp_by_port(slot->port);
    bool is_in6 = udp && udp->local.ss_family == AF_INET6;
    unsigned int address = salt % 7 ? salt / 7 % 2 : 2;

    if (salt / 14 % 8 == 0)
        is_in6 = !is_in6;
    return (address + (is_in6 ? GROUP_ADDRESSES / 2 : 0)) * GROUP_INTERFACES +
           (salt / 112 % 4 ? 0 : salt / 448 % GROUP_INTERFACES);
}

static void ask_group(const struct datagram_slot *slot, bool join, uint32_t salt)
{
    unsigned int at = choose_group(slot, salt);
    bool has_no_interface = salt / 2000 % 10 == 0;
    struct asked *a = ask(known_of(slot), join ? ASK_JOIN : ASK_LEAVE,
                          has_no_interface ? GROUPS : at, 0);

    if (!a)
        return;
    set_group(a, at);
    made(a, LIB(asock_set_option(slot->socket, a->op,
                                 join ? ASOCK_OPTION_JOIN_GROUP : ASOCK_OPTION_LEAVE_GROUP,
                                 has_no_interface ? NO_INTERFACE : at % GROUP_INTERFACES)));
}

static void ask_option(const struct datagram_slot *slot, uint32_t salt)
{
    static const enum asock_option options[] = {
        ASOCK_OPTION_MULTICAST_HOPS, ASOCK_OPTION_MULTICAST_LOOP, ASOCK_OPTION_MULTICAST_INTERFACE};
    static const unsigned int most[] = {255, 1, GROUP_INTERFACES - 1};
    unsigned int at = salt % MULTICAST_OPTIONS;
    int value = (int)(salt / MULTICAST_OPTIONS % (most[at] + 1));
    struct asked *a = ask(known_of(slot), ASK_OPTION, at, value);

    if (a)
        made(a, LIB(asock_set_option(slot->socket, a->op, options[at], value)));
}

/* A host sends to a group: to each socket that has joined it by that interface. */
static void arrive(uint32_t salt)
{
    unsigned int at = salt % 4 / 2 * (GROUPS / 2) + salt % 2 * GROUP_INTERFACES;
    unsigned int host = 1 + salt / 4 % 5;

    for (unsigned int i = 0; i < kernel.udp_count; i++) {
        struct udp *udp = kernel.udps[i];

        if (!udp->is_closed && udp->local.ss_family && udp->groups.joined[at])
            udp_arrive(udp, host, 10 + salt % 1000);
    }
}

void step_datagram_group(const struct step *step)
{
    struct datagram_slot slot;

    if (step->b % 8 == 7)
        arrive(step->c);
    else if (datagrams_slot(step->a, &slot) && step->b % 8 < 5)
        ask_group(&slot, step->b % 8 < 3, step->c);
    else if (datagrams_slot(step->a, &slot))
        ask_option(&slot, step->c);
}

/* ---- the end ---- */

/* How it ended is unknown: the session was lost, or the daemon did not answer. */
static bool is_blurred(const struct known *k)
{
    const struct client *client = k->slot.client;

    return k->is_unknown || client->generation != k->slot.generation || !client->context ||
           client->is_lost || client->has_given_up || model_may_be_lost(client);
}

static void judge(const struct known *k, const struct udp *udp)
{
    for (unsigned int i = 0; i < GROUPS; i++) {
        if (udp->groups.joined[i] && !k->joined[i])
            sim_fail("joined-unasked: port %u is in group %u", k->slot.port, i);
        if (k->joined[i] && !udp->groups.joined[i] && !may_have_left(k, i))
            sim_fail("left-by-itself: port %u is not in group %u", k->slot.port, i);
    }
    for (unsigned int i = 0; i < MULTICAST_OPTIONS; i++)
        if (k->is_set[i] && udp->groups.values[i] != k->values[i])
            sim_fail("other-option: port %u, multicast option %u is %d, was set to %d",
                     k->slot.port, i, udp->groups.values[i], k->values[i]);
}

/* Whoever they belong to. */
static void judge_all(const struct udp *udp)
{
    bool is_denied = !policies_let_group(policies_number());

    if (udp->is_closed || !udp->local.ss_family)
        return;
    if (!udp->groups.hears_members_alone)
        sim_fail("hears-all: port %u hears groups that it has not joined", udp->owner);
    for (unsigned int i = 0; is_denied && i < GROUPS; i++)
        if (udp->groups.joined[i])
            sim_fail("stays-joined: port %u is in group %u, which policy denies", udp->owner, i);
}

void groups_judge(void)
{
    for (unsigned int i = 0; i < kernel.udp_count; i++)
        judge_all(kernel.udps[i]);
    for (unsigned int i = 0; i < PORTS; i++) {
        const struct known *k = &all.known[i];
        const struct udp *udp = k->slot.socket ? udp_by_port(k->slot.port) : NULL;

        if (udp && !udp->is_closed && !is_blurred(k))
            judge(k, udp);
    }
}
