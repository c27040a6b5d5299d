/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The peers that serve on their own: one thread, one poll loop, at most CONNECTIONS at a time. */

#include "tests/lib/remote.h"
#include "tests/lib/wait.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS 128
#define BLOCK 65536

struct connection {
    int fd;
    uint64_t read, written;
    uint64_t owed; /* bytes still to be written */
    bool finished; /* the client's end of stream was seen */
    char *block;   /* what echo has read and not written */
    size_t at, len;
};

struct server {
    enum server_kind kind;
    uint64_t bytes;
    struct sockaddr_storage addr;
    char service[8];
    int listener;
    int stop[2];
    pthread_t thread;
    struct connection connections[CONNECTIONS];
    pthread_mutex_t lock;

    struct server_result result;
};

static void end_connection(struct server *server, struct connection *connection, bool reset)
{
    close(connection->fd);
    free(connection->block);
    memset(connection, 0, sizeof(*connection));
    connection->fd = -1;
    pthread_mutex_lock(&server->lock);
    if (reset)
        server->result.rsts++;
    else
        server->result.fins++;
    pthread_mutex_unlock(&server->lock);
}

static void count_bytes(struct server *server, struct connection *connection, const char *block,
                        size_t len)
{
    uint64_t mismatches = 0;

    for (size_t i = 0; i < len && server->kind == SERVER_SINK; i++)
        mismatches += (uint8_t)block[i] != pattern_at(connection->read + i);
    connection->read += len;
    pthread_mutex_lock(&server->lock);
    server->result.bytes += len;
    server->result.mismatches += mismatches;
    pthread_mutex_unlock(&server->lock);
}

static void read_some(struct server *server, struct connection *connection)
{
    ssize_t n = recv(connection->fd, connection->block, BLOCK, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        end_connection(server, connection, true);
        return;
    }
    if (n == 0) {
        connection->finished = true;
        if (server->kind != SERVER_SOURCE || connection->owed == 0)
            end_connection(server, connection, false);
        return;
    }
    count_bytes(server, connection, connection->block, (size_t)n);
    if (server->kind == SERVER_ECHO) {
        connection->at = 0;
        connection->len = (size_t)n;
    }
}

static void write_some(struct server *server, struct connection *connection)
{
    ssize_t n;

    if (server->kind == SERVER_SOURCE && connection->at == connection->len) {
        connection->at = 0;
        connection->len = connection->owed < BLOCK ? (size_t)connection->owed : BLOCK;
        pattern_fill(connection->block, connection->written, connection->len);
    }
    n = send(connection->fd, connection->block + connection->at, connection->len - connection->at,
             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        end_connection(server, connection, true);
        return;
    }
    connection->at += (size_t)n;
    connection->written += (uint64_t)n;
    if (server->kind != SERVER_SOURCE)
        return;
    connection->owed -= (uint64_t)n;
    if (connection->owed == 0)
        shutdown(connection->fd, SHUT_WR);
}

/* A connection either reads or writes: echo does not read on before it has written. */
static short events_of(struct server *server, struct connection *connection)
{
    bool writes = server->kind == SERVER_SOURCE ? connection->owed > 0
                                                : connection->at < connection->len;

    return writes ? POLLOUT : POLLIN;
}

static void take_connection(struct server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && i < CONNECTIONS; i++) {
        struct connection *connection = &server->connections[i];

        if (connection->fd >= 0)
            continue;
        *connection = (struct connection){.fd = fd, .owed = server->bytes};
        connection->block = malloc(BLOCK);
        pthread_mutex_lock(&server->lock);
        server->result.connections++;
        pthread_mutex_unlock(&server->lock);
        if (server->kind == SERVER_SOURCE && server->bytes == 0)
            shutdown(fd, SHUT_WR);
        return;
    }
    if (fd >= 0)
        close(fd);
}

static void *serve(void *userdata)
{
    struct server *server = userdata;
    struct pollfd fds[CONNECTIONS + 2];

    for (;;) {
        fds[0] = (struct pollfd){.fd = server->stop[0], .events = POLLIN};
        fds[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
        for (size_t i = 0; i < CONNECTIONS; i++)
            fds[i + 2] = (struct pollfd){.fd = server->connections[i].fd,
                                         .events = events_of(server, &server->connections[i])};
        if (poll(fds, CONNECTIONS + 2, -1) < 0)
            continue;
        if (fds[0].revents)
            return NULL;
        for (size_t i = 0; i < CONNECTIONS; i++) {
            struct connection *connection = &server->connections[i];

            if (!fds[i + 2].revents)
                continue;
            if (events_of(server, connection) == POLLIN)
                read_some(server, connection);
            else
                write_some(server, connection);
        }
        if (fds[1].revents)
            take_connection(server);
    }
}

struct server *server_start(enum server_kind kind, int family, uint64_t bytes)
{
    struct server *server = calloc(1, sizeof(*server));
    sigset_t all, before;

    server->kind = kind;
    server->bytes = kind == SERVER_SOURCE ? bytes : 0;
    server->listener = remote_listen(family, &server->addr);
    snprintf(server->service, sizeof(server->service), "%u", remote_port(&server->addr));
    for (size_t i = 0; i < CONNECTIONS; i++)
        server->connections[i].fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    ck_assert_int_eq(pipe2(server->stop, O_CLOEXEC), 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ck_assert_int_eq(pthread_create(&server->thread, NULL, serve, server), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return server;
}

const struct sockaddr_storage *server_addr(struct server *server)
{
    return &server->addr;
}

const char *server_service(struct server *server)
{
    return server->service;
}

struct ended_wanted {
    struct server *server;
    unsigned int count;
};

static bool have_ended(void *userdata)
{
    struct ended_wanted *wanted = userdata;
    bool r;

    pthread_mutex_lock(&wanted->server->lock);
    r = wanted->server->result.fins + wanted->server->result.rsts >= wanted->count;
    pthread_mutex_unlock(&wanted->server->lock);
    return r;
}

void server_wait_ended(struct server *server, unsigned int count)
{
    struct ended_wanted wanted = {server, count};

    ck_assert_msg(wait_condition(have_ended, &wanted), "the connections did not end");
}

struct server_result server_stop(struct server *server)
{
    struct server_result result;

    ck_assert_int_eq(write(server->stop[1], "", 1), 1);
    pthread_join(server->thread, NULL);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (server->connections[i].fd >= 0)
            close(server->connections[i].fd);
        free(server->connections[i].block);
    }
    close(server->listener);
    close(server->stop[0]);
    close(server->stop[1]);
    result = server->result;
    pthread_mutex_destroy(&server->lock);
    free(server);
    return result;
}
