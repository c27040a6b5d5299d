/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_H
#define ASOCK_H

/*
 * libasock: sockets whose network side lives in asockd.
 *
 * Return values. Unless a call says otherwise: 0 or a positive number on success, a negative errno
 * when the *call* was wrong or could not be made. What happened to the *operation* is its result,
 * an enum asock_error that asock_op_get_error() reads once the op has completed.
 *
 * Objects are reference-counted. A _new call gives one reference; _ref adds one and returns its
 * argument; _unref takes one away, accepts NULL and returns NULL. A socket, an op, a buffer and a
 * pool to which the program has references hold one to their context. An op in flight is held by
 * the library until its callback has returned, and holds its socket; it does not hold the context.
 *
 * Threads. Without a dispatcher a context, with its sockets and ops, belongs to one thread at a
 * time. With one (asock_context_start_dispatcher) every call may be made from any thread, but
 * asock_context_process(), which returns -EBUSY. Callbacks run with no lock held.
 *
 * Fork. In the child only the _unref calls work, and send nothing; all others return -ECHILD.
 * Memory of buffers is not there.
 *
 * Times are milliseconds. A timeout of 0 is "no deadline" in an op, and "do not wait" where a call
 * waits; -1 there is "no limit".
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

typedef struct asock_context asock_context; /* a connection to the daemon */
typedef struct asock_socket asock_socket;   /* a socket in it */
typedef struct asock_op asock_op;           /* a reusable operation object */
typedef struct asock_buffer asock_buffer;   /* memory that the daemon shares */
typedef struct asock_pool asock_pool;       /* slices of it, for multishot receives */

/* Names of .NET's SocketError; numbers of the protocol (asock.proto), stable. */
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

/* Static strings, never NULL, any number. Any thread. */
ASOCK_EXPORT const char *asock_strerror(int error);   /* a text for people */
ASOCK_EXPORT const char *asock_error_name(int error); /* SocketError's name, "ConnectionRefused" */
ASOCK_EXPORT int asock_error_errno(int error);        /* the positive errno nearest to it */

/* "MAJOR.MINOR.PATCH" of the library that runs; static. */
ASOCK_EXPORT const char *asock_version(void);

/* ---------------------------------------------------------------------------------- context */

/*
 * Connects to the daemon's socket at path. NULL: the connection that was inherited as the
 * environment's ASOCK_FD, else the socket of its ASOCK_SOCKET, else the system's socket. Does not
 * wait for the daemon's answer. Errors: those of connect(2), -EINVAL for "", -ENAMETOOLONG,
 * -ENOMEM; -EAGAIN when the daemon's queue of connections stayed full for 2 seconds. Of ASOCK_FD,
 * which serves one context of one program: -EINVAL (not a number, or not a connected Unix stream
 * socket), -EBADF (not open), -EBUSY (taken: it is close-on-exec).
 */
ASOCK_EXPORT int asock_context_new(const char *path, asock_context **ret);

/*
 * The same over a connected stream socket that the caller has; the context owns fd on success, and
 * makes it non-blocking. -EINVAL: it is not a connected Unix stream socket.
 */
ASOCK_EXPORT int asock_context_new_fd(int fd, asock_context **ret);

ASOCK_EXPORT asock_context *asock_context_ref(asock_context *context);
/*
 * The last reference ends the connection: ops in flight end without a callback, their sockets
 * close.
 */
ASOCK_EXPORT asock_context *asock_context_unref(asock_context *context);

/*
 * A label for people (asockctl list), at most 64 bytes of UTF-8 without control characters. Only
 * before the first op is submitted: -EBUSY later. -EINVAL for anything else.
 */
ASOCK_EXPORT int asock_context_set_name(asock_context *context, const char *name);

/*
 * set: what to reserve from the start, and the most that the library asks for; before the first op
 * (-EBUSY later). 0: as little as there is, raised by itself when something needs more, up to the
 * daemon's limit. get: the most that there may be.
 */
enum asock_limit {
    ASOCK_LIMIT_SOCKETS = 1,     /* sockets open at a time */
    ASOCK_LIMIT_OPS = 2,         /* ops outstanding in the daemon; more wait in the library */
    ASOCK_LIMIT_SOCKET_OPS = 3,  /* the same per socket; read only */
    ASOCK_LIMIT_SEND_WINDOW = 4, /* bytes outstanding in the daemon per socket */
    ASOCK_LIMIT_QUEUED = 5,      /* bytes outstanding in the daemon */
    ASOCK_LIMIT_PAYLOAD = 6,     /* bytes in a frame; read only */
    /* Read only; there may be less when others have much. */
    ASOCK_LIMIT_SHARED_MEMORY = 7,  /* bytes of memory shared with the daemon */
    ASOCK_LIMIT_KERNEL_BUFFERS = 8, /* bytes that sockets' buffers in the kernel may grow to */
    ASOCK_LIMIT_LINGERS = 9,        /* sockets whose close goes on */
    ASOCK_LIMIT_RESOLUTIONS = 10,   /* questions for names at a time; a connect by name asks two */
    ASOCK_LIMIT_CONNECTS_PER_SECOND = 11, /* 0: any number */
    ASOCK_LIMIT_BUFFERS = 12              /* buffers at a time; read only */
};
ASOCK_EXPORT int asock_context_set_limit(asock_context *context, enum asock_limit limit,
                                         uint64_t value);
/* -EAGAIN until the daemon's welcome has been processed. */
ASOCK_EXPORT int asock_context_get_limit(asock_context *context, enum asock_limit limit,
                                         uint64_t *ret);

/*
 * In an event loop: poll get_fd() for get_events() (POLLIN, POLLOUT) for at most get_timeout()
 * milliseconds (-1: no limit; 0: completions are queued), then call process(). Ask for both before
 * every sleep. The descriptor is not the connection: it stays open, and the same, until the context
 * goes, and is never ready while there is no session; get_events() says 0 then. None of the three
 * returns an errno: without a context, or in the child of a fork, they say -1, 0 and -1 (get_fd()
 * also without a descriptor left).
 */
