/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: resolver_start() makes a lookup. The hosts file or the cache answers it, or it joins
 * a question for its name and family, which is asked if it is the first one. The answer (on_answer)
 * moves the question's lookups to `finished`, and the next turn of the loop calls back
 * (on_deliver).
 * Failures: the hosts file is being read (the lookup waits until it has been); no answer in
 * total_ms (TRY_AGAIN). A question for which no op waits any more may have to stay with c-ares: it
 * keeps the charge of its last lookup until it is answered, or until somebody asks for the same.
 */
#include "daemon/names/resolver.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/time.h"
#include "daemon/core/quota.h"
#include "daemon/names/cache.h"
#include "daemon/names/dns.h"
#include "daemon/names/file_id.h"
#include "daemon/names/host.h"
#include "daemon/names/hosts.h"
#include "daemon/names/resolv_conf.h"

#define QUESTION_BUCKETS 1024u

struct resolver {
    struct ev_loop *loop;
    struct resolver_options options; /* texts are ours */
    struct file_id resolv_conf;      /* that `dns` goes by */
    struct dns_settings settings;    /* of `dns` */
    struct dns *dns;
    struct file_table *hosts;
    struct cache *cache;
    struct list questions[QUESTION_BUCKETS];
    struct list waiting;  /* struct resolver_lookup: for the hosts file */
    struct list finished; /* to be delivered */
    struct list due;      /* those that have not finished, the earliest first */
    struct ev_timer deliver, expire, read_hosts;
    unsigned int lookups; /* all, and the questions that are charged */
};

struct question {
    struct dns_question dns; /* first */
    struct list node;        /* resolver->questions */
    struct list lookups;
    struct resolver *resolver;
    struct quota *quota; /* charged while no lookup waits */
    bool is_charged;
    int family;
    char name[HOST_TEXT_MAX + 1];
};

struct resolver_lookup {
    struct list node; /* resolver->waiting, question->lookups, resolver->finished */
    struct list due;  /* resolver->due */
    uint64_t until;
    struct resolver *resolver;
    struct question *question;    /* NULL: it does not wait for one */
    struct resolver_query *query; /* NULL: cancelled */
    struct quota *quota;
    bool is_charged; /* false: its question has the charge */
    int family;
    char name[HOST_TEXT_MAX + 1]; /* in lower case */
    struct resolver_result result;
};

void resolver_clean_environment(void)
{
    unsetenv("RES_OPTIONS");
    unsetenv("LOCALDOMAIN");
    unsetenv("HOSTALIASES");
    unsetenv("CARES_HOSTS");
}

/* ---- lookups ---- */

static int charge(struct resolver *resolver, struct quota *quota)
{
    if (resolver->lookups >= RESOLVER_LOOKUPS_MAX || quota_charge(quota, QUOTA_LOOKUPS, 1) < 0)
        return -ENOBUFS;
    if (quota_charge(quota, QUOTA_MEMORY, MEMORY_LOOKUP) < 0) {
        quota_uncharge(quota, QUOTA_LOOKUPS, 1);
        return -ENOBUFS;
    }
    resolver->lookups++;
    return 0;
}

static void uncharge(struct resolver *resolver, struct quota *quota)
{
    resolver->lookups--;
    quota_uncharge(quota, QUOTA_MEMORY, MEMORY_LOOKUP);
    quota_uncharge(quota, QUOTA_LOOKUPS, 1);
}

static int lookup_new(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                      int family, struct resolver_lookup **ret)
{
    struct resolver_lookup *lookup;
    int r = charge(resolver, quota);

    if (r < 0)
        return r;
    lookup = mem_zalloc(1, sizeof(*lookup));
    if (!lookup) {
        uncharge(resolver, quota);
        return -ENOMEM;
    }
    list_init(&lookup->node);
    list_init(&lookup->due);
    lookup->quota = quota;
    lookup->is_charged = true;
    lookup->resolver = resolver;
    lookup->query = query;
    lookup->family = family;
    query->lookup = lookup;
    *ret = lookup;
    return 0;
}

static void lookup_free(struct resolver_lookup *lookup)
{
    assert(!lookup->question);
    list_remove(&lookup->node);
    list_remove(&lookup->due);
    if (lookup->is_charged)
        uncharge(lookup->resolver, lookup->quota);
    mem_free(lookup);
}

static void finish(struct resolver_lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;

    list_remove(&lookup->due);
    list_append(&resolver->finished, &lookup->node);
    ev_timer_start(resolver->loop, &resolver->deliver);
}

