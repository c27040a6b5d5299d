/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Datagram sockets (S64 to S67). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

static const int families[] = {AF_INET, AF_INET6};

static asock_socket *new_udp(int family)
{
    asock_socket *socket;

    ck_assert_int_eq(asock_socket_new_udp(fixture.context, family, &socket), 0);
    return socket;
}

/* A datagram socket of the test's on loopback, and its address. */
static int new_peer(int family, struct sockaddr_storage *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct timeval patience = {.tv_sec = 30};
    socklen_t len = sizeof(*ret);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    ck_assert_int_eq(family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in))
                                       : bind(fd, (struct sockaddr *)&in6, sizeof(in6)),
                     0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

static asock_op *new_send(const void *data, size_t len, const struct sockaddr_storage *to)
{
    asock_op *op = new_op_with(data, len);

    ck_assert_int_eq(asock_op_set_endpoint(op, (const struct sockaddr *)to, remote_addr_len(to)),
                     0);
    return op;
}

static void send_one(asock_socket *socket, const void *data, size_t len,
                     const struct sockaddr_storage *to)
{
    asock_op *op = new_send(data, len, to);

    pending(asock_send_to(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, len);
    asock_op_unref(op);
}

/* The peer takes one; who sent it. */
static void take(int peer, const char *data, struct sockaddr_storage *ret)
{
    socklen_t len = sizeof(*ret);
    char buf[100];
    ssize_t n = recvfrom(peer, buf, sizeof(buf), 0, (struct sockaddr *)ret, &len);

    ck_assert_int_eq(n, (ssize_t)strlen(data));
    ck_assert_mem_eq(buf, data, (size_t)n);
}

static void answer(int peer, const void *data, size_t len, const struct sockaddr_storage *to)
{
    ck_assert_int_eq(sendto(peer, data, len, 0, (const struct sockaddr *)to, remote_addr_len(to)),
                     (ssize_t)len);
}

START_LOOP_TEST(test_s65_datagrams_there_and_back, 0, 2)
{
    struct sockaddr_storage to, own, addr;
    int peer = new_peer(families[_i], &to);
    asock_socket *socket = new_udp(AF_UNSPEC);
    struct asock_datagram datagram;
    asock_op *op = new_op();
    char buf[8];

    ck_assert_int_eq(asock_op_set_buffer(op, buf, sizeof(buf)), 0);
    pending(asock_receive_from(socket, op));
    send_one(socket, "hello", 5, &to);
    take(peer, "hello", &own);
    answer(peer, "answer", 6, &own);
    expect_bytes(op, ASOCK_SUCCESS, 6);
    ck_assert_mem_eq(buf, "answer", 6);
    ck_assert_int_eq(asock_op_get_remote(op, &addr), (int)remote_addr_len(&to));
    ck_assert_uint_eq(remote_port(&addr), remote_port(&to));
    ck_assert_int_eq(asock_op_get_local(op, &addr), (int)remote_addr_len(&own));
    ck_assert_uint_eq(remote_port(&addr), remote_port(&own));
    ck_assert_int_eq(asock_op_get_datagram(op, &datagram), 0);
    ck_assert_uint_eq(datagram.length, 6);
    ck_assert_uint_eq(datagram.interface, if_nametoindex("lo"));
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);

    answer(peer, "", 0, &own);
    pending(asock_receive(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert_int_eq(asock_op_get_datagram(op, &datagram), 0);
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);

    answer(peer, "0123456789", 10, &own);
    pending(asock_receive_from(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 8);
    ck_assert_int_eq(asock_op_get_datagram(op, &datagram), 0);
    ck_assert_uint_eq(datagram.length, 10);
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_TRUNCATED);
    asock_op_unref(op);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

/* As often as a program likes: into a buffer, a list of one, a list of two that it fills. */
START_LOOP_TEST(test_s65_one_op_receives_into_each_kind_of_buffer, 0, 6)
{
    int family = families[_i % 2], kind = _i / 2;
    struct sockaddr_storage to, own, addr;
    int peer = new_peer(family, &to);
    asock_socket *socket = new_udp(family);
    asock_op *op = new_op();
    char sent[1024], buf[1024];
    struct iovec list[] = {{buf, kind == 2 ? 512 : 1024}, {buf + 512, 512}};

    send_one(socket, "hello", 5, &to);
    take(peer, "hello", &own);
    for (int i = 0; i < 30; i++) {
        memset(sent, 'a' + i, sizeof(sent));
        memset(buf, 0, sizeof(buf));
        ck_assert_int_eq(kind == 0 ? asock_op_set_buffer(op, buf, sizeof(buf))
                                   : asock_op_set_buffers(op, list, (size_t)kind),
                         0);
        pending(asock_receive_from(socket, op));
        answer(peer, sent, sizeof(sent), &own);
        expect_bytes(op, ASOCK_SUCCESS, sizeof(sent));
        ck_assert_mem_eq(buf, sent, sizeof(sent));
        ck_assert_int_gt(asock_op_get_remote(op, &addr), 0);
        ck_assert_uint_eq(remote_port(&addr), remote_port(&to));
    }
    asock_op_unref(op);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

START_TEST(test_s64_many_sends_stay_whole_and_in_order)
{
    struct sockaddr_storage to, own;
    int peer = new_peer(AF_INET, &to), size = 8 * (int)MIB;
    asock_socket *socket = new_udp(AF_INET);
    asock_op *ops[64];
    static char data[64][9000], buf[65536];

    setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    send_one(socket, "first", 5, &to);
    take(peer, "first", &own);
    /* Few enough at a time for any buffer of the peer's. */
    for (int at = 0; at < 64; at += 8) {
        for (int i = at; i < at + 8; i++) {
            size_t len = i % 3 == 0 ? 9000 : (size_t)i;

            memset(data[i], i, sizeof(data[i]));
            ops[i] = new_send(data[i], len, &to);
            pending(asock_send_to(socket, ops[i]));
        }
        for (int i = at; i < at + 8; i++) {
            size_t len = i % 3 == 0 ? 9000 : (size_t)i;

            expect_bytes(ops[i], ASOCK_SUCCESS, len);
            ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), (ssize_t)len);
            ck_assert_mem_eq(buf, data[i], len);
            asock_op_unref(ops[i]);
        }
    }
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

START_TEST(test_s64_errors_of_sends)
{
    static char data[65536];
    struct sockaddr_storage to, own;
    int peer = new_peer(AF_INET, &to);
    asock_socket *socket = new_udp(AF_INET), *stream = new_socket(AF_INET);
    asock_op *op = new_op_with(data, 10);

    ck_assert_int_eq(asock_send_to(socket, op), -EINVAL);
    pending(asock_send(socket, op));
    expect(op, ASOCK_NOT_CONNECTED);
    asock_op_unref(op);
    op = new_send(data, 65536, &to);
    pending(asock_send_to(socket, op));
    expect_bytes(op, ASOCK_MESSAGE_SIZE, 0);
    ck_assert_int_eq(asock_op_set_buffer(op, data, 65508), 0);
    pending(asock_send_to(socket, op));
    expect_bytes(op, ASOCK_MESSAGE_SIZE, 0);
    submitted(asock_send_to(stream, op));
    expect(op, ASOCK_OPERATION_NOT_SUPPORTED);
    submitted(asock_receive_from(stream, op));
    expect(op, ASOCK_OPERATION_NOT_SUPPORTED);
    submitted(asock_shutdown(socket, op, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_OPERATION_NOT_SUPPORTED);
    send_one(socket, "well", 4, &to);
    take(peer, "well", &own);
    asock_op_unref(op);
    asock_socket_unref(socket);
    asock_socket_unref(stream);
    close(peer);
}
END_TEST

/* Traffic class and sender of the next datagram. */
static int take_class(int peer, struct sockaddr_storage *ret)
{
    char data[10], control[100];
    struct iovec iov = {data, sizeof(data)};
    struct msghdr msg = {.msg_name = ret,
                         .msg_namelen = sizeof(*ret),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    const struct cmsghdr *cmsg;

    ck_assert_int_eq(recvmsg(peer, &msg, 0), 1);
    cmsg = CMSG_FIRSTHDR(&msg);
    ck_assert(cmsg && cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_TOS);
    return *CMSG_DATA(cmsg);
}

START_TEST(test_s64_ecn_and_source)
{
    struct sockaddr_storage to, from;
    struct sockaddr_in any = {.sin_family = AF_INET},
                       source = {.sin_family = AF_INET, .sin_port = htons(7)};
    int peer = new_peer(AF_INET, &to), on = 1;
    asock_socket *socket = new_udp(AF_INET);
    asock_op *op = new_op(), *send = new_send("x", 1, &to);

    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 6);
    ck_assert_int_eq(setsockopt(peer, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)), 0);
    ck_assert_int_eq(asock_op_set_ecn(send, 4), -EINVAL);
    ck_assert_int_eq(asock_op_set_source(send, (struct sockaddr *)&source, 3), -EINVAL);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&any, sizeof(any)), 0);
    pending(asock_bind(socket, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_set_ecn(send, 2), 0);
    ck_assert_int_eq(asock_op_set_source(send, (struct sockaddr *)&source, sizeof(source)), 0);
    for (int i = 0; i < 2; i++) {
        pending(asock_send_to(socket, send));
        ck_assert_int_eq(asock_op_set_ecn(send, 1), -EBUSY);
        expect_bytes(send, ASOCK_SUCCESS, 1);
        ck_assert_int_eq(take_class(peer, &from), 2 - 2 * i);
        ck_assert_uint_eq(ntohl(((struct sockaddr_in *)(void *)&from)->sin_addr.s_addr),
                          INADDR_LOOPBACK + (i ? 0 : 6));
        ck_assert_int_eq(asock_op_set_ecn(send, 0), 0);
        ck_assert_int_eq(asock_op_set_source(send, NULL, 0), 0);
    }
    asock_op_unref(send);
    asock_op_unref(op);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

START_TEST(test_s64_segments_there_and_coalesced_back)
{
    static char data[6000], buf[6000];
    struct sockaddr_storage to, own;
    struct asock_datagram datagram;
    asock_socket *socket = new_udp(AF_INET), *other = new_udp(AF_INET);
    asock_op *op = new_op(), *send, *receive = new_op_with(buf, sizeof(buf));
    int peer = new_peer(AF_INET, &to);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i / 10);
    send = new_send(data, sizeof(data), &to);
    ck_assert_int_eq(asock_op_set_segment_size(send, 65536), -EINVAL);
    ck_assert_int_eq(asock_op_set_segment_size(send, 1300), 0);
    pending(asock_send_to(socket, send));
    expect_bytes(send, ASOCK_SUCCESS, sizeof(data));
    for (size_t at = 0; at < sizeof(data); at += 1300) {
        size_t len = sizeof(data) - at < 1300 ? sizeof(data) - at : 1300;

        ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), (ssize_t)len);
        ck_assert_mem_eq(buf, data + at, len);
    }
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&here, sizeof(here)), 0);
    pending(asock_set_option(other, op, ASOCK_OPTION_COALESCE, 1));
    expect(op, ASOCK_SUCCESS);
    pending(asock_bind(other, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_gt(asock_socket_get_local(other, &own), 0);
    ck_assert_int_eq(asock_op_set_endpoint(send, (struct sockaddr *)&own, remote_addr_len(&own)),
                     0);
    pending(asock_send_to(socket, send));
    expect_bytes(send, ASOCK_SUCCESS, sizeof(data));
    pending(asock_receive_from(other, receive));
    expect_bytes(receive, ASOCK_SUCCESS, sizeof(data));
    ck_assert_mem_eq(buf, data, sizeof(data));
    ck_assert_int_eq(asock_op_get_datagram(receive, &datagram), 0);
    ck_assert_uint_eq(datagram.segment_size, 1300);
    ck_assert_uint_eq(datagram.length, sizeof(data));
    ck_assert_int_eq(asock_op_set_segment_size(send, 10), 0);
    pending(asock_send_to(socket, send));
    expect_bytes(send, ASOCK_MESSAGE_SIZE, 0);
    asock_op_unref(send);
    asock_op_unref(receive);
    asock_op_unref(op);
    asock_socket_unref(socket);
    asock_socket_unref(other);
    close(peer);
}
END_TEST

/* The group is the op's endpoint; --allow-any has no rule for groups. */
START_TEST(test_s67_groups_by_the_library)
{
    struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(7)},
                       here = {.sin_family = AF_INET};
    asock_socket *socket = new_udp(AF_INET);
    asock_op *op = new_op();
    int64_t hops;

    group.sin_addr.s_addr = htonl(0xef010203);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&group, sizeof(group)), 0);
    pending(asock_set_option(socket, op, ASOCK_OPTION_JOIN_GROUP, 0));
    expect(op, ASOCK_INVALID_ARGUMENT);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&here, sizeof(here)), 0);
    pending(asock_bind(socket, op));
    expect(op, ASOCK_SUCCESS);
    pending(asock_set_option(socket, op, ASOCK_OPTION_JOIN_GROUP, 0));
    expect(op, ASOCK_INVALID_ARGUMENT); /* no multicast address */
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&group, sizeof(group)), 0);
    pending(asock_set_option(socket, op, ASOCK_OPTION_JOIN_GROUP, 0));
    expect(op, ASOCK_ACCESS_DENIED);
    ck_assert_ptr_nonnull(strstr(asock_op_get_text(op), "multicast"));
    pending(asock_set_option(socket, op, ASOCK_OPTION_LEAVE_GROUP, 0));
    expect(op, ASOCK_ADDRESS_NOT_AVAILABLE);
    pending(asock_set_option(socket, op, ASOCK_OPTION_MULTICAST_HOPS, 7));
    expect(op, ASOCK_SUCCESS);
    pending(asock_get_option(socket, op, ASOCK_OPTION_MULTICAST_HOPS));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_value(op, &hops), 0);
    ck_assert_int_eq(hops, 7);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* For a stream, an empty send would report that success. */
