/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_H
#define ASOCK_H

/*
 * libasock: sockets whose network side is in asockd. asock(7) describes the model; each call has a
 * man page.
 *
 * Return values. Unless a comment says otherwise, a call returns 0 or a positive number on success,
 * and a negative errno if the *call* is invalid or cannot be made. The outcome of the *operation*
 * is its result, an enum asock_error. asock_op_get_error() returns it when the op has completed.
 * Nearly every call can return -EINVAL (an argument is missing, out of range, or belongs to another
 * context) and -ECHILD (see Fork).
 *
 * References. Objects are reference-counted. A call whose name ends in _new returns one reference.
 * _ref adds one and returns its argument. _unref drops one, accepts NULL and returns NULL.
 * - A socket, an op, a buffer and a pool hold a reference to their context.
 * - The library holds an op in flight until its callback has returned. Such an op holds its socket,
 *   but not the context.
 *
 * Threads. Without a dispatcher, only one thread at a time may use a context with its sockets and
 * ops. With a dispatcher (asock_context_start_dispatcher()), any thread may make any call except
 * asock_context_process(), which returns -EBUSY. Callbacks run with no lock held.
 *
 * Fork. In a forked child, only the _unref calls work, and they send nothing. All other calls
 * return -ECHILD. The memory of buffers is not mapped in the child.
 *
 * Times are in milliseconds. In an op, a timeout of 0 means "no deadline". In a call that waits,
 * timeout_ms 0 means "do not wait", and -1 means "no limit".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ASOCK_EXPORT __attribute__((visibility("default")))
#else
#define ASOCK_EXPORT
#endif

typedef struct asock_context asock_context; /* a session with the daemon */
typedef struct asock_socket asock_socket;   /* a socket in it */
typedef struct asock_op asock_op;           /* a reusable operation object */
typedef struct asock_buffer asock_buffer;   /* memory shared with the daemon */
typedef struct asock_pool asock_pool;       /* slices of a buffer, for multishot receives */

/* The names of .NET's SocketError. The numbers are part of the protocol and do not change. */
enum asock_error {
    ASOCK_SUCCESS = 0,
    ASOCK_OPERATION_ABORTED = 1,
    ASOCK_TIMED_OUT = 2,
    ASOCK_CONNECTION_REFUSED = 3,
    ASOCK_CONNECTION_RESET = 4,
    ASOCK_CONNECTION_ABORTED = 5,
    ASOCK_NETWORK_UNREACHABLE = 6,
    ASOCK_HOST_UNREACHABLE = 7,
    ASOCK_HOST_NOT_FOUND = 8,
    ASOCK_NO_DATA = 9,
    ASOCK_TRY_AGAIN = 10,
    ASOCK_NO_RECOVERY = 11,
    ASOCK_ACCESS_DENIED = 12,
    ASOCK_IS_CONNECTED = 13,
    ASOCK_ALREADY_IN_PROGRESS = 14,
    ASOCK_NOT_CONNECTED = 15,
    ASOCK_SHUTDOWN = 16,
    ASOCK_INVALID_ARGUMENT = 17,
    ASOCK_NOT_SOCKET = 18,
    ASOCK_OPERATION_NOT_SUPPORTED = 19,
    ASOCK_NO_BUFFER_SPACE = 20,
    ASOCK_TOO_MANY_OPEN_SOCKETS = 21,
    ASOCK_ADDRESS_NOT_AVAILABLE = 22,
    ASOCK_ADDRESS_ALREADY_IN_USE = 23,
    ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED = 24,
    ASOCK_PROTOCOL_OPTION = 25,
    ASOCK_PROTOCOL_NOT_SUPPORTED = 26,
    ASOCK_SOCKET_NOT_SUPPORTED = 27,
    ASOCK_NETWORK_DOWN = 28,
    ASOCK_NETWORK_RESET = 29,
    ASOCK_HOST_DOWN = 30,
    ASOCK_MESSAGE_SIZE = 31,
    ASOCK_FAULT = 32,
    ASOCK_PROTOCOL_ERROR = 33,
    ASOCK_VERSION_NOT_SUPPORTED = 34,
    ASOCK_SOCKET_ERROR = 35,
    ASOCK_NOT_FOUND = 36
};

/* Static strings, never NULL, for any number. Any thread may call these. */
ASOCK_EXPORT const char *asock_strerror(int error);   /* a text for people */
ASOCK_EXPORT const char *asock_error_name(int error); /* SocketError's name, "ConnectionRefused" */
ASOCK_EXPORT int asock_error_errno(int error);        /* the positive errno nearest to it */

/* "MAJOR.MINOR.PATCH" of the library that is running. Static. */
ASOCK_EXPORT const char *asock_version(void);

/* ---------------------------------------------------------------------------------- context */

/*
 * Connects to the daemon's socket at path. If path is NULL, uses the inherited connection in
 * ASOCK_FD, else the socket at the path in ASOCK_SOCKET, else the system's socket. Does not wait
 * for the daemon's answer. An ASOCK_FD serves one context of one program. Errors are those of
 * connect(2) and:
 *   -EINVAL        path is ""; ASOCK_FD is not a number or not a connected Unix stream socket
 *   -ENAMETOOLONG
 *   -ENOMEM
 *   -EAGAIN        the daemon's queue of connections was full for 2 seconds
 *   -EBADF         ASOCK_FD is not open
 *   -EBUSY         ASOCK_FD is in use: it is already close-on-exec
 */
ASOCK_EXPORT int asock_context_new(const char *path, asock_context **ret);

/*
 * The same, over a connected stream socket of the caller. On success the context owns fd and makes
 * it non-blocking. -EINVAL: fd is not a connected Unix stream socket.
 */
ASOCK_EXPORT int asock_context_new_fd(int fd, asock_context **ret);

ASOCK_EXPORT asock_context *asock_context_ref(asock_context *context);
/*
 * Dropping the last reference ends the connection: ops in flight end without a callback, and their
 * sockets are closed.
 */
ASOCK_EXPORT asock_context *asock_context_unref(asock_context *context);

/*
 * Sets a label for people, which asockctl list shows: at most 64 bytes of UTF-8 without control
 * characters. -EINVAL: any other label. -EBUSY: an op has been submitted already.
 */
ASOCK_EXPORT int asock_context_set_name(asock_context *context, const char *name);

/*
 * set: how much to reserve from the start, and the most that the library asks for. -EBUSY: an op
 * has been submitted already. 0 stands for the minimum, which the library raises up to the daemon's
 * limit when something needs more.
 * get: the most that the session may have. -EAGAIN until the daemon's welcome has been processed.
 */
