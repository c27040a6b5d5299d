/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QUIC client: sends so many bytes on a stream, and waits until the server has counted them.
 *
 * Usage: quic_client HOST PORT CERTIFICATE BYTES. The daemon resolves the name, and the client
 * accepts the server if the certificate (PEM; an authority's, or the server's own) says that it has
 * it. Exit status: 0, 1 when anything failed, 2 for misuse.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/quic.h"

static uint8_t answer[8]; /* the server's: how many bytes have come, in network byte order */

static bool on_data(struct quic *q, const uint8_t *data, size_t len, bool is_end)
{
    uint64_t counted = 0;

    if (len > sizeof(answer) - q->received)
        return false;
    memcpy(answer + q->received, data, len);
    if (!is_end)
        return true;
    for (int i = 0; i < 8; i++)
        counted = counted << 8 | answer[i];
    q->is_over = true;
    if (counted != q->total)
        q->problem = "the server has counted something else";
    return true;
}

static void connect_to(struct quic *q, const char *host, const char *port)
{
    asock_op *op;

    quic_check(asock_op_new(q->context, &op), "connect");
    quic_check(asock_op_set_host(op, host, port), "connect");
    quic_check(asock_connect(q->socket, op), "connect");
    quic_check(asock_op_wait(op, -1), "connect");
    quic_check_op(op, "connect");
    quic_check(asock_op_get_local(op, &q->local), "connect");
    quic_check(asock_op_get_remote(op, &q->remote), "connect");
    asock_op_unref(op);
}

static void begin(struct quic *q, const char *host)
{
    ngtcp2_transport_params params;
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_cid ours, theirs;
    ngtcp2_path path = {
        .local = {(ngtcp2_sockaddr *)&q->local, q->local.ss_family == AF_INET6
                                                    ? sizeof(struct sockaddr_in6)
                                                    : sizeof(struct sockaddr_in)},
        .remote = {(ngtcp2_sockaddr *)&q->remote, q->remote.ss_family == AF_INET6
                                                      ? sizeof(struct sockaddr_in6)
                                                      : sizeof(struct sockaddr_in)},
    };

    quic_callbacks(q, &callbacks);
    quic_parameters(&settings, &params);
    quic_random_cid(&ours);
    quic_random_cid(&theirs);
    quic_tls(q, GNUTLS_CLIENT);
    gnutls_server_name_set(q->tls, GNUTLS_NAME_DNS, host, strlen(host));
    gnutls_session_set_verify_cert(q->tls, host, 0);
    if (ngtcp2_conn_client_new(&q->conn, &theirs, &ours, &path, NGTCP2_PROTO_VER_V1, &callbacks,
                               &settings, &params, NULL, q) != 0)
        quic_fail("connect", "no memory");
    ngtcp2_conn_set_tls_native_handle(q->conn, q->tls);
}

int main(int argc, char **argv)
{
    static struct quic q = {.take = on_data, .period = QUIC_PERIOD};
    ngtcp2_tstamp began;
    double seconds;
    int r;

    if (argc != 5)
        return 2;
    r = gnutls_certificate_allocate_credentials(&q.credentials);
    if (r == 0)
        r = gnutls_certificate_set_x509_trust_file(q.credentials, argv[3], GNUTLS_X509_FMT_PEM);
    if (r < 0)
        quic_fail(argv[3], gnutls_strerror(r));
    quic_open(&q);
    connect_to(&q, argv[1], argv[2]);
    quic_start(&q);
    began = quic_now();
    q.data = quic_pattern();
    q.total = strtoull(argv[4], NULL, 10);
    begin(&q, argv[1]);
    quic_run(&q);
    if (q.problem)
        quic_fail("QUIC", q.problem);
    seconds = (double)(quic_now() - began) / 1e9;
    quic_close(&q);
    printf("%" PRIu64 " bytes in %.2f s, %.1f MB/s\n", q.total, seconds,
           (double)q.total / 1e6 / seconds);
    quic_free(&q);
    return 0;
}