static void on_deliver(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct resolver *resolver = timer->data;
    struct resolver_lookup *lookup;
    struct resolver_query *query;
    struct list batch;

    (void)loop, (void)events;
    /* What the callbacks start waits for the next turn; what they cancel leaves the batch. */
    list_init(&batch);
    for (unsigned int i = 0; i < RESOLVER_TURN && !list_is_empty(&resolver->finished); i++) {
        lookup = list_first(&resolver->finished, struct resolver_lookup, node);
        list_remove(&lookup->node);
        list_append(&batch, &lookup->node);
    }
    if (!list_is_empty(&resolver->finished))
        ev_timer_start(resolver->loop, &resolver->deliver);
    while ((lookup = list_first(&batch, struct resolver_lookup, node)) != NULL) {
        query = lookup->query;
        query->lookup = NULL;
        list_remove(&lookup->node);
        query->done(query, &lookup->result);
        lookup_free(lookup);
    }
}

static void add_address(struct resolver_lookup *lookup, const union resolver_address *address)
{
    struct resolver_result *result = &lookup->result;

    if (lookup->family == AF_UNSPEC || lookup->family == address->any.sa_family)
        result->addresses[result->count++] = *address;
}

/* RFC 6724 prefers ::1. */
static void add_loopback(struct resolver_lookup *lookup)
{
    const union resolver_address in6 = {
        .in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    const union resolver_address in = {
        .in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};

    add_address(lookup, &in6);
    add_address(lookup, &in);
}

/* ---- settings ---- */

/*
 * What `options` says, and what it leaves to resolv.conf from there. However the two go together,
 * each server is asked before the time of the whole is over.
 */
static int read_settings(const struct resolver *resolver, const struct resolver_options *options,
                         struct dns_settings *ret)
{
    int r;

    /* is compared as a whole */
    memset(ret, 0, sizeof(*ret));
    ret->timeout_ms = RESOLVER_TIMEOUT_MS;
    ret->tries = RESOLVER_TRIES;
    r = resolv_conf_read(resolver->options.resolv_conf, resolver->options.port, ret);
    if (r == 0 && options->servers) {
        memset(ret->servers, 0, sizeof(ret->servers));
        r = resolv_conf_servers(options->servers, 53, ret);
    }
    if (r < 0)
        return r;
    if (options->timeout_ms > 0)
        ret->timeout_ms = options->timeout_ms;
    if (options->tries > 0)
        ret->tries = options->tries;
    if (ret->timeout_ms > options->total_ms / (int)ret->server_count)
        ret->timeout_ms = options->total_ms / (int)ret->server_count;
    return 0;
}

/* resolv.conf as it is now, or as it was last, if it cannot be read. */
static void follow_resolv_conf(struct resolver *resolver)
{
    struct file_id now = file_id_at(resolver->options.resolv_conf);
    struct dns_settings settings;

    if (file_id_is_current(&resolver->resolv_conf, &now) ||
        read_settings(resolver, &resolver->options, &settings) < 0)
        return;
    if (memcmp(&settings, &resolver->settings, sizeof(settings)) != 0) {
        if (dns_configure(resolver->dns, &settings) < 0)
            return;
        resolver->settings = settings;
        cache_clear(resolver->cache);
    }
    resolver->resolv_conf = now;
}

/* ---- questions ---- */

static struct list *bucket_of(struct resolver *resolver, const char *name, int family)
{
    uint64_t hash = hash_bytes(name, strlen(name)) + (uint64_t)family;

    return &resolver->questions[(hash ^ hash >> 32) % QUESTION_BUCKETS];
}

/* Asked of the servers of today. */
static struct question *find_question(struct list *bucket, const char *name, int family)
{
    list_for_each (bucket, it) {
        struct question *q = container_of(it, struct question, node);

        if (q->family == family && strcmp(q->name, name) == 0 && dns_is_current(&q->dns))
            return q;
    }
    return NULL;
}

static void on_answer(struct dns_question *dns, const struct resolver_result *result)
{
    struct question *q = (struct question *)dns;
    struct resolver_lookup *lookup;

    while ((lookup = list_first(&q->lookups, struct resolver_lookup, node)) != NULL) {
        list_remove(&lookup->node);
        lookup->question = NULL;
        memcpy(&lookup->result, result,
               offsetof(struct resolver_result, addresses) +
                   result->count * sizeof(result->addresses[0]));
        if (lookup->query->keeps && result->error == ERR_SUCCESS)
            cache_put(q->resolver->cache, lookup->quota, q->name, q->family, result);
        finish(lookup);
    }
    list_remove(&q->node);
    if (q->is_charged)
        uncharge(q->resolver, q->quota);
    mem_free(q);
}

static void join(struct resolver_lookup *lookup, struct question *q)
{
    list_append(&q->lookups, &lookup->node);
    lookup->question = q;
    if (!q->is_charged)
        return;
    q->is_charged = false;
    uncharge(q->resolver, q->quota);
    dns_want(&q->dns);
}

/* The last one leaves its charge with the question, if that goes on. */
static void leave(struct resolver_lookup *lookup)
{
    struct question *q = lookup->question;

    lookup->question = NULL;
    list_remove(&lookup->node);
    if (!list_is_empty(&q->lookups))
        return;
    q->quota = lookup->quota;
    q->is_charged = true;
    lookup->is_charged = false;
    dns_give_up(&q->dns);
}

static void ask(struct resolver_lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;
    struct list *bucket = bucket_of(resolver, lookup->name, lookup->family);
    struct question *q;

    q = find_question(bucket, lookup->name, lookup->family);
    if (q) {
        join(lookup, q);
        return;
    }
    q = mem_zalloc(1, sizeof(*q));
    if (!q) {
        lookup->result.error = ERR_NO_BUFFER_SPACE;
        finish(lookup);
        return;
    }
    q->resolver = resolver;
    q->family = lookup->family;
    strcpy(q->name, lookup->name);
    list_init(&q->node);
    list_init(&q->lookups);
    list_append(bucket, &q->node);
    join(lookup, q);
    dns_ask(resolver->dns, &q->dns, q->name, q->family, on_answer);
}

/* ---- time ---- */

static void watch_due(struct resolver *resolver)
{
    const struct resolver_lookup *first = list_first(&resolver->due, const struct resolver_lookup,
                                                     due);
    uint64_t now = time_now_ms();

    if (!first || ev_is_active(&resolver->expire))
        return;
    ev_timer_set(&resolver->expire, first->until > now ? (ev_tstamp)(first->until - now) / 1e3 : 0.,
                 0.);
    ev_timer_start(resolver->loop, &resolver->expire);
}

static void on_expire(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct resolver *resolver = timer->data;
    struct resolver_lookup *lookup;
    uint64_t now = time_now_ms();

    (void)loop, (void)events;
    for (unsigned int i = 0; i < RESOLVER_TURN; i++) {
        lookup = list_first(&resolver->due, struct resolver_lookup, due);
        if (!lookup || lookup->until > now)
            break;
        if (lookup->question) {
            dns_note_late(&lookup->question->dns);
            leave(lookup);
        }
        list_remove(&lookup->node);
        lookup->result.error = ERR_TRY_AGAIN;
        finish(lookup);
    }
    watch_due(resolver); /* those that are left: in the next turn */
}

/* Nearly all come in the order of their ends: only a reload can change how long they have. */
static void set_due(struct resolver_lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;
    struct list *after = resolver->due.prev;

    lookup->until = time_now_ms() + (uint64_t)resolver->options.total_ms;
    while (after != &resolver->due &&
           container_of(after, struct resolver_lookup, due)->until > lookup->until)
        after = after->prev;
    list_insert_before(after->next, &lookup->due);
    watch_due(resolver);
}

/* ---- the hosts file ---- */

static void answer(struct resolver_lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;

    follow_resolv_conf(resolver); /* which may empty the cache */
    if (hosts_find(resolver->hosts, lookup->name, lookup->family, &lookup->result) ||
        cache_find(resolver->cache, lookup->quota, lookup->name, lookup->family, &lookup->result))
        finish(lookup);
    else
        ask(lookup);
}

static void on_read_hosts(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct resolver *resolver = timer->data;
    struct resolver_lookup *lookup;

    (void)events;
    if (file_table_step(resolver->hosts)) {
        for (unsigned int i = 0; i < RESOLVER_TURN && !list_is_empty(&resolver->waiting); i++) {
            lookup = list_first(&resolver->waiting, struct resolver_lookup, node);
            list_remove(&lookup->node);
            answer(lookup);
        }
        if (list_is_empty(&resolver->waiting))
            return;
    }
    ev_timer_start(loop, &resolver->read_hosts);
}

/* One that takes more than a step is read by the loop meanwhile. */
static bool know_hosts(struct resolver *resolver)
{
    if (ev_is_active(&resolver->read_hosts))
        return false;
    return file_table_is_current(resolver->hosts) || file_table_step(resolver->hosts);
}

static void begin(struct resolver_lookup *lookup, const char *name)
{
    struct resolver *resolver = lookup->resolver;

    strcpy(lookup->name, name);
    host_lower(lookup->name);
    set_due(lookup);
    if (know_hosts(resolver)) {
        answer(lookup);
        return;
    }
    list_append(&resolver->waiting, &lookup->node);
    ev_timer_start(resolver->loop, &resolver->read_hosts);
}

int resolver_start(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                   const char *host, int family, resolver_fn done)
{
    struct resolver_lookup *lookup;
    union resolver_address address;
    struct host parsed;
    int r;

    assert(!query->lookup);
    r = host_parse(host, &parsed);
    if (r == 0)
        r = host_find_zone(&parsed);
    if (r < 0)
        return r;
    if (parsed.kind == HOST_ADDRESS && family != AF_UNSPEC &&
        family != parsed.address.any.sa_family)
        return -EAFNOSUPPORT;
    r = lookup_new(resolver, quota, query, family, &lookup);
    if (r < 0)
        return r;
    query->done = done;
    if (parsed.kind == HOST_NAME) {
        begin(lookup, parsed.name);
        return 0;
    }
    memcpy(&address, &parsed.address, sizeof(parsed.address));
    lookup->result.source = RESOLVER_LITERAL;
    if (parsed.kind == HOST_ADDRESS)
        add_address(lookup, &address);
    else
        add_loopback(lookup);
    finish(lookup);
    return 0;
}

void resolver_cancel(struct resolver_query *query)
{
    struct resolver_lookup *lookup = query->lookup;

    if (!lookup)
        return;
    query->lookup = NULL;
    if (lookup->question)
        leave(lookup);
    lookup_free(lookup);
}

/* ---- life ---- */

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

/* Servers and times of `options`, the rest as it is. */
int resolver_configure(struct resolver *resolver, const struct resolver_options *options)
{
    struct resolver_options next = resolver->options;
    struct file_id now = file_id_at(next.resolv_conf);
    struct dns_settings settings;
    int r;

    next.timeout_ms = options->timeout_ms;
    next.tries = options->tries;
    next.total_ms = options->total_ms > 0 ? options->total_ms : RESOLVER_TOTAL_MS;
    next.servers = options->servers;
    r = read_settings(resolver, &next, &settings);
    if (r < 0)
        return r;
    if (next.servers) {
        next.servers = copy_text(next.servers);
        if (!next.servers)
            return -ENOMEM;
    }
    if (!resolver->dns)
        r = dns_new(resolver->loop, &settings, &resolver->dns);
    else if (memcmp(&settings, &resolver->settings, sizeof(settings)) != 0)
        r = dns_configure(resolver->dns, &settings);
    if (r < 0) {
        mem_free((void *)next.servers);
        return r;
    }
    mem_free((void *)resolver->options.servers);
    cache_clear(resolver->cache);
    resolver->options = next;
    resolver->settings = settings;
    resolver->resolv_conf = now;
    return 0;
}

static void init_timer(struct resolver *resolver, struct ev_timer *timer,
                       void (*callback)(struct ev_loop *, struct ev_timer *, int))
{
    ev_timer_init(timer, callback, 0., 0.);
    timer->data = resolver;
}

static int init(struct resolver *resolver, const struct resolver_options *options)
{
    const char *resolv_conf = options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf";
    int r;

    resolver->options.port = options->port ? options->port : 53;
    resolver->options.resolv_conf = copy_text(resolv_conf);
    if (!resolver->options.resolv_conf)
        return -ENOMEM;
    resolver->cache = cache_new(resolver->loop);
    if (!resolver->cache)
        return -ENOMEM;
    r = hosts_new(options->hosts, &resolver->hosts);
    return r < 0 ? r : resolver_configure(resolver, options);
}

int resolver_new(struct ev_loop *loop, const struct resolver_options *options,
                 struct resolver **ret)
{
    static const struct resolver_options none;
    struct resolver *resolver = mem_zalloc(1, sizeof(*resolver));
    int r;

    if (!resolver)
        return -ENOMEM;
    resolver->loop = loop;
    for (unsigned int i = 0; i < QUESTION_BUCKETS; i++)
        list_init(&resolver->questions[i]);
    list_init(&resolver->waiting);
    list_init(&resolver->finished);
    list_init(&resolver->due);
    init_timer(resolver, &resolver->deliver, on_deliver);
    init_timer(resolver, &resolver->read_hosts, on_read_hosts);
    init_timer(resolver, &resolver->expire, on_expire);
    ev_set_priority(&resolver->expire, EV_MINPRI); /* an answer that is there comes first */
    r = init(resolver, options ? options : &none);
    if (r < 0) {
        resolver_free(resolver);
        return r;
    }
    *ret = resolver;
    return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return NULL;
    assert(list_is_empty(&resolver->finished) && list_is_empty(&resolver->due));
    dns_free(resolver->dns); /* gives back the questions that are not waited for */
    assert(resolver->lookups == 0);
    ev_timer_stop(resolver->loop, &resolver->deliver);
    ev_timer_stop(resolver->loop, &resolver->expire);
    ev_timer_stop(resolver->loop, &resolver->read_hosts);
    file_table_free(resolver->hosts);
    cache_free(resolver->cache);
    mem_free((void *)resolver->options.servers);
    mem_free((void *)resolver->options.resolv_conf);
    return mem_free(resolver);
}
