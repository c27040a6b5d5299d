# SPDX-License-Identifier: LGPL-2.1-or-later
"""asock.aio: open_connection() and create_connection() as asyncio has them, through the daemon."""

import asyncio
import gc
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import unittest.mock

from asock import aio
from asockd import DaemonTest
from suspend import suspend
from wire import pb

DEADLINE = 30


class Recorder(asyncio.Protocol):
    """Keeps a list of its callbacks."""

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.transport, self.data, self.calls = None, bytearray(), []
        self.lost, self.ended, self.paused, self.resumed = (loop.create_future() for _ in range(4))

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.calls.append("eof")
        self.ended.set_result(None)
        return True

    def connection_lost(self, error):
        self.calls.append("lost")
        self.lost.set_result(error)

    def pause_writing(self):
        self.calls.append("pause")
        if not self.paused.done():
            self.paused.set_result(None)

    def resume_writing(self):
        self.calls.append("resume")
        if not self.resumed.done():
            self.resumed.set_result(None)


class Buffered(asyncio.BufferedProtocol):

    def __init__(self):
        self.buffer, self.data = bytearray(7), b""
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]

    def connection_lost(self, error):
        self.lost.set_result(error)


class AioTest(DaemonTest):

    def setUp(self):
        super().setUp()
        self.server = self.listener()
        self.address = self.server.getsockname()
        patch = unittest.mock.patch.dict(os.environ, {"ASOCK_SOCKET": self.daemon.path})
        patch.start()
        self.addCleanup(patch.stop)

    def run_async(self, main):
        asyncio.run(asyncio.wait_for(main, DEADLINE))

    async def accept_one(self):
        return await asyncio.get_running_loop().run_in_executor(None, self.accept, self.server)

    async def read_peer(self, peer, count=None):
        return await asyncio.get_running_loop().run_in_executor(None, self.read_all, peer, count)


