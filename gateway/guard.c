/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a connection of our own shows that the kernel answers, and how it calls this user ->
 * a question for each connection -> admitted.
 * Failures: no answer, or one that may mean any of many users: refused, and counted.
 *
 * In a user namespace, the kernel calls every user whom the namespace does not have "nobody".
 */
#include "gateway/guard.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/diag.h"
#include "gateway/subordinate.h"

#define NOBODY 65534u /* the default of kernel.overflowuid */
#define PROBE_MS 5000
#define REPORT_SECONDS 60.0
/* The last place counts for all others. */
#define REFUSED_MAX 16

struct refused {
    uid_t user;
    unsigned long long count, told;
};

struct guard {
    struct diag diag;
    uid_t own;
    bool is_whole; /* this namespace has every user */
    uid_t nobody;  /* what the kernel says of users that this namespace does not map */
    struct subordinate subordinate;
    struct ev_loop *loop;
    ev_timer report;
    void (*tell)(void *userdata, uid_t user, unsigned long long count);
    void *userdata;
    struct refused refused[REFUSED_MAX];
    unsigned int refused_count;
};

/* ---- who may ---- */

static bool maps_all(void)
{
    FILE *file = fopen("/proc/self/uid_map", "re");
    unsigned int inside = 1, outside = 1, count = 0;
    bool is_read = file && fscanf(file, "%u %u %u", &inside, &outside, &count) == 3;

    if (file)
        fclose(file);
    return is_read && inside == 0 && count == UINT32_MAX;
}

static uid_t read_nobody(void)
{
    FILE *file = fopen("/proc/sys/kernel/overflowuid", "re");
    unsigned int uid;

    if (!file || fscanf(file, "%u", &uid) != 1)
        uid = NOBODY;
    if (file)
        fclose(file);
    return uid;
}

static bool find_user(struct guard *guard, uint8_t protocol, const struct sockaddr_storage *peer,
                      const struct sockaddr_storage *own, uid_t *ret)
{
    *ret = GUARD_UNKNOWN;
    if (diag_user(&guard->diag, protocol, peer, own, ret) < 0)
        return false;
    if (*ret != guard->nobody || guard->is_whole)
        return true;
    *ret = GUARD_UNKNOWN;
    return false;
}

bool guard_admits(struct guard *guard, uint8_t protocol, const struct sockaddr_storage *peer,
                  const struct sockaddr_storage *own, uid_t *ret_user)
{
    return find_user(guard, protocol, peer, own, ret_user) &&
           (*ret_user == guard->own || *ret_user == 0 ||
            subordinate_has(&guard->subordinate, *ret_user));
}

/* ---- the others ---- */

static void tell(struct guard *guard, struct refused *refused)
{
    refused->told = refused->count;
    guard->tell(guard->userdata, refused->user, refused->count);
}

static void report(struct guard *guard)
{
    for (unsigned int i = 0; i < guard->refused_count; i++)
        if (guard->refused[i].count > guard->refused[i].told)
            tell(guard, &guard->refused[i]);
}

static void on_report(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    report(timer->data);
}

static struct refused *refused_of(struct guard *guard, uid_t user)
{
    for (unsigned int i = 0; i < guard->refused_count; i++)
        if (guard->refused[i].user == user)
            return &guard->refused[i];
    if (guard->refused_count == REFUSED_MAX)
        return &guard->refused[REFUSED_MAX - 1];
    if (guard->refused_count == REFUSED_MAX - 1)
        user = GUARD_OTHERS;
    guard->refused[guard->refused_count] = (struct refused){.user = user};
    return &guard->refused[guard->refused_count++];
}

void guard_count(struct guard *guard, uid_t user)
{
    struct refused *refused = refused_of(guard, user);

    refused->count++;
    if (refused->count == 1) {
        tell(guard, refused);
    } else if (!ev_is_active(&guard->report)) {
        ev_timer_set(&guard->report, REPORT_SECONDS, 0);
        ev_timer_start(guard->loop, &guard->report);
    }
}

/* As by a program that only wants to know whether somebody listens. */
static bool is_closed(int fd)
{
    struct pollfd connection = {.fd = fd, .events = POLLRDHUP};

    return poll(&connection, 1, 0) != 0;
}

/*
 * A connection that its program has reset is gone, so another one may have got its two addresses
 * since: the answer could be about that one.
 */
bool guard_accepts(struct guard *guard, int fd, const struct sockaddr_storage *peer,
                   const struct sockaddr_storage *own)
{
    int error = 0;
    socklen_t len = sizeof(error);
    uid_t user;

    if (guard_admits(guard, IPPROTO_TCP, peer, own, &user))
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
    if (user != GUARD_UNKNOWN || !is_closed(fd))
        guard_count(guard, user);
    return false;
}

/* ---- life ---- */

/* A connection of this process, to itself. */
static int probe(struct guard *guard, int listener, int client, const struct sockaddr_storage *at)
{
    socklen_t len = at->ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                             : sizeof(struct sockaddr_in6);
    struct sockaddr_storage there = *at, here = {0};
    struct pollfd connected = {.fd = client, .events = POLLOUT};

    ((struct sockaddr_in *)&there)->sin_port = 0; /* of both families */
    if (listener < 0 || client < 0 || bind(listener, (struct sockaddr *)&there, len) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&there, &len) < 0 ||
        (connect(client, (struct sockaddr *)&there, len) < 0 && errno != EINPROGRESS))
        return -errno;
    if (poll(&connected, 1, PROBE_MS) != 1)
        return -ETIMEDOUT;
    if (getsockname(client, (struct sockaddr *)&here, &len) < 0)
        return -errno;
    return find_user(guard, IPPROTO_TCP, &here, &there, &guard->own) ? 0 : -EOPNOTSUPP;
}

static int start(struct guard *guard, const struct sockaddr_storage *at)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int listener = socket(at->ss_family, type, 0), client = socket(at->ss_family, type, 0);
    int r = diag_open(&guard->diag);

    guard->is_whole = maps_all();
    guard->nobody = read_nobody();
    if (r == 0)
        r = probe(guard, listener, client, at);
    else if (r != -EMFILE && r != -ENFILE)
        r = -EOPNOTSUPP;
    if (listener >= 0)
        close(listener);
    if (client >= 0)
        close(client);
    if (r == 0 && guard->is_whole)
        subordinate_read(&guard->subordinate, guard->own, "/etc/subuid", "/etc/passwd");
    return r;
}

int guard_new(struct ev_loop *loop, const struct sockaddr_storage *at,
              void (*refused)(void *userdata, uid_t user, unsigned long long count), void *userdata,
              struct guard **ret)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    int r;

    if (!guard)
        return -ENOMEM;
    guard->loop = loop;
    guard->tell = refused;
    guard->userdata = userdata;
    ev_init(&guard->report, on_report);
    guard->report.data = guard;
    r = start(guard, at);
    if (r < 0) {
        diag_close(&guard->diag);
        free(guard);
        return r;
    }
    *ret = guard;
    return 0;
}

struct guard *guard_free(struct guard *guard)
{
    if (!guard)
        return NULL;
    report(guard);
    ev_timer_stop(guard->loop, &guard->report);
    diag_close(&guard->diag);
    free(guard);
    return NULL;
}
