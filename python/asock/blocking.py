# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets that block, for programs written for socket.socket."""

from __future__ import annotations

import io
import socket as _socket
import time
from typing import Any, Optional, Tuple, Union

from ._core import DATAGRAM_MAX, DISCONNECTED, address_of
from ._schema import pb
from .client import GRACE, Client
from .errors import AsockError, error_of

__all__ = ["DatagramSocket", "Socket", "create_connection"]

_PIECE = 1 << 20  # of a send: what the queue takes at a time
_HOW = {_socket.SHUT_RD: pb.HOW_RECEIVE, _socket.SHUT_WR: pb.HOW_SEND, _socket.SHUT_RDWR: pb.HOW_BOTH}
_OPTIONS = {
    (_socket.SOL_SOCKET, _socket.SO_KEEPALIVE): pb.OPTION_KEEP_ALIVE,
    (_socket.IPPROTO_TCP, _socket.TCP_NODELAY): pb.OPTION_NO_DELAY,
}


class _Base:
    """What both kinds of socket have: a session of their own, a timeout, endpoints."""

    _is_datagram = False

    def __init__(self, path: Optional[str] = None, *, name: str = "") -> None:
        self._client = Client(path, name=name)
        try:
            self._sock = self._client.socket(datagram=self._is_datagram)
        except BaseException:
            self._client.disconnect()
            raise
        self._timeout: Optional[float] = None
        self._connected: Any = None
        self._receiving: Any = None  # a receive that an exception, KeyboardInterrupt say, left pending

    def __exit__(self, *_: Any) -> None:
        self.close()

    # ---- waiting

    def settimeout(self, timeout: Optional[float]) -> None:
        """Seconds that each following call may take; None: no limit. 0 is refused: it never does not block.

        The daemon keeps the time. If it does not answer for 10 seconds more, the call raises TimeoutError and the session ends.
        """
        if timeout is not None and timeout <= 0:
            raise ValueError("the timeout must be greater than 0, or None")
        self._timeout = timeout

    def gettimeout(self) -> Optional[float]:
        return self._timeout

    def _timeout_ms(self) -> int:
        return 0 if self._timeout is None else max(1, round(min(self._timeout * 1000, 0xffffffff)))

    def _wait(self, op: Any) -> Any:
        self._await(op)
        return op.outcome()

    def _await(self, op: Any, is_old: bool = False) -> None:
        """is_old: an earlier call has left it pending, so the daemon does not know the time that this call may take."""
        try:
            self._client.wait_for(op, None if self._timeout is None else self._timeout + (0 if is_old else GRACE))
        except TimeoutError:
            if op.done:
                raise
            if is_old:
                raise error_of(pb.ERROR_TIMED_OUT, "timed out") from None
            error = error_of(pb.ERROR_TIMED_OUT, "the daemon does not answer")
            self._client.end(error)
            raise error from None

    def _await_receive(self, size: int, wait_all: bool = False) -> Any:
        """Waits for _receiving, a new one or one that an exception has left. Until it is taken the next call finds it, too."""
        is_old = self._receiving is not None
        if not is_old:
            self._client._whole(self._begin_receive, size, wait_all)
        op = self._receiving
        self._await(op, is_old)
        return op

    def _begin_receive(self, size: int, wait_all: bool) -> None:
        self._receiving = self._sock.receive(size, wait_all=wait_all, timeout_ms=self._timeout_ms())

    def _take_receive(self, op: Any) -> bool:
        """False: its connection has ended meanwhile, by a disconnect that an exception had left pending."""
        is_current, self._receiving = self._receiving is op, None
        return is_current

    def _deadline(self) -> Optional[float]:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _left_ms(self, deadline: Optional[float]) -> int:
        if deadline is None:
            return 0
        left = deadline - time.monotonic()
        if left <= 0:
            raise error_of(pb.ERROR_TIMED_OUT, "timed out")
        return max(1, round(min(left * 1000, 0xffffffff)))

    def connect(self, address: tuple) -> None:
        """(host, port). The daemon resolves a name; port is a number or a service's name."""
        op = self._sock.connect(address[0], address[1], timeout_ms=self._timeout_ms())
        self._wait(op)
        self._connected = op.body

    def disconnect(self) -> None:
        """Ends the connection, and connect() can be called again. What has been received and not read is lost.

        The peer gets what was sent, and the end of the stream. ConnectionResetError says that it got a reset instead; then, too,
        connect() can be called.
        """
        self._wait(self._client._whole(self._begin_disconnect))

    def _begin_disconnect(self) -> Any:
        op = self._sock.disconnect(timeout_ms=self._timeout_ms())
        op.on_done = self._disconnected  # also behind an exception that has left it pending
        return op

    def _disconnected(self, op: Any) -> None:
        if op.error in DISCONNECTED:
            self._forget_connection()

    def _forget_connection(self) -> None:
        self._connected = self._receiving = None

    def close(self) -> None:
        """The peer gets what was sent, and the end of the stream. Does nothing the second time."""
        if self._client.ended:
            return
        try:
            self._client.wait_for(self._sock.close(), 10)
        except OSError:
            pass  # the session has ended, and the socket with it
        self._client.disconnect()

    def getpeername(self) -> tuple:
        return address_of(self._endpoints().remote)

    def getsockname(self) -> tuple:
        return address_of(self._endpoints().local)

    def _endpoints(self) -> Any:
        if self._connected is None:
            raise error_of(pb.ERROR_NOT_CONNECTED)
        return self._connected


