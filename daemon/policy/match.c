/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/match.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/names/userdb.h"
#include "daemon/identity/identity.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const char *const names[MATCH_KEY_COUNT] = {
    [MATCH_USER] = "User",          [MATCH_GROUP] = "Group",   [MATCH_UNIT] = "Unit",
    [MATCH_USER_UNIT] = "UserUnit", [MATCH_CGROUP] = "Cgroup", [MATCH_LISTENER] = "Listener",
};

const char *policy_match_key_name(enum match_key key)
{
    return names[key];
}

/* ---- values ---- */

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

static bool consists_of(const char *text, const char *characters)
{
    return text[strspn(text, characters)] == '\0';
}

/* Kinds of units that processes are in; all but the last two may be delegated. */
bool policy_match_is_unit(const char *text)
{
    static const char *const kinds[] = {".service", ".scope", ".socket", ".mount", ".swap"};

    if (strlen(text) >= IDENTITY_UNIT_MAX || !consists_of(text, LETTERS DIGITS ":-_.\\@") ||
        strstr(text, "@."))
        return false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (ends_in(text, kinds[i]))
            return true;
    }
    return false;
}

/*
 * Anchored: it begins with something, and says of what kind the units are; '*' stands for any
 * characters between.
 */
static bool is_unit_pattern(const char *text)
{
    char literal[IDENTITY_UNIT_MAX];
    size_t n = 0;

    if (*text == '*' || strlen(text) >= sizeof(literal))
        return false;
    for (; *text; text++)
        literal[n++] = *text == '*' ? 'x' : *text;
    literal[n] = '\0';
    return policy_match_is_unit(literal);
}

static int check_unit(struct conf_reader *reader, const char *text)
{
    if (policy_match_is_unit(text) || (strchr(text, '*') && is_unit_pattern(text)))
        return 0;
    if (strchr(text, '*'))
        return asock_conf_refuse(
            reader,
            "\"%s\": a pattern must begin with part of the name and end with the type, as in foo@*.service",
            text);
    return asock_conf_refuse(reader, "\"%s\" is not a unit with processes, such as foo.service",
                             text);
}

/* A wildcard below anything but slices would never match. */
static int check_component(struct conf_reader *reader, const char *text, size_t len,
                           bool *below_unit)
{
    if (len == 0 || (len == 1 && text[0] == '.') || (len == 2 && strncmp(text, "..", 2) == 0))
        return asock_conf_refuse(reader, "a cgroup path must not have empty, . or .. components");
    if (memchr(text, '*', len)) {
        if (*below_unit)
            return asock_conf_refuse(
                reader, "* works only below slices: give the full name instead of \"%.*s\"",
                (int)len, text);
        return 0;
    }
    if (len <= 6 || strncmp(text + len - 6, ".slice", 6) != 0)
        *below_unit = true;
    return 0;
}

static int check_cgroup(struct conf_reader *reader, const char *text)
{
    bool below_unit = false;
    const char *p = text;
    int r = 0;

    if (*p != '/')
        return asock_conf_refuse(reader, "\"%s\": a cgroup path must begin with /", text);
    if (strpbrk(text, "?[]"))
        return asock_conf_refuse(reader, "\"%s\": the only wildcard is *", text);
    if (strlen(text) >= IDENTITY_CGROUP_MAX)
        return asock_conf_refuse(reader, "the cgroup path is longer than %d bytes",
                                 IDENTITY_CGROUP_MAX - 1);
    while (r == 0 && *p) {
        size_t len = strcspn(++p, "/");

        r = check_component(reader, p, len, &below_unit);
        p += len;
    }
    return r;
}

static int check_listener(struct conf_reader *reader, const char *text)
{
    if (strlen(text) < 32 && consists_of(text, LETTERS DIGITS "-_.@"))
        return 0;
    return asock_conf_refuse(reader, "\"%s\" is not a valid listener name", text);
}

/* An account that was deleted, or is not there yet, must not take all other files with it. */
static int check_account(struct conf_reader *reader, enum match_key key, struct match_value *value)
{
    const char *text = value->text;
    int r;

    value->is_not = key == MATCH_USER && *text == '!';
    text += value->is_not;
    if (key == MATCH_GROUP && *text == '!')
        return asock_conf_refuse(
            reader, "Group=%s: a group cannot be excluded, because a client can leave it", text);
    if (value->is_not && !*text)
        return asock_conf_refuse(reader, "User=! must be followed by the name of a user");
    if (strpbrk(text, ":/,\"") || *text == '-')
        return asock_conf_refuse(reader, "%s=%s: neither a name nor a number", names[key], text);
    r = key == MATCH_USER ? userdb_find_user(text, &value->id)
                          : userdb_find_group(text, &value->id);
    if (r == -ENOENT) {
        value->is_unknown = true;
        value->id = IDENTITY_ID_UNKNOWN;
        return 0;
    }
    if (r == 0 || r == -ENOMEM)
        return r;
    return asock_conf_refuse(reader, "%s=%s: %s", names[key], text,
                             r == -EINVAL ? "not a number from 0 to 4294967294" : strerror(-r));
}

