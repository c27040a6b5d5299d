/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_PORTS_H
#define ASOCKD_POLICY_PORTS_H

/* Which of the rules about one host decides for a port; index.c's own. */
#include <stdint.h>

#include "daemon/policy/rule.h"

struct policy_span {
    uint16_t first, last; /* ports */
    uint32_t rule;        /* that decides for them */
};

/*
 * It stands where the host is found, so that a judgement touches as little memory as it can: with
 * many rules each line of it that is not in a cache costs more than all the rest.
 */
struct policy_decision {
    struct policy_span span; /* the only one; else .rule is the first rule of all */
    uint32_t spans;          /* 0: no rule is about the host */
    uint32_t place;          /* of several spans, among those of all hosts */
};

/*
 * Divides the ports among the rules with these numbers. Room for six numbers and two spans per
 * rule; returns the count of the spans.
 */
uint32_t policy_ports_divide(const struct policy_rule *rules, const uint32_t *numbers,
                             uint32_t rule_count, uint32_t *room, struct policy_span *ret);

/* The rule that decides for that port, if it comes before best; else best. spans: of all hosts. */
uint32_t policy_ports_first(const struct policy_span *spans, const struct policy_decision *decision,
                            uint16_t port, uint32_t best);

/*
 * The last port from this one on, until at most, for which the host's rules decide in the same way.
 */
uint16_t policy_ports_until(const struct policy_span *spans, const struct policy_decision *decision,
                            uint16_t port, uint16_t until);

#endif
