/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/policy.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/identity/identity.h"
#include "daemon/policy/file.h"

/* ---- view ---- */

/* The first few of them. */
static size_t describe_groups(const struct identity *identity, char *to, size_t size)
{
    size_t n = (size_t)snprintf(to, size, ", groups %u", (unsigned int)identity->gid);
    uint32_t i = 0;

    for (; identity->gids && i < identity->gid_count && n + 16 < size; i++)
        if (identity->gids[i] != identity->gid)
            n += (size_t)snprintf(to + n, size - n, " %u", (unsigned int)identity->gids[i]);
    if (i < identity->gid_count)
        n += (size_t)snprintf(to + n, size - n, " ...");
    return n;
}

/* Its own facts, as far as there is room: what a file would have to name. */
static void describe(const struct identity *identity, const char *listener, char *to, size_t size)
{
    const char *unit = identity->user_unit[0] ? identity->user_unit : identity->unit;
    size_t n = (size_t)snprintf(to, size, "no policy file applies to this client (listener %.31s",
                                listener);

    if (identity->uid == IDENTITY_ID_UNKNOWN)
        n += (size_t)snprintf(to + n, size - n, ", user unknown");
    else if (identity->uid != IDENTITY_ID_NOBODY)
        n += (size_t)snprintf(to + n, size - n, ", uid %u", (unsigned int)identity->uid);
    if (identity->gid < IDENTITY_ID_NOBODY)
        n += describe_groups(identity, to + n, 64);
    if (unit[0] && strlen(unit) + 10 < size - n)
        n += (size_t)snprintf(to + n, size - n, ", unit %s", unit);
    snprintf(to + n, size - n, ")");
}

const char *policy_view_unmatched(const struct policy_view *view)
{
    const struct policy_view *root = policy_view_root(view);

    return root->nobody[0] ? root->nobody : "no rule allows this destination";
}

/* Is any of them about it? One that is empty only masks another one. */
static bool take_files(struct policy_view *view, const struct identity *identity,
                       const char *listener)
{
    bool is_meant = false;

    for (size_t i = 0; i < view->policy->file_count; i++) {
        const struct policy_file *file = view->policy->files[i];
        struct match_doubt doubt = {0};

        switch (policy_match(&file->match, identity, listener, &doubt)) {
        case MATCH_YES:
            view->matched[i / 64] |= UINT64_C(1) << i % 64;
            is_meant |= !file->is_empty;
            policy_settings_merge(&view->settings, &file->settings);
            break;
        case MATCH_UNKNOWN:
            if (view->unknown || !policy_file_is_strict(file))
                break;
            view->unknown = file;
            view->doubt = doubt;
            break;
        case MATCH_NO:
            break;
        }
    }
    return is_meant;
}

void policy_view_replace(struct policy_view *view, struct policy *policy,
                         const struct identity *identity, const char *listener)
{
    struct policy *before = view->policy;

    assert(!view->base);
    view->policy = policy_ref(policy);
    policy_unref(before);
    memset(view->matched, 0, sizeof(view->matched));
    memset(&view->settings, 0, sizeof(view->settings));
    view->unknown = NULL;
    view->nobody[0] = '\0';
    if (!take_files(view, identity, listener))
        describe(identity, listener, view->nobody, sizeof(view->nobody));
}

bool policy_view_has(const struct policy_view *view, const struct policy *policy)
{
    return view->policy == policy;
}

struct policy_view *policy_view_new(struct policy *policy, const struct identity *identity,
                                    const char *listener)
{
    struct policy_view *view = mem_zalloc(1, sizeof(*view));

    if (view)
        policy_view_replace(view, policy, identity, listener);
    return view;
}

struct policy_view *policy_view_new_below(const struct policy_view *base)
{
    struct policy_view *view = mem_zalloc(1, sizeof(*view));

    if (view)
        view->base = base;
    return view;
}

const struct policy_view *policy_view_root(const struct policy_view *view)
{
    while (view->base)
        view = view->base;
    return view;
}

struct policy_view *policy_view_free(struct policy_view *view)
{
    if (!view)
        return NULL;
    for (unsigned int i = 0; i < view->restriction_count; i++) {
        policy_file_free(view->restrictions[i]);
        mem_free(view->texts[i]);
    }
    policy_unref(view->policy);
    return mem_free(view);
}

const struct policy_settings *policy_view_settings(const struct policy_view *view)
{
    return &policy_view_root(view)->settings;
}

const struct policy *policy_view_policy(const struct policy_view *view)
{
    return policy_view_root(view)->policy;
}

unsigned int policy_view_restrictions(const struct policy_view *view)
{
    unsigned int count = 0;

    for (; view; view = view->base)
        count += view->restriction_count;
    return count;
}

static int refuse(char *error, const char *why)
{
    snprintf(error, POLICY_ERROR_MAX, "restriction: %s", why);
    return -E2BIG;
}

const char *policy_view_restriction(const struct policy_view *view, unsigned int number,
                                    size_t *ret_len)
{
    if (number >= view->restriction_count)
        return NULL;
    *ret_len = view->texts[number]->len;
    return view->texts[number]->text;
}

/* For a process that takes over the session: it reads it again. */
static struct policy_text *keep_text(const char *text, size_t len)
{
    struct policy_text *kept = mem_alloc(sizeof(*kept) + len);

    if (!kept)
        return NULL;
    kept->len = len;
    if (len > 0)
        memcpy(kept->text, text, len);
    return kept;
}

static int restrict_view(struct policy_view *view, const char *text, size_t len, size_t rules_max,
                         char error[static POLICY_ERROR_MAX])
{
    struct policy_file *file = NULL;
    struct conf_reader reader;
    int r;

    if (view->restriction_count == POLICY_RESTRICTIONS_MAX)
        return refuse(error, "the session already has the maximum number of restrictions");
    if (len > POLICY_RESTRICTION_TEXT_MAX)
        return refuse(error, "the text is too long");
    r = asock_conf_open_text(&reader, "restriction", text, len);
    if (r == 0)
        r = policy_file_parse(&reader, POLICY_RESTRICTION, rules_max, &file);
    snprintf(error, POLICY_ERROR_MAX, "%s", reader.error);
    asock_conf_close(&reader);
    if (r < 0)
        return r;
    view->texts[view->restriction_count] = keep_text(text, len);
    if (!view->texts[view->restriction_count]) {
        policy_file_free(file);
        return -ENOMEM;
    }
    view->restriction_rules += file->rule_count + file->listen_count;
    view->restrictions[view->restriction_count++] = file;
    return 0;
}

int policy_view_restrict(struct policy_view *view, const char *text, size_t len,
                         char ret_error[static POLICY_ERROR_MAX])
{
    size_t used = view->restriction_rules, most = POLICY_RESTRICTION_RULES_MAX;

    return restrict_view(view, text, len, used < most ? most - used : 0, ret_error);
}

int policy_view_restrict_again(struct policy_view *view, const char *text, size_t len,
                               char ret_error[static POLICY_ERROR_MAX])
{
    return restrict_view(view, text, len, POLICY_RESTRICTION_RULES_MAX + POLICY_LISTENS_MAX,
                         ret_error);
}