static int check_value(struct conf_reader *reader, enum match_key key, struct match_value *value)
{
    switch (key) {
    case MATCH_USER:
    case MATCH_GROUP:
        return check_account(reader, key, value);
    case MATCH_UNIT:
    case MATCH_USER_UNIT:
        return check_unit(reader, value->text);
    case MATCH_CGROUP:
        return check_cgroup(reader, value->text);
    case MATCH_LISTENER:
        return check_listener(reader, value->text);
    case MATCH_KEY_COUNT:
        break;
    }
    return -EINVAL;
}

static bool is_there(const struct match_values *values, enum match_key key,
                     const struct match_value *value)
{
    bool is_id = (key == MATCH_USER || key == MATCH_GROUP) && !value->is_unknown;

    for (size_t i = 0; i < values->count; i++) {
        bool is_same = is_id ? values->values[i].id == value->id &&
                                   values->values[i].is_not == value->is_not
                             : strcmp(values->values[i].text, value->text) == 0;

        if (is_same)
            return true;
    }
    return false;
}

static int append(struct match_values *values, const struct match_value *value)
{
    struct match_value *grown = mem_realloc(values->values,
                                            (values->count + 1) * sizeof(*values->values));
    size_t len = strlen(value->text) + 1;
    char *copy;

    if (!grown)
        return -ENOMEM;
    values->values = grown;
    copy = mem_alloc(len);
    if (!copy)
        return -ENOMEM;
    grown[values->count] = *value;
    grown[values->count++].text = memcpy(copy, value->text, len);
    values->unknown += value->is_unknown && !value->is_not;
    values->nots += value->is_not;
    return 0;
}

static int add_value(struct policy_match *match, struct conf_reader *reader, enum match_key key,
                     char *text)
{
    struct match_values *values = &match->keys[key];
    struct match_value value = {.text = text, .line = reader->line};
    int r = check_value(reader, key, &value);

    if (r < 0)
        return r;
    if (is_there(values, key, &value))
        return asock_conf_refuse(reader, "%s=%s is given twice", names[key], text);
    if (values->count == 0)
        values->line = reader->line;
    return append(values, &value);
}

int policy_match_parse(struct policy_match *match, struct conf_reader *reader,
                       const struct conf_item *item)
{
    char text[CONF_LINE_MAX + 1], *save = NULL, *value;
    enum match_key key = 0;
    int r = 0;

    while (key < MATCH_KEY_COUNT && strcmp(names[key], item->key) != 0)
        key++;
    if (key == MATCH_KEY_COUNT)
        return asock_conf_refuse(reader, "unknown key %s= in [Match]", item->key);
    strcpy(text, item->value);
    for (value = strtok_r(text, " ", &save); value && r == 0; value = strtok_r(NULL, " ", &save))
        r = add_value(match, reader, key, value);
    return r;
}

int policy_match_check(const struct policy_match *match, struct conf_reader *reader)
{
    const struct match_values *user_units = &match->keys[MATCH_USER_UNIT];

    if (user_units->count == 0 || match->keys[MATCH_USER].count > match->keys[MATCH_USER].nots)
        return 0;
    reader->line = user_units->line;
    return asock_conf_refuse(
        reader, "UserUnit= requires User=, because users choose the names of their units");
}

void policy_match_deinit(struct policy_match *match)
{
    for (size_t key = 0; key < MATCH_KEY_COUNT; key++) {
        struct match_values *values = &match->keys[key];

        for (size_t i = 0; i < values->count; i++)
            mem_free(values->values[i].text);
        values->values = mem_free(values->values);
        values->count = 0;
    }
}

/* ---- clients ---- */

static bool has_id(const struct match_values *values, uint32_t id, bool is_not)
{
    for (size_t i = 0; i < values->count; i++) {
        if (values->values[i].id == id && !values->values[i].is_unknown &&
            values->values[i].is_not == is_not)
            return true;
    }
    return false;
}

static int compare_ids(const void *a, const void *b)
{
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

    return (x > y) - (x < y);
}

static bool is_in_groups(const struct match_values *values, const struct identity *identity)
{
    for (size_t i = 0; identity->gids && i < values->count; i++) {
        if (bsearch(&values->values[i].id, identity->gids, identity->gid_count,
                    sizeof(*identity->gids), compare_ids))
            return true;
    }
    return false;
}

