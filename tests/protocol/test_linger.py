# SPDX-License-Identifier: LGPL-2.1-or-later
"""CLOSE with a linger time."""

import socket
import unittest

from ending import PIECE, EndingTest
from wire import pb, request


class Linger(EndingTest):

    def test_s43_linger_behind_a_connect_in_progress(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()),
                  wire.make_send(3, 1, b"data"), wire.make_close(4, 1, linger_ms=30000))
        self.assertEqual(self.read_all(self.accept(listener)), b"data")
        for op in (2, 3, 4):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)

    def test_s43_linger_behind_a_connect_with_data(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname(), b"data"),
                  wire.make_close(4, 1, linger_ms=30000), wire.open(5, 1))
        self.assertEqual(self.read_all(self.accept(listener)), b"data")
        for op in (2, 4, 5):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.freed[0] + wire.freed[1], 4)

    def test_s43_linger_behind_a_connect_that_fails(self):
        wire = self.wire()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            wire.send(wire.open(1, 1), wire.connect(2, 1, closed.getsockname()),
                      wire.make_send(3, 1, b"data"), wire.make_close(4, 1, linger_ms=30000))
            self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_REFUSED)
            self.assertEqual(wire.completion(3).error, pb.ERROR_OPERATION_ABORTED)
            self.assertEqual(wire.completion(4).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.kept.popleft()[0].op, 1)
        self.assertFalse(wire.kept)

    def test_s43_nothing_was_sent_behind_a_connect_that_fails(self):
        """By a name, with data, with nothing behind it; while it goes on and when it has failed."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            service = str(closed.getsockname()[1])
            for payload in (b"", b"data"):
                wire = self.wire()
                connect = request(pb.VERB_CONNECT, 2, 1, payload,
                                  connect=pb.Connect(host="localhost", service=service))
                wire.send(wire.open(1, 1), connect, wire.make_close(4, 1, linger_ms=30000),
                          wire.open(5, 1))
                self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_REFUSED)
                self.assertEqual(wire.completion(4).error, pb.ERROR_OPERATION_ABORTED)
                wire.send(connect)
                self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_REFUSED)
                wire.send(wire.make_close(6, 1, linger_ms=30000))
                self.assertEqual(wire.completion(6).error, pb.ERROR_OPERATION_ABORTED)

    def untaken(self, wire, number=1):
        """A pair whose peer reads nothing and has little room: sends succeed, and are not acknowledged. The daemon's own
        socket has little room, too."""
        listener = self.listener()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        little = pb.SetOption(option=pb.OPTION_RECEIVE_BUFFER, value=pb.OptionValue(number=4096))
        wire.send(wire.open(1, number), request(pb.VERB_SET_OPTION, 8, number, set_option=little),
                  wire.connect(2, number, listener.getsockname()),
                  *(wire.make_send(op, number, bytes(PIECE)) for op in (3, 4, 5, 6)))
        for op in (8, 2, 3, 4, 5, 6):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        return self.accept(listener)

    def test_s43_success_is_told_when_the_peer_has_all(self):
        wire = self.wire()
        peer = self.untaken(wire)
        wire.send(wire.make_close(7, 1, linger_ms=60000))
        self.forget(wire)
        wire.settle()
        self.assertFalse(wire.kept)
        self.assertEqual(len(self.read_all(peer)), 4 * PIECE)
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)

    def test_s43_a_peer_that_writes_back_gets_all(self):
        """More than is discarded without a linger time."""
        wire = self.wire()
        peer = self.untaken(wire)
        wire.send(wire.make_close(7, 1, linger_ms=60000))
        got = 0
        while data := peer.recv(1 << 16):
            got += len(data)
            if got < 3 * PIECE:
                peer.sendall(bytes(len(data) * 3))
        self.assertEqual(got, 4 * PIECE)
        peer.close()
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)

    def test_s43_a_peer_that_resets_has_not_all(self):
        wire = self.wire()
        peer = self.untaken(wire)
        wire.send(wire.make_close(7, 1, linger_ms=60000))
        wire.settle()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        self.assertEqual(wire.completion(7).error, pb.ERROR_CONNECTION_RESET)

    def test_s43_no_success_where_the_peer_had_reset_before(self):
        """It had acknowledged everything, and has read nothing."""
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"unread"))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(peer.recv(6, socket.MSG_PEEK), b"unread")
        peer.close()
        wire.send(wire.make_close(2, 1, linger_ms=60000))
        self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_RESET)

    def test_s43_no_success_behind_half_a_send(self):
        """An open chain, and one that was given up before."""
        wire = self.wire()
        for abandon, error in ((False, pb.ERROR_OPERATION_ABORTED), (True, pb.ERROR_CONNECTION_RESET)):
            peer = self.pair(wire)
            wire.send(wire.make_send(1, 1, b"begun", more=True, total_len=100))
            if abandon:
                wire.send(wire.make_send(1, 1, b"", abandon=True))
            wire.send(wire.make_close(2, 1, linger_ms=60000))
            self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
            self.assertEqual(wire.completion(2).error, error)
            self.reset_by(peer)

    def test_s43_linger_option_0_resets(self):
        """A CLOSE without a time of its own, and the one of a client that ends."""
        wire = self.wire()
        option = pb.SetOption(option=pb.OPTION_LINGER, value=pb.OptionValue(number=0))
        for number in (1, 2, 3):
            peer = self.pair(wire, number)
            wire.send(request(pb.VERB_SET_OPTION, 1, number, set_option=option),
                      wire.make_send(2, number, b"taken"))
            self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
            self.assertEqual(self.read_all(peer, 5), b"taken")
            if number == 1:
                wire.send(wire.make_close(3, number))
                self.reset_by(peer)
            elif number == 2:
                wire.send(wire.make_close(4, number, linger_ms=60000))
                self.assertEqual(self.read_all(peer), b"")
                self.assertEqual(wire.completion(4).error, pb.ERROR_SUCCESS)
        wire.close()
        self.reset_by(peer)

    def test_s43_linger_behind_a_connect_runs_out(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname()),
                  wire.make_send(3, 1, b"data"), wire.make_close(4, 1, linger_ms=100))
        for op in (2, 3):
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(4).error, pb.ERROR_TIMED_OUT)

    def test_s43_linger_behind_a_connect_cancelled(self):
        """The CLOSE, the CONNECT, or the one send that it waits for: each ends the rest."""
        for target in (4, 2, 3):
            wire = self.wire()
            wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname()),
                      wire.make_send(3, 1, b"data"), wire.make_close(4, 1, linger_ms=60000))
            wire.settle()
            wire.send(wire.cancel(5, 0, target))
            self.assertEqual(wire.completion(5).flags, pb.REPLY_FLAG_FOUND)
            self.assertEqual(wire.completion(3).error, pb.ERROR_OPERATION_ABORTED)
            if target == 3:
                wire.send(wire.cancel(6, 0, 4))
            self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
            wire.completion(4)

    def test_s43_linger_behind_a_connect_whose_client_goes(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname()),
                  wire.make_send(3, 1, b"data"), wire.make_close(4, 1, linger_ms=300))
        wire.settle()
        wire.close()

    def test_s43_linger_drains(self):
        wire = self.wire()
        peer, sent, last = self.stalled(wire)
        wire.send(wire.receive(1, 1, 10), wire.make_close(2, 1, linger_ms=60000), wire.open(3, 1))
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)  # the id is free meanwhile
        self.forget(wire)
        self.assertEqual(len(self.read_all(peer)), sent)
        reply = wire.completion(last)
        self.assertEqual((reply.error, reply.bytes, reply.socket), (0, PIECE, 0))
        reply = wire.completion(2)
        self.assertEqual((reply.error, reply.socket), (0, 0))
        self.assertEqual(wire.freed[0] + wire.freed[1], sent)

    def test_s43_linger_runs_out(self):
        wire = self.wire()
        peer, sent, last = self.stalled(wire)
        wire.send(wire.make_close(2, 1, linger_ms=100))
        self.assertEqual(wire.completion(last).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(2).error, pb.ERROR_TIMED_OUT)
        self.assertLess(len(self.reset_by(peer)), sent)
        self.assertEqual(wire.freed[0] + wire.freed[1], sent)

    def test_s43_linger_cancelled(self):
        wire = self.wire()
        peer, sent, last = self.stalled(wire)
        wire.send(wire.make_close(2, 1, linger_ms=60000))
        wire.settle()
        wire.send(wire.cancel(3, 0, 2))
        self.assertEqual(wire.completion(3).flags, pb.REPLY_FLAG_FOUND)
        self.assertEqual(wire.completion(last).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        self.assertLess(len(self.reset_by(peer)), sent)


if __name__ == "__main__":
    unittest.main()
