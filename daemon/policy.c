/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy.h"

#include <assert.h>
#include <stddef.h>

#include "base/alloc.h"

struct policy {
    unsigned int refs;
    enum policy_base base;
};

struct policy_view {
    struct policy *policy;
};

struct policy *policy_new(enum policy_base base)
{
    struct policy *policy = mem_zalloc(1, sizeof(*policy));

    if (!policy)
        return NULL;
    policy->refs = 1;
    policy->base = base;
    return policy;
}

struct policy *policy_ref(struct policy *policy)
{
    policy->refs++;
    return policy;
}

struct policy *policy_unref(struct policy *policy)
{
    if (!policy)
        return NULL;
    assert(policy->refs > 0);
    return --policy->refs > 0 ? NULL : mem_free(policy);
}

struct policy_view *policy_view_new(struct policy *policy, const struct peer *peer,
                                    const char *listener)
{
    struct policy_view *view = mem_zalloc(1, sizeof(*view));

    (void)peer;
    (void)listener;
    if (!view)
        return NULL;
    view->policy = policy_ref(policy);
    return view;
}

struct policy_view *policy_view_free(struct policy_view *view)
{
    if (!view)
        return NULL;
    policy_unref(view->policy);
    return mem_free(view);
}

struct policy_answer policy_judge(const struct policy_view *view,
                                  const struct policy_question *question)
{
    (void)question;
    if (view->policy->base == POLICY_ANY)
        return (struct policy_answer){.is_allowed = true};
    return (struct policy_answer){.reason = "no rule allows this destination"};
}
