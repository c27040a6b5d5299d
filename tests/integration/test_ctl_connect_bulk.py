# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl connect: large transfers, and every kind of descriptor as input and output."""

import fcntl
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import threading
import time
import tty
import unittest

import asockctl
from connecting import (
    ConnectCase, DEADLINE, MEGABYTE, Peer, pattern, read_all, reverse_at_end, sha256
)

LARGE = 100 * 1000 * 1000
SANITIZED = os.environ.get("ASOCK_TEST_SANITIZERS", "no") != "no"


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
        """Without /proc a pipe cannot be opened again: the tool uses poll and small pieces."""
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
        """If the tool blocked in write() on a full output, it would not read its input."""
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


if __name__ == "__main__":
    unittest.main()
