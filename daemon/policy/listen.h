/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_LISTEN_H
#define ASOCKD_POLICY_LISTEN_H

/*
 * Who may listen where, and whom such a listener may hear: Listen= and Reserve= of
 * asockd.policy(5). Nothing is allowed that no Listen= is about. A Reserve= keeps what it is about
 * from every client that its file is not about.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/policy/policy.h"
#include "daemon/policy/rule.h"

#define POLICY_LISTENS_MAX                                                                         \
    1024u                   /* Listen= and Reserve= of a policy: each is looked at for each peer */
#define POLICY_FROM_MAX 32u /* networks of one Listen= */

struct policy_net {
    int family;
    uint8_t prefix;
    uint8_t net[16];
};

struct policy_listen {
    bool is_reserve;
    struct policy_rule
        rule; /* its host is RULE_ANY or RULE_NET; ports from 0: one that the kernel chooses */
    struct policy_net *from; /* NULL: every peer */
    size_t from_count;
};

/* What stands behind "Listen=" or "Reserve="; as policy_rule_parse(). */
int policy_listen_parse(struct conf_reader *reader, bool is_reserve, const char *value,
                        struct services **services, struct policy_listen *ret);
void policy_listen_deinit(struct policy_listen *listen);
/* Those of a file that have been added, by their places. Zeroes: none. */
#define POLICY_LISTEN_SLOTS (2u * POLICY_LISTENS_MAX)
struct policy_listen_set {
    uint16_t *slots; /* numbers + 1, by hash; NULL until the first one */
};

/*
 * The same of one file, one behind the other. 0, -EBADMSG, -ENOMEM; then what was added so far
 * stays.
 */
struct policy_file;
int policy_listen_add(struct policy_file *file, struct policy_listen_set *set,
                      struct conf_reader *reader, bool is_reserve, const char *value,
                      struct services **services);
void policy_listen_set_deinit(struct policy_listen_set *set);

/* "Listen=tcp 127.0.0.1 80 from 10.0.0.0/8,10.1.0.0/16". What does not fit is "...". */
void policy_listen_text(const struct policy_listen *listen, char *ret, size_t cap);

/*
 * Of a protocol: may the client listen at `local`, whose port is the one that it asks for (0:
 * whichever the kernel gives)? And may `peer` connect to it there; NULL: that is not the question.
 * An IPv6 listener for all addresses that takes IPv4 too is two questions, unless there is a peer:
 * then its family says which of them it is.
 */
struct policy_answer policy_judge_listen(const struct policy_view *view,
                                         enum policy_protocol protocol,
                                         const struct sockaddr *local, bool is_dual,
                                         const struct sockaddr *peer);
/* Of a port that the kernel has given: is it kept for somebody else? */
bool policy_is_reserved(const struct policy_view *view, enum policy_protocol protocol,
                        const struct sockaddr *local, bool is_dual);

#endif
