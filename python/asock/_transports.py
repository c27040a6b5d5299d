# SPDX-License-Identifier: LGPL-2.1-or-later
"""asyncio's transports over a socket of a session: of a stream, and of datagrams. aio.py makes them.

A transport ends with its socket, its session or close(): the protocol's connection_lost() is called once, when the daemon
has answered the close.
"""

from __future__ import annotations

import asyncio
import asyncio.constants
import asyncio.transports
from typing import TYPE_CHECKING, Any, Callable, Optional, Tuple, Union

from ._core import DATAGRAM_MAX, Op, address_of
from ._schema import pb
from .errors import error_of

if TYPE_CHECKING:
    from .aio import Session

_HIGH_WATER = 64 * 1024
_LINGER_MS = 30_000  # of close(): what the peer has to take what was written


class _Ending:
    """What both kinds have: their socket, what was written to it, and how it ends."""

    _loop: asyncio.AbstractEventLoop
    _session: Session
    _sock: Any
    _protocol: Any

    def _attach(self, session: Session, sock: Any, protocol: Any) -> None:
        self._loop = session._loop
        self._session = session
        self._sock = sock
        self._protocol = protocol
        self._size = 0            # bytes that were written and not taken yet
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._protocol_paused = False  # pause_writing() was called; asyncio's sendfile() reads it by this name
        self._is_closing = False
        self._is_lost = False
        self._closing: Optional[Op] = None  # the close of the socket

    def _when_done(self, op: Op, callback: Callable) -> None:
        if op.done:
            self._loop.call_soon(callback, op)
        else:
            op.on_done = lambda op: self._loop.call_soon(callback, op)

    def get_write_buffer_size(self) -> int:
        return self._size

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self._low, self._high

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Receives no more; what was written goes out, then the socket closes. Does nothing the second time."""
        if not self._is_closing:
            self._is_closing = True
            self._close_if_sent()

    def _close_if_sent(self) -> None:
        if self._is_closing and self._is_all_sent() and not self._is_lost:
            self._lose(None, self._close_socket())

    def _is_all_sent(self) -> bool:
        raise NotImplementedError

    def _close_socket(self) -> Op:
        raise NotImplementedError

    def _go_on(self) -> None:
        """Something was sent."""
        if self._protocol_paused and self._size <= self._low:
            self._protocol_paused = False
            self._tell(self._protocol.resume_writing)
        self._close_if_sent()

    def _tell(self, call: Callable, *arguments: Any) -> None:
        """What the protocol raises ends nothing: after loop.sendfile() it may hear of the end of a pause that it never saw."""
        try:
            call(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # pylint: disable=broad-except
            self._loop.call_exception_handler(
                {"message": f"a protocol failed in {call.__name__}()", "exception": error, "transport": self,
                 "protocol": self._protocol})

    def abort(self) -> None:
        """Ends the socket at once; what was written may be lost."""
        self._force_close(None)

    def _force_close(self, error: Optional[BaseException]) -> None:
        """asyncio.sslproto calls it by this name, as it does of asyncio's own transports."""
        self._is_closing = True
        if not self._is_lost:
            self._lose(error, self._session.aborted(self._sock))
        elif self._closing is not None and not self._closing.done:
            self._session.hurry(self._closing)

    def _lose(self, error: Optional[BaseException], closing: Op) -> None:
        self._is_lost = True
        self._closing = closing

        def closed(op: Op) -> None:
            try:
                self._protocol.connection_lost(error)  # of now: a loop.sendfile() may have ended meanwhile
            finally:
                self._session.unused()

        self._when_done(closing, closed)


def fill_buffers(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view))).cast("B")  # type: ignore[arg-type]
        count = min(len(buffer), len(view))
        if count == 0:
            raise RuntimeError("get_buffer() returned an empty buffer")
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