enum asock_limit {
    ASOCK_LIMIT_SOCKETS = 1,     /* sockets open at a time */
    ASOCK_LIMIT_OPS = 2,         /* ops outstanding in the daemon; more wait in the library */
    ASOCK_LIMIT_SOCKET_OPS = 3,  /* the same per socket; read only */
    ASOCK_LIMIT_SEND_WINDOW = 4, /* bytes outstanding in the daemon per socket */
    ASOCK_LIMIT_QUEUED = 5,      /* bytes outstanding in the daemon */
    ASOCK_LIMIT_PAYLOAD = 6,     /* bytes in a frame; read only */
    /* Read only. Less may be available if others use much. */
    ASOCK_LIMIT_SHARED_MEMORY = 7,  /* bytes of memory shared with the daemon */
    ASOCK_LIMIT_KERNEL_BUFFERS = 8, /* bytes to which kernel buffers of sockets may grow */
    ASOCK_LIMIT_LINGERS = 9,        /* sockets whose close is in progress */
    ASOCK_LIMIT_RESOLUTIONS = 10,   /* outstanding name queries; a connect by name sends two */
    ASOCK_LIMIT_CONNECTS_PER_SECOND = 11, /* 0: no limit */
    ASOCK_LIMIT_BUFFERS = 12              /* buffers at a time */
};
ASOCK_EXPORT int asock_context_set_limit(asock_context *context, enum asock_limit limit,
                                         uint64_t value);
ASOCK_EXPORT int asock_context_get_limit(asock_context *context, enum asock_limit limit,
                                         uint64_t *ret);

/*
 * For an event loop: poll get_fd() for get_events() (POLLIN, POLLOUT) for at most get_timeout()
 * milliseconds (-1: no limit; 0: completions are queued), then call asock_context_process(). Call
 * get_events() and get_timeout() before every poll.
 *
 * The descriptor is not the connection. It stays open and the same until the context is freed.
 * While there is no session, it is never ready and get_events() returns 0.
 *
 * These calls return no errno. Without a context, and in a forked child, they return -1, 0 and -1.
 * get_fd() also returns -1 if the process has no descriptor left.
 */
ASOCK_EXPORT int asock_context_get_fd(asock_context *context);
ASOCK_EXPORT int asock_context_get_events(asock_context *context);
ASOCK_EXPORT int asock_context_get_timeout(asock_context *context);
/*
 * Writes, reads and runs callbacks. Never blocks. Returns the number of callbacks that it ran.
 * Completions that callbacks add wait for the next call. Loss of the daemon is not an error of this
 * call: every op ends with ASOCK_CONNECTION_ABORTED. Errors:
 *   -EBUSY    a dispatcher is running
 *   -EDEADLK  called in a callback
 */
ASOCK_EXPORT int asock_context_process(asock_context *context);
/*
 * Writes as much of what is queued as the daemon accepts. Runs no callbacks. Returns 0 if all of it
 * was written, and 1 if some of it waits.
 */
ASOCK_EXPORT int asock_context_flush(asock_context *context);

/*
 * Starts a thread of the library that runs the callbacks. The thread blocks all signals except
 * those of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS). Errors:
 *   -EBUSY    it is running already
 *   -EDEADLK  called in a callback
 */
ASOCK_EXPORT int asock_context_start_dispatcher(asock_context *context);
/* Stops the thread and waits for it. -EDEADLK: called in a callback. -ENOENT: none is running. */
ASOCK_EXPORT int asock_context_stop_dispatcher(asock_context *context);

/*
 * How long after an op's deadline the daemon may take to report the end of the op. The default is
 * 10000; 0 means any time. Choose more than a restart of the daemon takes. Applies to ops that are
 * sent to the daemon from now on.
 * - After half of this time, the library cancels the op. It ends with ASOCK_TIMED_OUT, or, if it is
 *   a send of which nothing was sent, with ASOCK_OPERATION_ABORTED.
 * - After all of it, the library assumes that the daemon hangs. The op ends with ASOCK_TIMED_OUT
 *   and 0 bytes, although some may have been transferred. The session ends, and every other op ends
 *   with ASOCK_CONNECTION_ABORTED. Buffers keep their contents, and are no longer shared.
 * The deadline of a close is the end of its linger time; without a linger time, it is the call.
 * The deadline of a cancelled op is the call of asock_cancel().
 */
ASOCK_EXPORT int asock_context_set_grace_ms(asock_context *context, unsigned int grace_ms);

/*
 * on: submitting never returns 0, so every op completes through its callback or a wait. Off by
 * default.
 */
ASOCK_EXPORT int asock_context_set_always_pending(asock_context *context, bool on);

/*
 * 0 while the session lasts; otherwise an enum asock_error that says why it ended: the daemon's
 * reason, or
 *   ASOCK_CONNECTION_ABORTED  the connection to the daemon was lost
 *   ASOCK_PROTOCOL_ERROR      the daemon broke the protocol
 *   ASOCK_TIMED_OUT           the daemon did not answer (asock_context_set_grace_ms())
 */
ASOCK_EXPORT int asock_context_get_error(asock_context *context);
/*
 * The same, with the daemon's explanation for people: text gets at most text_size bytes, including
 * a NUL. It is empty while the session lasts, and if the daemon gave no explanation. text may be
 * NULL if text_size is 0.
 */
ASOCK_EXPORT int asock_context_get_error_text(asock_context *context, char *text, size_t text_size);

/*
 * After the daemon was lost: connects again, to the same path. You can then submit ops on new
 * sockets; old sockets stay dead. Other threads can use the context during the call, which may take
 * as long as asock_context_new(). Errors are those of asock_context_new() and:
 *   -EBUSY       the session still lasts, another thread is reconnecting, or ops wait for their
 *                callbacks
 *   -EOPNOTSUPP  the context was made from a descriptor
 *   -ESHUTDOWN   its last reference is gone
 */
ASOCK_EXPORT int asock_context_reconnect(asock_context *context);

/*
 * Takes the connection out of the context, to pass it to another program (its ASOCK_FD). Until
 * then, the context may only have been named, restricted and given limits. Waits for the daemon's
 * welcome. The caller owns *ret, which is close-on-exec and non-blocking. Afterwards the context is
 * like one whose session has ended. Errors:
 *   -EBUSY         there is a socket, an op was submitted, or a dispatcher is running
 *   -ETIMEDOUT
 *   -ECONNABORTED
 *   -EMFILE
 */
ASOCK_EXPORT int asock_context_detach_fd(asock_context *context, int timeout_ms, int *ret);

/*
 * Permanently narrows what the session may reach, for every holder of the connection. rules is a
 * policy file as in asockd.policy(5) with only a [Rules] section. After success, a connect is
 * allowed only if these rules, all earlier ones and the administrator's rules allow it. Connects in
 * progress that the rules do not allow end with ASOCK_ACCESS_DENIED. Established connections
 * continue. You can make this call before you set a name and limits. It waits like
 * asock_context_inspect(). Errors:
 *   -EINVAL        the rules are invalid; text (may be NULL if text_size is 0) gets the daemon's
 *                  message, such as "line 2: ...", cut to text_size - 1 bytes
 *   -ENOBUFS       too many rules in this session
 *   -EMSGSIZE      the rules are longer than a frame
 *   -ETIMEDOUT     the rules may or may not apply
 *   -EOPNOTSUPP    this is the control socket
 *   -ECONNABORTED
 *   -ENOMEM
 *   -EDEADLK       called in a callback
 */
ASOCK_EXPORT int asock_context_restrict(asock_context *context, const char *rules, size_t len,
                                        int timeout_ms, char *text, size_t text_size);

/* --------------------------------------------------------------------------------- inspection */

/* A value of a record: text, or, if text is NULL, number. Valid during the callback. */
struct asock_field {
    const char *name;
    const char *text;
    int64_t number;
};

typedef void (*asock_record_fn)(const struct asock_field *fields, size_t count, void *userdata);

