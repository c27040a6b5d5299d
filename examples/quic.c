/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QUIC over a socket of asockd; examples/quic.h. */
#include "examples/quic.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POOL_BYTES (16u * 65536u)
#define SLICE_BYTES 65536u
#define PRIORITY                                                                                   \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:"      \
    "%DISABLE_TLS13_COMPAT_MODE"

void quic_fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

void quic_check(int r, const char *what)
{
    if (r < 0)
        quic_fail(what, strerror(-r));
}

void quic_check_op(asock_op *op, const char *what)
{
    const char *text = asock_op_get_text(op);
    int error = asock_op_get_error(op);

    if (error)
        quic_fail(what, text ? text : asock_strerror(error));
}

ngtcp2_tstamp quic_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (ngtcp2_tstamp)t.tv_sec * NGTCP2_SECONDS + (ngtcp2_tstamp)t.tv_nsec;
}

const uint8_t *quic_pattern(void)
{
    static uint8_t pattern[2 * QUIC_PERIOD];

    for (uint32_t i = 0; i < 2 * QUIC_PERIOD && pattern[1] == 0; i++)
        pattern[2 * QUIC_PERIOD - 1 - i] =
            (uint8_t)(((2 * QUIC_PERIOD - 1 - i) % QUIC_PERIOD * 2654435761u) >> 24);
    return pattern;
}

static void random_bytes(uint8_t *dest, size_t len)
{
    if (gnutls_rnd(GNUTLS_RND_RANDOM, dest, len) < 0)
        quic_fail("random", "there are no random bytes");
}

void quic_random_cid(ngtcp2_cid *ret)
{
    ret->datalen = QUIC_CID_LENGTH;
    random_bytes(ret->data, QUIC_CID_LENGTH);
}

static void end(struct quic *q, const char *problem)
{
    q->is_over = true;
    if (!q->problem)
        q->problem = problem;
}

/* ---- what ngtcp2 asks for ---- */

static void on_random(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *context)
{
    (void)context;
    random_bytes(dest, len);
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t len, void *data)
{
    (void)conn;
    (void)data;
    cid->datalen = len;
    random_bytes(cid->data, len);
    random_bytes(token, NGTCP2_STATELESS_RESET_TOKENLEN);
    return 0;
}

static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t stream, uint64_t offset,
                          const uint8_t *data, size_t len, void *userdata, void *of_stream)
{
    struct quic *q = userdata;

    (void)offset;
    (void)of_stream;
    q->stream = stream;
    if (!q->take(q, data, len, flags & NGTCP2_STREAM_DATA_FLAG_FIN))
        return NGTCP2_ERR_CALLBACK_FAILURE;
    q->received += len;
    ngtcp2_conn_extend_max_stream_offset(conn, stream, len);
    ngtcp2_conn_extend_max_offset(conn, len);
    return 0;
}

/* A client may open its stream. */
static int on_streams(ngtcp2_conn *conn, uint64_t most, void *userdata)
{
    struct quic *q = userdata;

    if (most > 0 && q->stream < 0)
        return ngtcp2_conn_open_bidi_stream(conn, &q->stream, NULL);
    return 0;
}

void quic_callbacks(const struct quic *q, ngtcp2_callbacks *ret)
{
    *ret = (ngtcp2_callbacks){
        .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
        .encrypt = ngtcp2_crypto_encrypt_cb,
        .decrypt = ngtcp2_crypto_decrypt_cb,
        .hp_mask = ngtcp2_crypto_hp_mask_cb,
        .update_key = ngtcp2_crypto_update_key_cb,
        .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
        .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
        .get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
        .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
        .rand = on_random,
        .get_new_connection_id = on_new_cid,
        .recv_stream_data = on_stream_data,
    };
    if (q->is_server) {
        ret->recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
        return;
    }
    ret->client_initial = ngtcp2_crypto_client_initial_cb;
    ret->recv_retry = ngtcp2_crypto_recv_retry_cb;
    ret->extend_max_local_streams_bidi = on_streams;
}

