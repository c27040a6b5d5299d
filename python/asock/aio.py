# SPDX-License-Identifier: LGPL-2.1-or-later
"""asyncio over asockd: open_connection(), create_connection() and create_datagram_endpoint(), as asyncio itself has them.

    reader, writer = await asock.aio.open_connection("www.example.org", 80)

One Session carries any number of connections. Without one of your own, connections of an event loop share a
session that ends with the last of them. Nothing here is for more than one thread.
"""

from __future__ import annotations

import asyncio
import collections
import os
import ssl as _ssl
import weakref
from typing import Any, Callable, Optional, Tuple, Union

from ._core import DATAGRAM_MAX, Core, Op, address_of
from ._schema import pb
from .client import connect_unix
from .errors import AsockError, error_of

__all__ = ["Session", "create_connection", "create_datagram_endpoint", "open_connection"]

_HIGH_WATER = 64 * 1024
_LINGER_MS = 30_000  # of close(): what the peer has to take what was written


class Session(Core, asyncio.Protocol):
    """A session with the daemon. Make one with Session.connect(), and close() it."""

    def __init__(self, name: str = "") -> None:
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._may_write = True
        self._flush_due = False
        self._grants: collections.deque = collections.deque()  # who waits for a larger grant
        self._lost: asyncio.Future = self._loop.create_future()
        self._opening = 0  # coroutines in socket(): they are about to have one
        self._ends_when_unused = False
        super().__init__(name)

    @classmethod
    async def connect(cls, path: Optional[str] = None, fd: Optional[int] = None, *, name: str = "") -> Session:
        """path: the daemon's socket; fd: a connected one that was inherited; neither: ASOCK_FD, ASOCK_SOCKET or
        the system's daemon. name: what the administrator sees."""
        loop = asyncio.get_running_loop()
        wire = await loop.run_in_executor(None, connect_unix, path, fd)
        wire.setblocking(False)
        _, session = await loop.create_unix_connection(lambda: cls(name), sock=wire)
        return session

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.close()
        await self.wait_closed()

    def close(self) -> None:
        """End the session. Its connections end with ConnectionAbortedError."""
        self.end(error_of(pb.ERROR_CONNECTION_ABORTED, "the session was closed"))

    async def wait_closed(self) -> None:
        await asyncio.shield(self._lost)

    async def restrict_to(self, rules: str) -> None:
        """Bind the session, permanently, by rules of asockd.policy(5)."""
        await self.run(self.restrict(rules))

    # ---- the Unix socket

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self.ended:
            transport.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.ended:
            return
        self.feed(data)
        while self._grants and not self.welcomes_due:
            waiter = self._grants.popleft()
            if not waiter.done():
                waiter.set_result(None)
        self._flush()

    def eof_received(self) -> None:
        self.feed(b"")

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.end(error_of(pb.ERROR_CONNECTION_ABORTED, str(error) if error else "the daemon closed the session"))
        if not self._lost.done():
            self._lost.set_result(None)
        task = _shared.get(self._loop)
        if _session_of(task) is self:
            del _shared[self._loop]  # the session holds the loop

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._flush()

    def end(self, error: AsockError) -> None:
        super().end(error)
        while self._grants:
            waiter = self._grants.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def _submit(self, sock: Any, op: Op) -> Op:
        op = super()._submit(sock, op)
        # What one callback asks for leaves together.
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return op

    def _flush(self) -> None:
        self._flush_due = False
        while self._may_write and not self.ended and self._transport is not None:
            self.fill()
            if not self.output:
                return
            data, self.output = self.output, bytearray()
            self._transport.write(data)

    # ---- ops and sockets

    def future(self, op: Op) -> asyncio.Future:
        """Done when the op is; its result is the op."""
        future = self._loop.create_future()

        def done(op: Op) -> None:
            if not future.done():
                future.set_result(op)

        if op.done:
            done(op)
        else:
            op.on_done = done
        return future

    async def run(self, op: Op) -> Any:
        """What op.outcome() gives, when there is one."""
        return (await self.future(op)).outcome()

    async def socket(self, datagram: bool = False) -> Any:
        """A socket of the session; asks for a larger grant where there is none left."""
        self._opening += 1
        try:
            while not self.has_id() and not self.ended:
                before = self.limits.sockets
                asks = not self.welcomes_due  # else: the answer that comes next is to another question
                if asks:
                    self.ask_for_sockets()
                    self._flush()
                waiter = self._loop.create_future()
                self._grants.append(waiter)
                await waiter
                if asks and not self.has_id() and self.limits.sockets == before:
                    break
            if self.ended:
                raise self.ended
            return self.open(datagram=datagram)
        finally:
            self._opening -= 1

    def unused(self) -> None:
        """A socket is gone."""
        if self._ends_when_unused and not self.sockets and not self._opening:
            self.close()

    def aborted(self, sock: Any) -> Op:
        """The abort of a socket. Behind the last one's the session ends at once: the loop may end before an answer comes."""
        op = sock.close(abort=True)
        if self._ends_when_unused and not op.done:
            self._loop.call_soon(self._end_behind, sock)
        return op

    def _end_behind(self, sock: Any) -> None:
        self._flush()
        is_last = all(other is sock for other in self.sockets.values()) and not self._opening
        if is_last and not self.ended and not self.output and self._transport.get_write_buffer_size() == 0:
            self.close()

    def abandon(self, sock: Any) -> None:
        """A socket that came to nothing."""
        op = self.aborted(sock)
        if op.done:
            self.unused()
        else:
            op.on_done = lambda op: self.unused()


