#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may have how many buffers of shared memory, and how they share the daemon's descriptors with sockets."""

import os
import unittest

from quotas import QUIET, QuotaTest
from wire import Ended, pb


class Buffers(QuotaTest):
    """Each has a descriptor of the daemon and a mapping, however small it is."""

    config = "[Limits]\nTotalBuffers=64\n"

    def fill(self, wire):
        """All that the session may have; one more gets the reason. Returns the ids."""
        ids = []
        for op in range(1, 66):
            wire.send(wire.make_register(op, 1))
            reply, text = wire.whole(op)
            if reply.error:
                self.assertEqual((reply.error, text), (pb.ERROR_NO_BUFFER_SPACE, b"the limit on shared memory buffers has been reached"))
                self.assertEqual(reply.descriptors, 0)
                return ids
            os.close(wire.descriptors.popleft())
            ids.append(reply.segment.buffer)
        return self.fail("there is no end")

    def in_use(self):
        return self.quota()["buffers"]

    def test_s49_one_client_leaves_the_others_their_share_of_buffers(self):
        greedy = self.client()
        count = len(self.fill(greedy))
        self.assertIn(count, (16, 8))  # a unit has half of the user's
        self.assertEqual(self.quota("session", greedy.number)["buffers"], (count, count))
        self.assertEqual(self.in_use(), (count, 64))
        beside = self.client()
        self.assertEqual(len(self.fill(beside)), count // 2)
        # What another user may have does not depend on how many sessions the greedy one fills.
        for _ in range(8):
            self.fill(self.client())
        self.assertLessEqual(self.quota("user", greedy.number)["buffers"][0], 32)
        self.assertGreaterEqual(len(self.fill(self.client(QUIET))), 4)
        self.assertLessEqual(self.in_use()[0], 64)

    def test_s49_one_given_back_makes_room_for_one(self):
        wire = self.client()
        ids = self.fill(wire)
        wire.send(wire.unregister(100, ids[1]))
        self.assertEqual(wire.completion(100).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.in_use()[0], len(ids) - 1)
        again = self.fill(wire)
        self.assertEqual(len(again), 1)
        self.assertNotIn(again[0], ids)

    def test_s45_buffers_of_a_client_that_died_are_free_again(self):
        wire = self.client()
        count = len(self.fill(wire))
        wire.close()
        self.daemon.wait(lambda: self.in_use()[0] == 0)
        self.assertEqual(len(self.fill(self.client())), count)

    def test_s49_no_memory_for_one_takes_no_place(self):
        wire = self.client()
        for op in range(1, 40):
            wire.send(wire.make_register(op, wire.welcome.shared_max + 1))
            self.assertEqual(wire.completion(op).error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertEqual(self.in_use()[0], 0)


class FewDescriptors(QuotaTest):
    prefix = ("prlimit", "--nofile=1024:1024")

    def clients(self):
        """Of a dozen users, each as many as it may have, up to four."""
        for uid in range(2001, 2013):
            try:
                for _ in range(4):
                    yield self.client(uid, sockets=1, ops=1, queued_max=1)
            except Ended as end:
                self.assertEqual(end.reply.error, pb.ERROR_NO_BUFFER_SPACE)

    def test_s49_buffers_of_many_leave_sockets_the_descriptors_they_are_promised(self):
        wires = list(self.clients())
        for wire in wires:
            wire.send(*(wire.make_register(op, 1) for op in range(1, 65)))
            for op in range(1, 65):
                wire.completion(op)
            while wire.descriptors:
                os.close(wire.descriptors.popleft())
        self.assertGreaterEqual(self.quota()["buffers"][0], 16)
        listener = self.listener(backlog=1024)
        for wire in wires:
            for n in range(1, wire.welcome.sockets + 1):
                wire.send(wire.open(n, n), wire.connect(1000 + n, n, listener.getsockname()))
                self.assertEqual(wire.completion(n).error, pb.ERROR_SUCCESS)
                self.assertEqual(wire.completion(1000 + n).error, pb.ERROR_SUCCESS)


class FewBuffers(QuotaTest):
    config = "[Limits]\nBuffers=2\n"

    def test_s49_the_welcome_says_how_many_buffers(self):
        wire = self.client()
        self.assertEqual(wire.welcome.buffers, 2)
        wire.register(1)
        wire.register(1)
        wire.send(wire.make_register(1, 1))
        self.assertEqual(wire.whole(1)[1], b"the limit on shared memory buffers has been reached")
        self.assertEqual(self.quota("session", wire.number)["buffers"], (2, 2))


if __name__ == "__main__":
    unittest.main()