START_TEST(test_s64_errors_only_sends_no_datagram_of_its_own)
{
    struct sockaddr_storage to, own;
    int peer = new_peer(AF_INET, &to);
    asock_socket *socket = new_udp(AF_INET);
    asock_op *op = new_send("quiet", 5, &to);

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_ERRORS_ONLY), 0);
    pending(asock_send_to(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 5);
    take(peer, "quiet", &own);
    send_one(socket, "next", 4, &to);
    take(peer, "next", &own);
    asock_op_unref(op);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

START_LOOP_TEST(test_s66_connected_and_by_name, 0, 2)
{
    struct sockaddr_storage to, own, addr;
    int peer = new_peer(AF_INET, &to);
    asock_socket *socket = new_udp(AF_INET);
    asock_op *op;
    char service[8], buf[10];

    snprintf(service, sizeof(service), "%u", remote_port(&to));
    op = _i ? new_op() : new_connect_op(&to);
    if (_i)
        ck_assert_int_eq(asock_op_set_host(op, "localhost", service), 0);
    pending(asock_connect(socket, op));
    send_now(socket, "hello", 5);
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_gt(asock_socket_get_local(socket, &addr), 0);
    take(peer, "hello", &own);
    ck_assert_uint_eq(remote_port(&own), remote_port(&addr));
    answer(peer, "answer", 6, &own);
    ck_assert_int_eq(asock_receive_some(socket, buf, sizeof(buf), 30000), 6);
    asock_op_unref(op);
    op = new_send("x", 1, &to);
    pending(asock_send_to(socket, op));
    expect(op, ASOCK_IS_CONNECTED);
    asock_op_unref(op);
    close(peer);
    ck_assert_int_eq(asock_send_all(socket, "lost", 4, 30000), 0);
    ck_assert_int_eq(asock_receive_some(socket, buf, sizeof(buf), 30000), -ECONNREFUSED);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s65_multishot_tells_each_one_with_its_sender)
{
    static const char *const texts[] = {"one", "", "three and more than fits", "four", "five"};
    struct sockaddr_storage to[2], own, addr;
    int peers[] = {new_peer(AF_INET, &to[0]), new_peer(AF_INET, &to[1])};
    asock_socket *socket = new_udp(AF_INET);
    struct asock_datagram datagram;
    asock_buffer *buffer;
    asock_pool *pool;
    asock_op *op = new_op();
    size_t len;
    void *at;

    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, 30000, &buffer), 0);
    ck_assert_int_eq(asock_pool_new(buffer, 16, &pool), 0);
    ck_assert_int_eq(asock_op_set_pool(op, pool), 0);
    pending(asock_receive_multishot(socket, op));
    for (int i = 0; i < 2; i++) {
        send_one(socket, "hello", 5, &to[i]);
        take(peers[i], "hello", &own);
    }
    for (int i = 0; i < 5; i++)
        answer(peers[i % 2], texts[i], strlen(texts[i]), &own);
    for (int i = 0; i < 5; i++) {
        size_t whole = strlen(texts[i]);

        ck_assert_int_eq(asock_receive_next(op, 30000, &at, &len), 1);
        ck_assert_uint_eq(len, whole < 16 ? whole : 16);
        ck_assert_mem_eq(at, texts[i], len);
        ck_assert_int_eq(asock_op_get_datagram(op, &datagram), 0);
        ck_assert_uint_eq(datagram.length, whole);
        ck_assert_int_gt(asock_op_get_remote(op, &addr), 0);
        ck_assert_uint_eq(remote_port(&addr), remote_port(&to[i % 2]));
        ck_assert_int_eq(asock_pool_give(pool, at), 0);
    }
    ck_assert_int_eq(asock_cancel(op), 0);
    ck_assert_int_eq(asock_receive_next(op, 30000, &at, &len), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_pool_unref(pool);
    asock_buffer_unref(buffer);
    asock_socket_unref(socket);
    close(peers[0]);
    close(peers[1]);
}
END_TEST

