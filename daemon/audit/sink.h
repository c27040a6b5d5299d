/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_AUDIT_SINK_H
#define ASOCKD_AUDIT_SINK_H

/*
 * Where written entries go: the journal's socket, or a file. Neither makes the loop wait; what is
 * not taken stays in the sink's queue, whose bound audit.c keeps.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/entry.h"
#include "daemon/audit/record.h"
#include "daemon/core/loop.h"

struct audit_sink;

struct audit_sink_state {
    uint32_t count;    /* of entries that wait */
    uint64_t bytes;    /* of them */
    uint64_t stuck_ms; /* nothing has been taken for so long, though entries wait */
    uint64_t lost;     /* taken by put(), and given up since */
    bool is_absent;    /* there is nothing that could take them */
};

struct audit_sink_ops {
    enum audit_format format;
    /* The sink owns the record from here on. It goes out with the flush. */
    void (*put)(struct audit_sink *sink, struct audit_record *record);
    /* What can be done without waiting. */
    void (*flush)(struct audit_sink *sink);
    struct audit_sink_state (*state)(struct audit_sink *sink);
    /*
     * Gives up what still waits; a write that does not return is left behind after AUDIT_STOP_MS.
     */
    void (*free)(struct audit_sink *sink);
};

struct audit_sink {
    const struct audit_sink_ops *ops;
};

/* Journal's native protocol, over a datagram socket at path. */
int audit_journal_new(struct worker *w, const char *path, struct audit_sink **ret);

/*
 * Lines of JSON at the end of a regular file, made with mode 0600 if there is none. -errno, and
 * why: it cannot be opened for reading and writing, or it is not a file that root or the daemon's
 * user alone may write. Starts a thread: to be called before the filter of system calls is loaded,
 * which is loaded into all threads.
 */
int audit_file_new(const char *path, struct audit_sink **ret, const char **ret_why);

#endif