ASOCK_EXPORT int asock_context_get_fd(asock_context *context);
ASOCK_EXPORT int asock_context_get_events(asock_context *context);
ASOCK_EXPORT int asock_context_get_timeout(asock_context *context);
/*
 * Writes, reads and runs callbacks; never blocks. Returns the number of callbacks run. Loss of the
 * daemon is no error here: every op ends with ASOCK_CONNECTION_ABORTED. Completions that callbacks
 * add wait for the next call. -EBUSY with a dispatcher, -EDEADLK inside a callback.
 */
ASOCK_EXPORT int asock_context_process(asock_context *context);
/*
 * Writes what is queued as far as the daemon takes it; runs no callbacks. 0: all written; 1: some
 * waits.
 */
ASOCK_EXPORT int asock_context_flush(asock_context *context);

/*
 * A thread of the library's own that runs the callbacks; it blocks all signals but those of a fault
 * (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS). -EBUSY: runs already;
 * -EDEADLK inside a callback.
 */
ASOCK_EXPORT int asock_context_start_dispatcher(asock_context *context);
/* Ends it and waits for it; -EDEADLK inside a callback, -ENOENT when none runs. */
ASOCK_EXPORT int asock_context_stop_dispatcher(asock_context *context);

/*
 * How long past an op's deadline the daemon may take to report its end; 10000 by default, 0: any
 * time. When half of it is over the library cancels the op: ASOCK_TIMED_OUT, or
 * ASOCK_OPERATION_ABORTED of a send of which nothing went. When all of it is over the daemon hangs:
 * the op ends with ASOCK_TIMED_OUT and 0 bytes, though some may have moved, the session ends, and
 * every other op ends with ASOCK_CONNECTION_ABORTED. Buffers keep their contents and are not shared
 * any more. A close has the end of its linger time as its deadline, without one the call; an op
 * that was cancelled has the call of asock_cancel. Choose more than a restart of the daemon takes.
 * It holds for ops that leave from now on.
 */
ASOCK_EXPORT int asock_context_set_grace_ms(asock_context *context, unsigned int grace_ms);

/* Submitting never returns 0: every op completes through its callback or wait. Off by default. */
ASOCK_EXPORT int asock_context_set_always_pending(asock_context *context, bool on);

/*
 * 0 while the session lives, else an enum asock_error that says why it ended: what the daemon said,
 * ASOCK_CONNECTION_ABORTED when it was lost, ASOCK_PROTOCOL_ERROR when it said what it must not,
 * ASOCK_TIMED_OUT when it did not answer (asock_context_set_grace_ms).
 */
ASOCK_EXPORT int asock_context_get_error(asock_context *context);
/*
 * The same, and what the daemon said about it: a text for people, ended by a NUL, cut to text_size
 * bytes; empty while the session lives, and where it said nothing. text may be NULL if text_size is
 * 0. -EINVAL, -ECHILD.
 */
ASOCK_EXPORT int asock_context_get_error_text(asock_context *context, char *text, size_t text_size);

/*
 * After the daemon was lost: connects again, to the same path; ops may be submitted again, on new
 * sockets: old ones stay dead. -EBUSY while the session lives, another thread reconnects or ops
 * wait for their callbacks, -EOPNOTSUPP for a context made from a descriptor, -ESHUTDOWN once its
 * last reference has gone. Other errors and the time it may take are those of asock_context_new();
 * other threads can use the context meanwhile.
 */
ASOCK_EXPORT int asock_context_reconnect(asock_context *context);

/*
 * Takes the connection out of a context in which nothing was done yet but naming, asking for limits
 * and restricting, for another program to go on with (its ASOCK_FD). Waits for the daemon's
 * welcome, at most timeout_ms (-1: no limit). *ret is the caller's, close-on-exec and non-blocking;
 * the context is as one whose session has ended. -EBUSY: there is a socket, an op was submitted, a
 * dispatcher runs. -ETIMEDOUT, -ECONNABORTED, -EMFILE.
 */
ASOCK_EXPORT int asock_context_detach_fd(asock_context *context, int timeout_ms, int *ret);

/*
 * Permanently narrows what the session may reach, for every holder of the connection. rules is a
 * policy file of asockd.policy(5) with a [Rules] section and nothing else. After success, a connect
 * is allowed only if these rules, all earlier ones and the administrator's allow it. Connects in
 * progress that the rules do not allow end with ASOCK_ACCESS_DENIED; established connections stay.
 * The call may precede the setting of a name and of limits. Waits for at most timeout_ms (-1: no
 * limit), as asock_context_inspect() does. Errors:
 *   -EINVAL      the rules are invalid; text (may be NULL with text_size 0) gets the daemon's
 *   message, "line 2: ...", cut at text_size - 1 bytes
 *   -ENOBUFS     too many rules in this session
 *   -EMSGSIZE    more bytes than a frame takes
 *   -ETIMEDOUT   the rules may or may not apply
 *   -EOPNOTSUPP  this is the control socket
 * Also -ECONNABORTED, -ENOMEM, -EDEADLK.
 */
ASOCK_EXPORT int asock_context_restrict(asock_context *context, const char *rules, size_t len,
                                        int timeout_ms, char *text, size_t text_size);

/* --------------------------------------------------------------------------------- inspection */

/* A value of a record: text, or (text NULL) number. Valid during the callback. */
struct asock_field {
    const char *name;
    const char *text;
    int64_t number;
};

typedef void (*asock_record_fn)(const struct asock_field *fields, size_t count, void *userdata);

/*
 * Asks the daemon and calls record once per row; waits for at most timeout_ms (-1: no limit). No
 * other callback runs. On a client's socket the answer is about its own session only, on the
 * control socket about all. query is one of
 *   "list"      a row per socket
 *   "show ID"   everything about one row of "list"; "show" or "show 0": the own session
 *   "stats"     counters
 *   "sessions"  a row per session
 * and, on the control socket only,
 *   "learned"   what learn mode has seen
 *   "denials"   what was denied within the last hour
 *   "monitor"   waits for an event, then a row per event since the last "monitor"; see the man page
 *   "metrics"   a row per counter or histogram; an older daemon answers as to "stats"
 * Returns the number of rows. -EINVAL: another query; -EOPNOTSUPP: not the control socket, or the
 * daemon is older than the query; -ESRCH: an unknown ID; -EDEADLK: inside a callback; -ETIMEDOUT,
 * -ECONNABORTED.
 */
