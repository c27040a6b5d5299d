/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listeners, the session, and what connections share.
 * Failures: no descriptor for a connection (accepting pauses), the daemon is lost (connections end;
 * the next one opens a session again), memory to share is short (idle receives give theirs back).
 */
#include "gateway/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/associate.h"
#include "gateway/client.h"
#include "gateway/guard.h"
#include "gateway/lent_watch.h"
#include "gateway/opening.h"

#define BACKLOG 1024
/*
 * Of a connection within this host: what the kernel holds of the data that comes. It makes room for
 * twice as much, for its own records. Left to itself it makes room for up to 32 MiB, and whoever
 * sends faster than this process reads then fills them: nothing is in the processor's cache any
 * more when it is read.
 */
#define LOCAL_BUFFER (384 * 1024)
#define ACCEPTS_MAX 16
#define RETRY_SECONDS 0.1
#define RECLAIM_PERIOD 0.1
/* Between two attempts to open a session. */
#define REOPEN_SECONDS 1.0
/*
 * The most waiting clients that get a socket in one turn; and how late a client may learn that
 * there is none.
 */
#define PLACES_MAX 16
#define PLACE_LOOK_SECONDS 0.1

/* ---- accepting ---- */

static void watch_listeners(struct gateway *gateway, bool on)
{
    on &= !gateway->is_draining;
    for (struct listener *l = gateway->listeners; l; l = l->next) {
        if (on)
            ev_io_start(gateway->loop, &l->io);
        else
            ev_io_stop(gateway->loop, &l->io);
    }
    gateway->is_paused = !on;
}

static void pause_accepting(struct gateway *gateway)
{
    watch_listeners(gateway, false);
    if (gateway->client_count < GATEWAY_CLIENTS_MAX) {
        ev_timer_set(&gateway->retry, RETRY_SECONDS, 0);
        ev_timer_start(gateway->loop, &gateway->retry);
    }
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    watch_listeners(timer->data, true);
}

static void reset(int fd)
{
    const struct linger linger = {.l_onoff = 1};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

static void accept_some(struct listener *listener, int max)
{
    struct gateway *gateway = listener->gateway;
    struct guard *guard = listener->path ? NULL : gateway->guard;

    for (int i = 0; i < max; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd;

        if (gateway->client_count >= GATEWAY_CLIENTS_MAX) {
            pause_accepting(gateway);
            return;
        }
        fd = accept4(listener->io.fd, guard ? (struct sockaddr *)&peer : NULL, guard ? &len : NULL,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting(gateway);
            return;
        }
        if (guard && !guard_accepts(guard, fd, &peer, &listener->address))
            reset(fd);
        else
            client_new(gateway, fd, !listener->path);
    }
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct listener *listener = io->data;
    unsigned int round = ev_iteration(loop);

    (void)events;
    if (round != listener->round + 1)
        listener->burst = 1; /* one accept(2) more would cost as much as another wake-up */
    else if (listener->burst < ACCEPTS_MAX)
        listener->burst *= 2;
    listener->round = round;
    accept_some(listener, listener->burst);
}

void gateway_accept_no_more(struct gateway *gateway)
{
    for (struct listener *l = gateway->listeners; l && !gateway->is_paused; l = l->next)
        accept_some(l, BACKLOG + 1);
    gateway->is_draining = true;
    ev_timer_stop(gateway->loop, &gateway->retry);
    watch_listeners(gateway, false);
}

void gateway_client_gone(struct gateway *gateway)
{
    gateway->client_count--;
    if (gateway->is_paused && !ev_is_active(&gateway->retry))
        watch_listeners(gateway, true);
}

static int add_listener(struct gateway *gateway, int fd, const char *path,
                        const struct sockaddr_storage *address)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (!listener || (path && !(listener->path = strdup(path)))) {
        free(listener);
        close(fd);
        return -ENOMEM;
    }
    if (address)
        listener->address = *address;
    listener->gateway = gateway;
    listener->burst = 1;
    ev_io_init(&listener->io, on_accept, fd, EV_READ);
    listener->io.data = listener;
    listener->next = gateway->listeners;
    gateway->listeners = listener;
    ev_io_start(gateway->loop, &listener->io);
    return 0;
}

