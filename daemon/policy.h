/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_H
#define ASOCKD_POLICY_H

/*
 * Who may reach what. Every connect asks: a name before it is resolved, an address before it is tried.
 * A policy is made once and never changed; a view is what it says about one client.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct peer;
struct policy;
struct policy_view;

enum policy_base {
    POLICY_DENY, /* no rule: nothing is allowed */
    POLICY_ANY,  /* --allow-any: everything, without a question */
};

/* NULL without memory. */
struct policy *policy_new(enum policy_base base);
struct policy *policy_ref(struct policy *policy);
struct policy *policy_unref(struct policy *policy); /* accepts NULL; returns it */

/* Octets of the text a rule has for the client, without the NUL. */
#define POLICY_REASON_MAX 200u

struct policy_question {
    const char *host;            /* the name asked for; NULL: a literal address */
    uint16_t port;               /* host byte order */
    const struct sockaddr *addr; /* NULL: may the name be resolved at all? */
};

/* Its texts live until the view gets another policy or goes. */
struct policy_answer {
    bool is_allowed;
    const char *reason; /* of a denial, for the client */
};

/* What policy says to the client at the other end of listener. NULL without memory. */
struct policy_view *policy_view_new(struct policy *policy, const struct peer *peer,
                                    const char *listener);
struct policy_view *policy_view_free(struct policy_view *view); /* accepts NULL; returns it */

struct policy_answer policy_judge(const struct policy_view *view,
                                  const struct policy_question *question);

#endif
