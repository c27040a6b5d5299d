/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a question takes an idle channel, or a new one, or shares the least busy one; c-ares
 * tells of its sockets (on_socket) and gets their events (on_io, on_read) and the time
 * (on_timeout); its answer (on_answer) goes up.
 * Failures: a server that did not answer is noted (on_answer, dns_note_late), and comes last in
 * what channels are given next. A channel with other settings than today's ends with its questions.
 */
#include "daemon/names/dns.h"

#include <ares.h>
#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/time.h"

struct server {
    uint64_t heard;        /* when; 0: never */
    uint64_t silent_until; /* asked last until then */
};

struct dns {
    struct ev_loop *loop;
    struct dns_settings settings;
    struct server servers[DNS_SERVERS_MAX];
    unsigned int generation; /* of the settings */
    unsigned int turn;       /* of rotation */
    struct list channels;    /* struct channel */
    struct list ready;       /* struct dns_socket: whose turn it is to be read */
    struct ev_timer read;    /* of these, one in a turn; never started: it is fed */
};

struct channel {
    struct list node;
    struct dns *dns;
    ares_channel ares;
    struct ev_timer timeout;
    struct list sockets; /* struct dns_socket: what c-ares has open */
    unsigned int generation;
    unsigned int asked;                  /* questions that c-ares has */
    unsigned int wanted;                 /* of these, those that somebody waits for */
    unsigned int order[DNS_SERVERS_MAX]; /* of dns->servers */
    unsigned int
        hears; /* whose answer is being read, of the settings' servers; DNS_SERVERS_MAX: none's */
};

struct dns_socket {
    struct list node;
    struct channel *channel;
    struct ev_io io;
    struct list ready; /* dns->ready; unlinked: nothing was reported since it was read */
    int events;        /* that were reported */
};

/* Its servers are those of the settings. */
static bool is_current(const struct channel *channel)
{
    return channel->generation == channel->dns->generation;
}

/* ---- c-ares on the loop ---- */

static void update_timeout(struct channel *channel)
{
    struct ev_loop *loop = channel->dns->loop;
    struct timeval tv;

    ev_timer_stop(loop, &channel->timeout);
    if (!ares_timeout(channel->ares, NULL, &tv))
        return;
    ev_timer_set(&channel->timeout, (ev_tstamp)tv.tv_sec + (ev_tstamp)tv.tv_usec / 1e6, 0.);
    ev_timer_start(loop, &channel->timeout);
}