ASOCK_EXPORT int asock_context_inspect(asock_context *context, const char *query,
                                       asock_record_fn record, void *userdata, int timeout_ms);

/*
 * Acts, on the control socket; waits, threads and errors as asock_context_inspect(). args ends with
 * NULL, or is NULL. verb: "kill" (the ID of a socket or a session), "reload" (nothing, or "close"),
 * "listener" ("add", NAME, FD; or "remove", NAME), "judge" (texts
 * "name=value", see the man page). record (may be NULL) is called once per row of the answer, and
 * once, with a field "error", where the daemon says why it failed. -EOPNOTSUPP: not the control
 * socket. -EINVAL: another verb, wrong args, or what the daemon could not take.
 */
ASOCK_EXPORT int asock_context_control(asock_context *context, const char *verb,
                                       const char *const *args, asock_record_fn record,
                                       void *userdata, int timeout_ms);

/* ------------------------------------------------------------------------------------- sockets */

/*
 * A TCP socket. family: AF_UNSPEC (what the address says), AF_INET, AF_INET6; else -EAFNOSUPPORT.
 * -EMFILE: the session's limit of sockets is used up. -ENOMEM. -ENOTCONN: the session has ended.
 * No round trip: the first op reports what the daemon thinks of it. Ops of a socket that the daemon
 * has no room for end with ASOCK_TOO_MANY_OPEN_SOCKETS; so do those of one too many before the
 * welcome, when the limit is not known.
 */
ASOCK_EXPORT int asock_socket_new(asock_context *context, int family, asock_socket **ret);
/*
 * A UDP socket; otherwise as asock_socket_new(). With AF_UNSPEC the first address that the socket
 * sends to, or connects to, decides the family. Each op moves one datagram. A daemon without UDP
 * ends the socket's ops with ASOCK_SOCKET_NOT_SUPPORTED. Since: 0.1.0
 */
ASOCK_EXPORT int asock_socket_new_udp(asock_context *context, int family, asock_socket **ret);
ASOCK_EXPORT asock_socket *asock_socket_ref(asock_socket *socket);
/*
 * The last reference closes like asock_close() with 0. An op in flight holds one, so a receive that
 * is pending keeps the connection open: to end both, call asock_close() with a NULL op first.
 */
ASOCK_EXPORT asock_socket *asock_socket_unref(asock_socket *socket);
ASOCK_EXPORT asock_context *asock_socket_get_context(asock_socket *socket); /* borrowed */
/* The id in the protocol and in asockctl; 0 once closed, and while it waits for one. */
ASOCK_EXPORT unsigned int asock_socket_get_id(asock_socket *socket);
/*
 * Of a socket that has connected, also once it is closed: its own and the peer's address, as
 * asock_op_get_local().
 */
ASOCK_EXPORT int asock_socket_get_local(asock_socket *socket, struct sockaddr_storage *ret);
ASOCK_EXPORT int asock_socket_get_remote(asock_socket *socket, struct sockaddr_storage *ret);
/*
 * 1: a connect or an accept has made a connection, and no operation has reported its end yet. 0:
 * not so. -EINVAL, -ECHILD. The library answers by itself. A peer that has closed or vanished is
 * noticed by the next operation: asock_await_hangup(). A connection ends here when an operation
 * says ASOCK_CONNECTION_RESET or ASOCK_CONNECTION_ABORTED, with the success of a hang-up operation
 * or of asock_shutdown() of both directions, when the administrator kills the socket, and with
 * asock_close(). Since: 0.1.0
 */
ASOCK_EXPORT int asock_socket_is_connected(asock_socket *socket);
ASOCK_EXPORT int asock_socket_set_userdata(asock_socket *socket, void *userdata);
ASOCK_EXPORT void *asock_socket_get_userdata(asock_socket *socket);

/* ---------------------------------------------------------------------------- operation objects */

typedef void (*asock_callback)(asock_op *op, void *userdata);

ASOCK_EXPORT int asock_op_new(asock_context *context, asock_op **ret);
ASOCK_EXPORT asock_op *asock_op_ref(asock_op *op);
/* In flight: it completes, its callback runs, then it goes. */
ASOCK_EXPORT asock_op *asock_op_unref(asock_op *op);

/*
 * Setters: -EBUSY while the op is in flight. Buffers belong to the op, and must stay as they are,
 * until it has completed. set_buffer and set_buffers replace each other; the list (not the bytes)
 * is copied. Segments of length 0 are legal. -EINVAL: NULL with a length, a sum over SSIZE_MAX.
 */
ASOCK_EXPORT int asock_op_set_callback(asock_op *op, asock_callback callback, void *userdata);
ASOCK_EXPORT int asock_op_set_buffer(asock_op *op, void *data, size_t len);
ASOCK_EXPORT int asock_op_set_buffers(asock_op *op, const struct iovec *list, size_t count);
/* Where to connect; set_endpoint and set_host replace each other. Both copy their arguments. */
ASOCK_EXPORT int asock_op_set_endpoint(asock_op *op, const struct sockaddr *addr, socklen_t len);
/*
 * One more address to connect to, of the same port, after set_endpoint: a connect tries them as it
 * tries the addresses of a name (asock_connect). At most 31: -E2BIG. -EINVAL: none was set, or the
 * port is another one. Also -ENOMEM. Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_add_endpoint(asock_op *op, const struct sockaddr *addr, socklen_t len);
/*
 * host: a name or an address in text form, 1 to 253 bytes; service: a decimal port or a name, 1 to
 * 32 bytes.
 */
ASOCK_EXPORT int asock_op_set_host(asock_op *op, const char *host, const char *service);
/*
 * From submission; 0: none. Stays set until set again, like everything else here. Not for a close.
 */
ASOCK_EXPORT int asock_op_set_timeout(asock_op *op, unsigned int timeout_ms);

