/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_JUDGE_PORTS_H
#define ASOCKD_JUDGE_PORTS_H

#include "daemon/policy/policy.h"

/*
 * A question without a port: is there one for which the name, if there is one, and the address, if
 * there is one, are both allowed? Each range of ports that the rules tell apart takes a step; after
 * *steps of them, which are counted down, the answer is no. A denial is the one of a rule, if there
 * is one.
 */
#define POLICY_STEPS 1024u /* for all addresses of a name */
/* Where the question is; zero at its beginning. The policy may change between two steps. */
struct policy_ports {
    uint32_t port;        /* of the next range; 0: the first one */
    uint16_t denial_port; /* of the denial to report; 0: none yet */
    bool is_rules;        /* that is the one of a rule */
};
/*
 * One step of it, which takes the longer the more files and restrictions there are. True: *ret is
 * the answer.
 */
bool policy_judge_ports_more(const struct policy_view *view, const struct policy_question *question,
                             struct policy_ports *at, unsigned int *steps,
                             struct policy_answer *ret);
/* All of them. */
struct policy_answer policy_judge_ports(const struct policy_view *view,
                                        const struct policy_question *question,
                                        unsigned int *steps);

#endif
