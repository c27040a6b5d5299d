# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl proxy: requests that are forwarded to HTTP servers."""

import contextlib
import http.client
import http.server
import os
import shutil
import socket
import subprocess
import threading

from http_body import request_body
from proxy import DEADLINE, ProxyTest


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.respond(repr(sorted((name.lower(), value) for name, value in self.headers.items())).encode())

    def do_POST(self):
        self.respond(request_body(self))

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
        """Runs a server that sends this; returns what the program receives."""
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
        """However many there are, the proxy holds no more of them than of anything else."""
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