enum asock_op_flag {
    ASOCK_PEEK = 1, /* receive: leave the data in the stream; at most ASOCK_LIMIT_PAYLOAD bytes */
    ASOCK_WAIT_ALL = 2, /* receive: complete only when full, or at end of stream, error, timeout */
    /*
     * send, set_option: success need not be reported at once. It is reported when a later send or
     * shutdown(send) of the socket succeeds (a later set_option or get_option ends), at close, when
     * asock_op_wait() waits for the op, or when the program releases its last reference to the
     * socket.
     */
    ASOCK_ERRORS_ONLY = 4,
    /*
     * connect: lend the connected socket itself to the program, see asock_op_take_fd(). At most one
     * of these three. Since: 0.1.0
     * share, with ASOCK_LEND: sessions that come by the listener may ask for lending too, if this
     * session may.
     */
    ASOCK_LEND = 8,            /* held: the daemon keeps the connection too, and can end it */
    ASOCK_LEND_GIVEN = 16,     /* given: the connection is the program's alone */
    ASOCK_LEND_IF_ALLOWED = 32 /* held if policy allows it, otherwise an ordinary socket */
};
/* -EINVAL: an unknown bit, or two kinds of lending. */
ASOCK_EXPORT int asock_op_set_flags(asock_op *op, unsigned int flags);

/*
 * Results, from completion to the next submission. Of an op that is in flight or was never
 * submitted: 0, NULL, -EINPROGRESS as fits the type.
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
    ASOCK_OPERATION_ACCEPT = 14
};
ASOCK_EXPORT enum asock_operation asock_op_get_operation(asock_op *op); /* the last submitted */
/* In flight, or completed with its callback still to run: it cannot be submitted yet. */
ASOCK_EXPORT bool asock_op_is_pending(asock_op *op);
/* An enum asock_error; -EINPROGRESS while pending. */
ASOCK_EXPORT int asock_op_get_error(asock_op *op);
ASOCK_EXPORT uint64_t asock_op_get_bytes(asock_op *op);

enum asock_result_flag {
    ASOCK_END_OF_STREAM = 1, /* receive: the peer sends no more */
    ASOCK_MORE = 2,          /* multishot: this is not its last callback */
    ASOCK_TRUNCATED = 4      /* receive: the datagram did not fit; the rest of it is lost */
};
ASOCK_EXPORT unsigned int asock_op_get_result_flags(asock_op *op);
/*
 * Borrowed; of the last submission, valid (though perhaps closed) until the next or the op's end.
 */
ASOCK_EXPORT asock_socket *asock_op_get_socket(asock_op *op);
ASOCK_EXPORT void *asock_op_get_userdata(asock_op *op);
/*
 * local and remote address. After a connect: the socket's own and the peer's. After the receive of
 * a datagram: where it was sent to, and who sent it. Returns the length of the address; -ENODATA:
 * there is none.
 */
ASOCK_EXPORT int asock_op_get_local(asock_op *op, struct sockaddr_storage *ret);
ASOCK_EXPORT int asock_op_get_remote(asock_op *op, struct sockaddr_storage *ret);
/* About a received datagram. */
struct asock_datagram {
    size_t length;              /* its bytes; with ASOCK_TRUNCATED more than were received */
    unsigned int interface;     /* index of the interface that it arrived by; 0: unknown */
    unsigned int traffic_class; /* type of service or traffic class, 0 to 255; lower 2 bits: ECN */
    uint32_t dropped;           /* of this socket so far, by the kernel, for lack of room */
    uint32_t refused;           /* of this socket so far, by the daemon, because of policy */
    size_t segment_size;  /* ASOCK_OPTION_COALESCE: of each but the last; 0: it is one datagram */
    uint64_t reserved[3]; /* 0 */
};
/*
 * After a receive of a datagram, in a callback of a multishot of datagrams, and after
 * asock_receive_next(). 0, also for an empty datagram; -ENODATA: no datagram was received. Since:
 * 0.1.0
 */
ASOCK_EXPORT int asock_op_get_datagram(asock_op *op, struct asock_datagram *ret);
/* After a failed connect by name: the resolver's error or the last attempt's. */
ASOCK_EXPORT int asock_op_get_connect_error(asock_op *op);
/*
 * After a resolve: how many addresses the name has, 1 to ASOCK_ADDRESSES_MAX; 0 after anything
 * else. Since: 0.1.0
 */
#define ASOCK_ADDRESSES_MAX 64
ASOCK_EXPORT unsigned int asock_op_get_address_count(asock_op *op);
/*
 * One of them, with port 0; a connect by name tries index 0 first. Returns its length; -ENODATA: no
 * such. Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_get_address(asock_op *op, unsigned int index,
                                      struct sockaddr_storage *ret);
/* After get_option: -ENODATA when there is none. */
ASOCK_EXPORT int asock_op_get_value(asock_op *op, int64_t *ret);
/* The daemon's text for people about a failure, or NULL. Valid until the op is submitted again. */
ASOCK_EXPORT const char *asock_op_get_text(asock_op *op);
/*
 * After a share: the directory of the new listener, or NULL. Valid until the op is submitted again.
 * Since: 0.1.0.
 */
ASOCK_EXPORT const char *asock_op_get_directory(asock_op *op);

/*
 * After a connect with ASOCK_LEND, ASOCK_LEND_GIVEN or ASOCK_LEND_IF_ALLOWED: returns the
 * descriptor of the connected socket, non-blocking and close-on-exec. The caller owns it and closes
 * it. -ENODATA: there is none, or it was taken before; -EINPROGRESS: the op is pending. A
 * descriptor that is not taken is closed when the op is submitted again or freed. Since: 0.1.0
 *
 * The asock_socket remains. Ops on it end ASOCK_INVALID_ARGUMENT, except asock_close() and, if it
 * is held, asock_get_option().
 *   held   asock_close(), or releasing the last reference, sends FIN behind what was written, and
 *   then ends the connection for every holder of a descriptor. close(2) of the descriptor alone
 *   sends nothing. given  close(2) ends the connection. The asock_socket can be closed at once,
 *   which ends nothing.
 */
ASOCK_EXPORT int asock_op_take_fd(asock_op *op);

