# SPDX-License-Identifier: LGPL-2.1-or-later
"""asock.Socket and asock.create_connection(): what socket.socket does, through the daemon."""

import hashlib
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import unittest
import unittest.mock

import asock
from asock import client
from asockd import Daemon, DaemonTest
from suspend import suspend
from wire import pb

DEADLINE = 30


class Blocking(DaemonTest):

    def setUp(self):
        super().setUp()
        self.server = self.listener()

    def connect(self, **options):
        sock = self.hold(asock.create_connection(self.server.getsockname(), path=self.daemon.path, **options))
        return sock, self.accept(self.server)

    def test_a_session_without_a_socket_ends(self):
        with unittest.mock.patch.object(client.Client, "socket", side_effect=OSError("none is left")):
            try:
                asock.Socket(self.daemon.path)
            except OSError as error:
                kept = error  # its traceback has the session
        self.daemon.settle()
        del kept

    def test_both_directions_and_both_ends(self):
        sock, peer = self.connect()
        sock.sendall(b"there")
        self.assertEqual(self.read_all(peer, 5), b"there")
        peer.sendall(b"and back")
        self.assertEqual(sock.recv(3), b"and")
        self.assertEqual(sock.recv(100), b" back")
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_all(peer), b"")
        peer.sendall(b"last")
        peer.close()
        self.assertEqual(sock.recv(4, socket.MSG_WAITALL), b"last")
        self.assertEqual((sock.recv(1), sock.recv(1)), (b"", b""))

    def test_s73_disconnects_and_connects_again(self):
        sock, peer = self.connect()
        other = self.listener()
        sock.sendall(b"first")
        peer.sendall(b"never read")
        self.assertEqual(sock.recv(5), b"never")
        sock.disconnect()
        self.assertEqual(self.read_all(peer), b"first")
        with self.assertRaises(asock.AsockError) as caught:
            sock.getpeername()
        self.assertEqual(caught.exception.number, pb.ERROR_NOT_CONNECTED)
        sock.connect(other.getsockname())
        self.assertEqual(sock.getpeername(), other.getsockname())
        second = self.accept(other)
        second.sendall(b"second")
        self.assertEqual(sock.recv(6, socket.MSG_WAITALL), b"second")
        second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        second.close()
        with self.assertRaises(ConnectionResetError):
            sock.recv(1)
        with self.assertRaises(ConnectionResetError):
            sock.disconnect()
        sock.connect(self.server.getsockname())
        third = self.accept(self.server)
        sock.sendall(b"third")
        self.assertEqual(self.read_all(third, 5), b"third")

    def test_endpoints(self):
        sock, peer = self.connect()
        self.assertEqual(sock.getpeername(), peer.getsockname())
        self.assertEqual(sock.getsockname(), peer.getpeername())

    def test_large_data(self):
        data = os.urandom(9 << 20)
        sock, peer = self.connect()
        got = []
        reader = threading.Thread(target=lambda: got.append(self.read_all(peer)))
        reader.start()
        sock.sendall(memoryview(data))
        sock.close()
        reader.join(DEADLINE)
        self.assertEqual(hashlib.sha256(got[0]).digest(), hashlib.sha256(data).digest())

    def file(self, data):
        file = self.hold(tempfile.TemporaryFile())
        file.write(data)
        return file

    def test_sendfile(self):
        data = os.urandom(3 << 20)
        file = self.file(data)
        sock, peer = self.connect()
        got = []
        reader = threading.Thread(target=lambda: got.append(self.read_all(peer)))
        reader.start()
        sock.sendall(b"head")
        self.assertEqual((sock.sendfile(file), file.tell()), (len(data), len(data)))
        self.assertEqual((sock.sendfile(file, 100, 2_000_000), file.tell()), (2_000_000, 2_000_100))
        self.assertEqual((sock.sendfile(file, len(data) - 7, 100), file.tell()), (7, len(data)))
        self.assertEqual((sock.sendfile(file, len(data)), file.tell()), (0, len(data)))
        sock.sendall(b"tail")
        sock.close()
        reader.join(DEADLINE)
        self.assertEqual(got[0], b"head" + data + data[100:2_000_100] + data[-7:] + b"tail")

    def test_sendfile_that_fails_says_how_far_it_came(self):
        """The peer resets the connection when it has read so much."""
        file = self.file(bytes(32 << 20))
        sock, peer = self.connect()

        def read_some():
            self.read_all(peer, 2 << 20)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()

        reader = threading.Thread(target=read_some)
        reader.start()
        with self.assertRaises(ConnectionResetError):
            sock.sendfile(file)
        reader.join(DEADLINE)
        self.assertGreaterEqual(file.tell(), 1 << 20)
        self.assertLess(file.tell(), 32 << 20)

    def test_sendfile_of_what_it_does_not_take(self):
        sock, _ = self.connect()
        with tempfile.TemporaryFile("w+") as text, self.assertRaises(ValueError):
            sock.sendfile(text)
        for count in (0, -1):
            with self.assertRaises(ValueError):
                sock.sendfile(self.file(b"x"), 0, count)

    def test_wait_all_over_many_pieces(self):
        data = os.urandom(3 << 20)
        sock, peer = self.connect()
        writer = threading.Thread(target=peer.sendall, args=(data,))
        writer.start()
        self.assertEqual(sock.recv(len(data), socket.MSG_WAITALL), data)
        writer.join(DEADLINE)

    def test_recv_into(self):
        sock, peer = self.connect()
        peer.sendall(b"abcdef")
        buffer = bytearray(b"......")
        self.assertEqual(sock.recv_into(buffer, 2), 2)
        self.assertEqual(buffer, b"ab....")

    def test_a_file(self):
        sock, peer = self.connect()
        peer.sendall(b"one\ntwo\n")
        with sock.makefile("r", encoding="ascii") as lines:
            self.assertEqual(lines.readline(), "one\n")
            self.assertEqual(lines.readline(), "two\n")
        with sock.makefile("wb") as file:
            file.write(b"three")
        self.assertEqual(self.read_all(peer, 5), b"three")

    def test_timeout_loses_nothing(self):
        sock, peer = self.connect()
        sock.settimeout(0.05)
        with self.assertRaises(TimeoutError):
            sock.recv(10)
        sock.settimeout(DEADLINE)
        peer.sendall(b"late")
        self.assertEqual(sock.recv(10), b"late")

    def test_a_daemon_that_hangs_does_not_hold_up_a_timeout(self):
        sock, _ = self.connect()
        sock.settimeout(0.05)
        suspend(self.daemon.pid)
        try:
            with unittest.mock.patch.object(asock.blocking, "GRACE", 0.05):
                with self.assertRaises(TimeoutError) as caught:
                    sock.recv(1)
                self.assertEqual(caught.exception.text, "the daemon does not answer")
                with self.assertRaises(TimeoutError):
                    sock.sendall(b"into nothing")
                sock.close()
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)

    def test_wait_all_that_fails_loses_nothing(self):
        data = os.urandom((256 << 10) + 1000)  # more than one receive gets
        sock, peer = self.connect()
        peer.sendall(data)
        sock.settimeout(0.5)
        with self.assertRaises(TimeoutError) as caught:
            sock.recv(len(data) + 1, socket.MSG_WAITALL)
        got = caught.exception.partial
        sock.settimeout(DEADLINE)
        self.assertEqual(got + sock.recv(len(data) - len(got), socket.MSG_WAITALL), data)

    def test_refused(self):
        address = self.server.getsockname()
        self.server.close()
        with self.assertRaises(ConnectionRefusedError):
            asock.create_connection(address, path=self.daemon.path)
        self.daemon.settle()

    def test_reset(self):
        sock, peer = self.connect()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with self.assertRaises(ConnectionResetError):
            sock.recv(1)

    def test_no_such_name(self):
        with self.assertRaises(socket.gaierror):
            asock.create_connection(("no.such.name.invalid", 80), path=self.daemon.path, timeout=DEADLINE)

    def test_international_names_are_converted(self):
        with self.assertRaises(socket.gaierror):
            asock.create_connection(("b\u00fccher.invalid", 80), path=self.daemon.path, timeout=DEADLINE)

    def test_options(self):
        sock, _ = self.connect()
        self.assertEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        with self.assertRaises(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)

    def test_wrong_arguments(self):
        sock, _ = self.connect()
        for call in (lambda: sock.recv(-1), lambda: sock.recv(1, socket.MSG_PEEK), lambda: sock.settimeout(0),
                     lambda: sock.makefile("x"), lambda: sock.makefile("r", 0)):
            with self.assertRaises(ValueError):
                call()

    def test_closed_twice_and_used_after(self):
        sock, _ = self.connect()
        sock.close()
        sock.close()
        with self.assertRaises(ConnectionAbortedError):
            sock.sendall(b"x")

    def test_interrupted_receive_loses_nothing(self):
        """Ctrl-C in the middle of recv(): what comes later is what comes first."""
        sock, peer = self.connect()
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)

        def interrupt():
            """When the receive is with the daemon."""
            self.daemon.wait(lambda: any(row["ops"] for row in self.daemon.control.inspect(list=pb.List())))
            threading.Event().wait(0.1)  # in Python an exception may come within any call: the receive waits by now
            signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

        interrupter = threading.Thread(target=interrupt)
        with self.assertRaises(KeyboardInterrupt):
            interrupter.start()
            sock.recv(100)
        interrupter.join()
        sock.settimeout(0.05)
        with unittest.mock.patch.object(asock.blocking, "GRACE", 0), self.assertRaises(TimeoutError):
            sock.recv(100)
        sock.settimeout(DEADLINE)
        peer.sendall(b"first")
        self.assertEqual(sock.recv(2), b"fi")
        self.assertEqual(sock.recv(100), b"rst")

    def interrupt(self, call, *arguments):
        """The exception comes when the request has been made, and before its answer."""
        with unittest.mock.patch.object(client.Client, "wait_for", side_effect=KeyboardInterrupt), \
                self.assertRaises(KeyboardInterrupt):
            call(*arguments)

    def connect_again(self, sock):
        sock.connect(self.server.getsockname())
        peer = self.accept(self.server)
        peer.sendall(b"of the second")
        self.assertEqual(sock.recv(13, socket.MSG_WAITALL), b"of the second")

    def test_s73_an_interrupted_disconnect_leaves_nothing_of_the_first_connection(self):
        sock, peer = self.connect()
        peer.sendall(b"of the first")
        self.assertEqual(sock.recv(2), b"of")
        peer.close()
        self.assertEqual(sock.recv(10, socket.MSG_WAITALL), b" the first")
        self.assertEqual(sock.recv(1), b"")
        self.interrupt(sock.disconnect)
        self.connect_again(sock)

    def test_interrupted_between_two_pieces_loses_nothing(self):
        sock, peer = self.connect()
        peer.sendall(b"abcdef")
        self.assertEqual(sock.recv(1), b"a")
        with unittest.mock.patch.object(sock, "_fetch", side_effect=KeyboardInterrupt):
            sock._rest += b"xy"
            with self.assertRaises(KeyboardInterrupt):
                sock.recv(5, socket.MSG_WAITALL)
        self.assertEqual(sock.recv(7), b"xy")


    def test_an_exception_of_a_signal_handler_may_come_anywhere(self):
        """Each request leaves once, and nothing that was received is lost, wherever in a call the handler raises."""
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        sock, peer = self.connect()
        sock.settimeout(DEADLINE)
        alarm, interrupted = Alarm(0), 0
        for line in range(1, 1000):
            sent, got = b"%06d" % line, b""
            peer.sendall(sent)
            with Alarm(line) as alarm:
                while len(got) < len(sent):
                    try:
                        got += sock.recv(4)
                    except KeyboardInterrupt:
                        interrupted += 1
            self.assertEqual(got, sent)
            if alarm.lines_left > 0:
                break
        self.assertGreater(interrupted, 20)
        self.assertGreater(alarm.lines_left, 0)
        sock.sendall(b"still there")
        self.assertEqual(self.read_all(peer, 11), b"still there")


    def test_what_an_exception_leaves_half_done_ends_the_session(self):
        """Where another thread has taken the signal, the handler runs at once."""
        sock, peer = self.connect()
        peer.sendall(b"x")
        with unittest.mock.patch.object(sock._client, "feed", side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                sock.recv(1)
        for _ in range(2):
            with self.assertRaises(ConnectionAbortedError):
                sock.sendall(b"x")


class Alarm:
    """SIGALRM comes before the line with that number of those that run in the session's code within the block."""

    def __init__(self, line):
        self.lines_left = line

    def trace(self, frame, event, _):
        if os.path.basename(frame.f_code.co_filename) not in ("client.py", "_core.py"):
            return None
        if event == "line":
            self.lines_left -= 1
            if self.lines_left == 0:
                signal.raise_signal(signal.SIGALRM)
        return self.trace

    def __enter__(self):
        self.previous = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.previous)


class Denied(unittest.TestCase):

    def test_the_reason_is_told(self):
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        with self.assertRaises(PermissionError) as caught:
            asock.create_connection(("127.0.0.1", 9), path=daemon.path)
        self.assertIsInstance(caught.exception, asock.AsockError)
        self.assertTrue(caught.exception.text)

    def test_no_daemon(self):
        with self.assertRaises(FileNotFoundError):
            client.Client("/nonexistent/asock.sock")


if __name__ == "__main__":
    unittest.main()
