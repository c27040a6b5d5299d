# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl proxy and clients that do not behave: cut off, endless, silent, too many, or led back to the proxy itself."""

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import tempfile

import asockctl
from asockd import Daemon, DaemonTest
from build import INSTRUMENTED
from proxy import LOOPBACK, Proxy, ProxyTest, connect, exactly, socks4a, socks5
from suspend import suspend

DEADLINE = asockctl.DEADLINE
CLOCK = os.path.join(asockctl.BUILDDIR, "tests", "lib", ".libs", "move-clock.so")
HANDSHAKE_SECONDS = 30


def password(port):
    return b"\x05\x01\x02" + b"\x01\x04user\x04word" + b"\x05\x01\x00\x01" + LOOPBACK + struct.pack("!H", port)


def named(port):
    return socks5(port, b"localhost")


def get(port):
    return f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode()


def post(port, lines, body):
    return f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n".encode() + body


def posts(port):
    """With each way to say where the body ends."""
    return (post(port, "Content-Length: 9", b"nine byte"),
            post(port, "Transfer-Encoding: chunked", b"4\r\nfour\r\n5\r\nfiver\r\n0\r\nTrailer: x\r\n\r\n"))


HANDSHAKES = (socks5, named, password, socks4a, connect, get)


class Cut(ProxyTest):

    def end(self, client):
        """Reads what there is up to the end, whichever it is."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                data += piece
        return data

    def test_handshakes_cut_at_every_byte_reach_nobody(self):
        listener = self.listener()
        listener.setblocking(False)
        for make in HANDSHAKES:
            whole = make(listener.getsockname()[1])
            for cut in range(len(whole)):
                with self.proxy.dial() as client:
                    client.sendall(whole[:cut])
                    client.shutdown(socket.SHUT_WR)
                    self.end(client)
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_handshakes_in_two_parts_are_whole(self):
        """Each part is read by itself: what is asked for in between is answered by another connection first."""
        listener = self.listener()
        for make in HANDSHAKES:
            whole = make(listener.getsockname()[1])
            for cut in range(1, len(whole)):
                with self.proxy.dial() as client:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.sendall(whole[:cut])
                    with self.proxy.dial() as other:
                        other.sendall(b"\x05\x01\x00")
                        self.assertEqual(exactly(other, 2), b"\x05\x00")
                    client.sendall(whole[cut:])
                    listener.accept()[0].close()
                    self.end(client)

    def test_bodies_cut_at_every_byte_are_reset(self):
        """A server must not take a part for the whole."""
        listener = self.listener()
        for whole in posts(listener.getsockname()[1]):
            for cut in range(whole.index(b"\r\n\r\n") + 4, len(whole)):
                with self.proxy.dial() as client:
                    client.sendall(whole[:cut])
                    peer, _ = listener.accept()
                    peer.settimeout(DEADLINE)
                    with peer:
                        client.shutdown(socket.SHUT_WR)
                        self.reset_by(peer)
                    self.end(client)

    def test_answers_cut_at_every_byte(self):
        """In its head: the proxy answers for the server. In its body: what came is passed on."""
        whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
        listener = self.listener()
        for cut in range(len(whole) + 1):
            with self.proxy.dial() as client:
                client.sendall(get(listener.getsockname()[1]))
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(DEADLINE)
                    peer.recv(65536)
                    peer.sendall(whole[:cut])
                    peer.shutdown(socket.SHUT_WR)
                    answer = self.end(client).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            if cut < whole.index(b"body"):
                self.assertTrue(answer.startswith(b"HTTP/1.1 502 "), (cut, answer))
            else:
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), (cut, answer))
                self.assertEqual(answer.partition(b"\r\n\r\n")[2], b"body"[:len(b"body") - len(whole) + cut])

    def test_two_lengths_of_an_answer_are_answered_for_the_server(self):
        listener = self.listener()
        for lines in (b"Content-Length: 4\r\nContent-Length: 5", b"Content-Length: 4\r\nTransfer-Encoding: chunked",
                      b"Content-Length: 4, 4", b"X: a\r\n b", b"X: a\rb"):
            client = self.dial()
            client.sendall(get(listener.getsockname()[1]))
            peer = self.accept(listener)
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n\r\nbody")
            self.assertTrue(self.end(client).startswith(b"HTTP/1.1 502 "), lines)

    def test_absurd_requests_are_answered(self):
        listener = self.listener()
        port = listener.getsockname()[1]
        cases = (
            (b"\x05\xff" + b"\x80" * 255, b"\x05\xff"),
            (b"\x05\x01\x00\x05\x02\x00\x01" + LOOPBACK + b"\0\x50", b"\x05\x00\x05\x07"),
            (b"\x05\x01\x00\x05\x04\x00\x01" + LOOPBACK + b"\0\x50", b"\x05\x00\x05\x07"),
            (b"\x05\x01\x00\x05\x01\x00\x03\xff" + b"a" * 255 + b"\0\x50", b"\x05\x00\x05\x01"),
            (b"\x05\x01\x00\x05\x01\x00\x01" + LOOPBACK + b"\0\0", b"\x05\x00\x05\x01"),
            (b"\x04\x01\0\x50\0\0\0\1" + b"u" * 300, b"\0\x5b"),
            (b"GET http://127.0.0.1:%d/" % port + b"a" * 40000 + b" HTTP/1.1\r\n", b"HTTP/1.1 431 "),
            (b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n" % port + b"X: y\r\n" * 500, b"HTTP/1.1 431 "),
            (post(port, "Content-Length: 99999999999999999999", b""), b"HTTP/1.1 400 "),
            (post(port, "Content-Length: -1", b""), b"HTTP/1.1 400 "),
            (post(port, "Transfer-Encoding: chunked", b"ffffffffffffffff\r\n"), b"HTTP/1.1 400 "),
            (post(port, "Transfer-Encoding: chunked", b"4\nfour\n0\n\n"), b"HTTP/1.1 400 "),
        )
        for said, expected in cases:
            client = self.dial()
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(said)
            answer = self.end(client)
            self.assertTrue(answer.startswith(expected), (said[:60], answer[:60]))

    def test_a_body_that_becomes_malformed_resets_the_server(self):
        client = self.dial()
        listener = self.listener()
        client.sendall(post(listener.getsockname()[1], "Transfer-Encoding: chunked", b"4\r\nfour\r\n"))
        peer = self.accept(listener)
        client.sendall(b"zz\r\n")
        self.reset_by(peer)


class Itself(ProxyTest):
    """By way of asockd, which is another user."""
    proxy_arguments = ("--any-user",)

    def test_a_plain_request_for_the_proxy_goes_round_once(self):
        """What comes back has no host: it is refused there."""
        client = self.dial()
        client.sendall(get(self.proxy.port))
        self.assertTrue(self.read_all(client).startswith(b"HTTP/1.1 400 "))

    def test_each_round_through_itself_is_asked_for(self):
        """A chain is as long as its client makes it, carries bytes and ends at once."""
        listener = self.listener()
        client = self.dial()
        for _ in range(20):
            client.sendall(socks5(self.proxy.port))
            self.assertEqual(exactly(client, 12)[3], 0)
        client.sendall(socks5(listener.getsockname()[1]))
        self.assertEqual(exactly(client, 12)[3], 0)
        peer = self.accept(listener)
        data = os.urandom(1 << 20)
        client.setblocking(False)
        sent = got = 0
        while got < len(data):
            _, writable, _ = select.select([], [client] if sent < len(data) else [], [], 0)
            if writable:
                sent += client.send(data[sent:sent + 65536])
            if select.select([peer], [], [], 0 if writable else DEADLINE)[0]:
                piece = peer.recv(65536)
                self.assertTrue(piece and data.startswith(piece, got))
                got += len(piece)
        client.close()
        peer.setblocking(True)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(peer.recv(1), b"")


class Full(DaemonTest):
    """A session may have 16 sockets."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--allow-any", config="[Limits]\nSockets=16\n")

    def setUp(self):
        super().setUp()
        self.proxy = self.hold(Proxy(self.daemon))
        self.server = self.listener(backlog=64)
        self.clients, self.peers = [], []
        for _ in range(16):
            self.clients.append(self.dial())
            self.peers.append(self.accept(self.server))
            self.assertEqual(exactly(self.clients[-1], 12)[3], 0)

    def dial(self, handshake=socks5):
        client = self.hold(self.proxy.dial())
        client.sendall(handshake(self.server.getsockname()[1]))
        return client

    def test_connects_wait_for_a_socket_in_their_order(self):
        late = []
        for number in range(6):
            late.append(self.dial())
            if number != 3:
                late[-1].sendall(bytes([number]))
            self.assertEqual(exactly(late[-1], 2), b"\5\0")  # it has its turn behind those before
        self.assertFalse(select.select([self.server, *late], [], [], 0)[0])
        late[3].close()  # it does not wait for it any more, and has said nothing to anybody
        for number in (0, 1, 2, 4, 5):
            self.clients[number].close()
            self.peers[number].close()
            peer = self.accept(self.server)
            self.assertEqual(exactly(late[number], 10)[1], 0, number)
            self.assertEqual(exactly(peer, 1), bytes([number]))
            peer.close()

    def test_a_socket_that_is_not_to_be_had_is_not_waited_for_for_long(self):
        late = [self.dial(handshake) for handshake in (socks5, connect, socks5)]
        self.assertEqual([exactly(late[number], 12)[3] for number in (0, 2)], [1, 1])
        answer = b""
        while piece := late[1].recv(1000):
            answer += piece
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b"connection_limit_reached", answer)
        self.clients[0].close()
        self.peers[0].close()
        client = self.dial()
        self.accept(self.server)
        self.assertEqual(exactly(client, 12)[3], 0)


