/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the names in the directory, sorted; each file is read and parsed; a policy.
 * Failures: a directory that cannot be read or that others may write to, one file that is refused:
 * no policy at all, for what is missing might be what denies.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/policy/file.h"
#include "daemon/policy/kept.h"

static const char any[] = "[Rules]\n"
                          "Allow=tcp * * +loopback +private +linklocal +local +special\n"
                          "Allow=udp * * +loopback +private +linklocal +local +special\n"
                          "Listen=tcp * 1-65535\n"
                          "Listen=tcp * 0\n"
                          "Listen=udp * 1-65535\n"
                          "Listen=udp * 0\n"
                          "[Egress]\n"
                          "Options=TrafficClass HopLimit\n";
static const char public[] = "[Rules]\n"
                             "Allow=tcp * *\n"
                             "Allow=udp * *\n";

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
    if (--policy->refs > 0)
        return NULL;
    for (size_t i = 0; i < policy->file_count; i++)
        policy_file_free(policy->files[i]);
    mem_free(policy->invalid);
    mem_free(policy->instead);
    return mem_free(policy);
}

int64_t policy_loaded(const struct policy *policy)
{
    return policy->loaded;
}

size_t policy_file_count(const struct policy *policy)
{
    return policy->file_count;
}

size_t policy_rule_count(const struct policy *policy)
{
    return policy->rule_count;
}

const struct policy_nat64 *policy_nat64(const struct policy *policy)
{
    return &policy->nat64;
}

bool policy_is_last(const struct policy *policy)
{
    return policy->refs == 1;
}

bool policy_is_invalid(const struct policy *policy)
{
    return policy->invalid != NULL;
}

bool policy_is_built_in(const struct policy *policy)
{
    return policy->is_built_in;
}

bool policy_looks_at_groups(const struct policy *policy)
{
    return policy->looks_at_groups;
}

static bool count_unknown(void *data, const char *key, const struct match_value *value)
{
    (void)key;
    (void)value;
    ++*(size_t *)data;
    return true;
}

/* What reader was opened for becomes the policy's last file. */
static int add_file(struct policy *policy, struct conf_reader *reader)
{
    int r = policy_file_parse(reader, POLICY_FILE, POLICY_RULES_MAX - policy->rule_count,
                              &policy->files[policy->file_count]);

    if (r < 0)
        return r;
    policy->looks_at_groups |= policy_match_looks_at_groups(
        &policy->files[policy->file_count]->match);
    policy_match_each_unknown(&policy->files[policy->file_count]->match, count_unknown,
                              &policy->unknown_count);
    policy->listen_count += policy->files[policy->file_count]->listen_count;
    policy->rule_count += policy->files[policy->file_count++]->rule_count;
    if (policy->listen_count <= POLICY_LISTENS_MAX)
        return 0;
    snprintf(reader->error, sizeof(reader->error),
             "%s: more than %u Listen= and Reserve= lines in all files", reader->path,
             POLICY_LISTENS_MAX);
    return -E2BIG;
}

static struct policy *new_empty(void)
{
    struct policy *policy = mem_zalloc(1, sizeof(*policy));

    if (!policy)
        return NULL;
    policy->refs = 1;
    policy->loaded = time(NULL);
    return policy;
}

static int add_text(struct policy *policy, const char *path, const char *text)
{
    struct conf_reader reader;
    int r = asock_conf_open_text(&reader, path, text, strlen(text));

    if (r == 0)
        r = add_file(policy, &reader);
    asock_conf_close(&reader);
    return r;
}

struct policy *policy_new(enum policy_base base)
{
    struct policy *policy = new_empty();
    int r = 0;

    if (!policy)
        return NULL;
    policy->is_built_in = base != POLICY_DENY;
    if (base == POLICY_ANY)
        r = add_text(policy, "--allow-any", any);
    else if (base == POLICY_PUBLIC)
        r = add_text(policy, "--allow-public", public);
    return r < 0 ? policy_unref(policy) : policy;
}

static char *copy_text(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = mem_alloc(len);

    return copy ? memcpy(copy, text, len) : NULL;
}

struct policy *policy_new_invalid(const struct policy_source *source, const char *error)
{
    struct policy *policy = new_empty();

    if (!policy)
        return NULL;
    policy->nat64 = source->nat64;
    policy->invalid = copy_text(error);
    return policy->invalid ? policy : policy_unref(policy);
}

/* ---- what is wrong with it ---- */

