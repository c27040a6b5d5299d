/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the lines of the file, with their owners' ids from /etc/passwd, become ranges that do
 * not overlap, in order; an id is found in them by binary search, and its owner's owner after it.
 * Failures: a line that newuidmap(1) would skip gives nobody anything, and is skipped here too. An
 * owner that is no user of /etc/passwd, two owners of one id, a file that cannot be read: the owner
 * is unknown.
 */
#include "daemon/identity/subids.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/subuid.h"
#include "daemon/names/userdb.h"
#include "daemon/core/stamp.h"

/* Owners of owners: real files have fewer, but a circle would have no end. */
#define OWNERS_MAX 8

struct range {
    uint32_t first, last;
    uint32_t owner;
    bool is_known;
};

/* A line, and then all lines of one owner that touch each other. */
struct claim {
    const char *name;
    struct range range;
};

struct claims {
    struct claim *items;
    size_t count, cap;
};

/* Where a claim begins, or one past its end. */
struct edge {
    uint64_t at;
    size_t claim;
    bool is_end;
};

struct subids {
    const char *subuid, *passwd;
    struct stamp subuid_stamp, passwd_stamp;
    int error; /* 0, or why the file could not be read */
    struct range *ranges;
    size_t count;
};

/* ---- the file ---- */

static int read_all(int fd, size_t size, char **ret)
{
    char *text = mem_alloc(size + 1);
    size_t n = 0;
    ssize_t k;

    if (!text)
        return -ENOMEM;
    while (n < size && (k = read(fd, text + n, size - n)) != 0) {
        if (k < 0) {
            int r = -errno;

            mem_free(text);
            return r;
        }
        n += (size_t)k;
    }
    text[n] = '\0';
    *ret = text;
    return 0;
}

/* A pipe in its place must not be waited for. *ret NULL: there is no such file. */
static int read_text(const char *path, char **ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = 0;
    struct stat st;

    *ret = NULL;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = -EINVAL;
    else if (st.st_size > SUBIDS_FILE_MAX)
        r = -EFBIG;
    else
        r = read_all(fd, (size_t)st.st_size, ret);
    close(fd);
    return r;
}

static bool read_line(char *line, struct claim *ret)
{
    struct subuid_range range;

    if (!asock_subuid_read_line(line, &range))
        return false;
    *ret = (struct claim){.name = range.owner, .range = {.first = range.first, .last = range.last}};
    return true;
}

