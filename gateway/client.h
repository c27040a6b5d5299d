/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_CLIENT_H
#define GATEWAY_CLIENT_H

/*
 * One connection of a program: handshake, connect, bytes both ways, end.
 *
 * It lives until its last op has completed: ops have pointers into it.
 */
#include "gateway/http.h"
#include "gateway/server.h"
#include "gateway/socks.h"

/*
 * A connection that says little at a time needs no more than this each way, and one that is quiet
 * only the pieces whose receives are in flight.
 */
#define CLIENT_SMALL 2048u

enum client_state {
    CLIENT_HANDSHAKE,
    CLIENT_DIALING,
    CLIENT_RELAY,
    CLIENT_ASSOCIATED, /* its datagrams are relayed until this connection ends */
    CLIENT_CLOSING,    /* an answer goes out, what comes in is dropped */
    CLIENT_ENDED,      /* closed; waits for its ops */
};

struct associate;

#define OWED_ALL UINT64_MAX

enum client_protocol { PROTOCOL_UNKNOWN, PROTOCOL_SOCKS, PROTOCOL_CONNECT, PROTOCOL_FORWARD };

/*
 * What a program asks for, kept while a session is being opened or the session has no socket left.
 */
struct parked {
    struct session_wait wait;
    struct place_wait place;
    struct client *client;
    struct destination to;
    size_t first_len;
    bool is_resolve;
};

enum slot_state { SLOT_FREE, SLOT_PENDING, SLOT_FILLED };

/* A piece of the stream and its op. */
struct slot {
    struct client *client;
    asock_op *op;
    enum slot_state state;
    char *data;
    size_t size, len, written;
    size_t taken; /* up: what was read for it */
    bool is_block;
    ev_tstamp since; /* when its op was submitted, or has brought something */
};

/* One direction. Its pieces are used in turn: first is the oldest, next the one to use next. */
struct lane {
    struct slot slots[2];
    unsigned int first, next, used;
    unsigned int pieces;     /* of CLIENT_SMALL at most: 1 or 2 */
    unsigned int small_used; /* so many of them slots have */
    bool is_bulk;
    bool has_ended; /* nothing more comes in at this lane's beginning */
    bool is_done;   /* and its end was passed on */
    bool is_broken; /* its end was not reached: the other side takes no more */
    bool has_hole;  /* a receive has failed: what later ones bring is not what follows */
};

struct client {
    struct client *previous, *next;
    struct gateway *gateway;
    enum client_state state;
    enum client_protocol protocol;
    ev_io io;
    ev_timer deadline;
    bool is_tcp;
    bool wants_write;
    bool is_choked; /* it has sent more than there is room for: it is not watched */
    /* How a connection that was adopted is closed; NULL: by close(). */
    void (*leave)(void *userdata, bool reset);
    void *userdata;

    struct socks socks;
    char *buf; /* the handshake, or a response's head */
    size_t len, cap;
    struct http_body body;
    bool in_head; /* PROTOCOL_FORWARD: the response's head has not ended */

    asock_socket *socket;
    asock_op *op;     /* connect, or the question for a name; then shutdown */
    asock_op *hangup; /* tells when the connection is over */
    char *first;      /* what is sent with the connect */
    bool has_said;    /* it contains data of the program */
    struct parked *parked;
    unsigned int ops;        /* in flight */
    int error;               /* receiving ended with it; an enum asock_error */
    bool is_lost;            /* the connection ended with an error */
    struct spliced *spliced; /* the lent connection; NULL: the daemon did not lend it */
    struct associate *associate;
    unsigned int flow_count; /* of its datagrams, also those that have ended and wait for ops */
    size_t datagram_bytes;   /* of these, on their way to the daemon */
    struct lane up, down;

    uint64_t
        owed; /* bytes from the program that must still be passed on; OWED_ALL: up to its end */

    bool owes_end; /* the program has gone: pass on everything and its end */

    char *out; /* what goes to the program before the slots */
    size_t out_len, out_written;
};

/* Takes fd. */
void client_new(struct gateway *gateway, int fd, bool is_tcp);
/*
 * A connection of a program (TCP) and the one that it leads to. Takes the socket and what the
 * daemon has lent of it (lent, < 0: nothing), and fd, which ends with a call of leave().
 */
void client_adopt(struct gateway *gateway, int fd, asock_socket *socket, int lent,
                  void (*leave)(void *userdata, bool reset), void *userdata);
/* Closes both sides; a side whose stream is not complete is reset. */
void client_abort(struct client *client);
/* True: the program has sent data or ended its stream, and this was not passed on yet. */
bool client_owes(const struct client *client);
/*
 * Only what the program has sent by now will be passed on; `owed` bytes of it are still in the
 * kernel. A later call can only lower the number, because data that the program sends meanwhile
 * does not count.
 */
void client_owes_only(struct client *client, uint64_t coming);
/* Closes both sides by reset, but the server's not if it has all of the program's stream. */
void client_drop(struct client *client);
/* Both ends have come to their end. */
void client_finish(struct client *client);
/* Sends an answer to the program, and ends. */
void client_answer(struct client *client, const void *data, size_t len);
/* Appends to what goes out first. false: no memory; the client has been aborted. */
bool client_put(struct client *client, const void *data, size_t len);
/*
 * The last thing that every callback does: watches for what the state needs, or frees a client that
 * has ended and whose ops have completed.
 */
void client_settle(struct client *client);

void client_set_deadline(struct client *client, ev_tstamp seconds);

/* ---- deliver.c: bytes to the program ---- */

/* 1: all of it; 0: the program takes no more for now; -1: it is gone, or what was there is. */
int deliver(struct client *client, const char *data, size_t len, size_t *written);
int deliver_slot(struct client *client, struct slot *slot);

/* ---- dial.c: from the handshake to the answer ---- */

/* head goes in front of what the program has sent behind its handshake. */
void dial_connect(struct client *client, const struct destination *to, const char *head,
                  size_t head_len);
void dial_resolve(struct client *client, const struct destination *to);
/* The deadline of CLIENT_DIALING: does the program still wait? */
void dial_look(struct client *client);
/* It waits for no session and no socket any more. */
void dial_forget(struct client *client);

/* ---- pump.c: the bytes ---- */

void pump_free(struct client *client); /* no op is in flight any more */
/*
 * What goes to the program before the stream. 1: it has all; 0: it takes no more for now; -1: it is
 * gone.
 */
int pump_write_first(struct client *client);
void pump_receive(struct client *client); /* asks for what the server says */
void pump_read(struct client *client);    /* the program has sent something */
void pump_write(struct client *client);   /* the program can take something */
bool pump_can_read(const struct client *client);
/* So much of what the program has sent is with the server's side. */
void pump_note_passed(struct client *client, size_t n);
void pump_end_slots(struct client *client); /* ops are released */
/* Receives that hold a block without data for a while give it back. */
void pump_reclaim(struct client *client, ev_tstamp now);

#endif
