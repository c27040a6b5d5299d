# SPDX-License-Identifier: LGPL-2.1-or-later
"""Descriptors that clients send: the kernel drops them, the daemon does not notice."""

import array
import errno
import os
import socket
import subprocess
import sys
import tempfile
import unittest

import silent_fuse
from asockd import DaemonTest
from wire import DEADLINE, Wire

MOST = 253  # descriptors in one message


class Descriptors(DaemonTest):
    def others_are_served(self):
        """New clients and old ones, by the very loop that has the descriptors behind it."""
        client = self.wire()
        client.send(Wire.sync(5))
        self.assertEqual(client.completion(5).error, 0)
        self.assertEqual(self.daemon.fds(), None if self.daemon.baseline["fds"] is None
                         else self.daemon.baseline["fds"] + self.per_session * self.sessions)

    sessions = 2     # the sender's, and that of others_are_served()
    per_session = 2  # socket and pidfd

    def test_as_many_as_a_message_holds(self):
        """With every frame of many: none of them is ever seen in the daemon."""
        sender = self.wire()
        reader, writer = os.pipe()
        for op in range(1, 101):
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer] * MOST))]
            try:
                sender.sock.sendmsg([Wire.sync(op)], ancillary)
            except OSError as error:
                self.assertEqual(error.errno, errno.ETOOMANYREFS)  # RLIMIT_NOFILE, all in flight
                sender.send(Wire.sync(op))
        os.close(writer)
        for op in range(1, 101):
            self.assertEqual(sender.completion(op).error, 0)
        self.others_are_served()
        os.set_blocking(reader, False)
        self.assertEqual(os.read(reader, 1), b"")  # the other end is closed
        os.close(reader)

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
        self.others_are_served()


if __name__ == "__main__":
    unittest.main()