/*
 * Asks the daemon, and calls record once for each row of the answer. No other callback runs.
 * Returns the number of rows. On a client socket the answer is about this session only; on the
 * control socket it is about all sessions. query is one of
 *   "list"      a row for each socket
 *   "show ID"   everything about one row of "list"; "show" or "show 0": this session
 *   "stats"     counters
 *   "sessions"  a row for each session
 * and, on the control socket only,
 *   "learned"   what learn mode has seen
 *   "denials"   what was denied within the last hour
 *   "monitor"   waits for an event, then a row for each event since the last "monitor"; see the man
 *               page
 *   "metrics"   a row for each counter or histogram; an older daemon answers as to "stats"
 * Errors:
 *   -EINVAL        the query is not one of these
 *   -EOPNOTSUPP    this is not the control socket, or the daemon is older than the query
 *   -ESRCH         there is no such ID
 *   -EDEADLK       called in a callback
 *   -ETIMEDOUT
 *   -ECONNABORTED
 */
ASOCK_EXPORT int asock_context_inspect(asock_context *context, const char *query,
                                       asock_record_fn record, void *userdata, int timeout_ms);

/*
 * Makes the daemon act, on the control socket. verb and args are
 *   "kill"      the ID of a socket or a session
 *   "reload"    nothing, or "close"
 *   "listener"  "add", NAME and FD, or "remove" and NAME
 *   "judge"     texts "name=value"; see the man page
 * args ends with NULL, or is NULL. record (may be NULL) is called once for each row of the answer.
 * If the daemon explains a failure, record gets a row with a field "error". Waits, threads and
 * errors are those of asock_context_inspect(), with
 *   -EINVAL      the verb is not one of these, or the daemon does not accept the arguments
 *   -EOPNOTSUPP  this is not the control socket
 */
ASOCK_EXPORT int asock_context_control(asock_context *context, const char *verb,
                                       const char *const *args, asock_record_fn record,
                                       void *userdata, int timeout_ms);

/* ------------------------------------------------------------------------------------- sockets */

/*
 * Creates a TCP socket. family: AF_INET, AF_INET6, or AF_UNSPEC for the family of the address that
 * it is used with. The call does not ask the daemon. If the daemon has no room for the socket, the
 * socket's ops end with ASOCK_TOO_MANY_OPEN_SOCKETS. Errors:
 *   -EAFNOSUPPORT  any other family
 *   -EMFILE        the session's limit on sockets is reached; before the daemon's welcome, the
 *                  limit is not known, and the ops of the socket fail instead
 *   -ENOMEM
 *   -ENOTCONN      the session has ended
 */
ASOCK_EXPORT int asock_socket_new(asock_context *context, int family, asock_socket **ret);
/*
 * Creates a UDP socket; otherwise like asock_socket_new(). With AF_UNSPEC, the first address that
 * the socket sends or connects to determines the family. Each op moves one datagram. If the daemon
 * does not support UDP, the socket's ops end with ASOCK_SOCKET_NOT_SUPPORTED. Since: 0.1.0
 */
ASOCK_EXPORT int asock_socket_new_udp(asock_context *context, int family, asock_socket **ret);
ASOCK_EXPORT asock_socket *asock_socket_ref(asock_socket *socket);
/*
 * Dropping the last reference closes the socket, like asock_close() with a linger time of 0. An op
 * in flight holds a reference, so a pending receive keeps the connection open. To end both, first
 * call asock_close() without an op.
 */
ASOCK_EXPORT asock_socket *asock_socket_unref(asock_socket *socket);
ASOCK_EXPORT asock_context *asock_socket_get_context(asock_socket *socket); /* borrowed */
/* The id in the protocol and in asockctl. 0: the socket is closed, or has no id yet. */
ASOCK_EXPORT unsigned int asock_socket_get_id(asock_socket *socket);
/*
 * The local and the peer's address of a socket that has connected, also after it was closed, but
 * not after asock_disconnect(). Returns as asock_op_get_local().
 */
ASOCK_EXPORT int asock_socket_get_local(asock_socket *socket, struct sockaddr_storage *ret);
ASOCK_EXPORT int asock_socket_get_remote(asock_socket *socket, struct sockaddr_storage *ret);
/*
 * Returns 1 if a connect or an accept has made a connection, and no operation has reported its end
 * yet; otherwise 0. The library does not ask the daemon, so only the next operation notices a peer
 * that has closed or vanished; asock_await_hangup() is one. The connection counts as ended after
 * - an operation that ended with ASOCK_CONNECTION_RESET or ASOCK_CONNECTION_ABORTED;
 * - success of asock_await_hangup(), or of asock_shutdown() of both directions;
 * - asock_close(), asock_disconnect(), or a kill by the administrator.
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_socket_is_connected(asock_socket *socket);
ASOCK_EXPORT int asock_socket_set_userdata(asock_socket *socket, void *userdata);
ASOCK_EXPORT void *asock_socket_get_userdata(asock_socket *socket);

/* ---------------------------------------------------------------------------- operation objects */

typedef void (*asock_callback)(asock_op *op, void *userdata);

ASOCK_EXPORT int asock_op_new(asock_context *context, asock_op **ret);
ASOCK_EXPORT asock_op *asock_op_ref(asock_op *op);
/* An op in flight still completes; its callback runs, and then it is freed. */
ASOCK_EXPORT asock_op *asock_op_unref(asock_op *op);

/*
 * Setters. Each setting lasts until you change it. -EBUSY: the op is in flight.
 *
 * Until the op has completed, its buffers must not be freed, and memory that it sends must not
 * change. set_buffer and set_buffers replace each other. The list is copied, the bytes are not.
 * Segments of length 0 are allowed. -EINVAL: NULL with a length, or a total over SSIZE_MAX.
 */
ASOCK_EXPORT int asock_op_set_callback(asock_op *op, asock_callback callback, void *userdata);
ASOCK_EXPORT int asock_op_set_buffer(asock_op *op, void *data, size_t len);
ASOCK_EXPORT int asock_op_set_buffers(asock_op *op, const struct iovec *list, size_t count);
/* Where to connect to. set_endpoint and set_host replace each other, and copy their arguments. */
ASOCK_EXPORT int asock_op_set_endpoint(asock_op *op, const struct sockaddr *addr, socklen_t len);
/*
 * Adds an address to that of set_endpoint. asock_connect() then tries all of them, as it tries the
 * addresses of a name. Errors:
 *   -EINVAL  set_endpoint was not called, or with another port
 *   -E2BIG   31 were added already
 *   -ENOMEM
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_add_endpoint(asock_op *op, const struct sockaddr *addr, socklen_t len);
/*
 * host: a name, or an address as text, 1 to 253 bytes. service: a decimal port or a name, 1 to 32
 * bytes.
 */
ASOCK_EXPORT int asock_op_set_host(asock_op *op, const char *host, const char *service);
/* Starts at submission. 0: none. A close ignores it. */
ASOCK_EXPORT int asock_op_set_timeout(asock_op *op, unsigned int timeout_ms);

