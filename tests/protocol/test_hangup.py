# SPDX-License-Identifier: LGPL-2.1-or-later
"""HANGUP: when a connection is over for both sides (S60)."""

import socket
import struct
import unittest

from asockd import DaemonTest
from wire import pb


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


class Hangup(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()
        self.peer = self.pair(self.client)
        self.client.send(self.client.hangup(100, 1))
        self.client.settle()

    def error(self, op=100):
        return pb.Error.Name(self.client.completion(op).error).removeprefix("ERROR_")

    def pending(self):
        """It has not completed, though the daemon has had a turn and more."""
        for _ in range(3):
            self.client.settle()
        self.assertFalse([reply for reply, _ in self.client.kept if reply.op == 100])

    def test_s60_a_reset_while_nothing_is_received(self):
        reset(self.peer)
        self.assertEqual(self.error(), "CONNECTION_RESET")

    def test_s60_a_reset_behind_data_that_nobody_has_received(self):
        """The data is still there, and what follows it is the reset, not an end of stream."""
        self.peer.sendall(b"last words")
        self.pending()
        reset(self.peer)
        self.assertEqual(self.error(), "CONNECTION_RESET")
        for op, answer in ((200, b"last words"), (201, b"")):
            self.client.send(self.client.receive(op, 1, 100))
            reply, data = self.client.whole(op)
            self.assertEqual((data, reply.flags & pb.REPLY_FLAG_END_OF_STREAM), (answer, 0))
        self.assertEqual(pb.Error.Name(reply.error), "ERROR_CONNECTION_RESET")
        self.client.send(self.client.make_send(202, 1, b"x"))
        self.assertEqual(self.error(202), "CONNECTION_RESET")

    def test_s60_a_reset_behind_the_end_of_the_stream(self):
        self.peer.shutdown(socket.SHUT_WR)
        self.client.send(self.client.receive(200, 1, 100))
        self.assertTrue(self.client.completion(200).flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.pending()
        reset(self.peer)
        self.assertEqual(self.error(), "CONNECTION_RESET")

    def test_s60_a_pending_receive_hears_of_it_too(self):
        self.client.send(self.client.receive(200, 1, 100))
        self.client.settle()
        reset(self.peer)
        self.assertEqual((self.error(), self.error(200)), ("CONNECTION_RESET", "CONNECTION_RESET"))

    def test_s60_both_fins_are_success(self):
        for first in (True, False):
            with self.subTest(peer_first=first):
                if first:
                    self.peer.shutdown(socket.SHUT_WR)
                else:
                    self.client.send(self.client.shutdown(200, 1, pb.HOW_SEND))
                self.pending()
                if first:
                    self.client.send(self.client.shutdown(200, 1, pb.HOW_SEND))
                else:
                    self.peer.shutdown(socket.SHUT_WR)
                self.assertEqual(self.error(), "SUCCESS")
                self.client.send(self.client.make_close(300, 1))
                self.client.completion(300)
                self.peer = self.pair(self.client)
                self.client.send(self.client.hangup(100, 1))

    def test_s60_it_costs_nothing_while_it_waits(self):
        """Unread data, room to send, a FIN: none of them makes the daemon turn."""
        self.peer.sendall(b"unread")
        self.peer.shutdown(socket.SHUT_WR)
        self.pending()
        before, requests = self.daemon.stats()["turns"], 200
        for _ in range(requests):
            self.client.settle()
        self.assertLess(self.daemon.stats()["turns"] - before, 6 * requests)

    def test_s60_one_at_a_time(self):
        self.client.send(self.client.hangup(101, 1))
        self.assertEqual(self.error(101), "ALREADY_IN_PROGRESS")
        self.client.send(self.client.cancel(102, 1, 100), self.client.hangup(103, 1))
        self.assertEqual(self.error(), "OPERATION_ABORTED")
        reset(self.peer)
        self.assertEqual(self.error(103), "CONNECTION_RESET")

    def test_s60_after_the_fact(self):
        reset(self.peer)
        self.assertEqual(self.error(), "CONNECTION_RESET")
        self.client.send(self.client.hangup(101, 1))
        self.assertEqual(self.error(101), "CONNECTION_RESET")

    def test_s60_deadline_and_close(self):
        self.client.send(self.client.cancel(102, 1, 100), self.client.hangup(103, 1, timeout_ms=1))
        self.assertEqual((self.error(), self.error(103)), ("OPERATION_ABORTED", "TIMED_OUT"))
        self.client.send(self.client.hangup(104, 1), self.client.make_close(105, 1))
        self.assertEqual((self.error(104), self.error(105)), ("OPERATION_ABORTED", "SUCCESS"))

    def test_s60_where_there_is_no_connection(self):
        self.client.send(self.client.open(200, 2), self.client.hangup(201, 2), self.client.hangup(202, 3))
        self.assertEqual((self.error(201), self.error(202)), ("NOT_CONNECTED", "NOT_SOCKET"))
        closed = self.listener()
        where = closed.getsockname()
        closed.close()
        self.client.send(self.client.connect(203, 2, where), self.client.hangup(204, 2))
        self.assertEqual((self.error(203), self.error(204)), ("CONNECTION_REFUSED", "OPERATION_ABORTED"))
        self.client.send(self.client.hangup(205, 2))
        self.assertEqual(self.error(205), "OPERATION_ABORTED")

    def test_s60_the_end_of_the_session(self):
        """Nothing of it stays: tearDown looks."""
        self.held.remove(self.client)
        self.client.close()


if __name__ == "__main__":
    unittest.main()
