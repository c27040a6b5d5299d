/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_IMAGE_H
#define ASOCKD_STATE_IMAGE_H

/*
 * A state as bytes: a header, then records (proto/state.proto), each behind its length; and the
 * descriptors that it names. All numbers are little-endian.
 *
 *     offset  0  8 bytes   STATE_MAGIC
 *             8  uint32    format
 *            12  uint32    bytes of the header: a later one may be longer
 *            16  uint64    bytes of all records
 *            24  uint64    checksum of them: FNV-1a, 64 bits
 *            32  uint32    descriptors
 *            36  uint32    records
 *
 * It lies in a sealed memfd that cannot change any more. The reader trusts none of it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/state.pb-c.h"

#define STATE_MAGIC "asockdS\n"
/*
 * Those that are read. What is written has the first that it does with: an older daemon can go on
 * with that.
 */
#define STATE_FORMAT_FIRST 1u
#define STATE_FORMAT_LAST 5u
#define STATE_FORMAT_BOUND 2u     /* from here on: sockets that are bound or listen, and accepts */
#define STATE_FORMAT_SHARED 2u    /* and shared memory */
#define STATE_FORMAT_LINGER 3u    /* closes that go on */
#define STATE_FORMAT_LIST 3u      /* connects to lists of addresses */
#define STATE_FORMAT_ATTEMPT 3u   /* attempts of a connect; an older one begins them again */
#define STATE_FORMAT_DATAGRAMS 3u /* datagram sockets */
#define STATE_FORMAT_SHARING 3u   /* and sessions that share what they have */
#define STATE_FORMAT_DISCONNECT 4u
#define STATE_FORMAT_MISSED 4u /* a side that misses a refused send */
#define STATE_FORMAT_LENT 4u   /* lent sockets, and connects that ask for theirs */
#define STATE_FORMAT_TRAVEL 4u /* and descriptors that go with a session's output */
#define STATE_FORMAT_REPLY 5u  /* lent sockets that go with a reply behind the output */
#define STATE_FORMAT_DRAINS 4u /* draining sockets; an older one does not take them over */
#define STATE_FORMAT_ENDED 5u  /* sessions that have ended; likewise */
#define STATE_HEADER 40u
/* Of all records: what a daemon may hold for its clients is far below. */
#define STATE_BYTES_MAX (UINT64_C(4) << 30)
/* Of one: a session's input, output and replies, or what a send has queued. */
#define STATE_RECORD_MAX (256u << 20)
/* RLIMIT_NOFILE's largest value that a system has by default (fs.nr_open). */
#define STATE_DESCRIPTORS_MAX (1u << 20)

struct state_writer {
    int fd;        /* the memfd; -1: it was sealed */
    uint8_t *data; /* its mapping; the header's place comes first */
    size_t len, cap;
    uint32_t records, format;
    uint32_t most;    /* the last format that its reader knows, as far as that is known */
    int *descriptors; /* not owned */
    uint32_t descriptor_count, descriptor_cap;
    int error; /* the first one, -errno: nothing more is added */
};

int state_writer_init(struct state_writer *w);    /* -ENOMEM, -EMFILE */
void state_writer_deinit(struct state_writer *w); /* also when init has failed */
void state_add(struct state_writer *w, Asockd__State__Record *record);
/* What is added can be read from this format on. */
void state_needs(struct state_writer *w, uint32_t format);
/* An older reader of a take-over refuses descriptors that it does not know. */
static inline bool state_takes_drains(const struct state_writer *w)
{
    return w->most >= STATE_FORMAT_DRAINS;
}
static inline bool state_takes_ended(const struct state_writer *w)
{
    return w->most >= STATE_FORMAT_ENDED;
}
/* The place of a descriptor, as records name it; -1: 0, none. */
uint32_t state_add_descriptor(struct state_writer *w, int fd);
/* The kernel's number of a socket; 0: unknown. */
uint64_t state_cookie(int fd);
/* All of it as bytes, *ret in w's mapping; -errno: what went wrong since it was begun. */
int state_finish(struct state_writer *w, const uint8_t **ret, size_t *ret_len);
/* The sealed memfd, the caller's, or -errno; nothing more can be added. */
int state_seal(struct state_writer *w);

struct state_reader {
    const uint8_t *data;
    size_t len, at;
    uint32_t descriptors, records; /* records: that are left */
    bool is_mapped;
};

/*
 * -EBADMSG: not a state, or damaged; -EPROTONOSUPPORT: of another format. data stays the caller's.
 */
int state_read(struct state_reader *r, const uint8_t *data, size_t len);
/* The same of a memfd; -EPERM: it is not sealed. Other -errno. fd stays the caller's. */
int state_open(struct state_reader *r, int fd);
void state_reader_deinit(struct state_reader *r);
/* The next record, for state_record_free(). 1; 0: there are no more; -EBADMSG, -ENOMEM. */
int state_next(struct state_reader *r, Asockd__State__Record **ret);
void state_record_free(Asockd__State__Record *record); /* accepts NULL */

#endif
