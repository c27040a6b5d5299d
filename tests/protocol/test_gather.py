# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sends that arrive in one piece of input leave together: bytes, results and ends are as if they had come alone."""

import random
import socket
import unittest

from asockd import DaemonTest
from wire import frame, pb, segment

KIBI = 1 << 10
LENGTHS = (100, 1, 0, 4096, 16384, 16385, 0, 40000, 7, 8192, 60000, 300, 2, 1)


def pattern(length, seed):
    return random.Random(seed).randbytes(length)


class Gather(DaemonTest):

    def bytes_and_end(self, peer):
        data = b""
        try:
            while piece := peer.recv(1 << 20):
                data += piece
        except ConnectionResetError:
            return data, "RST"
        return data, "FIN"

    def sends(self, number=1, first=1):
        """Frames of sends of all lengths, and what they make together."""
        parts = [pattern(length, length + number) for length in LENGTHS]
        return ([self.w.make_send(first + i, number, part) for i, part in enumerate(parts)],
                b"".join(parts))

    def setUp(self):
        super().setUp()
        self.w = self.wire()

    def check_results(self, first=1):
        """In their order, each whole."""
        for i, length in enumerate(LENGTHS):
            reply, _ = self.w.take(lambda r: r.kind == pb.KIND_COMPLETION and r.op < 1000)
            self.assertEqual((reply.op, reply.error, reply.bytes), (first + i, pb.ERROR_SUCCESS, length))

    def test_s25_order_and_results(self):
        peer = self.pair(self.w)
        frames, data = self.sends()
        self.w.send(*frames)
        self.assertEqual(self.read_all(peer, len(data)), data)
        self.check_results()
        self.assertEqual(self.w.freed[1], len(data))

    def test_s25_inline_by_reference_and_a_chain(self):
        peer = self.pair(self.w)
        number, memory = self.w.register(256 * KIBI)
        self.hold(memory)
        memory[:] = shared = pattern(256 * KIBI, 1)
        chain = pattern(100000, 2)
        self.w.send(
            self.w.make_send(1, 1, b"first"),
            self.w.make_send(2, 1, b"", segments=[segment(number, 5, 70000), segment(number, 0, 3)]),
            self.w.make_send(3, 1, b"inline"),
            self.w.make_send(4, 1, b"", segments=[segment(number, 100000, 100000)]),
            self.w.make_send(5, 1, chain[:50000], more=True, total_len=len(chain)),
            self.w.make_send(5, 1, chain[50000:]),
            self.w.make_send(6, 1, b"last"))
        expected = (b"first" + shared[5:70005] + shared[:3] + b"inline" + shared[100000:200000] + chain +
                    b"last")
        self.assertEqual(self.read_all(peer, len(expected)), expected)
        for op in range(1, 7):
            self.assertEqual(self.w.completion(op).error, pb.ERROR_SUCCESS)

    def test_s25_two_sockets(self):
        peers = [self.pair(self.w, number) for number in (1, 2)]
        frames = [[], []]
        for number in (1, 2):
            for turn in range(20):
                frames[number - 1] += [self.w.make_send(number * 100 + turn, number,
                                                        pattern(turn * 100, number))]
        # By twos, so that those of one socket follow each other, and then those of the other.
        mixed = [f for i in range(0, 20, 2) for some in frames for f in some[i:i + 2]]
        self.w.send(*mixed)
        for number, peer in zip((1, 2), peers):
            expected = b"".join(pattern(turn * 100, number) for turn in range(20))
            self.assertEqual(self.read_all(peer, len(expected)), expected)
            for turn in range(20):
                self.assertEqual(self.w.completion(number * 100 + turn).error, pb.ERROR_SUCCESS)

    def test_s42_close_behind_them(self):
        peer = self.pair(self.w)
        frames, data = self.sends()
        self.w.send(*frames, self.w.make_close(500, 1))
        self.assertEqual(self.bytes_and_end(peer), (data, "FIN"))
        self.check_results()
        self.assertEqual(self.w.completion(500).error, pb.ERROR_SUCCESS)

    def test_s40_shutdown_behind_them(self):
        peer = self.pair(self.w)
        frames, data = self.sends()
        self.w.send(*frames, self.w.shutdown(500, 1, pb.HOW_SEND))
        self.assertEqual(self.bytes_and_end(peer), (data, "FIN"))
        self.check_results()
        self.assertEqual(self.w.completion(500).error, pb.ERROR_SUCCESS)

    def test_s45_nonsense_behind_them(self):
        """The session ends; what it sent before was sent."""
        peer = self.pair(self.w)
        frames = [self.w.make_send(op, 1, b"x" * 1000) for op in range(1, 11)]
        self.w.send(*frames, b"\xff" * 64)
        self.assertEqual(self.bytes_and_end(peer)[0], b"x" * 10000)

    def test_s45_a_forbidden_request_behind_them(self):
        peer = self.pair(self.w)
        frames = [self.w.make_send(op, 1, b"x" * 1000) for op in range(1, 11)]
        self.w.send(*frames, frame(pb.Request(verb=pb.VERB_SEND, op=500, socket=1,
                                              send=pb.Send(abandon=True))))
        self.assertEqual(self.bytes_and_end(peer)[0], b"x" * 10000)

    def test_s28_a_bad_one_among_them(self):
        """In front of it all goes out, behind it nothing."""
        peer = self.pair(self.w)
        self.w.send(self.w.make_send(1, 1, b"one"), self.w.make_send(2, 1, b"two"),
                    self.w.make_send(3, 1, b"three"),
                    self.w.make_send(4, 1, b"", segments=[segment(9, 0, 1)]),
                    self.w.make_send(5, 1, b"five"), self.w.make_send(6, 1, b"six"))
        results = [self.w.completion(op).error for op in range(1, 7)]
        self.assertEqual(results, [pb.ERROR_SUCCESS] * 3 + [pb.ERROR_INVALID_ARGUMENT] +
                         [pb.ERROR_OPERATION_ABORTED] * 2)
        self.assertEqual(self.read_all(peer, 11), b"onetwothree")
        self.w.send(self.w.make_close(500, 1))
        self.assertEqual(self.w.completion(500).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.bytes_and_end(peer), (b"", "RST"))

    def test_s28_to_a_peer_that_has_gone(self):
        peer = self.pair(self.w)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.w.send(self.w.receive(900, 1, 1))
        peer.close()
        self.assertEqual(self.w.completion(900).error, pb.ERROR_CONNECTION_RESET)
        frames, _ = self.sends()
        self.w.send(*frames)
        self.assertEqual(self.w.completion(1).error, pb.ERROR_CONNECTION_RESET)
        for op in range(2, len(LENGTHS) + 1):
            self.assertEqual(self.w.completion(op).error, pb.ERROR_OPERATION_ABORTED)

    def test_s30_cancelled_while_they_wait(self):
        """Those that the kernel has not taken wait one by one."""
        peer = self.pair(self.w)
        piece = pattern(256 * KIBI, 3)
        sent = 0
        while self.w.freed[1] == sent:
            self.w.send(self.w.make_send(2000 + sent // len(piece), 1, piece))
            sent += len(piece)
            self.w.settle()
        small = [pattern(1000, op) for op in range(10)]
        self.w.send(*(self.w.make_send(10 + i, 1, data) for i, data in enumerate(small)))
        self.w.send(self.w.cancel(100, 1, 13))
        self.assertEqual(self.w.completion(13).error, pb.ERROR_OPERATION_ABORTED)
        expected = b"".join(data for i, data in enumerate(small) if i != 3)
        data = self.read_all(peer, sent + len(expected))
        self.assertEqual(data[sent:], expected)


if __name__ == "__main__":
    unittest.main()
