# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong, as exceptions that programs already catch."""

import errno
import socket

from ._schema import pb

_ERRNO = {
    pb.ERROR_OPERATION_ABORTED: errno.ECANCELED,
    pb.ERROR_NETWORK_UNREACHABLE: errno.ENETUNREACH,
    pb.ERROR_HOST_UNREACHABLE: errno.EHOSTUNREACH,
    pb.ERROR_IS_CONNECTED: errno.EISCONN,
    pb.ERROR_ALREADY_IN_PROGRESS: errno.EALREADY,
    pb.ERROR_NOT_CONNECTED: errno.ENOTCONN,
    pb.ERROR_INVALID_ARGUMENT: errno.EINVAL,
    pb.ERROR_NOT_SOCKET: errno.ENOTSOCK,
    pb.ERROR_OPERATION_NOT_SUPPORTED: errno.EOPNOTSUPP,
    pb.ERROR_NO_BUFFER_SPACE: errno.ENOBUFS,
    pb.ERROR_TOO_MANY_OPEN_SOCKETS: errno.EMFILE,
    pb.ERROR_ADDRESS_NOT_AVAILABLE: errno.EADDRNOTAVAIL,
    pb.ERROR_ADDRESS_ALREADY_IN_USE: errno.EADDRINUSE,
    pb.ERROR_ADDRESS_FAMILY_NOT_SUPPORTED: errno.EAFNOSUPPORT,
    pb.ERROR_PROTOCOL_OPTION: errno.ENOPROTOOPT,
    pb.ERROR_PROTOCOL_NOT_SUPPORTED: errno.EPROTONOSUPPORT,
    pb.ERROR_NETWORK_DOWN: errno.ENETDOWN,
    pb.ERROR_NETWORK_RESET: errno.ENETRESET,
    pb.ERROR_HOST_DOWN: errno.EHOSTDOWN,
    pb.ERROR_MESSAGE_SIZE: errno.EMSGSIZE,
    pb.ERROR_PROTOCOL_ERROR: errno.EPROTO,
    pb.ERROR_NOT_FOUND: errno.ENOENT,
}


class AsockError(OSError):
    """An operation that failed.

    number   one of enum Error in proto/asock.proto
    text     what the daemon says about it, or ""; for a denial, the rule's reason
    partial  what a receive that failed had got
    errno    the nearest errno, or None

    Where Python has an exception for the error, the instance is one of these too: PermissionError for what
    policy denies, ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError,
    TimeoutError, socket.gaierror for names.
    """

    def __init__(self, number: int, text: str = "", partial: bytes = b"") -> None:
        super().__init__()
        self.number = number
        self.text = text
        self.partial = partial
        self.errno = _ERRNO.get(number, self.errno)

    @property
    def name(self) -> str:
        try:
            return pb.Error.Name(self.number).removeprefix("ERROR_")
        except ValueError:
            return f"error {self.number}"

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.text else self.name


def _kind(number, base, value):
    name = "".join(word.capitalize() for word in pb.Error.Name(number).removeprefix("ERROR_").split("_"))
    return type(name, (AsockError, base), {"errno": value, "__module__": __name__})


_KINDS = {number: _kind(number, base, value) for number, base, value in (
    (pb.ERROR_ACCESS_DENIED, PermissionError, errno.EACCES),
    (pb.ERROR_CONNECTION_REFUSED, ConnectionRefusedError, errno.ECONNREFUSED),
    (pb.ERROR_CONNECTION_RESET, ConnectionResetError, errno.ECONNRESET),
    (pb.ERROR_CONNECTION_ABORTED, ConnectionAbortedError, errno.ECONNABORTED),
    (pb.ERROR_SHUTDOWN, BrokenPipeError, errno.EPIPE),
    (pb.ERROR_TIMED_OUT, TimeoutError, errno.ETIMEDOUT),
    (pb.ERROR_HOST_NOT_FOUND, socket.gaierror, socket.EAI_NONAME),
    (pb.ERROR_NO_DATA, socket.gaierror, socket.EAI_NODATA),
    (pb.ERROR_TRY_AGAIN, socket.gaierror, socket.EAI_AGAIN),
    (pb.ERROR_NO_RECOVERY, socket.gaierror, socket.EAI_FAIL),
)}


def error_of(number: int, text: str = "", partial: bytes = b"") -> AsockError:
    """The exception of an error number."""
    return _KINDS.get(number, AsockError)(number, text, partial)