enum asock_op_flag {
    ASOCK_PEEK = 1, /* receive: leave the data in the stream; at most ASOCK_LIMIT_PAYLOAD bytes */
    ASOCK_WAIT_ALL = 2, /* receive: complete only when full, or at end of stream, error, timeout */
    /*
     * send, set_option: success need not be reported at once. It is reported
     * - when a later send or shutdown(send) of the socket succeeds (set_option: when a later
     *   set_option or get_option ends);
     * - at a close;
     * - when asock_op_wait() waits for the op;
     * - when the program drops its last reference to the socket.
     */
    ASOCK_ERRORS_ONLY = 4,
    /*
     * connect: lend the connected socket itself to the program, see asock_op_take_fd(). At most one
     * of the three. Since: 0.1.0
     * share, with ASOCK_LEND: if this session may ask for lending, so may the sessions that connect
     * to the listener.
     */
    ASOCK_LEND = 8,            /* held: the daemon keeps the connection too, and can end it */
    ASOCK_LEND_GIVEN = 16,     /* given: the connection belongs to the program alone */
    ASOCK_LEND_IF_ALLOWED = 32 /* held if policy allows it, otherwise an ordinary socket */
};
/* -EINVAL: an unknown flag, or two kinds of lending. */
ASOCK_EXPORT int asock_op_set_flags(asock_op *op, unsigned int flags);

/*
 * Results are valid from completion until the op is submitted again. For an op that is in flight or
 * was never submitted, these calls return 0, NULL or -EINPROGRESS, whichever fits the type.
 */
enum asock_operation {
    ASOCK_OPERATION_NONE = 0,
    ASOCK_OPERATION_CONNECT = 1,
    ASOCK_OPERATION_SEND = 2,
    ASOCK_OPERATION_RECEIVE = 3,
    ASOCK_OPERATION_SHUTDOWN = 4,
    ASOCK_OPERATION_CLOSE = 5,
    ASOCK_OPERATION_SET_OPTION = 6,
    ASOCK_OPERATION_GET_OPTION = 7,
    ASOCK_OPERATION_SYNC = 8,
    ASOCK_OPERATION_RESOLVE = 9,
    ASOCK_OPERATION_HANGUP = 10,
    ASOCK_OPERATION_SHARE = 11,
    ASOCK_OPERATION_BIND = 12,
    ASOCK_OPERATION_LISTEN = 13,
    ASOCK_OPERATION_ACCEPT = 14,
    ASOCK_OPERATION_DISCONNECT = 15
};
ASOCK_EXPORT enum asock_operation asock_op_get_operation(asock_op *op); /* the last submitted */
/* In flight, or completed but its callback has yet to run. It cannot be submitted. */
ASOCK_EXPORT bool asock_op_is_pending(asock_op *op);
/* An enum asock_error. -EINPROGRESS: the op is pending. */
ASOCK_EXPORT int asock_op_get_error(asock_op *op);
ASOCK_EXPORT uint64_t asock_op_get_bytes(asock_op *op);

enum asock_result_flag {
    ASOCK_END_OF_STREAM = 1, /* receive: the peer sends no more */
    ASOCK_MORE = 2,          /* multishot: this is not its last callback */
    ASOCK_TRUNCATED = 4      /* receive: the datagram did not fit; the rest of it is lost */
};
ASOCK_EXPORT unsigned int asock_op_get_result_flags(asock_op *op);
/*
 * The socket of the last submission, which may be closed. Borrowed: valid until the op is submitted
 * again or freed.
 */
ASOCK_EXPORT asock_socket *asock_op_get_socket(asock_op *op);
ASOCK_EXPORT void *asock_op_get_userdata(asock_op *op);
/*
 * After a connect: the socket's own address and the peer's. After the receive of a datagram: the
 * address that it was sent to, and its sender's. Returns the length of the address. -ENODATA: there
 * is none.
 */
ASOCK_EXPORT int asock_op_get_local(asock_op *op, struct sockaddr_storage *ret);
ASOCK_EXPORT int asock_op_get_remote(asock_op *op, struct sockaddr_storage *ret);
/* About a received datagram. */
struct asock_datagram {
    size_t length;              /* its bytes; with ASOCK_TRUNCATED, more than were received */
    unsigned int interface;     /* index of the interface that it arrived by; 0: unknown */
    unsigned int traffic_class; /* type of service or traffic class, 0 to 255; lower 2 bits: ECN */
    uint32_t dropped;           /* by the kernel for lack of room, of this socket so far */
    uint32_t refused;           /* by the daemon because of policy, of this socket so far */
    size_t segment_size;  /* ASOCK_OPTION_COALESCE: of each but the last; 0: it is one datagram */
    uint64_t reserved[3]; /* 0 */
};
/*
 * After a receive of a datagram, in a callback of a multishot receive of datagrams, and after
 * asock_receive_next(). Returns 0, also for an empty datagram. -ENODATA: no datagram was received.
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_get_datagram(asock_op *op, struct asock_datagram *ret);
/* After a failed connect by name: the resolver's error, or that of the last attempt. */
ASOCK_EXPORT int asock_op_get_connect_error(asock_op *op);
/*
 * After a resolve: the number of addresses of the name, 1 to ASOCK_ADDRESSES_MAX. After anything
 * else: 0. Since: 0.1.0
 */
#define ASOCK_ADDRESSES_MAX 64
ASOCK_EXPORT unsigned int asock_op_get_address_count(asock_op *op);
/*
 * One of these addresses, with port 0. A connect by name tries index 0 first. Returns its length.
 * -ENODATA: there is no such index. Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_get_address(asock_op *op, unsigned int index,
                                      struct sockaddr_storage *ret);
/* After get_option. -ENODATA: there is no value. */
ASOCK_EXPORT int asock_op_get_value(asock_op *op, int64_t *ret);
/*
 * The daemon's explanation of a failure for people, or NULL. Valid until the op is submitted again.
 */
ASOCK_EXPORT const char *asock_op_get_text(asock_op *op);
/*
 * After a share: the directory of the new listener, or NULL. Valid until the op is submitted again.
 * Since: 0.1.0
 */
ASOCK_EXPORT const char *asock_op_get_directory(asock_op *op);

/*
 * After a connect with ASOCK_LEND, ASOCK_LEND_GIVEN or ASOCK_LEND_IF_ALLOWED: returns the
 * descriptor of the connected socket, non-blocking and close-on-exec. The caller owns it. If you do
 * not take it, it is closed when the op is submitted again or freed. Errors:
 *   -ENODATA      there is none, or it was taken before
 *   -EINPROGRESS  the op is pending
 * Since: 0.1.0
 *
 * The asock_socket remains. Ops on it end with ASOCK_INVALID_ARGUMENT, except asock_close() and, if
 * the socket is held, asock_get_option().
 * - held: asock_close(), or dropping the last reference, sends FIN after what was written, and then
 *   ends the connection for every holder of a descriptor. close(2) of the descriptor alone sends
 *   nothing.
 * - given: close(2) ends the connection. You can close the asock_socket at once, which ends
 *   nothing.
 */
ASOCK_EXPORT int asock_op_take_fd(asock_op *op);

/* ---------------------------------------------------------------------------------- submitting
 *
 * Each of these calls returns
 *   1        pending: the op's callback runs later, and asock_op_wait() waits for the op
 *   0        completed already: the results are readable, and no callback runs
 *   -EBUSY   rejected: the op is in flight, or its callback has not returned (the callback itself
 *            may submit it)
 *   -EINVAL  rejected: an argument is missing, or belongs to another context
 *   -ECHILD  rejected: called in a forked child
 * After a rejection nothing has happened. A socket in the wrong state is no reason to reject the
 * call: the op then ends with an error.
 *
 * Submitting queues the op. Its bytes are sent to the daemon in asock_context_process(),
 * asock_context_flush(), asock_op_wait(), the dispatcher, or when 64 KiB are queued.
 */
