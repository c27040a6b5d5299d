/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Multicast groups of a bound datagram socket. */
#include <string.h>

#include "daemon/net/udp.h"
#include "daemon/session/dgram.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "proto/errors.h"

static struct endpoint *find_group(struct sock *sock, const struct endpoint *group)
{
    struct dgram_answers *answers = sock->more->dgram->answers;

    for (unsigned int i = 0; i < answers->group_count; i++)
        if (memcmp(&answers->groups[i], group, sizeof(*group)) == 0)
            return &answers->groups[i];
    return NULL;
}

/* Where a datagram to the group goes. */
static struct endpoint there(const struct sock *sock, const struct endpoint *group)
{
    struct endpoint to = *group;

    to.port = sock->more->bound->local.port;
    if (group->address_len == 4)
        to.scope_id = 0;
    return to;
}

uint32_t dgram_join(struct sock *sock, const struct endpoint *group,
                    char reason[static POLICY_REASON_MAX + 1])
{
    struct dgram_answers *answers = sock->more->dgram->answers;
    struct endpoint to = there(sock, group);
    uint32_t error;
    int r;

    reason[0] = '\0';
    if (find_group(sock, group))
        return ERR_ADDRESS_ALREADY_IN_USE;
    if (answers->group_count == DGRAM_GROUPS_MAX)
        return ERR_NO_BUFFER_SPACE;
    error = dgram_may_send(sock, &to, reason);
    if (error != ERR_SUCCESS)
        return error;
    r = udp_join(&sock->ns, group, true);
    if (r < 0)
        return asock_error_from_errno(r);
    answers->groups[answers->group_count++] = *group;
    return ERR_SUCCESS;
}

static int drop(struct sock *sock, struct endpoint *group)
{
    struct dgram_answers *answers = sock->more->dgram->answers;
    int r = udp_join(&sock->ns, group, false);

    *group = answers->groups[--answers->group_count];
    return r;
}

uint32_t dgram_leave(struct sock *sock, const struct endpoint *group)
{
    struct endpoint *found = find_group(sock, group);
    int r = found ? drop(sock, found) : 0;

    if (!found)
        return ERR_ADDRESS_NOT_AVAILABLE;
    return r < 0 ? asock_error_from_errno(r) : (uint32_t)ERR_SUCCESS;
}

void dgram_judge_groups(struct sock *sock)
{
    struct dgram_answers *answers = sock->more->dgram ? sock->more->dgram->answers : NULL;

    for (unsigned int i = answers ? answers->group_count : 0; i > 0; i--) {
        struct endpoint to = there(sock, &answers->groups[i - 1]);

        if (!dgram_is_allowed(sock, &to))
            drop(sock, &answers->groups[i - 1]);
    }
}