static bool is_same_server(const union resolver_address *a, const union resolver_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return a->in6.sin6_port == b->in6.sin6_port &&
           memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

/* Something came from the other end of fd. A refusal counts too: it costs no time. */
static void note_heard(struct channel *channel, int fd)
{
    struct dns *dns = channel->dns;
    union resolver_address from;
    socklen_t len = sizeof(from);

    if (getpeername(fd, &from.any, &len) < 0)
        return;
    for (unsigned int i = 0; i < dns->settings.server_count; i++) {
        if (!is_same_server(&dns->settings.servers[i], &from))
            continue;
        channel->hears = i;
        dns->servers[i].heard = time_now_ms();
        dns->servers[i].silent_until = 0;
    }
}

static struct dns_socket *find_ready(const struct channel *channel)
{
    list_for_each (&channel->dns->ready, it) {
        struct dns_socket *socket = container_of(it, struct dns_socket, ready);

        if (socket->channel == channel)
            return socket;
    }
    return NULL;
}

/* What has come for the socket, and what its channel's time is over for. NULL: the latter. */
static void process(struct channel *channel, struct dns_socket *socket)
{
    int events = socket ? socket->events : 0, fd = socket ? socket->io.fd : ARES_SOCKET_BAD;

    if (socket)
        list_remove(&socket->ready);
    if (events & EV_READ)
        note_heard(channel, fd);
    /* `socket` may be gone when this returns. */
    ares_process_fd(channel->ares, events & EV_READ ? fd : ARES_SOCKET_BAD,
                    events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    channel->hears = DNS_SERVERS_MAX;
    update_timeout(channel);
}

/* An answer that waits for its turn has come in time. */
static void on_timeout(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct channel *channel = timer->data;

    (void)loop, (void)events;
    process(channel, find_ready(channel));
}

/* c-ares reads all that is there: one socket in a turn, the others are reported again. */
static void on_read(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct dns *dns = timer->data;
    struct dns_socket *socket = list_first(&dns->ready, struct dns_socket, ready);

    (void)loop, (void)events;
    if (socket)
        process(socket->channel, socket);
}

static void on_io(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct dns_socket *socket = io->data;
    struct dns *dns = socket->channel->dns;

    socket->events = events;
    if (!list_is_linked(&socket->ready))
        list_append(&dns->ready, &socket->ready);
    ev_feed_event(loop, &dns->read, EV_CUSTOM);
}

static struct dns_socket *find_socket(struct channel *channel, int fd)
{
    list_for_each (&channel->sockets, it) {
        struct dns_socket *socket = container_of(it, struct dns_socket, node);

        if (socket->io.fd == fd)
            return socket;
    }
    return NULL;
}

static struct dns_socket *add_socket(struct channel *channel, int fd)
{
    struct dns_socket *socket = mem_zalloc(1, sizeof(*socket));

    if (!socket)
        return NULL;
    socket->channel = channel;
    list_init(&socket->ready);
    ev_io_init(&socket->io, on_io, fd, EV_READ);
    socket->io.data = socket;
    list_append(&channel->sockets, &socket->node);
    return socket;
}

static void remove_socket(struct dns_socket *socket)
{
    ev_io_stop(socket->channel->dns->loop, &socket->io);
    list_remove(&socket->ready);
    list_remove(&socket->node);
    mem_free(socket);
}

/* c-ares says what it waits for; neither: it is about to close fd. */
static void on_socket(void *data, int fd, int readable, int writable)
{
    struct channel *channel = data;
    struct ev_loop *loop = channel->dns->loop;
    struct dns_socket *socket = find_socket(channel, fd);

    if (!readable && !writable) {
        if (socket)
            remove_socket(socket);
        return;
    }
    if (!socket)
        socket = add_socket(channel, fd);
    if (!socket)
        return; /* out of memory: this socket is not watched, and c-ares' time-out ends the query */
    ev_io_stop(loop, &socket->io);
    ev_io_set(&socket->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    ev_io_start(loop, &socket->io);
}

/* ---- servers ---- */

static bool is_silent(const struct dns *dns, unsigned int i, uint64_t now)
{
    return dns->servers[i].silent_until > now;
}

/* Those that answer, then those that do not, each in the configured order. */
static void put_in_order(struct dns *dns, unsigned int order[static DNS_SERVERS_MAX])
{
    unsigned int count = dns->settings.server_count, n = 0;
    unsigned int first = dns->settings.rotates ? dns->turn++ % count : 0;
    uint64_t now = time_now_ms();

    for (int silent = 0; silent < 2; silent++)
        for (unsigned int i = 0; i < count; i++)
            if (is_silent(dns, (first + i) % count, now) == silent)
                order[n++] = (first + i) % count;
}

/* Only while c-ares has no question: it refuses otherwise. */
static int set_servers(struct channel *channel)
{
    const struct dns_settings *settings = &channel->dns->settings;
    struct ares_addr_port_node nodes[DNS_SERVERS_MAX];
    int status;

    put_in_order(channel->dns, channel->order);
    memset(nodes, 0, sizeof(nodes));
    for (unsigned int i = 0; i < settings->server_count; i++) {
        const union resolver_address *server = &settings->servers[channel->order[i]];
        struct ares_addr_port_node *node = &nodes[i];

        node->next = i + 1 < settings->server_count ? node + 1 : NULL;
        node->family = server->any.sa_family;
        if (node->family == AF_INET)
            node->addr.addr4 = server->in.sin_addr;
        else
            memcpy(&node->addr.addr6, &server->in6.sin6_addr, sizeof(node->addr.addr6));
        node->udp_port = node->tcp_port = ntohs(node->family == AF_INET ? server->in.sin_port
                                                                        : server->in6.sin6_port);
    }
    status = ares_set_servers_ports(channel->ares, nodes);
    return status == ARES_SUCCESS ? 0 : status == ARES_ENOMEM ? -ENOMEM : -EIO;
}

/* The servers of these many first tries have not been heard of since the question began. */
static void note_silent(const struct dns_question *question, unsigned int tries)
{
    struct channel *channel = question->channel;
    struct dns *dns = channel->dns;

    if (!is_current(channel))
        return;
    for (unsigned int i = 0; i < tries && i < dns->settings.server_count; i++) {
        struct server *server = &dns->servers[channel->order[i]];

        if (server->heard < question->started)
            server->silent_until = time_now_ms() + DNS_SILENT_MS;
    }
}

void dns_note_late(const struct dns_question *question)
{
    uint64_t waited = time_now_ms() - question->started;

    note_silent(question,
                (unsigned int)(waited / (uint64_t)question->channel->dns->settings.timeout_ms));
}

/* ---- channels ---- */

/* All that c-ares would otherwise read in /etc is said here, so that it opens no file. */
static int init_ares(struct channel *channel)
{
    const struct dns_settings *settings = &channel->dns->settings;
    struct in_addr none = {.s_addr = htonl(INADDR_LOOPBACK)}; /* until set_servers() */
    char lookups[] = "b";                                     /* DNS */
    struct ares_options o = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .ndots = 1,
        .lookups = lookups,
        .servers = &none,
        .nservers = 1,
        .timeout = settings->timeout_ms,
        .tries = settings->tries,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = channel,
    };
    int status = ares_init_options(&channel->ares, &o,
                                   ARES_OPT_FLAGS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS |
                                       ARES_OPT_SOCK_STATE_CB | ARES_OPT_SERVERS |
                                       ARES_OPT_SORTLIST | ARES_OPT_NDOTS | ARES_OPT_TIMEOUTMS |
                                       ARES_OPT_TRIES);

    if (status == ARES_SUCCESS)
        return set_servers(channel);
    channel->ares = NULL;
    return status == ARES_ENOMEM ? -ENOMEM : -EIO;
}

static void channel_free(struct channel *channel)
{
    if (channel->ares)
        ares_destroy(channel->ares);
    assert(channel->asked == 0 && list_is_empty(&channel->sockets));
    ev_timer_stop(channel->dns->loop, &channel->timeout);
    list_remove(&channel->node);
    mem_free(channel);
}

static int channel_new(struct dns *dns, struct channel **ret)
{
    struct channel *channel = mem_zalloc(1, sizeof(*channel));
    int r;

    if (!channel)
        return -ENOMEM;
    list_init(&channel->node);
    list_init(&channel->sockets);
    channel->dns = dns;
    channel->generation = dns->generation;
    channel->hears = DNS_SERVERS_MAX;
    ev_timer_init(&channel->timeout, on_timeout, 0., 0.);
    ev_set_priority(&channel->timeout, EV_MINPRI); /* an answer that is there comes first */
    channel->timeout.data = channel;
    r = init_ares(channel);
    if (r < 0) {
        channel_free(channel);
        return r;
    }
    list_append(&dns->channels, &channel->node);
    *ret = channel;
    return 0;
}

/* NULL: no memory for the first one. */
static struct channel *pick_channel(struct dns *dns)
{
    struct channel *least = NULL, *channel;
    unsigned int count = 0;

    list_for_each_safe (&dns->channels, it) {
        channel = container_of(it, struct channel, node);
        if (channel->generation != dns->generation) {
            if (channel->asked == 0)
                channel_free(channel);
            continue;
        }
        count++;
        if (!least || channel->asked < least->asked)
            least = channel;
    }
    if (least && least->asked == 0 && set_servers(least) == 0)
        return least;
    if (count < DNS_CHANNELS_MAX && channel_new(dns, &channel) == 0)
        return channel;
    return least;
}

/* ---- questions ---- */

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
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return ERR_OPERATION_ABORTED;
    default:
        return ERR_NO_RECOVERY;
    }
}