/*
 * If the op has a buffer, its bytes are sent first, and the op completes when the kernel has
 * accepted all of them. ASOCK_MESSAGE_SIZE: more than ASOCK_LIMIT_PAYLOAD bytes.
 */
ASOCK_EXPORT int asock_connect(asock_socket *socket, asock_op *op);
/* Completes when the kernel has accepted all bytes. */
ASOCK_EXPORT int asock_send(asock_socket *socket, asock_op *op);
/*
 * Sends the op's buffers, if it has any, then a region of a file, then the trailer, as one send:
 * nothing comes in between, and there is one completion. The library reads up to 128 KiB at a time,
 * in this call and wherever bytes are sent. A read that waits for the disk delays the whole
 * context.
 *   fd       a regular file, open for reading; the library keeps a duplicate, and the file's own
 *            position does not change
 *   offset   in bytes
 *   length   in bytes; 0: up to the present end of the file
 *   trailer  trailer_len bytes, which must not change until the op has completed; or NULL
 * More errors:
 *   -EINVAL  not a regular file, or it does not contain the whole region
 *   -EBADF
 *   -ENOMEM
 *   -EMFILE
 * Results are those of asock_send(), and
 *   ASOCK_FAULT                    the file became shorter, or could not be read; the sending side
 *                                  is closed
 *   ASOCK_OPERATION_NOT_SUPPORTED  this is a datagram socket
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_send_file(asock_socket *socket, asock_op *op, int fd, uint64_t offset,
                                 uint64_t length, const void *trailer, size_t trailer_len);
/*
 * Sends all bytes of the op (there may be none) as one datagram to the op's endpoint
 * (asock_op_set_endpoint()). Completes when the kernel has accepted it. An error affects only this
 * datagram. -EINVAL, too: the op has no endpoint. Results:
 *   ASOCK_ACCESS_DENIED            policy, which judges each datagram, denies it
 *   ASOCK_MESSAGE_SIZE             it is longer than a datagram can be
 *   ASOCK_IS_CONNECTED             the socket has a peer; asock_send() sends to it
 *   ASOCK_OPERATION_NOT_SUPPORTED  this is not a datagram socket
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_send_to(asock_socket *socket, asock_op *op);
/*
 * Settings for the datagrams of the op's later sends; a stream ignores them.
 *   ecn           the two ECN bits, 1 to 3; 0: those of ASOCK_OPTION_TRAFFIC_CLASS
 *   segment size  the op's bytes are sent as up to 64 datagrams of this size, of which the last may
 *                 be shorter; 0: as one datagram
 *   source        the local address that they come from; its port is ignored. NULL: the socket's
 *                 own address, or the kernel's choice. A socket that is bound to all addresses may
 *                 use any address of the host, any other socket only its own
 * Results of the send:
 *   ASOCK_MESSAGE_SIZE                  more than 64 datagrams, more than 65507 bytes in total, or
 *                                       a datagram that is too long for the network
 *   ASOCK_ACCESS_DENIED                 the socket may not use this source
 *   ASOCK_ADDRESS_NOT_AVAILABLE,
 *   ASOCK_NETWORK_UNREACHABLE (IPv4)    the host does not have the source address
 *   ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED  the source is not of the destination's family
 *   ASOCK_OPERATION_NOT_SUPPORTED       the daemon is older than these calls
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_set_ecn(asock_op *op, unsigned int ecn);
ASOCK_EXPORT int asock_op_set_segment_size(asock_op *op, size_t bytes);
ASOCK_EXPORT int asock_op_set_source(asock_op *op, const struct sockaddr *source, socklen_t len);
/*
 * Completes with at least 1 byte, or with 0 bytes and ASOCK_END_OF_STREAM. With an empty buffer it
 * waits until the socket is readable.
 */
