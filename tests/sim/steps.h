/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_STEPS_H
#define ASOCK_TESTS_SIM_STEPS_H

/* What the files of steps share: objects by the numbers of a step, and calls of the library. */
#include "tests/sim/model.h"

/* A call of the library's, on behalf of the client. */
#define LIB(call)                                                                                  \
    ({                                                                                             \
        enum actor lib_before = sim.actor;                                                         \
        __typeof__(call) lib_result;                                                               \
        sim.actor = ACTOR_CLIENT;                                                                  \
        lib_result = (call);                                                                       \
        sim.actor = lib_before;                                                                    \
        lib_result;                                                                                \
    })

struct client *client_at(uint32_t number);                              /* NULL: there is none */
struct client *client_of(uint32_t number);                              /* likewise */
struct stream *stream_at(uint32_t number);                              /* NULL: no open socket */
struct model_op *op_for(struct client *client, uint32_t number);        /* made if need be */
struct model_buffer *buffer_of(struct client *client, uint32_t number); /* NULL: none */
bool is_in_callback(const struct client *client);

struct model_op *op_make(struct client *client); /* in no slot, without a library's op */
/* A new one in an empty slot, without a socket yet. */
struct stream *stream_make(struct client *client, uint32_t number);
size_t step_length(uint32_t number); /* of data */

/* Where a connect goes: a name, or an address. */
struct destination {
    bool is_name;
    char name[32], service[16];
    struct sockaddr_storage addr;
    socklen_t len;
};
struct destination step_destination(uint32_t how, unsigned int intent);
/*
 * A number for the connect, by which its connection and its peer are known; false: there is none
 * left.
 */
bool step_intent(struct submission *submission, const struct step *step);

void step_context(const struct step *step);
void step_join(const struct step *step);
void step_context_unref(const struct step *step);
void step_reconnect(const struct step *step);
void step_socket(const struct step *step);
void step_sockets(const struct step *step);
void step_socket_unref(const struct step *step);
void step_op_unref(const struct step *step);
void step_connect(const struct step *step);
void step_send(const struct step *step);
void step_send_file(const struct step *step);
void step_receive(const struct step *step);
void step_shutdown(const struct step *step);
void step_close(const struct step *step);
void step_set_option(const struct step *step);
void step_get_option(const struct step *step);
void step_sync(const struct step *step);
void step_resolve(const struct step *step);
void step_hangup(const struct step *step);
void step_share(const struct step *step);
void step_disconnect(const struct step *step);
/* A disconnect may end the stream at any time: what is connected now may be of the next one. */
bool stream_is_disconnecting(const struct stream *stream);
/* Of any submission that has ended: after it the socket may have another stream. */
void disconnect_done(struct submission *submission);
void step_cancel(const struct step *step);
void step_wait(const struct step *step);

void step_buffer(const struct step *step);
void step_buffer_unref(const struct step *step);
void step_pool(const struct step *step);
void step_pool_unref(const struct step *step);
void step_multishot(const struct step *step);
void step_take(const struct step *step);
void step_give(const struct step *step);
void step_next(const struct step *step);
/* There may be a slice to be asked for; true: there was one. */
bool step_has_next(const struct model_op *op);
bool step_take_next(struct model_op *op, int timeout_ms);

void step_inspect(const struct step *step);
void step_control(const struct step *step);
void step_restrict(const struct step *step);
void step_detach(const struct step *step);

void step_datagrams(const struct step *step);
void step_datagram_send(const struct step *step);
void step_datagram_receive(const struct step *step);
void step_datagram_connect(const struct step *step);
void step_datagram_disconnect(const struct step *step);
void step_datagram_cancel(const struct step *step);
void step_datagram_close(const struct step *step);
void step_datagram_bind(const struct step *step);
void step_datagram_arrives(const struct step *step);
/* Of a context that goes; at the end; of all. */
void datagrams_lost(const struct client *client);
bool datagrams_close_all(void); /* false: there was none */
void datagrams_judge(void);
void datagrams_reset(void);

void step_begin(const struct step *step);
void step_end(const struct step *step);
void step_send_all(const struct step *step);
void step_receive_some(const struct step *step);
void step_dial(const struct step *step);

/* The last step of all: nothing is left when it returns. */
void step_finish(void);

#endif
