/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_H
#define ASOCKD_POLICY_H

/* Who may reach what. Every connect asks: a name before it is resolved, an address before it is tried. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct peer;

struct policy {
    bool allow_any; /* --allow-any: everything, without a question */
};

struct policy_question {
    const struct peer *peer;
    const char *listener; /* name of the listener the client came by */
    const char *host;     /* the name asked for; NULL: a literal address */
    uint16_t port;
    const struct sockaddr *addr; /* NULL: may the name be resolved at all? */
};

struct policy_answer {
    bool is_allowed;
    const char *reason; /* of a denial, for the client; static or the policy's */
};

struct policy_answer policy_judge(const struct policy *policy,
                                  const struct policy_question *question);

#endif
