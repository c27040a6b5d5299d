/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef EXAMPLES_QUIC_H
#define EXAMPLES_QUIC_H

/*
 * What the QUIC client and server share: datagrams between ngtcp2, which does no input or output
 * itself, and a socket of asockd. Packets of one length leave as one send (segment size), and
 * arrive as one receive (coalesce), with ECN.
 */
#include <asock/asock.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <stdbool.h>

#define QUIC_SENDS 8       /* operations that may be on their way */
#define QUIC_BYTES 65507u  /* the most of one */
#define QUIC_SEGMENTS 40u  /* packets of one */
#define QUIC_CID_LENGTH 16 /* of our connection ids */
#define QUIC_WINDOW (16u * 1024u * 1024u)

struct quic;

struct quic_outgoing {
    struct quic *owner;
    asock_op *op;
    uint8_t data[QUIC_BYTES];
};

struct quic {
    asock_context *context;
    asock_socket *socket;
    struct quic_outgoing *idle[QUIC_SENDS]; /* not on their way */
    unsigned int idle_count;
    bool is_server;
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t tls;
    ngtcp2_conn *conn; /* NULL: of a server that nobody has come to */
    ngtcp2_crypto_conn_ref ref;
    struct sockaddr_storage local, remote;
    /*
     * the stream, and what is sent on it: `total` bytes of data, which repeats itself after
     * `period`
     */
    int64_t stream;
    const uint8_t *data;
    uint64_t period, total, offset;
    bool has_ended;    /* the end of it has been sent */
    uint64_t received; /* bytes of the peer's */
    bool is_over;
    const char *problem; /* why it is over; NULL: it went well */
    /*
     * Bytes of the peer's stream at `received`; called again for the end, with is_end. False: not
     * what was expected.
     */
    bool (*take)(struct quic *q, const uint8_t *data, size_t len, bool is_end);
    /* Of a server: makes its conn for the first datagram of a client. */
    void (*accept)(struct quic *q, const ngtcp2_path *path, const uint8_t *packet, size_t len);
};

/* A pattern that shows what is missing or in the wrong place. */
#define QUIC_PERIOD 65521u
const uint8_t *quic_pattern(void); /* 2 * QUIC_PERIOD bytes */

void quic_fail(const char *what, const char *why) __attribute__((noreturn));
/* r: what a call of libasock has returned. */
void quic_check(int r, const char *what);
void quic_check_op(asock_op *op, const char *what);

void quic_open(struct quic *q);
/* The socket has its address: datagrams are received. */
void quic_start(struct quic *q);
void quic_callbacks(const struct quic *q, ngtcp2_callbacks *ret);
void quic_parameters(ngtcp2_settings *settings, ngtcp2_transport_params *params);
/* The session is made; conn follows. */
void quic_tls(struct quic *q, unsigned int flags);
/* Until it is over. */
void quic_run(struct quic *q);
/* Tells the peer, and waits until the datagram has left. */
void quic_close(struct quic *q);
void quic_free(struct quic *q);
ngtcp2_tstamp quic_now(void);
void quic_random_cid(ngtcp2_cid *ret);

#endif
