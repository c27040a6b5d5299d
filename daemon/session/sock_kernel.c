/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a socket's buffers in the kernel may grow to, and who is charged for it.
 *
 * Happy path: before a connect both directions are charged with what the kernel's autotuning may
 * take, as long as less than half of the session's share is in use.
 * Failures: beyond that the buffers are set to a small size, which ends the autotuning, and charged
 * as that; no room for that either: the connect ends. A size that the client has set is charged
 * instead; the kernel doubles it for its own bookkeeping.
 */
#include <errno.h>

#include "daemon/core/quota.h"
#include "daemon/session/sock.h"

enum direction { SENDING, RECEIVING };

static const uint32_t options[] = {
    [SENDING] = OPTION_SEND_BUFFER, [RECEIVING] = OPTION_RECEIVE_BUFFER};

static bool is_set(const struct sock *sock, enum direction d)
{
    return sock->more->options && sock->more->options->set & UINT32_C(1) << options[d];
}

/* What the kernel makes of a size that is set. */
static uint64_t doubled(const struct sock *sock, enum direction d, int64_t size)
{
    const struct netsock_buffers *b = &sock->worker->buffers;
    uint64_t most = d == SENDING ? b->send_most : b->receive_most;
    uint64_t value = (uint64_t)size * 2;

    if (value < KERNEL_BUFFER_MIN)
        return KERNEL_BUFFER_MIN;
    return most != 0 && value > most ? most : value;
}

static uint64_t autotuned(const struct sock *sock, enum direction d)
{
    const struct netsock_buffers *b = &sock->worker->buffers;

    if (sock->more->dgram)
        return d == SENDING ? b->datagram_send : b->datagram_receive;
    return d == SENDING ? b->send_auto : b->receive_auto;
}

static uint64_t size_of(const struct sock *sock, enum direction d, bool small)
{
    if (is_set(sock, d))
        return doubled(sock, d, sock->more->options->values[options[d]]);
    return small ? doubled(sock, d, KERNEL_BUFFER_SMALL) : autotuned(sock, d);
}

/* The small ones of other sockets have room beside it. */
static bool may_grow(const struct sock *sock, uint64_t bytes)
{
    struct quota_usage usage = {0, QUOTA_NONE};

    if (sock_quota(sock))
        usage = quota_usage(sock_quota(sock), QUOTA_KERNEL);
    return usage.used <= usage.most / 2 && bytes <= usage.most / 2 - usage.used;
}

int sock_charge_buffers(struct sock *sock)
{
    uint64_t sending = size_of(sock, SENDING, false), receiving = size_of(sock, RECEIVING, false);

    sock->has_small_buffers = !may_grow(sock, sending + receiving);
    if (sock->has_small_buffers) {
        sending = size_of(sock, SENDING, true);
        receiving = size_of(sock, RECEIVING, true);
    }
    sock_uncharge_buffers(sock); /* what options of a bound socket had */
    if (quota_charge(sock_quota(sock), QUOTA_KERNEL, sending + receiving) < 0)
        return -ENOBUFS;
    sock->kernel[SENDING] = (uint32_t)sending;
    sock->kernel[RECEIVING] = (uint32_t)receiving;
    return 0;
}

void sock_uncharge_buffers(struct sock *sock)
{
    quota_uncharge(sock_quota(sock), QUOTA_KERNEL,
                   (uint64_t)sock->kernel[SENDING] + sock->kernel[RECEIVING]);
    sock->kernel[SENDING] = sock->kernel[RECEIVING] = 0;
}

int sock_fix_buffers(const struct sock *sock, struct netsock *ns)
{
    int r = 0;

    for (enum direction d = SENDING; sock->has_small_buffers && d <= RECEIVING && r == 0; d++)
        if (!is_set(sock, d))
            r = netsock_set_option(ns, options[d], KERNEL_BUFFER_SMALL);
    return r;
}

static void settle(struct sock *sock, enum direction d, uint64_t bytes)
{
    if (bytes < sock->kernel[d]) {
        quota_uncharge(sock_quota(sock), QUOTA_KERNEL, sock->kernel[d] - bytes);
        sock->kernel[d] = (uint32_t)bytes;
    }
}

/* A larger size is charged before it is set, and a smaller one given back afterwards. */
static int set_size(struct sock *sock, enum direction d, int32_t size, sock_apply_fn apply)
{
    uint64_t before = sock->kernel[d], bytes = doubled(sock, d, size);
    int r;

    if (bytes > before) {
        if (quota_charge(sock_quota(sock), QUOTA_KERNEL, bytes - before) < 0)
            return -ENOBUFS;
        sock->kernel[d] = (uint32_t)bytes;
    }
    r = apply(sock, options[d], size);
    settle(sock, d, r < 0 ? before : bytes);
    return r;
}

int sock_set_option(struct sock *sock, uint32_t option, int32_t value, sock_apply_fn apply)
{
    if (option == OPTION_SEND_BUFFER)
        return set_size(sock, SENDING, value, apply);
    if (option == OPTION_RECEIVE_BUFFER)
        return set_size(sock, RECEIVING, value, apply);
    return apply(sock, option, value);
}
