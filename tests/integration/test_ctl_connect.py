# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl connect: standard input and output through the daemon."""

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import pty
import queue
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import tty
import unittest

import asockctl
import asockd
from wire import Ended

MEGABYTE = 1 << 20
LARGE = 100 * 1000 * 1000
DEADLINE = asockctl.DEADLINE
SANITIZED = os.environ.get("ASOCK_TEST_SANITIZERS", "no") != "no"


def pattern(size):
    """Bytes that tell where they belong."""
    block = b"".join(struct.pack("<I", i) for i in range(65536))
    return (block * (size // len(block) + 1))[:size]


def read_all(read):
    digest, total = hashlib.sha256(), 0
    while True:
        data = read(MEGABYTE)
        if not data:
            return digest.hexdigest(), total
        digest.update(data)
        total += len(data)


def sha256(data):
    return hashlib.sha256(data).hexdigest(), len(data)


class Peer:
    """A server for one connection; handler(connection) runs in a thread, its result comes from result()."""

    def __init__(self, handler):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.port = str(self.listener.getsockname()[1])
        self.handler, self.value, self.error = handler, None, None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(DEADLINE)
                self.value = self.handler(connection)
        except Exception as error:  # for result()
            self.error = error

    def result(self):
        self.thread.join(DEADLINE)
        self.listener.close()
        if self.thread.is_alive():
            raise AssertionError("the peer is not done")
        if self.error:
            raise self.error
        return self.value


class ConnectCase(asockd.DaemonTest):

    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def args(self, port, *more, host="127.0.0.1", path=None):
        return ("connect", host, str(port), "--socket", path or self.daemon.path, *more)

    def run_tool(self, port, *more, host="127.0.0.1", **options):
        return asockctl.run(*self.args(port, *more, host=host), **options)

    def start_tool(self, port, *more, host="127.0.0.1", path=None, **options):
        return self.hold(asockctl.Tool(*self.args(port, *more, host=host, path=path), **options))

    def check_ok(self, done):
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def make_file(self, data):
        path = os.path.join(self.dir, "file")
        with open(path, "wb") as file:
            file.write(data)
        return path


def reverse_at_end(connection):
    """Answers after the end only: without half-close nobody would get anything."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    connection.sendall(data[::-1])
    return data


class Many(ConnectCase):

    def test_s49_sixty_at_once(self):
        listener = self.listener(backlog=128)
        tools = [self.start_tool(listener.getsockname()[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                 for _ in range(60)]
        peers = [self.accept(listener) for _ in tools]
        for tool in tools:
            tool.stdin.close()
        for peer in peers:
            self.assertEqual(peer.recv(1), b"")
            peer.sendall(b"served")
            peer.shutdown(socket.SHUT_WR)
        for tool in tools:
            self.assertEqual(tool.stdout.read(), b"served")
            self.assertEqual(tool.wait(DEADLINE), 0)


class Refused(ConnectCase):
    """No room for one more session of this user: the tool says so in the daemon's words."""

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("[Limits]\nClients=4\n")
            file.flush()
            os.chmod(file.name, 0o644)
            cls.daemon = asockd.Daemon(*cls.arguments, "--config", file.name)

    def test_s49_the_tool_tells_the_error_and_the_text(self):
        with contextlib.suppress(Ended):
            while True:
                self.wire()
        done = self.run_tool(9)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(done.stderr.decode(), r"^asockctl: asockd ended the session: over a limit or out of memory: "
                                               r"the (user|unit) has as many clients as it may have\n$")


class HalfClose(ConnectCase):

    def test_end_of_input_goes_through_and_the_answer_comes_back(self):
        peer = Peer(reverse_at_end)
        done = self.run_tool(peer.port, stdin=b"hello")
        self.check_ok(done)
        self.assertEqual((peer.result(), done.stdout), (b"hello", b"olleh"))

    def test_nothing_sent_nothing_received(self):
        peer = Peer(reverse_at_end)
        done = self.run_tool(peer.port)
        self.check_ok(done)
        self.assertEqual((peer.result(), done.stdout), (b"", b""))

    def test_peer_ends_first_and_still_reads(self):
        def handler(connection):
            connection.sendall(b"that was all")
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

        peer = Peer(handler)
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # The pipe's end: seen while standard input is still open.
        self.assertEqual(tool.stdout.read(), b"that was all")
        self.assertIsNone(tool.poll())
        tool.stdin.write(b"late words")
        tool.stdin.close()
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(peer.result(), b"late words")

    def test_peer_ends_first_with_one_socket_for_both(self):
        def handler(connection):
            connection.sendall(b"that was all")
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

        peer = Peer(handler)
        ours, theirs = socket.socketpair()
        with ours:
            tool = self.start_tool(peer.port, stdin=theirs, stdout=theirs)
            theirs.close()
            ours.settimeout(DEADLINE)
            self.assertEqual(ours.makefile("rb").read(), b"that was all")
            ours.sendall(b"late words")
            ours.shutdown(socket.SHUT_WR)
            self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(peer.result(), b"late words")


class Manners(ConnectCase):

    def test_exit_on_close(self):
        """Though standard input goes on."""
        peer = Peer(lambda connection: connection.sendall(b"that was all"))
        tool = self.start_tool(peer.port, "--exit-on-close", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(), b"that was all")
        self.assertEqual(tool.wait(DEADLINE), 0)

    def test_a_reset_behind_the_end_of_the_stream(self):
        """Nothing is sent and nothing more can come: it is noticed all the same."""
        seen = threading.Event()

        def handler(connection):
            connection.shutdown(socket.SHUT_WR)
            seen.wait(DEADLINE)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        peer = Peer(handler)
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(), b"")
        self.assertIsNone(tool.poll())
        seen.set()
        self.assertEqual(tool.wait(DEADLINE), 1)
        self.assertIn(b"sending:", tool.stderr.read())

    def test_keep_open(self):
        """The peer sees no end of stream until it has closed its own side."""
        asked, go = queue.Queue(), queue.Queue()

        def handler(connection):
            self.assertEqual(connection.recv(5, socket.MSG_WAITALL), b"hello")
            for word in (b"one", b"two"):
                connection.sendall(word)
                go.get(timeout=DEADLINE)
            asked.put(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

        peer = Peer(handler)
        tool = self.start_tool(peer.port, "--keep-open", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        tool.stdin.write(b"hello")
        tool.stdin.close()
        for word in (b"one", b"two"):
            self.assertEqual(tool.stdout.read(3), word)
            go.put(None)
        self.assertEqual(asked.get(timeout=DEADLINE), b"\x01", "TCP_ESTABLISHED: no FIN has come")
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(peer.result(), b"")

    def test_ready_fd(self):
        def handler(connection):
            return connection.recv(1)

        peer = Peer(handler)
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            tool = self.start_tool(peer.port, "--ready-fd", str(writer), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   pass_fds=[writer])
            os.close(writer)
            self.assertEqual(ready.read(), b"\n")
        tool.stdin.write(b"x")
        tool.stdin.close()
        self.assertEqual(peer.result(), b"x")
        self.assertEqual(tool.wait(DEADLINE), 0)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            tool = self.start_tool(port, "--ready-fd", str(writer), stdin=subprocess.DEVNULL, pass_fds=[writer],
                                   stderr=subprocess.DEVNULL)
            os.close(writer)
            self.assertEqual(ready.read(), b"", "it never was")
        self.assertEqual(tool.wait(DEADLINE), 4)
        for wrong in ("77", "1", "x", "-1", ""):
            self.assertEqual(self.run_tool(port, "--ready-fd", wrong).returncode, 2, wrong)

    def test_keep_alive_is_on(self):
        peer = Peer(lambda connection: connection.recv(1))
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        def timers():
            with open("/proc/net/tcp", encoding="ascii") as table:
                rows = [line.split() for line in table]
            return {row[5].split(":")[0] for row in rows if row[2].endswith(f":{int(peer.port):04X}") and row[3] == "01"}

        self.daemon.wait(lambda: "02" in timers())  # one for keep-alive runs
        tool.stdin.close()
        tool.wait(DEADLINE)


class Large(ConnectCase):

    def test_100_megabytes_up_from_a_file(self):
        data = pattern(LARGE)
        peer = Peer(lambda connection: read_all(connection.recv))
        with open(self.make_file(data), "rb") as file:
            self.check_ok(self.run_tool(peer.port, stdin=file))
        self.assertEqual(peer.result(), sha256(data))

    def test_100_megabytes_up_from_a_pipe(self):
        data = pattern(LARGE)
        peer = Peer(lambda connection: read_all(connection.recv))
        self.check_ok(self.run_tool(peer.port, stdin=data))
        self.assertEqual(peer.result(), sha256(data))

    def test_100_megabytes_down_to_a_file(self):
        data = pattern(LARGE)
        peer = Peer(lambda connection: connection.sendall(data))
        path = os.path.join(self.dir, "got")
        with open(path, "wb") as file:
            self.check_ok(self.run_tool(peer.port, stdout=file))
        peer.result()
        with open(path, "rb") as file:
            self.assertEqual(read_all(file.read), sha256(data))

    def test_100_megabytes_down_to_a_pipe(self):
        data = pattern(LARGE)
        peer = Peer(lambda connection: connection.sendall(data))
        tool = self.start_tool(peer.port, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.assertEqual(read_all(tool.stdout.read1), sha256(data))
        self.assertEqual(tool.wait(DEADLINE), 0)
        peer.result()

    def test_echo_of_100_megabytes_both_ways_at_once(self):
        def echo(connection):
            while data := connection.recv(65536):
                connection.sendall(data)

        data = pattern(LARGE)
        peer = Peer(echo)
        with open(self.make_file(data), "rb") as file:
            tool = self.start_tool(peer.port, stdin=file, stdout=subprocess.PIPE)
            self.assertEqual(read_all(tool.stdout.read1), sha256(data))
        self.assertEqual(tool.wait(DEADLINE), 0)
        peer.result()

    def test_memory_is_bounded_when_the_reader_stalls(self):
        stalled = threading.Event()

        def flood(connection):
            left = LARGE
            block = bytes(65536)
            connection.setblocking(False)
            while left > 0:
                # Five seconds without room mean that everything between here and the reader is full.
                if not select.select([], [connection], [], 1 if stalled.is_set() else 5)[1]:
                    stalled.set()
                    continue
                left -= connection.send(block[:left])
            return stalled.is_set()

        peer = Peer(flood)
        tool = self.start_tool(peer.port, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.assertTrue(stalled.wait(DEADLINE))
        if not SANITIZED:  # whose own memory hides the tool's
            self.assertLess(self.peak_memory(tool), 16 * MEGABYTE)
        self.assertEqual(read_all(tool.stdout.read1)[1], LARGE)
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertTrue(peer.result())

    @staticmethod
    def peak_memory(tool):
        with open(f"/proc/{tool.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024


class Descriptors(ConnectCase):

    def test_shared_file_descriptions_stay_blocking(self):
        ready, go_on = threading.Event(), threading.Event()

        def handler(connection):
            self.assertEqual(connection.recv(5, socket.MSG_WAITALL), b"hello")
            ready.set()
            go_on.wait(DEADLINE)
            connection.sendall(b"bye")

        for make in (os.pipe, lambda: tuple(s.detach() for s in socket.socketpair()), pty.openpty):
            ready.clear()
            go_on.clear()
            peer = Peer(handler)
            in_pair, out_pair = make(), make()
            child_in, child_out = (in_pair[0], out_pair[1]) if make is os.pipe else (in_pair[1],
                                                                                    out_pair[1])
            our_in = in_pair[1] if make is os.pipe else in_pair[0]
            if make is pty.openpty:
                tty.setraw(child_in)
            tool = self.start_tool(peer.port, stdin=child_in, stdout=child_out)
            os.write(our_in, b"hello")
            self.assertTrue(ready.wait(DEADLINE))
            for fd in (child_in, child_out):
                self.assertFalse(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK, make)
            go_on.set()
            self.assertEqual(os.read(out_pair[0], 100), b"bye")
            tool.kill()
            tool.wait()
            peer.result()
            for fd in in_pair + out_pair:
                os.close(fd)

    def test_terminal(self):
        peer = Peer(reverse_at_end)
        ours, theirs = pty.openpty()
        attributes = tty.tcgetattr(theirs)
        attributes[1] &= ~tty.OPOST
        attributes[3] &= ~tty.ECHO
        tty.tcsetattr(theirs, tty.TCSANOW, attributes)
        tool = self.start_tool(peer.port, stdin=theirs, stdout=theirs)
        os.close(theirs)
        os.write(ours, b"hello\n\x04")  # a line, and the end of input
        self.assertEqual(peer.result(), b"hello\n")
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(os.read(ours, 100), b"\nolleh")
        os.close(ours)

    def test_named_pipe_whose_writer_has_gone(self):
        peer = Peer(reverse_at_end)
        path = os.path.join(self.dir, "fifo")
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(path, os.O_WRONLY)
        os.set_blocking(reader, True)
        os.write(writer, b"last words")
        os.close(writer)
        done = self.run_tool(peer.port, stdin=reader)
        os.close(reader)
        self.check_ok(done)
        self.assertEqual(peer.result(), b"last words")

    def test_without_proc(self):
        """Pipes can't be opened again there: poll and small pieces must do."""
        def echo(connection):
            while data := connection.recv(65536):
                connection.sendall(data)

        sandbox = self.without_proc()
        data = pattern(4 * MEGABYTE)
        peer = Peer(echo)
        done = subprocess.run([*sandbox, asockctl.TOOL, *self.args(peer.port)], input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              timeout=DEADLINE, env=asockctl.environment())
        if not SANITIZED:  # whose search for leaks fails without /proc
            self.check_ok(done)
        self.assertEqual(sha256(done.stdout), sha256(data))
        peer.result()

    def without_proc(self):
        sandbox = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/proc", "--"]
        try:
            possible = subprocess.run([*sandbox, "true"], stderr=subprocess.PIPE, check=False)
        except FileNotFoundError:
            self.skipTest("bubblewrap is not installed")
        if possible.returncode:
            self.skipTest("no sandbox: " + possible.stderr.decode())
        return sandbox

    def check_stalled_output_holds_up_nothing_else(self, *wrapper):
        """With its output full, a tool that waits in write() would not read its input."""
        data = pattern(200 * 1000)
        begun = threading.Event()

        def handler(connection):
            connection.sendall(data[:1000])  # so that no write ends where the pipe is full
            begun.wait(DEADLINE)
            connection.sendall(data[1000:])
            return connection.makefile("rb").read()

        peer = Peer(handler)
        tool = self.hold(asockctl.Tool(*self.args(peer.port), wrapper=wrapper,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        self.wait_readable(tool.stdout, 1000)
        begun.set()
        self.wait_readable(tool.stdout, 60000)  # a pipe holds 65536, in whole pages
        tool.stdin.write(b"hello")
        tool.stdin.close()
        self.assertEqual(peer.result(), b"hello")
        self.assertEqual(tool.stdout.read(), data)
        tool.wait(DEADLINE)

    def wait_readable(self, stream, count):
        limit = time.monotonic() + DEADLINE
        while struct.unpack("i", fcntl.ioctl(stream, termios.FIONREAD, bytes(4)))[0] < count:
            self.assertLess(time.monotonic(), limit)
            select.select([], [], [], 0.01)

    def test_stalled_output_holds_up_nothing_else(self):
        self.check_stalled_output_holds_up_nothing_else()

    def test_stalled_output_holds_up_nothing_else_without_proc(self):
        self.check_stalled_output_holds_up_nothing_else(*self.without_proc())

    def run_shell(self, script, peer):
        return subprocess.run(["sh", "-c", script, "sh", asockctl.TOOL, *self.args(peer.port)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=DEADLINE, check=False,
                              env=asockctl.environment())

    def check_failed(self, done, *says):
        self.assertEqual(done.returncode, 1, done.stderr)
        for part in says:
            self.assertIn(part, done.stderr)

    def expect_reset(self, peer):
        with self.assertRaises(ConnectionResetError):
            peer.result()

    def test_closed_input_resets(self):
        peer = Peer(lambda connection: connection.recv(1))
        self.check_failed(self.run_shell('"$@" <&-', peer), b"standard input: Bad file descriptor")
        self.expect_reset(peer)

    def test_unreadable_input_resets(self):
        peer = Peer(lambda connection: connection.recv(1))
        self.check_failed(self.run_shell('"$@" </', peer), b"standard input: Is a directory")
        self.expect_reset(peer)

    def test_closed_output(self):
        peer = Peer(lambda connection: connection.sendall(b"hello"))
        self.check_failed(self.run_shell('"$@" >&-', peer), b"standard output: Bad file descriptor")

    def test_full_output(self):
        peer = Peer(lambda connection: connection.sendall(b"hello"))
        self.check_failed(self.run_shell('"$@" >/dev/full', peer),
                          b"standard output: No space left on device")

    def test_reader_gone(self):
        def handler(connection):
            connection.sendall(b"hello")
            return connection.recv(1)

        peer = Peer(handler)
        reader, writer = os.pipe()
        os.close(reader)
        stdin_reader, stdin_writer = os.pipe()  # stays open: this is not the end of the stream
        tool = self.start_tool(peer.port, stdin=stdin_reader, stdout=writer, stderr=subprocess.PIPE)
        for fd in (writer, stdin_reader):
            os.close(fd)
        _, text = tool.communicate(timeout=DEADLINE)
        os.close(stdin_writer)
        self.assertEqual(tool.returncode, 1)
        self.assertIn(b"standard output: Broken pipe", text)
        self.expect_reset(peer)


class Failures(ConnectCase):

    def check_failed(self, status, port, name, text, *more, host="127.0.0.1"):
        done = self.run_tool(port, *more, host=host)
        self.assertEqual((done.returncode, done.stdout), (status, b""))
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith(f"asockctl: {host} port {port}: ".encode()))
        self.assertIn(text, done.stderr.decode())
        done = self.run_tool(port, "--json", *more, host=host)
        self.assertEqual((done.returncode, done.stdout), (status, b""))
        told = json.loads(done.stderr)
        self.assertEqual((told["error"], told["local"], told["bytes_in"]), (name, None, 0))
        self.assertIn(text, told["message"])

    def free_port(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return listener.getsockname()[1]

    def test_refused(self):
        self.check_failed(4, self.free_port(), "ConnectionRefused", "connection refused")

    def test_unknown_service(self):
        done = self.run_tool("no-such-service")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"no-such-service", done.stderr)

    def test_denied_by_policy(self):
        daemon = asockd.Daemon()
        self.addCleanup(daemon.stop)
        done = asockctl.run("connect", "127.0.0.1", "9", "--socket", daemon.path)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"denied", done.stderr)

    def test_timeout(self):
        # Loopback drops what does not fit into a listener's backlog.
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(8):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            self.check_failed(6, listener.getsockname()[1], "TimedOut", "timed out", "--timeout", "0.2")

    def test_reset_by_peer(self):
        def handler(connection):
            connection.sendall(b"hello")
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        peer = Peer(handler)
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(5), b"hello")
        tool.stdin.write(b"x")
        tool.stdin.flush()
        self.assertEqual(tool.stderr.read().count(b"connection reset by peer\n"), 1)
        self.assertEqual(tool.wait(DEADLINE), 1)
        peer.result()

    def test_daemon_gone(self):
        daemon = asockd.Daemon("--allow-any")
        self.addCleanup(daemon.stop)
        peer = Peer(lambda connection: (connection.sendall(b"hello"), connection.recv(1)))
        tool = self.start_tool(peer.port, path=daemon.path, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(5), b"hello")
        daemon.stop()
        self.assertIn(b"connection ended by the daemon", tool.stderr.read())
        self.assertEqual(tool.wait(DEADLINE), 1)

    def test_escapes_reach_no_terminal(self):
        for host, status in (("a\x1b[31mb", 1), ("a\x1b[31m\u202eb", 2)):
            done = self.run_tool("9", host=host)
            self.assertEqual(done.returncode, status, host)
            self.assertNotIn(b"\x1b", done.stderr)
            self.assertNotIn("\u202e".encode(), done.stderr)

    def test_killed_tool_leaves_nothing(self):
        peer = Peer(lambda connection: (connection.sendall(b"hello"), connection.recv(1)))
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(5), b"hello")
        tool.send_signal(signal.SIGTERM)
        self.assertEqual(tool.wait(DEADLINE), -signal.SIGTERM)
        self.assertEqual(peer.result()[1], b"")  # a clean end: all that was sent has arrived


class Json(ConnectCase):

    def test_result(self):
        peer = Peer(reverse_at_end)
        done = self.run_tool(peer.port, "--json", stdin=b"hello")
        self.assertEqual((done.returncode, done.stdout, peer.result()), (0, b"olleh", b"hello"))
        told = json.loads(done.stderr)
        self.assertRegex(told.pop("local"), r"^127\.0\.0\.1:\d+$")
        self.assertEqual(told, {
            "host": "127.0.0.1", "port": peer.port, "remote": f"127.0.0.1:{peer.port}",
            "bytes_in": 5, "bytes_out": 5, "error": None, "message": None,
        })

    def test_ipv6(self):
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            self.skipTest(f"no IPv6: {error}")
        with listener:
            port = listener.getsockname()[1]
            tool = self.start_tool(port, "--json", host="::1", stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
            listener.settimeout(DEADLINE)
            listener.accept()[0].close()
            _, text = tool.communicate(timeout=DEADLINE)
        self.assertEqual(json.loads(text)["remote"], f"[::1]:{port}")


class RealPeers(ConnectCase):
    """Any protocol over TCP works, with programs that know nothing of asockd."""

    def start_server(self, listening, *command, **options):
        """A server that says its port on standard error."""
        if not shutil.which(command[0]):
            self.skipTest(f"{command[0]} is not installed")
        server = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  **{"stdout": subprocess.PIPE, **options})
        self.addCleanup(self.end_server, server)
        for line in server.stderr:
            if found := re.search(listening, line):
                return server, found[1].decode()
        raise AssertionError(f"{command[0]} has ended")

    @staticmethod
    def end_server(server):
        if server.poll() is None:
            server.kill()
        server.wait()
        server.stderr.close()
        server.stdout.close()

    def test_socat(self):
        """sha256sum answers at the end of its input: no half-close, no answer."""
        data = pattern(4 * MEGABYTE)
        _, port = self.start_server(rb"listening on .*:(\d+)$", "socat", "-d", "-d",
                                    "TCP-LISTEN:0,bind=127.0.0.1", "EXEC:sha256sum")
        done = self.run_tool(port, stdin=data)
        self.check_ok(done)
        self.assertEqual(done.stdout.split()[0].decode(), sha256(data)[0])

    def test_nc(self):
        data = pattern(4 * MEGABYTE)
        server, port = self.start_server(rb"Listening on \S+ (\d+)$", "nc", "-v", "-N", "-l",
                                         "127.0.0.1", "0")
        reader = threading.Thread(target=lambda: setattr(self, "got", server.stdout.read()))
        reader.start()
        done = self.run_tool(port, stdin=data)
        reader.join(DEADLINE)
        self.check_ok(done)
        self.assertEqual(sha256(self.got), sha256(data))

    def make_keys(self):
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            os.path.join(self.dir, name)], check=True, timeout=DEADLINE)
        shutil.copy(os.path.join(self.dir, "user.pub"), os.path.join(self.dir, "authorized"))

    def start_sshd(self):
        sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not sshd or not shutil.which("ssh"):
            self.skipTest("sshd or ssh is not installed")
        if os.geteuid() == 0:
            try:
                os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
            except OSError as error:
                self.skipTest(f"sshd wants /run/sshd: {error}")
        self.make_keys()
        path = os.path.join(self.dir, "sshd_config")
        with open(path, "w", encoding="ascii") as config:
            config.write(f"HostKey {self.dir}/host\nAuthorizedKeysFile {self.dir}/authorized\n"
                         "PidFile none\nStrictModes no\nUsePAM no\nListenAddress 127.0.0.1\n"
                         "PasswordAuthentication no\nKbdInteractiveAuthentication no\n")
        # -i: one connection, on a descriptor; so there is no port to race for.
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(DEADLINE)

        def serve():
            connection, _ = listener.accept()
            with connection, open(os.path.join(self.dir, "sshd.log"), "wb") as log:
                subprocess.run([sshd, "-i", "-e", "-f", path], stdin=connection, stdout=connection,
                               stderr=log, timeout=DEADLINE, check=False)

        self.server = threading.Thread(target=serve, daemon=True)
        self.server.start()
        return listener.getsockname()[1]

    def test_ssh_proxy_command(self):
        port = self.start_sshd()
        data = pattern(4 * MEGABYTE)
        done = subprocess.run(
            ["ssh", "-F", "none", "-i", os.path.join(self.dir, "user"), "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-p", str(port), "-o",
             f"ProxyCommand={asockctl.TOOL} connect %h %p --socket {self.daemon.path}",
             f"{getpass.getuser()}@127.0.0.1", "cat; exit 7"],
            input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
            check=False, env=asockctl.environment())
        self.server.join(DEADLINE)
        with open(os.path.join(self.dir, "sshd.log"), encoding="utf-8", errors="replace") as log:
            text = log.read()
        self.assertEqual(done.returncode, 7, done.stderr.decode() + text)
        self.assertEqual(sha256(done.stdout), sha256(data))


if __name__ == "__main__":
    unittest.main()