ASOCK_EXPORT int asock_receive(asock_socket *socket, asock_op *op);
/*
 * Completes with one datagram. asock_op_get_remote() and asock_op_get_datagram() say where it came
 * from. An empty datagram has 0 bytes and is not an end of stream. Bytes that do not fit are lost
 * (ASOCK_TRUNCATED). You can submit it before the first send. Results:
 *   ASOCK_CONNECTION_REFUSED,
 *   ASOCK_HOST_UNREACHABLE, ...    the network reported this for a connected socket, which stays
 *                                  usable
 *   ASOCK_OPERATION_NOT_SUPPORTED  this is not a datagram socket
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_receive_from(asock_socket *socket, asock_op *op);

enum asock_how {
    ASOCK_SHUTDOWN_RECEIVE = 1,
    ASOCK_SHUTDOWN_SEND = 2, /* FIN after the last queued send */
    ASOCK_SHUTDOWN_BOTH = 3
};
ASOCK_EXPORT int asock_shutdown(asock_socket *socket, asock_op *op, enum asock_how how);
/*
 * Ends the connection, like asock_close(), but keeps the socket: it can connect or bind again and
 * has the options that were set. It waits for a connect in progress and for the sends that were
 * submitted before it; then all other ops of the connection end with ASOCK_OPERATION_ABORTED, this
 * one last. Submit nothing for the next connection before. A linger time (ASOCK_OPTION_LINGER) does
 * not make it wait. A datagram socket loses its peer and its port. Results:
 *   ASOCK_SUCCESS                  the connection has ended: FIN follows everything that was sent
 *   ASOCK_CONNECTION_RESET         the connection has ended with a reset: a send failed before, the
 *                                  connection was lost, or ASOCK_OPTION_LINGER is 0
 * After any other result the connection is as it was:
 *   ASOCK_NOT_CONNECTED            no connect was submitted, or the socket is bound
 *   ASOCK_ALREADY_IN_PROGRESS      the socket has one already
 *   ASOCK_OPERATION_ABORTED        the connect or a send before it failed, or the op was cancelled
 *   ASOCK_TIMED_OUT                the op's timeout expired before its turn
 *   ASOCK_INVALID_ARGUMENT         the socket is lent
 *   ASOCK_NO_BUFFER_SPACE          there is no memory for it
 *   ASOCK_OPERATION_NOT_SUPPORTED  the daemon is older than this call
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_disconnect(asock_socket *socket, asock_op *op);

/*
 * Completes when the connection is over for both sides, whatever else is pending. It consumes
 * nothing: bytes that have arrived can still be received. It waits for a connect that was submitted
 * before it. Like a pending receive, it keeps the socket open. Results:
 *   ASOCK_SUCCESS                  both sides have ended their streams
 *   ASOCK_CONNECTION_RESET, ...    the error that ended the connection
 *   ASOCK_TIMED_OUT                the connection timed out; without a text: the op's own timeout
 *   ASOCK_ALREADY_IN_PROGRESS      the socket has one already
 *   ASOCK_OPERATION_NOT_SUPPORTED  the daemon is older than this call
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_await_hangup(asock_socket *socket, asock_op *op);

/*
 * Binds the socket to the local address of asock_op_set_endpoint(). If its port is 0, the kernel
 * chooses a port. After success asock_op_get_local() and asock_socket_get_local() return the bound
 * address. A bound socket can listen, but not connect. A bound datagram socket receives and
 * answers; it must not have sent before. -EINVAL, too: the op has no endpoint. Results:
 *   ASOCK_INVALID_ARGUMENT              the socket is bound already, or was connected
 *   ASOCK_ACCESS_DENIED                 policy has no Listen= rule for it (asock_op_get_text() says
 *                                       more), or the port is below 1024 and the daemon may not
 *                                       bind it
 *   ASOCK_ADDRESS_ALREADY_IN_USE
 *   ASOCK_ADDRESS_NOT_AVAILABLE         the host does not have the address
 *   ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED  the address is not of the socket's family
 *   ASOCK_NO_BUFFER_SPACE               there is no room for the socket
 *   ASOCK_OPERATION_NOT_SUPPORTED       the daemon is older than this call (also for listen and
 *                                       accept)
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_bind(asock_socket *socket, asock_op *op);
/*
 * Makes a bound socket listen. Up to `backlog` connections wait in the kernel for asock_accept(),
 * at most 256; 0 stands for 128. The system has a limit of its own. Another call changes the
 * backlog. -EINVAL, too: a negative backlog. Results:
 *   ASOCK_INVALID_ARGUMENT  the socket is not bound
 *   ASOCK_NO_BUFFER_SPACE   there is no room for the buffers of the waiting connections
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_listen(asock_socket *socket, asock_op *op, int backlog);
/*
 * Completes with one connection to a listening socket. asock_op_take_socket() returns the socket of
 * the connection, asock_op_get_local() and asock_op_get_remote() its endpoints. Several accepts may
 * be pending; they complete in the order of submission. Results:
 *   ASOCK_INVALID_ARGUMENT       the socket is not listening
 *   ASOCK_TOO_MANY_OPEN_SOCKETS,
 *   ASOCK_NO_BUFFER_SPACE        there is no room for a socket; the connection continues to wait
 *   ASOCK_OPERATION_ABORTED      the op was cancelled, or the listener was closed
 *   ASOCK_ACCESS_DENIED          policy no longer allows the listener
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_accept(asock_socket *socket, asock_op *op);
/*
 * Accepts one connection after the other, until it ends with an error, as asock_accept() does.
 * - The callback runs once for each connection, with ASOCK_MORE in the result flags.
 *   asock_op_take_socket() returns the connection's socket; if the callback does not take it, it is
 *   closed. The endpoints are those of the connection.
 * - The callback runs a last time, without the flag, when the operation has ended.
 * - If the session has no room for another socket, the operation waits until one of its sockets is
 *   closed, and connections wait in the kernel. If the session has no socket other than the
 *   listener, the operation ends with ASOCK_TOO_MANY_OPEN_SOCKETS.
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_accept_multishot(asock_socket *socket, asock_op *op);
/*
 * Waits until a multishot accept without a callback has a connection. Returns
 *   1           *ret is the connection's socket, with a reference that the caller owns
 *   0           the accept has ended, and no connection is left
 *   -ETIMEDOUT
 *   -EDEADLK    as asock_op_wait()
 *   -EINVAL     the op is not a multishot accept, or it has a callback
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_accept_next(asock_op *op, int timeout_ms, asock_socket **ret);
/*
 * After an accept, or in a callback of a multishot accept: returns the new, connected socket, with
 * a reference that the caller owns. Returns NULL if it was taken already, and after any other
 * operation. A socket that is not taken is closed when the op is submitted again or freed.
 * Since: 0.1.0
 */
ASOCK_EXPORT asock_socket *asock_op_take_socket(asock_op *op);

/*
 * Ends everything that is pending on the socket with ASOCK_OPERATION_ABORTED, and then completes.
 * Whatever you submit afterwards, including another close, ends with ASOCK_NOT_SOCKET. If a queued
 * send could not be finished, the peer gets RST, so that a truncated stream never looks complete.
 *   op         may be NULL: the close is not reported, and the call returns 0, also for a socket
 *              that is closed already. Use this to close and forget
 *   linger_ms  more than 0: a connect in progress and queued sends are finished first. The close
 *              succeeds when the peer's kernel has acknowledged everything and the end of the
 *              stream. After this time it ends with ASOCK_TIMED_OUT, and the peer gets RST
 *              0: as ASOCK_OPTION_LINGER says
 *              ASOCK_CLOSE_ABORT: the peer gets RST
 * Without a linger time and a pending op of the socket, a close in a callback or with a dispatcher
 * completes at once, before the daemon has received it. If the daemon hangs, it closes the
 * connection when it continues or ends.
 */
#define ASOCK_CLOSE_ABORT (-1)
ASOCK_EXPORT int asock_close(asock_socket *socket, asock_op *op, int linger_ms);

enum asock_option {
    ASOCK_OPTION_NO_DELAY = 1,            /* 0 or 1; 1 on a new socket */
    ASOCK_OPTION_KEEP_ALIVE = 2,          /* 0 or 1 */
    ASOCK_OPTION_KEEP_ALIVE_TIME = 3,     /* seconds, 1 to 32767 */
    ASOCK_OPTION_KEEP_ALIVE_INTERVAL = 4, /* seconds, 1 to 32767 */
    ASOCK_OPTION_KEEP_ALIVE_COUNT = 5,    /* 1 to 127 */
    ASOCK_OPTION_SEND_BUFFER = 6,         /* bytes; the kernel doubles it, see socket(7) */
    ASOCK_OPTION_RECEIVE_BUFFER = 7,
    ASOCK_OPTION_HOP_LIMIT = 8,      /* 1 to 255 */
    ASOCK_OPTION_TRAFFIC_CLASS = 9,  /* 0 to 255 */
    ASOCK_OPTION_REUSE_ADDRESS = 10, /* 0 or 1 */
    ASOCK_OPTION_USER_TIMEOUT = 11,  /* milliseconds; 0: the system's default; tcp(7) */
    /*
     * For a close that names no linger time: -1 none, as in a new socket; 0 reset; otherwise the
     * time in milliseconds.
     */
    ASOCK_OPTION_LINGER = 12,
    /*
     * 0 or 1; 1: a socket that is bound to an IPv6 address accepts IPv4, too. 1 on a new socket
     * without a family, otherwise 0. Since: 0.1.0
     */
    ASOCK_OPTION_DUAL_MODE = 13,
    /* UDP: 0 or 1; 1: a receive may return several datagrams of one sender. Since: 0.1.0 */
    ASOCK_OPTION_COALESCE = 14,
    /* UDP: 0 or 1; 1: may send to broadcast addresses, if policy allows it. Since: 0.1.0 */
    ASOCK_OPTION_BROADCAST = 15,
    /* UDP: 0 to 255; 1 on a new socket. Since: 0.1.0 */
    ASOCK_OPTION_MULTICAST_HOPS = 16,
    /* UDP: 0 or 1; 1 on a new socket. Since: 0.1.0 */
    ASOCK_OPTION_MULTICAST_LOOP = 17,
    /* UDP: index of the interface; 0: as the routes say. Since: 0.1.0 */
    ASOCK_OPTION_MULTICAST_INTERFACE = 18,
    /*
     * Can only be set, for a bound UDP socket: the op's endpoint is the group, and the value is the
     * index of the interface, or 0. Since: 0.1.0
     */
    ASOCK_OPTION_JOIN_GROUP = 19,
    ASOCK_OPTION_LEAVE_GROUP = 20,
    /* Read only: bytes of a stream that have arrived and were not received yet. Since: 0.1.0 */
    ASOCK_OPTION_AVAILABLE = 35
};
/* Results: ASOCK_PROTOCOL_OPTION (unknown option), ASOCK_INVALID_ARGUMENT (wrong value). */
ASOCK_EXPORT int asock_set_option(asock_socket *socket, asock_op *op, enum asock_option option,
                                  int64_t value);
