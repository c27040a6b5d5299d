/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_INTERNAL_H
#define ASOCK_LIB_INTERNAL_H

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
#include "client-lib/core/memory.h"
#include "client-lib/core/slots.h"
#include "proto/codec.h"
#include "proto/errors.h"
#include "proto/frame.h"

/* Not in enum asock_operation: what the library asks for itself. */
enum { OPERATION_INSPECT = 100, OPERATION_RESTRICT, OPERATION_REGISTER };

enum op_state {
    OP_IDLE,
    OP_WAITING, /* in the library, nothing of it has left */
    OP_PARTLY,  /* a chain, some of it has left */
    OP_SENT,    /* all of it has left, or stands in the output */
    OP_HELD,    /* ended, but a frame in the output still refers to its buffers */
    OP_DONE,
};

struct cursor {
    size_t segment, offset;
};

/*
 * What an op has to do with shared memory: handed in by the part that lets its bytes go there. Each call
 * may be NULL; so may the class, of an op all of whose bytes are in its frames.
 */
struct op_class {
    void (*ended)(asock_op *op);   /* it has a result */
    void (*left)(asock_op *op);    /* and no frame refers to its segments any more */
    void (*told)(asock_op *op);    /* its callback has returned, or there is none */
    void (*dropped)(asock_op *op); /* what it was set up with goes, or the op */
};

struct asock_op {
    asock_context *context;
    const struct op_class *class;
    unsigned int refs, holds;
    uint32_t slot;
    enum op_state state;
    uint64_t endings;  /* how often it has completed: its callback may submit it again at once */
    bool is_due;       /* stands in context->done */
    bool in_callback;  /* its callback runs */
    bool is_begun;     /* made by asock_begin_*, asock_end still to come */
    bool is_cancelled; /* CANCEL is on its way, or was */
    bool is_told;      /* somebody waits for it: ERRORS_ONLY is not passed on */
    bool is_quiet;     /* ERRORS_ONLY went out: success will be implied */
    bool is_asked;     /* is_quiet, and overdue: the daemon was asked how it ended */
    bool is_overdue;   /* its time and grace were over once, but this side was late */

    /* what the program has set */
    asock_callback callback;
    void *userdata;
    struct iovec *segments, segment; /* NULL: never set; one: &segment */
    size_t segment_count;
    size_t total;
    struct endpoint endpoint;
    char *host, *service;
    unsigned int timeout_ms, flags;

    /* the submission */
    int operation;
    asock_socket *socket;  /* kept, with a hold, until the next submission */
    uint64_t token, seq;   /* seq: of submission, then of leaving */
    uint64_t deadline;     /* 0: none */
    unsigned int grace_ms; /* beyond it, for the daemon; 0: any time */
    int how, option;
    int64_t argument;              /* set_option: value; inspect: id */
    uint32_t verb;                 /* inspect */
    struct inspection *inspection; /* NULL: nobody reads the records */
    struct cursor cursor;          /* send: next octet to leave; receive: next to fill */
    size_t moved;                  /* octets that left, or came */
    unsigned int wire_refs;        /* frames in the output that refer to the segments */
    struct list queue_node;        /* in a queue of the socket, or in its quiet list */
    struct list flight_node;       /* in socket->ops, or context->socketless, until it has ended */
    struct list cancel_node;
    struct due due;
    struct op_memory memory;
    struct deadline timer;

    /* results */
    uint32_t error, connect_error;
    uint64_t bytes;
    unsigned int result_flags;
    struct endpoint local, remote;
    bool has_value;
    int64_t value;
    char *text;
};

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
    struct endpoint local, remote;            /* of that connect */
    uint32_t open_error;   /* what the daemon said to OPEN, or no id was granted */
    unsigned int connects; /* that the daemon has */
    unsigned int receives; /* that the daemon has */
    unsigned int connects_waiting;

    struct list sends, receives_waiting, controls; /* FIFOs of ops that wait in the library */
    struct list ops;                               /* everything in flight, in order */
    struct list quiet_sends, quiet_options; /* ERRORS_ONLY, wholly left, in order of leaving */
    asock_op *barrier;                      /* the empty send that tells of quiet ones */
    uint64_t abandon_token;                 /* chain that needs its empty last piece; 0: none */

    uint64_t held_bytes; /* outstanding in the daemon */
    uint32_t held_ops;
    uint32_t bounced; /* blocks of the bounce buffer that its ops have */

    asock_op *close_op;
    bool close_abort, close_lingers; /* lingers: it has a linger time */
    uint32_t close_error;            /* why lingering was given up in the library */
    int linger_default;              /* ASOCK_OPTION_LINGER */
    struct deadline linger;
    uint64_t close_deadline; /* of a CLOSE with a linger time that has left; 0: none */
    struct list close_node;  /* in context->closes */
    enum place place;
    struct list place_node;   /* in the list of its place */
    struct list context_node; /* in context->sockets */
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
    bool is_alive;
    uint32_t error;
    uint8_t *fork_mark; /* a page that a fork wipes */

    char name[CODEC_NAME_MAX + 1];
    uint64_t asked[ASOCK_LIMIT_PAYLOAD + 1];
    bool is_hello_wanted, is_hello_said, is_welcome;
    unsigned int welcomes_due; /* Hellos that are not answered */
    bool is_used;              /* an op was submitted: Hello is settled */
    bool is_always_pending;
    unsigned int grace_ms; /* beyond an op's deadline, for the daemon to tell; 0: any time */
    struct welcome limits;

    uint32_t last_error; /* of the last one-call helper's op, and the daemon's text about it */
    char last_text[CODEC_TEXT_MAX + 1];

    struct slots slots;
    struct ids ids;
    uint32_t open_sockets;
    uint64_t held_bytes, excess_bytes; /* excess: beyond each socket's own share */
    uint32_t held_ops, excess_ops;
    uint64_t seq, queued; /* queued: octets submitted since the last write */
    struct list sockets;
    struct list ready;   /* may have a frame to send; served in turn */
    struct list stalled; /* wait for room in the session */
    struct list idless;  /* wait for an id */
    struct list closes, cancels, syncs, inspections;
    struct list socketless; /* ops in flight that concern no socket */
    struct list done;       /* ended, callback to come */
    struct wheel wheel;
    struct output out;
    struct input in;
    struct memory memory;

    pthread_t dispatcher;
    bool has_dispatcher, is_stopping, is_joining;
    bool is_polling, is_woken; /* a thread is in poll(2) that can be woken; it has been */
    int wake_fd;
    bool in_callback;
    pthread_t callback_thread;
    asock_op *callback_op;
};

#endif
