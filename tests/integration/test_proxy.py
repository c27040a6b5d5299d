# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl proxy: tunnels of each protocol, and how they end when the program or the daemon fails."""

import os
import queue
import select
import socket
import struct
import subprocess
import tempfile
import threading

import asockctl
from asockd import Daemon
import fake_asockd
from proxy import DEADLINE, LOOPBACK, Proxy, ProxyTest, TUNNELS, check_ahead, connect, exactly, kernel_row, socks5
from wire import pb

FIN_WAIT1 = 4  # of /proc/net/tcp


class Tunnels(ProxyTest):

    def test_each_protocol_carries_bytes_both_ways(self):
        for kind in TUNNELS:
            for tcp in (True, False):
                with self.subTest(kind=kind, tcp=tcp):
                    client, peer = self.tunnel(kind, tcp)
                    client.sendall(b"ping")
                    self.assertEqual(exactly(peer, 4), b"ping")
                    peer.sendall(b"pong")
                    self.assertEqual(exactly(client, 4), b"pong")
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(peer.recv(1), b"")
                    peer.sendall(b"still here")
                    self.assertEqual(exactly(client, 10), b"still here")
                    peer.close()
                    self.assertEqual(client.recv(1), b"")

    def test_names_are_resolved_as_tor_does(self):
        five, four = b"\x05\x01\x00\x05\xf0\x00", b"\x04\xf0\x00\x00\x00\x00\x00\x01\x00"
        for asked, answer in (
                (five + b"\x03\x09localhost\x00\x00", b"\x05\x00" + b"\x05\x00\x00\x04" + b"\0" * 15 + b"\1" + b"\0\0"),
                (five + b"\x01" + LOOPBACK + b"\x00\x00", b"\x05\x00" + b"\x05\x00\x00\x01" + LOOPBACK + b"\0\0"),
                (four + b"localhost\0", b"\x00\x5a\0\0" + LOOPBACK),
                (five + b"\x03\x05127.1\x00\x00", b"\x05\x00" + b"\x05\x01\x00\x01" + b"\0" * 6),
                (b"\x05\x01\x00\x05\xf1\x00\x01" + LOOPBACK + b"\0\0", b"\x05\x00" + b"\x05\x07\x00\x01" + b"\0" * 6)):
            client = self.hold(self.proxy.dial())
            client.sendall(asked)
            self.assertEqual(client.makefile("rb").read(), answer, asked)

    def test_bytes_behind_the_handshake_are_sent(self):
        for kind in TUNNELS:
            with self.subTest(kind=kind):
                _, peer = self.tunnel(kind, more=b"early bytes")
                self.assertEqual(exactly(peer, 11), b"early bytes")

    def test_a_handshake_can_come_byte_by_byte(self):
        for kind, (make, length, verdict, expected) in TUNNELS.items():
            with self.subTest(kind=kind):
                listener = self.listener()
                client = self.dial()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in make(listener.getsockname()[1]):
                    client.sendall(bytes([byte]))
                self.accept(listener)
                self.assertEqual(exactly(client, length)[verdict], expected)

    def bulk(self, source, sink, size=24 << 20):
        data = os.urandom(1 << 20) * (size >> 20)
        thread = threading.Thread(target=lambda: (source.sendall(data), source.shutdown(socket.SHUT_WR)))
        thread.start()
        got = self.read_all(sink)
        thread.join(DEADLINE)
        self.assertEqual(len(got), len(data))
        self.assertTrue(got == data)

    def test_bulk_up_and_down(self):
        for kind in ("socks5", "connect"):
            client, peer = self.tunnel(kind)
            self.bulk(client, peer)
            self.bulk(peer, client)

    def test_bulk_both_ways_at_once_on_many_connections(self):
        """More than there are blocks for: those without go on with little memory."""
        pairs = [self.tunnel() for _ in range(48)]
        threads = [threading.Thread(target=self.bulk, args=ends) for client, peer in pairs
                   for ends in ((client, peer, 2 << 20), (peer, client, 2 << 20))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
            self.assertFalse(thread.is_alive())

    def test_a_reset_is_passed_on(self):
        client, peer = self.tunnel()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.reset_by(client)
        client, peer = self.tunnel()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self.reset_by(peer)

    def test_a_reset_behind_the_end_of_the_stream_is_noticed(self):
        """Though the program says nothing that could fail."""
        client, peer = self.tunnel()
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(1), b"")
        self.daemon.control.settle()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.daemon.wait(lambda: self.state_of(client) is None)

    def test_a_slow_program_holds_back_its_peer(self):
        """What is not read stays with the sender: in the kernel's buffers, not in the proxy's memory."""
        client, peer = self.tunnel()
        peer.setblocking(False)
        sent = 0
        while True:
            try:
                sent += peer.send(b"x" * 65536)
            except BlockingIOError:
                if not self.grows(peer):
                    break
        self.assertLess(sent, 64 << 20)
        peer.settimeout(DEADLINE)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(len(self.read_all(client)), sent)

    def test_what_a_program_sends_ahead_is_bounded(self):
        client, peer = self.tunnel()
        check_ahead(self, self.proxy, client, peer)

    def test_a_request_that_is_cut_does_not_cut_the_response(self):
        """The peer has answered and closes without reading the request: the program gets the whole answer."""
        client = self.hold(socket.socket())
        client.settimeout(DEADLINE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.proxy.port))
        listener = self.listener()
        client.sendall(socks5(listener.getsockname()[1]))
        peer = self.accept(listener)
        self.assertEqual(exactly(client, 12)[3], 0)
        self.fill(client)
        answer = os.urandom(100000)
        peer.sendall(answer)
        peer.shutdown(socket.SHUT_WR)
        # All of it is with the proxy's kernel, the end too; most waits for the program.
        self.daemon.wait(lambda: self.state_of(client) == FIN_WAIT1)
        peer.close()
        self.daemon.wait(lambda: self.state_of(client) is None)
        self.assertTrue(self.read_all(client) == answer)

    def fill(self, sock):
        """Until it takes no more, though everybody had a turn."""
        sock.setblocking(False)
        while True:
            try:
                sock.send(b"x" * 65536)
            except BlockingIOError:
                if not self.grows(sock):
                    break
        sock.settimeout(DEADLINE)

    def state_of(self, client):
        """Of the proxy's end."""
        row = kernel_row(self.proxy.port, client.getsockname()[1])
        return row and int(row[3], 16)

    def test_many_connections_at_once(self):
        listener = self.listener(backlog=512)
        port = listener.getsockname()[1]
        clients = [self.dial() for _ in range(300)]
        for client in clients:
            client.sendall(socks5(port) + b"x")
        for _ in clients:
            peer = self.accept(listener)
            self.assertEqual(exactly(peer, 1), b"x")
        for client in clients:
            self.assertEqual(exactly(client, 12)[3], 0)

    def test_failures_have_their_own_answers(self):
        closed = self.listener()
        port = closed.getsockname()[1]
        closed.close()
        client = self.dial()
        client.sendall(socks5(port))
        self.assertEqual(self.read_all(client)[:4], b"\x05\x00\x05\x05")
        client = self.dial()
        client.sendall(connect(port))
        answer = self.read_all(client)
        self.assertTrue(answer.startswith(b"HTTP/1.1 502 "), answer)
        self.assertIn(b"error=connection_refused", answer)
        client = self.dial()
        client.sendall(socks5(1, b"not a name"))
        self.assertEqual(self.read_all(client)[2:4], b"\x05\x01")

    def test_garbage_ends_the_connection_and_no_other(self):
        client, peer = self.tunnel()
        for garbage in (b"\x00", b"\x16\x03\x01\x02\x00", b"\x05\x00", b"\x04" * 600, b"\x05\x01\x00\x06",
                        b"GET / HTTP/1.1\r\n\r\n", b"A" * 40000, b"lower\r\n\r\n"):
            other = self.dial()
            try:
                other.sendall(garbage)
                while other.recv(65536):
                    pass
            except (ConnectionResetError, BrokenPipeError):
                pass
        client.sendall(b"alive")
        self.assertEqual(exactly(peer, 5), b"alive")

    def test_the_proxy_outlives_the_daemon(self):
        daemon = Daemon("--allow-any")
        try:
            proxy = self.hold(Proxy(daemon))
            listener = self.listener()
            client = self.hold(proxy.dial())
            client.sendall(socks5(listener.getsockname()[1]))
            peer = self.accept(listener)
            self.assertEqual(exactly(client, 12)[3], 0)
            daemon.process.kill()
            self.reset_by(client)
            self.assertEqual(peer.recv(1), b"")
            client = self.hold(proxy.dial())
            client.sendall(socks5(listener.getsockname()[1]))
            self.assertEqual(self.read_all(client)[3:4], b"\x01")
        finally:
            daemon.stop(check=False)
        self.assertIsNone(proxy.poll())
        self.assertEqual(proxy.stop(), 0)


    def test_a_program_that_gives_up_ends_its_connect(self):
        for tcp in (True, False):
            for name, (make, *_) in TUNNELS.items():
                with self.subTest(tunnel=name, tcp=tcp):
                    client = self.proxy.dial(tcp)
                    client.sendall(make(self.blackhole().getsockname()[1]))
                    self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 1)
                    client.close()
                    self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def test_what_it_has_said_before_it_went_arrives(self):
        listener = self.blackhole()
        client = self.proxy.dial()
        client.sendall(socks5(listener.getsockname()[1]))
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 1)
        client.sendall(b"said")
        client.shutdown(socket.SHUT_WR)
        self.accept(listener)
        peer = self.accept(listener)
        self.assertEqual(self.read_all(peer), b"said")
        client.close()

    def hang(self, daemon, proxy):
        """Whoever connects to its socket from now on gets no answer; what it had is lost, and the proxy knows."""
        listener = self.listener()
        client = self.hold(proxy.dial())
        client.sendall(socks5(listener.getsockname()[1]))
        self.accept(listener)
        self.assertEqual(exactly(client, 12)[3], 0)
        daemon.process.kill()
        daemon.process.wait()
        os.unlink(daemon.path)
        self.silent = self.hold(socket.socket(socket.AF_UNIX))
        self.silent.bind(daemon.path)
        self.silent.listen()
        self.reset_by(client)

    def test_a_daemon_that_hangs_holds_up_only_who_wants_it(self):
        daemon = Daemon("--allow-any")
        self.addCleanup(daemon.stop, check=False)
        with tempfile.NamedTemporaryFile("w", suffix=".policy") as policy:
            policy.write("[Rules]\nAllow=tcp 127.0.0.1 *\n")
            policy.flush()
            os.chmod(policy.name, 0o644)
            proxy = self.hold(Proxy(daemon, "--policy", policy.name))
            self.hang(daemon, proxy)
            waits = self.hold(proxy.dial())
            waits.sendall(connect(9))
            session = self.silent.accept()[0]
            other = self.hold(proxy.dial())
            other.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(exactly(other, 12), b"HTTP/1.1 400")
            self.assertFalse(select.select([waits], [], [], 0)[0])
            session.close()
            self.assertEqual(exactly(waits, 9), b"HTTP/1.1 ")
            self.assertEqual(proxy.stop(), 0)


