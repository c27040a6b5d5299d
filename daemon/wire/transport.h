/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_TRANSPORT_H
#define ASOCKD_TRANSPORT_H

/*
 * The Unix side of a session: bytes in, bytes out, and nothing else. Memory that is not in use goes
 * back to the worker: an idle transport holds its small output buffer only.
 */
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/core/backoff.h"
#include "daemon/core/loop.h"

struct quota;
struct transport;

struct transport_ops {
    void (*readable)(struct transport *t); /* fill may have something */
    void (*writable)(struct transport *t); /* there is room for what waits: transport_write() */
    void (*drained)(struct transport *t);  /* output has left since it was full */
    bool (*goes_on)(struct transport *t);  /* will there be more output very soon? */
    bool (*awaits)(struct transport *t);   /* may output that can wait do so now? may commit more */
    void (*lost)(struct transport *t);     /* writing failed: the other end is gone */
};

/*
 * One or two descriptors that are sent with the first byte of a frame. They must stay open until
 * left() is called: the frame was sent, or never will be.
 */
struct fd_pass {
    struct list node; /* transport->passes */
    uint64_t at;      /* in bytes_out: where its frame begins */
    int fd;
    int second_fd; /* -1: none */
    bool is_sent;  /* the kernel has passed them to the other end */
    void (*left)(struct fd_pass *pass);
};

struct transport {
    struct worker *worker;
    struct quota *quota; /* its blocks are charged to it; NULL: to nothing */
    const struct transport_ops *ops;
    int fd;
    struct ev_io read_io;
    struct ev_io write_io;
    struct task flush;

    uint8_t *in;                     /* NULL, small or a worker's block */
    size_t in_start, in_end, in_cap; /* what is between waits to be consumed */
    uint8_t *out_small;              /* always there: replies need no allocation */
    uint8_t *out;                    /* out_small or a worker's block */
    size_t out_start, out_end, out_cap;
    uint16_t last_len;    /* of the last frame, in out_small behind a block that is full; 0: none */
    struct list passes;   /* in the order of their frames */
    int passed_fd;        /* that the client has sent; -1: none */
    bool takes_fds;       /* else the client cannot send one, or the kernel drops it */
    bool refuses_fds;     /* none can ever have come (client_fd.h) */
    bool in_emptied;      /* the last read took all there was, and no more has come since */
    bool out_lost;        /* output goes nowhere: it is dropped */
    bool must_leave;      /* some of the output may not wait */
    bool may_hold;        /* what is committed now may wait for company */
    struct deadline hold; /* until then, at most */
    struct deadline
        retry; /* tries again after the kernel had no memory, which it does not announce */
    struct backoff
        holding;    /* after waiting in vain, output that may wait is sent at once for a while */
    bool out_waits; /* a caller was refused room: call drained() when there is some */
    uint64_t bytes_in, bytes_out;
    uint64_t charged; /* by the kernel at least, for everything that was written */
};

/*
 * Takes fd, which is non-blocking, on success. -ENOMEM. Reading starts with transport_resume().
 * takes_fds: what the client sends waits for transport_take_fd().
 */
int transport_init(struct transport *t, struct worker *w, struct quota *quota, int fd,
                   bool takes_fds, const struct transport_ops *ops);
/*
 * Its end. The descriptor is the caller's; -1: there is none any more. Output that has not left
 * stays for transport_write_rest() or transport_drop_rest(); of its descriptors none goes any more.
 */
int transport_detach(struct transport *t);
/*
 * What has stayed. 1: it has left, and the descriptor's sending side is shut down; 0: the rest
 * waits until the descriptor is writable; -ENOMEM: it waits, but the kernel does not say when it
 * has memory; other -errno: it never will.
 */
int transport_write_rest(struct transport *t, int fd);
/* And shuts the sending side down, if fd is not -1. */
void transport_drop_rest(struct transport *t, int fd);