static int add_claim(struct claims *claims, const struct claim *claim)
{
    if (claims->count == claims->cap) {
        size_t cap = claims->cap ? claims->cap * 2 : 64;
        struct claim *grown = mem_realloc(claims->items, cap * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        claims->items = grown;
        claims->cap = cap;
    }
    claims->items[claims->count++] = *claim;
    return 0;
}

static int read_claims(char *text, struct claims *ret)
{
    struct claim claim;
    char *line;
    int r = 0;

    while (r == 0 && (line = strsep(&text, "\n")) != NULL)
        if (read_line(line, &claim))
            r = add_claim(ret, &claim);
    return r;
}

/* ---- owners ---- */

static int by_name(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    return r ? r : (x->range.first > y->range.first) - (x->range.first < y->range.first);
}

static int compare_name(const void *name, const void *claim)
{
    return strcmp(name, ((const struct claim *)claim)->name);
}

/* Of the claims of one name, which stand side by side. */
static void set_owner(const struct claims *claims, size_t at, uid_t uid, bool is_known)
{
    for (size_t i = at; i < claims->count; i++) {
        if (strcmp(claims->items[i].name, claims->items[at].name) != 0)
            break;
        claims->items[i].range.owner = uid;
        claims->items[i].range.is_known = is_known;
    }
}

static void on_user(void *data, const char *name, uid_t uid)
{
    const struct claims *claims = data;
    const struct claim *found = bsearch(name, claims->items, claims->count, sizeof(*claims->items),
                                        compare_name);
    size_t at;

    if (!found)
        return;
    at = (size_t)(found - claims->items);
    while (at > 0 && strcmp(claims->items[at - 1].name, name) == 0)
        at--;
    if (!claims->items[at].range.is_known) /* of two lines of one name the first counts */
        set_owner(claims, at, uid, true);
}

/* What is no name is a number; else the lowest of its ids stands for the owner. */
static int find_owners(struct claims *claims, const char *passwd)
{
    int r;

    qsort(claims->items, claims->count, sizeof(*claims->items), by_name);
    r = userdb_each_user(passwd, on_user, claims);
    if (r < 0 && r != -ENOENT)
        return r;
    for (size_t i = 0; i < claims->count; i++) {
        struct range *range = &claims->items[i].range;
        uint64_t uid;

        if (range->is_known ||
            (i > 0 && strcmp(claims->items[i - 1].name, claims->items[i].name) == 0))
            continue;
        if (asock_subuid_read_number(claims->items[i].name, &uid) && uid <= SUBUID_ID_MAX)
            set_owner(claims, i, (uid_t)uid, true);
        else
            set_owner(claims, i, range->first, false);
    }
    return 0;
}

/* ---- ranges ---- */

static int by_owner(const void *a, const void *b)
{
    const struct range *x = &((const struct claim *)a)->range,
                       *y = &((const struct claim *)b)->range;

    if (x->is_known != y->is_known)
        return x->is_known ? -1 : 1;
    if (x->owner != y->owner)
        return x->owner < y->owner ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static bool has_owner_of(const struct range *a, const struct range *b)
{
    return a->owner == b->owner && a->is_known == b->is_known;
}

/* Afterwards no two claims of one owner share an id. */
static void join_claims(struct claims *claims)
{
    size_t n = 0;

    qsort(claims->items, claims->count, sizeof(*claims->items), by_owner);
    for (size_t i = 0; i < claims->count; i++) {
        struct range *last = n > 0 ? &claims->items[n - 1].range : NULL;
        const struct range *range = &claims->items[i].range;

        if (!last || !has_owner_of(last, range) || range->first > last->last)
            claims->items[n++] = claims->items[i];
        else if (range->last > last->last)
            last->last = range->last;
    }
    claims->count = n;
}

static int by_place(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

static void add_range(struct subids *subids, const struct range *range)
{
    struct range *last = subids->count > 0 ? &subids->ranges[subids->count - 1] : NULL;

    if (last && has_owner_of(last, range) && (uint64_t)last->last + 1 == range->first)
        last->last = range->last;
    else
        subids->ranges[subids->count++] = *range;
}

/* From edge to edge: the ids of one claim, or of more of them, whose owner is ambiguous. */
static void sweep(struct subids *subids, const struct claims *claims, const struct edge *edges)
{
    size_t active = 0, sum = 0; /* of the claims' numbers: of the only one, its own */

    for (size_t i = 0; i + 1 < 2 * claims->count; i++) {
        struct range range;

        active += edges[i].is_end ? (size_t)-1 : 1;
        sum += edges[i].is_end ? 0 - edges[i].claim : edges[i].claim;
        if (active == 0 || edges[i].at == edges[i + 1].at)
            continue;
        range.first = (uint32_t)edges[i].at;
        range.last = (uint32_t)(edges[i + 1].at - 1);
        range.owner = active == 1 ? claims->items[sum].range.owner : range.first;
        range.is_known = active == 1 && claims->items[sum].range.is_known;
        add_range(subids, &range);
    }
}

static int make_ranges(struct subids *subids, const struct claims *claims)
{
    size_t count = 2 * claims->count;
    struct edge *edges = mem_alloc((count + 1) * sizeof(*edges));
    int r = 0;

    subids->count = 0;
    subids->ranges = mem_alloc((count + 1) * sizeof(*subids->ranges));
    if (edges && subids->ranges) {
        for (size_t i = 0; i < claims->count; i++) {
            const struct range *range = &claims->items[i].range;

            edges[2 * i] = (struct edge){range->first, i, false};
            edges[2 * i + 1] = (struct edge){(uint64_t)range->last + 1, i, true};
        }
        qsort(edges, count, sizeof(*edges), by_place);
        sweep(subids, claims, edges);
    } else {
        r = -ENOMEM;
    }
    mem_free(edges);
    return r;
}

static int load(struct subids *subids)
{
    struct claims claims = {0};
    char *text;
    int r = read_text(subids->subuid, &text);

    subids->ranges = mem_free(subids->ranges);
    subids->count = 0;
    if (r == 0 && text)
        r = read_claims(text, &claims);
    if (r == 0 && claims.count > 0)
        r = find_owners(&claims, subids->passwd);
    if (r == 0 && claims.count > 0) {
        join_claims(&claims);
        r = make_ranges(subids, &claims);
    }
    mem_free(claims.items);
    mem_free(text);
    return r;
}

static void refresh(struct subids *subids)
{
    int r;

    if (stamp_is_current(&subids->subuid_stamp, subids->subuid) &&
        stamp_is_current(&subids->passwd_stamp, subids->passwd))
        return;
    stamp_take(&subids->subuid_stamp, subids->subuid);
    stamp_take(&subids->passwd_stamp, subids->passwd);
    r = load(subids);
    if (r < 0) {
        memset(&subids->subuid_stamp, 0, sizeof(subids->subuid_stamp)); /* try again */
        if (r != subids->error)
            log_warning("%s: %s: the owners of subordinate IDs are unknown", subids->subuid,
                        strerror(-r));
    }
    subids->error = r;
}

struct subids *subids_new(const char *subuid, const char *passwd)
{
    struct subids *subids = mem_zalloc(1, sizeof(*subids));

    if (!subids)
        return NULL;
    subids->subuid = subuid;
    subids->passwd = passwd;
    return subids;
}

struct subids *subids_free(struct subids *subids)
{
    if (!subids)
        return NULL;
    mem_free(subids->ranges);
    return mem_free(subids);
}

/* ---- questions ---- */

static int compare_id(const void *id, const void *range)
{
    const struct range *r = range;
    uint32_t uid = *(const uint32_t *)id;

    return uid < r->first ? -1 : uid > r->last;
}

static const struct range *find_range(const struct subids *subids, uint32_t uid)
{
    if (subids->count == 0)
        return NULL;
    return bsearch(&uid, subids->ranges, subids->count, sizeof(*subids->ranges), compare_id);
}

enum identity_ownership subids_find(struct subids *subids, uid_t uid, uid_t *ret)
{
    refresh(subids);
    *ret = uid;
    if (subids->error < 0)
        return IDENTITY_OWNER_UNKNOWN;
    for (int i = 0; i < OWNERS_MAX; i++) {
        const struct range *range = find_range(subids, *ret);

        if (!range || (range->is_known && range->owner == *ret))
            return *ret == uid ? IDENTITY_OWN_ID : IDENTITY_SUBORDINATE;
        *ret = range->owner;
        if (!range->is_known)
            return IDENTITY_OWNER_UNKNOWN;
    }
    return IDENTITY_OWNER_UNKNOWN;
}

void subids_mark(struct subids *subids, struct identity *identity)
{
    if (subids && identity->uid != IDENTITY_ID_UNKNOWN)
        identity->ownership = subids_find(subids, identity->uid, &identity->owner);
}
