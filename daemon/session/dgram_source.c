/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From which local address a datagram goes out. */
#include <string.h>

#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"
#include "proto/errors.h"

static const uint8_t zeros[16];

static const struct policy_egress *egress_of(const struct sock *sock)
{
    return &policy_view_settings(session_view(sock->session))->egress;
}

/* Is it what [Egress] Source= has for its family? */
static bool is_policys(const struct policy_egress *egress, const struct endpoint *source)
{
    const void *address = source->address_len == 4 ? (const void *)&egress->source4
                                                   : &egress->source6;

    return memcmp(address, zeros, source->address_len) != 0 &&
           memcmp(address, source->address, source->address_len) == 0;
}

/*
 * A bound socket keeps its address. What it sends without having been asked must have the source
 * that policy wants.
 */
bool dgram_has_source(const struct sock *sock, const struct endpoint *to)
{
    const struct policy_egress *egress = egress_of(sock);
    struct endpoint local = {0};

    if (!sock->more->bound || !egress->has_source)
        return true;
    return netsock_local(&sock->ns, &local) == 0 && local.address_len == to->address_len &&
           is_policys(egress, &local);
}

/*
 * An address of the socket's own; of a socket that is bound to all addresses any one, which the
 * kernel checks.
 */
static bool is_own(const struct sock *sock, const struct endpoint *source)
{
    struct endpoint local = {0};

    if (netsock_local(&sock->ns, &local) != 0 || local.address_len != source->address_len)
        return false;
    if (sock->more->bound && memcmp(local.address, zeros, local.address_len) == 0)
        return true;
    return memcmp(local.address, source->address, local.address_len) == 0 &&
           local.scope_id == source->scope_id;
}

uint32_t dgram_may_use_source(const struct sock *sock, const struct endpoint *source,
                              const struct endpoint *to, const char **ret_why)
{
    const struct policy_egress *egress = egress_of(sock);

    if (source->address_len != to->address_len)
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    if (!sock->more->bound && is_policys(egress, source))
        return ERR_SUCCESS;
    if (!is_own(sock, source)) {
        *ret_why = sock->more->bound ? "the socket is bound to another address"
                                     : "only a bound socket may choose its source address";
        return ERR_ACCESS_DENIED;
    }
    if (!egress->has_source || dgram_has_heard(sock, to) || is_policys(egress, source))
        return ERR_SUCCESS;
    *ret_why = DGRAM_SOURCE_TEXT;
    return ERR_ACCESS_DENIED;
}