class StreamTransport(_Ending, asyncio.transports._FlowControlMixin):
    """A connection, as asyncio.Transport describes it. loop.start_tls() and loop.sendfile() take it."""

    _start_tls_compatible = True
    _sendfile_compatible = asyncio.constants._SendfileMode.FALLBACK

    def __init__(self, session: Session, sock: Any, connected: Any, protocol: Any) -> None:
        super().__init__({"peername": address_of(connected.remote), "sockname": address_of(connected.local)}, session._loop)
        self._attach(session, sock, protocol)
        self._is_reading = True
        self._receive: Optional[Op] = None
        self._held: Optional[Op] = None  # came while reading was paused
        self._has_eof = False        # write_eof() was called
        self._has_seen_eof = False   # the protocol knows of the peer's

    def begin(self) -> None:
        """Before its maker returns: whoever has the protocol may use it then."""
        try:
            self._protocol.connection_made(self)
        except BaseException:
            self.abort()
            raise
        self._loop.call_soon(self._read)

    # ---- reading

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        if self._is_reading or self._is_closing:
            return
        self._is_reading = True
        held, self._held = self._held, None
        if held is not None:
            self._loop.call_soon(self._take, held)
        else:
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        if self._is_closing or self._has_seen_eof or not self._is_reading or self._receive is not None or \
                self._held is not None:
            return
        self._receive = self._sock.receive(self._session.limits.payload_max)
        self._when_done(self._receive, self._on_received)

    def _on_received(self, op: Op) -> None:
        self._receive = None
        if self._is_closing:
            return
        if op.error:
            self._force_close(error_of(op.error, op.text))
        elif self._is_reading:
            self._take(op)
        else:
            self._held = op

    def _take(self, op: Op) -> None:
        if self._is_closing:
            return
        if not self._is_reading:  # paused again before this callback ran
            self._held = op
            return
        try:
            if op.data:
                self._give(op.data)
            if op.end_of_stream and not self._is_closing:
                self._has_seen_eof = True
                if not self._protocol.eof_received():
                    self.close()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # pylint: disable=broad-except
            self._loop.call_exception_handler(
                {"message": "a protocol failed in data_received() or eof_received()", "exception": error, "transport": self,
                 "protocol": self._protocol})
            self._force_close(error)
            return
        self._read()

    def _give(self, data: bytes) -> None:
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            fill_buffers(self._protocol, data)
        else:
            self._protocol.data_received(data)

    # ---- writing

    def write(self, data: Union[bytes, bytearray, memoryview]) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        if self._has_eof:
            raise RuntimeError("cannot write after write_eof()")
        if not data or self._is_closing:
            return
        op = self._sock.send(bytes(data))
        length = len(op.rest)
        self._size += length
        self._when_done(op, lambda op: self._on_sent(op, length))
        if self._size > self._high and not self._protocol_paused:
            self._protocol_paused = True
            self._tell(self._protocol.pause_writing)

    def _on_sent(self, op: Op, length: int) -> None:
        self._size -= length
        if self._is_lost:
            return
        if op.error:
            self._force_close(error_of(op.error, op.text))
            return
        self._go_on()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._has_eof or self._is_closing:
            return
        self._has_eof = True
        self._sock.shutdown()

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and low at least 0")
        self._high, self._low = high, low

    # ---- ending

    def _is_all_sent(self) -> bool:
        return self._size == 0

    def _close_socket(self) -> Op:
        return self._sock.close(linger_ms=_LINGER_MS)


# Of a receive or a send of a datagram: something that the network has said, or about one datagram alone. The socket goes on.
_PASSING = {pb.ERROR_CONNECTION_REFUSED, pb.ERROR_HOST_UNREACHABLE, pb.ERROR_NETWORK_UNREACHABLE, pb.ERROR_NETWORK_DOWN,
            pb.ERROR_HOST_DOWN, pb.ERROR_MESSAGE_SIZE, pb.ERROR_CONNECTION_RESET}
_RECEIVES = 1  # that wait in the daemon; has_id() counts on one for each transport


class DatagramTransport(_Ending, asyncio.DatagramTransport):
    """A datagram socket, as asyncio.DatagramTransport describes it."""

    def __init__(self, session: Session, sock: Any, protocol: Any, local: Optional[tuple], peer: Optional[tuple]) -> None:
        super().__init__({name: address for name, address in (("sockname", local), ("peername", peer)) if address})
        self._attach(session, sock, protocol)
        self._has_peer = peer is not None
        self._sends = 0  # datagrams that were sent and not taken yet: they may be empty

    def begin(self) -> None:
        try:
            self._protocol.connection_made(self)
        except BaseException:
            self.abort()
            raise
        for _ in range(_RECEIVES):
            self._receive()

    def _receive(self) -> None:
        if not self._is_closing:
            self._when_done(self._sock.receive(DATAGRAM_MAX), self._on_received)

    def _on_received(self, op: Op) -> None:
        if self._is_closing:
            return
        if op.error and op.error not in _PASSING:
            self._force_close(error_of(op.error, op.text))
            return
        if op.error:
            self._tell(self._protocol.error_received, error_of(op.error, op.text))
        else:
            self._tell(self._protocol.datagram_received, op.data, address_of(op.body.remote))
        self._receive()

    def sendto(self, data: Union[bytes, bytearray, memoryview], addr: Optional[tuple] = None) -> None:
        """addr: (address, port), not a name; None where there is a peer."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        if self._is_closing:
            return
        if self._has_peer and addr is not None:
            if tuple(addr[:2]) != self.get_extra_info("peername")[:2]:
                raise ValueError("the address is not that of the peer")
            addr = None
        length = len(data)
        op = self._sock.send_datagram(bytes(data), addr)
        self._size += length
        self._sends += 1
        self._when_done(op, lambda op: self._on_sent(op, length))
        if self._size > self._high and not self._protocol_paused:
            self._protocol_paused = True
            self._tell(self._protocol.pause_writing)

    def _on_sent(self, op: Op, length: int) -> None:
        self._size -= length
        self._sends -= 1
        if self._is_lost:
            return
        if op.error and self._session.ended:
            self._force_close(error_of(op.error, op.text))
            return
        if op.error:
            self._tell(self._protocol.error_received, error_of(op.error, op.text))
        self._go_on()

    def _is_all_sent(self) -> bool:
        return self._sends == 0

    def _close_socket(self) -> Op:
        return self._sock.close()
