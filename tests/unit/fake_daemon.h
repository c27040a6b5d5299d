/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_FAKE_DAEMON_H
#define ASOCK_TESTS_FAKE_DAEMON_H

/*
 * The daemon's end of the connection in the test's hand: it sees each request, and says what it
 * likes. The context has no dispatcher unless the test starts one.
 */

#include <asock/asock.h>

#include "proto/codec.h"
#include "proto/errors.h"
#include "proto/frame.h"
#include "tests/lib/suite.h"

struct fake {
    asock_context *context;
    int fd;
    uint64_t verbs; /* of the welcome; 0: an older daemon */
    uint32_t lends; /* likewise; 0: it lends no sockets */
    size_t len;     /* bytes in buffer */
    size_t payload_len;
    struct request request; /* of the last fake_next */
    uint8_t *payload;
    char scratch[CODEC_SCRATCH];
    uint8_t buffer[FRAME_MAX];
};
extern struct fake fake;

/* Checked fixture: a context; nothing was said yet. */
void fake_setup(void);
void fake_teardown(void);

/* The next request: the library writes as long as none is there. Fails when there is none. */
struct request *fake_next(void);
/* It must be this verb. */
struct request *fake_expect(uint32_t verb);
/* A request that is here already; the library is left alone. */
bool fake_take(void);
/* Nothing more is to be read. */
bool fake_is_silent(void);
/* Reads everything there is, at most that many frames; returns how many. */
int fake_drop(int most);

void fake_reply(const struct reply *reply, const void *payload, size_t len);
/* A completion of the request. */
void fake_complete(const struct request *request, uint32_t error, uint64_t bytes);
/* One that gives back what the op had: bytes, one op. */
void fake_complete_free(const struct request *request, uint32_t error, uint64_t bytes,
                        uint64_t freed, uint32_t ops);
void fake_room(uint32_t socket, uint64_t bytes);
/* Takes the Hello and grants; 0: 64 ops, 64 per socket, 16 sockets, 1 MiB. */
void fake_welcome(uint32_t sockets, uint32_t ops, uint64_t window, uint64_t queued);

/* Short forms. A socket whose OPEN and CONNECT are done. */
asock_op *fake_op(void *data, size_t len);
asock_socket *fake_socket(void);
asock_socket *fake_connected(void);
/* Lets the library work until the op has ended; its error. */
int fake_end(asock_op *op);
void fake_process(void);

#endif
