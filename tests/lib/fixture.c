/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture fixture;

void fixture_setup_nothing(void)
{
    /* libcheck's first use of its message file, and stdio's, are no leak of the test. */
    fflush(NULL);
    fixture.fds = count_fds(getpid());
}

/* How many descriptors the daemon has once it serves a session. */
static size_t fds_with_session(asock_context **ret)
{
    *ret = new_control();
    sync_of(*ret);
    return private_daemon_fds(fixture.daemon);
}

/*
 * At rest it is not visible when the daemon has closed what it started with: in a turn that answers
 * it has. So two sessions are counted, and what each of them takes is subtracted.
 */
void fixture_start(const struct private_daemon_options *options)
{
    asock_context *first, *second;
    size_t with_one, with_two;

    fixture.daemon = private_daemon_start(options);
    with_one = fds_with_session(&first);
    with_two = fds_with_session(&second);
    ck_assert_uint_gt(with_two, with_one);
    fixture.daemon->baseline = with_one - (with_two - with_one);
    asock_context_unref(first);
    asock_context_unref(second);
    private_daemon_wait_fds(fixture.daemon, fixture.daemon->baseline);
}

void fixture_setup_daemon(void)
{
    fixture_setup_nothing();
    fixture_start(NULL);
}

void fixture_setup(void)
{
    fixture_setup_daemon();
    fixture.context = new_context();
    pump_add(fixture.context);
}

void fixture_setup_dispatcher(void)
{
    fixture_setup_daemon();
    fixture.context = new_context();
    ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
}

static bool lists_nothing(void *userdata)
{
    return inspect_rows(userdata, "list") == 0;
}

/* No socket of any session, closing ones included. */
static void assert_nothing_left(void)
{
    asock_context *control = new_control();

    ck_assert_msg(wait_condition(lists_nothing, control), "the daemon still lists %d sockets",
                  inspect_rows(control, "list"));
    asock_context_unref(control);
}

void fixture_release_context(void)
{
    if (fixture.context)
        pump_remove(fixture.context);
    fixture.context = asock_context_unref(fixture.context);
}

void fixture_teardown(void)
{
    fixture_release_context();
    if (fixture.daemon) {
        assert_nothing_left();
        private_daemon_stop(fixture.daemon);
    }
    ck_assert_uint_eq(count_fds(getpid()), fixture.fds);
}

/* ------------------------------------------------------------------------------------- objects */

static asock_context *new_context_at(const char *path)
{
    asock_context *context = NULL;
    int r = asock_context_new(path, &context);

    ck_assert_msg(r == 0, "asock_context_new(\"%s\") is %d", path, r);
    ck_assert_ptr_nonnull(context);
    return context;
}

asock_context *new_context(void)
{
    return new_context_at(fixture.daemon->client);
}

asock_context *new_control(void)
{
    return new_context_at(fixture.daemon->control);
}

asock_socket *new_socket_of(asock_context *context, int family)
{
    asock_socket *sock = NULL;
    int r = asock_socket_new(context, family, &sock);

    ck_assert_msg(r == 0, "asock_socket_new is %d", r);
    ck_assert_ptr_nonnull(sock);
    return sock;
}

void expect_connects_to(asock_op *op, int listener, const struct sockaddr_storage *addr)
{
    asock_socket *sock = new_socket(AF_UNSPEC);
    struct sockaddr_storage remote;
    int peer;

    pending(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_gt(asock_op_get_remote(op, &remote), 0);
    ck_assert_mem_eq(&remote, addr, remote_addr_len(addr));
    peer = remote_accept(listener);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(peer);
}

asock_socket *new_socket(int family)
{
    return new_socket_of(fixture.context, family);
}

asock_op *new_op_of(asock_context *context)
{
    asock_op *op = NULL;
    int r = asock_op_new(context, &op);

    ck_assert_msg(r == 0, "asock_op_new is %d", r);
    ck_assert_ptr_nonnull(op);
    return op;
}

asock_op *new_op(void)
{
    return new_op_of(fixture.context);
}

asock_op *new_op_with(const void *data, size_t len)
{
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_buffer(op, (void *)(uintptr_t)data, len), 0);
    return op;
}

static void set_endpoint(asock_op *op, const struct sockaddr_storage *addr)
{
    ck_assert_int_eq(
        asock_op_set_endpoint(op, (const struct sockaddr *)addr, remote_addr_len(addr)), 0);
}

asock_op *new_connect_op(const struct sockaddr_storage *addr)
{
    asock_op *op = new_op();

    set_endpoint(op, addr);
    return op;
}

static void connect_now(asock_socket *sock, const struct sockaddr_storage *addr)
{
    asock_op *op = new_op_of(asock_socket_get_context(sock));

    set_endpoint(op, addr);
    submitted(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
}

asock_socket *new_connected(asock_context *context, const struct sockaddr_storage *addr)
{
    asock_socket *sock = new_socket_of(context, AF_UNSPEC);

    connect_now(sock, addr);
    return sock;
}

static struct pair pair_over(asock_socket *sock, int listener)
{
    struct pair pair = {.socket = sock, .peer = remote_accept(listener)};

    close(listener);
    return pair;
}

struct pair new_pair_of(asock_context *context, int family)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(family, &addr);

    return pair_over(new_connected(context, &addr), listener);
}

