/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_OBJECTS_H
#define ASOCK_LIB_CORE_OBJECTS_H

/*
 * The library's objects. Everything below is guarded by the context's lock, which every public call
 * takes; callbacks run without it. A struct member's comment says what the type does not.
 *
 * Lifetimes. refs are the program's. holds keep the memory: one for refs > 0 and one for each place
 * in the library that points at the object. The context counts as its refs those of the program and
 * one for each socket and op with refs > 0, so it ends when the program has let go of everything.
 */
#include <asock/asock.h>
#include <pthread.h>

#include "base/list.h"
#include "base/wheel.h"
#include "client-lib/core/io.h"
#include "client-lib/core/shm.h"
#include "client-lib/core/operation.h"
#include "client-lib/core/slots.h"
#include "proto/codec.h"
#include "proto/errors.h"
#include "proto/frame.h"

/* Where a socket waits for its turn: nowhere, or in the context's list of that name. */
enum place { PLACE_NONE, PLACE_READY, PLACE_STALLED, PLACE_IDLESS };

struct asock_socket {
    asock_context *context;
    unsigned int refs, holds;
    unsigned int users; /* 1 for refs > 0, and the ops in flight: none left closes it */
    uint32_t slot;
    uint64_t token; /* of OPEN; with TOKEN_CLOSE of a CLOSE without op */
    uint32_t id;    /* 0: none yet, or no more */
    int family;
    void *userdata;

    bool is_datagram;
    bool is_opened;      /* OPEN has left */
    bool is_open_untold; /* OPEN is still to be among the ops that the daemon says it freed */
    bool is_closing;     /* asock_close was called, or the last reference went */
    bool is_close_sent;
    bool is_id_asked;    /* a SYNC behind its CLOSE is on the way */
    bool is_closed;      /* the daemon has no such socket any more, or never had */
    bool is_dead;        /* of a session that has ended */
    bool is_counted;     /* in context->open_sockets */
    bool is_send_broken; /* a send ended in the library (S28): CLOSE resets */
    bool is_connect_asked, is_connect_failed; /* failed: in the library; until the next one */
    bool is_connected;                        /* a connect has succeeded */
    bool is_over;                             /* an op, or the daemon, has said that it has ended */
    bool close_abort : 1, close_lingers : 1;  /* lingers: it has a linger time */
    uint8_t place;                            /* enum place */
    uint64_t lost_seq;             /* of the first receive whose bytes were taken back; 0: none */
    uint64_t lost_before;          /* the same, of connections before */
    uint64_t since;                /* ops of earlier connections have a lower seq */
    uint64_t disconnect_seq;       /* of a DISCONNECT that the daemon has: its submission; 0 */
    struct endpoint local, remote; /* of that connect */
    uint32_t open_error;           /* what the daemon said to OPEN, or no id was granted */
    unsigned int connects;         /* that the daemon has */
    unsigned int receives;         /* that the daemon has */
    unsigned int connects_waiting;

    struct list sends, receives_waiting, controls; /* FIFOs of ops that wait in the library */
    struct list ops;                               /* everything in flight, in order */
    struct list quiet_sends, quiet_options; /* ERRORS_ONLY, wholly left, in order of leaving */
    asock_op *barrier;                      /* the empty send that tells of quiet ones */
    uint64_t abandon_token;                 /* chain that needs its empty last piece; 0: none */

    uint64_t held_bytes; /* outstanding in the daemon */
    uint32_t held_ops;
    uint32_t bounced; /* blocks of the bounce buffer that its ops have */

    struct due arrival; /* accepted by a multishot, not reported yet */
    asock_op *acceptor; /* for whose connection its id is kept; NULL: it has none to wait for */
    asock_op *close_op;
    uint32_t close_error; /* why lingering was given up in the library */
    int linger_default;   /* ASOCK_OPTION_LINGER */
    struct deadline linger;
    uint64_t close_deadline;  /* of a CLOSE with a linger time that has left; 0: none */
    struct list close_node;   /* in context->closes */
    struct list place_node;   /* in the list of its place */
    struct list context_node; /* in context->sockets */
};

/* Of the limits that a Hello can raise: what was asked for, answered or not. */
struct raise {
    uint64_t to[ASOCK_LIMIT_PAYLOAD + 1];
    uint64_t
        rests_until; /* there was less than was asked for: until then nothing more is; 0: does not rest */
    char text[CODEC_TEXT_MAX + 1]; /* what the daemon said about that */
    struct deadline again; /* accepts are parked: when sockets for them are asked for again */
    unsigned int pause_ms; /* before that */
};

struct asock_context {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* while another thread is in poll(2): something has ended */
    unsigned int waiters, refs, holds;
    bool is_ended;    /* the last reference is gone */
    char *path;       /* NULL: made from a descriptor */
    int fd;           /* -1 between sessions */
    int watch_fd;     /* that the program's loop watches; -1: it has not asked */
    uint32_t watched; /* events of fd in it; 0: fd is not in it */
    bool is_alive, is_dialing;
    uint32_t error;
    uint8_t *fork_mark; /* a page that a fork wipes */

    char name[CODEC_NAME_MAX + 1];
    uint64_t asked[ASOCK_LIMIT_PAYLOAD + 1];
    bool is_hello_wanted, is_hello_said, is_welcome;
    unsigned int welcomes_due; /* Hellos that are not answered */
    bool is_used;              /* an op was submitted: Hello is settled */
    bool is_always_pending;
    unsigned int grace_ms; /* beyond an op's deadline, for the daemon to tell; 0: any time */
    uint64_t left_at;      /* when something was to be written before an op was given up */
    uint64_t told_at;      /* the same: to be read */
    uint64_t taken_at;     /* when the daemon took more, having taken no more before */
    struct welcome limits;
    struct raise raise;
    char text[CODEC_TEXT_MAX + 1]; /* the daemon's last word: why the session has ended */

    uint32_t last_error; /* of the last one-call helper's op, and the daemon's text about it */
    char last_text[CODEC_TEXT_MAX + 1];

    struct slots slots;
    struct ids ids;
    uint32_t open_sockets;
    uint64_t held_bytes, excess_bytes; /* excess: beyond each socket's own share */
    uint32_t held_ops, excess_ops;
    uint64_t byte_share; /* of each socket */
    uint32_t op_share, op_pool;
    uint64_t seq, queued; /* queued: bytes submitted since the last write */
    struct list sockets;
    struct list ready;   /* may have a frame to send; served in turn */
    struct list stalled; /* wait for room in the session */
    struct list idless;  /* wait for an id */
    bool is_parking;     /* a socket that is closed now leaves no room for one of these */
    struct list parked;  /* multishot accepts that wait until there is a socket for them */
    struct list closes, cancels, syncs, inspections;
    struct list socketless; /* ops in flight that concern no socket */
    struct list done;       /* ended, callback to come */
    struct wheel wheel;
    struct output out;
    struct input in;
    struct shm memory;

    pthread_t dispatcher;
    bool has_dispatcher, is_stopping, is_joining;
    bool is_polling, is_woken; /* a thread is in poll(2) that can be woken; it has been */
    int wake_fd;
    bool in_callback;
    pthread_t callback_thread;
    asock_op *callback_op;
};

#endif
