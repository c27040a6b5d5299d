/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is charged is what is held, between any two turns. */
#include "tests/sim/held.h"

#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/session_farewell.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/wire/status_page.h"
#include "tests/sim/kernel.h"
#include "tests/sim/seams.h"
#include "tests/sim/sim.h"

/*
 * Of the daemon's memory, beside what its clients are charged for: its own, and what it keeps for
 * the next one.
 */
#define OWN_BYTES (8u << 20)

static void add_socket(const struct sock *sock, uint64_t held[static QUOTA_RESOURCES])
{
    if (!sock_quota(sock))
        return;
    held[QUOTA_KERNEL] += sock->kernel[0] + sock->kernel[1];
    held[QUOTA_LINGERS] += sock->ending != NULL;
    held[QUOTA_MEMORY] += sock_ending_memory(sock);
    held[QUOTA_KERNEL] += sock->more->bound ? sock->more->bound->charged : 0;
}

/* The kernel counts descriptors on the way to one client against all of them (S68). */
static void check_fetched(const struct session *s)
{
    const struct kfile *file = s->transport.fd < 0 ? NULL : fd_file(s->transport.fd);
    unsigned int count = file ? unix_unfetched(file->u.unix_end) : 0;

    if (count > s->limits.sockets)
        sim_fail("unfetched: %u connections are on the way to a client that may have %u sockets",
                 count, s->limits.sockets);
}

static void add_session(const struct session *s, uint64_t held[static QUOTA_RESOURCES])
{
    const struct sock *sock;

    if (!s->quota)
        return;
    held[QUOTA_CLIENTS] += s->held.is_client;
    held[QUOTA_HELLOS] += s->held.is_mute;
    held[QUOTA_SOCKETS] += s->held.sockets;
    held[QUOTA_OPS] += s->held.ops;
    held[QUOTA_MEMORY] += s->held.memory + s->restrictions;
    held[QUOTA_SHARED] += s->shared + (s->status ? STATUS_PAGE_LENGTH : 0);
    held[QUOTA_BUFFERS] += s->buffer_count + (s->status ? 1 : 0);
    session_for_each_sock (s, sock)
        add_socket(sock, held);
    check_fetched(s);
}

/* Blocks, slices, connects and entries of the audit are charged too, but not listed. */
static bool is_as_charged(enum quota_resource resource, uint64_t held, uint64_t used)
{
    switch (resource) {
    case QUOTA_ATTEMPTS:
    case QUOTA_AUDIT:
        return true;
    case QUOTA_MEMORY:
        return used >= held;
    default:
        return used == held;
    }
}

void held_check(const struct worker *w)
{
    uint64_t held[QUOTA_RESOURCES] = {0};
    size_t bytes;

    list_for_each (&w->sessions, it)
        add_session(container_of(it, struct session, node), held);
    list_for_each (&w->drains, it)
        add_socket(container_of(it, struct sock, node), held);
    held[QUOTA_SOCKETS] += w->shared_listener_count;
    held[QUOTA_MEMORY] += (uint64_t)w->shared_listener_count * MEMORY_SHARED_LISTENER;
    held[QUOTA_LOOKUPS] = seams_resolver_charged(w->resolver);
    for (enum quota_resource r = 0; r < QUOTA_RESOURCES; r++) {
        uint64_t used = quota_usage(w->quota, r).used;

        if (!is_as_charged(r, held[r], used))
            sim_fail("mischarged: %llu of %s, and %llu are held", (unsigned long long)used,
                     quota_resource_name(r), (unsigned long long)held[r]);
    }
    alloc_count(ACTOR_DAEMON, &bytes);
    if (bytes > 2 * quota_usage(w->quota, QUOTA_MEMORY).used + OWN_BYTES)
        sim_fail("uncharged: %zu bytes of the daemon's, %llu are charged", bytes,
                 (unsigned long long)quota_usage(w->quota, QUOTA_MEMORY).used);
}

static unsigned int unread;

void held_remember_unread(const struct worker *w)
{
    unread = 0;
    list_for_each (&w->sessions, it)
        unread += session_has_unread(container_of(it, struct session, node));
}

void held_check_unread(const struct worker *w)
{
    unsigned int n = 0;

    list_for_each (&w->sessions, it)
        n += container_of(it, struct session, node)->had_ended;
    if (n != unread)
        sim_fail("uncharged: of %u sessions with descriptors to fetch %u have gone over", unread,
                 n);
}
