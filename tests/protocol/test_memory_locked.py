# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shared memory that its client has locked: whoever writes to a file holds a lock of it as long as the kernel copies."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import silent_fuse
from asockd import Daemon, DaemonTest
from wire import DEADLINE, Wire, pb

LENGTH = 1 << 20


class Locked(DaemonTest):

    def setUp(self):
        super().setUp()
        if os.getuid() != 0:
            self.skipTest("only root may mount")
        if not os.path.exists("/dev/fuse"):
            self.skipTest("no /dev/fuse")

    def lock(self, descriptor):
        """Until the process that is returned ends."""
        directory = tempfile.mkdtemp(prefix="asock-fuse-")
        self.addCleanup(os.rmdir, directory)
        holder = subprocess.Popen([sys.executable, silent_fuse.__file__, directory, str(descriptor)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[descriptor])
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.wait, DEADLINE)
        self.addCleanup(holder.kill)
        self.assertEqual(holder.stdout.readline(), b"held\n")
        return holder

    def register(self, wire, status=False):
        """The buffer's id, and copies of the descriptors of it and of the page."""
        wire.send(wire.make_register(1, LENGTH, status=status))
        reply = wire.completion(1)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS, reply)
        descriptors = [wire.descriptors.popleft() for _ in range(reply.descriptors)]
        for descriptor in descriptors:
            self.addCleanup(os.close, descriptor)
        return reply.segment.buffer, descriptors

    def check_serves(self):
        wire = self.wire()
        for op in range(1, 11):
            wire.send(Wire.sync(op))
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        wire.close()

    def wait_emptied(self, descriptor):
        limit = time.monotonic() + DEADLINE
        while os.pread(descriptor, 1, LENGTH - 1) != b"\0":
            self.assertLess(time.monotonic(), limit)

    def test_s52_a_buffer_that_is_given_back(self):
        wire = self.wire()
        buffer, (memory,) = self.register(wire)
        holder = self.lock(memory)
        wire.send(Wire.unregister(2, buffer), Wire.sync(3))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        self.check_serves()
        self.assertEqual(self.daemon.stats()["buffers"], 1)  # charged as long as it is there
        holder.kill()
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)

    def test_s52_the_page_of_a_session_that_ends(self):
        wire = self.wire()
        _, (memory, page) = self.register(wire, status=True)
        os.pwrite(memory, b"x", LENGTH - 1)
        holder = self.lock(page)
        wire.close()
        self.check_serves()
        self.assertEqual(os.pread(memory, 1, LENGTH - 1), b"x")  # never before the page is marked
        holder.kill()
        self.wait_emptied(memory)
        self.assertEqual(os.pread(page, 1, 0), b"\1")

    def as_user(self, uid):
        os.seteuid(uid)
        try:
            sock = self.hold(socket.socket(socket.AF_UNIX))
            sock.connect(self.daemon.path)
        finally:
            os.seteuid(0)
        wire = self.hold(Wire(sock=sock))
        wire.hello()
        return wire

    def test_s52_no_other_user_is_taken_for_who_holds_the_page(self):
        """Its session has no buffer any more, but stays until the page is marked."""
        wire = self.as_user(1001)
        buffer, (_, page) = self.register(wire, status=True)
        holder = self.lock(page)
        wire.send(Wire.unregister(2, buffer))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        wire.close()
        self.check_serves()
        for uid in range(2000, 2010):
            wire = self.as_user(uid)
            buffer, _ = self.register(wire)
            wire.send(Wire.unregister(2, buffer))
            self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
            wire.close()
        holder.kill()

    def test_s52_the_end_of_the_daemon(self):
        daemon = Daemon("--allow-any")
        self.addCleanup(daemon.stop, check=False)
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        buffer, (memory,) = self.register(wire)
        self.lock(memory)
        wire.send(Wire.unregister(2, buffer), Wire.sync(3))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        daemon.stop()

    def test_without_the_process_that_empties(self):
        daemon = Daemon("--allow-any")
        self.addCleanup(daemon.stop, check=False)
        os.kill(daemon.child("asockd-empty"), signal.SIGKILL)
        daemon.wait(lambda: "empties shared memory has ended" in daemon.output())
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        buffer, (memory,) = self.register(wire)
        os.pwrite(memory, b"x", LENGTH - 1)
        wire.send(Wire.unregister(2, buffer))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.wait_emptied(memory)


if __name__ == "__main__":
    unittest.main()