static void add_address(struct resolver_result *result, const struct sockaddr *addr)
{
    union resolver_address *to = &result->addresses[result->count];

    if (result->count == RESOLVER_ADDRESSES_MAX)
        return;
    if (addr->sa_family == AF_INET)
        memcpy(&to->in, addr, sizeof(to->in));
    else if (addr->sa_family == AF_INET6)
        memcpy(&to->in6, addr, sizeof(to->in6));
    else
        return;
    result->count++;
}

/* The least of all records, those included that led from one name to another. */
static uint32_t ttl_of(const struct ares_addrinfo *info)
{
    int ttl = INT_MAX;

    for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next)
        ttl = n->ai_ttl < ttl ? n->ai_ttl : ttl;
    for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
        ttl = c->ttl < ttl ? c->ttl : ttl;
    return ttl > 0 ? (uint32_t)ttl : 0;
}

/* It ends with what has just come from a server, unless its time is over or it is given up. */
static void note_source(const struct channel *channel, struct resolver_result *result)
{
    if (channel->hears == DNS_SERVERS_MAX || !is_current(channel))
        return;
    result->source = RESOLVER_SERVER;
    result->server = channel->dns->settings.servers[channel->hears];
}

static void on_answer(void *data, int status, int timeouts, struct ares_addrinfo *info)
{
    struct dns_question *question = data;
    struct resolver_result result = {.error = error_of(status)};

    if (timeouts > 0)
        note_silent(question, (unsigned int)timeouts);
    note_source(question->channel, &result);
    question->channel->asked--;
    question->channel->wanted -= question->is_wanted;
    if (status == ARES_SUCCESS) {
        result.ttl = ttl_of(info);
        for (struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next)
            add_address(&result, n->ai_addr);
        if (result.count == 0)
            result.error = ERR_NO_DATA;
    }
    if (info)
        ares_freeaddrinfo(info);
    if (!dns_is_current(question))
        result.ttl = 0; /* of servers that are not asked any more */
    question->channel = NULL;
    question->answered(question, &result);
}