struct telling {
    const struct policy_file *file;
    bool (*callback)(void *data, const char *text);
    void *data;
};

static bool tell_unknown(void *data, const char *key, const struct match_value *value)
{
    const struct telling *t = data;
    char text[POLICY_PROBLEM_MAX];

    snprintf(text, sizeof(text), "%s:%u: %s=%s: no such %s: %s", t->file->path, value->line, key,
             value->text, *key == 'U' ? "user" : "group",
             policy_file_is_strict(t->file)
                 ? "everything is denied to clients to which the file may apply"
             : value->is_not ? "it excludes an unknown user, so the file applies to no client"
                             : "it matches no client");
    return t->callback(t->data, text);
}

void policy_each_problem(const struct policy *policy,
                         bool (*callback)(void *data, const char *text), void *data)
{
    bool goes_on = !policy->invalid || callback(data, policy->invalid);
    char text[POLICY_PROBLEM_MAX];

    if (policy->instead) {
        snprintf(text, sizeof(text),
                 "the policy of the previous process stays in force, because the files are "
                 "invalid: %s",
                 policy->instead);
        goes_on = callback(data, text);
    }
    for (size_t i = 0; goes_on && i < policy->file_count; i++) {
        struct telling t = {policy->files[i], callback, data};

        goes_on = policy_match_each_unknown(&t.file->match, tell_unknown, &t);
    }
}

static bool keep_first(void *data, const char *text)
{
    snprintf(data, POLICY_PROBLEM_MAX, "%s", text);
    return false;
}

size_t policy_problems(const struct policy *policy, char ret_first[static POLICY_PROBLEM_MAX])
{
    size_t count = policy->unknown_count + (policy->invalid || policy->instead ? 1 : 0);

    ret_first[0] = '\0';
    if (count > 0)
        policy_each_problem(policy, keep_first, ret_first);
    return count;
}

/* ---- files ---- */

static int add_path(struct policy *policy, int dir, const char *name, const char *path, char *error)
{
    struct conf_reader reader;
    int r;

    if (policy->file_count == POLICY_FILES_MAX) {
        snprintf(error, POLICY_ERROR_MAX, "%s: more than %u files", path, POLICY_FILES_MAX);
        return -E2BIG;
    }
    r = name ? asock_conf_open_at(&reader, dir, name, path) : asock_conf_open(&reader, path);
    if (r == 0)
        r = add_file(policy, &reader);
    snprintf(error, POLICY_ERROR_MAX, "%s", reader.error);
    asock_conf_close(&reader);
    return r;
}

static int add_listed(struct policy *policy, const struct policy_source *source, char *error)
{
    int r = 0;

    for (size_t i = 0; i < source->file_count && r == 0; i++)
        r = add_path(policy, AT_FDCWD, NULL, source->files[i], error);
    return r;
}

/* ---- directory ---- */

static int is_policy(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 7 && strcmp(entry->d_name + len - 7, ".policy") == 0;
}

/* By bytes: the order must not depend on a locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int open_directory(const char *path, char *error)
{
    const char *why = NULL;
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY), r;

    r = fd < 0 || fstat(fd, &st) < 0 ? -errno : asock_conf_check_owner(&st, &why);
    if (r == 0)
        return fd;
    snprintf(error, POLICY_ERROR_MAX, "%s: %s", path, why ? why : strerror(-r));
    if (fd >= 0)
        close(fd);
    return r;
}

static int add_entry(struct policy *policy, int dir, const char *dir_path, const char *name,
                     char *error)
{
    size_t len = strlen(dir_path) + strlen(name) + 2;
    char *path = mem_alloc(len);
    int r;

    if (!path) {
        snprintf(error, POLICY_ERROR_MAX, "%s: out of memory", dir_path);
        return -ENOMEM;
    }
    snprintf(path, len, "%s/%s", dir_path, name);
    r = add_path(policy, dir, name, path, error);
    mem_free(path);
    return r;
}

/* One of the directories, while their files are merged. */
struct listing {
    int fd;
    struct dirent **entries;
    int count, next;
};

static void close_listing(struct listing *listing)
{
    for (int i = 0; i < listing->count; i++)
        free(listing->entries[i]);
    free(listing->entries);
    if (listing->fd >= 0)
        close(listing->fd);
}

