/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * States of a socket that only a kernel without memory, a turn's end in a certain place, or a peer
 * between two calls, brings about.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/daemon_session.h"
#include "tests/lib/suite.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"

static struct core *core;
static int peer;
static int receive_errno; /* of recv() from the network; 0: as it is */

ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    int family = AF_UNSPEC;
    socklen_t size = sizeof(family);

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
    if (receive_errno == 0 || family != AF_INET)
        return __real_recv(fd, data, len, flags);
    errno = receive_errno;
    return -1;
}

/* What the peer does in front of the so-manieth shutdown(); 0: nothing. */
static unsigned int acts_before;
static void (*act)(void);

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how);

int __wrap_shutdown(int fd, int how)
{
    if (acts_before > 0 && --acts_before == 0)
        act();
    return __real_shutdown(fd, how);
}

static void setup(void)
{
    core = core_new();
    peer = core_connected(core, 1);
}

static void teardown(void)
{
    receive_errno = 0;
    acts_before = 0;
    if (peer >= 0)
        close(peer);
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

START_LOOP_TEST(test_s32_a_kernel_without_memory_ends_no_receive, 0, 2)
{
    static const int errors[] = {ENOMEM, ENOBUFS};
    uint64_t token = core_receive(core, 1, 10, 0, 0);
    const uint8_t *payload;
    struct reply reply;
    size_t len;

    receive_errno = errors[_i];
    ck_assert_int_eq(write(peer, "x", 1), 1);
    core_settle(core);
    core_pass(core, 10 * RETRY_MS);
    ck_assert(!core_reply(core, &reply, &payload, &len));
    receive_errno = 0;
    core_pass(core, RETRY_MS);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    ck_assert_uint_eq(reply.bytes, 1);
}
END_TEST

static long append(uint8_t *at, struct request *request)
{
    request->op = ++core->next_token;
    request->socket = 1;
    return asock_codec_encode_request(request, 0, at, CODEC_REQUEST_MAX);
}

/* Its turn is over between the two: it waits for the next one, behind the FIN. */
START_TEST(test_s39_a_cancelled_shutdown_behind_the_fin_opens_nothing)
{
    struct request first = {.verb = VERB_SHUTDOWN, .socket = 1, .shutdown.how = HOW_SEND};
    struct request second = first, cancel = {.verb = VERB_CANCEL};
    uint8_t both[2 * CODEC_REQUEST_MAX];
    long n, m;

    core_request(core, &first, NULL, 0);
    session_sock(core->session, 1)->wants_write = true; /* as after a turn's last step */
    n = append(both, &second);
    cancel.cancel.target = second.op;
    m = append(both + n, &cancel);
    ck_assert_int_eq(write(core->client, both, (size_t)(n + m)), n + m);
    ck_assert_uint_eq(core_completion(core, second.op).error, ERR_OPERATION_ABORTED);
    ck_assert_uint_eq(core_completion(core, core_send(core, 1, "x", 1, 0)).error, ERR_SHUTDOWN);
}
END_TEST

/* A datagram of so many bytes waits for socket 2 of the session. */
static void send_datagram(size_t len)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct request open = {.verb = VERB_OPEN, .socket = 2}, send = {.verb = VERB_SEND, .socket = 2};
    int host = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(addr);
    static char data[65000];

    ck_assert_int_eq(bind(host, (struct sockaddr *)&addr, size), 0);
    ck_assert_int_eq(getsockname(host, (struct sockaddr *)&addr, &size), 0);
    open.open.type = SOCKET_TYPE_DATAGRAM;
    core_request(core, &open, NULL, 0);
    send.send.endpoint = (struct endpoint){.address_len = 4, .port = ntohs(addr.sin_port)};
    memcpy(send.send.endpoint.address, &addr.sin_addr, 4);
    ck_assert_uint_eq(core_completion(core, core_request(core, &send, "x", 1)).error, ERR_SUCCESS);
    ck_assert_int_eq(recvfrom(host, data, 1, 0, (struct sockaddr *)&addr, &size), 1);
    ck_assert_int_eq(sendto(host, data, len, 0, (struct sockaddr *)&addr, size), (ssize_t)len);
    close(host);
}

/* What others keep may never be free again; the datagram is not cut, and stays. */
START_TEST(test_s65_a_receive_without_memory_for_the_datagram_ends)
{
    struct quota *quota = core->session->quota;
    struct reply reply;
    uint64_t token;

    send_datagram(20000);
    quota_limit(quota, QUOTA_MEMORY, quota_usage(quota, QUOTA_MEMORY).used);
    token = core_receive(core, 2, 30000, 0, 0);
    core_pass(core, SHORT_MS / 2);
    ck_assert(!core_has_reply(core, token, &reply));
    core_pass(core, SHORT_MS);
    ck_assert(core_has_reply(core, token, &reply));
    ck_assert_uint_eq(reply.error, ERR_NO_BUFFER_SPACE);
    quota_limit(quota, QUOTA_MEMORY, QUOTA_NONE);
    reply = core_completion(core, core_receive(core, 2, 30000, 0, 0));
    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
    ck_assert_uint_eq(reply.bytes, 20000);
}
END_TEST

static void take_all_and_end(void)
{
    static char data[65536];

    fcntl(peer, F_SETFL, 0); /* the rest comes when there is room for it */
    while (read(peer, data, sizeof(data)) > 0)
        ;
    close(peer);
    peer = -1;
}

/*
 * FIN is sent -> not everything is acknowledged -> the peer takes the rest and ends -> there is no
 * connection any more: it has not been lost.
 */
START_TEST(test_s43_the_rest_is_acknowledged_together_with_the_peers_end)
{
    static const char data[200000];
    int little = 4096;
    uint64_t token;

    ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
    token = core_send(core, 1, data, sizeof(data), 0);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
    act = take_all_and_end;
    acts_before = 2;
    ck_assert_uint_eq(core_completion(core, core_close(core, 1, 60000)).error, ERR_SUCCESS);
    ck_assert_int_eq(peer, -1);
}
END_TEST