struct seen {
    int count, truncated, without;
    size_t bytes;
    uint16_t ports[4];
};

static void on_shot(asock_op *op, void *userdata)
{
    struct seen *seen = userdata;
    struct sockaddr_storage addr;
    struct asock_datagram datagram;
    size_t len;

    if (!asock_op_get_slice(op, &len)) {
        seen->without += asock_op_get_datagram(op, &datagram) == -ENODATA &&
                         asock_op_get_remote(op, &addr) == -ENODATA;
        return;
    }
    seen->bytes += len;
    seen->truncated += (asock_op_get_result_flags(op) & ASOCK_TRUNCATED) != 0;
    if (asock_op_get_remote(op, &addr) > 0 && asock_op_get_datagram(op, &datagram) == 0)
        seen->ports[seen->count % 4] = remote_port(&addr);
    seen->count++;
}

START_TEST(test_s65_multishot_with_a_callback)
{
    struct sockaddr_storage to, own;
    int peer = new_peer(AF_INET, &to);
    asock_socket *socket = new_udp(AF_INET);
    struct seen seen = {.count = 0};
    asock_buffer *buffer;
    asock_pool *pool;
    asock_op *op = new_op();

    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, 30000, &buffer), 0);
    ck_assert_int_eq(asock_pool_new(buffer, 8, &pool), 0);
    ck_assert_int_eq(asock_op_set_pool(op, pool), 0);
    ck_assert_int_eq(asock_op_set_callback(op, on_shot, &seen), 0);
    pending(asock_receive_multishot(socket, op));
    send_one(socket, "hello", 5, &to);
    take(peer, "hello", &own);
    for (int i = 0; i < 3; i++)
        answer(peer, "0123456789", (size_t)i * 5, &own);
    wait_count(&seen.count, 3);
    ck_assert_uint_eq(seen.bytes, 0 + 5 + 8);
    ck_assert_int_eq(seen.truncated, 1);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(seen.ports[i], remote_port(&to));
    asock_cancel(op);
    expect(op, ASOCK_OPERATION_ABORTED);
    wait_count(&seen.without, 1);
    asock_op_unref(op);
    asock_pool_unref(pool);
    asock_buffer_unref(buffer);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