/* 0: no program listens there any more, or nothing is there. */
static int clear_path(const struct sockaddr_un *address)
{
    struct stat st;
    int fd, r;

    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
    close(fd);
    if (r != ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(address->sun_path) < 0 ? -errno : 0;
}

int gateway_listen_unix(struct gateway *gateway, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t mask;
    int fd, r;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    r = clear_path(&address);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mask = umask(0177);
    r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0
            ? -errno
            : 0;
    umask(mask);
    if (r < 0) {
        close(fd);
        return r;
    }
    return add_listener(gateway, fd, path, NULL);
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 ==
               IN_LOOPBACKNET;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

int gateway_listen_tcp(struct gateway *gateway, const struct sockaddr_storage *address,
                       uint16_t *ret_port)
{
    struct sockaddr_storage addr = *address;
    socklen_t len = addr.ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                              : sizeof(struct sockaddr_in6);
    int fd, r;

    if (!is_loopback(address))
        return -EINVAL;
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1},
                     sizeof(int)); /* for those that are accepted */
    gateway_bound_buffer(gateway, fd);
    r = bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, BACKLOG) < 0 ||
                getsockname(fd, (struct sockaddr *)&addr, &len) < 0
            ? -errno
            : 0;
    if (r == 0 && !gateway->guard && !gateway->config.serves_any_user)
        r = guard_new(gateway->loop, address, gateway->config.refused, gateway->config.userdata,
                      &gateway->guard);
    if (r < 0) {
        close(fd);
        return r;
    }
    if (ret_port)
        *ret_port = ntohs(((struct sockaddr_in *)&addr)->sin_port); /* of both families */
    return add_listener(gateway, fd, NULL, &addr);
}

/* ---- buffers of the kernel ---- */

/*
 * A size that was set no longer grows, so one that net.core.rmem_max cuts would be worse than none.
 */
static bool allows_buffer(int size)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), got = 0;
    socklen_t len = sizeof(got);

    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    (void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len);
    close(fd);
    return got >= 2 * size;
}

void gateway_bound_buffer(const struct gateway *gateway, int fd)
{
    if (gateway->may_bound)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){LOCAL_BUFFER}, sizeof(int));
}

/* ---- blocks ---- */

static void on_reclaim(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct gateway *gateway = timer->data;

    (void)loop;
    (void)events;
    for (struct client *client = gateway->clients; client; client = client->next)
        pump_reclaim(client, ev_now(gateway->loop));
}

void gateway_want_blocks(struct gateway *gateway)
{
    if (ev_is_active(&gateway->reclaim))
        return;
    ev_timer_set(&gateway->reclaim, RECLAIM_PERIOD, 0);
    ev_timer_start(gateway->loop, &gateway->reclaim);
}

/* ---- the session ---- */

static void end_clients(struct gateway *gateway, bool all)
{
    struct client *next;

    for (struct client *client = gateway->clients; client; client = next) {
        next = client->next;
        if (!all && client->state != CLIENT_DIALING && client->state != CLIENT_RELAY &&
            client->state != CLIENT_ASSOCIATED)
            continue;
        if (all)
            client_drop(client);
        else
            client_abort(client);
        client_settle(client);
    }
}

/* Every op has completed: clients that are at their end are gone with the last of theirs. */
static void on_lost(struct uplink *uplink)
{
    struct gateway *gateway = uplink->userdata;

    end_clients(gateway, false);
    if (gateway->lost)
        gateway->lost(gateway->lost_userdata);
    blocks_deinit(&gateway->blocks);
    uplink_stop(uplink);
}

static void take_session(struct gateway *gateway, asock_context *context,
                         const struct blocks *blocks)
{
    gateway->blocks = *blocks;
    uplink_start(&gateway->uplink, context);
}

asock_context *gateway_context(struct gateway *gateway)
{
    return gateway->uplink.context;
}

static void on_opened(void *userdata, int result, asock_context *context,
                      const struct blocks *blocks)
{
    struct gateway *gateway = userdata;

    gateway->opening = NULL;
    gateway->open_failed = result < 0 ? ev_now(gateway->loop) : 0;
    if (result == 0)
        take_session(gateway, context, blocks);
    while (gateway->waits) {
        struct session_wait *wait = gateway->waits;

        session_wait_end(wait);
        wait->tell(wait);
    }
}

bool gateway_await_session(struct gateway *gateway, struct session_wait *wait)
{
    ev_tstamp now = ev_now(gateway->loop);

    if (gateway->uplink.context)
        return false;
    if (!gateway->opening) {
        if (gateway->open_failed > 0 && now - gateway->open_failed < REOPEN_SECONDS)
            return false;
        if (opening_start(gateway->loop, &gateway->config, on_opened, gateway, &gateway->opening) <
            0) {
            gateway->open_failed = now;
            return false;
        }
    }
    wait->next = gateway->waits;
    wait->link = &gateway->waits;
    if (wait->next)
        wait->next->link = &wait->next;
    gateway->waits = wait;
    return true;
}

void session_wait_end(struct session_wait *wait)
{
    if (!wait->link)
        return;
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    wait->link = NULL;
}