class _Transport(asyncio.Transport):
    """A connection, as asyncio.Transport describes it."""

    _start_tls_compatible = True

    def __init__(self, session: Session, sock: Any, connected: Any, protocol: Any) -> None:
        super().__init__({"peername": address_of(connected.remote), "sockname": address_of(connected.local)})
        self._loop = session._loop
        self._session = session
        self._sock = sock
        self._protocol = protocol
        self._size = 0               # bytes that were written and not taken yet
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._is_pausing = False     # pause_writing() was called
        self._is_reading = True
        self._receive: Optional[Op] = None
        self._held: Optional[Op] = None  # came while reading was paused
        self._has_eof = False        # write_eof() was called
        self._has_seen_eof = False   # the protocol knows of the peer's
        self._is_closing = False
        self._is_lost = False

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

    def _when_done(self, op: Op, callback: Callable) -> None:
        if op.done:
            self._loop.call_soon(callback, op)
        else:
            op.on_done = lambda op: self._loop.call_soon(callback, op)

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
            _fill_buffers(self._protocol, data)
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
        if self._size > self._high and not self._is_pausing:
            self._is_pausing = True
            self._protocol.pause_writing()

    def _on_sent(self, op: Op, length: int) -> None:
        self._size -= length
        if self._is_lost:
            return
        if op.error:
            self._force_close(error_of(op.error, op.text))
            return
        if self._is_pausing and self._size <= self._low:
            self._is_pausing = False
            self._protocol.resume_writing()
        if self._is_closing and self._size == 0:
            self._close_socket()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._has_eof or self._is_closing:
            return
        self._has_eof = True
        self._sock.shutdown()

    def get_write_buffer_size(self) -> int:
        return self._size

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and low at least 0")
        self._high, self._low = high, low

    # ---- ending

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Stops reading; what was written goes out, then the connection ends."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._size == 0:
            self._close_socket()

    def abort(self) -> None:
        """Ends the connection at once; what was written may be lost."""
        self._force_close(None)

    def _close_socket(self) -> None:
        if not self._is_lost:
            self._lose(None, self._sock.close(linger_ms=_LINGER_MS))

    def _force_close(self, error: Optional[BaseException]) -> None:
        """asyncio.sslproto calls it by this name, as it does of asyncio's own transports."""
        self._is_closing = True
        if not self._is_lost:
            self._lose(error, self._session.aborted(self._sock))

    def _lose(self, error: Optional[BaseException], closing: Op) -> None:
        self._is_lost = True
        session, protocol = self._session, self._protocol

        def closed(op: Op) -> None:
            try:
                protocol.connection_lost(error)
            finally:
                session.unused()

        self._when_done(closing, closed)


