/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/show.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/policy/file.h"

/* ---- a file ---- */

static bool show_match(const struct policy_file *file, uint64_t *number, struct policy_line *ret)
{
    for (enum match_key key = 0; key < MATCH_KEY_COUNT; key++) {
        const struct match_values *values = &file->match.keys[key];

        if (*number >= values->count) {
            *number -= values->count;
            continue;
        }
        ret->kind = POLICY_LINE_MATCH;
        ret->line = values->values[*number].line;
        snprintf(ret->text, sizeof(ret->text), "%s=%s", policy_match_key_name(key),
                 values->values[*number].text);
        return true;
    }
    return false;
}

static void show_learning(const struct policy_file *file, struct policy_line *ret)
{
    time_t day = (time_t)file->learn_until - 1;
    struct tm tm;
    char text[32] = "";

    if (gmtime_r(&day, &tm))
        strftime(text, sizeof(text), "%Y-%m-%d", &tm);
    ret->kind = POLICY_LINE_SETTING;
    ret->line = file->learn_line;
    snprintf(ret->text, sizeof(ret->text), "[Rules] Mode=learn LearnUntil=%s", text);
}

static bool show_setting(const struct policy_file *file, uint64_t *number, struct policy_line *ret)
{
    unsigned int i = 0;

    for (; policy_settings_text(&file->settings, i, ret->text); i++) {
        if (*number == i) {
            ret->kind = POLICY_LINE_SETTING;
            return true;
        }
    }
    *number -= i;
    if (!file->is_learning)
        return false;
    if (*number == 0) {
        show_learning(file, ret);
        return true;
    }
    --*number;
    return false;
}

/* What a file says of connects, then of listening. False: as show_file(). */
static bool show_rule(const struct policy_file *file, uint64_t *number, struct policy_line *ret)
{
    const struct policy_listen *listen;

    if (*number < file->rule_count) {
        ret->line = file->rules[*number].line;
        policy_rule_text(&file->rules[*number], ret->text);
        return true;
    }
    *number -= file->rule_count;
    if (*number >= file->listen_count) {
        *number -= file->listen_count;
        return false;
    }
    listen = &file->listens[*number];
    ret->line = listen->rule.line;
    policy_listen_text(listen, ret->text, POLICY_LINE_TEXT_MAX);
    return true;
}

/* False: the file has so many lines less than number, which is what is left then. */
static bool show_file(const struct policy_file *file, uint64_t *number, struct policy_line *ret)
{
    ret->file = file->path;
    if ((*number)-- == 0) {
        ret->kind = POLICY_LINE_FILE;
        ret->modified = file->modified;
        ret->rules = file->rule_count;
        return true;
    }
    if (show_match(file, number, ret) || show_setting(file, number, ret))
        return true;
    ret->kind = POLICY_LINE_RULE;
    return show_rule(file, number, ret);
}

/* ---- restrictions ---- */

static bool show_restrictions(const struct policy_view *view, uint64_t *number,
                              struct policy_line *ret)
{
    unsigned int before = 0;

    if (view->base && show_restrictions(view->base, number, ret))
        return true;
    if (view->base)
        before = policy_view_restrictions(view->base);
    for (unsigned int i = 0; i < view->restriction_count; i++) {
        const struct policy_file *file = view->restrictions[i];
        size_t count = file->rule_count + file->listen_count;

        if (*number >= (count ? count : 1)) {
            *number -= count ? count : 1;
            continue;
        }
        ret->kind = POLICY_LINE_RESTRICTION;
        ret->file = NULL;
        ret->restriction = before + i + 1;
        return count == 0 || show_rule(file, number, ret);
    }
    return false;
}

bool policy_show_line(const struct policy *policy, const struct policy_view *view,
                      bool restrictions_only, uint64_t number, struct policy_line *ret)
{
    const struct policy_view *root = view ? policy_view_root(view) : NULL;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; !restrictions_only && i < policy->file_count; i++) {
        const struct policy_file *file = policy->files[i];

        if (root && file != root->unknown && !policy_view_has_file(root, i))
            continue;
        if (!show_file(file, &number, ret))
            continue;
        ret->is_unknown = root && ret->kind == POLICY_LINE_FILE && file == root->unknown;
        return true;
    }
    return view && show_restrictions(view, &number, ret);
}

/* ---- clients that are known in part ---- */

static void add_text(char *to, const char *text)
{
    size_t len = strlen(to);

    snprintf(to + len, POLICY_LINE_MAX - len, "%s", text);
}

/* As a file says it: "Group=a b Unit=c.service". */
static void describe(const struct policy_match *match, unsigned int keys,
                     char ret[static POLICY_LINE_MAX])
{
    ret[0] = '\0';
    for (enum match_key key = 0; key < MATCH_KEY_COUNT; key++) {
        if (!(keys & 1u << key))
            continue;
        add_text(ret, ret[0] ? " " : "");
        add_text(ret, policy_match_key_name(key));
        for (size_t i = 0; i < match->keys[key].count; i++) {
            add_text(ret, i > 0 ? " " : "=");
            add_text(ret, match->keys[key].values[i].text);
        }
    }
    if (strlen(ret) > 200)
        strcpy(ret + 200, "...");
}

bool policy_may_match(const struct policy_view *view, const struct identity *identity,
                      const char *listener, unsigned int given, size_t file,
                      char ret[static POLICY_LINE_MAX])
{
    const struct policy_match *match = &view->policy->files[file]->match;
    unsigned int misses = policy_match_misses(match, identity, listener);

    if (policy_view_has_file(view, file) || misses == 0 || (misses & given))
        return false;
    for (enum match_key key = 0; key < MATCH_KEY_COUNT; key++)
        if (misses & 1u << key && match->keys[key].unknown == match->keys[key].count)
            return false; /* no client is */
    describe(match, misses, ret);
    return true;
}