class Streams(AioTest):

    def test_s73_a_sessions_socket_disconnects_and_connects_again(self):
        async def main():
            async with await aio.Session.connect(self.daemon.path) as session:
                sock = await session.socket()
                for _ in range(2):
                    await session.run(sock.connect(*self.address))
                    peer = await self.accept_one()
                    receive = asyncio.ensure_future(session.run(sock.receive()))
                    await session.run(sock.send(b"data"))
                    await session.run(sock.disconnect())
                    self.assertEqual(await self.read_peer(peer), b"data")
                    with self.assertRaises(OSError):
                        await receive
                await session.run(sock.close())
        self.run_async(main())

    def test_there_and_back(self):
        async def main():
            reader, writer = await aio.open_connection(*self.address)
            peer = await self.accept_one()
            writer.write(b"hel")
            writer.write(b"lo\n")
            await writer.drain()
            self.assertEqual(await self.read_peer(peer, 6), b"hello\n")
            peer.sendall(b"answer\nrest")
            self.assertEqual(await reader.readline(), b"answer\n")
            writer.write_eof()
            self.assertEqual(await self.read_peer(peer), b"")
            peer.close()
            self.assertEqual(await reader.read(), b"rest")
            writer.close()
            await writer.wait_closed()
        self.run_async(main())

    def test_endpoints(self):
        async def main():
            _, writer = await aio.open_connection(*self.address)
            peer = await self.accept_one()
            self.assertEqual(writer.get_extra_info("peername"), peer.getsockname())
            self.assertEqual(writer.get_extra_info("sockname"), peer.getpeername())
            writer.close()
            await writer.wait_closed()
        self.run_async(main())

    def test_everything_written_before_close_arrives(self):
        data = os.urandom(5 << 20)

        async def main():
            _, writer = await aio.open_connection(*self.address)
            peer = await self.accept_one()
            writer.write(data)
            writer.close()
            got, _ = await asyncio.gather(self.read_peer(peer), writer.wait_closed())
            self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(data).digest())
        self.run_async(main())

    def test_sendfile(self):
        """More than the transport buffers; what comes meanwhile waits."""
        data = os.urandom(3 << 20)

        async def main():
            reader, writer = await aio.open_connection(*self.address)
            peer = await self.accept_one()
            peer.sendall(b"early")
            loop = asyncio.get_running_loop()
            got = loop.create_task(self.read_peer(peer))
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.seek(0)
                writer.write(b"head")
                self.assertEqual(await loop.sendfile(writer.transport, file), len(data))
                self.assertEqual(await loop.sendfile(writer.transport, file, 100, 1_000_000), 1_000_000)
                self.assertEqual(file.tell(), 1_000_100)
            self.assertEqual(await reader.readexactly(5), b"early")
            writer.write(b"tail")
            writer.write_eof()
            self.assertEqual(await got, b"head" + data + data[100:1_000_100] + b"tail")
            peer.close()
            writer.close()
            await writer.wait_closed()
        self.run_async(main())

    def test_a_connection_ends_after_sendfile_though_it_was_paused(self):
        """The file's last piece goes out when asyncio has given the stream its protocol back, which knows of no pause."""
        async def main():
            _, writer = await aio.open_connection(*self.address)
            peer = await self.accept_one()
            loop = asyncio.get_running_loop()
            problems = []
            loop.set_exception_handler(lambda _, context: problems.append(context["message"]))
            writer.transport.set_write_buffer_limits(high=0)
            with tempfile.TemporaryFile() as file:
                file.write(bytes(100_000))
                file.seek(0)
                got = loop.create_task(self.read_peer(peer))
                await loop.sendfile(writer.transport, file)
            writer.close()
            await writer.wait_closed()
            self.assertEqual(len(await got), 100_000)
            self.assertLessEqual(len(problems), 1)  # asyncio's own, and as with its transports
        self.run_async(main())

    def test_a_hundred_at_once_in_one_session(self):
        """More than the first grant; the session ends with the last of them."""
        async def echo(number):
            reader, writer = await aio.open_connection(*self.address)
            writer.write(b"%d\n" % number)
            self.assertEqual(await reader.readline(), b"%d\n" % number)
            writer.close()
            await writer.wait_closed()

        async def serve():
            server = await asyncio.start_server(answer, sock=self.server)
            return server

        async def answer(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            await reader.read()
            writer.close()

        async def main():
            async with await serve():
                before = self.daemon.stats()["clients_total"]
                await asyncio.gather(*(echo(n) for n in range(100)))
                self.assertEqual(self.daemon.stats()["clients_total"] - before, 1)
        self.run_async(main())
        self.daemon.settle()

    def test_reader_that_does_not_read_holds_the_peer_back(self):
        async def main():
            async with await aio.Session.connect() as session:
                reader, writer = await aio.open_connection(*self.address, limit=1024, session=session)
                peer = await self.accept_one()
                peer.setblocking(False)
                data, sent, stuck = os.urandom(64 << 20), 0, 0
                while stuck < 100 and sent < len(data):
                    try:
                        sent += peer.send(memoryview(data)[sent:])
                        stuck = 0
                    except BlockingIOError:
                        stuck += 1
                        await session.run(session.sync())
                self.assertLess(sent, len(data))
                self.assertEqual(await reader.readexactly(sent), data[:sent])
                writer.transport.abort()
        self.run_async(main())


class Protocols(AioTest):

    async def connected(self, factory=Recorder, **options):
        _, protocol = await aio.create_connection(factory, *self.address, **options)
        return protocol, await self.accept_one()

    def test_writing_pauses_and_resumes(self):
        async def main():
            protocol, peer = await self.connected()
            protocol.transport.set_write_buffer_limits(high=1000, low=100)
            data = os.urandom(16 << 20)
            protocol.transport.write(data)
            await protocol.paused
            self.assertGreater(protocol.transport.get_write_buffer_size(), 1000)
            self.assertEqual(await self.read_peer(peer, len(data)), data)
            await protocol.resumed
            self.assertEqual(protocol.transport.get_write_buffer_size(), 0)
            protocol.transport.abort()
            self.assertIsNone(await protocol.lost)
        self.run_async(main())

    def test_it_is_made_before_it_is_given_away(self):
        async def main():
            transport, protocol = await aio.create_connection(Recorder, *self.address)
            self.assertIs(protocol.transport, transport)
            protocol.transport.abort()
            self.assertIsNone(await protocol.lost)
        self.run_async(main())

    def test_a_factory_that_fails_leaves_nothing(self):
        def fail():
            raise ValueError("no")

        async def main():
            with self.assertRaises(ValueError):
                await aio.create_connection(fail, *self.address)
        self.run_async(main())
        self.daemon.settle()

    def test_the_end_is_told_once(self):
        async def main():
            protocol, peer = await self.connected()
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            session = protocol.transport._session
            for _ in range(3):
                protocol.transport.pause_reading()
                protocol.transport.resume_reading()
                await session.run(session.sync())
            self.assertEqual(protocol.calls, ["made", "eof"])
            protocol.transport.abort()
            self.assertIsNone(await protocol.lost)
        self.run_async(main())

    async def write_until_stuck(self, transport):
        """Small writes, until the daemon takes no more of them."""
        session, size, same = transport._session, 0, 0
        for _ in range(20000):
            transport.write(bytes(1000))
        while same < 200:
            await session.run(session.sync())
            same = same + 1 if transport.get_write_buffer_size() == size else 0
            size = transport.get_write_buffer_size()
        self.assertGreater(size, 0)

    def test_small_writes_to_a_peer_that_does_not_read_hold_up_nobody(self):
        async def main():
            async with await aio.Session.connect() as session:
                stalled, _ = await self.connected(session=session)
                await self.write_until_stuck(stalled.transport)
                other, peer = await self.connected(session=session)
                peer.sendall(b"still")
                peer.shutdown(socket.SHUT_WR)
                await other.ended
                self.assertEqual(other.data, b"still")
                other.transport.write(b"and back")
                self.assertEqual(await self.read_peer(peer, 8), b"and back")
        self.run_async(main())

    def test_small_writes_do_not_hold_up_the_answers(self):
        """The peer goes on reading only when somebody reads what it answers."""
        def echo(peer):
            while data := peer.recv(65536):
                peer.sendall(data)
            peer.close()

        async def main():
            protocol, peer = await self.connected()
            thread = asyncio.get_running_loop().run_in_executor(None, echo, peer)
            protocol.transport.pause_reading()
            await self.write_until_stuck(protocol.transport)
            protocol.transport.write_eof()
            protocol.transport.resume_reading()
            await protocol.ended
            self.assertEqual(len(protocol.data), 20000 * 1000)
            await thread
            protocol.transport.close()
            self.assertIsNone(await protocol.lost)
        self.run_async(main())

    def test_reset_is_connection_lost(self):
        async def main():
            protocol, peer = await self.connected()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            self.assertIsInstance(await protocol.lost, ConnectionResetError)
            self.assertEqual(protocol.calls, ["made", "lost"])
            protocol.transport.write(b"into nothing")
            protocol.transport.close()
        self.run_async(main())

    def test_abort_is_a_reset(self):
        async def main():
            protocol, peer = await self.connected()
            protocol.transport.abort()
            self.assertIsNone(await protocol.lost)
            with self.assertRaises(ConnectionResetError):
                await self.read_peer(peer)
        self.run_async(main())

    def test_abort_ends_a_close_that_waits_for_the_peer(self):
        async def main():
            self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            protocol, peer = await self.connected()
            transport = protocol.transport
            await transport._session.run(transport._sock.set_option(pb.OPTION_SEND_BUFFER, 1 << 18))
            transport.write(bytes(64 << 10))
            while transport.get_write_buffer_size():
                await asyncio.sleep(0)
            transport.close()
            await transport._session.run(transport._session.sync())
            self.assertFalse(protocol.lost.done())
            transport.abort()
            await protocol.lost
            with self.assertRaises(ConnectionResetError):
                await self.read_peer(peer)
        self.run_async(main())

    def test_half_open_both_ways(self):
        async def main():
            protocol, peer = await self.connected()
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            protocol.transport.write(b"still")
            protocol.transport.write_eof()
            with self.assertRaises(RuntimeError):
                protocol.transport.write(b"no")
            self.assertEqual(await self.read_peer(peer), b"still")
            protocol.transport.close()
            self.assertIsNone(await protocol.lost)
        self.run_async(main())

    def test_paused_reading_holds_data(self):
        async def main():
            protocol, peer = await self.connected()
            protocol.transport.pause_reading()
            peer.sendall(b"held")
            peer.shutdown(socket.SHUT_WR)
            # What the daemon has to say is here when it has answered this.
            await protocol.transport._session.run(protocol.transport._session.sync())
            self.assertEqual(protocol.data, b"")
            protocol.transport.resume_reading()
            await protocol.ended
            self.assertEqual(protocol.data, b"held")
            protocol.transport.abort()
        self.run_async(main())

    def test_buffered_protocol(self):
        async def main():
            protocol, peer = await self.connected(Buffered)
            peer.sendall(b"more than seven bytes")
            peer.close()
            self.assertIsNone(await protocol.lost)
            self.assertEqual(protocol.data, b"more than seven bytes")
        self.run_async(main())

    def test_a_protocol_that_fails_ends_its_connection_alone(self):
        class Failing(Recorder):
            def data_received(self, data):
                raise ValueError("no")

        async def main():
            loop = asyncio.get_running_loop()
            told = []
            loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
            async with await aio.Session.connect() as session:
                failing, peer = await self.connected(Failing, session=session)
                other, second = await self.connected(session=session)
                peer.sendall(b"x")
                self.assertIsInstance(await failing.lost, ValueError)
                self.assertIsInstance(told[0], ValueError)
                second.sendall(b"y")
                second.close()
                await other.ended
                self.assertEqual(other.data, b"y")
        self.run_async(main())

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            key, certificate = os.path.join(folder, "key"), os.path.join(folder, "certificate")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
                            certificate, "-days", "2", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(certificate, key)
            client = ssl.create_default_context(cafile=certificate)

        def serve():
            with server.wrap_socket(self.accept(self.server), server_side=True) as peer:
                peer.sendall(b"first")  # before the client says anything
                peer.sendall(peer.recv(100).upper())
                self.assertEqual(peer.recv(100), b"")  # what it has not read would make its close a reset

        thread = threading.Thread(target=serve)
        thread.start()

        async def main():
            reader, writer = await aio.open_connection(*self.address, ssl=client, server_hostname="localhost")
            self.assertEqual(await reader.readexactly(5), b"first")
            writer.write(b"secret")
            self.assertEqual(await reader.readexactly(6), b"SECRET")
            writer.close()
            await writer.wait_closed()
        self.run_async(main())
        thread.join(DEADLINE)

    def test_tls_where_the_server_speaks_none(self):
        def serve():
            peer = self.accept(self.server)
            peer.sendall(b"no TLS\n")
            self.reset_by(peer)

        thread = threading.Thread(target=serve)
        thread.start()

        async def main():
            with self.assertRaises(ssl.SSLError):
                await aio.open_connection(*self.address, ssl=True, server_hostname="localhost")
        self.run_async(main())
        thread.join(DEADLINE)


class Failures(AioTest):

    def test_refused(self):
        async def main():
            self.server.close()
            with self.assertRaises(ConnectionRefusedError):
                await aio.open_connection(*self.address)
        self.run_async(main())
        self.daemon.settle()

    def test_a_failure_leaves_no_session_to_the_garbage_collector(self):
        async def main():
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(aio.open_connection(*self.address), 0.05)

        gc.disable()
        self.addCleanup(gc.enable)
        suspend(self.daemon.pid)  # no answer comes before the loop has ended
        try:
            before = len(os.listdir("/proc/self/fd"))
            self.run_async(main())
            self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)

    def test_what_cannot_be_asked_for_leaves_nothing(self):
        async def main():
            for options in ({"host": "\u00fc" * 70, "port": 80}, {"host": "127.0.0.1", "port": 80, "timeout": 1e9}):
                with self.assertRaises(ValueError):
                    await aio.open_connection(**options)
        self.run_async(main())
        self.daemon.settle()

    def test_a_session_without_a_socket_ends_with_the_last_who_wanted_one(self):
        async def main():
            session = await aio._shared_session()
            with unittest.mock.patch.object(aio.Session, "has_id", lambda session: False):
                with self.assertRaises(OSError):
                    await aio.open_connection(*self.address)
            self.assertTrue(session.ended)
            await session.wait_closed()
        self.run_async(main())
        self.daemon.settle()

    def test_denied_by_a_restriction(self):
        async def main():
            async with await aio.Session.connect(name="narrow") as session:
                await session.restrict_to('[Rules]\nDeny=tcp * * "not from here"\n')
                with self.assertRaises(PermissionError) as caught:
                    await aio.open_connection(*self.address, session=session)
                self.assertIn("not from here", caught.exception.text)
        self.run_async(main())

    def test_cancelled_connect_leaves_nothing(self):
        async def main():
            full = self.listener(backlog=0)
            address = full.getsockname()
            fillers = []
            for _ in range(3):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(address)
                fillers.append(filler)
            async with await aio.Session.connect() as session:
                task = asyncio.ensure_future(aio.open_connection(*address, session=session))
                while not session.sockets:
                    await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                await session.run(session.sync())
                self.assertEqual(session.sockets, {})
            for filler in fillers:
                filler.close()
        self.run_async(main())
        self.daemon.settle()

    def test_a_daemon_that_hangs_does_not_hold_up_a_timeout(self):
        async def main():
            async with await aio.Session.connect() as session:
                with self.assertRaises(TimeoutError) as caught:
                    await aio.open_connection(*self.address, timeout=0.05, session=session)
                self.assertEqual(caught.exception.text, "the daemon does not answer")
                with self.assertRaises(TimeoutError):
                    await session.socket(timeout=0.05)  # there is no answer to the question for more
        suspend(self.daemon.pid)
        try:
            with unittest.mock.patch.object(aio, "GRACE", 0.05):
                self.run_async(main())
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)

    def test_loops_that_end_with_open_connections_leave_nothing(self):
        async def main():
            await aio.open_connection(*self.address)

        def descriptors():
            self.run_async(main())
            gc.collect()
            return len(os.listdir("/proc/self/fd"))

        first = descriptors()
        self.assertEqual([descriptors() for _ in range(3)], [first] * 3)
        aio._shared.clear()
        gc.collect()

    def test_no_more_sockets_than_can_send_while_they_receive(self):
        async def main():
            session = aio.Session()
            session._welcome(pb.Welcome(sockets=16, ops=8, socket_ops=8, send_window=1 << 16, queued_max=1 << 16))
            self.assertEqual([session.open().id for _ in range(4)], [1, 2, 3, 4])
            with self.assertRaises(OSError):
                session.open()
        self.run_async(main())

    def test_end_of_the_session_is_every_connections(self):
        async def main():
            async with await aio.Session.connect() as session:
                protocols = [(await aio.create_connection(Recorder, *self.address, session=session))[1]
                             for _ in range(3)]
                session.close()
                for protocol in protocols:
                    self.assertIsInstance(await protocol.lost, ConnectionAbortedError)
                with self.assertRaises(ConnectionAbortedError):
                    await aio.open_connection(*self.address, session=session)
        self.run_async(main())

    def test_no_daemon(self):
        async def main():
            with self.assertRaises(FileNotFoundError):
                await aio.open_connection(*self.address)
        with unittest.mock.patch.dict(os.environ, {"ASOCK_SOCKET": "/nonexistent/asock.sock"}):
            self.run_async(main())


if __name__ == "__main__":
    unittest.main()
