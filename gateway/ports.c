/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection that has been closed has mostly more to do: bytes that the program has not read yet,
 * the last FIN. Without its rule the kernel would not hear the program's answers. So its descriptor
 * is kept until the kernel says that it has ended.
 */
#include "gateway/ports.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUMBERS 65536u
#define ACCEPTS_MAX 64
#define LOOK_SECONDS 0.05
/* Ports that are removed in a turn. */
#define SWEEP_MAX 64
/* No descriptor is left: connections wait in the kernel. */
#define RETRY_SECONDS 0.1

struct port {
    struct list node; /* in ports->kept */
    ev_tstamp since;  /* when it came there */
    struct ports *ports;
    int family;
    uint16_t number;
    unsigned int users;
    unsigned int round; /* of the loop, in which it accepted last */
    int burst;          /* connections accepted at a time: more if some arrive in every round */
    ev_io io;
    ev_timer retry;
};

struct passage {
    struct passage *next; /* of those that leave */
    struct port *port;
    int fd;
};

/* ---- leaving ---- */

static bool has_ended(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || info.tcpi_state == TCP_CLOSE;
}

static void end_passage(struct passage *passage)
{
    struct port *port = passage->port;

    port->ports->passages--;
    close(passage->fd);
    free(passage);
    ports_unuse(port);
}

static void watch_leaving(struct ports *ports)
{
    if (!ports->leaving || ev_is_active(&ports->look))
        return;
    ev_timer_set(&ports->look, LOOK_SECONDS, 0);
    ev_timer_start(ports->loop, &ports->look);
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct ports *ports = timer->data;
    struct passage **link = &ports->leaving;

    (void)loop;
    (void)events;
    while (*link) {
        struct passage *passage = *link;

        if (!has_ended(passage->fd)) {
            link = &passage->next;
            continue;
        }
        *link = passage->next;
        end_passage(passage);
    }
    watch_leaving(ports);
}

void ports_leave(struct passage *passage, bool reset)
{
    const struct linger linger = {.l_onoff = 1};
    struct ports *ports = passage->port->ports;

    if (reset)
        (void)setsockopt(passage->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    else
        (void)shutdown(passage->fd, SHUT_RDWR);
    if (reset || has_ended(passage->fd)) {
        end_passage(passage);
        return;
    }
    passage->next = ports->leaving;
    ports->leaving = passage;
    watch_leaving(ports);
}

/* ---- accepting ---- */

static void hold(struct port *port)
{
    list_remove(&port->node);
    port->users++;
}

static void read_address(const struct sockaddr_storage *from, struct in6_addr *ret, uint16_t *port)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)from;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

    *port = ntohs(in->sin_port); /* of both families */
    if (from->ss_family == AF_INET6) {
        *ret = in6->sin6_addr;
        return;
    }
    *ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&ret->s6_addr[12], &in->sin_addr, 4);
}

static void take(struct port *port, int fd, const struct sockaddr_storage *peer)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    struct passage *passage = calloc(1, sizeof(*passage));
    struct flow flow = {0};

    if (!passage || getsockname(fd, (struct sockaddr *)&own, &len) < 0) {
        free(passage);
        close(fd);
        return;
    }
    *passage = (struct passage){.port = port, .fd = fd};
    hold(port);
    port->ports->passages++;
    read_address(peer, &flow.source, &flow.source_port);
    read_address(&own, &flow.target, &flow.target_port);
    port->ports->accepted(port->ports->userdata, fd, &flow, passage);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    struct port *port = io->data;
    unsigned int round = ev_iteration(loop);

    (void)events;
    hold(port); /* it stays for this call */
    if (round != port->round + 1)
        port->burst = 1; /* one accept(2) more would cost as much as another wake-up */
    else if (port->burst < ACCEPTS_MAX)
        port->burst *= 2;
    port->round = round;
    for (int i = 0; i < port->burst; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(io->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take(port, fd, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            ev_io_stop(loop, io);
            ev_timer_set(&port->retry, RETRY_SECONDS, 0);
            ev_timer_start(loop, &port->retry);
        }
        break;
    }
    ports_unuse(port);
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct port *port = timer->data;

    (void)events;
    ev_io_start(loop, &port->io);
}

/* ---- ports ---- */

static struct port **place_of(struct ports *ports, int family, uint16_t number)
{
    return &ports->by_number[family == AF_INET6][number];
}

