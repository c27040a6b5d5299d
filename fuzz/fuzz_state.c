/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "daemon/audit/recent.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/names/resolver.h"
#include "daemon/net/apart.h"
#include "daemon/net/hangup.h"
#include "daemon/policy/learn.h"
#include "daemon/policy/policy.h"
#include "daemon/server/admin.h"
#include "daemon/session/session_end.h"
#include "daemon/session/sock.h"
#include "daemon/state/state.h"
#include "daemon/verbs/dispatch.h"
#include "daemon/wire/shm_buffer.h"

/*
 * The records of a state, behind a header that fits them, and descriptors of each kind. What is
 * refused has a reason; what is taken goes on for some turns; and all of it ends, to the last
 * charge. Policy allows no connect.
 */
#define DESCRIPTORS 15
#define MEMORY 12 /* and the one behind it are shared memory of one and two pages */
#define UDP 14

static uint64_t now;

static uint64_t read_clock(void)
{
    return now;
}

struct daemon {
    struct worker worker;
    int descriptors[DESCRIPTORS], clients[DESCRIPTORS];
    bool taken[DESCRIPTORS];
};

static int configure(void *data, const char *listener, struct session_config *config)
{
    (void)data;
    config->dispatch = dispatch_frame;
    return listener[0] ? 0 : -ENOENT;
}

static int on_listener(void *data, const struct state_listener *listener)
{
    (void)data;
    close(listener->fd);
    return 0;
}

static int make_memory(off_t length)
{
    int fd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    MUST(ftruncate(fd, length) == 0 && fcntl(fd, F_ADD_SEALS, SHM_BUFFER_SEALS) == 0);
    return fd;
}

static void begin(struct daemon *d)
{
    now = 1000;
    MUST(worker_init(&d->worker, read_clock) == 0);
    d->worker.fds_max = 64;
    d->worker.inspect = &admin_inspect_ops;
    d->worker.policy = policy_new(POLICY_DENY);
    d->worker.learn = learn_new();
    d->worker.recent = recent_new(&d->worker);
    d->worker.rule_counts = rule_counts_new();
    MUST(d->worker.policy && d->worker.learn && d->worker.recent && d->worker.rule_counts);
    MUST(resolver_new(d->worker.loop, NULL, &d->worker.resolver) == 0);
    MUST(hangups_new(&d->worker, sock_hung_up, &d->worker.hangups) == 0);
    MUST(apart_new(&d->worker, &d->worker.apart) == 0);
    for (int i = 0; i < DESCRIPTORS; i++) {
        int pair[2] = {-1, -1};

        if (i == 0)
            pair[0] = memfd_create("lock", MFD_CLOEXEC);
        else if (i == UDP)
            pair[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        else if (i >= MEMORY)
            pair[0] = make_memory((i - MEMORY + 1) * 4096);
        else if (i % 2)
            MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
        else
            pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        d->descriptors[i] = pair[0];
        d->clients[i] = pair[1];
    }
}

static void run(struct daemon *d, unsigned int turns, uint64_t ms)
{
    while (turns-- > 0) {
        ev_run(d->worker.loop, EVRUN_NOWAIT);
        now += ms;
    }
}

static void end(struct daemon *d, int lock)
{
    struct worker *w = &d->worker;

    session_end_all(w);
    for (int i = 0; i < DESCRIPTORS; i++)
        if (d->clients[i] >= 0)
            close(d->clients[i]);
    for (int i = 0; i < 2000 && !(list_is_empty(&w->sessions) && list_is_empty(&w->drains)); i++)
        run(d, 1, 500);
    run(d, 4, 0);
    MUST(list_is_empty(&w->sessions) && list_is_empty(&w->drains));
    MUST(w->fds_used == 0);
    learn_free(w->learn);
    recent_free(w->recent);
    rule_counts_free(w->rule_counts);
    for (int i = 0; i < QUOTA_RESOURCES; i++)
        MUST(quota_usage(w->quota, (enum quota_resource)i).used == 0);
    for (int i = 0; i < DESCRIPTORS; i++)
        if (!d->taken[i])
            close(d->descriptors[i]);
    if (lock >= 0)
        close(lock);
    resolver_free(w->resolver);
    hangups_free(w->hangups);
    apart_free(w->apart);
    policy_unref(w->policy);
    op_free_spares(w);
    worker_deinit(w);
}

static void put(uint8_t *to, uint64_t value, unsigned int bytes)
{
    for (unsigned int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

/* How many records there are says nothing of what is in them. */
static uint32_t count_records(const uint8_t *data, size_t size)
{
    uint32_t n = 0;

    while (size >= 4) {
        size_t len = data[0] | data[1] << 8 | data[2] << 16 | (size_t)data[3] << 24;

        if (len > size - 4)
            break;
        data += 4 + len;
        size -= 4 + len;
        n++;
    }
    return n;
}

static uint8_t *with_header(const uint8_t *data, size_t size)
{
    uint8_t *image = malloc(STATE_HEADER + size);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    MUST(image);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    memcpy(image, STATE_MAGIC, 8);
    put(image + 8, STATE_FORMAT_LAST, 4);
    put(image + 12, STATE_HEADER, 4);
    put(image + 16, size, 8);
    put(image + 24, hash, 8);
    put(image + 32, DESCRIPTORS, 4);
    put(image + 36, count_records(data, size), 4);
    memcpy(image + STATE_HEADER, data, size);
    return image;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *image = with_header(data, size);
    struct daemon d = {0};
    struct state_reader in;
    struct state_restorer r = {
        .worker = &d.worker,
        .descriptors = d.descriptors,
        .taken = d.taken,
        .descriptor_count = DESCRIPTORS,
        .configure = configure,
        .listener = on_listener,
    };
    int e;

    begin(&d);
    MUST(state_read(&in, image, STATE_HEADER + size) == 0);
    e = state_restore(&r, &in);
    MUST(e == 0 || r.what);
    if (e == 0) {
        state_resume(&d.worker);
        run(&d, 8, 1);
    }
    end(&d, r.lock);
    free(image);
    return 0;
}