/* ---------------------------------------------------------------------------------- submitting
 *
 * Each returns 1: pending, the callback (or wait) tells; 0: completed already, no callback runs,
 * results are readable; negative errno: refused, nothing happened: -EBUSY (the op is in flight, or
 * its callback has not returned and is not the caller), -EINVAL (missing or foreign argument),
 * -ECHILD. What concerns the socket's state is the op's result.
 * Submitting queues; bytes leave in process, flush, wait, the dispatcher, or when 64 KiB are
 * queued.
 */
/*
 * With a buffer: its bytes are sent first, and the op completes when the kernel has them all. More
 * than ASOCK_LIMIT_PAYLOAD: ASOCK_MESSAGE_SIZE.
 */
ASOCK_EXPORT int asock_connect(asock_socket *socket, asock_op *op);
/* Completes when the kernel has taken all bytes. */
ASOCK_EXPORT int asock_send(asock_socket *socket, asock_op *op);
/*
 * Sends the op's buffers, if it has any, then a region of a file, then the trailer, as one send:
 * nothing comes in between, and it has one completion. Reads up to 128 KiB at a time, in this call
 * and where bytes leave; a read that waits for the disk delays the whole context.
 * fd:      a regular file, open for reading. The library keeps a duplicate; the file's own position
 * does not change. offset:  in bytes.
 * length:  in bytes; 0: up to the end that the file has now.
 * trailer: of trailer_len bytes, as the buffers the program's until the op has completed; NULL:
 * none. A negative errno also: -EINVAL (not a regular file, or it does not have all of the region),
 * -EBADF, -ENOMEM, -EMFILE. Results: those of asock_send(), and
 *   ASOCK_FAULT                    the file became shorter, or could not be read; the sending side
 *   is closed ASOCK_OPERATION_NOT_SUPPORTED  a datagram socket
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_send_file(asock_socket *socket, asock_op *op, int fd, uint64_t offset,
                                 uint64_t length, const void *trailer, size_t trailer_len);
/*
 * Sends all of the op's bytes, which may be none, as one datagram to the op's endpoint
 * (asock_op_set_endpoint). Completes when the kernel has taken it. An error affects only this
 * datagram. -EINVAL also: the op has no endpoint. Results:
 *   ASOCK_ACCESS_DENIED            policy, which judges each datagram
 *   ASOCK_MESSAGE_SIZE             longer than a datagram can be
 *   ASOCK_IS_CONNECTED             the socket has a peer; asock_send() sends to it
 *   ASOCK_OPERATION_NOT_SUPPORTED  not a datagram socket
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_send_to(asock_socket *socket, asock_op *op);
/*
 * What the datagrams of an op's later sends have; no effect on a stream. 0; -EINVAL; -EBUSY: the op
 * is in progress. ecn: the two ECN bits, 1 to 3; 0: those of ASOCK_OPTION_TRAFFIC_CLASS.
 * source: the local address that they come from; its port is ignored. NULL: the socket's own, or
 * the kernel's choice. A socket that is bound to all addresses may use any of the host's, another
 * socket only the one that it has. segment size: the op's bytes are up to 64 datagrams of so many
 * bytes, the last one of what is left; 0: one datagram. Results of the send:
 *   ASOCK_MESSAGE_SIZE                  over 64 datagrams, or over 65507 bytes in all; or one is
 *   too long for the network ASOCK_ACCESS_DENIED                 not an address that this socket
 *   may use ASOCK_ADDRESS_NOT_AVAILABLE,
 *   ASOCK_NETWORK_UNREACHABLE (IPv4)    the host does not have the address
 *   ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED  not of the destination's family
 *   ASOCK_OPERATION_NOT_SUPPORTED       an older daemon
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_op_set_ecn(asock_op *op, unsigned int ecn);
ASOCK_EXPORT int asock_op_set_segment_size(asock_op *op, size_t bytes);
ASOCK_EXPORT int asock_op_set_source(asock_op *op, const struct sockaddr *source, socklen_t len);
/*
 * Completes with 1 byte or more; 0 with ASOCK_END_OF_STREAM. A zero-length buffer waits for
 * readiness.
 */
ASOCK_EXPORT int asock_receive(asock_socket *socket, asock_op *op);
/*
 * Completes with one datagram. asock_op_get_remote() and asock_op_get_datagram() say where it came
 * from. An empty datagram has 0 bytes and is not an end of stream. Bytes that do not fit are lost:
 * ASOCK_TRUNCATED. May be submitted before the first send. Results:
 *   ASOCK_CONNECTION_REFUSED,
 *   ASOCK_HOST_UNREACHABLE, ...    the network has reported it to a connected socket; the socket
 *   stays usable ASOCK_OPERATION_NOT_SUPPORTED  not a datagram socket
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_receive_from(asock_socket *socket, asock_op *op);

enum asock_how {
    ASOCK_SHUTDOWN_RECEIVE = 1,
    ASOCK_SHUTDOWN_SEND = 2, /* FIN behind the last queued send */
    ASOCK_SHUTDOWN_BOTH = 3
};
ASOCK_EXPORT int asock_shutdown(asock_socket *socket, asock_op *op, enum asock_how how);

