/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes to the program. Those in a block are there for as long as the daemon keeps the session's
 * memory: one that has ended takes it back while a slow program has still to read.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/client.h"

/*
 * What a block has for longer may be taken back at any moment: a daemon that stops keeps it for 0.7
 * s, else it is 10 s.
 */
#define LATE_SECONDS 0.3

int deliver(struct client *client, const char *data, size_t len, size_t *written)
{
    while (*written < len) {
        ssize_t n = send(client->io.fd, data + *written, len - *written, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        *written += (size_t)n;
    }
    return 1;
}

/* Nothing goes to the program before it is known that it is what was received. */
static int write_copied(struct client *client, struct slot *slot)
{
    char *copy = client->gateway->scratch;
    int r = 1;

    while (r == 1 && slot->written < slot->len) {
        size_t len = slot->len - slot->written, written = 0;

        if (len > GATEWAY_SCRATCH)
            len = GATEWAY_SCRATCH;
        memcpy(copy, slot->data + slot->written, len);
        if (!blocks_are_intact(&client->gateway->blocks))
            return -1;
        r = deliver(client, copy, len, &written);
        slot->written += written;
    }
    return r;
}

static int write_block(struct client *client, struct slot *slot)
{
    const struct blocks *blocks = &client->gateway->blocks;
    int r;

    /* A Unix socket has no reset: nothing that it was given can be called wrong later. */
    if (!client->is_tcp || ev_now(client->gateway->loop) - slot->since > LATE_SECONDS)
        return write_copied(client, slot);
    if (!blocks_are_intact(blocks))
        return -1;
    r = deliver(client, slot->data, slot->len, &slot->written);
    /* Taken back meanwhile: what the program has got may be wrong, and must not look whole. */
    return blocks_are_intact(blocks) ? r : -1;
}

int deliver_slot(struct client *client, struct slot *slot)
{
    if (slot->is_block)
        return write_block(client, slot);
    return deliver(client, slot->data, slot->len, &slot->written);
}
