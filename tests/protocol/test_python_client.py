# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operations of the Python package, asock.client, and its example."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import unittest

from asockd import DaemonTest
from wire import pb
from asock import client as asock_client

TOP = os.environ.get("ASOCK_TEST_SRCDIR", ".")
FETCH = os.path.join(TOP, "python", "examples", "fetch.py")


class Pages(http.server.BaseHTTPRequestHandler):
    page = os.urandom(5 << 20)

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        length = len(self.page) + (100 if self.path == "/cut" else 0)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *_):
        pass


class Fetch(DaemonTest):

    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.server.daemon_threads = True
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.port = str(self.server.server_address[1])

    def fetch(self, *arguments):
        return subprocess.run([sys.executable, FETCH, "--socket", self.daemon.path, *arguments],
                              capture_output=True, check=False, timeout=60)

    def test_url(self):
        run = self.fetch(f"http://127.0.0.1:{self.port}/page?query")
        self.assertEqual((run.returncode, run.stderr), (0, b""))
        self.assertEqual(run.stdout, Pages.page)

    def test_host_port_path_into_a_file(self):
        output = os.path.join(self.daemon.directory, "page")
        run = self.fetch("-o", output, "127.0.0.1", self.port, "/")
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, b"", b""))
        with open(output, "rb") as page:
            self.assertEqual(page.read(), Pages.page)

    def test_missing_page(self):
        run = self.fetch(f"http://127.0.0.1:{self.port}/missing")
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"404", run.stderr)

    def test_page_that_is_cut(self):
        run = self.fetch(f"http://127.0.0.1:{self.port}/cut")
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"bytes", run.stderr)

    def test_nobody_there(self):
        self.server.shutdown()
        self.server.server_close()
        run = self.fetch(f"http://127.0.0.1:{self.port}/")
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"CONNECTION_REFUSED", run.stderr)

    def test_no_daemon(self):
        run = subprocess.run([sys.executable, FETCH, "--socket", "/nonexistent", "http://a/"],
                             capture_output=True, check=False, timeout=60)
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"fetch.py: ", run.stderr)


class Client(DaemonTest):

    def client(self):
        client = asock_client.Client(self.daemon.path, name="test")
        client.close = client.disconnect
        return self.hold(client)

    def connect(self, client):
        listener = self.listener()
        sock = client.socket()
        op = sock.connect(*listener.getsockname())
        op.result()
        return sock, self.accept(listener)

    def test_restriction(self):
        client = self.client()
        listener = self.listener()
        with self.assertRaisesRegex(asock_client.AsockError, "INVALID_ARGUMENT: line 2: "):
            client.restrict("[Rules]\nAlow=tcp * 1\n").result(30)
        client.restrict("[Rules]\nAllow=tcp * 443\n").result(30)
        with self.assertRaisesRegex(asock_client.AsockError, "ACCESS_DENIED: "):
            client.socket().connect(*listener.getsockname()).result(30)

    def test_large_send_both_ways_at_once(self):
        """The peer reads nothing until it has sent everything: only who reads while he writes gets through."""
        client = self.client()
        sock, peer = self.connect(client)
        data = os.urandom(24 << 20)
        answer = []

        def serve():
            peer.sendall(data)
            answer.append(self.read_all(peer))
            peer.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        sent = sock.send(data)
        sock.shutdown()
        got = bytearray()
        while piece := sock.receive().result(60):
            got += piece
        self.assertEqual(bytes(got), data)
        self.assertEqual(sent.result(60), len(data))
        thread.join()
        self.assertEqual(answer[0], data)
        sock.close().result(30)

    def test_stalled_socket_holds_up_itself_alone(self):
        client = self.client()
        stalled, quiet_peer = self.connect(client)
        sock, peer = self.connect(client)
        big = stalled.send(bytes(64 << 20))
        for turn in range(200):
            sock.send(b"ping")
            self.assertFalse(big.done)
            receive = sock.receive(4, wait_all=True)
            client.run_once(0)
            self.assertEqual(self.read_all_while(client, peer, 4), b"ping")
            peer.sendall(b"pong")
            self.assertEqual(receive.result(30), b"pong")
        stalled.close().result(30)
        with self.assertRaises(asock_client.AsockError) as caught:
            big.result(30)
        self.assertEqual(caught.exception.number, pb.ERROR_OPERATION_ABORTED)
        self.reset_by(quiet_peer)

    @staticmethod
    def read_all_while(client, peer, count):
        """The peer's bytes, while the client runs in the same thread."""
        data = b""
        peer.setblocking(False)
        while len(data) < count:
            try:
                data += peer.recv(count - len(data))
            except BlockingIOError:
                client.run_once(0.001)
        peer.settimeout(30)
        return data

    def test_chain_that_fails_is_abandoned(self):
        client = self.client()
        sock, peer = self.connect(client)
        big = sock.send(bytes(64 << 20))
        client.run_once(0)
        sock.cancel(big).result(30)
        with self.assertRaises(asock_client.AsockError):
            big.result(30)
        peer.sendall(b"goes on")
        self.assertEqual(sock.receive().result(30), b"goes on")
        client.sync().result(30)
        sock.close().result(30)

    def test_more_sends_than_ops(self):
        client = self.client()
        sock, peer = self.connect(client)
        ops = [sock.send(b"%05d" % number) for number in range(5000)]
        sock.shutdown()
        thread_data = []
        thread = threading.Thread(target=lambda: thread_data.append(self.read_all(peer)))
        thread.start()
        for op in ops:
            self.assertEqual(op.result(60), 5)
        thread.join()
        self.assertEqual(thread_data[0], b"".join(b"%05d" % number for number in range(5000)))
        sock.close().result(30)

    def test_ids_are_used_again(self):
        client = self.client()
        for _ in range(100):
            sock = client.socket()
            self.assertEqual(sock.id, 1)
            sock.close().result(30)

    def test_one_that_was_closed_before_it_left_holds_up_no_other(self):
        """Nothing of the first socket has left when it is closed; the second one takes its id."""
        client = self.client()
        client.sync().result(30)  # nothing else is under way
        client.socket().close().result(30)
        sock = client.socket()
        listener = self.listener()
        sock.connect(*listener.getsockname()).result(30)
        self.accept(listener)
        sock.close().result(30)

    def test_errors(self):
        client = self.client()
        sock = client.socket()
        with self.assertRaises(asock_client.AsockError) as caught:
            sock.send(b"x").result(30)
        self.assertEqual(caught.exception.number, pb.ERROR_NOT_CONNECTED)
        sock, _ = self.connect(client)
        with self.assertRaises(asock_client.AsockError) as caught:
            sock.receive(timeout_ms=20).result(30)
        self.assertEqual(caught.exception.number, pb.ERROR_TIMED_OUT)

    def test_options_and_inspection(self):
        client = self.client()
        sock, _ = self.connect(client)
        sock.set_option(pb.OPTION_NO_DELAY, 0).result(30)
        op = sock.get_option(pb.OPTION_NO_DELAY)
        op.result(30)
        self.assertEqual(op.body.number, 0)
        self.assertEqual(client.inspect(list=pb.List())[0]["socket"], sock.id)

    def test_daemon_that_ends_the_session(self):
        client = self.client()
        sock = client.socket()
        pending = sock.connect("127.0.0.1", 9)
        client.output += b"\0" * 8  # a frame that is none
        with self.assertRaises(asock_client.AsockError):
            pending.result(30)
        while not client.ended:
            client.run_once(30)
        self.assertEqual(client.ended.number, pb.ERROR_PROTOCOL_ERROR)


if __name__ == "__main__":
    unittest.main()