START_TEST(test_s67_begin_end_and_close)
{
    struct sockaddr_storage to, own, from;
    int peer = new_peer(AF_INET6, &to);
    asock_socket *socket = new_udp(AF_INET6);
    asock_op *receive, *last, *op;
    uint64_t bytes;
    char buf[10];

    ck_assert_int_eq(asock_begin_receive_from(socket, buf, sizeof(buf), NULL, NULL, &receive), 1);
    ck_assert_int_eq(asock_begin_send_to(socket, "hello", 5, (struct sockaddr *)&to,
                                         remote_addr_len(&to), NULL, NULL, &op),
                     1);
    ck_assert_int_eq(asock_end(op, &bytes), ASOCK_SUCCESS);
    ck_assert_uint_eq(bytes, 5);
    take(peer, "hello", &own);
    answer(peer, "answer", 6, &own);
    ck_assert_int_eq(asock_end_receive_from(receive, &bytes, NULL), -EINVAL);
    ck_assert_int_eq(asock_end_receive_from(receive, &bytes, &from), ASOCK_SUCCESS);
    ck_assert_uint_eq(bytes, 6);
    ck_assert_uint_eq(remote_port(&from), remote_port(&to));
    ck_assert_int_eq(asock_begin_receive_from(socket, buf, sizeof(buf), NULL, NULL, &last), 1);
    close_now(socket, 5000);
    ck_assert_int_eq(asock_end_receive_from(last, &bytes, &from), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(from.ss_family, AF_UNSPEC);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

/*
 * A send that waits in the library behind a connect that never leaves ends with it; a receive, and
 * the socket, go on.
 */
START_TEST(test_s66_a_connect_that_is_cancelled_leaves_it_as_it_was)
{
    struct sockaddr_storage to, own;
    int peer = new_peer(AF_INET, &to);
    asock_socket *socket = new_udp(AF_INET);
    asock_op *connect = new_connect_op(&to), *op = new_op_with("x", 1), *receive;
    char buf[10];

    receive = new_op_with(buf, sizeof(buf));
    pending(asock_connect(socket, connect));
    pending(asock_send(socket, op));
    pending(asock_receive(socket, receive));
    ck_assert_int_eq(asock_cancel(connect), 0);
    expect(connect, ASOCK_OPERATION_ABORTED);
    expect(op, ASOCK_OPERATION_ABORTED);
    send_one(socket, "hello", 5, &to);
    take(peer, "hello", &own);
    answer(peer, "answer", 6, &own);
    expect_bytes(receive, ASOCK_SUCCESS, 6);
    asock_op_unref(connect);
    asock_op_unref(receive);
    asock_op_unref(op);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST

START_LOOP_TEST(test_s65_a_bound_socket_hears_and_answers, 0, 2)
{
    struct sockaddr_storage to, own, from;
    int peer = new_peer(families[_i], &to);
    asock_socket *socket = new_udp(families[_i]);
    asock_op *bind_op = new_op(), *op;
    char buf[10];

    own = to; /* the same address, and a port of the kernel's choice */
    if (families[_i] == AF_INET)
        ((struct sockaddr_in *)(void *)&own)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)(void *)&own)->sin6_port = 0;
    op = new_op_with(buf, sizeof(buf));
    ck_assert_int_eq(asock_op_set_endpoint(bind_op, (struct sockaddr *)&own, remote_addr_len(&own)),
                     0);
    pending(asock_bind(socket, bind_op));
    expect(bind_op, ASOCK_SUCCESS);
    ck_assert_int_gt(asock_socket_get_local(socket, &own), 0);
    answer(peer, "question", 8, &own);
    pending(asock_receive_from(socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 8);
    ck_assert_int_gt(asock_op_get_remote(op, &from), 0);
    ck_assert_uint_eq(remote_port(&from), remote_port(&to));
    send_one(socket, "answer", 6, &from);
    take(peer, "answer", &from);
    ck_assert_uint_eq(remote_port(&from), remote_port(&own));
    asock_op_unref(op);
    asock_op_unref(bind_op);
    asock_socket_unref(socket);
    close(peer);
}
END_TEST