/*
 * Completes when the connection is over for both sides, whatever else is pending. It consumes
 * nothing: bytes that have arrived can still be received. It waits for a connect that was submitted
 * before it. Like a pending receive it keeps the socket open. Results:
 *   ASOCK_SUCCESS                  both sides have ended their streams
 *   ASOCK_CONNECTION_RESET, ...    the error that ended the connection
 *   ASOCK_TIMED_OUT                the connection timed out; without a text: the op's own timeout
 *   ASOCK_ALREADY_IN_PROGRESS      the socket has one already
 *   ASOCK_OPERATION_NOT_SUPPORTED  the daemon is older than this call
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_await_hangup(asock_socket *socket, asock_op *op);

/*
 * Binds the socket to the local address that asock_op_set_endpoint() has set; with port 0 the
 * kernel chooses a port. After success asock_op_get_local() and asock_socket_get_local() return
 * what was bound. A bound socket can listen, but not connect. A bound datagram socket receives and
 * answers; it must not have sent before. -EINVAL also: the op has no endpoint. Results:
 *   ASOCK_INVALID_ARGUMENT              the socket is bound already, or was connected
 *   ASOCK_ACCESS_DENIED                 policy has no Listen= rule for it (asock_op_get_text() says
 *   more), or the port is below 1024 and the daemon may not bind it
 *   ASOCK_ADDRESS_ALREADY_IN_USE
 *   ASOCK_ADDRESS_NOT_AVAILABLE         not an address of the host
 *   ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED  not of the socket's family
 *   ASOCK_NO_BUFFER_SPACE               no room for the socket
 *   ASOCK_OPERATION_NOT_SUPPORTED       the daemon is older than this call; so for listen and
 *   accept
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_bind(asock_socket *socket, asock_op *op);
/*
 * Makes a bound socket listen. Up to `backlog` connections wait in the kernel for asock_accept(): 0
 * stands for 128, the most is 256, and the system has its own limit. Another call changes the
 * backlog. -EINVAL also: a negative backlog. Results:
 *   ASOCK_INVALID_ARGUMENT  the socket is not bound
 *   ASOCK_NO_BUFFER_SPACE   no room for the buffers of the waiting connections
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_listen(asock_socket *socket, asock_op *op, int backlog);
/*
 * Completes with one connection to a listening socket; asock_op_take_socket() returns its socket,
 * asock_op_get_local() and asock_op_get_remote() its endpoints. Several may be pending; they
 * complete in the order of submission. Results:
 *   ASOCK_INVALID_ARGUMENT       the socket does not listen
 *   ASOCK_TOO_MANY_OPEN_SOCKETS,
 *   ASOCK_NO_BUFFER_SPACE        no room for a socket; the connection continues to wait
 *   ASOCK_OPERATION_ABORTED      cancelled, or the listener was closed
 *   ASOCK_ACCESS_DENIED          policy no longer allows the listener
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_accept(asock_socket *socket, asock_op *op);
/*
 * Accepts one connection after the other, until it ends as asock_accept() does, with an error. The
 * callback runs once for each connection, with ASOCK_MORE in the result flags:
 * asock_op_take_socket() returns its socket, which is closed if the callback does not take it, and
 * the endpoints are the connection's. It runs a last time, without the flag, when the operation has
 * ended. Where the session has no room for another socket the operation waits until one of its
 * sockets is closed, and connections wait in the kernel; if it has no other socket than the
 * listener, the operation ends with ASOCK_TOO_MANY_OPEN_SOCKETS. Since: 0.1.0
 */
ASOCK_EXPORT int asock_accept_multishot(asock_socket *socket, asock_op *op);
/*
 * Of a multishot accept without a callback: waits until it has a connection, at most timeout_ms
 * (-1: no limit). 1: *ret is its socket, with a reference that the caller owns. 0: it has ended,
 * and no connection is left. -ETIMEDOUT. -EDEADLK as asock_op_wait(). -EINVAL: not a multishot
 * accept, or it has a callback. Since: 0.1.0
 */
ASOCK_EXPORT int asock_accept_next(asock_op *op, int timeout_ms, asock_socket **ret);
/*
 * After an accept, or in a callback of a multishot one: returns the new, connected socket, with a
 * reference that the caller owns. A second call, or one after anything else, returns NULL. A socket
 * that is not taken is closed when the op is submitted again or freed. Since: 0.1.0
 */
ASOCK_EXPORT asock_socket *asock_op_take_socket(asock_op *op);

/*
 * Ends everything pending on the socket with ASOCK_OPERATION_ABORTED, then completes. When a send
 * that was queued could not go out, the peer gets RST: half a stream never looks like a whole one.
 * What is submitted afterwards, another close too, ends with ASOCK_NOT_SOCKET. op may be NULL: the
 * close is not reported, and the call returns 0, also for a socket that is closed. This is the way
 * to close and forget. linger_ms more than 0: a connect in progress and queued sends finish first,
 * and the close succeeds when the peer's kernel has acknowledged everything and the end of the
 * stream. After so many milliseconds it ends with ASOCK_TIMED_OUT and the peer gets RST. 0: what
 * ASOCK_OPTION_LINGER says. ASOCK_CLOSE_ABORT: the peer gets RST.
 * Without a linger time and with no op of the socket pending, a close in a callback or with a
 * dispatcher is complete at once, before the daemon has heard of it: a daemon that hangs closes the
 * connection when it goes on, or ends.
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
     * Of a close that names no linger time: -1 none, as in a new socket; 0 reset; else
     * milliseconds.
     */
    ASOCK_OPTION_LINGER = 12,
    /*
     * Bound to an IPv6 address: IPv4 too, 0 or 1; 1 on a new socket without a family, else 0.
     * Since: 0.1.0
     */
    ASOCK_OPTION_DUAL_MODE = 13,
    /* UDP: 0 or 1; 1: a receive may return several datagrams of one sender. Since: 0.1.0 */
    ASOCK_OPTION_COALESCE = 14,
    /* UDP: 0 or 1; 1: sends to broadcast addresses, where policy allows it. Since: 0.1.0 */
    ASOCK_OPTION_BROADCAST = 15,
    /* UDP: 0 to 255; 1 on a new socket. Since: 0.1.0 */
    ASOCK_OPTION_MULTICAST_HOPS = 16,
    /* UDP: 0 or 1; 1 on a new socket. Since: 0.1.0 */
    ASOCK_OPTION_MULTICAST_LOOP = 17,
    /* UDP: index of the interface; 0: as the routes say. Since: 0.1.0 */
    ASOCK_OPTION_MULTICAST_INTERFACE = 18,
    /*
     * Set only, of a bound UDP socket: the op's endpoint is the group, the value the interface's
     * index or 0. Since: 0.1.0
     */
    ASOCK_OPTION_JOIN_GROUP = 19,
    ASOCK_OPTION_LEAVE_GROUP = 20,
    /* Read only: bytes of a stream that have arrived and that no receive has taken. Since: 0.1.0 */
    ASOCK_OPTION_AVAILABLE = 35
};
/* The result of a wrong option or value is ASOCK_PROTOCOL_OPTION or ASOCK_INVALID_ARGUMENT. */
ASOCK_EXPORT int asock_set_option(asock_socket *socket, asock_op *op, enum asock_option option,
                                  int64_t value);
