/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_SHM_BUFFER_H
#define ASOCKD_SESSION_SHM_BUFFER_H

/* A session's buffers, by id. */
#include <stdbool.h>
#include <stdint.h>

struct op;
struct segments;
struct session;
struct shm_buffer;
struct slices;
struct status_page;

struct session_buffer {
    uint32_t id;            /* never used before in this session */
    struct shm_buffer *shm; /* NULL: the place is free */
    struct op *unregister;  /* completes when the buffer is gone; NULL: none */
    bool goes; /* it came from another process, given back: session_resume_buffers() releases it */
};

/*
 * Has the client fetched enough of the descriptors that were sent, for those of one more buffer?
 * False: it must read first.
 */
bool session_may_pass_buffer(struct session *s, bool with_status);
/*
 * Charges and creates a buffer, and the session's status page if that is wanted; sends neither. 0;
 * -EDQUOT: too many bytes; -EMFILE: too many buffers; -ENOMEM; other -errno.
 */
int session_add_buffer(struct session *s, uint64_t length, bool with_status,
                       struct shm_buffer **ret);
struct session_buffer *session_buffer(struct session *s, uint32_t id); /* NULL: none, given back */
void session_release_buffers(struct session *s); /* all, once the status page is marked */
/* It stays, and stays charged: its user occupies a thread of the process that does it. */
bool session_is_marking(const struct session *s);
void session_drop_status(struct session *s); /* call it when no buffer is left */
void session_empty_step(struct session *s);  /* empties a piece of one released buffer */
/* The same place, also of one that was given back. */
struct session_buffer *session_buffer_at(struct session *s, uint32_t id);

/*
 * From one process to the next (daemon/state/). session_leave_buffers(): another one has them;
 * nothing is marked or emptied. session_restore_*(): charged in any case; fd is the session's if 0
 * is returned. fd -1: its place, which has had that id.
 */
void session_leave_buffers(struct session *s);
int session_restore_buffer(struct session *s, uint32_t id, int fd, uint64_t length);
int session_restore_status(struct session *s, int fd);
void session_resume_buffers(struct session *s);

/* 0; ERR_INVALID_ARGUMENT: one of them is out of its range; ERR_NO_BUFFER_SPACE: no memory. */
int session_take_slices(struct session *s, const struct segments *segments, bool is_credit,
                        struct slices *ret);

#endif