class Socket(_Base):
    """A TCP socket in the daemon, in a session of its own.

    Its methods do what those of socket.socket do, and raise AsockError, which is an OSError and, where
    Python has one, of the class that socket.socket raises. One thread at a time may use it, but for two
    that each have a Socket. There is no fileno(): the descriptor is the daemon's. Use asock.aio to wait
    for many.

    path: the daemon's socket; None: what ASOCK_FD or ASOCK_SOCKET say, or the system's daemon.
    """

    def __init__(self, path: Optional[str] = None, *, name: str = "") -> None:
        super().__init__(path, name=name)
        self._ended = False     # the peer's end of stream has been seen
        self._rest = bytearray()  # what receives got, and no recv() has returned

    def __enter__(self) -> Socket:
        return self

    def _forget_connection(self) -> None:
        super()._forget_connection()
        self._ended = False
        self._rest.clear()

    # ---- the calls of socket.socket

    def sendall(self, data: Union[bytes, bytearray, memoryview]) -> None:
        """Returns when the kernel of the daemon's network has taken all of it. A timeout breaks the stream."""
        view = memoryview(data).cast("B")
        deadline = self._deadline()
        for start in range(0, len(view), _PIECE):
            self._wait(self._sock.send(bytes(view[start:start + _PIECE]), timeout_ms=self._left_ms(deadline)))

    def send(self, data: Union[bytes, bytearray, memoryview]) -> int:
        """As sendall(), of at most 1 MiB; the number of bytes."""
        view = memoryview(data).cast("B")[:_PIECE]
        self.sendall(view)
        return len(view)

    def sendfile(self, file: Any, offset: int = 0, count: Optional[int] = None) -> int:
        """Sends a file that was opened in binary mode, from offset on: count bytes, or up to its end. Returns how many.

        Behind the call, and where it raises, the file's position is after the last byte that was sent. A timeout is that of all
        of them, and breaks the stream.
        """
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("the file must be opened in binary mode")
        if count is not None and count <= 0:
            raise ValueError("count must be greater than 0, or None")
        deadline = self._deadline()
        total = 0
        file.seek(offset)
        try:
            while count is None or total < count:
                data = file.read(_PIECE if count is None else min(_PIECE, count - total))
                if data is None:
                    raise BlockingIOError("no data is available in the file at the moment")
                if not data:
                    break
                op = self._sock.send(data, timeout_ms=self._left_ms(deadline))
                try:
                    self._wait(op)
                finally:
                    total += op.bytes
        finally:
            file.seek(offset + total)
        return total

    def recv(self, size: int, flags: int = 0) -> bytes:
        """1 to size bytes; none at the peer's end of stream. Only MSG_WAITALL is known of the flags."""
        if flags & ~_socket.MSG_WAITALL:
            raise ValueError("MSG_WAITALL is the only supported flag")
        if size < 0:
            raise ValueError("negative size")
        if size == 0:
            return b""
        try:
            while len(self._rest) < (size if flags else 1) and self._fetch(size - len(self._rest), bool(flags)):
                pass
        except AsockError as error:
            error.partial = bytes(self._rest) + error.partial
            self._rest.clear()
            raise
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data

    def _fetch(self, size: int, wait_all: bool) -> bool:
        """Adds what comes next to _rest; False: the stream has ended."""
        if self._ended:
            return False
        op = self._await_receive(min(size, self._client.limits.payload_max), wait_all)
        return bool(self._client._whole(self._keep, op).outcome())

    def _keep(self, op: Any) -> Any:
        if self._take_receive(op) and not op.error:
            self._rest += op.data
            self._ended = op.end_of_stream
        return op

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        data = self.recv(min(size or len(view), len(view)), flags)
        view[:len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        """socket.SHUT_RD, SHUT_WR or SHUT_RDWR."""
        self._wait(self._sock.shutdown(_HOW[how]))

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """TCP_NODELAY and SO_KEEPALIVE."""
        known = _OPTIONS.get((level, option))
        if known is None:
            raise error_of(pb.ERROR_PROTOCOL_OPTION, f"option {option} of level {level}")
        self._wait(self._sock.set_option(known, int(value)))

    def getsockopt(self, level: int, option: int) -> int:
        known = _OPTIONS.get((level, option))
        if known is None:
            raise error_of(pb.ERROR_PROTOCOL_OPTION, f"option {option} of level {level}")
        op = self._sock.get_option(known)
        self._wait(op)
        return int(op.body.number)

    def makefile(self, mode: str = "r", buffering: int = -1, *, encoding: Optional[str] = None,
                 errors: Optional[str] = None, newline: Optional[str] = None) -> Any:
        """As socket.makefile(); closing the file does not close the socket."""
        if set(mode) - set("rwb"):
            raise ValueError(f"invalid mode {mode!r}")
        raw = _Raw(self, "r" in mode or "w" not in mode, "w" in mode)
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering
        stream: Any
        if raw.readable() and raw.writable():
            stream = io.BufferedRWPair(raw, raw, size)
        else:
            stream = io.BufferedReader(raw, size) if raw.readable() else io.BufferedWriter(raw, size)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding, errors, newline)


