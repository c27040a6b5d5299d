# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is reserved for a session: the least, more when it asks, and many small sessions beside each other."""

import os
import resource
import sys
import unittest

from asockd import Daemon, DaemonTest
from quotas import QuotaTest
from wire import LEAST, ROOMY, Ended, Wire, pb, request

RAISED = tuple(LEAST)


def granted(welcome):
    return {name: getattr(welcome, name) for name in RAISED}


class Grants(DaemonTest):

    def least(self):
        """A session that has asked for nothing."""
        wire = self.wire(hello=False)
        wire.hello(**dict.fromkeys(RAISED, 0))
        return wire

    def raised(self, wire, **fields):
        """The answer to one more HELLO, and its text."""
        wire.token += 1
        wire.send(request(pb.VERB_HELLO, wire.token, hello=pb.Hello(version=1, **fields)))
        reply, text = wire.take(lambda r: r.kind == pb.KIND_WELCOME and r.op == wire.token)
        return reply, text.decode()

    def test_s49_who_asks_for_nothing_has_the_least_and_learns_the_most(self):
        wire = self.least()
        self.assertEqual(granted(wire.welcome), LEAST)
        self.assertEqual(wire.welcome.socket_ops, 8)
        self.assertEqual((wire.welcome.most_sockets, wire.welcome.most_ops), (1024, 4096))
        self.assertEqual((wire.welcome.most_socket_ops, wire.welcome.most_send_window), (256, 1 << 20))
        self.assertEqual(wire.welcome.most_queued, 16 << 20)
        wire.send(wire.open(1, 1), wire.open(2, 2))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(2).error, pb.ERROR_TOO_MANY_OPEN_SOCKETS)

    def test_s49_all_of_the_least_may_be_used_before_the_welcome(self):
        listener = self.listener()
        wire = self.wire(hello=False)
        data = os.urandom(LEAST["send_window"])
        wire.send(wire.make_hello(), wire.open(1, 1), wire.connect(2, 1, listener.getsockname(), data[:1000]),
                  wire.make_send(3, 1, data[1000:]), *(wire.receive(op, 1, 1) for op in range(4, 9)))
        self.assertEqual(granted(wire.take(lambda r: r.kind == pb.KIND_WELCOME)[0].welcome), LEAST)
        peer = self.accept(listener)
        self.assertEqual(self.read_all(peer, len(data)), data)
        peer.sendall(b"12345")
        for op in (1, 2, 3):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        self.assertEqual(b"".join(wire.whole(op)[1] for op in range(4, 9)), b"12345")

    def test_s49_over_the_least_each_op_is_refused_and_the_session_lives(self):
        listener = self.listener()
        wire = self.least()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname(), bytes(LEAST["send_window"] + 1)))
        reply = wire.completion(2)
        self.assertEqual(reply.error, pb.ERROR_NO_BUFFER_SPACE)  # and does not wait
        wire.send(wire.connect(3, 1, listener.getsockname()))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        wire.send(*(wire.receive(op, 1, 1) for op in range(10, 19)))
        self.assertEqual(wire.completion(18).error, pb.ERROR_NO_BUFFER_SPACE)
        wire.settle()
        self.assertFalse([reply for reply, _ in wire.kept if reply.op in range(10, 18)])

    def test_s49_a_grant_is_raised_at_any_time(self):
        wire = self.least()
        peer = self.pair(wire)
        wire.send(wire.receive(5, 1, 10))
        reply, text = self.raised(wire, sockets=20, queued_max=1 << 20)
        self.assertEqual((reply.error, text), (pb.ERROR_SUCCESS, ""))
        self.assertEqual(granted(reply.welcome), {**LEAST, "sockets": 20, "queued_max": 1 << 20})
        reply, _ = self.raised(wire, ops=100, send_window=1 << 19)
        self.assertEqual(granted(reply.welcome),
                         {"sockets": 20, "ops": 100, "send_window": 1 << 19, "queued_max": 1 << 20})
        for number in range(2, 21):
            wire.send(wire.open(100 + number, number))
            self.assertEqual(wire.completion(100 + number).error, pb.ERROR_SUCCESS)
        wire.send(wire.open(200, 21))
        self.assertEqual(wire.completion(200).error, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        peer.sendall(b"still here")
        self.assertEqual(wire.whole(5)[1], b"still here")

    def test_s49_a_raise_is_in_force_for_what_is_pipelined_behind_it(self):
        wire = self.least()
        wire.send(wire.make_hello(sockets=2), wire.open(2, 2), wire.open(1, 1))
        for op in (1, 2):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)

    def test_s49_a_grant_never_shrinks(self):
        wire = self.wire(hello=False)
        wire.hello(sockets=50, ops=200, send_window=1 << 19, queued_max=1 << 21)
        before = granted(wire.welcome)
        for less in ({}, {"sockets": 1, "ops": 1, "send_window": 1, "queued_max": 1}, {"ops": 150}):
            reply, text = self.raised(wire, **less)
            self.assertEqual((granted(reply.welcome), reply.error, text), (before, 0, ""))
        wire.send(wire.open(1, 50))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)

    def test_s49_what_is_over_the_most_is_not_asked_for(self):
        wire = self.least()
        reply, text = self.raised(wire, sockets=2**32 - 1, ops=2**32 - 1, send_window=2**64 - 1,
                                  queued_max=2**64 - 1)
        self.assertEqual((reply.error, text), (pb.ERROR_SUCCESS, ""))
        self.assertEqual(granted(reply.welcome), ROOMY)

    def test_s49_ops_in_progress_survive_every_raise(self):
        wire = self.least()
        self.pair(wire)
        pending = []
        for size in range(9, 600, 7):
            reply, _ = self.raised(wire, ops=size, sockets=size)
            self.assertEqual((reply.welcome.ops, reply.welcome.sockets), (size, size))
            if len(pending) < 250:
                pending += range(10000 + size * 10, 10000 + size * 10 + 3)
                wire.send(*(wire.receive(op, 1, 1) for op in pending[-3:]))
        for op in pending:
            wire.send(wire.cancel(9, 1, op))
            self.assertTrue(wire.completion(9).flags & pb.REPLY_FLAG_FOUND, op)
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)

    def test_a_name_can_be_given_later(self):
        wire = self.least()
        wire.settle()
        self.raised(wire, name="later")
        self.raised(wire, sockets=2)
        self.assertEqual(wire.inspect(show=pb.Show())[0]["name"], "later")


