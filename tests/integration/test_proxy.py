# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl proxy: SOCKS and HTTP for programs that do not know asockd."""

import contextlib
import http.client
import http.server
import os
import queue
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading

import asockctl
import fake_asockd
from asockd import Daemon, DaemonTest
from wire import pb

DEADLINE = asockctl.DEADLINE
LOOPBACK = socket.inet_aton("127.0.0.1")
FIN_WAIT1 = 4  # of /proc/net/tcp


class Proxy(asockctl.Tool):
    """The running proxy; .paths are what it says it listens at."""

    def __init__(self, daemon, *args, **options):
        self.directory = tempfile.mkdtemp(prefix="asock-proxy-")
        self.path = os.path.join(self.directory, "proxy.sock")
        super().__init__("proxy", "--socket", daemon.path, "--listen", self.path, "--listen", "127.0.0.1:0", *args,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        lines = [self.stdout.readline().decode().strip() for _ in range(2)]
        self.port = int(lines[1].rpartition(":")[2] or 0) if lines[1] else 0

    def stop(self):
        self.send_signal(signal.SIGTERM)
        return self.wait(DEADLINE)

    def close(self):
        super().close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def dial(self, tcp=True):
        client = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", self.port) if tcp else self.path)
        return client


def socks5(port, host=None):
    address = b"\x01" + LOOPBACK if host is None else b"\x03" + bytes([len(host)]) + host
    return b"\x05\x01\x00\x05\x01\x00" + address + struct.pack("!H", port)


def socks4a(port):
    return b"\x04\x01" + struct.pack("!H", port) + b"\0\0\0\1me\x00localhost\0"


def connect(port):
    return f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def exactly(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


# name: the handshake for a port, bytes of the whole answer, where its verdict is and what it is.
TUNNELS = {
    "socks5": (socks5, 12, slice(3, 4), b"\0"),
    "socks4a": (socks4a, 8, slice(1, 2), b"\x5a"),
    "connect": (connect, 39, slice(0, 12), b"HTTP/1.1 200"),
}


class ProxyTest(DaemonTest):
    proxy_arguments = ()

    def setUp(self):
        super().setUp()
        self.proxy = self.hold(Proxy(self.daemon, *self.proxy_arguments))

    def dial(self, tcp=True):
        return self.hold(self.proxy.dial(tcp))

    def tunnel(self, kind="socks5", tcp=True, listener=None, more=b""):
        """Both ends of a connection through the proxy."""
        listener = listener or self.listener()
        make, length, verdict, expected = TUNNELS[kind]
        client = self.dial(tcp)
        client.sendall(make(listener.getsockname()[1]) + more)
        peer = self.accept(listener)
        self.assertEqual(exactly(client, length)[verdict], expected)
        return client, peer


    def grows(self, peer):
        """Does it take more once everybody has had a turn?"""
        other, end = self.tunnel()
        other.sendall(b"x")
        exactly(end, 1)
        try:
            return peer.send(b"") == 0 and bool(select.select([], [peer], [], 0.2)[1])
        except BlockingIOError:
            return False


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
        """Of the proxy's end, while it has one with a process; an orphan of the kernel's has no inode."""
        local, remote = self.proxy.port, client.getsockname()[1]
        with open("/proc/net/tcp", encoding="ascii") as table:
            for row in map(str.split, table):
                if row[1].endswith(f":{local:04X}") and row[2].endswith(f":{remote:04X}") and row[9] != "0":
                    return int(row[3], 16)
        return None

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


    def full_listener(self):
        """It answers no SYN until somebody is accepted, and who that will be."""
        listener = self.listener(backlog=0)
        waiting = self.hold(socket.socket())
        waiting.connect(listener.getsockname())
        return listener

    def test_a_program_that_gives_up_ends_its_connect(self):
        for tcp in (True, False):
            for name, (make, *_) in TUNNELS.items():
                with self.subTest(tunnel=name, tcp=tcp):
                    client = self.proxy.dial(tcp)
                    client.sendall(make(self.full_listener().getsockname()[1]))
                    self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 1)
                    client.close()
                    self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def test_what_it_has_said_before_it_went_arrives(self):
        listener = self.full_listener()
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
        """Connects whoever asks; nothing is ever received."""
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            while prefix := stream.read(8):
                head_len, payload_len = struct.unpack("<II", prefix)
                request = pb.Request.FromString(stream.read(head_len))
                stream.read(payload_len)
                asked.put(request)
                if request.verb == pb.VERB_HELLO:
                    connection.sendall(fake_asockd.frame(kind=pb.KIND_WELCOME, welcome=fake_asockd.WELCOME))
                elif request.verb == pb.VERB_CONNECT:
                    connection.sendall(fake_asockd.frame(kind=pb.KIND_COMPLETION, op=request.op, socket=request.socket, ops_freed=2,
                                                         bytes=payload_len, send_freed=payload_len, connected=pb.Connected()))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.respond(repr(sorted((name.lower(), value) for name, value in self.headers.items())).encode())

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.respond(body)

    def respond(self, body):
        self.server.requests.append(self.requestline)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Peer", self.address_string())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Http(ProxyTest):

    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.requests = []
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def request(self, method, path, body=None, **headers):
        client = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=DEADLINE)
        client.request(method, f"http://127.0.0.1:{self.port}{path}", body=body, headers=headers)
        response = client.getresponse()
        data = response.read()
        self.assertEqual(response.headers["Connection"], "close")
        client.close()
        return response, data

    def test_a_request_is_forwarded_without_what_is_for_the_proxy(self):
        response, data = self.request("GET", "/page?x=1", **{"Proxy-Authorization": "Basic secret", "X-Own": "kept"})
        self.assertEqual(response.status, 200)
        self.assertEqual(self.server.requests, ["GET /page?x=1 HTTP/1.1"])
        self.assertNotIn(b"secret", data)
        self.assertIn(b"('x-own', 'kept')", data)
        self.assertIn(b"('connection', 'close')", data)
        self.assertIn(f"('host', '127.0.0.1:{self.port}')".encode(), data)
        self.assertIn("asockctl", response.headers["Via"])

    def test_bodies_are_forwarded(self):
        body = os.urandom(3 << 20)
        self.assertTrue(self.request("POST", "/", body)[1] == body)
        self.assertTrue(self.request("POST", "/", iter([body[:100], body[100:]]))[1] == body)

    def test_what_follows_a_request_reaches_no_server(self):
        client = self.dial()
        request = f"GET http://127.0.0.1:{self.port}/{{}} HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall((request.format("one") + request.format("two")).encode())
        answer = self.read_all(client)
        self.assertEqual(answer.count(b"HTTP/1.1 200"), 1)
        self.assertEqual(self.server.requests, ["GET /one HTTP/1.1"])

    def check_server(self, said, expected):
        """A server that says this; what the program gets."""
        listener = self.listener()
        client = self.dial()
        client.sendall(f"GET http://127.0.0.1:{listener.getsockname()[1]}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        peer = self.accept(listener)
        peer.recv(65536)
        peer.sendall(said)
        with contextlib.suppress(OSError):  # what is no answer is reset at once
            peer.shutdown(socket.SHUT_WR)
        answer = self.read_all(client)
        self.assertTrue(answer.startswith(expected), answer[:200])
        return answer

    def test_a_servers_nonsense_is_answered_for_it(self):
        for said in (b"", b"HTTP/1.1 200 OK\r\n", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\nX: y\n\n", b"H" * 40000):
            self.check_server(said, b"HTTP/1.1 502 ")

    def test_interim_responses_come_through(self):
        answer = self.check_server(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nbody",
                                   b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        self.assertTrue(answer.endswith(b"Connection: close\r\n\r\nbody"))

    def test_interim_responses_wait_for_a_slow_program(self):
        """However many there are, no more of them are held than of anything else."""
        listener = self.listener()
        client = self.dial()
        client.sendall(f"GET http://127.0.0.1:{listener.getsockname()[1]}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        peer = self.accept(listener)
        peer.recv(65536)
        peer.setblocking(False)
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" * 1000
        rest, sent = b"", 0
        while sent < 64 << 20:
            rest = rest or hints
            try:
                count = peer.send(rest)
                rest, sent = rest[count:], sent + count
            except BlockingIOError:
                if not self.grows(peer):
                    break
        self.assertLess(sent, 64 << 20)
        peer.settimeout(DEADLINE)
        reader = threading.Thread(target=lambda: answers.append(self.read_all(client)))
        answers = []
        reader.start()
        peer.sendall(rest + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        peer.shutdown(socket.SHUT_WR)
        reader.join(DEADLINE)
        self.assertTrue(answers[0].endswith(b"\r\n\r\nok"))

    def test_smuggling_is_refused(self):
        for lines in ("Content-Length: 1\r\nContent-Length: 1", "Content-Length: 1\r\nTransfer-Encoding: chunked",
                      "X: a\r\n b", "X : a", "X: a\rb", "Host: y"):
            client = self.dial()
            client.sendall(f"POST http://127.0.0.1:{self.port}/ HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\nx".encode())
            self.assertTrue(self.read_all(client).startswith(b"HTTP/1.1 400 "), lines)
        self.assertEqual(self.server.requests, [])

    def test_curl(self):
        if not shutil.which("curl"):
            self.skipTest("no curl")
        url = f"http://127.0.0.1:{self.port}/from-curl"
        ways = (f"http://127.0.0.1:{self.proxy.port}", f"socks5h://127.0.0.1:{self.proxy.port}",
                f"socks4a://127.0.0.1:{self.proxy.port}", f"socks5h://localhost{self.proxy.path}")
        for way in ways:
            done = subprocess.run(["curl", "-sS", "--noproxy", "", "--max-time", str(DEADLINE), "-x", way, url, url],
                                  capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""), way)
        self.assertEqual(self.server.requests, ["GET /from-curl HTTP/1.1"] * 2 * len(ways))


class Restricted(ProxyTest):
    """--policy, and what a program is told of a denial."""

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


class Arguments(DaemonTest):

    def fails(self, *args, status=1):
        done = asockctl.run("proxy", "--socket", self.daemon.path, *args)
        self.assertEqual((done.returncode, done.stdout), (status, b""), done.stderr.decode())
        return done.stderr.decode()

    def test_wrong_calls(self):
        self.assertIn("--listen", self.fails(status=2))
        self.assertIn("loopback", self.fails("--listen", "0.0.0.0:1080"))
        self.assertIn("loopback", self.fails("--listen", "192.0.2.1:1080"))
        self.assertIn("loopback", self.fails("--listen", "nonsense"))
        self.assertIn("loopback", self.fails("--listen", "127.0.0.1:70000"))
        with tempfile.NamedTemporaryFile() as file:
            self.assertIn("is not a socket", self.fails("--listen", file.name))
        done = asockctl.run("proxy", "--socket", "/nonexistent/asock.sock", "--listen", "/tmp/never.sock")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/asock.sock", done.stderr.decode())
        self.assertFalse(os.path.exists("/tmp/never.sock"))

    def test_no_descriptor_for_the_connection_is_a_message(self):
        """With one more each time, until it runs. (libtool's script needs more than the program itself.)"""
        libraries = os.path.join(asockctl.BUILDDIR, ".libs")
        program = os.path.join(libraries, "asockctl")
        said = {}
        for limit in range(4, 40):
            tool = subprocess.Popen(
                [program if os.path.exists(program) else asockctl.TOOL, "proxy", "--socket", self.daemon.path, "--listen", "127.0.0.1:0"],
                env=asockctl.environment(LD_LIBRARY_PATH=libraries), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            if runs := tool.stdout.readline():
                tool.terminate()
            text = tool.communicate(timeout=DEADLINE)[1].decode()
            if runs:
                break
            said[limit] = (tool.returncode, "no descriptor is left for the connection to asockd" in text)
        self.assertIn((1, True), said.values(), said)

    def test_the_unix_socket_is_the_users_alone(self):
        proxy = self.hold(Proxy(self.daemon))
        self.assertEqual(stat.S_IMODE(os.stat(proxy.path).st_mode), 0o600)
        self.assertIn("another program listens there", self.fails("--listen", proxy.path))
        self.assertEqual(proxy.stop(), 0)
        self.assertFalse(os.path.exists(proxy.path))

    def test_a_stale_socket_is_replaced(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "stale.sock")
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(path)
            tool = self.hold(asockctl.Tool("proxy", "--socket", self.daemon.path, "--listen", path,
                                           stdout=subprocess.PIPE))
            self.assertEqual(tool.stdout.readline().decode(), path + "\n")
            tool.send_signal(signal.SIGINT)
            self.assertEqual(tool.wait(DEADLINE), 0)


class Around(DaemonTest):
    """asockctl run --proxy."""

    def run_tool(self, *command, **options):
        return asockctl.run("run", "--socket", self.daemon.path, "--proxy", "--", *command, **options)

    def test_the_command_finds_the_proxy(self):
        done = self.run_tool("sh", "-c", 'echo "$ALL_PROXY|$HTTPS_PROXY|$https_proxy|$NO_PROXY|$ASOCK_FD|"')
        socks, http1, http2, none, fd, _ = done.stdout.decode().split("|")
        self.assertRegex(socks, r"^socks5h://127\.0\.0\.1:\d+$")
        self.assertEqual({http1, http2}, {socks.replace("socks5h", "http")})
        self.assertIn("localhost", none)
        self.assertEqual(fd, "")

    def test_status_and_signals_are_the_commands(self):
        self.assertEqual(self.run_tool("sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.run_tool("sh", "-c", "kill -TERM $$").returncode, 128 + signal.SIGTERM)
        self.assertEqual(self.run_tool("/nonexistent").returncode, 127)
        self.assertEqual(self.run_tool("/etc/passwd").returncode, 126)
        done = asockctl.run("run", "--socket", "/nonexistent/asock.sock", "--proxy", "--", "true")
        self.assertEqual(done.returncode, 125)
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", "sh", "-c",
                                       "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
                                       stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"up\n")
        tool.send_signal(signal.SIGTERM)
        self.assertEqual(tool.wait(DEADLINE), 9)

    def test_what_the_command_has_sent_last_arrives(self):
        """Its peer reads only when the command has ended."""
        listener = self.listener()
        code = '''
import os, socket, sys
proxy = os.environ["ALL_PROXY"].rpartition(":")[2]
sock = socket.create_connection(("127.0.0.1", int(proxy)))
sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
sock.recv(1000)
sock.setblocking(False)
count = 0
try:
    while True:
        count += sock.send(bytes(1 << 16))
except BlockingIOError:
    print(count, flush=True)
    os._exit(3)
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdout=subprocess.PIPE))
        peer = self.hold(listener.accept()[0])
        asockctl.wait_for_child(tool)
        self.assertEqual(asockctl.read_all(peer), int(tool.stdout.readline()))
        self.assertEqual(tool.wait(DEADLINE), 3)

    def test_what_it_has_sent_from_a_port_of_many_connections_arrives(self):
        """The table of TCP sockets does not tell which of them is meant. The peer takes little at a time."""
        listener = self.listener()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        code = '''
import os, socket, sys
proxy = ("127.0.0.1", int(os.environ["ALL_PROXY"].rpartition(":")[2]))
socks, own = [], 0
for number in range(2, 11):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((f"127.0.0.{number}", own))
    own = sock.getsockname()[1]
    sock.connect(proxy)
    sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
    sock.recv(1000)
    socks.append(sock)
socks[0].setblocking(False)
count = 0
try:
    while True:
        count += socks[0].send(bytes(1 << 16))
except BlockingIOError:
    print(count, flush=True)
if os.fork():
    os._exit(3)
socks[0].setblocking(True)
socks[0].recv(1)
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdout=subprocess.PIPE))
        peer = self.accept(listener)
        asockctl.wait_for_child(tool)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(2048):
                received += len(data)
        self.assertEqual(received, int(tool.stdout.readline()))
        self.assertEqual(tool.wait(DEADLINE), 3)

    def test_connects_at_the_very_end_arrive(self):
        """However many: they have been neither accepted nor read when the command ends."""
        listener = self.listener(backlog=200)
        code = '''
import os, signal, socket, sys
proxy = ("127.0.0.1", int(os.environ["ALL_PROXY"].rpartition(":")[2]))
os.kill(os.getppid(), signal.SIGSTOP)
for number in range(150):
    sock = socket.create_connection(proxy)
    sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n%c" % (sys.argv[1].encode(), number))
    sock.detach()
print("connected", flush=True)
os._exit(3)
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"connected\n")
        asockctl.wait_for_child(tool)
        tool.send_signal(signal.SIGCONT)
        numbers = set()
        with contextlib.suppress(TimeoutError):
            while len(numbers) < 150:
                with listener.accept()[0] as peer:
                    numbers.add(peer.recv(1))
        self.assertEqual(len(numbers), 150)
        self.assertEqual(tool.wait(DEADLINE), 3)

    def test_what_it_leaves_behind_does_not_hold_up_the_end(self):
        """It always has something under way; of that only what was sent by then is passed on."""
        listener = self.listener()
        code = '''
import os, socket, sys
proxy = os.environ["ALL_PROXY"].rpartition(":")[2]
sock = socket.create_connection(("127.0.0.1", int(proxy)))
sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
sock.recv(1000)
sock.sendall(bytes(1000))
if os.fork():
    os._exit(3)
try:
    while data := sock.recv(100):
        sock.sendall(data)
except OSError:
    pass
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1])))
        peer = self.accept(listener)
        counts = []

        def answer():
            with contextlib.suppress(ConnectionResetError):
                while data := peer.recv(100):
                    peer.sendall(data)
                    counts.append(len(data))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        asockctl.wait_for_child(tool)
        before = len(counts)
        self.assertEqual(tool.wait(DEADLINE), 3)
        thread.join(DEADLINE)
        # For as long as a command that has gone is waited for it would be ten times as many.
        self.assertLess(len(counts) - before, 20000)

    def test_in_a_sandbox_that_has_nothing_but_a_descriptor(self):
        if not shutil.which("bwrap") or not shutil.which("curl"):
            self.skipTest("no bwrap or no curl")
        listener = self.listener()
        port = listener.getsockname()[1]

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        with tempfile.NamedTemporaryFile("w", suffix=".policy") as policy:
            policy.write(f"[Rules]\nAllow=tcp 127.0.0.1 {port}\n")
            policy.flush()
            os.chmod(policy.name, 0o644)
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{port}/"
            done = asockctl.run("run", "--fd", "--socket", self.daemon.path, "--policy", policy.name, "--", "bwrap",
                                "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all",
                                asockctl.TOOL, "run", "--proxy", "--", "sh", "-c",
                                f"curl -sS --noproxy '' {url} && ! curl -sS --noproxy '' http://127.0.0.2/ -p")
            thread.join(DEADLINE)
        self.assertEqual((done.returncode, done.stdout), (0, b"hello"), done.stderr.decode())
        self.assertIn("403", done.stderr.decode())