/* ---- sockets of the session ---- */

static void look_in(struct gateway *gateway, ev_tstamp seconds)
{
    ev_timer_stop(gateway->loop, &gateway->look_at_places);
    ev_timer_set(&gateway->look_at_places, seconds, PLACE_LOOK_SECONDS);
    ev_timer_start(gateway->loop, &gateway->look_at_places);
}

static void give_places(struct gateway *gateway)
{
    for (int i = 0; i < PLACES_MAX && !list_is_empty(&gateway->places); i++) {
        struct place_wait *wait = list_first(&gateway->places, struct place_wait, node);

        if (!wait->serve(wait, ev_now(gateway->loop) >= wait->until))
            return;
    }
    if (!list_is_empty(&gateway->places)) {
        look_in(gateway, 0); /* others have their turn, then these */
        return;
    }
    ev_prepare_stop(gateway->loop, &gateway->give_places);
    ev_timer_stop(gateway->loop, &gateway->look_at_places);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    (void)loop;
    (void)events;
    give_places(prepare->data);
}

/* Only wakes the loop: give_places then rejects the clients that have waited for too long. */
static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)timer;
    (void)events;
}

void gateway_await_place(struct gateway *gateway, struct place_wait *wait)
{
    wait->until = ev_now(gateway->loop) + GATEWAY_PLACE_SECONDS;
    list_append(&gateway->places, &wait->node);
    ev_prepare_start(gateway->loop, &gateway->give_places);
    if (!ev_is_active(&gateway->look_at_places))
        look_in(gateway, PLACE_LOOK_SECONDS);
}

bool gateway_has_queue(const struct gateway *gateway)
{
    return !list_is_empty(&gateway->places);
}

/* ---- life ---- */

int gateway_new(struct ev_loop *loop, const struct gateway_config *config, struct gateway **ret)
{
    struct gateway *gateway = calloc(1, sizeof(*gateway));
    asock_context *context = NULL;
    struct blocks blocks = {0};
    int r = -ENOMEM;

    if (gateway)
        gateway->scratch = malloc(GATEWAY_SCRATCH);
    if (gateway && gateway->scratch) {
        gateway->loop = loop;
        gateway->config = *config;
        gateway->may_bound = allows_buffer(LOCAL_BUFFER);
        uplink_init(&gateway->uplink, loop, on_lost, gateway);
        ev_init(&gateway->reclaim, on_reclaim);
        ev_init(&gateway->retry, on_retry);
        list_init(&gateway->places);
        list_init(&gateway->flows);
        ev_prepare_init(&gateway->give_places, on_prepare);
        ev_init(&gateway->look_at_places, on_look);
        gateway->reclaim.data = gateway->retry.data = gateway->give_places.data = gateway;
        r = opening_run(&gateway->config, &context, &blocks);
    }
    if (r == 0)
        take_session(gateway, context, &blocks);
    if (r < 0) {
        if (gateway)
            free(gateway->scratch);
        free(gateway);
        return r;
    }
    *ret = gateway;
    return 0;
}

void gateway_free(struct gateway *gateway)
{
    if (!gateway)
        return;
    while (gateway->listeners) {
        struct listener *listener = gateway->listeners;

        gateway->listeners = listener->next;
        ev_io_stop(gateway->loop, &listener->io);
        close(listener->io.fd);
        if (listener->path)
            unlink(listener->path);
        free(listener->path);
        free(listener);
    }
    opening_drop(gateway->opening);
    end_clients(gateway, true);
    gateway->guard = guard_free(gateway->guard);
    ev_timer_stop(gateway->loop, &gateway->reclaim);
    ev_timer_stop(gateway->loop, &gateway->retry);
    while (gateway->pipes.count > 0) {
        gateway->pipes.count--;
        close(gateway->pipes.fds[gateway->pipes.count][0]);
        close(gateway->pipes.fds[gateway->pipes.count][1]);
    }
    gateway->lent = lent_watch_free(gateway->lent);
    blocks_deinit(&gateway->blocks);
    /*
     * The context ends, and with it every op that has a pointer into a client. A stream that is cut
     * must not look whole.
     */
    if (gateway->uplink.context) {
        asock_context_flush(gateway->uplink.context);
        uplink_stop(&gateway->uplink);
    }
    associate_free_flows(gateway);
    while (gateway->clients) {
        gateway->clients->ops = 0;
        client_settle(gateway->clients);
    }
    ev_prepare_stop(gateway->loop, &gateway->give_places);
    ev_timer_stop(gateway->loop, &gateway->look_at_places);
    ev_timer_stop(gateway->loop, &gateway->retry);
    free(gateway->scratch);
    free(gateway);
}
