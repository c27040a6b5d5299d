# SPDX-License-Identifier: LGPL-2.1-or-later
"""asock.DatagramSocket and asock.aio.create_datagram_endpoint(): UDP through the daemon, from Python."""

import asyncio
import os
import signal
import socket
import unittest.mock

import asock
from asock import aio
from asockd import Daemon, DaemonTest
from wire import DEADLINE

FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class WithPeer(DaemonTest):

    def peer(self, family=socket.AF_INET):
        peer = self.hold(socket.socket(family, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind((FAMILIES[family], 0))
        return peer


class Blocking(WithPeer):

    def socket(self):
        return self.hold(asock.DatagramSocket(self.daemon.path))

    def test_each_datagram_has_its_address(self):
        for family in FAMILIES:
            sock, peers = self.socket(), [self.peer(family) for _ in range(2)]
            for peer in peers:
                self.assertEqual(sock.sendto(b"ping", peer.getsockname()), 4)
                data, sender = peer.recvfrom(100)
                self.assertEqual((data, sender), (b"ping", (FAMILIES[family], *sock.getsockname()[1:])))
                peer.sendto(b"pong", sender)
                self.assertEqual(sock.recvfrom(100), (b"pong", peer.getsockname()))

    def test_empty_ones_and_ones_that_are_cut(self):
        sock, peer = self.socket(), self.peer()
        sock.sendto(b"", peer.getsockname())
        data, sender = peer.recvfrom(10)
        self.assertEqual(data, b"")
        for data in (b"", b"0123456789", b"next"):
            peer.sendto(data, sender)
        self.assertEqual([sock.recv(4) for _ in range(3)], [b"", b"0123", b"next"])

    def test_with_a_peer(self):
        sock, peer, other = self.socket(), self.peer(), self.peer()
        with self.assertRaises(OSError):
            sock.getpeername()
        sock.connect(peer.getsockname())
        self.assertEqual(sock.getpeername(), peer.getsockname())
        sock.send(b"ping")
        _, sender = peer.recvfrom(10)
        other.sendto(b"from elsewhere", sender)
        peer.sendto(b"pong", sender)
        self.assertEqual(sock.recv(100), b"pong")
        with self.assertRaises(asock.AsockError):
            sock.sendto(b"x", other.getsockname())

    def test_by_name(self):
        sock, peer = self.socket(), self.peer()
        sock.connect(("localhost", peer.getsockname()[1]))
        self.assertIn(sock.getpeername()[0], ("127.0.0.1", "::1"))
        with self.assertRaisesRegex(asock.AsockError, "not an address"):
            self.socket().sendto(b"x", ("localhost", 1))

    def test_bound(self):
        sock, peer = self.socket(), self.peer()
        sock.bind(("127.0.0.1", 0))
        peer.sendto(b"first", sock.getsockname())
        data, sender = sock.recvfrom(100)
        self.assertEqual((data, sender), (b"first", peer.getsockname()))
        sock.sendto(b"answer", sender)
        self.assertEqual(peer.recv(100), b"answer")

    def test_errors(self):
        sock, peer = self.socket(), self.peer()
        with self.assertRaises(asock.AsockError):  # to nobody
            sock.send(b"x")
        with self.assertRaises(OSError) as raised:
            sock.sendto(bytes(65536), peer.getsockname())
        self.assertEqual(raised.exception.errno, 90)  # EMSGSIZE
        with self.assertRaises(OSError):
            sock.sendto(bytes(65530), peer.getsockname())  # the kernel's limit is lower than that
        gone = peer.getsockname()
        peer.close()
        other = self.socket()
        other.connect(gone)
        other.send(b"x")
        with self.assertRaises(ConnectionRefusedError):
            other.recv(10)
        sock.sendto(b"it goes on", self.peer().getsockname())

    def test_a_timeout_loses_nothing(self):
        sock, peer = self.socket(), self.peer()
        sock.sendto(b"x", peer.getsockname())
        _, sender = peer.recvfrom(10)
        sock.settimeout(0.01)
        with self.assertRaises(TimeoutError):
            sock.recv(10)
        sock.settimeout(DEADLINE)
        peer.sendto(b"late", sender)
        self.assertEqual(sock.recv(10), b"late")

    def test_policy_denies(self):
        daemon = Daemon()
        try:
            with asock.DatagramSocket(daemon.path) as sock, self.assertRaises(PermissionError):
                sock.sendto(b"x", ("127.0.0.1", 9))
        finally:
            daemon.stop()


class Recorder(asyncio.DatagramProtocol):

    def __init__(self):
        self.datagrams, self.errors = asyncio.Queue(), asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()
        self.calls, self.transport = [], None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.datagrams.put_nowait((data, addr))

    def error_received(self, exc):
        self.errors.put_nowait(exc)

    def connection_lost(self, exc):
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


class Asyncio(WithPeer):

    def run_test(self, test):
        async def whole():
            async with await aio.Session.connect(self.daemon.path) as session:
                await asyncio.wait_for(test(session), DEADLINE)
        asyncio.run(whole())

    def receive(self, peer, size=100):
        return asyncio.get_running_loop().run_in_executor(None, peer.recvfrom, size)

    def test_to_many(self):
        async def test(session):
            transport, protocol = await aio.create_datagram_endpoint(Recorder, session=session)
            for peer in (self.peer(), self.peer()):
                for i in range(20):
                    transport.sendto(b"%d" % i, peer.getsockname())
                for i in range(20):
                    data, sender = await self.receive(peer)
                    self.assertEqual(data, b"%d" % i)
                    peer.sendto(data, sender)
                for i in range(20):
                    self.assertEqual(await protocol.datagrams.get(), (b"%d" % i, peer.getsockname()))
            transport.close()
            self.assertIsNone(await protocol.lost)
            self.assertTrue(transport.is_closing())
            transport.sendto(b"x", ("127.0.0.1", 9))  # does nothing
        self.run_test(test)

    def test_two_ends_of_the_package(self):
        async def test(session):
            server, of_server = await aio.create_datagram_endpoint(Recorder, ("127.0.0.1", 0), session=session)
            client, of_client = await aio.create_datagram_endpoint(
                Recorder, remote_addr=server.get_extra_info("sockname"), session=session)
            self.assertEqual(client.get_extra_info("peername"), server.get_extra_info("sockname"))
            client.sendto(b"")
            client.sendto(b"ping")
            self.assertEqual((await of_server.datagrams.get())[0], b"")
            data, sender = await of_server.datagrams.get()
            self.assertEqual((data, sender), (b"ping", client.get_extra_info("sockname")))
            server.sendto(b"pong", sender)
            self.assertEqual((await of_client.datagrams.get())[0], b"pong")
            with self.assertRaises(ValueError):
                client.sendto(b"x", ("127.0.0.2", 9))
            with self.assertRaises(TypeError):
                client.sendto("text")
            client.close()
            server.abort()
            self.assertEqual((await of_client.lost, await of_server.lost), (None, None))
        self.run_test(test)

    def test_many_endpoints_of_a_session(self):
        """Each of them has receives pending, and can send nevertheless; and each close ends."""
        async def test(session):
            peer = self.peer()
            ends = [await aio.create_datagram_endpoint(Recorder, session=session) for _ in range(16)]
            # The second round is sent while receives wait in the daemon.
            for _ in range(2):
                for number, (transport, protocol) in enumerate(ends):
                    transport.sendto(b"%d" % number, peer.getsockname())
                    data, sender = await self.receive(peer)
                    self.assertEqual(data, b"%d" % number)
                    peer.sendto(data, sender)
                    self.assertEqual((await protocol.datagrams.get())[0], data)
            for transport, protocol in ends:
                transport.close()
                self.assertIsNone(await protocol.lost)
        self.run_test(test)

    def test_errors_end_nothing(self):
        async def test(session):
            peer = self.peer()
            transport, protocol = await aio.create_datagram_endpoint(Recorder, session=session)
            transport.sendto(bytes(65530), peer.getsockname())
            self.assertEqual((await protocol.errors.get()).errno, 90)
            gone = self.peer()
            connected, of_connected = await aio.create_datagram_endpoint(Recorder, remote_addr=gone.getsockname(), session=session)
            gone.close()
            connected.sendto(b"x")
            self.assertIsInstance(await of_connected.errors.get(), ConnectionRefusedError)
            transport.sendto(b"goes on", peer.getsockname())
            self.assertEqual((await self.receive(peer))[0], b"goes on")
            self.assertFalse(connected.is_closing())
            transport.close()
            connected.close()
        self.run_test(test)

    def test_writing_is_paused(self):
        async def test(session):
            peer = self.peer()
            transport, protocol = await aio.create_datagram_endpoint(Recorder, session=session)
            while not protocol.calls:
                transport.sendto(bytes(1000), peer.getsockname())
            self.assertGreater(transport.get_write_buffer_size(), transport.get_write_buffer_limits()[1])
            while protocol.calls != ["pause", "resume"]:
                await asyncio.sleep(0)
            transport.close()
            await protocol.lost
        self.run_test(test)

    def test_the_shared_session_ends_with_its_last_socket(self):
        async def test():
            transport, protocol = await aio.create_datagram_endpoint(Recorder)
            transport.sendto(b"x", peer.getsockname())
            transport.close()
            await protocol.lost
        peer = self.peer()
        with unittest.mock.patch.dict(os.environ, {"ASOCK_SOCKET": self.daemon.path}):
            asyncio.run(test())
        self.assertEqual(peer.recv(10), b"x")

    def test_it_ends_with_the_daemon(self):
        async def test():
            async with await aio.Session.connect(daemon.path) as session:
                transport, protocol = await aio.create_datagram_endpoint(Recorder, ("127.0.0.1", 0), session=session)
                daemon.process.send_signal(signal.SIGKILL)
                self.assertIsInstance(await protocol.lost, ConnectionAbortedError)
                self.assertTrue(transport.is_closing())
        daemon = Daemon("--allow-any")
        asyncio.run(asyncio.wait_for(test(), DEADLINE))
        daemon.stop(check=False)

    def test_what_cannot_be_had(self):
        async def test(session):
            peer = self.peer()
            for options in ({"local_addr": ("localhost", 0)}, {"local_addr": peer.getsockname()},
                            {"local_addr": ("203.0.113.77", 0)}):
                with self.assertRaises(asock.AsockError):
                    await aio.create_datagram_endpoint(Recorder, session=session, **options)
        self.run_test(test)