void quic_parameters(ngtcp2_settings *settings, ngtcp2_transport_params *params)
{
    ngtcp2_settings_default(settings);
    settings->initial_ts = quic_now();
    ngtcp2_transport_params_default(params);
    params->initial_max_streams_bidi = 1;
    params->initial_max_stream_data_bidi_local = QUIC_WINDOW;
    params->initial_max_stream_data_bidi_remote = QUIC_WINDOW;
    params->initial_max_data = QUIC_WINDOW;
    params->max_idle_timeout = 20 * NGTCP2_SECONDS;
}

static ngtcp2_conn *get_conn(ngtcp2_crypto_conn_ref *ref)
{
    const struct quic *q = ref->user_data;

    return q->conn;
}

void quic_tls(struct quic *q, unsigned int flags)
{
    gnutls_datum_t protocol = {(unsigned char *)"asockd-example", 14};
    int r = gnutls_init(&q->tls, flags);

    if (r == 0)
        r = gnutls_priority_set_direct(q->tls, PRIORITY, NULL);
    if (r == 0)
        r = gnutls_credentials_set(q->tls, GNUTLS_CRD_CERTIFICATE, q->credentials);
    if (r == 0)
        r = gnutls_alpn_set_protocols(q->tls, &protocol, 1, GNUTLS_ALPN_MANDATORY);
    if (r == 0)
        r = q->is_server ? ngtcp2_crypto_gnutls_configure_server_session(q->tls)
                         : ngtcp2_crypto_gnutls_configure_client_session(q->tls);
    if (r != 0)
        quic_fail("TLS", gnutls_strerror(r));
    q->ref = (ngtcp2_crypto_conn_ref){.get_conn = get_conn, .user_data = q};
    gnutls_session_set_ptr(q->tls, &q->ref);
}

/* ---- datagrams in ---- */

