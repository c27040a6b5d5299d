/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: resolver_start() makes a lookup and hands it to c-ares; c-ares tells of its sockets
 * (on_socket) and gets their events (on_io) and the time (on_timeout); its answer (on_answer) moves
 * the lookup to `finished`, and the next turn of the loop calls back (on_deliver).
 * Failures: a cancelled lookup stays with c-ares, which cannot give up a single one, and is freed when
 * it answers; when no other is left, all are given up at once. When resolv.conf has changed, what is in
 * flight ends with the servers it was sent to, on a channel of its own, and a new channel takes over:
 * c-ares of this age cannot read it again.
 */
#include "daemon/names/resolver.h"

#include <ares.h>
#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/list.h"
#include "daemon/names/host.h"
#include "daemon/core/quota.h"

/* Which resolv.conf it was; all zero: there was none. */
struct file_id {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct resolver {
    struct ev_loop *loop;
    struct resolver_options options; /* texts are ours */
    struct file_id resolv_conf;      /* that the newest channel has read */
    struct list channels;            /* struct channel; the last one is the newest */
    struct list finished;            /* struct resolver_lookup: to be delivered */
    struct ev_timer deliver;
    unsigned int lookups; /* all, wanted or not, finished or not */
};

struct channel {
    struct list node; /* resolver->channels */
    struct resolver *resolver;
    ares_channel ares;
    struct ev_timer timeout;
    struct list sockets; /* struct resolver_socket: what c-ares has open */
    unsigned int asked;  /* lookups that c-ares has */
    unsigned int wanted; /* of these, those that somebody waits for */
};

struct resolver_socket {
    struct list node;
    struct channel *channel;
    struct ev_io io;
};

struct resolver_lookup {
    struct list node; /* resolver->finished */
    struct resolver *resolver;
    struct channel *channel;      /* NULL: nobody was asked, or it has answered */
    struct resolver_query *query; /* NULL: cancelled */
    struct quota *quota;          /* charged until c-ares has done with it, wanted or not */
    int family;
    struct resolver_result result;
};

void resolver_clean_environment(void)
{
    unsetenv("RES_OPTIONS");
    unsetenv("LOCALDOMAIN");
    unsetenv("HOSTALIASES");
    unsetenv("CARES_HOSTS");
}

/* ---- c-ares on the loop ---- */

static void update_timeout(struct channel *channel)
{
    struct ev_loop *loop = channel->resolver->loop;
    struct timeval tv;

    ev_timer_stop(loop, &channel->timeout);
    if (!ares_timeout(channel->ares, NULL, &tv))
        return;
    ev_timer_set(&channel->timeout, (ev_tstamp)tv.tv_sec + (ev_tstamp)tv.tv_usec / 1e6, 0.);
    ev_timer_start(loop, &channel->timeout);
}

static void on_timeout(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct channel *channel = timer->data;

    (void)loop, (void)events;
    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    update_timeout(channel);
}

static void on_io(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct channel *channel = ((struct resolver_socket *)io->data)->channel;
    int fd = io->fd;

    (void)loop;
    /* `io` may be gone when this returns. */
    ares_process_fd(channel->ares, events & EV_READ ? fd : ARES_SOCKET_BAD,
                    events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    update_timeout(channel);
}

static struct resolver_socket *find_socket(struct channel *channel, int fd)
{
    list_for_each (&channel->sockets, it) {
        struct resolver_socket *socket = container_of(it, struct resolver_socket, node);

        if (socket->io.fd == fd)
            return socket;
    }
    return NULL;
}

static struct resolver_socket *add_socket(struct channel *channel, int fd)
{
    struct resolver_socket *socket = mem_zalloc(1, sizeof(*socket));

    if (!socket)
        return NULL;
    socket->channel = channel;
    ev_io_init(&socket->io, on_io, fd, EV_READ);
    socket->io.data = socket;
    list_append(&channel->sockets, &socket->node);
    return socket;
}

static void remove_socket(struct resolver_socket *socket)
{
    ev_io_stop(socket->channel->resolver->loop, &socket->io);
    list_remove(&socket->node);
    mem_free(socket);
}

/* c-ares says what it waits for; neither: it is about to close fd. */
static void on_socket(void *data, int fd, int readable, int writable)
{
    struct channel *channel = data;
    struct ev_loop *loop = channel->resolver->loop;
    struct resolver_socket *socket = find_socket(channel, fd);

    if (!readable && !writable) {
        if (socket)
            remove_socket(socket);
        return;
    }
    if (!socket)
        socket = add_socket(channel, fd);
    if (!socket)
        return; /* out of memory: nobody hears this socket, and c-ares' time-out tells */
    ev_io_stop(loop, &socket->io);
    ev_io_set(&socket->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    ev_io_start(loop, &socket->io);
}

static int init_channel(struct channel *channel, struct resolver_options *options)
{
    char lookups[] = "fb"; /* files, then DNS */
    struct ares_options o = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .ndomains = 0,
        .lookups = lookups,
        .timeout = options->timeout_ms,
        .tries = options->tries,
        .udp_port = options->port,
        .tcp_port = options->port,
        .resolvconf_path = (char *)options->resolv_conf, /* c-ares copies it */
        .sock_state_cb = on_socket,
        .sock_state_cb_data = channel,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
               ARES_OPT_RESOLVCONF;
    int status;

    if (options->timeout_ms > 0)
        mask |= ARES_OPT_TIMEOUTMS;
    if (options->tries > 0)
        mask |= ARES_OPT_TRIES;
    if (options->port > 0)
        mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
    status = ares_init_options(&channel->ares, &o, mask);
    if (status != ARES_SUCCESS) {
        channel->ares = NULL;
        return status == ARES_ENOMEM ? -ENOMEM : -EIO;
    }
    if (!options->servers)
        return 0;
    status = ares_set_servers_ports_csv(channel->ares, options->servers);
    if (status != ARES_SUCCESS)
        return status == ARES_ENOMEM ? -ENOMEM : -EINVAL;
    return 0;
}

static void channel_free(struct channel *channel)
{
    assert(channel->wanted == 0);
    if (channel->ares)
        ares_destroy(channel->ares);
    assert(channel->asked == 0 && list_is_empty(&channel->sockets));
    ev_timer_stop(channel->resolver->loop, &channel->timeout);
    list_remove(&channel->node);
    mem_free(channel);
}

static int channel_new(struct resolver *resolver)
{
    struct channel *channel = mem_zalloc(1, sizeof(*channel));
    int r;

    if (!channel)
        return -ENOMEM;
    list_init(&channel->node);
    list_init(&channel->sockets);
    channel->resolver = resolver;
    ev_timer_init(&channel->timeout, on_timeout, 0., 0.);
    channel->timeout.data = channel;
    r = init_channel(channel, &resolver->options);
    if (r < 0) {
        channel_free(channel);
        return r;
    }
    list_append(&resolver->channels, &channel->node);
    return 0;
}

static struct file_id identify(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return (struct file_id){0};
    return (struct file_id){st.st_dev, st.st_ino, st.st_size, st.st_ctim};
}

static bool is_same_file(const struct file_id *a, const struct file_id *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* A channel that knows resolv.conf as it is now; the one there is, if a new one cannot be had. */
static struct channel *current_channel(struct resolver *resolver)
{
    struct file_id now;

    list_for_each_safe (&resolver->channels, it) {
        struct channel *channel = container_of(it, struct channel, node);

        if (channel->asked == 0 && it->next != &resolver->channels)
            channel_free(channel);
    }
    now = identify(resolver->options.resolv_conf);
    if (!resolver->options.servers && !is_same_file(&now, &resolver->resolv_conf) &&
        channel_new(resolver) == 0)
        resolver->resolv_conf = now;
    return list_last(&resolver->channels, struct channel, node);
}

/* ---- lookups ---- */

static int lookup_new(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                      int family, struct resolver_lookup **ret)
{
    struct resolver_lookup *lookup;

    if (resolver->lookups >= RESOLVER_LOOKUPS_MAX || quota_charge(quota, QUOTA_LOOKUPS, 1) < 0)
        return -ENOBUFS;
    lookup = mem_zalloc(1, sizeof(*lookup));
    if (!lookup) {
        quota_uncharge(quota, QUOTA_LOOKUPS, 1);
        return -ENOMEM;
    }
    lookup->quota = quota;
    list_init(&lookup->node);
    lookup->resolver = resolver;
    lookup->query = query;
    lookup->family = family;
    query->lookup = lookup;
    resolver->lookups++;
    *ret = lookup;
    return 0;
}

static void lookup_free(struct resolver_lookup *lookup)
{
    list_remove(&lookup->node);
    lookup->resolver->lookups--;
    quota_uncharge(lookup->quota, QUOTA_LOOKUPS, 1);
    mem_free(lookup);
}

static void finish(struct resolver_lookup *lookup)
{
    struct resolver *resolver = lookup->resolver;

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

static void add_address(struct resolver_lookup *lookup, const struct sockaddr *addr)
{
    struct resolver_result *result = &lookup->result;
    union resolver_address *to;

    if (result->count == RESOLVER_ADDRESSES_MAX)
        return;
    if (lookup->family != AF_UNSPEC && lookup->family != addr->sa_family)
        return;
    to = &result->addresses[result->count];
    if (addr->sa_family == AF_INET)
        memcpy(&to->in, addr, sizeof(to->in));
    else if (addr->sa_family == AF_INET6)
        memcpy(&to->in6, addr, sizeof(to->in6));
    else
        return;
    result->count++;
}

/* RFC 6724 prefers ::1. */
static void add_loopback(struct resolver_lookup *lookup)
{
    union resolver_address in6 = {
        .in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    union resolver_address in = {
        .in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};

    add_address(lookup, &in6.any);
    add_address(lookup, &in.any);
}

static enum asock_wire_error error_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return ERR_SUCCESS;
    case ARES_ENOTFOUND:
        return ERR_HOST_NOT_FOUND;
    case ARES_ENODATA:
        return ERR_NO_DATA;
    case ARES_ETIMEOUT:
    case ARES_ESERVFAIL:
    case ARES_ECONNREFUSED:
        return ERR_TRY_AGAIN;
    case ARES_ENOMEM:
        return ERR_NO_BUFFER_SPACE;
    default:
        return ERR_NO_RECOVERY;
    }
}

static void on_answer(void *data, int status, int timeouts, struct ares_addrinfo *info)
{
    struct resolver_lookup *lookup = data;

    (void)timeouts;
    lookup->channel->asked--;
    if (!lookup->query) {
        lookup_free(lookup);
        if (info)
            ares_freeaddrinfo(info);
        return;
    }
    lookup->channel->wanted--;
    lookup->channel = NULL;
    lookup->result.error = error_of(status);
    if (status == ARES_SUCCESS) {
        for (struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next)
            add_address(lookup, n->ai_addr);
        if (lookup->result.count == 0)
            lookup->result.error = ERR_NO_DATA;
    }
    if (info)
        ares_freeaddrinfo(info);
    finish(lookup);
}

static void ask(struct resolver_lookup *lookup, const char *name)
{
    struct channel *channel = current_channel(lookup->resolver);
    struct ares_addrinfo_hints hints = {
        .ai_family = lookup->family, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};

    lookup->channel = channel;
    channel->asked++;
    channel->wanted++;
    ares_getaddrinfo(channel->ares, name, NULL, &hints, on_answer, lookup);
    update_timeout(channel);
}

int resolver_start(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                   const char *host, int family, resolver_fn done)
{
    struct resolver_lookup *lookup;
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
        ask(lookup, parsed.name);
        return 0;
    }
    if (parsed.kind == HOST_ADDRESS)
        add_address(lookup, &parsed.address.any);
    else
        add_loopback(lookup);
    finish(lookup);
    return 0;
}

void resolver_cancel(struct resolver_query *query)
{
    struct resolver_lookup *lookup = query->lookup;
    struct channel *channel;

    if (!lookup)
        return;
    query->lookup = NULL;
    lookup->query = NULL;
    channel = lookup->channel;
    if (!channel) {
        lookup_free(lookup);
        return;
    }
    if (--channel->wanted == 0) {
        ares_cancel(channel->ares); /* on_answer frees them all */
        update_timeout(channel);
    }
}

/* ---- the resolver ---- */

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

static int copy_options(struct resolver *resolver, const struct resolver_options *options)
{
    static const struct resolver_options none;

    resolver->options = options ? *options : none;
    resolver->options.servers = NULL;
    resolver->options.resolv_conf = copy_text(options && options->resolv_conf ? options->resolv_conf
                                                                              : "/etc/resolv.conf");
    if (!resolver->options.resolv_conf)
        return -ENOMEM;
    if (options && options->servers) {
        resolver->options.servers = copy_text(options->servers);
        if (!resolver->options.servers)
            return -ENOMEM;
    }
    return 0;
}

int resolver_new(struct ev_loop *loop, const struct resolver_options *options,
                 struct resolver **ret)
{
    struct resolver *resolver;
    int r;

    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return -ENOMEM;
    resolver = mem_zalloc(1, sizeof(*resolver));
    if (!resolver) {
        ares_library_cleanup();
        return -ENOMEM;
    }
    resolver->loop = loop;
    list_init(&resolver->channels);
    list_init(&resolver->finished);
    ev_timer_init(&resolver->deliver, on_deliver, 0., 0.);
    resolver->deliver.data = resolver;
    r = copy_options(resolver, options);
    if (r == 0) {
        resolver->resolv_conf = identify(resolver->options.resolv_conf);
        r = channel_new(resolver);
    }
    if (r < 0) {
        resolver_free(resolver);
        return r;
    }
    *ret = resolver;
    return 0;
}

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

int resolver_set_servers(struct resolver *resolver, const char *servers)
{
    const char *before = resolver->options.servers;
    struct file_id now;
    char *copy = NULL;
    int r;

    if (is_same_text(before, servers))
        return 0;
    if (servers) {
        copy = copy_text(servers);
        if (!copy)
            return -ENOMEM;
    }
    now = identify(resolver->options.resolv_conf);
    resolver->options.servers = copy;
    r = channel_new(resolver);
    if (r < 0) {
        resolver->options.servers = before;
        mem_free(copy);
        return r;
    }
    resolver->resolv_conf = now;
    mem_free((void *)before);
    return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return NULL;
    assert(list_is_empty(&resolver->finished));
    list_for_each_safe (&resolver->channels, it)
        channel_free(container_of(it, struct channel, node));
    assert(resolver->lookups == 0);
    ev_timer_stop(resolver->loop, &resolver->deliver);
    mem_free((void *)resolver->options.servers);
    mem_free((void *)resolver->options.resolv_conf);
    mem_free(resolver);
    ares_library_cleanup();
    return NULL;
}