ASOCK_EXPORT int asock_get_option(asock_socket *socket, asock_op *op, enum asock_option option);

/*
 * Completes when the daemon has processed every earlier request of the context (not what waits in
 * the library because of a limit).
 */
ASOCK_EXPORT int asock_sync(asock_context *context, asock_op *op);

/*
 * Resolves a name to those of its addresses to which policy lets this session connect on some port.
 * host is copied: a name or an address in text form, 1 to 253 bytes. family: AF_UNSPEC, AF_INET or
 * AF_INET6, else -EAFNOSUPPORT. The daemon caches an answer for the user for as long as its records
 * say, at most 60 seconds. Threads as for all submitting calls. Also -ENOMEM. Results, for which
 * asock_op_get_text() may have a text:
 *   ASOCK_ACCESS_DENIED             policy allows the name on no port (no query was sent), or none
 *   of its addresses ASOCK_HOST_NOT_FOUND, ASOCK_NO_DATA,
 *   ASOCK_TRY_AGAIN, ASOCK_NO_RECOVERY  the answer of the name servers, or the lack of one
 *   ASOCK_INVALID_ARGUMENT          neither a name nor an address
 *   ASOCK_NO_BUFFER_SPACE           over ASOCK_LIMIT_RESOLUTIONS
 *   ASOCK_OPERATION_NOT_SUPPORTED   the daemon is older than this call
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_resolve(asock_context *context, asock_op *op, const char *host, int family);

/*
 * Asks the daemon for a listener of this session's own: asock.sock in a new directory, which
 * asock_op_get_directory() returns. Any number of processes of the same user, or of subordinate ids
 * of that user, can connect there with asock_context_new(). Their sessions have the rights of this
 * one: its policy, its restrictions, later ones too, and its quotas. Each may restrict itself
 * further, and may share again, 4 levels deep. When this session ends, they end too, and the daemon
 * removes the directory. An op that ends in anything but success, also by asock_cancel(), leaves no
 * listener. Results:
 *   ASOCK_NO_BUFFER_SPACE          more than 8 listeners in this session, or over the quota
 *   ASOCK_OPERATION_NOT_SUPPORTED  this is the control socket, or the daemon creates no listeners
 *   (the text says why), or is older than this call
 *   ASOCK_ACCESS_DENIED            the daemon could not determine your user
 *   ASOCK_TIMED_OUT, ASOCK_CONNECTION_ABORTED
 * Since: 0.1.0
 */
ASOCK_EXPORT int asock_share(asock_context *context, asock_op *op);

/*
 * Asks for an early end of an op in flight; the op completes as always, never inside this call,
 * with ASOCK_OPERATION_ABORTED or with what it had reached before. Of a close: its linger time is
 * over. 0; -ENOENT: it is not in flight.
 */
ASOCK_EXPORT int asock_cancel(asock_op *op);

/*
 * Waits until the op has completed, at most timeout_ms (-1: no limit). Runs no callback; that of
 * this op, if it has one, runs in process or the dispatcher as always. 0; -ETIMEDOUT; -EINVAL:
 * never submitted; -EDEADLK: in a callback of the dispatcher, which alone could complete it (in one
 * of process() waiting works); -ENOMEM: of an ASOCK_ERRORS_ONLY op, whose end the daemon has to be
 * asked for.
 */
ASOCK_EXPORT int asock_op_wait(asock_op *op, int timeout_ms);

/* -------------------------------------------------------------------------------- shared memory
 *
 * An op all of whose segments (64 at most) lie in buffers of its context goes by reference: the
 * kernel takes its bytes from there, or puts them there, in the daemon, and none of them crosses
 * the Unix socket. The calls are the same, and so is the result; any other op goes inline.
 *
 * When the session ends buffers keep their contents, if the library learns of it in time (10 s; 0.7
 * s when the daemon stops). Later the daemon empties them; a receive by reference that was not
 * reported before then ends with ASOCK_CONNECTION_ABORTED and 0 bytes, and so do the receives of
 * that stream behind it that the program has not looked at. asock_buffer_is_intact() says whether
 * that has happened.
 */
/*
 * Memory of at least size bytes, zeroed. Waits for the daemon's answer for at most timeout_ms (-1:
 * no limit). -ENOBUFS: over the quota; -EMFILE: the program has no descriptor left for a moment;
 * -ENOMEM; -EINVAL: a size of 0, or over SSIZE_MAX; -ETIMEDOUT, -ECONNABORTED; -EDEADLK inside a
 * callback.
 */
ASOCK_EXPORT int asock_buffer_new(asock_context *context, size_t size, int timeout_ms,
                                  asock_buffer **ret);
ASOCK_EXPORT void *asock_buffer_data(asock_buffer *buffer);  /* aligned to a page */
ASOCK_EXPORT size_t asock_buffer_size(asock_buffer *buffer); /* whole pages */
/*
 * For a program that uses received bytes in place after their completion: copy them, ask, and use
 * the copy. 1: what has been read from the buffer before this call is what was received, or
 * written, there. 0: the daemon has taken the memory back, or the library had no memory to keep the
 * contents; the bytes may be zeros. Stays 0. Costs no system call, and is allowed in callbacks.
 * -EINVAL: NULL; -ECHILD: in the child of a fork. Since: 0.1.0.
 */
ASOCK_EXPORT int asock_buffer_is_intact(asock_buffer *buffer);
ASOCK_EXPORT asock_buffer *asock_buffer_ref(asock_buffer *buffer);
/*
 * With the last reference the memory goes, as soon as no op in flight has a segment in it, and no
 * pool is made of it. When the session ends, it stays, as memory like any other (ops on it go
 * inline); what was in it may be zeros then.
 *
 * The library notices the end in a call of the program or, at any time, in the dispatcher's thread,
 * and copies what is in the buffer: what a thread writes at that very moment may be lost.
 * asock_context_get_error() after writing returns 0 if nothing was lost; otherwise write it again.
 */
ASOCK_EXPORT asock_buffer *asock_buffer_unref(asock_buffer *buffer);

