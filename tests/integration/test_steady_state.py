# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that is busy allocates nothing: its calls of malloc and its like are counted over 100,000 ops."""

import os
import socket
import struct
import subprocess
import tempfile
import unittest

from asockd import DEADLINE, Daemon, DaemonTest
from build import INSTRUMENTED
from wire import Wire, pb, request

if INSTRUMENTED:
    raise unittest.SkipTest("instruments have their own allocator")

BUILD = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
MODULE = os.path.join(BUILD, "tests", "lib", ".libs", "count-alloc.so")


class SteadyState(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.counter = os.path.join(folder.name, "counter")
        with open(self.counter, "wb") as file:
            file.write(bytes(8))
        os.chmod(self.counter, 0o666)
        module = os.path.join(folder.name, "count-alloc.so")
        with open(MODULE, "rb") as source, open(module, "wb") as copy:  # the daemon's user may read it
            copy.write(source.read())
        os.chmod(module, 0o755)
        self.daemon = Daemon("--allow-any", env={**os.environ, "LD_PRELOAD": module,
                                                 "ASOCK_TEST_COUNTER": self.counter})
        self.addCleanup(self.daemon.stop)
        self.server = subprocess.Popen([os.path.join(BUILD, "bench", "server")], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.server.communicate)
        self.port = self.server.stdout.readline().strip()

    def allocations(self):
        with open(self.counter, "rb") as file:
            return struct.unpack("Q", file.read(8))[0]

    def count(self, units, *arguments):
        """Allocations of the daemon between the client's warm-up and its end. What the client before it had is gone:
        the end of each connection is an entry of the audit, which on a busy machine came late."""
        self.daemon.settle()
        client = subprocess.Popen([os.path.join(BUILD, "bench", "client"), "--way", "asock", "--server", self.port,
                                   "--path", self.daemon.path, "--count", str(units), "--pause", *arguments],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(client.stdout.readline(), "begin\n")
            before = self.allocations()
            client.stdin.write("\n")
            client.stdin.flush()
            self.assertEqual(client.stdout.readline(), "end\n")
            return self.allocations() - before
        finally:
            client.communicate("\n", timeout=DEADLINE)
            self.assertEqual(client.returncode, 0)

    def assert_none(self, units, *arguments):
        """What is needed once (an array of libev's that grows to its size) may come late: one of five
        runs has to do without. What an operation allocates, it does in each."""
        counts = []
        while 0 not in counts and len(counts) < 5:
            counts.append(self.count(units, *arguments))
        self.assertEqual(counts[-1], 0, counts)

    def test_the_counter_counts(self):
        """A session is something new, and costs memory."""
        before = self.allocations()
        self.assertGreater(before, 0)
        self.count(1, "--test", "round-trip")
        self.assertGreater(self.allocations(), before)

    def test_sends_that_wait(self):
        """The kernel takes them a part at a time: the daemon keeps the rest."""
        self.assert_none(10000, "--test", "up", "--size", "262144")

    def test_pieces_of_all_sizes_that_wait(self):
        """The peer reads once all have been handed over: what is kept is large pieces, small ones, both, again and again."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello()
        option = pb.SetOption(option=pb.OPTION_SEND_BUFFER, value=pb.OptionValue(number=1))
        wire.send(wire.open(1, 1), request(pb.VERB_SET_OPTION, 2, 1, set_option=option),
                  wire.connect(3, 1, listener.getsockname()))
        self.assertEqual([wire.completion(op).error for op in (1, 2, 3)], [0, 0, 0])
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        sizes = ([262144] * 2, [16384] * 40, [50000] * 8, [100, 1000, 10000] * 9, [1] * 200)
        counts = []
        while len(counts) < 10 and counts[-1:] != [0]:
            before = self.allocations()
            for lengths in sizes * 10:
                wire.send(*(wire.make_send(op, 1, bytes(length)) for op, length in enumerate(lengths, 10)))
                wire.settle()
                DaemonTest.read_all(peer, sum(lengths))
                for op in range(10, 10 + len(lengths)):
                    self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
            counts.append(self.allocations() - before)
        self.assertEqual(counts[-1], 0, counts)  # how much waits at a time varies: the most comes in time

    def test_messages(self):
        """A send and a receive each."""
        self.assert_none(50000, "--test", "messages", "--connections", "64")

    def test_sends(self):
        self.assert_none(100000, "--test", "up", "--size", "4096")

    def test_receives(self):
        self.assert_none(100000, "--test", "down", "--size", "4096")

    def test_large_sends(self):
        self.assert_none(10000, "--test", "up", "--size", "65536")

    def test_large_receives(self):
        self.assert_none(10000, "--test", "down", "--size", "65536")

    def test_sends_by_reference(self):
        self.assert_none(100000, "--test", "up", "--size", "4096", "--shared")

    def test_a_multishot_receive(self):
        self.assert_none(100000, "--test", "down", "--size", "4096", "--shared")


if __name__ == "__main__":
    unittest.main()
