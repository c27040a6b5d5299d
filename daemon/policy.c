/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy.h"

struct policy_answer policy_judge(const struct policy *policy,
                                  const struct policy_question *question)
{
    (void)question;
    if (policy->allow_any)
        return (struct policy_answer){.is_allowed = true};
    return (struct policy_answer){.reason = "no rule allows this destination"};
}