void transport_resume(struct transport *t);
void transport_pause(struct transport *t);

/*
 * What it had in another process, of one that is new: input that is not consumed, output that has
 * not left. -ENOMEM; -E2BIG: more than a transport can have.
 */
struct transport_past {
    const uint8_t *in, *out;
    size_t in_len, out_len;
    uint64_t bytes_in, bytes_out;
};
int transport_restore(struct transport *t, const struct transport_past *past);
/*
 * Descriptors that go with its output: where in that their frame begins; and those of output that
 * was restored. -EINVAL: no frame can begin there.
 */
static inline uint32_t transport_pass_at(const struct transport *t, const struct fd_pass *pass)
{
    return (uint32_t)(pass->at - t->bytes_out);
}
int transport_restore_pass(struct transport *t, uint32_t at, struct fd_pass *pass);
/*
 * Another process has the connection now: not one byte more of it is read or written here, nor is
 * it shut down. The descriptors that were on their way are dropped, its own is the caller's.
 */
int transport_leave(struct transport *t);

/*
 * Reads once. 1: there is more input than before; 0: nothing now; -EPIPE: end of stream;
 * -ENOBUFS: no room, consume first; -ENOMEM; other -errno: lost.
 */
int transport_fill(struct transport *t);

/* The last descriptor that has come with the input, for the caller to close; -1: none. */
int transport_take_fd(struct transport *t);

static inline const uint8_t *transport_input(const struct transport *t, size_t *ret_len)
{
    *ret_len = t->in_end - t->in_start;
    return t->in ? t->in + t->in_start : NULL;
}

/* Is there input behind this place in it? */
static inline bool transport_has_behind(const struct transport *t, const uint8_t *place)
{
    return place < t->in + t->in_end;
}

static inline void transport_consume(struct transport *t, size_t len)
{
    t->in_start += len;
}

/* True: input has arrived that was not read yet. */
bool transport_has_unread(const struct transport *t);

/* After a round of reading: memory that is not needed for the rest is given back. */
void transport_trim_input(struct transport *t);

/*
 * A place for len bytes of output in one piece, or NULL: no room now, drained() will tell. Up to
 * the small buffer's size it is refused only while older output waits.
 */
uint8_t *transport_reserve(struct transport *t, size_t len);
/*
 * How much transport_reserve() would give now; memory is fetched for up to `want`. 0: drained()
 * will tell.
 */
size_t transport_room(struct transport *t, size_t want);
/* True: no output waits; drained() will not be called. */
static inline bool transport_is_idle(const struct transport *t)
{
    return t->out_start == t->out_end;
}
/* The caller could not use the room there is: drained() shall tell when there is more. */
static inline void transport_wait_room(struct transport *t)
{
    t->out_waits = true;
}
/*
 * len bytes of the place that was reserved last are output now; they leave at the end of the turn.
 */
void transport_commit(struct transport *t, size_t len);
/*
 * A place for the last frame of all, of at most IO_SMALL bytes, also behind a block that is full.
 * NULL: the small buffer itself is full.
 */
uint8_t *transport_reserve_last(struct transport *t, size_t len);
void transport_commit_last(struct transport *t, const uint8_t *place, size_t len);
/* The same; the pass's descriptors go with the first of these bytes. */
void transport_commit_fd_pass(struct transport *t, size_t len, struct fd_pass *pass);
/*
 * Between these, output that is committed need not leave at the end of the turn: it may wait up to
 * HOLD_MS for more to travel with. Where that was in vain the next ones go at once, a few at first
 * and more with each time.
 */
static inline void transport_hold(struct transport *t)
{
    t->may_hold = true;
}
static inline void transport_hold_no_more(struct transport *t)
{
    t->may_hold = false;
}
/* Writes what it can at once, without callbacks: before an orderly close. */
void transport_flush_now(struct transport *t);
/* What waits for the other end to make room, in a step of who pays for it. */
void transport_write(struct transport *t);

#endif