ASOCK_EXPORT int asock_get_option(asock_socket *socket, asock_op *op, enum asock_option option);

/*
 * Completes when the daemon has processed all earlier requests of the context, except those that
 * wait in the library because of a limit.
 */
ASOCK_EXPORT int asock_sync(asock_context *context, asock_op *op);

/*
 * Resolves a name to those of its addresses to which policy lets this session connect on at least
 * one port. The daemon caches an answer for the user for the time to live of its records, at most
 * for 60 seconds.
 *   host    a name, or an address as text, 1 to 253 bytes; it is copied
 *   family  AF_UNSPEC, AF_INET or AF_INET6
 * More errors: -EAFNOSUPPORT (any other family), -ENOMEM. Results, which asock_op_get_text() may
 * explain:
 *   ASOCK_ACCESS_DENIED            policy allows the name on no port (no query was sent), or none
 *                                  of its addresses
 *   ASOCK_HOST_NOT_FOUND,
 *   ASOCK_NO_DATA,
 *   ASOCK_TRY_AGAIN,
 *   ASOCK_NO_RECOVERY              the name servers' answer, or that they gave none
 *   ASOCK_INVALID_ARGUMENT         neither a name nor an address
 *   ASOCK_NO_BUFFER_SPACE          over ASOCK_LIMIT_RESOLUTIONS
 *   ASOCK_OPERATION_NOT_SUPPORTED  the daemon is older than this call
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_resolve(asock_context *context, asock_op *op, const char *host, int family);

/*
 * Asks the daemon for a listener of this session's own: asock.sock in a new directory, which
 * asock_op_get_directory() returns.
 * - Any number of processes of the same user, or of subordinate ids of that user, can connect there
 *   with asock_context_new().
 * - Their sessions have the rights of this one: its policy, its restrictions (also later ones) and
 *   its quotas. Each can restrict itself further, and can share in turn, up to 4 levels deep.
 * - When this session ends, they end too, and the daemon removes the directory.
 * - If the op does not succeed, or is cancelled, there is no listener.
 * Results:
 *   ASOCK_NO_BUFFER_SPACE          this session has 8 listeners already, or is over its quota
 *   ASOCK_OPERATION_NOT_SUPPORTED  this is the control socket, the daemon is older than this call,
 *                                  or it creates no listeners (the text says why)
 *   ASOCK_ACCESS_DENIED            the daemon could not determine your user
 *   ASOCK_TIMED_OUT
 *   ASOCK_CONNECTION_ABORTED
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_share(asock_context *context, asock_op *op);

/*
 * Asks the daemon to end an op in flight early. The op completes as usual, never inside this call,
 * with ASOCK_OPERATION_ABORTED or with what it had achieved before. For a close, this ends its
 * linger time. -ENOENT: the op is not in flight.
 */
ASOCK_EXPORT int asock_cancel(asock_op *op);

/*
 * Waits until the op has completed. Runs no callbacks: if the op has one, it runs as usual, in
 * asock_context_process() or in the dispatcher. Returns 0, or
 *   -ETIMEDOUT
 *   -EINVAL    the op was never submitted
 *   -EDEADLK   called in a callback of the dispatcher, which alone could complete the op (in a
 *              callback of asock_context_process(), waiting works)
 *   -ENOMEM    for an ASOCK_ERRORS_ONLY op, because the daemon has to be asked for its end
 */
ASOCK_EXPORT int asock_op_wait(asock_op *op, int timeout_ms);

/* -------------------------------------------------------------------------------- shared memory
 *
 * If all segments of an op (64 at most) are in buffers of its context, the op goes by reference:
 * in the daemon, the kernel reads or writes its bytes there, and none of them crosses the Unix
 * socket. The calls and the results are the same. Any other op goes inline.
 *
 * When the session ends, buffers keep their contents if the library notices the end within 10
 * seconds (0.7 seconds if the daemon stops). After that the daemon empties them. A receive by
 * reference that was not reported before then ends with ASOCK_CONNECTION_ABORTED and 0 bytes. So do
 * the later receives of that stream whose results the program has not looked at.
 * asock_buffer_is_intact() says whether this has happened.
 */
/*
 * Creates memory of at least size bytes, filled with zeros. Waits for the daemon's answer. Errors:
 *   -EINVAL        size is 0 or over SSIZE_MAX
 *   -ENOBUFS       over the quota
 *   -EMFILE        the process has no descriptor left, which the call needs for a moment
 *   -ENOMEM
 *   -ETIMEDOUT
 *   -ECONNABORTED
 *   -EDEADLK       called in a callback
 */
ASOCK_EXPORT int asock_buffer_new(asock_context *context, size_t size, int timeout_ms,
                                  asock_buffer **ret);
ASOCK_EXPORT void *asock_buffer_data(asock_buffer *buffer);  /* aligned to a page */
ASOCK_EXPORT size_t asock_buffer_size(asock_buffer *buffer); /* whole pages */
/*
 * For a program that uses received bytes in place after their completion: copy the bytes, call
 * this, and then use the copy. Returns
 *   1        what was read from the buffer before this call is what was received or written there
 *   0        the daemon has taken the memory back, or the library had no memory to keep the
 *            contents; the bytes may be zeros. It stays 0
 *   -EINVAL  buffer is NULL
 * Makes no system call. Callbacks may call it. Since: 0.1.0
 */
ASOCK_EXPORT int asock_buffer_is_intact(asock_buffer *buffer);
ASOCK_EXPORT asock_buffer *asock_buffer_ref(asock_buffer *buffer);
/*
 * Dropping the last reference frees the memory as soon as no op in flight has a segment in it and
 * no pool uses it. When the session ends, the memory stays, as ordinary memory that is no longer
 * shared, but its contents may be zeros.
 *
 * The library notices the end of the session in a call of the program or, at any time, in the
 * dispatcher's thread, and then copies the contents of the buffer. What a thread writes at that
 * very moment may be lost. To be sure, call asock_context_get_error() after writing: if it returns
 * 0, nothing was lost; otherwise write it again.
 */
ASOCK_EXPORT asock_buffer *asock_buffer_unref(asock_buffer *buffer);

/*
 * A pool divides a buffer into slices of slice_len bytes, for a multishot receive, which completes
 * many times, each time with bytes in one slice. The pool uses and holds the whole buffer. A slice
 * returns to the pool when the callback has returned or, if the program took it, when the program
 * gives it back. A pool serves one multishot at a time. -EINVAL: no slice fits.
 */
ASOCK_EXPORT int asock_pool_new(asock_buffer *buffer, size_t slice_len, asock_pool **ret);
ASOCK_EXPORT asock_pool *asock_pool_ref(asock_pool *pool);
/*
 * Slices that the program has taken stay valid as long as the buffer, but can no longer be given
 * back. When the program has all slices, a multishot that waits for one ends with
 * ASOCK_NO_BUFFER_SPACE.
 */