static enum match_result has_text(const struct match_values *values, const char *text)
{
    for (size_t i = 0; i < values->count; i++) {
        if (strcmp(values->values[i].text, text) == 0)
            return MATCH_YES;
    }
    return MATCH_NO;
}

/* Whoever is excluded is, whatever else is said. A name that does not exist may have been
 * somebody's: who is meant by its
   exclusion is not known. */
static enum match_result match_excluded(const struct match_values *values,
                                        const struct identity *identity)
{
    if (has_id(values, identity->uid, true))
        return MATCH_YES;
    if (identity->ownership == IDENTITY_OWNER_UNKNOWN)
        return MATCH_UNKNOWN;
    if (has_id(values, identity_user(identity), true))
        return MATCH_YES;
    for (size_t i = 0; i < values->count; i++)
        if (values->values[i].is_not && values->values[i].is_unknown)
            return MATCH_UNKNOWN;
    return MATCH_NO;
}

static enum match_result match_included(const struct match_values *values,
                                        const struct identity *identity)
{
    if (values->nots == values->count || has_id(values, identity->uid, false))
        return MATCH_YES;
    if (identity->ownership == IDENTITY_OWNER_UNKNOWN)
        return MATCH_UNKNOWN;
    return has_id(values, identity_user(identity), false) ? MATCH_YES : MATCH_NO;
}

static enum match_result match_user(const struct match_values *values,
                                    const struct identity *identity)
{
    enum match_result excluded = MATCH_NO, included;

    if (identity->uid == IDENTITY_ID_UNKNOWN)
        return MATCH_UNKNOWN;
    if (values->nots > 0)
        excluded = match_excluded(values, identity);
    if (excluded == MATCH_YES)
        return MATCH_NO;
    included = match_included(values, identity);
    return included == MATCH_YES ? (excluded == MATCH_NO ? MATCH_YES : MATCH_UNKNOWN) : included;
}

static enum match_result match_group(const struct match_values *values,
                                     const struct identity *identity)
{
    if (has_id(values, identity->gid, false) ||
        (identity->gids_known && is_in_groups(values, identity)))
        return MATCH_YES;
    return identity_has_groups(identity) && identity->gid != IDENTITY_ID_UNKNOWN ? MATCH_NO
                                                                                 : MATCH_UNKNOWN;
}

/* Not recursive: the last '*' is the only one worth going back to. */
static bool matches_component(const char *pattern, size_t pattern_len, const char *text, size_t len)
{
    const char *pattern_end = pattern + pattern_len, *end = text + len;
    const char *star = NULL, *mark = NULL;

    while (text < end) {
        if (pattern < pattern_end && *pattern == '*') {
            star = pattern++;
            mark = text;
        } else if (pattern < pattern_end && *pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++mark;
        } else {
            return false;
        }
    }
    while (pattern < pattern_end && *pattern == '*')
        pattern++;
    return pattern == pattern_end;
}

/* A unit's name has no '*' of its own. */
static enum match_result has_unit(const struct match_values *values, const char *unit)
{
    for (size_t i = 0; i < values->count; i++) {
        const char *pattern = values->values[i].text;

        if (matches_component(pattern, strlen(pattern), unit, strlen(unit)))
            return MATCH_YES;
    }
    return MATCH_NO;
}

static enum match_result match_unit(const struct match_values *values,
                                    const struct identity *identity)
{
    return identity->units_known ? has_unit(values, identity->unit) : MATCH_UNKNOWN;
}

static bool is_in_manager_of(const struct identity *identity, uid_t uid)
{
    char manager[64];

    snprintf(manager, sizeof(manager), "user@%u.service", (unsigned int)uid);
    return strcmp(identity->unit, manager) == 0;
}

/*
 * The unit of the client's own manager, or of its owner's. In another user's manager that user says
 * what units are called, and may have something there that runs with this client's uid (a
 * set-user-ID program).
 */
static enum match_result match_user_unit(const struct match_values *values,
                                         const struct identity *identity)
{
    if (!identity->units_known)
        return MATCH_UNKNOWN;
    if (is_in_manager_of(identity, identity->uid) ||
        is_in_manager_of(identity, identity_user(identity)))
        return has_unit(values, identity->user_unit);
    if (identity->ownership == IDENTITY_OWNER_UNKNOWN && strncmp(identity->unit, "user@", 5) == 0)
        return has_unit(values, identity->user_unit) == MATCH_YES ? MATCH_UNKNOWN : MATCH_NO;
    return MATCH_NO;
}

/* A cgroup may be called "*" by whoever may make one. */
static bool is_component(const char *pattern, size_t pattern_len, const char *text, size_t len)
{
    return pattern_len == len && memcmp(pattern, text, len) == 0 && !memchr(pattern, '*', len);
}

