/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is replaced as a whole: names (resolver.h), where the audit's entries go (audit_sink.h), and
 * who the client is (identity.h).
 */
#include "tests/sim/seams.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "daemon/audit/sink.h"
#include "daemon/names/host.h"
#include "daemon/identity/identity.h"
#include "daemon/identity/identity_proc.h"
#include "daemon/core/quota.h"
#include "daemon/names/resolver.h"
#include "tests/sim/calls.h"
#include "tests/sim/kernel.h"
#include "tests/sim/sim.h"

/* ---- names ---- */

struct resolver_lookup {
    struct list node;
    struct resolver *resolver;
    struct resolver_query *query;
    struct quota *quota;
    struct host host;
    int family;
    uint64_t due;
    bool is_lost; /* no server answers */
};

struct resolver {
    struct list lookups;
    struct ev_io io;
    struct ev_loop *loop;
    int fd;
};

static void arm(struct resolver *resolver)
{
    uint64_t due = 0;

    list_for_each (&resolver->lookups, it) {
        const struct resolver_lookup *lookup = container_of(it, struct resolver_lookup, node);

        if (due == 0 || lookup->due < due)
            due = lookup->due;
    }
    fd_file(resolver->fd)->u.timer = due;
}

static void drop(struct resolver_lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;

    lookup->query->lookup = NULL;
    list_remove(&lookup->node);
    quota_uncharge(lookup->quota, QUOTA_LOOKUPS, 1);
    quota_unref(lookup->quota);
    sim_free(lookup);
    arm(resolver);
}

static void add(struct resolver_result *result, int family, unsigned int host)
{
    union resolver_address *address = &result->addresses[result->count++];

    memset(address, 0, sizeof(*address));
    address->any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        address->in.sin_addr.s_addr = htonl(0x0a000000 | host);
    } else {
        inet_pton(AF_INET6, "2001:db8::", &address->in6.sin6_addr);
        address->in6.sin6_addr.s6_addr[15] = (uint8_t)host;
    }
}

/* "n17.sim": its digits decide what there is. */
static void answer_name(const struct resolver_lookup *lookup, struct resolver_result *ret)
{
    unsigned int number = 0, count, salt;

    for (const char *c = lookup->host.name; *c; c++)
        if (*c >= '0' && *c <= '9')
            number = number * 10 + (unsigned int)(*c - '0');
    salt = (unsigned int)sim_mix(number, lookup->family == AF_INET ? 4 : 6);
    switch (number % 8) {
    case 6:
        ret->error = salt & 1 ? ERR_HOST_NOT_FOUND : ERR_NO_DATA;
        return;
    case 7:
        ret->error = ERR_TRY_AGAIN;
        return;
    default:
        break;
    }
    count = number % 8 == 5 ? RESOLVER_ADDRESSES_MAX : 1 + salt % 3;
    for (unsigned int i = 0; i < count; i++) {
        unsigned int host = 1 + (salt >> i % 8) % (HOST_KINDS - 1);

        add(ret, lookup->family, i + 1 == count ? HOST_ACCEPTS : host);
    }
}

static void answer(struct resolver_lookup *lookup)
{
    struct resolver_query *query = lookup->query;
    resolver_fn done = query->done;
    struct resolver_result result = {.error = ERR_SUCCESS};

    if (lookup->host.kind == HOST_ADDRESS) {
        memcpy(&result.addresses[0], &lookup->host.address, sizeof(lookup->host.address));
        result.count = 1;
    } else if (lookup->host.kind == HOST_LOOPBACK) {
        add(&result, lookup->family, HOST_REFUSES);
    } else if (lookup->is_lost) {
        result.error = ERR_TRY_AGAIN;
    } else {
        answer_name(lookup, &result);
    }
    drop(lookup);
    done(query, &result);
}

static void on_answer(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct resolver *resolver = io->data;

    (void)loop;
    (void)events;
    list_for_each (&resolver->lookups, it) {
        struct resolver_lookup *lookup = container_of(it, struct resolver_lookup, node);

        if (lookup->due > sim.now_ns)
            continue;
        answer(lookup);
        return;
    }
}

int resolver_new(struct ev_loop *loop, const struct resolver_options *options,
                 struct resolver **ret)
{
    struct resolver *resolver = sim_alloc(sizeof(*resolver));

    (void)options;
    list_init(&resolver->lookups);
    resolver->loop = loop;
    resolver->fd = fd_install(file_new(FILE_TIMER));
    ev_io_init(&resolver->io, on_answer, resolver->fd, EV_READ);
    resolver->io.data = resolver;
    ev_io_start(loop, &resolver->io);
    *ret = resolver;
    return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
    if (!list_is_empty(&resolver->lookups))
        sim_fail("left-lookup: the resolver goes with questions");
    ev_io_stop(resolver->loop, &resolver->io);
    fd_close(resolver->fd);
    sim_free(resolver);
    return NULL;
}

void seams_resolver_drop(struct resolver *resolver)
{
    list_for_each_safe (&resolver->lookups, it)
        sim_free(container_of(it, struct resolver_lookup, node));
    sim_free(resolver);
}

uint64_t seams_resolver_charged(const struct resolver *resolver)
{
    uint64_t count = 0;

    list_for_each (&resolver->lookups, it)
        count += container_of(it, struct resolver_lookup, node)->quota != NULL;
    return count;
}

int resolver_configure(struct resolver *resolver, const struct resolver_options *options)
{
    (void)resolver;
    (void)options;
    return 0;
}

void resolver_clean_environment(void)
{
}