static socklen_t length_of(const struct sockaddr_storage *addr)
{
    return addr->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static ngtcp2_path path_of(struct sockaddr_storage *local, struct sockaddr_storage *remote)
{
    return (ngtcp2_path){
        .local = {(ngtcp2_sockaddr *)local, length_of(local)},
        .remote = {(ngtcp2_sockaddr *)remote, length_of(remote)},
    };
}

static void take_packet(struct quic *q, const ngtcp2_path *path, unsigned int ecn,
                        const uint8_t *packet, size_t len)
{
    ngtcp2_pkt_info info = {.ecn = ecn};
    int r;

    if (!q->conn && q->accept)
        q->accept(q, path, packet, len);
    if (!q->conn || q->is_over)
        return;
    r = ngtcp2_conn_read_pkt(q->conn, path, &info, packet, len, quic_now());
    if (r == NGTCP2_ERR_DRAINING)
        end(q, NULL); /* the peer has closed it */
    else if (r == NGTCP2_ERR_CRYPTO)
        end(q, "the peer's certificate, or what it speaks, is not accepted");
    else if (r != 0 && r != NGTCP2_ERR_DISCARD_PKT)
        end(q, ngtcp2_strerror(r));
}

/* A slice has one datagram, or several of one length from one peer. */
static void on_datagrams(asock_op *op, void *userdata)
{
    struct sockaddr_storage local, remote;
    struct asock_datagram datagram;
    struct quic *q = userdata;
    const uint8_t *data;
    ngtcp2_path path;
    size_t len, step;

    data = asock_op_get_slice(op, &len);
    if (!data) {
        quic_check_op(op, "receive");
        quic_check(asock_receive_multishot(q->socket, op), "receive");
        return;
    }
    if (asock_op_get_local(op, &local) < 0 || asock_op_get_remote(op, &remote) < 0 ||
        asock_op_get_datagram(op, &datagram) < 0)
        return;
    path = path_of(&local, &remote);
    step = datagram.segment_size ? datagram.segment_size : len;
    for (size_t at = 0; at < len; at += step)
        take_packet(q, &path, datagram.traffic_class & 3, data + at,
                    len - at < step ? len - at : step);
    if (!(asock_op_get_result_flags(op) & ASOCK_MORE))
        quic_check(asock_receive_multishot(q->socket, op), "receive");
}

/* ---- datagrams out ---- */

static void on_sent(asock_op *op, void *userdata)
{
    struct quic_outgoing *out = userdata;

    /* QUIC sends again what was lost, whatever the reason. */
    if (asock_op_get_error(op) == ASOCK_ACCESS_DENIED)
        quic_check_op(op, "send");
    out->owner->idle[out->owner->idle_count++] = out;
}

static uint8_t *buffer_of(const struct quic *q)
{
    return q->idle[q->idle_count - 1]->data;
}

/* The last idle operation sends what lies in its buffer. */
static void leave(struct quic *q, size_t len, size_t segment, unsigned int ecn)
{
    struct quic_outgoing *out = q->idle[--q->idle_count];
    asock_op *op = out->op;

    quic_check(asock_op_set_buffer(op, out->data, len), "send");
    quic_check(asock_op_set_segment_size(op, segment), "send");
    quic_check(asock_op_set_ecn(op, ecn), "send");
    if (!q->is_server) {
        quic_check(asock_send(q->socket, op), "send");
        return;
    }
    quic_check(asock_op_set_endpoint(op, (struct sockaddr *)&q->remote, length_of(&q->remote)),
               "send");
    quic_check(asock_op_set_source(op, (struct sockaddr *)&q->local, length_of(&q->local)), "send");
    quic_check(asock_send_to(q->socket, op), "send");
}

/* The next packet; 0: none may go now. */
static size_t next_packet(struct quic *q, uint8_t *dest, size_t room, unsigned int *ret_ecn)
{
    ngtcp2_pkt_info info = {.ecn = 0};
    ngtcp2_ssize taken = -1, n;
    bool has_data = q->stream >= 0 && q->data && !q->has_ended;
    uint64_t left = q->total - q->offset;
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    ngtcp2_vec vec = {NULL, 0};

    if (has_data) {
        vec.base = (uint8_t *)(uintptr_t)q->data + (q->period ? q->offset % q->period : q->offset);
        vec.len = left < QUIC_PERIOD ? left : QUIC_PERIOD;
        if (vec.len == left)
            flags = NGTCP2_WRITE_STREAM_FLAG_FIN;
    }
    n = ngtcp2_conn_writev_stream(q->conn, NULL, &info, dest, room, &taken, flags,
                                  has_data ? q->stream : -1, &vec, has_data, quic_now());
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED || n == NGTCP2_ERR_STREAM_SHUT_WR)
        n = ngtcp2_conn_writev_stream(q->conn, NULL, &info, dest, room, NULL,
                                      NGTCP2_WRITE_STREAM_FLAG_NONE, -1, NULL, 0, quic_now());
    if (n < 0) {
        end(q, ngtcp2_strerror((int)n));
        return 0;
    }
    if (taken >= 0) {
        q->offset += (uint64_t)taken;
        q->has_ended = flags && q->offset == q->total;
    }
    *ret_ecn = info.ecn;
    return (size_t)n;
}

/*
 * Packets of one length, of which the last may be shorter, leave together. Two operations: a longer
 * one begins the next.
 */
static void write_packets(struct quic *q)
{
    size_t room = ngtcp2_conn_get_max_tx_udp_payload_size(q->conn), len = 0, segment = 0, n;
    unsigned int ecn = 0, its_ecn;

    while (q->idle_count >= 2 && !q->is_over) {
        n = next_packet(q, buffer_of(q) + len, room, &its_ecn);
        if (n == 0)
            break;
        if (len > 0 && (n > segment || its_ecn != ecn)) {
            const uint8_t *moved = buffer_of(q) + len;

            leave(q, len, segment, ecn);
            memcpy(buffer_of(q), moved, n);
            len = 0;
        }
        if (len == 0)
            segment = n, ecn = its_ecn;
        len += n;
        if (n < segment || len + room > QUIC_BYTES || len >= QUIC_SEGMENTS * segment) {
            leave(q, len, segment, ecn);
            len = 0;
        }
    }
    if (len > 0)
        leave(q, len, segment, ecn);
    ngtcp2_conn_update_pkt_tx_time(q->conn, quic_now());
}

/* ---- the loop ---- */

