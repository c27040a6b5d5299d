# SPDX-License-Identifier: LGPL-2.1-or-later
"""What clients do to the memory they share, as a memory controller sees it: the daemon is in a group of its own."""

import mmap
import os
import threading
import unittest

from asockd import DaemonTest
from wire import pb, segment

MEBI = 1 << 20
ROOTS = (("/sys/fs/cgroup/memory", "memory.usage_in_bytes"), ("/sys/fs/cgroup", "memory.current"))


def own_group():
    """A new group with a memory controller: its directory, and its file of what it uses; or why there is none."""
    if os.getuid() != 0:
        return None, "not root"
    for root, usage in ROOTS:
        path = f"{root}/asockd-test-{os.getpid()}"
        try:
            os.mkdir(path)
        except OSError:
            continue
        if os.path.exists(f"{path}/{usage}"):
            return path, usage
        os.rmdir(path)
    return None, "no memory controller to make a group in"


class SharedMemory(DaemonTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.group, cls.usage = own_group()
        if cls.group is None:
            super().tearDownClass()
            raise unittest.SkipTest(cls.usage)
        with open(f"{cls.group}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(cls.daemon.pid))

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        os.rmdir(cls.group)

    def shared(self):
        """Bytes of shared memory that are charged to the daemon."""
        with open(f"{self.group}/memory.stat", encoding="ascii") as stat:
            return int(next(line for line in stat if line.startswith("shmem ")).split()[1])

    def used(self):
        with open(f"{self.group}/{self.usage}", encoding="ascii") as usage:
            return int(usage.read())

    def filled(self, length):
        """A client whose memory the daemon has had filled by the kernel."""
        wire = self.wire()
        number, memory = wire.register(length)
        peer = self.pair(wire)
        sender = threading.Thread(target=peer.sendall, args=(b"x" * length,))
        sender.start()
        wire.send(wire.receive(1, 1, flags=pb.RECEIVE_FLAG_WAIT_ALL,
                               segments=[segment(number, 0, length)]))
        self.assertEqual(wire.completion(1).bytes, length)
        sender.join()
        return wire, number, memory

    def test_s45_memory_of_a_client_that_is_gone(self):
        """It comes back though somebody still has it mapped, who then finds zeros and pays for them himself."""
        shared, used = self.shared(), self.used()
        wire, _, memory = self.filled(32 * MEBI)
        self.assertGreaterEqual(self.shared() - shared, 32 * MEBI)
        # What else is charged to the group may have shrunk meanwhile.
        self.assertGreaterEqual(self.used() - used, 31 * MEBI)
        wire.close()
        self.daemon.settle(self.before)
        self.assertLess(self.shared() - shared, MEBI)
        self.assertLess(self.used() - used, 16 * MEBI)
        self.assertEqual(memory[:], bytes(32 * MEBI))
        memory[:] = b"y" * (32 * MEBI)
        self.assertLess(self.shared() - shared, MEBI)
        memory.close()

    def test_s14_memory_given_back(self):
        shared = self.shared()
        wire, number, memory = self.filled(32 * MEBI)
        for _ in range(3):
            wire.send(wire.unregister(2, number))
            self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
            self.assertLess(self.shared() - shared, MEBI)
            number, more = wire.register(32 * MEBI)
            more.close()
        memory.close()

    def test_s14_what_the_client_punches_costs_nobody(self):
        shared = self.shared()
        wire, number, memory = self.filled(8 * MEBI)
        memory.madvise(mmap.MADV_REMOVE)
        self.assertLess(self.shared() - shared, MEBI)
        peer = self.pair(wire, 2)
        wire.send(wire.make_send(3, 2, b"", segments=[segment(number, 0, 8 * MEBI)]))
        self.assertEqual(self.read_all(peer, 8 * MEBI), bytes(8 * MEBI))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        memory.close()

    def test_s14_others_do_not_notice(self):
        """One client takes, fills, punches and gives back all it may have; the other one's bytes are right."""
        quiet = self.wire()
        number, kept = quiet.register(MEBI)
        peer = self.pair(quiet)
        greedy = self.wire()
        stop = threading.Event()

        def be_greedy():
            while not stop.is_set():
                mine, memory = greedy.register(greedy.welcome.shared_max)
                memory[::4096] = b"x" * (len(memory) // 4096)
                memory.madvise(mmap.MADV_REMOVE)
                memory[::4096] = b"x" * (len(memory) // 4096)
                greedy.send(greedy.make_register(1, 1), greedy.unregister(2, mine))
                self.assertEqual(greedy.completion(1).error, pb.ERROR_NO_BUFFER_SPACE)
                self.assertEqual(greedy.completion(2).error, pb.ERROR_SUCCESS)
                memory.close()

        thread = threading.Thread(target=be_greedy)
        thread.start()
        for turn in range(1, 100):
            data = bytes([turn]) * 100000
            kept[:len(data)] = data
            quiet.send(quiet.make_send(2 * turn, 1, b"", segments=[segment(number, 0, len(data))]))
            self.assertEqual(self.read_all(peer, len(data)), data)
            self.assertEqual(quiet.completion(2 * turn).bytes, len(data))
        stop.set()
        thread.join()
        kept.close()


if __name__ == "__main__":
    unittest.main()