int resolver_start(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                   const char *host, int family, resolver_fn done)
{
    struct resolver_lookup *lookup;
    struct host parsed;

    if (host_parse(host, &parsed) < 0)
        return -EINVAL;
    if (parsed.kind == HOST_ADDRESS && family != AF_UNSPEC &&
        parsed.address.any.sa_family != family)
        return -EAFNOSUPPORT;
    if (quota_charge(quota, QUOTA_LOOKUPS, 1) < 0)
        return -ENOBUFS;
    lookup = sim_alloc(sizeof(*lookup));
    lookup->resolver = resolver;
    lookup->query = query;
    lookup->quota = quota ? quota_ref(quota) : NULL;
    lookup->host = parsed;
    lookup->family = family == AF_UNSPEC ? AF_INET : family;
    lookup->due = sim.now_ns + 1;
    if (parsed.kind == HOST_NAME) {
        lookup->is_lost = sim_chance(20);
        lookup->due += (uint64_t)sim_random(200) * 1000000;
        if (lookup->is_lost)
            lookup->due += UINT64_C(10000000000);
    }
    list_append(&resolver->lookups, &lookup->node);
    query->lookup = lookup;
    query->done = done;
    arm(resolver);
    return 0;
}

void resolver_cancel(struct resolver_query *query)
{
    if (query->lookup)
        drop(query->lookup);
}

/* ---- the audit ---- */

struct sink {
    struct audit_sink sink;
    struct list records;
    uint32_t count;
    uint64_t bytes;
    uint64_t stuck_since, stuck_until; /* ms */
};

static void sink_put(struct audit_sink *sink, struct audit_record *record)
{
    struct sink *s = container_of(sink, struct sink, sink);

    list_append(&s->records, &record->node);
    s->count++;
    s->bytes += record->len;
}

static void sink_drop_all(struct sink *s)
{
    struct audit_record *record;

    while ((record = list_first(&s->records, struct audit_record, node))) {
        list_remove(&record->node);
        audit_record_free(record);
    }
    s->count = 0;
    s->bytes = 0;
}

/* No entry is taken for a while, and then all of them. */
static void sink_flush(struct audit_sink *sink)
{
    struct sink *s = container_of(sink, struct sink, sink);

    if (sim_now_ms() < s->stuck_until)
        return;
    if (sim_fault(FAULT_AUDIT, 10)) {
        s->stuck_since = sim_now_ms();
        s->stuck_until = s->stuck_since + sim_random(10000);
        return;
    }
    sink_drop_all(s);
}

static struct audit_sink_state sink_state(struct audit_sink *sink)
{
    struct sink *s = container_of(sink, struct sink, sink);
    uint64_t now = sim_now_ms();

    if (now >= s->stuck_until)
        sink_drop_all(s);
    return (struct audit_sink_state){
        .count = s->count,
        .bytes = s->bytes,
        .stuck_ms = s->count > 0 && now < s->stuck_until ? now - s->stuck_since : 0,
    };
}

static void sink_free(struct audit_sink *sink)
{
    struct sink *s = container_of(sink, struct sink, sink);

    sink_drop_all(s);
    mem_free(s);
}

static const struct audit_sink_ops sink_ops = {
    .format = AUDIT_JSON,
    .put = sink_put,
    .flush = sink_flush,
    .state = sink_state,
    .free = sink_free,
};

int audit_journal_new(struct worker *w, const char *path, struct audit_sink **ret)
{
    struct sink *s = mem_zalloc(1, sizeof(*s));

    (void)w;
    (void)path;
    if (!s)
        return -ENOMEM;
    s->sink.ops = &sink_ops;
    list_init(&s->records);
    *ret = &s->sink;
    return 0;
}

int audit_file_new(const char *path, struct audit_sink **ret, const char **ret_why)
{
    int r = audit_journal_new(NULL, path, ret);

    *ret_why = strerror(-r);
    return r;
}

/* ---- who it is ---- */

/* A client keeps its user. */
int identity_read_user(int fd, struct identity *ret)
{
    struct unix_end *end = fd_file(fd)->u.unix_end;

    if (!end->uid)
        end->uid = 1000 + sim_random(2);
    memset(ret, 0, sizeof(*ret));
    ret->uid = ret->gid = end->uid;
    ret->pidfd = -1;
    return 0;
}

int identity_read(int fd, struct identity *ret)
{
    identity_read_user(fd, ret);
    ret->pid = 4000;
    ret->pidfd = -1;
    ret->gids_known = ret->units_known = true;
    strcpy(ret->comm, "program");
    return 0;
}

int identity_read_since(int fd, uint64_t accepted, struct identity *ret)
{
    (void)accepted;
    return identity_read(fd, ret);
}

uint64_t identity_proc_now(void)
{
    return sim.now_ns;
}

void identity_forget_process(struct identity *identity)
{
    (void)identity;
}

void identity_drop_groups(struct identity *identity)
{
    (void)identity;
}

int identity_read_process(pid_t pid, struct identity *ret)
{
    (void)pid;
    *ret = (struct identity){.pidfd = -1};
    return -ESRCH;
}

void identity_read_groups(struct identity *identity, int fd)
{
    (void)identity;
    (void)fd;
}

void identity_deinit(struct identity *identity)
{
    identity->pidfd = -1;
}

bool identity_is_alive(const struct identity *identity)
{
    (void)identity;
    return true;
}

const char *identity_pidfd_source_name(enum identity_pidfd_source source)
{
    (void)source;
    return "none";
}