struct pair new_pair(int family)
{
    return new_pair_of(fixture.context, family);
}

struct pair new_pair_small(int family)
{
    struct sockaddr_storage addr;
    int listener = remote_listen_small(family, &addr);
    asock_socket *sock = new_socket(family);
    asock_op *op = new_op();

    pending(asock_set_option(sock, op, ASOCK_OPTION_SEND_BUFFER, 4096));
    connect_now(sock, &addr);
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
    return pair_over(sock, listener);
}

void pair_close(struct pair *pair)
{
    if (pair->socket)
        asock_socket_unref(pair->socket);
    if (pair->peer >= 0)
        close(pair->peer);
    pair->socket = NULL;
    pair->peer = -1;
}

/* ----------------------------------------------------------------------------- submit and wait */

void expect_at(asock_op *op, int error, const char *file, int line)
{
    int r = asock_op_wait(op, LIVENESS_MS);
    const char *text;

    ck_assert_msg(r == 0, "%s:%d: asock_op_wait is %d", file, line, r);
    r = asock_op_get_error(op);
    text = asock_op_get_text(op);
    ck_assert_msg(r == error, "%s:%d: the op ended with %s (%s), not %s; %llu bytes", file, line,
                  asock_error_name(r), text ? text : "no text", asock_error_name(error),
                  (unsigned long long)asock_op_get_bytes(op));
}

void expect_bytes_at(asock_op *op, int error, uint64_t bytes, const char *file, int line)
{
    unsigned long long moved;

    expect_at(op, error, file, line);
    moved = asock_op_get_bytes(op);
    ck_assert_msg(moved == bytes, "%s:%d: the op moved %llu bytes, not %llu", file, line, moved,
                  (unsigned long long)bytes);
}

void flush(void)
{
    int r = asock_context_flush(fixture.context);

    ck_assert_msg(r == 0 || r == 1, "asock_context_flush is %d", r);
}

void sync_of(asock_context *context)
{
    asock_op *op = new_op_of(context);

    submitted(asock_sync(context, op));
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
}

void sync_with_daemon(void)
{
    sync_of(fixture.context);
}

static asock_op *op_for(asock_socket *socket, const void *data, size_t len)
{
    asock_op *op = new_op_of(asock_socket_get_context(socket));

    ck_assert_int_eq(asock_op_set_buffer(op, (void *)(uintptr_t)data, len), 0);
    return op;
}

void send_now(asock_socket *socket, const void *data, size_t len)
{
    asock_op *op = op_for(socket, data, len);

    pending(asock_send(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, len);
    asock_op_unref(op);
}

void receive_now(asock_socket *socket, void *data, size_t len)
{
    asock_op *op = op_for(socket, data, len);

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
    submitted(asock_receive(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, len);
    asock_op_unref(op);
}

void close_now(asock_socket *socket, int linger_ms)
{
    asock_op *op = new_op_of(asock_socket_get_context(socket));

    submitted(asock_close(socket, op, linger_ms));
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
}

asock_op *send_without_reader(asock_socket *socket, void *data, size_t len)
{
    asock_op *op = op_for(socket, data, len);

    pending(asock_send(socket, op));
    return op;
}

void count_callback(asock_op *op, void *userdata)
{
    int *count = userdata;

    (void)op;
    (*count)++;
}

/* ---------------------------------------------------------------------------------- inspection */

struct wanted_field {
    const char *name;
    bool found;
    int64_t number;
    char *buf;
    size_t size;
};

static void find_field(const struct asock_field *fields, size_t count, void *userdata)
{
    struct wanted_field *wanted = userdata;

    for (size_t i = 0; i < count && !wanted->found; i++) {
        if (strcmp(fields[i].name, wanted->name) != 0)
            continue;
        wanted->found = true;
        wanted->number = fields[i].number;
        if (wanted->buf)
            snprintf(wanted->buf, wanted->size, "%s", fields[i].text ? fields[i].text : "");
    }
}

static void ask(asock_context *context, const char *query, struct wanted_field *wanted)
{
    int r = asock_context_inspect(context, query, find_field, wanted, LIVENESS_MS);

    ck_assert_msg(r >= 0, "asock_context_inspect(\"%s\") is %d", query, r);
}

int64_t inspect_number(asock_context *context, const char *query, const char *field)
{
    struct wanted_field wanted = {.name = field, .number = -1};

    ask(context, query, &wanted);
    return wanted.found ? wanted.number : -1;
}

bool inspect_text(asock_context *context, const char *query, const char *field, char *buf,
                  size_t size)
{
    struct wanted_field wanted = {.name = field, .buf = buf, .size = size};

    ask(context, query, &wanted);
    return wanted.found;
}

int inspect_rows(asock_context *context, const char *query)
{
    struct wanted_field wanted = {.name = ""};
    int r = asock_context_inspect(context, query, find_field, &wanted, LIVENESS_MS);

    ck_assert_msg(r >= 0, "asock_context_inspect(\"%s\") is %d", query, r);
    return r;
}