class Shortage(QuotaTest):
    config = "[Limits]\nTotalSockets=64\nTotalOps=2000\n"

    def test_s49_a_raise_that_is_refused_says_why_and_takes_nothing_away(self):
        first = self.client(sockets=1000)
        wire = self.connect()
        wire.hello(**dict.fromkeys(RAISED, 0))
        wire.send(wire.open(1, 1), request(pb.VERB_HELLO, 77, hello=pb.Hello(version=1, sockets=64, ops=16)))
        reply, text = wire.take(lambda r: r.kind == pb.KIND_WELCOME)
        self.assertEqual((reply.error, reply.op), (pb.ERROR_NO_BUFFER_SPACE, 77))
        self.assertRegex(text.decode(), "^the (session|unit|user|daemon) has too few sockets left$")
        self.assertEqual(reply.welcome.ops, 16)  # of that there was enough
        self.assertLess(reply.welcome.sockets, 64)
        for number in range(2, reply.welcome.sockets + 1):
            wire.send(wire.open(number, number))
        for number in range(1, reply.welcome.sockets + 1):
            self.assertEqual(wire.completion(number).error, pb.ERROR_SUCCESS)
        before = reply.welcome.sockets
        first.close()
        self.daemon.wait(lambda: self.quota()["clients"][0] == 1)
        wire.hello(sockets=before + 1, ops=0, send_window=0, queued_max=0)
        self.assertEqual(wire.welcome.sockets, before + 1)

    def test_s49_the_least_is_there_for_as_many_as_there_is_room_for(self):
        """Those who ask for nothing take one socket each; the first for whom there is none gets an error."""
        wires = []
        with self.assertRaises(Ended) as caught:
            for _ in range(65):
                wires.append(self.client(**dict.fromkeys(RAISED, 0)))
        self.assertEqual(caught.exception.reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertRegex(caught.exception.text.decode(), "the (session|unit|user) has too few sockets left")
        self.assertIn(len(wires), (16, 32))
        for wire in wires:
            wire.send(wire.open(1, 1))
            self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)