static int timeout_of(const struct quic *q)
{
    int timeout = asock_context_get_timeout(q->context);
    ngtcp2_tstamp now = quic_now(), expiry = q->conn ? ngtcp2_conn_get_expiry(q->conn) : UINT64_MAX;
    uint64_t ms = expiry > now ? (expiry - now) / NGTCP2_MILLISECONDS + 1 : 0;

    return expiry == UINT64_MAX || (timeout >= 0 && (uint64_t)timeout < ms) ? timeout
           : ms < 60000                                                     ? (int)ms
                                                                            : 60000;
}

static void turn(struct quic *q)
{
    struct pollfd fd = {.fd = asock_context_get_fd(q->context)};
    int r;

    quic_check(asock_context_flush(q->context), "asockd");
    fd.events = (short)asock_context_get_events(q->context);
    if (poll(&fd, 1, timeout_of(q)) < 0 && errno != EINTR)
        quic_fail("poll", strerror(errno));
    quic_check(asock_context_process(q->context), "asockd");
    if (!q->conn || q->is_over || ngtcp2_conn_get_expiry(q->conn) > quic_now())
        return;
    r = ngtcp2_conn_handle_expiry(q->conn, quic_now());
    if (r != 0)
        end(q, ngtcp2_strerror(r));
}

void quic_run(struct quic *q)
{
    while (!q->is_over) {
        if (q->conn)
            write_packets(q);
        turn(q);
    }
}

void quic_close(struct quic *q)
{
    ngtcp2_connection_close_error error;
    ngtcp2_pkt_info info;
    ngtcp2_ssize n;

    while (q->idle_count < QUIC_SENDS)
        turn(q);
    ngtcp2_connection_close_error_default(&error);
    n = ngtcp2_conn_write_connection_close(q->conn, NULL, &info, buffer_of(q), QUIC_BYTES, &error,
                                           quic_now());
    if (n > 0)
        leave(q, (size_t)n, 0, 0);
    while (q->idle_count < QUIC_SENDS)
        turn(q);
}

void quic_open(struct quic *q)
{
    asock_op *op;

    q->stream = -1;
    quic_check(asock_context_new(NULL, &q->context), "asockd");
    quic_check(asock_context_set_always_pending(q->context, true), "asockd");
    quic_check(asock_socket_new_udp(q->context, AF_UNSPEC, &q->socket), "socket");
    quic_check(asock_op_new(q->context, &op), "socket");
    quic_check(asock_set_option(q->socket, op, ASOCK_OPTION_COALESCE, 1), "coalesce");
    quic_check(asock_op_wait(op, -1), "coalesce");
    quic_check_op(op, "coalesce");
    asock_op_unref(op);
    for (int i = 0; i < QUIC_SENDS; i++) {
        struct quic_outgoing *out = calloc(1, sizeof(*out));

        if (!out)
            quic_fail("start", "no memory");
        out->owner = q;
        q->idle[q->idle_count++] = out;
        quic_check(asock_op_new(q->context, &out->op), "start");
        quic_check(asock_op_set_callback(out->op, on_sent, out), "start");
    }
}

void quic_start(struct quic *q)
{
    asock_buffer *buffer;
    asock_pool *pool;
    asock_op *op;

    quic_check(asock_buffer_new(q->context, POOL_BYTES, -1, &buffer), "shared memory");
    quic_check(asock_pool_new(buffer, SLICE_BYTES, &pool), "shared memory");
    quic_check(asock_op_new(q->context, &op), "receive");
    quic_check(asock_op_set_pool(op, pool), "receive");
    quic_check(asock_op_set_callback(op, on_datagrams, q), "receive");
    quic_check(asock_receive_multishot(q->socket, op), "receive");
    asock_op_unref(op);
    asock_pool_unref(pool);
    asock_buffer_unref(buffer);
}

void quic_free(struct quic *q)
{
    while (q->idle_count > 0) {
        struct quic_outgoing *out = q->idle[--q->idle_count];

        asock_op_unref(out->op);
        free(out);
    }
    ngtcp2_conn_del(q->conn);
    if (q->tls)
        gnutls_deinit(q->tls);
    gnutls_certificate_free_credentials(q->credentials);
    asock_socket_unref(q->socket);
    asock_context_unref(q->context);
}
