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

from ._core import Core, Op, address_of
from ._schema import pb
from ._transports import DatagramTransport, StreamTransport, fill_buffers
from .client import GRACE, connect_unix
from .errors import AsockError, error_of

__all__ = ["Session", "create_connection", "create_datagram_endpoint", "open_connection"]


def _fail_silent(future: asyncio.Future) -> None:
    if not future.done():
        future.set_exception(error_of(pb.ERROR_TIMED_OUT, "the daemon does not answer"))


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

    async def run(self, op: Op, timeout: Optional[float] = None) -> Any:
        """What op.outcome() gives, when there is one. timeout: the op's, in seconds, which the daemon keeps."""
        return (await self._patiently(self.future(op), timeout)).outcome()

    async def _patiently(self, future: asyncio.Future, timeout: Optional[float]) -> Any:
        if timeout is None:
            return await future
        late = self._loop.call_later(timeout + GRACE, _fail_silent, future)
        try:
            return await future
        finally:
            late.cancel()

    def has_id(self) -> bool:
        """A transport always has a receive pending: a socket without a second op could not send."""
        return super().has_id() and len(self.sockets) < max(1, self.limits.ops // 2)

    async def socket(self, datagram: bool = False, timeout: Optional[float] = None) -> Any:
        """A socket of the session; asks for a larger grant where there is none left."""
        self._opening += 1
        try:
            await self._wait_for_id(timeout)
            sock = self.open(datagram=datagram)
        except BaseException:
            self._opening -= 1
            self.unused()  # nobody else may be left to end it
            raise
        self._opening -= 1
        return sock

    async def _wait_for_id(self, timeout: Optional[float]) -> None:
        """Or until the daemon has said that there is none."""
        while not self.has_id() and not self.ended:
            before = self.limits.sockets, self.limits.ops
            asks = not self.welcomes_due  # else: the answer that comes next is to another question
            if asks:
                if super().has_id():  # operations are short, not sockets
                    self.hello(ops=4 * (len(self.sockets) + 1))
                else:
                    self.ask_for_sockets()
                self._flush()
            waiter = self._loop.create_future()
            self._grants.append(waiter)
            await self._patiently(waiter, timeout)
            if asks and not self.has_id() and (self.limits.sockets, self.limits.ops) == before:
                break
        if self.ended:
            raise self.ended

    def unused(self) -> None:
        """A socket is gone, or came to nothing."""
        if self._ends_when_unused and not self.ended and not self.sockets and not self._opening:
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

    def hurry(self, closing: Op) -> None:
        """Ends the linger time of a close. Its socket's id may be another socket's already."""
        self._submit(None, Op(self, pb.Request(verb=pb.VERB_CANCEL, cancel=pb.Cancel(target=closing.request.op))))

    def abandon(self, sock: Any) -> None:
        """A socket that came to nothing."""
        op = self.aborted(sock)
        if op.done:
            self.unused()
        else:
            op.on_done = lambda op: self.unused()


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
                fill_buffers(protocol, value)
            elif what == "data":
                protocol.data_received(value)
            elif what == "lost":
                protocol.connection_lost(value)
            elif not protocol.eof_received():
                transport.close()


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
    for other in [other for other in _shared if other.is_closed()]:
        del _shared[other]  # it was closed before its connections were
    task = _shared.get(loop)
    session = _session_of(task)
    if task is None or task.done() and (session is None or session.ended):
        task = _shared[loop] = loop.create_task(_connect_shared())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_forsaken)
        raise


def _milliseconds(timeout: Optional[float]) -> int:
    return 0 if timeout is None else max(1, round(timeout * 1000))


async def _connected(session: Session, host: str, port: Union[int, str], timeout: Optional[float]) -> Tuple[Any, Any]:
    sock = await session.socket(timeout=timeout)
    try:
        op = sock.connect(host, port, timeout_ms=_milliseconds(timeout))
        await session.run(op, timeout)
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
    for the connect, and 10 more for a daemon that does not answer; None: the kernel's. ssl, server_hostname: as in asyncio;
    TLS ends in this process. Raises AsockError: PermissionError where policy denies, with the rule's reason; see asock.errors.
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
        plain = StreamTransport(session, sock, connected, protocol)
        plain.begin()
        return plain, protocol
    context = _ssl.create_default_context() if ssl is True else ssl
    early = _Early()
    plain = StreamTransport(session, sock, connected, asyncio.Protocol())
    try:
        transport = await session._loop.start_tls(
            plain, early, context, server_hostname=host if server_hostname is None else server_hostname)
        early.pass_on(protocol, transport)
    except BaseException:
        plain.abort()
        raise
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
    sock = await session.socket(datagram=True, timeout=timeout)
    local = peer = None
    try:
        if local_addr is not None:
            op = sock.bind(local_addr)
            await session.run(op, timeout)
            local = address_of(op.body.local)
        if remote_addr is not None:
            op = sock.connect(*remote_addr[:2], timeout_ms=_milliseconds(timeout))
            await session.run(op, timeout)
            local, peer = address_of(op.body.local), address_of(op.body.remote)
        protocol = protocol_factory()
    except BaseException:
        session.abandon(sock)
        raise
    transport = DatagramTransport(session, sock, protocol, local, peer)
    transport.begin()
    return transport, protocol
