# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shared memory on the wire: made, sealed, sent, given back."""

import ctypes
import fcntl
import mmap
import os
import struct
import time
import unittest

from asockd import Daemon, DaemonTest
from wire import DEADLINE, Wire, pb, request

PAGE = mmap.PAGESIZE
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
MEBI = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


def size_of(descriptor):
    return os.fstat(descriptor).st_size


class MemoryTest(DaemonTest):

    def error(self, wire, frame, op=1):
        wire.send(frame)
        return wire.completion(op).error

    def wait_stat(self, name, count):
        """As the daemon says to others: the client itself must not read."""
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()[name] != count:
            self.assertLess(time.monotonic(), limit)

    def fetch(self, wire, length):
        """The descriptor itself."""
        wire.send(wire.make_register(1, length))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.descriptors), (pb.ERROR_SUCCESS, 1), reply)
        return reply.segment, wire.descriptors.popleft()


class Register(MemoryTest):

    def test_s14_is_sealed_and_sized(self):
        wire = self.wire()
        segment, descriptor = self.fetch(wire, 3 * PAGE + 1)
        try:
            self.assertEqual((segment.buffer, segment.offset, segment.length), (1, 0, 4 * PAGE))
            self.assertEqual(size_of(descriptor), 4 * PAGE)
            self.assertEqual(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS, SEALS)
            for length in (0, 3 * PAGE, 5 * PAGE):
                with self.assertRaises(PermissionError):
                    os.ftruncate(descriptor, length)
            with self.assertRaises(PermissionError):
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        finally:
            os.close(descriptor)

    def test_begins_as_zeros(self):
        _, memory = self.wire().register(PAGE)
        self.assertEqual(memory[:], bytes(PAGE))
        memory.close()

    def test_lengths(self):
        wire = self.wire()
        self.assertEqual(self.error(wire, wire.make_register(1, 0)), pb.ERROR_INVALID_ARGUMENT)
        most = wire.welcome.shared_max
        for length in (most + 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            self.assertEqual(self.error(wire, wire.make_register(1, length)),
                             pb.ERROR_NO_BUFFER_SPACE, length)
        self.assertEqual(wire.inspect(show=pb.Show())[0]["shared"], 0)
        _, memory = wire.register(most)
        self.assertEqual(wire.inspect(show=pb.Show())[0]["shared"], most)
        self.assertEqual(self.error(wire, wire.make_register(1, 1)), pb.ERROR_NO_BUFFER_SPACE)
        memory.close()

    def test_concerns_no_socket(self):
        wire = self.wire()
        self.assertEqual(self.error(wire, wire.make_register(1, PAGE, number=1)),
                         pb.ERROR_INVALID_ARGUMENT)

    def test_not_on_the_control_socket(self):
        self.daemon.control.send(self.daemon.control.make_register(1, PAGE))
        self.assertEqual(self.daemon.control.completion(1).error,
                         pb.ERROR_OPERATION_NOT_SUPPORTED)

    def test_as_many_as_the_welcome_says(self):
        wire = self.wire()
        count = wire.welcome.buffers
        ids = {wire.register(PAGE)[0] for _ in range(count)}
        self.assertEqual(ids, set(range(1, count + 1)))
        self.assertEqual(self.error(wire, wire.make_register(1, PAGE)), pb.ERROR_NO_BUFFER_SPACE)
        self.assertEqual(self.daemon.stats()["buffers"], count)
        self.assertEqual(self.error(wire, wire.unregister(1, 7)), pb.ERROR_SUCCESS)
        again, _ = wire.register(PAGE)
        self.assertNotIn(again, ids)
        # Whoever still means the buffer that was there before means none.
        self.assertEqual(self.error(wire, wire.unregister(1, 7)), pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.error(wire, wire.unregister(1, again)), pb.ERROR_SUCCESS)

    def test_descriptors_keep_the_order_of_their_frames(self):
        """Many in one write, other frames between them: the n-th descriptor is the n-th buffer's."""
        wire = self.wire()
        frames, count = [], 30
        for number in range(1, count + 1):
            frames += [wire.sync(100 + number), wire.make_register(200 + number, number * PAGE),
                       wire.sync(300 + number), wire.make_register(400 + number, 0)]
        wire.send(*frames)
        for number in range(1, count + 1):
            reply = wire.completion(200 + number)
            self.assertEqual((reply.error, reply.descriptors), (pb.ERROR_SUCCESS, 1))
            descriptor = wire.descriptors.popleft()
            self.assertEqual((size_of(descriptor), reply.segment.length), (number * PAGE,) * 2)
            os.close(descriptor)
        for number in range(1, count + 1):
            for base in (100, 300, 400):
                self.assertEqual(wire.completion(base + number).descriptors, 0)
        self.assertFalse(wire.descriptors)

    def test_descriptors_through_a_full_socket(self):
        """The client does not read: frames with and without descriptors wait together."""
        wire = self.wire()
        token, count = 1000, 60
        for number in range(1, count + 1):
            frames = [request(pb.VERB_SHOW, token + n, show=pb.Show()) for n in range(10)]
            token += 10
            wire.send(*frames, wire.make_register(number, number * PAGE))
        for number in range(1, count + 1):
            reply = wire.completion(number)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
            descriptor = wire.descriptors.popleft()
            self.assertEqual(size_of(descriptor), number * PAGE)
            os.close(descriptor)
        self.assertFalse(wire.descriptors)

    def test_descriptors_that_nobody_fetches(self):
        """They would count against all clients: a few dozen, then no request more until they are read."""
        wire = self.wire()
        count = wire.welcome.buffers
        for number in range(1, count + 1):
            wire.send(wire.make_register(2 * number, PAGE))
            self.wait_stat("buffers", 1)
            # It may not read: the first place again, and an id that is the next one there.
            wire.send(wire.unregister(2 * number + 1, 1 + count * (number - 1)))
            self.wait_stat("buffers", 0)
        wire.send(wire.make_register(1, PAGE))
        for _ in range(3):
            self.assertEqual(self.daemon.stats()["buffers"], 0)
        for number in range(1, count + 1):
            self.assertEqual(wire.completion(2 * number).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(len(wire.descriptors), count + 1)
        while wire.descriptors:
            os.close(wire.descriptors.popleft())
        wire.register(PAGE)

    def test_descriptors_of_the_status_page_that_nobody_fetches(self):
        """Each REGISTER that asks for the page sends two."""
        wire = self.wire()
        count = wire.welcome.buffers // 2
        for number in range(1, count + 1):
            wire.send(wire.make_register(number, PAGE, status=True))
            self.wait_stat("buffers", number)
        wire.send(wire.make_register(count + 1, PAGE, status=True))
        for _ in range(3):
            self.assertEqual(self.daemon.stats()["buffers"], count)
        self.assertEqual(wire.completion(count + 1).error, pb.ERROR_SUCCESS)
        while wire.descriptors:
            os.close(wire.descriptors.popleft())

    def test_a_client_that_reads_other_things_late_is_not_refused(self):
        """It has fetched every descriptor, but there is always a reply that it has not read."""
        wire = self.wire()
        wire.send(wire.sync(1))
        for number in range(1, 2 * wire.welcome.buffers):
            wire.send(wire.sync(number + 1))
            self.daemon.stats()  # its answer comes later than the turn that the reply has left in
            wire.send(wire.make_register(1000 + number, PAGE))
            self.wait_stat("buffers", 1)
            wire.completion(number)
            reply = wire.completion(1000 + number)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
            os.close(wire.descriptors.popleft())
            wire.send(wire.unregister(2000 + number, reply.segment.buffer))
            self.assertEqual(wire.completion(2000 + number).error, pb.ERROR_SUCCESS)

    def test_client_gone_before_it_reads(self):
        for _ in range(50):
            wire = self.wire()
            wire.send(*(wire.make_register(n, PAGE) for n in range(1, 40)))
            wire.close()


class CrowdedKernel(DaemonTest):
    """More descriptors of the daemon's user are on their way than the kernel lets it have."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.arguments, prefix=("prlimit", "--nofile=400:400"))

    def test_a_completion_comes_without_its_descriptor(self):
        wire = self.wire()
        crowd = self.crowd()
        wire.send(wire.make_register(1, PAGE))
        reply = wire.completion(1)
        self.assertEqual((reply.error, len(wire.descriptors)), (pb.ERROR_SUCCESS, 0))
        wire.send(wire.unregister(2, reply.segment.buffer))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        for sock in crowd:
            sock.close()
        wire.register(PAGE)


class Unregister(MemoryTest):

    def test_s14_contents_are_gone(self):
        wire = self.wire()
        buffer, memory = wire.register(9 * MEBI)
        memory[:] = b"x" * len(memory)
        self.assertEqual(self.error(wire, wire.unregister(1, buffer)), pb.ERROR_SUCCESS)
        self.assertEqual(memory[:], bytes(len(memory)))
        self.assertEqual(wire.inspect(show=pb.Show())[0]["shared"], 0)
        memory.close()

    def test_what_is_not_there(self):
        wire = self.wire()
        buffer, memory = wire.register(PAGE)
        memory.close()
        for wrong in (0, buffer + 1, 64, 65, 1 << 31, (1 << 32) - 1):
            self.assertEqual(self.error(wire, wire.unregister(1, wrong)),
                             pb.ERROR_INVALID_ARGUMENT, wrong)
        other = self.wire()
        self.assertEqual(self.error(other, other.unregister(1, buffer)), pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.error(wire, request(pb.VERB_UNREGISTER, 1, 1,
                                                  unregister=pb.Unregister(buffer=buffer))),
                         pb.ERROR_INVALID_ARGUMENT)
        wire.send(wire.unregister(1, buffer), wire.unregister(2, buffer))
        self.assertEqual(wire.completion(2).error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)

    def test_all_of_it_can_be_had_again(self):
        wire = self.wire()
        for _ in range(5):
            buffer, memory = wire.register(wire.welcome.shared_max)
            memory[-1] = 1
            self.assertEqual(self.error(wire, wire.unregister(1, buffer)), pb.ERROR_SUCCESS)
            memory.close()

    def test_s45_client_gone(self):
        """Whoever still has it mapped finds zeros; nothing stays with the daemon."""
        wire = self.wire()
        memories = [wire.register(MEBI)[1] for _ in range(8)]
        for memory in memories:
            memory[:] = b"x" * len(memory)
        with open(f"/proc/{self.daemon.pid}/maps", encoding="ascii") as maps:
            self.assertEqual(maps.read().count("/memfd:asock"), 8)
        wire.close()
        self.daemon.settle(self.before)
        for memory in memories:
            self.assertEqual(memory[:], bytes(len(memory)))
            memory.close()
        with open(f"/proc/{self.daemon.pid}/maps", encoding="ascii") as maps:
            self.assertNotIn("/memfd:asock", maps.read())

    def test_session_killed(self):
        wire = self.wire()
        _, memory = wire.register(MEBI)
        memory[:] = b"x" * len(memory)
        wire.send(struct.pack("<II", 0, 0))
        wire.ended()
        self.daemon.stats()
        # It may have completions to read, whose bytes are in there.
        self.assertEqual(memory[:], b"x" * len(memory))
        wire.close()
        self.daemon.settle(self.before)
        self.assertEqual(memory[:], bytes(len(memory)))
        memory.close()


class StatusPage(MemoryTest):
    """Where the daemon says that it takes the buffers back."""

    def fetch_both(self, wire):
        wire.send(wire.make_register(1, MEBI, status=True))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.descriptors), (pb.ERROR_SUCCESS, 2), reply)
        descriptor = wire.descriptors.popleft()
        memory = mmap.mmap(descriptor, reply.segment.length)
        os.close(descriptor)
        return memory, wire.descriptors.popleft()

    def test_s14_the_page_stays_what_it_is(self):
        wire = self.wire()
        memory, descriptor = self.fetch_both(wire)
        self.assertEqual(size_of(descriptor), 4096)
        self.assertEqual(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS, SEALS)
        with self.assertRaises(PermissionError):
            os.ftruncate(descriptor, 0)
        with self.assertRaises(PermissionError):  # which would keep the next process from marking it
            fcntl.fcntl(descriptor, 1033, 8)  # F_ADD_SEALS, F_SEAL_WRITE
        # The same page for who asks again, and a buffer alone for who does not.
        again, other = self.fetch_both(wire)
        self.assertEqual(os.fstat(other).st_ino, os.fstat(descriptor).st_ino)
        wire.register(PAGE)
        self.assertFalse(wire.descriptors)
        for each in (memory, again):
            each.close()
        os.close(descriptor)
        os.close(other)

    def test_s14_its_memory_is_there_from_the_start(self):
        """To mark it, and to look at the mark, takes no more, so neither can fail when the machine has none left."""
        wire = self.wire()
        memory, descriptor = self.fetch_both(wire)
        self.assertGreaterEqual(os.fstat(descriptor).st_blocks * 512, 4096)
        memory.close()
        os.close(descriptor)

    def test_s14_marked_where_a_client_has_made_a_hole(self):
        wire = self.wire()
        memory, descriptor = self.fetch_both(wire)
        # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        self.assertEqual(LIBC.fallocate(descriptor, 3, ctypes.c_long(0), ctypes.c_long(4096)), 0)
        wire.close()
        self.daemon.settle(self.before)
        self.assertNotEqual(os.pread(descriptor, 4, 0), bytes(4))
        memory.close()
        os.close(descriptor)

    def test_s14_marked_before_the_buffers_are_emptied(self):
        wire = self.wire()
        memory, descriptor = self.fetch_both(wire)
        page = mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ)
        os.close(descriptor)
        memory[:] = b"x" * len(memory)
        wire.send(struct.pack("<II", 0, 0))
        wire.ended()
        self.daemon.stats()
        self.assertEqual((memory[:], page[:]), (b"x" * len(memory), bytes(4096)))
        wire.close()
        self.daemon.settle(self.before)
        self.assertEqual(memory[:], bytes(len(memory)))
        self.assertNotEqual(page[:4], bytes(4))
        memory.close()
        page.close()

    def test_s14_marked_when_the_daemon_stops(self):
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        memory, descriptor = self.fetch_both(wire)
        page = mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ)
        os.close(descriptor)
        memory[:] = b"x" * len(memory)
        daemon.stop()
        self.assertEqual(memory[:], bytes(len(memory)))
        self.assertNotEqual(page[:4], bytes(4))
        memory.close()
        page.close()

    def test_s49_counts_for_nobody_but_those_above(self):
        wire = self.wire()
        wire.send(wire.make_register(1, wire.welcome.shared_max, status=True))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        shown = wire.inspect(show=pb.Show())[0]
        self.assertEqual((shown["shared"], shown["buffers"]), (wire.welcome.shared_max, 1))
        self.assertEqual(self.error(wire, wire.make_register(2, 1), 2), pb.ERROR_NO_BUFFER_SPACE)


if __name__ == "__main__":
    unittest.main()
