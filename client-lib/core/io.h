/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_IO_H
#define ASOCK_LIB_CORE_IO_H

/* What stands between the objects and the descriptor: frames being written, a reply being read. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proto/codec.h"

/* Longer than a restart of the daemon takes. */
#define GRACE_MS 10000u

/*
 * Frames in one write. CANCEL and CLOSE wait for what is in here already, so it is kept small: many
 * small requests, or one large piece.
 */
#define OUT_FRAMES 64
#define OUT_IOV 256
#define OUT_HEADS 8192
#define OUT_PAYLOAD (64u * 1024u)

struct out_frame {
    struct asock_op *op; /* whose segments it refers to; NULL: none */
    size_t left;         /* bytes still to be written */
    bool has_begun;      /* some were */
};

struct output {
    struct iovec iov[OUT_IOV];
    struct out_frame frames[OUT_FRAMES];
    unsigned int iov_at, iov_count;
    unsigned int frame_at, frame_count;
    size_t heads_len;
    size_t payload_len;
    size_t rest;    /* payload of the last frame that `iov` does not point at yet */
    bool is_broken; /* the daemon reads no more; what it said before may still be there */
    bool is_full;   /* the daemon took no more, when that was last tried */
    bool has_fd;    /* fd leaves with the next bytes */
    int fd;
    uint8_t heads[OUT_HEADS];
};

/* Where the payload of the reply that is being read goes. */
enum sink { SINK_NONE, SINK_SEGMENTS, SINK_TEXT, SINK_RECORD };

/*
 * Small, so that of a large payload little is copied: what does not come with its head is read
 * straight into the program's buffers. Holds any head.
 */
#define IN_BUFFER 16384

struct input {
    size_t start, end;
    bool in_payload; /* reply is read, payload_left bytes of it are not */
    struct reply reply;
    uint32_t payload_left;
    enum sink sink;
    struct asock_op *op; /* whose reply it is; NULL: none's */
    char *text;          /* where SINK_TEXT goes */
    size_t text_len;
    uint8_t buffer[IN_BUFFER];
};

#endif
