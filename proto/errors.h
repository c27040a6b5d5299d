/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_ERRORS_H
#define ASOCK_PROTO_ERRORS_H

/*
 * The one table of errors: wire number (enum Error of asock.proto), name, .NET's SocketError name,
 * the errno it stands for, text for people. Where several errnos mean the same error, the ones that
 * are not in this table are in asock_error_from_errno().
 */
#define ASOCK_ERRORS(X)                                                                            \
    X(0, SUCCESS, "Success", 0, "success")                                                         \
    X(1, OPERATION_ABORTED, "OperationAborted", ECANCELED, "operation aborted")                    \
    X(2, TIMED_OUT, "TimedOut", ETIMEDOUT, "timed out")                                            \
    X(3, CONNECTION_REFUSED, "ConnectionRefused", ECONNREFUSED, "connection refused")              \
    X(4, CONNECTION_RESET, "ConnectionReset", ECONNRESET, "connection reset by peer")              \
    X(5, CONNECTION_ABORTED, "ConnectionAborted", ECONNABORTED, "connection ended by the daemon")  \
    X(6, NETWORK_UNREACHABLE, "NetworkUnreachable", ENETUNREACH, "network is unreachable")         \
    X(7, HOST_UNREACHABLE, "HostUnreachable", EHOSTUNREACH, "no route to host")                    \
    X(8, HOST_NOT_FOUND, "HostNotFound", ENXIO, "host name not found")                             \
    X(9, NO_DATA, "NoData", ENODATA, "host name has no address")                                   \
    X(10, TRY_AGAIN, "TryAgain", EAGAIN, "name servers did not answer; try again")                 \
    X(11, NO_RECOVERY, "NoRecovery", ENOTRECOVERABLE, "name resolution failed")                    \
    X(12, ACCESS_DENIED, "AccessDenied", EACCES, "access denied by policy")                        \
    X(13, IS_CONNECTED, "IsConnected", EISCONN, "socket is already connected")                     \
    X(14, ALREADY_IN_PROGRESS, "AlreadyInProgress", EALREADY, "connect already in progress")       \
    X(15, NOT_CONNECTED, "NotConnected", ENOTCONN, "socket is not connected")                      \
    X(16, SHUTDOWN, "Shutdown", EPIPE, "sending has been shut down")                               \
    X(17, INVALID_ARGUMENT, "InvalidArgument", EINVAL, "invalid argument")                         \
    X(18, NOT_SOCKET, "NotSocket", ENOTSOCK, "no such socket")                                     \
    X(19, OPERATION_NOT_SUPPORTED, "OperationNotSupported", EOPNOTSUPP, "operation not supported") \
    X(20, NO_BUFFER_SPACE, "NoBufferSpaceAvailable", ENOBUFS, "over a limit or out of memory")     \
    X(21, TOO_MANY_OPEN_SOCKETS, "TooManyOpenSockets", EMFILE, "too many open sockets")            \
    X(22, ADDRESS_NOT_AVAILABLE, "AddressNotAvailable", EADDRNOTAVAIL, "address not available")    \
    X(23, ADDRESS_ALREADY_IN_USE, "AddressAlreadyInUse", EADDRINUSE, "address already in use")     \
    X(24, ADDRESS_FAMILY_NOT_SUPPORTED, "AddressFamilyNotSupported", EAFNOSUPPORT,                 \
      "address family not supported")                                                              \
    X(25, PROTOCOL_OPTION, "ProtocolOption", ENOPROTOOPT, "unknown option")                        \
    X(26, PROTOCOL_NOT_SUPPORTED, "ProtocolNotSupported", EPROTONOSUPPORT,                         \
      "protocol not supported")                                                                    \
    X(27, SOCKET_NOT_SUPPORTED, "SocketNotSupported", ESOCKTNOSUPPORT,                             \
      "socket type not supported")                                                                 \
    X(28, NETWORK_DOWN, "NetworkDown", ENETDOWN, "network is down")                                \
    X(29, NETWORK_RESET, "NetworkReset", ENETRESET, "network dropped the connection")              \
    X(30, HOST_DOWN, "HostDown", EHOSTDOWN, "host is down")                                        \
    X(31, MESSAGE_SIZE, "MessageSize", EMSGSIZE, "message too long")                               \
    X(32, FAULT, "Fault", EFAULT, "bad address")                                                   \
    X(33, PROTOCOL_ERROR, "ProtocolError", EPROTO, "protocol error")                               \
    X(34, VERSION_NOT_SUPPORTED, "VersionNotSupported", EPROTOTYPE,                                \
      "protocol version not supported")                                                            \
    X(35, SOCKET_ERROR, "SocketError", EIO, "socket error")                                        \
    X(36, NOT_FOUND, "NotFound", ESRCH, "no such ID")

enum asock_wire_error {
#define X(wire, name, dotnet, err, text) ERR_##name = wire,
    ASOCK_ERRORS(X)
#undef X
        ERR_COUNT
};

/* Any errno, positive or negative; one without an entry is ERR_SOCKET_ERROR; 0 is ERR_SUCCESS. */
enum asock_wire_error asock_error_from_errno(int err);

/* The errno (positive) of an error; EIO for a number that is not in the table. */
int asock_error_to_errno(unsigned int error);

/* SocketError's name, a text for people; never NULL, static. */
const char *asock_error_to_name(unsigned int error);
const char *asock_error_to_text(unsigned int error);

#endif