# Of a receive or a send of a datagram: something that the network has said, or about one datagram alone. The socket goes on.
_PASSING = {pb.ERROR_CONNECTION_REFUSED, pb.ERROR_HOST_UNREACHABLE, pb.ERROR_NETWORK_UNREACHABLE, pb.ERROR_NETWORK_DOWN,
            pb.ERROR_HOST_DOWN, pb.ERROR_MESSAGE_SIZE, pb.ERROR_CONNECTION_RESET}
_RECEIVES = 8  # that wait in the daemon: so many datagrams may come with one wake-up


class _DatagramTransport(asyncio.DatagramTransport):
    """A datagram socket, as asyncio.DatagramTransport describes it."""

    def __init__(self, session: Session, sock: Any, protocol: Any, local: Optional[tuple], peer: Optional[tuple]) -> None:
        super().__init__({name: address for name, address in (("sockname", local), ("peername", peer)) if address})
        self._loop = session._loop
        self._session = session
        self._sock = sock
        self._protocol = protocol
        self._has_peer = peer is not None
        self._size = 0   # bytes that were sent and not taken yet
        self._sends = 0  # and datagrams: they may be empty
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._is_pausing = False
        self._is_closing = False
        self._is_lost = False

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

    def _when_done(self, op: Op, callback: Callable) -> None:
        if op.done:
            self._loop.call_soon(callback, op)
        else:
            op.on_done = lambda op: self._loop.call_soon(callback, op)

    def _tell(self, call: Callable, *arguments: Any) -> None:
        try:
            call(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # pylint: disable=broad-except
            self._loop.call_exception_handler(
                {"message": f"a protocol failed in {call.__name__}()", "exception": error, "transport": self,
                 "protocol": self._protocol})

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
                raise ValueError("the address is not the peer's")
            addr = None
        length = len(data)
        op = self._sock.send_datagram(bytes(data), addr)
        self._size += length
        self._sends += 1
        self._when_done(op, lambda op: self._on_sent(op, length))
        if self._size > self._high and not self._is_pausing:
            self._is_pausing = True
            self._protocol.pause_writing()

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
        if self._is_pausing and self._size <= self._low:
            self._is_pausing = False
            self._protocol.resume_writing()
        if self._is_closing and self._sends == 0 and not self._is_lost:
            self._lose(None, self._sock.close())

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
        """Receives no more; what was sent goes out first."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._sends == 0:
            self._lose(None, self._sock.close())

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, error: Optional[BaseException]) -> None:
        self._is_closing = True
        if not self._is_lost:
            self._lose(error, self._session.aborted(self._sock))

    def _lose(self, error: Optional[BaseException], closing: Op) -> None:
        self._is_lost = True
        session, protocol = self._session, self._protocol

        def closed(op: Op) -> None:
            try:
                protocol.connection_lost(error)
            finally:
                session.unused()

        self._when_done(closing, closed)


class _Early(asyncio.Protocol):
    """Holds the place of a protocol during a TLS handshake; keeps what comes with the end of it."""

    def __init__(self) -> None:
        self.calls: list = []

    def data_received(self, data: bytes) -> None:
        self.calls.append(("data", data))

    def eof_received(self) -> bool:
        self.calls.append(("eof", None))
        return True

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.calls.append(("lost", error))

    def pass_on(self, protocol: Any, transport: Any) -> None:
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for what, value in self.calls:
            if what == "data" and isinstance(protocol, asyncio.BufferedProtocol):
                _fill_buffers(protocol, value)
            elif what == "data":
                protocol.data_received(value)
            elif what == "lost":
                protocol.connection_lost(value)
            elif not protocol.eof_received():
                transport.close()


def _fill_buffers(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view))).cast("B")  # type: ignore[arg-type]
        count = min(len(buffer), len(view))
        if count == 0:
            raise RuntimeError("get_buffer() returned an empty buffer")
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


_shared: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # loop: the session of all, or its future


def _session_of(task: Optional[asyncio.Task]) -> Optional[Session]:
    """What a task has connected."""
    if task is None or not task.done() or task.cancelled() or task.exception():
        return None
    return task.result()


def _forsaken(task: asyncio.Task) -> None:
    """Who asked for it was cancelled. Others that wait for it get their sockets first."""
    session = _session_of(task)
    if session is not None:
        session._loop.call_soon(session._loop.call_soon, session.unused)


async def _connect_shared() -> Session:
    is_inherited = bool(os.environ.get("ASOCK_FD"))
    session = await Session.connect()
    session._ends_when_unused = not is_inherited  # there is no second one
    return session


async def _shared_session() -> Session:
    loop = asyncio.get_running_loop()
    task = _shared.get(loop)
    session = _session_of(task)
    if task is None or task.done() and (session is None or session.ended):
        task = _shared[loop] = loop.create_task(_connect_shared())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_forsaken)
        raise


async def _connected(session: Session, host: str, port: Union[int, str], timeout: Optional[float]) -> Tuple[Any, Any]:
    sock = await session.socket()
    try:
        op = sock.connect(host, port, timeout_ms=0 if timeout is None else max(1, round(timeout * 1000)))
        await session.run(op)
    except BaseException:
        session.abandon(sock)
        raise
    return sock, op.body


async def create_connection(protocol_factory: Callable[[], Any], host: str, port: Union[int, str], *,
                            session: Optional[Session] = None, timeout: Optional[float] = None,
                            ssl: Union[None, bool, _ssl.SSLContext] = None,
                            server_hostname: Optional[str] = None) -> Tuple[Any, Any]:
    """(transport, protocol), as loop.create_connection() gives them.

    host: an address, or a name, which the daemon resolves. port: a number, or a service's name. timeout: seconds
    for the connect; None: the kernel's. ssl, server_hostname: as in asyncio; TLS ends in this process. Raises
    AsockError: PermissionError where policy denies, with the rule's reason; see asock.errors.
    """
    if server_hostname is not None and not ssl:
        raise ValueError("server_hostname is only meaningful with ssl")
    session = session or await _shared_session()
    sock, connected = await _connected(session, host, port, timeout)
    try:
        protocol = protocol_factory()
    except BaseException:
        session.abandon(sock)
        raise
    if not ssl:
        plain = _Transport(session, sock, connected, protocol)
        plain.begin()
        return plain, protocol
    context = _ssl.create_default_context() if ssl is True else ssl
    early = _Early()
    plain = _Transport(session, sock, connected, asyncio.Protocol())
    try:
        transport = await session._loop.start_tls(
            plain, early, context, server_hostname=host if server_hostname is None else server_hostname)
    except BaseException:
        plain.abort()
        raise
    early.pass_on(protocol, transport)
    return transport, protocol


async def open_connection(host: str, port: Union[int, str], *, limit: int = 2 ** 16,
                          **options: Any) -> Tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """(reader, writer), as asyncio.open_connection() gives them. limit: of the reader; options: create_connection()'s."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await create_connection(lambda: protocol, host, port, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def create_datagram_endpoint(protocol_factory: Callable[[], Any], local_addr: Optional[tuple] = None,
                                   remote_addr: Optional[tuple] = None, *, session: Optional[Session] = None,
                                   timeout: Optional[float] = None) -> Tuple[Any, Any]:
    """(transport, protocol), as loop.create_datagram_endpoint() gives them.

    local_addr: (address, port) to bind, where a Listen=udp rule allows it. remote_addr: (host, port) of the only peer; the daemon
    resolves a name. With neither, sendto() has an address each time. timeout: seconds for the name. The errors of single
    datagrams, denials too, go to error_received(); so does what the network reports. Raises AsockError.
    """
    session = session or await _shared_session()
    sock = await session.socket(datagram=True)
    local = peer = None
    try:
        if local_addr is not None:
            op = sock.bind(local_addr)
            await session.run(op)
            local = address_of(op.body.local)
        if remote_addr is not None:
            op = sock.connect(*remote_addr[:2], timeout_ms=0 if timeout is None else max(1, round(timeout * 1000)))
            await session.run(op)
            local, peer = address_of(op.body.local), address_of(op.body.remote)
        protocol = protocol_factory()
    except BaseException:
        session.abandon(sock)
        raise
    transport = _DatagramTransport(session, sock, protocol, local, peer)
    transport.begin()
    return transport, protocol