ASOCK_EXPORT asock_pool *asock_pool_unref(asock_pool *pool);
/* data: the beginning of a slice that the program took. -EINVAL: it is not. */
ASOCK_EXPORT int asock_pool_give(asock_pool *pool, void *data);
/* A setter that replaces the buffers of the op, and that they replace. The op holds the pool. */
ASOCK_EXPORT int asock_op_set_pool(asock_op *op, asock_pool *pool);

/*
 * Receives many times into the slices of the op's pool. Receives that are submitted later wait for
 * its end.
 * - The callback runs once for each slice with bytes, with ASOCK_MORE in the result flags.
 * - While the program has all slices, the operation waits.
 * - The callback runs a last time, without the flag: at the end of the stream, after an error, a
 *   cancel or a timeout (all without a slice), or with the last slice that the daemon had. In the
 *   last case, submit the op again.
 * -EBUSY, too: the pool is in use. ASOCK_CONNECTION_ABORTED is also the result if the pool belongs
 * to a session that has ended.
 */
ASOCK_EXPORT int asock_receive_multishot(asock_socket *socket, asock_op *op);
/* In a callback of a multishot: the bytes, valid until it returns. NULL: there are none. */
ASOCK_EXPORT void *asock_op_get_slice(asock_op *op, size_t *ret_len);
/*
 * The same, but the program keeps the slice until asock_pool_give(). NULL also if it was taken
 * already. After a slice was given back, even in the same callback, both calls return NULL.
 */
ASOCK_EXPORT void *asock_op_take_slice(asock_op *op);
/*
 * Waits until a multishot without a callback has bytes. If you submit the op again, bytes that you
 * have not asked for are lost. Returns
 *   1           *ret is a slice with *ret_len bytes, which the program has taken
 *   0           it has ended, and no bytes are left; its results can be read
 *   -ETIMEDOUT
 *   -EINVAL     the op is not a multishot without a callback
 *   -EDEADLK    as asock_op_wait()
 */
ASOCK_EXPORT int asock_receive_next(asock_op *op, int timeout_ms, void **ret, size_t *ret_len);

/* -------------------------------------------------------------------------------- begin and end
 *
 * The same operations, with ops that the library makes: begin returns an op with a reference, which
 * end drops. callback may be NULL. A begin call returns 1 or a negative errno (also -ENOMEM; *ret
 * is then NULL), never 0. With a dispatcher, the callback may run, and end the op, before begin has
 * returned.
 */
ASOCK_EXPORT int asock_begin_connect(asock_socket *socket, const struct sockaddr *addr,
                                     socklen_t len, asock_callback callback, void *userdata,
                                     asock_op **ret);
ASOCK_EXPORT int asock_begin_connect_host(asock_socket *socket, const char *host,
                                          const char *service, asock_callback callback,
                                          void *userdata, asock_op **ret);
ASOCK_EXPORT int asock_begin_send(asock_socket *socket, const void *data, size_t len,
                                  asock_callback callback, void *userdata, asock_op **ret);
ASOCK_EXPORT int asock_begin_receive(asock_socket *socket, void *data, size_t len,
                                     asock_callback callback, void *userdata, asock_op **ret);
ASOCK_EXPORT int asock_begin_accept(asock_socket *socket, asock_callback callback, void *userdata,
                                    asock_op **ret);
/*
 * Like asock_end(). *ret is the new socket, with a reference that the caller owns, or NULL if the
 * accept failed. Since: 0.1.0
 */
ASOCK_EXPORT int asock_end_accept(asock_op *op, asock_socket **ret);
/*
 * Waits if necessary. Returns the op's enum asock_error, and its bytes in *bytes (bytes may be
 * NULL). Call it once for each begin. Errors:
 *   -EINVAL   the op has been ended already, and is still referenced
 *   -EDEADLK  as asock_op_wait()
 */
ASOCK_EXPORT int asock_end(asock_op *op, uint64_t *bytes);
/* Like asock_send_to() and asock_receive_from(). Since: 0.1.0 */
ASOCK_EXPORT int asock_begin_send_to(asock_socket *socket, const void *data, size_t len,
                                     const struct sockaddr *addr, socklen_t addr_len,
                                     asock_callback callback, void *userdata, asock_op **ret);
ASOCK_EXPORT int asock_begin_receive_from(asock_socket *socket, void *data, size_t len,
                                          asock_callback callback, void *userdata, asock_op **ret);
/*
 * Like asock_end(). *from is the sender of the datagram, or has the family AF_UNSPEC if there is
 * none. -EINVAL, too: from is NULL. Since: 0.1.0
 */
ASOCK_EXPORT int asock_end_receive_from(asock_op *op, uint64_t *bytes,
                                        struct sockaddr_storage *from);

/* ------------------------------------------------------------------------------ one-call helpers
 *
 * These calls block. They return an asock_error as its negative errno (asock_error_errno()).
 * timeout_ms is the deadline of the op. asock_send_all() and asock_receive_some() then also wait
 * until the op has ended, at most until the grace time (asock_context_set_grace_ms()) is over, so
 * that no buffer stays in use. -EDEADLK: called in a callback.
 */
ASOCK_EXPORT int asock_dial(asock_context *context, const char *host, const char *service,
                            int timeout_ms, asock_socket **ret);
/*
 * Connects like asock_dial(), and returns in *ret the descriptor of the connected socket, for
 * read(2), write(2) and any event loop. The caller owns it; close(2) closes the connection. The
 * context may be freed earlier. flags: 0, or bits of enum asock_dial_flag. Errors are those of
 * asock_dial() and:
 *   -EACCES      no rule with "+lend-given" allows the address
 *   -EOPNOTSUPP  the daemon is older than this call
 *   -EINVAL      unknown flags
 *   -EMFILE      the process has no descriptor left
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_dial_fd(asock_context *context, const char *host, const char *service,
                               int timeout_ms, unsigned int flags, int *ret);
enum asock_dial_flag { ASOCK_DIAL_BLOCKING = 1 /* the descriptor is blocking */ };
/*
 * Returns 0 if the kernel has accepted all bytes. After any other result, it is not known how many
 * it has accepted: send nothing more on this socket, because the peer would see a gap. Usually the
 * socket then refuses to send, unless the failed send had not begun.
 */
ASOCK_EXPORT int asock_send_all(asock_socket *socket, const void *data, size_t len, int timeout_ms);
/* Returns the number of bytes received, 0 at end of stream. */
ASOCK_EXPORT ssize_t asock_receive_some(asock_socket *socket, void *data, size_t len,
                                        int timeout_ms);
/*
 * Like asock_resolve(). Returns the number of addresses. The first `most` of them are stored in
 * addresses (may be NULL if most is 0). Since: 0.1.0
 */
ASOCK_EXPORT int asock_lookup(asock_context *context, const char *host, int family, int timeout_ms,
                              struct sockaddr_storage *addresses, unsigned int most);
/*
 * Returns the enum asock_error with which the last of these calls on the context ended. 0: it
 * succeeded, or failed without an operation. text (may be NULL if text_size is 0) gets the daemon's
 * explanation, or "".
 */
ASOCK_EXPORT int asock_context_get_last_error(asock_context *context, char *text, size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