/* Its rule stays. */
static void free_port(struct port *port)
{
    struct ports *ports = port->ports;

    *place_of(ports, port->family, port->number) = NULL;
    ports->count--;
    list_remove(&port->node);
    ev_io_stop(ports->loop, &port->io);
    ev_timer_stop(ports->loop, &port->retry);
    close(port->io.fd);
    free(port);
}

static void drop_port(struct port *port)
{
    network_close_port(port->ports->network, port->family, port->number);
    free_port(port);
}

static struct port *first_kept(const struct ports *ports)
{
    return list_is_empty(&ports->kept) ? NULL : list_first(&ports->kept, struct port, node);
}

static void watch_kept(struct ports *ports)
{
    const struct port *first = first_kept(ports);
    ev_tstamp left;

    if (!first || ev_is_active(&ports->sweep))
        return;
    left = first->since + PORTS_KEPT_SECONDS - ev_now(ports->loop);
    ev_timer_set(&ports->sweep, left > 0 ? left : 0, 0);
    ev_timer_start(ports->loop, &ports->sweep);
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct ports *ports = timer->data;
    struct port *port;

    (void)events;
    for (int i = 0; i < SWEEP_MAX && (port = first_kept(ports)); i++) {
        if (ev_now(loop) - port->since < PORTS_KEPT_SECONDS)
            break;
        drop_port(port);
    }
    watch_kept(ports);
}

static int make_port(struct ports *ports, int family, uint16_t number, struct port **ret)
{
    struct port *port = first_kept(ports);
    int fd, r;

    if (port && ports->count == PORTS_MAX)
        drop_port(port); /* for this one */
    if (ports->count == PORTS_MAX)
        return -EMFILE;
    port = calloc(1, sizeof(*port));
    if (!port)
        return -ENOMEM;
    r = network_listen(ports->network, family, number, &fd);
    if (r == -EMFILE && first_kept(ports)) {
        drop_port(first_kept(ports));
        r = network_listen(ports->network, family, number, &fd);
    }
    if (r == 0) {
        r = network_open_port(ports->network, family, number);
        if (r < 0)
            close(fd);
    }
    if (r < 0) {
        free(port);
        return r;
    }
    port->ports = ports;
    list_init(&port->node);
    port->family = family;
    port->number = number;
    ev_io_init(&port->io, on_accept, fd, EV_READ);
    ev_init(&port->retry, on_retry);
    port->io.data = port->retry.data = port;
    ev_io_start(ports->loop, &port->io);
    ports->count++;
    *ret = port;
    return 0;
}

int ports_use(struct ports *ports, int family, uint16_t number, struct port **ret)
{
    struct port **place = place_of(ports, family, number);
    int r = *place ? 0 : make_port(ports, family, number, place);

    if (r < 0)
        return r;
    hold(*place);
    *ret = *place;
    return 0;
}

void ports_unuse(struct port *port)
{
    struct ports *ports = port->ports;

    if (--port->users > 0)
        return;
    port->since = ev_now(ports->loop);
    list_append(&ports->kept, &port->node);
    watch_kept(ports);
}

bool ports_init(struct ports *ports, struct ev_loop *loop, const struct network *network,
                void (*accepted)(void *userdata, int fd, const struct flow *flow,
                                 struct passage *passage),
                void *userdata)
{
    *ports = (struct ports){
        .loop = loop, .network = network, .accepted = accepted, .userdata = userdata};
    ev_init(&ports->look, on_look);
    ev_init(&ports->sweep, on_sweep);
    list_init(&ports->kept);
    ports->look.data = ports->sweep.data = ports;
    for (int i = 0; i < 2; i++)
        ports->by_number[i] = calloc(NUMBERS, sizeof(struct port *));
    if (ports->by_number[0] && ports->by_number[1])
        return true;
    ports_deinit(ports);
    return false;
}

void ports_deinit(struct ports *ports)
{
    struct port *port;

    ev_timer_stop(ports->loop, &ports->look);
    while (ports->leaving) {
        struct passage *passage = ports->leaving;

        ports->leaving = passage->next;
        end_passage(passage);
    }
    while ((port = first_kept(ports)))
        free_port(port); /* the network ends */
    ev_timer_stop(ports->loop, &ports->sweep);
    for (int i = 0; i < 2; i++)
        free(ports->by_number[i]);
}