class DatagramSocket(_Base):
    """A UDP socket in the daemon, in a session of its own: the methods of socket.socket, as Socket has them.

    Each call sends or receives one datagram, whole or not at all. Policy judges each destination (Allow=udp). The first address
    that it sends to, binds to or connects to decides the family.
    """

    _is_datagram = True

    def __enter__(self) -> DatagramSocket:
        return self

    def bind(self, address: tuple) -> None:
        """(address, port), port 0 for one that the kernel chooses. A Listen=udp rule has to allow it."""
        op = self._sock.bind(address)
        self._wait(op)
        self._connected = op.body

    def sendto(self, data: Union[bytes, bytearray, memoryview], address: tuple) -> int:
        """address: (address, port); a name is for connect(). Returns the number of bytes: all of them."""
        self._wait(self._sock.send_datagram(bytes(data), address, timeout_ms=self._timeout_ms()))
        return len(data)

    def send(self, data: Union[bytes, bytearray, memoryview]) -> int:
        """To the peer that connect() has fixed."""
        self._wait(self._sock.send_datagram(bytes(data), timeout_ms=self._timeout_ms()))
        return len(data)

    def recvfrom(self, size: int) -> Tuple[bytes, tuple]:
        """The next datagram, cut to size bytes, and who sent it. An empty one is b"", which is no end of anything."""
        if size <= 0:
            raise ValueError("the size must be greater than 0")
        op = self._await_receive(min(size, DATAGRAM_MAX))
        self._take_receive(op)
        return op.outcome()[:size], address_of(op.body.remote)

    def recv(self, size: int) -> bytes:
        return self.recvfrom(size)[0]

    def getsockname(self) -> tuple:
        """Known from the first datagram, bind() or connect() on."""
        op = self._sock.get_option(pb.OPTION_LOCAL_ENDPOINT)
        self._wait(op)
        return address_of(op.body.endpoint)

    def getpeername(self) -> tuple:
        if self._connected is None or not self._connected.HasField("remote"):
            raise error_of(pb.ERROR_NOT_CONNECTED)
        return address_of(self._connected.remote)


class _Raw(io.RawIOBase):

    def __init__(self, sock: Socket, readable: bool, writable: bool) -> None:
        super().__init__()
        self._sock, self._readable, self._writable = sock, readable, writable

    def readable(self) -> bool:
        return self._readable

    def writable(self) -> bool:
        return self._writable

    def readinto(self, buffer: Any) -> int:
        return self._sock.recv_into(buffer)

    def write(self, data: Any) -> int:
        return self._sock.send(data)


def create_connection(address: tuple, timeout: Optional[float] = None, *, path: Optional[str] = None) -> Socket:
    """A connected Socket, as socket.create_connection() makes one. timeout: of the connect and of each call."""
    sock = Socket(path)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
