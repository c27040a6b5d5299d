# SPDX-License-Identifier: LGPL-2.1-or-later
"""Windows, chains, errors_only."""

import os
import unittest

from flow import FlowTest, PIECE, Reader, chain
from wire import Wire, pb, request

ERRORS_ONLY = pb.REQUEST_FLAG_ERRORS_ONLY


class Chains(FlowTest):

    def test_s28_large_send(self):
        wire = self.wire()
        reader = Reader(self.pair(wire))
        data = os.urandom(20 << 20)
        self.feed(wire, 1, chain(1, 1, data))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.bytes), (0, len(data)))
        wire.send(wire.make_close(2, 1))
        wire.completion(2)
        self.assertEqual(reader.result(), data)
        self.assertEqual(wire.freed[1], len(data))

    def test_pieces_of_any_size(self):
        wire = self.wire()
        reader = Reader(self.pair(wire))
        data = os.urandom(10000)
        wire.send(*chain(1, 1, data, size=7))
        self.assertEqual(wire.completion(1).bytes, 10000)
        wire.send(wire.make_close(2, 1))
        wire.completion(2)
        self.assertEqual(reader.result(), data)

    def test_empty_pieces(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"", more=True, total_len=4),
                  wire.make_send(1, 1, b"", more=True), wire.make_send(1, 1, b"ab", more=True),
                  wire.make_send(1, 1, b"", more=True), wire.make_send(1, 1, b"cd"))
        self.assertEqual(wire.completion(1).bytes, 4)
        self.assertEqual(self.read_all(peer, 4), b"abcd")

    def test_other_sockets_frames_between(self):
        wire = self.wire()
        one, two = Reader(self.pair(wire, 1)), Reader(self.pair(wire, 2))
        first, second = os.urandom(500000), os.urandom(500000)
        frames = [frame for both in zip(chain(1, 1, first, 50000), chain(2, 2, second, 50000))
                  for frame in both]
        wire.send(*frames)
        self.assertEqual(wire.completion(1).bytes, 500000)
        self.assertEqual(wire.completion(2).bytes, 500000)
        wire.send(wire.make_close(3, 1), wire.make_close(4, 2))
        self.assertEqual(one.result(), first)
        self.assertEqual(two.result(), second)

    def test_other_verbs_between(self):
        wire = self.wire()
        peer = self.pair(wire)
        peer.sendall(b"hi")
        frames = chain(1, 1, b"0123456789", 5)
        wire.send(frames[0], wire.receive(2, 1, 10), wire.sync(3), frames[1])
        self.assertEqual(wire.whole(2)[1], b"hi")
        self.assertEqual(wire.completion(1).bytes, 10)
        self.assertEqual(self.read_all(peer, 10), b"0123456789")

    def broken(self, *frames):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(*frames)
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
        return peer

    def test_another_send_between(self):
        make = Wire.make_send
        self.reset_by(self.broken(make(1, 1, b"ab", more=True, total_len=4), make(2, 1, b"x")))

    def test_longer_than_its_total(self):
        make = Wire.make_send
        self.broken(make(1, 1, b"ab", more=True, total_len=4), make(1, 1, b"cde"))
        self.broken(make(1, 1, b"ab", more=True, total_len=4), make(1, 1, b"cd", more=True), make(1, 1, b"e"))
        self.broken(make(1, 1, b"abcd", more=True, total_len=4), make(1, 1, b"e", more=True))

    def test_an_empty_last_piece(self):
        """Success is reported behind it, and not before."""
        wire = self.wire()
        peer = self.pair(wire)
        make = Wire.make_send
        wire.send(make(1, 1, b"ab", more=True, total_len=4), make(1, 1, b"cd", more=True))
        self.assertEqual(self.read_all(peer, 4), b"abcd")
        wire.settle()
        self.assertFalse(wire.kept)
        wire.send(make(1, 1, b""))
        self.assertEqual(wire.completion(1).bytes, 4)
        wire.send(make(2, 1, b"efgh", more=True, total_len=4), make(2, 1, b""), make(3, 1, b"ijkl"))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer, 8), b"efghijkl")

    def test_shorter_than_its_total(self):
        make = Wire.make_send
        self.reset_by(self.broken(make(1, 1, b"ab", more=True, total_len=9), make(1, 1, b"cd")))

    def test_without_a_total(self):
        self.broken(Wire.make_send(1, 1, b"ab", more=True))

    def test_abandon_without_a_chain(self):
        self.broken(Wire.make_send(1, 1, b"", abandon=True))

    def test_abandon_with_bytes(self):
        make = Wire.make_send
        self.broken(make(1, 1, b"ab", more=True, total_len=9), make(1, 1, b"cd", abandon=True))

    def test_abandon(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"ab", more=True, total_len=9),
                  wire.make_send(1, 1, b"", abandon=True), wire.make_send(2, 1, b"behind"))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_OPERATION_ABORTED, 2))
        self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        self.assertEqual(wire.freed[1], 8)
        self.reset_by(peer)

    def test_rest_of_a_failed_chain_is_dropped(self):
        wire = self.wire()
        peer = self.pair(wire)
        frames = chain(1, 1, bytes(100000), 10000)
        wire.send(frames[0], wire.cancel(2, 1, 1))
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        wire.send(*frames[1:], wire.receive(3, 1, 10))  # nine pieces, no reply to any
        peer.sendall(b"goes on")
        self.assertEqual(wire.whole(3)[1], b"goes on")
        wire.send(wire.make_close(4, 1))
        wire.completion(4)
        self.assertEqual(wire.freed[1], 100000)
        self.assertEqual([reply for reply, _ in wire.kept if reply.op == 1], [])

    def test_s28_timeout_counts_from_the_first_piece(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"ab", timeout_ms=100, more=True, total_len=9))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_TIMED_OUT, 2))
        wire.send(wire.make_send(1, 1, b"", abandon=True), wire.make_close(2, 1))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.reset_by(peer)

    def test_token_again_after_an_abandoned_chain(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"ab", more=True, total_len=9), wire.cancel(2, 1, 1))
        wire.completion(1)
        wire.send(wire.make_send(1, 1, b"", abandon=True), wire.receive(1, 1, 5))
        peer.sendall(b"fresh")
        self.assertEqual(wire.whole(1)[1], b"fresh")


