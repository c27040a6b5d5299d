# SPDX-License-Identifier: LGPL-2.1-or-later
"""Descriptors that clients send: the kernel refuses them. An older one drops them, and the daemon does not notice."""

import array
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

import silent_fuse
from asockd import Daemon, DaemonTest, binary
from suspend import suspend
from wire import DEADLINE, Wire, pb

MOST = 253  # descriptors in one message
SO_PASSRIGHTS = 83


def has_passrights():
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            return probe.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS) == 1
        except OSError:
            return False


class DescriptorsTest(DaemonTest):

    def others_are_served(self):
        """New clients and old ones, by the very loop that has the descriptors behind it."""
        client = self.wire()
        client.send(Wire.sync(5))
        self.assertEqual(client.completion(5).error, 0)

    @staticmethod
    def send(sock, data, descriptors):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        sock.sendmsg([data], rights)


@unittest.skipUnless(has_passrights(), "this kernel has no SO_PASSRIGHTS")
class Refused(DescriptorsTest):

    def check(self, wire):
        with self.assertRaises(PermissionError):
            self.send(wire.sock, Wire.sync(1), [0])
        wire.send(Wire.sync(1))
        self.assertEqual(wire.completion(1).error, 0)

    def test_nobody_can_send_any(self):
        self.check(self.wire())

    def test_not_before_hello(self):
        wire = self.wire(hello=False)
        with self.assertRaises(PermissionError):
            self.send(wire.sock, b"x", [0])

    def test_not_over_a_shared_listener(self):
        wire = self.wire()
        directory = wire.inspect(share=pb.Share())[0]["directory"]
        sharee = self.hold(Wire(os.path.join(directory, "asock.sock")))
        sharee.hello()
        self.check(sharee)


class Dropped(DescriptorsTest):
    """As on a kernel before Linux 6.16."""

    @classmethod
    def setUpClass(cls):
        wrapper = binary("tests/lib/no-passrights")
        if subprocess.run([wrapper, "true"], check=False).returncode != 0:
            raise unittest.SkipTest("no system call filters here")
        cls.daemon = Daemon(*cls.arguments, prefix=(wrapper,))

    def nothing_has_come(self):
        self.others_are_served()
        self.assertEqual(self.daemon.fds(), None if self.daemon.baseline["fds"] is None
                         else self.daemon.baseline["fds"] + self.per_session * self.sessions)

    sessions = 2     # the sender's, and that of others_are_served()
    per_session = 2  # socket and pidfd

    def test_as_many_as_a_message_holds(self):
        """With every frame of many: none of them is ever seen in the daemon."""
        sender = self.wire()
        reader, writer = os.pipe()
        for op in range(1, 101):
            try:
                self.send(sender.sock, Wire.sync(op), [writer] * MOST)
            except OSError as error:
                self.assertEqual(error.errno, errno.ETOOMANYREFS)  # RLIMIT_NOFILE, all in flight
                sender.send(Wire.sync(op))
        os.close(writer)
        for op in range(1, 101):
            self.assertEqual(sender.completion(op).error, 0)
        self.nothing_has_come()
        os.set_blocking(reader, False)
        self.assertEqual(os.read(reader, 1), b"")  # the other end is closed
        os.close(reader)

    def leave(self, sender, data, count):
        """Sends sockets whose last close waits an hour for a peer that does not read; it will be the daemon's."""
        listener = self.listener()
        socks = [socket.create_connection(listener.getsockname()) for _ in range(count)]
        for sock in socks:
            self.accept(listener)
            sock.setblocking(False)
            with self.assertRaises(BlockingIOError):
                while True:
                    sock.send(bytes(65536))
        suspend(self.daemon.pid)
        try:
            self.send(sender.sock, data, [sock.fileno() for sock in socks])
            for sock in socks:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
                sock.close()
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)

    def test_sockets_with_a_linger_time(self):
        sender = self.wire()
        self.leave(sender, Wire.sync(1), 3)
        self.others_are_served()
        self.assertEqual(sender.completion(1).error, 0)

    def test_a_socket_with_a_linger_time_behind_the_end_of_a_session(self):
        sender = self.wire(hello=False)
        suspend(self.daemon.pid)
        sender.send(bytes(8))  # no frame has these lengths
        self.leave(sender, bytes(8), 1)
        self.others_are_served()

    def start_sender(self, sock, data, count):
        """Waits until the client has sent files of its own file system, and let go of them."""
        directory = tempfile.mkdtemp(prefix="asock-fuse-")
        self.addCleanup(os.rmdir, directory)
        sender = subprocess.Popen([sys.executable, silent_fuse.__file__, directory, str(sock.fileno()), str(count)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[sock.fileno()])
        self.addCleanup(sender.stdout.close)
        self.addCleanup(sender.wait, DEADLINE)
        self.addCleanup(sender.kill)  # and with it the file system: who hangs in it is let go
        sender.stdin.write(data)
        sender.stdin.close()
        self.assertEqual(sender.stdout.readline(), b"sent\n")

    def test_of_a_file_system_that_does_not_answer(self):
        """close(2) of such a file never returns, and no signal ends that."""
        if os.getuid() != 0:
            self.skipTest("only root may mount")
        if not os.path.exists("/dev/fuse"):
            self.skipTest("no /dev/fuse")
        sender = self.wire()
        self.start_sender(sender.sock, b"".join(Wire.sync(op) for op in range(1, 11)), 10)
        for op in range(1, 11):
            self.assertEqual(sender.completion(op).error, 0)
        self.nothing_has_come()


if __name__ == "__main__":
    unittest.main()