void dns_ask(struct dns *dns, struct dns_question *question, const char *name, int family,
             dns_fn answered)
{
    /* Whoever connects sorts the addresses of both families together. */
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT,
                                        .ai_family = family,
                                        .ai_socktype = SOCK_STREAM,
                                        .ai_protocol = IPPROTO_TCP};
    const struct resolver_result failed = {.error = ERR_NO_BUFFER_SPACE};
    struct channel *channel = pick_channel(dns);

    *question = (struct dns_question){
        .started = time_now_ms(), .answered = answered, .is_wanted = true};
    if (!channel) {
        answered(question, &failed);
        return;
    }
    question->channel = channel;
    channel->asked++;
    channel->wanted++;
    ares_getaddrinfo(channel->ares, name, NULL, &hints, on_answer, question);
    update_timeout(channel);
}

void dns_give_up(struct dns_question *question)
{
    struct channel *channel = question->channel;

    assert(question->is_wanted);
    question->is_wanted = false;
    if (--channel->wanted == 0) {
        ares_cancel(channel->ares); /* on_answer gives them all back */
        update_timeout(channel);
    }
}

void dns_want(struct dns_question *question)
{
    assert(!question->is_wanted);
    question->is_wanted = true;
    question->channel->wanted++;
}

bool dns_is_current(const struct dns_question *question)
{
    return is_current(question->channel);
}

/* ---- life ---- */

int dns_configure(struct dns *dns, const struct dns_settings *settings)
{
    struct dns_settings before = dns->settings;
    struct channel *channel;
    int r;

    assert(settings->server_count > 0);
    dns->settings = *settings;
    dns->generation++;
    memset(dns->servers, 0, sizeof(dns->servers));
    r = channel_new(dns, &channel);
    if (r < 0) {
        dns->settings = before;
        dns->generation--;
        return r;
    }
    return 0;
}

int dns_new(struct ev_loop *loop, const struct dns_settings *settings, struct dns **ret)
{
    struct dns *dns;
    int r;

    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return -ENOMEM;
    dns = mem_zalloc(1, sizeof(*dns));
    if (!dns) {
        ares_library_cleanup();
        return -ENOMEM;
    }
    dns->loop = loop;
    list_init(&dns->channels);
    list_init(&dns->ready);
    ev_timer_init(&dns->read, on_read, 0., 0.);
    ev_set_priority(&dns->read, EV_MINPRI + 1); /* behind the reports, before the time-outs */
    dns->read.data = dns;
    r = dns_configure(dns, settings);
    if (r < 0) {
        dns_free(dns);
        return r;
    }
    *ret = dns;
    return 0;
}

struct dns *dns_free(struct dns *dns)
{
    if (!dns)
        return NULL;
    list_for_each_safe (&dns->channels, it)
        channel_free(container_of(it, struct channel, node));
    ev_timer_stop(dns->loop, &dns->read); /* it may have been fed */
    ares_library_cleanup();
    return mem_free(dns);
}
