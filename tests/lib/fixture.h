/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_FIXTURE_H
#define ASOCK_TESTS_FIXTURE_H

/*
 * What the integration tests stand on: a private daemon per test, a context to it, and short forms
 * of the public calls that assert what every test takes for granted. libcheck runs each test in a
 * process of its own; around it the descriptors of the test and of the daemon are counted.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asock/asock.h>

#include "tests/lib/private_daemon.h"
#include "tests/lib/remote.h"
#include "tests/lib/skip.h"
#include "tests/lib/wait.h"
#include "tests/lib/suite.h"

#define KIB 1024u
#define MIB (1024u * 1024u)

struct fixture {
    struct private_daemon *daemon; /* NULL: the test has ended it */
    asock_context *context; /* NULL: the test has released it, by fixture_release_context() */
    size_t fds;             /* of the test, before everything */
};
extern struct fixture fixture;

/* Checked fixtures of libcheck. */
void fixture_setup(void);            /* daemon and context */
void fixture_setup_daemon(void);     /* the daemon alone */
void fixture_setup_dispatcher(void); /* daemon, context, dispatcher */
void fixture_release_context(void);  /* what waits drives it no more */
void fixture_setup_nothing(void);    /* counts descriptors: the test starts the daemon itself */
void fixture_teardown(void);

/* Starts the daemon of this test with other options than the usual. */
void fixture_start(const struct private_daemon_options *options);

/* ---------------------------------------------------------------------- objects, never NULL */

asock_context *new_context(void); /* one more, over the client listener */
asock_context *new_control(void); /* over the control listener */
asock_socket *new_socket(int family);
/* Connects by op, which it releases: the connection is to this listener, whose address is addr. */
void expect_connects_to(asock_op *op, int listener, const struct sockaddr_storage *addr);
asock_socket *new_socket_of(asock_context *context, int family);
asock_op *new_op(void);
asock_op *new_op_of(asock_context *context);
asock_op *new_op_with(const void *data, size_t len); /* const: for sends */
asock_op *new_connect_op(const struct sockaddr_storage *addr);

/* A connected pair: the library's end and the peer's. */
struct pair {
    asock_socket *socket;
    int peer;
};
struct pair new_pair(int family);
struct pair new_pair_small(int family); /* little fits into the kernel's buffers between both */
struct pair new_pair_of(asock_context *context, int family);
/* Releases both ends, without asking how. */
void pair_close(struct pair *pair);

/* A socket connected to that address. */
asock_socket *new_connected(asock_context *context, const struct sockaddr_storage *addr);

/* --------------------------------------------------------------------------- submit and wait */

/* Asserts that a submission was accepted: 1, or 0 where the result is known already. */
#define submitted(call)                                                                            \
    do {                                                                                           \
        int submitted_ = (call);                                                                   \
        ck_assert_msg(submitted_ == 0 || submitted_ == 1, #call " is %d", submitted_);             \
    } while (0)
/* The same, and it must be pending. */
#define pending(call) ck_assert_int_eq((call), 1)

/* Waits for the op and asserts its error. */
#define expect(op, error) expect_at(op, error, __FILE__, __LINE__)
void expect_at(asock_op *op, int error, const char *file, int line);
/* And its bytes. */
#define expect_bytes(op, error, bytes) expect_bytes_at(op, error, bytes, __FILE__, __LINE__)
void expect_bytes_at(asock_op *op, int error, uint64_t bytes, const char *file, int line);

/* Writes all that is queued; for little: it does not read meanwhile. */
void flush(void);
/* A round trip: everything submitted before has been processed by the daemon. */
void sync_with_daemon(void);
void sync_of(asock_context *context);

/* Small forms for what a test needs besides what it tests. */
void send_now(asock_socket *socket, const void *data, size_t len);
void receive_now(asock_socket *socket, void *data, size_t len);
void close_now(asock_socket *socket, int linger_ms);
/*
 * Submits a send that stays pending because the peer, of new_pair_small(), does not read. The
 * daemon holds one of IN_DAEMON bytes whole, and what is queued behind it; one of IN_LIBRARY bytes
 * fills its window, and the rest waits in the library with all that is behind it.
 */
#define IN_DAEMON (512 * KIB)
#define IN_LIBRARY (16 * MIB)
asock_op *send_without_reader(asock_socket *socket, void *data, size_t len);

/* A callback that counts itself in the int that userdata points to. */
void count_callback(asock_op *op, void *userdata);

/* A number of the first row that has this field, from "list", "show N" or "stats"; -1: none. */
int64_t inspect_number(asock_context *context, const char *query, const char *field);
/* The text of it into buf; false: none. */
bool inspect_text(asock_context *context, const char *query, const char *field, char *buf,
                  size_t size);
/* How many rows. */
int inspect_rows(asock_context *context, const char *query);

#endif