class Shutdown(fake_asockd.FakeTest):

    def test_the_end_of_a_stream_has_all_the_time_it_needs(self):
        """It waits behind sends, which a slow peer may let wait for longer than a connect may take."""
        path = os.path.join(self.dir, "sock")
        asked = queue.Queue()
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        threading.Thread(target=self.serve, args=(listener, asked), daemon=True).start()
        proxy = asockctl.Tool("proxy", "--socket", path, "--listen", "127.0.0.1:0", stdout=subprocess.PIPE)
        self.addCleanup(proxy.close)
        port = int(proxy.stdout.readline().decode().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
            client.sendall(socks5(80))
            self.assertEqual(exactly(client, 12)[3], 0)
            client.shutdown(socket.SHUT_WR)
            timeouts = {}
            while pb.VERB_SHUTDOWN not in timeouts:
                request = asked.get(timeout=DEADLINE)
                timeouts[request.verb] = request.timeout_ms
        self.assertGreater(timeouts[pb.VERB_CONNECT], 0)
        self.assertEqual(timeouts[pb.VERB_SHUTDOWN], 0)

    @staticmethod
    def serve(listener, asked):
        """Every connect succeeds; nothing is ever received."""
        for connection, request, payload in fake_asockd.requests(listener):
            asked.put(request)
            if request.verb == pb.VERB_HELLO:
                connection.sendall(fake_asockd.frame(kind=pb.KIND_WELCOME, welcome=fake_asockd.WELCOME))
            elif request.verb == pb.VERB_SYNC:
                connection.sendall(fake_asockd.frame(kind=pb.KIND_COMPLETION, op=request.op))
            elif request.verb == pb.VERB_REGISTER:
                connection.sendall(fake_asockd.frame(kind=pb.KIND_COMPLETION, op=request.op,
                                                     error=pb.ERROR_NO_BUFFER_SPACE))
            elif request.verb == pb.VERB_CONNECT:
                connection.sendall(fake_asockd.frame(kind=pb.KIND_COMPLETION, op=request.op, socket=request.socket, ops_freed=2,
                                                     bytes=len(payload), send_freed=len(payload), connected=pb.Connected()))


class Restricted(ProxyTest):
    """--policy, and how a program sees a denial."""

    def setUp(self):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write('[Rules]\nDeny=tcp 127.0.0.2 * "not this one"\nAllow=tcp 127.0.0.1 *\n')
        self.addCleanup(os.unlink, file.name)
        self.proxy_arguments = ("--policy", file.name)
        super().setUp()

    def test_denials_are_told(self):
        self.tunnel()
        client = self.dial()
        client.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x02\x00\x50")
        self.assertEqual(self.read_all(client)[:4], b"\x05\x00\x05\x02")
        client = self.dial()
        client.sendall(b"CONNECT 127.0.0.2:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = self.read_all(client)
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 "), answer)
        self.assertIn(b"not this one", answer)