class Crowd(DaemonTest):
    """A proxy that was started with few descriptors, and room for many."""

    variables = {}

    def setUp(self):
        super().setUp()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, files)
        self.proxy = self.hold(Proxy(
            self.daemon, env=asockctl.environment(**self.variables),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, files[1]))))
        self.server = self.listener()


class Many(Crowd):

    def test_a_thousand_connections_at_once(self):
        server = self.listener(backlog=2000)
        pairs = []
        for _ in range(1000):
            client = self.hold(self.proxy.dial())
            client.sendall(socks5(server.getsockname()[1]) + b"x")
            pairs.append((client, self.accept(server)))
        for client, peer in pairs:
            self.assertEqual((exactly(client, 12)[3], exactly(peer, 1)), (0, b"x"))
            peer.sendall(b"y")
        for client, _ in pairs:
            self.assertEqual(exactly(client, 1), b"y")

    def test_the_command_keeps_its_limit(self):
        done = asockctl.run("run", "--socket", self.daemon.path, "--proxy", "--", "sh", "-c", "ulimit -n",
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512)))
        self.assertEqual(done.stdout, b"256\n", done.stderr)


class Endless(Crowd):
    """The clock is the test's."""

    def setUp(self):
        if INSTRUMENTED:
            self.skipTest("a sanitizer has to be the first that is preloaded")
        self.clock = tempfile.NamedTemporaryFile()
        self.addCleanup(self.clock.close)
        self.move(0)
        self.variables = {"LD_PRELOAD": CLOCK, "ASOCK_TEST_CLOCK": self.clock.name}
        super().setUp()

    def move(self, seconds):
        self.clock.seek(0)
        self.clock.write(struct.pack("q", seconds))
        self.clock.flush()

    def works(self):
        """A connection through it; all that came before have been seen then."""
        with self.proxy.dial() as client:
            client.sendall(socks5(self.server.getsockname()[1]) + b"x")
            peer, _ = self.server.accept()
            with peer:
                self.assertEqual((exactly(client, 12)[3], exactly(peer, 1)), (0, b"x"))

    def test_a_handshake_without_an_end_is_ended(self):
        clients = {}
        for begun in (b"", b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01\x00\x03\xff", b"\x04\x01", b"CONN",
                      b"GET http://h/ HTTP/1.1\r\nX: "):
            clients[begun] = self.hold(self.proxy.dial())
            clients[begun].sendall(begun)
        self.works()
        self.move(HANDSHAKE_SECONDS - 10)
        for begun in (b"CONN", b"\x04\x01"):
            clients[begun].sendall(b"E" if begun == b"CONN" else b"\0")  # a byte now and then does not help
        self.works()
        self.works()
        for client in clients.values():
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self.assertEqual(client.recv(100), b"\x05\x00")
            client.setblocking(True)
            client.settimeout(DEADLINE)
        self.move(HANDSHAKE_SECONDS + 10)
        self.works()
        for begun, client in clients.items():
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(1000):
                    answer += piece
            if begun[:1] in (b"C", b"G"):
                self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), begun)
            else:
                self.assertEqual(answer, b"", begun)

    def test_what_comes_while_it_is_stopped_comes_in_time(self):
        """As after Ctrl-Z: when the tool continues, the deadline has passed and what it waited for has arrived."""
        client = self.hold(self.proxy.dial())
        client.sendall(b"\x05\x01\x00")
        self.assertEqual(exactly(client, 2), b"\x05\x00")
        suspend(self.proxy.pid)
        client.sendall(socks5(self.server.getsockname()[1])[3:])
        self.move(HANDSHAKE_SECONDS + 10)
        self.proxy.send_signal(signal.SIGCONT)
        self.assertEqual(exactly(client, 10)[1], 0)
        self.accept(self.server)

    def test_a_thousand_without_an_end_keep_out_nobody_and_are_ended(self):
        before = len(os.listdir(f"/proc/{self.proxy.pid}/fd"))
        clients = [self.hold(self.proxy.dial()) for _ in range(1000)]
        for number, client in enumerate(clients):
            client.sendall((b"\x05", b"GET ", b"\x04\x01", b"CONNECT h:1 HTTP/1.1\r\n")[number % 4])
        self.works()
        self.assertGreaterEqual(len(os.listdir(f"/proc/{self.proxy.pid}/fd")), before + 1000)
        self.move(HANDSHAKE_SECONDS + 10)
        self.works()
        for client in clients:
            self.assertIn(client.recv(9), (b"", b"HTTP/1.1 "))
            client.close()
        self.works()
        self.move(HANDSHAKE_SECONDS + 20)  # those who were answered have had time to read it
        self.works()
        self.daemon.wait(lambda: len(os.listdir(f"/proc/{self.proxy.pid}/fd")) <= before + 1)