/*
 * Component by component. What is below anything but a slice is for somebody else to fill and to
 * name (a delegated unit, a container): there the pattern has to say the same, letter by letter.
 */
static bool matches_path(const char *pattern, const char *path)
{
    bool below_unit = false;

    while (*pattern == '/' && *path == '/') {
        size_t pattern_len = strcspn(++pattern, "/"), len = strcspn(++path, "/");
        bool is_same = below_unit ? is_component(pattern, pattern_len, path, len)
                                  : matches_component(pattern, pattern_len, path, len);

        if (!is_same)
            return false;
        below_unit = below_unit || len <= 6 || strncmp(path + len - 6, ".slice", 6) != 0;
        pattern += pattern_len;
        path += len;
    }
    return *pattern == *path;
}

static enum match_result match_cgroup(const struct match_values *values,
                                      const struct identity *identity)
{
    if (!identity->cgroup[0])
        return MATCH_UNKNOWN;
    for (size_t i = 0; i < values->count; i++) {
        if (matches_path(values->values[i].text, identity->cgroup))
            return MATCH_YES;
    }
    return MATCH_NO;
}

static enum match_result match_key(const struct policy_match *match, enum match_key key,
                                   const struct identity *identity, const char *listener)
{
    const struct match_values *values = &match->keys[key];

    if (values->count == 0)
        return MATCH_YES;
    switch (key) {
    case MATCH_USER:
        return match_user(values, identity);
    case MATCH_GROUP:
        return match_group(values, identity);
    case MATCH_UNIT:
        return match_unit(values, identity);
    case MATCH_USER_UNIT:
        return match_user_unit(values, identity);
    case MATCH_CGROUP:
        return match_cgroup(values, identity);
    case MATCH_LISTENER:
        return has_text(values, listener);
    case MATCH_KEY_COUNT:
        break;
    }
    return MATCH_UNKNOWN;
}

/* The text for a client for which a file matches on an attribute that is not known. */
static const char *const doubts[MATCH_KEY_COUNT] = {
    [MATCH_USER] = "the policy depends on the user, which could not be determined for this client",
    [MATCH_GROUP] =
        "the policy depends on the groups, which could not be determined for this client",
    [MATCH_UNIT] = "the policy depends on the unit, which could not be determined for this client",
    [MATCH_USER_UNIT] =
        "the policy depends on the unit, which could not be determined for this client",
    [MATCH_CGROUP] =
        "the policy depends on the control group, which could not be determined for this client",
};

static enum match_result match_values(const struct policy_match *match, enum match_key key,
                                      const struct identity *identity, const char *listener,
                                      const char **ret_why)
{
    enum match_result result = match_key(match, key, identity, listener);

    *ret_why = doubts[key];
    if (result != MATCH_NO || match->keys[key].unknown == 0)
        return result;
    *ret_why =
        key == MATCH_USER
            ? "the policy names a user that does not exist, so asockd cannot tell whether it applies to this client"
            : "the policy names a group that does not exist, so asockd cannot tell whether it applies to this client";
    return MATCH_UNKNOWN;
}

enum match_result policy_match(const struct policy_match *match, const struct identity *identity,
                               const char *listener, struct match_doubt *ret_doubt)
{
    enum match_result result = MATCH_YES;
    const char *why;

    for (enum match_key key = 0; key < MATCH_KEY_COUNT; key++) {
        switch (match_values(match, key, identity, listener, &why)) {
        case MATCH_NO:
            return MATCH_NO;
        case MATCH_UNKNOWN:
            if (result == MATCH_YES)
                *ret_doubt = (struct match_doubt){match->keys[key].line, why};
            result = MATCH_UNKNOWN;
            break;
        case MATCH_YES:
            break;
        }
    }
    return result;
}

unsigned int policy_match_misses(const struct policy_match *match, const struct identity *identity,
                                 const char *listener)
{
    unsigned int misses = 0;

    for (enum match_key key = 0; key < MATCH_KEY_COUNT; key++)
        if (match_key(match, key, identity, listener) != MATCH_YES)
            misses |= 1u << key;
    return misses;
}

bool policy_match_each_unknown(const struct policy_match *match,
                               bool (*callback)(void *data, const char *key,
                                                const struct match_value *value),
                               void *data)
{
    for (size_t key = 0; key < MATCH_KEY_COUNT; key++) {
        const struct match_values *values = &match->keys[key];

        for (size_t i = 0; i < values->count; i++) {
            if (values->values[i].is_unknown && !callback(data, names[key], &values->values[i]))
                return false;
        }
    }
    return true;
}

bool policy_match_looks_at_groups(const struct policy_match *match)
{
    return match->keys[MATCH_GROUP].count > 0;
}
