/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QUIC server: takes a stream from one client, looks at each byte, and answers with their number.
 *
 * Usage: quic_server ADDRESS PORT CERTIFICATE KEY. The files are PEM. Port 0: one of the kernel's
 * choice; the one that it has is written to standard output. The policy needs Listen=udp for it.
 * Exit status: 0, 1 when anything failed, 2 for misuse.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/quic.h"

static uint8_t answer[8]; /* in network byte order */

static bool on_data(struct quic *q, const uint8_t *data, size_t len, bool is_end)
{
    uint64_t total = q->received + len;

    for (size_t at = 0; at < len;) {
        size_t part = len - at < QUIC_PERIOD ? len - at : QUIC_PERIOD;

        if (memcmp(quic_pattern() + (q->received + at) % QUIC_PERIOD, data + at, part) != 0)
            return false;
        at += part;
    }
    if (!is_end)
        return true;
    for (int i = 0; i < 8; i++)
        answer[i] = (uint8_t)(total >> (56 - 8 * i));
    q->data = answer;
    q->total = sizeof(answer);
    return true;
}

/* The first datagram of a client; a second client is not served. */
static void on_accept(struct quic *q, const ngtcp2_path *path, const uint8_t *packet, size_t len)
{
    ngtcp2_transport_params params;
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_pkt_hd head;
    ngtcp2_cid id;

    if (ngtcp2_accept(&head, packet, len) != 0)
        return;
    quic_callbacks(q, &callbacks);
    quic_parameters(&settings, &params);
    params.original_dcid = head.dcid;
    quic_random_cid(&id);
    quic_tls(q, GNUTLS_SERVER);
    if (ngtcp2_conn_server_new(&q->conn, &head.scid, &id, path, head.version, &callbacks, &settings,
                               &params, NULL, q) != 0)
        quic_fail("accept", "no memory");
    ngtcp2_conn_set_tls_native_handle(q->conn, q->tls);
    memcpy(&q->local, path->local.addr, path->local.addrlen);
    memcpy(&q->remote, path->remote.addr, path->remote.addrlen);
}

static void listen_at(struct quic *q, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_DGRAM};
    struct addrinfo *info;
    asock_op *op;

    if (getaddrinfo(host, port, &hints, &info) != 0)
        quic_fail(host, "not a numeric address and port");
    quic_check(asock_op_new(q->context, &op), "bind");
    quic_check(asock_op_set_endpoint(op, info->ai_addr, info->ai_addrlen), "bind");
    quic_check(asock_bind(q->socket, op), "bind");
    quic_check(asock_op_wait(op, -1), "bind");
    quic_check_op(op, "bind");
    quic_check(asock_op_get_local(op, &q->local), "bind");
    asock_op_unref(op);
    freeaddrinfo(info);
    printf("%u\n", ntohs(((struct sockaddr_in *)(void *)&q->local)->sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct quic q = {.is_server = true, .take = on_data, .accept = on_accept};
    int r;

    if (argc != 5)
        return 2;
    r = gnutls_certificate_allocate_credentials(&q.credentials);
    if (r == 0)
        r = gnutls_certificate_set_x509_key_file(q.credentials, argv[3], argv[4],
                                                 GNUTLS_X509_FMT_PEM);
    if (r < 0)
        quic_fail(argv[3], gnutls_strerror(r));
    quic_open(&q);
    listen_at(&q, argv[1], argv[2]);
    quic_start(&q);
    quic_run(&q);
    if (q.problem)
        quic_fail("QUIC", q.problem);
    printf("%" PRIu64 " bytes received\n", q.received);
    quic_free(&q);
    return 0;
}