/*
 * A multishot receive completes many times, each time with bytes in one slice of its pool: a piece
 * of slice_len bytes of a buffer, which the pool uses as a whole and keeps. -EINVAL: no slice fits.
 * A slice goes back to the pool when the callback has returned, or when it is given back. A pool
 * serves one multishot at a time.
 */
ASOCK_EXPORT int asock_pool_new(asock_buffer *buffer, size_t slice_len, asock_pool **ret);
ASOCK_EXPORT asock_pool *asock_pool_ref(asock_pool *pool);
/*
 * Slices that have been taken stay as they are for as long as the buffer does; they can not be
 * given back any more. A multishot that waits for one ends with ASOCK_NO_BUFFER_SPACE when all
 * slices are so.
 */
ASOCK_EXPORT asock_pool *asock_pool_unref(asock_pool *pool);
/* data: the beginning of a slice that was taken. -EINVAL: it is none. */
ASOCK_EXPORT int asock_pool_give(asock_pool *pool, void *data);
/* A setter like set_buffer, which it replaces, and which replaces it. The op holds the pool. */
ASOCK_EXPORT int asock_op_set_pool(asock_op *op, asock_pool *pool);

/*
 * The callback runs once per slice with bytes, with ASOCK_MORE in the result flags, and the last
 * time without: at the end of the stream, with an error, cancelled, timed out (all without a
 * slice), or with the last slice that the daemon had; then submit it again. While all slices are
 * with the program it waits. Receives that were submitted later wait for its end. -EBUSY: its pool
 * is in use. The result is ASOCK_CONNECTION_ABORTED when the pool is of a session that has ended.
 */
ASOCK_EXPORT int asock_receive_multishot(asock_socket *socket, asock_op *op);
/* In a callback of a multishot: where the bytes are, NULL without; valid until it returns. */
ASOCK_EXPORT void *asock_op_get_slice(asock_op *op, size_t *ret_len);
/* The same, and the program keeps it until asock_pool_give(). NULL also when it was taken already.
 * Once it has been given back, also within the callback, both return NULL. */
ASOCK_EXPORT void *asock_op_take_slice(asock_op *op);
/*
 * Of a multishot without a callback: waits until it has bytes, at most timeout_ms (-1: no limit).
 * 1: here they are, taken; 0: it has ended, all bytes have been seen, its results can be read;
 * -ETIMEDOUT; -EINVAL: it is no such op; -EDEADLK as asock_op_wait. Submitted again it forgets
 * those that nobody has asked for.
 */
ASOCK_EXPORT int asock_receive_next(asock_op *op, int timeout_ms, void **ret, size_t *ret_len);

/* -------------------------------------------------------------------------------- begin and end
 *
 * The same over ops that the library makes: begin gives one with a reference that end takes.
 * callback may be NULL. A begin returns 1 or a negative errno (also -ENOMEM; *ret is NULL then),
 * never 0. With a dispatcher the callback may run, and end the op, before begin has returned.
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
 * As asock_end(); *ret is the new socket with a reference that the caller owns, NULL if the accept
 * failed. Since: 0.1.0
 */
ASOCK_EXPORT int asock_end_accept(asock_op *op, asock_socket **ret);
/*
 * Waits if need be; returns the op's enum asock_error and its bytes in *bytes (may be NULL). Once
 * per begin: a second end of an op that is still referenced gives -EINVAL. -EDEADLK as
 * asock_op_wait.
 */
ASOCK_EXPORT int asock_end(asock_op *op, uint64_t *bytes);
/* As asock_send_to() and asock_receive_from(). Since: 0.1.0 */
ASOCK_EXPORT int asock_begin_send_to(asock_socket *socket, const void *data, size_t len,
                                     const struct sockaddr *addr, socklen_t addr_len,
                                     asock_callback callback, void *userdata, asock_op **ret);
ASOCK_EXPORT int asock_begin_receive_from(asock_socket *socket, void *data, size_t len,
                                          asock_callback callback, void *userdata, asock_op **ret);
/*
 * As asock_end(); *from is the sender of the datagram, AF_UNSPEC if there is none. -EINVAL: from is
 * NULL. Since: 0.1.0
 */
ASOCK_EXPORT int asock_end_receive_from(asock_op *op, uint64_t *bytes,
                                        struct sockaddr_storage *from);

/* ------------------------------------------------------------------------------ one-call helpers
 *
 * These calls block. An asock_error is returned as its negative errno (asock_error_errno).
 * timeout_ms (-1: no limit) is the deadline of the op; send_all and receive_some then wait for its
 * end, which comes when the grace (asock_context_set_grace_ms()) is over, if not before: no buffer
 * stays in use. -EDEADLK inside a callback.
 */
ASOCK_EXPORT int asock_dial(asock_context *context, const char *host, const char *service,
                            int timeout_ms, asock_socket **ret);
/*
 * Connects like asock_dial() and returns, in *ret, the descriptor of the connected socket, for
 * read(2), write(2) and any event loop. The caller owns it; close(2) closes the connection, and the
 * context may end before. flags: 0, or bits of enum asock_dial_flag. Errors, beside those of
 * asock_dial():
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
 * 0: the kernel took all bytes. After any other result it is not known how many it took: send
 * nothing more on this socket, the peer would see a gap. Mostly it then refuses to send; not if the
 * send had not begun.
 */
ASOCK_EXPORT int asock_send_all(asock_socket *socket, const void *data, size_t len, int timeout_ms);
/* Bytes received, 0 at end of stream. */
ASOCK_EXPORT ssize_t asock_receive_some(asock_socket *socket, void *data, size_t len,
                                        int timeout_ms);
/*
 * As asock_resolve(). Returns the number of addresses; addresses (may be NULL with most 0) gets the
 * first `most` of them. Since: 0.1.0
 */
ASOCK_EXPORT int asock_lookup(asock_context *context, const char *host, int family, int timeout_ms,
                              struct sockaddr_storage *addresses, unsigned int most);
/*
 * The enum asock_error with which the last of these calls on the context ended, 0 if it succeeded
 * or failed without its operation; text (may be NULL with text_size 0) gets the daemon's words, or
 * "".
 */
ASOCK_EXPORT int asock_context_get_last_error(asock_context *context, char *text, size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
