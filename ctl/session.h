/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_SESSION_H
#define CTL_SESSION_H

/* Which of the daemon's sockets to talk to, and what to say when it does not answer. */
#include "ctl/ctl.h"

#include <asock/asock.h>

#define CONTROL_SOCKET "/run/asockd/control.sock"
#define CLIENT_SOCKET "/run/asockd/default/asock.sock" /* the library's default */

struct session {
    asock_context *context;
    const char *path; /* NULL: the library's default */
    bool is_control;
};

/*
 * All of these complain when they fail, and return an exit status, negative: -EXIT_NO_DAEMON,
 * -EXIT_NO_SUCH, or -EXIT_FAILURE.
 */

/* Of an environment variable, as the library sees it: NULL if it is not set, or empty. */
const char *session_environment(const char *name);

/* For connect and run: a client socket. */
int session_open_client(const struct settings *settings, struct session *ret);

/*
 * For list, show, stats: what the command line names, else what the environment names, else root
 * gets the control socket and everybody else a client socket.
 */
int session_open_inspector(const struct settings *settings, struct session *ret);

/* For kill: the control socket, whatever the environment says about a client socket. */
int session_open_control(const struct settings *settings, struct session *ret);

/* Asks. Returns the number of rows. */
int session_inspect(struct session *session, const struct settings *settings, const char *query,
                    asock_record_fn record, void *userdata);

struct records;

/* Acts, and gathers the answer; complains with what the daemon says. */
int session_command(struct session *session, const struct settings *settings, const char *verb,
                    const char *const *args, struct records *ret);

/* As session_inspect(), however long it takes. */
int session_watch(struct session *session, const char *query, asock_record_fn record,
                  void *userdata);

/* In milliseconds, for an answer. */
int session_timeout(const struct settings *settings);
/* The complaint of asock_context_inspect(), where the caller had something to do before it. */
int session_complain(struct session *session, const char *query, int r);

/*
 * Ends a socket or a session. 1: there is none of that id, which is no failure where it may have
 * gone.
 */
int session_kill(struct session *session, const struct settings *settings, const char *id,
                 bool may_be_gone);

/*
 * By these rules, of settings->policy. 1: they are refused, text says why; -1 when there was no
 * answer, after a complaint.
 */
int session_restrict(struct session *session, const struct settings *settings, const char *rules,
                     size_t len, char *text, size_t text_size);

/* The connection, for another program to go on with; complains and returns -1 without an answer. */
int session_detach(struct session *session, const struct settings *settings, int *ret);

/*
 * Waits for the daemon's first word, and takes the time off *timeout_ms (0: none is set); complains
 * when none comes.
 */
int session_await(struct session *session, int *timeout_ms);

/*
 * A listener of its own, by op; complains, with what the daemon says, when there is none. Returns
 * -1 then.
 */
int session_share(struct session *session, const struct settings *settings, asock_op *op);

/* Before the first op: few sockets are wanted, so that many such sessions of a unit find room. */
void session_want_few(struct session *session);

void session_close(struct session *session);

#endif
