/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "base/alloc.h"

struct policy {
    unsigned int refs;
    enum policy_base base;
};

struct policy_view {
    struct policy *policy;
    struct policy_settings settings;
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

int policy_load(const struct policy_source *source, char ret_error[static POLICY_ERROR_MAX],
                struct policy **ret)
{
    *ret_error = '\0';
    if (source->base == POLICY_DENY) {
        snprintf(ret_error, POLICY_ERROR_MAX, "policy files are not supported");
        return -EOPNOTSUPP;
    }
    *ret = policy_new(source->base);
    return *ret ? 0 : -ENOMEM;
}

size_t policy_file_count(const struct policy *policy)
{
    (void)policy;
    return 0;
}

struct policy_view *policy_view_new(struct policy *policy, const struct peer *peer,
                                    const char *listener)
{
    struct policy_view *view = mem_zalloc(1, sizeof(*view));

    if (!view)
        return NULL;
    policy_view_replace(view, policy, peer, listener);
    return view;
}

void policy_view_replace(struct policy_view *view, struct policy *policy, const struct peer *peer,
                         const char *listener)
{
    struct policy *before = view->policy;

    (void)peer;
    (void)listener;
    view->policy = policy_ref(policy);
    policy_unref(before);
}

const struct policy_settings *policy_view_settings(const struct policy_view *view)
{
    return &view->settings;
}

int policy_view_restrict(struct policy_view *view, const char *text, size_t len,
                         char ret_error[static POLICY_ERROR_MAX])
{
    (void)view;
    (void)text;
    (void)len;
    snprintf(ret_error, POLICY_ERROR_MAX, "restrictions are not supported");
    return -EBADMSG;
}

unsigned int policy_view_restrictions(const struct policy_view *view)
{
    (void)view;
    return 0;
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
