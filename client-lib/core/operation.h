/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_OPERATION_H
#define ASOCK_LIB_CORE_OPERATION_H

/* An op, from its making to its results. Includers take objects.h. */
#include <asock/asock.h>

#include "base/list.h"
#include "client-lib/core/shm.h"
#include "proto/codec.h"

/* Not in enum asock_operation: what the library asks for itself. */
enum { OPERATION_INSPECT = 100, OPERATION_RESTRICT, OPERATION_REGISTER };

/* asock_op.how of a send with its own address. A shutdown uses lower values. */
enum { HOW_TO = 4 };

enum op_state {
    OP_IDLE,
    OP_WAITING, /* in the library, nothing of it has left */
    OP_PARTLY,  /* a chain, some of it has left */
    OP_SENT,    /* all of it has left, or stands in the output */
    OP_HELD,    /* ended, but not to be reported yet: see wire_refs */
    OP_DONE,
};

struct cursor {
    size_t segment, offset;
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
    bool is_answered;  /* a share that has succeeded; its CANCEL's answer, still to come, ends it */
    bool is_told;      /* somebody waits for it: ERRORS_ONLY is not passed on */
    bool is_quiet;     /* ERRORS_ONLY went out: success will be implied */
    bool is_asked, is_expired; /* overdue: the daemon was asked, by a CANCEL not of the program's */
    uint8_t lates;             /* its time and grace were over, but this side was late: so often */
    bool is_multishot_accept;  /* of the submission; as what follows, here because there is room */
    bool has_value;            /* of the results */
    uint8_t ecn;               /* set by the program, of datagrams; 0: none */
    uint16_t segment_size;     /* likewise; 0: one datagram */

    /* what the program has set */
    asock_callback callback;
    void *userdata;
    struct iovec *segments, segment; /* NULL: never set; one: &segment */
    size_t segment_count;
    size_t total;
    struct endpoint endpoint;
    struct endpoint source;  /* of datagrams; address_len 0: none is asked for */
    struct endpoint *others; /* further ones to connect to; NULL: none */
    char *host, *service;
    unsigned int timeout_ms, flags;
    char *asked; /* resolve: the name; NULL: none */

    /* the submission */
    int operation;
    uint32_t other_count;
    asock_socket *socket;  /* kept, with a hold, until the next submission */
    uint64_t token, seq;   /* seq: of submission, then of leaving */
    uint64_t submitted;    /* the first of these */
    uint64_t deadline;     /* 0: none */
    unsigned int grace_ms; /* beyond it, for the daemon; 0: any time */
    int how, option;
    uint32_t verb;          /* of an op without a socket */
    int64_t argument;       /* set_option: value; inspect: id; listen: backlog */
    asock_socket *accepted; /* accept: what becomes the new socket, until the program takes it */
    asock_socket *arrival;  /* of such a one's callback that runs, until the program takes it */
    struct list arrived;    /* of one without a callback: what asock_accept_next() will return */
    struct inspection *inspection; /* NULL: the records are not read */
    struct file_source *file;      /* send: where its bytes come from; NULL: the buffers alone */
    struct cursor cursor;          /* send: next byte to leave; receive: next to fill */
    size_t moved;                  /* bytes that left, or came */
    struct list queue_node;        /* in a queue of the socket, or in its quiet list */
    struct list flight_node;       /* in socket->ops, or context->socketless, until it has ended */
    struct list cancel_node;
    struct due due;
    struct op_shm memory;
    struct deadline timer;

    /* results */
    uint32_t error, connect_error;
    uint64_t bytes;
    unsigned int result_flags;
    struct endpoint local, remote;
    /*
     * Not results. wire_refs: frames in the output that refer to the segments; of a disconnect,
     * receives that have left behind it and are not answered. late_for: of such a one, the
     * disconnect; NULL: it is none.
     */
    unsigned int wire_refs;
    asock_op *late_for;
    struct datagram datagram; /* of the last one received; of a multishot, the last one reported */
    int fd; /* a lent one that the program has not taken yet, or one for the daemon; -1: none */
    unsigned int address_count;
    int64_t value;
    char *text;
    struct endpoint *addresses; /* NULL: none */
};

#endif