class Windows(FlowTest):

    def test_freed_is_what_was_sent(self):
        wire = self.wire()
        reader = Reader(self.pair(wire))
        sizes = [0, 1, 2, 1000, 65536, PIECE, 3, PIECE, PIECE, 77]
        self.feed(wire, 1, [wire.make_send(op, 1, bytes(size))
                            for op, size in enumerate(sizes, 1)])
        for op, size in enumerate(sizes, 1):
            reply = wire.completion(op)
            self.assertEqual((reply.error, reply.bytes), (0, size))
        self.assertEqual(wire.freed[1], sum(sizes))
        self.assertEqual(wire.ops_freed[1], len(sizes) + 2)
        wire.send(wire.make_close(100, 1))
        wire.completion(100)
        self.assertEqual(wire.freed[1], sum(sizes))
        self.assertEqual(len(reader.result()), sum(sizes))

    def test_send_room_comes_unasked(self):
        """A chain in progress has no reply of its own: events tell what is free."""
        wire = self.wire()
        peer = self.pair(wire)
        window = wire.welcome.send_window
        frames = chain(1, 1, bytes(64 << 20))
        wire.send(*frames[:window // PIECE])
        reader = Reader(peer)
        reply, _ = wire.take(lambda r: r.kind == pb.KIND_EVENT)
        self.assertEqual(reply.event.code, pb.EVENT_SEND_ROOM)
        self.assertEqual(reply.socket, 1)
        self.assertGreaterEqual(reply.send_freed, window // 2)
        while wire.freed[1] < window // 2:
            wire.kept.append(wire.read())
        wire.send(wire.make_close(2, 1))
        wire.completion(2)
        self.assertEqual(wire.freed[1], window)
        reader.result()

    def test_s49_over_the_window(self):
        wire = self.wire()
        peer = self.pair(wire)
        window = wire.welcome.send_window
        op, refused = 1, None
        while refused is None:
            wire.send(wire.make_send(op, 1, bytes(PIECE)))
            wire.settle()
            refused = next((reply for reply, _ in wire.kept if reply.op == op and reply.error), None)
            op += 1
            self.assertLess(op, 1000, "the window has no end")
        self.assertEqual(refused.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertEqual(refused.bytes, 0)
        # A failed send is a failed send: nothing goes out behind the hole (S49, S28).
        wire.send(wire.make_send(op, 1, b"behind"))
        self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        wire.send(wire.make_close(op + 1, 1))
        wire.completion(op + 1)
        self.assertEqual(wire.freed[1], (op - 1) * PIECE + 6)
        self.assertLessEqual(window, (op - 1) * PIECE)
        self.reset_by(peer)

    def test_s49_over_the_ops_of_a_socket(self):
        wire = self.wire()
        peer = self.pair(wire)
        most = wire.welcome.socket_ops
        wire.send(*(wire.receive(op, 1, 1) for op in range(1, most + 11)))
        for op in range(most + 1, most + 11):
            self.assertEqual(wire.completion(op).error, pb.ERROR_NO_BUFFER_SPACE)
        peer.sendall(b"x" * most)
        for op in range(1, most + 1):
            self.assertEqual(wire.whole(op)[1], b"x")
        self.assertEqual(wire.ops_freed[1], most + 12)

    def test_s49_over_the_ops_of_the_session(self):
        wire = self.wire(hello=False)
        wire.hello(ops=64)
        self.pair(wire, 1)
        self.pair(wire, 2)
        wire.send(*(wire.receive(op, 1 + op % 2, 1) for op in range(1, 75)))
        refused = [wire.completion(op).error for op in range(65, 75)]
        self.assertEqual(refused, [pb.ERROR_NO_BUFFER_SPACE] * 10)

    def test_s51_peers_that_use_up_the_sessions_queue_do_not_hold_up_another(self):
        """What always may be queued for a socket is beside what the session may queue."""
        wire = self.wire()
        moving = self.pair(wire, 1)
        for number in range(2, 19):
            self.pair(wire, number)
        full, number, op = False, 2, 100000
        while not full:  # until the session's queue is used up, not just one socket's window
            op += 1
            wire.send(wire.make_send(op, number, bytes(128 * 1024)))
            wire.settle()
            failed = [r for r, _ in wire.kept if r.error]
            if failed:
                wire.kept.clear()
                number += 1
                full = number == 19
        queued = wire.inspect(stats=pb.Stats())[0]["queued"]
        self.assertGreater(queued, wire.welcome.queued_max - (1 << 20))
        for turn in range(50):
            wire.send(wire.make_send(turn + 1, 1, bytes(64 * 1024)))
            self.assertEqual(wire.completion(turn + 1).error, pb.ERROR_SUCCESS)
            self.read_all(moving, 64 * 1024)

    def test_s53_control_verbs_at_every_limit(self):
        wire = self.wire(hello=False)
        wire.hello(ops=64)
        peer = self.pair(wire)
        wire.send(*(wire.receive(op, 1, 1) for op in range(1, 65)))
        # The limit is met by each of them: what the cancel frees is taken again.
        wire.send(wire.receive(100, 1, 1), wire.sync(101), wire.shutdown(102, 1, pb.HOW_SEND),
                  wire.cancel(103, 1, 64), wire.receive(64, 1, 1), wire.make_close(104, 1))
        self.assertEqual(wire.completion(100).error, pb.ERROR_NO_BUFFER_SPACE)
        for op in (101, 102, 103, 104):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer), b"")

    def test_s49_sockets_of_the_session(self):
        wire = self.wire(hello=False)
        wire.hello(sockets=16)
        wire.send(*(wire.open(number, number) for number in range(1, 18)))
        for number in range(1, 17):
            self.assertEqual(wire.completion(number).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(17).error, pb.ERROR_TOO_MANY_OPEN_SOCKETS)


class ErrorsOnly(FlowTest):

    def test_s8_success_is_not_told(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1, flags=ERRORS_ONLY), wire.connect(2, 1, listener.getsockname()))
        peer = self.accept(listener)
        wire.send(*(wire.make_send(op, 1, b"abc", flags=ERRORS_ONLY) for op in range(3, 23)),
                  wire.make_send(23, 1, b"end"))
        self.assertEqual(wire.completion(23).error, pb.ERROR_SUCCESS)
        wire.settle()
        self.assertEqual({reply.op for reply, _ in wire.kept if reply.kind == pb.KIND_COMPLETION}, {2})
        self.assertEqual(self.read_all(peer, 63), b"abc" * 20 + b"end")
        self.assertEqual(wire.freed[1], 63)
        self.assertEqual(wire.ops_freed[1], 23)

    def test_s8_failure_is_told(self):
        wire = self.wire()
        wire.send(wire.open(1, 1, flags=ERRORS_ONLY),
                  wire.make_send(2, 1, b"x", flags=ERRORS_ONLY), wire.sync(3))
        self.assertEqual(wire.next()[0].op, 2)
        reply = wire.completion(3)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)

    def test_sync_implies_what_was_processed(self):
        wire = self.wire()
        wire.send(*(wire.open(number, number, flags=ERRORS_ONLY) for number in range(1, 11)))
        wire.settle()
        self.assertFalse([reply for reply, _ in wire.kept if reply.kind == pb.KIND_COMPLETION])

    def test_not_for_every_verb(self):
        wire = self.wire()
        self.pair(wire)
        wire.send(request(pb.VERB_RECEIVE, 1, 1, flags=ERRORS_ONLY, receive=pb.Receive(length=1)),
                  request(pb.VERB_CLOSE, 2, 1, flags=ERRORS_ONLY, close=pb.Close()))
        for op in (1, 2):
            self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT)

    def test_ops_are_told_before_they_run_out(self):
        """All ops errors_only and no reply in sight: the event says what is free."""
        wire = self.wire(hello=False)
        wire.hello(ops=64)
        peer = self.pair(wire)
        reader = Reader(peer)
        outstanding, told = 0, wire.ops_freed[1]
        for op in range(1, 2001):
            while outstanding == 60:
                wire.kept.append(wire.read())
                outstanding -= wire.ops_freed[1] - told
                told = wire.ops_freed[1]
            wire.send(wire.make_send(op, 1, b"x", flags=ERRORS_ONLY))
            outstanding += 1
        wire.send(wire.shutdown(5000, 1, pb.HOW_SEND))
        self.assertEqual(wire.completion(5000).error, pb.ERROR_SUCCESS)
        self.assertEqual(len(reader.result()), 2000)
        self.assertEqual({r.kind for r, _ in wire.kept}, {pb.KIND_EVENT})


if __name__ == "__main__":
    unittest.main()