/* A directory that is not there has no files, unless it is the only one. */
static int open_listing(struct listing *listing, const char *path, bool must_exist, char *error)
{
    int r = open_directory(path, error);

    *listing = (struct listing){.fd = r};
    if (r < 0)
        return r == -ENOENT && !must_exist ? 0 : r;
    r = scandirat(listing->fd, ".", &listing->entries, is_policy, compare_names);
    if (r < 0) {
        r = -errno;
        snprintf(error, POLICY_ERROR_MAX, "%s: %s", path, strerror(-r));
        return r;
    }
    listing->count = r;
    return 0;
}

static const char *next_name(const struct listing *listing)
{
    return listing->next < listing->count ? listing->entries[listing->next]->d_name : NULL;
}

/*
 * Which directory has the first of the names that are left, and the first one that does; -1: none
 * is left.
 */
static int find_next(const struct listing *listings, unsigned int count)
{
    const char *first = NULL;
    int found = -1;

    for (unsigned int i = 0; i < count; i++) {
        const char *name = next_name(&listings[i]);

        if (name && (!first || strcmp(name, first) < 0)) {
            first = name;
            found = (int)i;
        }
    }
    return found;
}

/* Files of the same name in later directories are hidden by it. */
static void skip_name(struct listing *listings, unsigned int count, const char *name)
{
    for (unsigned int i = 0; i < count; i++) {
        const char *other = next_name(&listings[i]);

        if (other && strcmp(other, name) == 0)
            listings[i].next++;
    }
}

static int add_directories(struct policy *policy, const struct policy_source *source, char *error)
{
    struct listing listings[POLICY_DIRS_MAX];
    unsigned int count = 0;
    int r = 0, i;

    while (r == 0 && count < source->dir_count) {
        r = open_listing(&listings[count], source->dirs[count], source->dir_count == 1, error);
        count++;
    }
    while (r == 0 && (i = find_next(listings, count)) >= 0) {
        const char *name = next_name(&listings[i]);

        r = add_entry(policy, listings[i].fd, source->dirs[i], name, error);
        skip_name(listings, count, name);
    }
    while (count > 0)
        close_listing(&listings[--count]);
    return r;
}

int policy_load(const struct policy_source *source, char ret_error[static POLICY_ERROR_MAX],
                struct policy **ret)
{
    struct policy *policy = policy_new(source->base);
    int r = 0;

    *ret_error = '\0';
    if (!policy) {
        snprintf(ret_error, POLICY_ERROR_MAX, "policy: out of memory");
        return -ENOMEM;
    }
    policy->nat64 = source->nat64;
    if (source->base == POLICY_DENY && source->file_count > 0)
        r = add_listed(policy, source, ret_error);
    else if (source->base == POLICY_DENY)
        r = add_directories(policy, source, ret_error);
    if (r < 0) {
        policy_unref(policy);
        return r;
    }
    *ret = policy;
    return 0;
}

/* ---- of another process ---- */

struct policy_kept policy_keep(const struct policy *policy, size_t i)
{
    const struct policy_file *file = policy->files[i];

    return (struct policy_kept){file->path, file->text, file->len, file->modified};
}

static int add_kept(struct policy *policy, const struct policy_kept *kept, char *error)
{
    struct conf_reader reader;
    int r = asock_conf_open_text(&reader, kept->path, kept->text, kept->len);

    reader.modified = kept->modified;
    if (r == 0)
        r = add_file(policy, &reader);
    snprintf(error, POLICY_ERROR_MAX, "%s", reader.error);
    asock_conf_close(&reader);
    return r;
}

int policy_load_kept(const struct policy *invalid, const struct policy_kept *files, size_t count,
                     int64_t loaded, char ret_error[static POLICY_ERROR_MAX], struct policy **ret)
{
    struct policy *policy = count <= POLICY_FILES_MAX ? new_empty() : NULL;
    int r = policy ? 0 : count <= POLICY_FILES_MAX ? -ENOMEM : -E2BIG;

    snprintf(ret_error, POLICY_ERROR_MAX, "%s", r < 0 ? strerror(-r) : "");
    if (policy) {
        policy->nat64 = invalid->nat64;
        policy->loaded = loaded;
        policy->instead = copy_text(invalid->invalid);
    }
    for (size_t i = 0; r == 0 && i < count; i++)
        r = add_kept(policy, &files[i], ret_error);
    if (r == 0 && !policy->instead)
        r = -ENOMEM;
    if (r == 0)
        *ret = policy;
    else
        policy_unref(policy);
    return r;
}