class Memory(QuotaTest):
    config = "[Limits]\nTotalMemory=32M\n"

    def test_s49_what_is_granted_is_there_when_others_have_taken_the_rest(self):
        """Every socket of the grant can be opened."""
        wire = self.client(**dict.fromkeys(RAISED, 0))
        reply, text = self.raise_to(wire, sockets=1000, ops=64)
        self.assertEqual(reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertRegex(text, "^the (session|unit|user|daemon) has too little memory left$")
        count = reply.welcome.sockets
        self.assertGreater(count, 16)
        others = []
        with self.assertRaises(Ended):
            while True:
                others.append(self.client(**dict.fromkeys(RAISED, 0)))
                self.raise_to(others[-1], sockets=1000, queued_max=16 << 20, send_window=1 << 20)
        for number in range(1, count + 1):
            wire.send(wire.open(1, number))
            self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS, number)

    def test_s49_the_window_is_raised_when_what_it_may_queue_has_room(self):
        wire = self.client(**dict.fromkeys(RAISED, 0))
        reply, text = self.raise_to(wire, queued_max=16 << 20)  # which 64 KiB a socket cannot use
        self.assertEqual((reply.error, text, reply.welcome.queued_max), (0, "", 16 << 20))
        reply, text = self.raise_to(wire, send_window=1 << 20)
        self.assertEqual(reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertRegex(text, "^the (session|unit|user|daemon) has too little memory left$")
        self.assertEqual((reply.welcome.send_window, reply.welcome.queued_max), (LEAST["send_window"], 16 << 20))

    def test_s45_what_closes_is_charged_for_itself(self):
        """A lingering close holds what is queued, and its id is free for a socket that may queue as much."""
        wire = self.client(**dict.fromkeys(RAISED, 0))
        least = self.quota()["memory"][0]
        hole = self.blackhole()
        wire.send(wire.open(1, 1), wire.connect(2, 1, hole.getsockname()), wire.make_send(3, 1, bytes(LEAST["queued_max"])))
        wire.settle()
        before = self.quota()["memory"][0]
        wire.send(wire.make_close(4, 1, linger_ms=20000), wire.open(5, 1))
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.quota()["memory"][0], before + LEAST["queued_max"] + 1024)
        wire.send(wire.cancel(6, 0, 4))
        self.assertEqual(wire.completion(4).error, pb.ERROR_OPERATION_ABORTED)
        self.daemon.wait(lambda: self.quota()["memory"][0] == least)

    def raise_to(self, wire, **fields):
        wire.token += 1
        wire.send(request(pb.VERB_HELLO, wire.token, hello=pb.Hello(version=1, **fields)))
        reply, text = wire.take(lambda r: r.kind == pb.KIND_WELCOME and r.op == wire.token)
        return reply, text.decode()


class Thousand(DaemonTest):
    """One user, on a daemon without configuration."""

    arguments = ("--allow-any",)

    @classmethod
    def setUpClass(cls):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        cls.count = min(1000, hard // 20)
        cls.daemon = Daemon(*cls.arguments)

    def test_s49_a_thousand_sessions_with_a_connection_each(self):
        print(f"{self.count} sessions", file=sys.stderr)
        listener = self.listener(backlog=4096)
        wires = [self.wire(hello=False) for _ in range(self.count)]  # all of them, before any says Hello
        for number, wire in enumerate(wires):
            wire.send(wire.make_hello(), wire.open(1, 1), wire.connect(2, 1, listener.getsockname()),
                      wire.make_send(3, 1, number.to_bytes(4, "big")), wire.receive(4, 1, 4))
        for _ in wires:
            peer = self.accept(listener)
            peer.sendall(self.read_all(peer, 4))
        for number, wire in enumerate(wires):
            for op in (1, 2, 3):
                self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
            self.assertEqual(wire.whole(4)[1], number.to_bytes(4, "big"))


if __name__ == "__main__":
    unittest.main()
