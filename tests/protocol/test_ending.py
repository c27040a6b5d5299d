# SPDX-License-Identifier: LGPL-2.1-or-later
"""CANCEL, SHUTDOWN, CLOSE, and clients that go away in the middle."""

import os
import signal
import socket
import unittest

from asockd import Daemon
from ending import PIECE, EndingTest
from suspend import suspend
from wire import Wire, pb, request

class Cancel(EndingTest):

    def test_s36_receive(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(*(wire.receive(op, 1, 10) for op in (1, 2, 3)), wire.cancel(4, 1, 2))
        reply = wire.completion(4)
        self.assertEqual((reply.error, reply.flags), (0, pb.REPLY_FLAG_FOUND))
        self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        peer.sendall(b"first")
        self.assertEqual(wire.whole(1)[1], b"first")
        peer.sendall(b"third")
        self.assertEqual(wire.whole(3)[1], b"third")

    def test_what_has_ended(self):
        wire = self.wire()
        self.pair(wire)
        wire.send(wire.cancel(1, 1, 4711), wire.cancel(2, 9, 4711), wire.cancel(3, 0, 3))
        for op in (1, 2):
            reply = wire.completion(op)
            self.assertEqual((reply.error, reply.flags), (0, 0))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        wire.settle()

    def test_op_of_another_socket(self):
        wire = self.wire()
        peer = self.pair(wire, 1)
        self.pair(wire, 2)
        wire.send(wire.receive(1, 1, 10), wire.cancel(2, 2, 1))
        self.assertEqual(wire.completion(2).flags, 0)
        peer.sendall(b"alive")
        self.assertEqual(wire.whole(1)[1], b"alive")

    def test_s30_send_that_has_not_begun(self):
        wire = self.wire()
        peer, sent, last = self.stalled(wire)
        wire.send(wire.cancel(1, 1, last), wire.make_send(2, 1, b"the end"),
                  wire.shutdown(3, 1, pb.HOW_SEND))
        self.assertEqual(wire.completion(1).flags, pb.REPLY_FLAG_FOUND)
        reply = wire.completion(last)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_OPERATION_ABORTED, 0))
        data = self.read_all(peer)
        self.assertEqual(len(data), sent - PIECE + 7)
        self.assertTrue(data.endswith(b"the end"))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)

    def test_s30_send_that_has_begun(self):
        wire = self.wire()
        peer = self.pair(wire)
        total = 64 << 20
        wire.send(wire.make_send(1, 1, bytes(PIECE), more=True, total_len=total))
        wire.send(wire.cancel(2, 1, 1))
        reply = wire.completion(1)
        self.assertEqual(reply.error, pb.ERROR_OPERATION_ABORTED)
        self.assertLessEqual(reply.bytes, PIECE)
        wire.send(wire.make_send(1, 1, b"", abandon=True), wire.make_send(3, 1, b"behind"),
                  wire.shutdown(4, 1, pb.HOW_SEND))
        for op in (3, 4):
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        peer.sendall(b"receiving goes on")
        wire.send(wire.receive(5, 1, 100))
        self.assertEqual(wire.whole(5)[1], b"receiving goes on")
        wire.send(wire.make_close(6, 1))
        wire.completion(6)
        self.assertLessEqual(len(self.reset_by(peer)), reply.bytes)

    def test_s30_what_is_behind_a_chain_goes_on(self):
        """The chain has not begun and waits for its client: what is queued behind has no other wake-up."""
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"", more=True, total_len=10),
                  wire.shutdown(2, 1, pb.HOW_SEND), wire.cancel(3, 1, 1))
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer), b"")

    def test_s28_refused_send_leaves_those_in_front(self):
        wire = self.wire()
        peer, sent, last = self.stalled(wire)
        tokens = range(last + 1, last + 9)
        wire.send(*(wire.make_send(op, 1, bytes(PIECE)) for op in tokens))
        wire.settle()
        errors = {reply.op: reply.error for reply, _ in wire.kept if reply.error}
        refused = next(op for op in tokens if errors.get(op) == pb.ERROR_NO_BUFFER_SPACE)
        self.assertEqual(min(errors), refused)
        for op in range(refused + 1, tokens[-1] + 1):
            self.assertEqual(errors[op], pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(len(self.read_all(peer, sent + (refused - last - 1) * PIECE)),
                         sent + (refused - last - 1) * PIECE)
        self.assertEqual(wire.completion(refused - 1).error, pb.ERROR_SUCCESS)
        wire.send(wire.make_close(1, 1))
        self.reset_by(peer)

    def test_s21_connect(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname()),
                  wire.make_send(3, 1, b"behind"))
        wire.settle()
        wire.send(wire.cancel(4, 1, 2))
        self.assertEqual(wire.completion(4).flags, pb.REPLY_FLAG_FOUND)
        self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(3).error, pb.ERROR_OPERATION_ABORTED)


class Shutdown(EndingTest):

    def test_s39_send_side_drains(self):
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.shutdown(1, 1, pb.HOW_SEND), wire.make_send(2, 1, b"too late"))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SHUTDOWN)
        self.assertEqual(len(self.read_all(peer)), sent)
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        peer.sendall(b"answer")
        wire.send(wire.receive(3, 1, 100))
        self.assertEqual(wire.whole(3)[1], b"answer")

    def test_s40_receive_side(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(1, 1, 10), wire.shutdown(2, 1, pb.HOW_RECEIVE), wire.receive(3, 1, 10))
        for op in (1, 3):
            reply = wire.completion(op)
            self.assertEqual((reply.error, reply.bytes), (0, 0))
            self.assertTrue(reply.flags & pb.REPLY_FLAG_END_OF_STREAM)
        wire.send(wire.make_send(4, 1, b"sending goes on"))
        self.assertEqual(self.read_all(peer, 15), b"sending goes on")

    def test_s39_cancelled_beside_one_of_the_receive_side(self):
        """The sending side is open again: what is left to come ends the receiving side only."""
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname()),
                  wire.shutdown(3, 1, pb.HOW_SEND), wire.shutdown(4, 1, pb.HOW_RECEIVE),
                  wire.cancel(5, 1, 3), wire.make_send(6, 1, b"data"))
        self.assertEqual(wire.completion(3).error, pb.ERROR_OPERATION_ABORTED)
        wire.settle()
        self.assertFalse([reply for reply, _ in wire.kept if reply.op == 6])

    def test_s28_refused_behind_a_shutdown_that_is_cancelled(self):
        """The stream misses it: nothing may follow, and there is no proper end."""
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.shutdown(1, 1, pb.HOW_SEND), wire.make_send(2, 1, b"missed"), wire.cancel(3, 1, 1),
                  wire.make_send(4, 1, b"data"), wire.shutdown(5, 1, pb.HOW_SEND))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SHUTDOWN)
        for op in (1, 4, 5):
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(len(self.read_all(peer, sent)), sent)
        wire.send(wire.make_close(6, 1))
        self.reset_by(peer)

    def check_missed(self, last):
        """Of two that end the sending side a send was refused by the first one, which is cancelled."""
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.shutdown(1, 1, pb.HOW_SEND), wire.make_send(2, 1, b"missed"), last, wire.cancel(4, 1, 1))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SHUTDOWN)
        for op in (1, 3):
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(len(self.read_all(peer, sent)), sent)
        wire.send(wire.make_close(6, 1))
        self.reset_by(peer)

    def test_s28_no_end_behind_a_send_that_was_refused(self):
        """A second shutdown would let the stream look whole without that send."""
        self.check_missed(Wire.shutdown(3, 1, pb.HOW_SEND))

    def test_s28_no_disconnect_behind_a_send_that_was_refused(self):
        self.check_missed(Wire.make_disconnect(3, 1))

    def test_s39_two_shutdowns_in_front_of_a_send_that_is_refused(self):
        """The second one ends the stream where the first one would have."""
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.shutdown(1, 1, pb.HOW_SEND), wire.shutdown(2, 1, pb.HOW_SEND), wire.make_send(3, 1, b"refused"),
                  wire.shutdown(4, 1, pb.HOW_SEND), wire.cancel(5, 1, 1))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SHUTDOWN)
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(len(self.read_all(peer)), sent)
        for op in (2, 4):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)

    def test_s39_an_empty_send_behind_a_cancelled_shutdown_is_not_missed(self):
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.shutdown(1, 1, pb.HOW_SEND), wire.make_send(2, 1, b""), wire.cancel(3, 1, 1),
                  wire.make_send(4, 1, b"data"))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SHUTDOWN)
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(self.read_all(peer, sent + 4)[-4:], b"data")
        self.assertEqual(wire.completion(4).error, pb.ERROR_SUCCESS)

    def test_how_that_is_none(self):
        wire = self.wire()
        self.pair(wire)
        for op, how in enumerate((0, 4, 99), 1):
            wire.send(wire.shutdown(op, 1, how))
            self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT)


class Disconnect(EndingTest):
    """A DISCONNECT waits for its turn behind much; a send is refused behind it, and something else follows."""

    def behind(self, *frames):
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.make_disconnect(9000, 1), wire.make_send(9001, 1, b"refused"), *frames)
        self.assertEqual(wire.completion(9001).error, pb.ERROR_SHUTDOWN)
        return wire, peer, sent

    def test_s73_a_shutdown_behind_a_send_that_it_refused(self):
        """What was sent in front of it arrives whole, as its success says."""
        wire, peer, sent = self.behind(Wire.shutdown(9002, 1, pb.HOW_SEND))
        self.assertEqual(len(self.read_all(peer)), sent)
        self.assertEqual(wire.completion(9000).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(9002).error, pb.ERROR_OPERATION_ABORTED)

    def test_s73_a_close_behind_a_send_that_it_refused(self):
        wire, peer, sent = self.behind(Wire.make_close(9002, 1, linger_ms=30000))
        self.assertEqual(len(self.read_all(peer)), sent)
        self.assertEqual(wire.completion(9000).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(9002).error, pb.ERROR_SUCCESS)


class Close(EndingTest):

    def test_s42_is_the_last_completion(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(*(wire.receive(op, 1, 10) for op in range(1, 6)), wire.make_close(6, 1))
        order = [wire.next()[0].op for _ in range(6)]
        self.assertEqual(order, [1, 2, 3, 4, 5, 6])
        self.assertEqual(self.read_all(peer), b"")
        wire.send(wire.make_close(7, 1), wire.receive(8, 1, 1))
        for op in (7, 8):
            self.assertEqual(wire.completion(op).error, pb.ERROR_NOT_SOCKET)

    def test_s42_all_sent_is_fin(self):
        wire = self.wire()
        peer = self.pair(wire)
        peer.sendall(b"nobody reads this")
        wire.send(wire.make_send(1, 1, b"whole"), wire.make_close(2, 1))
        self.assertEqual(self.read_all(peer), b"whole")

    def test_s42_half_sent_is_reset(self):
        wire = self.wire()
        peer, sent, last = self.stalled(wire)
        wire.send(wire.make_close(1, 1))
        self.assertEqual(wire.completion(last).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertLess(len(self.reset_by(peer)), sent)
        self.assertEqual(wire.freed[1], sent)

    def test_s43_abort_is_reset(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"whole"), wire.make_close(2, 1, abort=True))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.reset_by(peer)

    def test_s42_open_chain_is_reset(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"begun", more=True, total_len=100), wire.make_close(2, 1))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_OPERATION_ABORTED, 5))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.reset_by(peer)

    def test_s42_open_chain_without_a_byte_is_reset(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"", more=True, total_len=100), wire.make_close(2, 1))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.reset_by(peer)

    def test_s44_id_is_free_at_once(self):
        wire = self.wire()
        first, second = self.listener(), self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, first.getsockname()),
                  wire.make_send(3, 1, b"one"))
        old = self.accept(first)
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        wire.send(wire.make_close(4, 1), wire.open(5, 1), wire.connect(6, 1, second.getsockname()),
                  wire.make_send(7, 1, b"two"))
        new = self.accept(second)
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)
        wire.send(wire.make_close(8, 1))
        self.assertEqual(self.read_all(new), b"two")
        self.assertEqual(self.read_all(old), b"one")
        for op in (4, 5, 6, 8):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)

    def test_s21_behind_a_connect_in_progress(self):
        """The peer must not see an empty stream that looks whole."""
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()),
                  wire.make_send(3, 1, b"data"), wire.make_close(4, 1))
        self.assertEqual(wire.completion(4).error, pb.ERROR_SUCCESS)
        connected = wire.completion(2).error == pb.ERROR_SUCCESS
        if wire.completion(3).error == pb.ERROR_SUCCESS:
            self.assertTrue(connected)
            self.assertEqual(self.read_all(self.accept(listener)), b"data")
        else:
            self.reset_by(self.accept(listener))

    def test_s44_hundred_times_the_same_id(self):
        wire = self.wire()
        listener = self.listener(backlog=128)
        frames = []
        for turn in range(100):
            op = 10 * turn + 1
            frames += [wire.open(op, 1), wire.make_close(op + 1, 1)]
        wire.send(*frames)
        wire.settle()
        self.assertEqual(len(wire.kept), 200)
        self.assertTrue(all(reply.error == 0 for reply, _ in wire.kept))
        listener.close()

    def test_ops_freed_of_a_whole_life(self):
        """Every counted request is reported as freed once, with the CLOSE if not before."""
        wire = self.wire()
        listener = self.listener()
        flags = pb.REQUEST_FLAG_ERRORS_ONLY
        frames = [wire.open(1, 1, flags=flags), wire.connect(2, 1, listener.getsockname())]
        frames += [wire.make_send(op, 1, b"data", flags=flags) for op in range(3, 53)]
        frames += [wire.receive(op, 1, 10) for op in range(53, 63)]
        wire.send(*frames)
        peer = self.accept(listener)
        self.read_all(peer, 200)
        wire.send(wire.make_close(100, 1))
        wire.completion(100)
        self.assertEqual(wire.freed[1], 200)
        self.assertEqual(wire.ops_freed[1], 62)


class ShutdownBehindOthers(EndingTest):

    def test_s23_behind_a_connect_in_order(self):
        """Those of the receiving side too, which nothing else holds up."""
        wire = self.wire()
        listener = self.listener()
        connect = request(pb.VERB_CONNECT, 2, 1, connect=pb.Connect(host="localhost",
                                                                    service=str(listener.getsockname()[1])))
        wire.send(wire.open(1, 1), connect, *(wire.shutdown(op, 1, pb.HOW_RECEIVE) for op in (3, 4, 5)))
        wire.completion(5)
        self.assertEqual([reply.op for reply, _ in wire.kept], [1, 2, 3, 4])

    def test_s23_receiving_side_does_not_wait_for_what_a_connect_carries(self):
        """Its data waits for the peer to read; the shutdown has waited for the connection alone."""
        wire = self.wire()
        listener = socket.socket()
        self.hold(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        option = pb.SetOption(option=pb.OPTION_SEND_BUFFER, value=pb.OptionValue(number=4608))
        data = bytes(256 * 1024)
        connect = request(pb.VERB_CONNECT, 3, 1, data, connect=pb.Connect(host="localhost",
                                                                          service=str(listener.getsockname()[1])))
        wire.send(wire.open(1, 1), request(pb.VERB_SET_OPTION, 2, 1, set_option=option), connect,
                  wire.receive(4, 1, 10), *(wire.shutdown(op, 1, pb.HOW_RECEIVE) for op in (5, 6)))
        wire.completion(6)
        self.assertEqual([reply.op for reply, _ in wire.kept], [1, 2, 4, 5])
        peer = self.accept(listener)
        self.read_all(peer, len(data))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)

    def test_s41_both_behind_a_failed_send_leaves_receiving(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"begun", more=True, total_len=100), wire.make_send(1, 1, b"", abandon=True),
                  wire.shutdown(2, 1, pb.HOW_BOTH), wire.receive(3, 1, 10))
        self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        peer.sendall(b"goes on")
        self.assertEqual(wire.whole(3)[1], b"goes on")


class Gone(EndingTest):
    """A client that dies: its sockets close gracefully (S42), and nothing of it stays behind."""

    def test_s45_in_the_middle_of_a_frame(self):
        """What was cut may have been the end of a stream: no peer may take it for whole."""
        for length in (1, 8, 12):
            wire = self.wire()
            one, two = self.pair(wire, 1), self.pair(wire, 2)
            wire.send(wire.receive(1, 1, 10)[:length])
            wire.close()
            self.reset_by(one)
            self.reset_by(two)

    def test_s45_in_the_middle_of_a_send(self):
        wire = self.wire()
        one, two = self.pair(wire, 1), self.pair(wire, 2)
        wire.send(wire.make_send(1, 1, b"x" * 1000)[:500])
        wire.close()
        self.reset_by(one)
        self.assertEqual(self.read_all(two), b"")  # nothing of it was cut

    def test_s42_behind_a_broken_frame(self):
        """What came behind it was sent too, and is not taken."""
        wire = self.wire()
        one, two = self.pair(wire, 1), self.pair(wire, 2)
        wire.send(wire.shutdown(1, 2, pb.HOW_SEND))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        wire.send(wire.make_send(2, 1, b"part"), bytes(8), wire.make_send(3, 1, b"rest"))
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
        self.reset_by(one)
        self.assertEqual(self.read_all(two), b"")

    def test_s45_with_ops_pending(self):
        wire = self.wire()
        peers = [self.pair(wire, number) for number in range(1, 9)]
        for number in range(1, 9):
            wire.send(*(wire.receive(100 * number + op, number, 10) for op in range(20)))
        wire.settle()
        wire.close()
        for peer in peers:
            self.assertEqual(self.read_all(peer), b"")

    def test_s45_while_connecting(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname()))
        wire.settle()
        wire.close()

    def test_s42_with_sends_that_the_kernel_has(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"whole"))
        wire.close()
        self.assertEqual(self.read_all(peer), b"whole")

    def test_s42_with_half_a_send(self):
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        self.leave(wire)
        self.assertLess(len(self.reset_by(peer)), sent)

    def test_s42_in_the_middle_of_a_chain(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"first piece", more=True, total_len=1 << 20))
        wire.settle()
        wire.close()
        self.assertLessEqual(len(self.reset_by(peer)), 11)

    def test_s43_while_lingering(self):
        """What lingers has been promised that time: it goes on without its client."""
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.make_close(1, 1, linger_ms=60000))
        wire.settle()
        wire.close()
        self.assertEqual(len(self.read_all(peer)), sent)

    def test_s43_while_lingering_runs_out(self):
        wire = self.wire()
        peer, sent, _ = self.stalled(wire)
        wire.send(wire.make_close(1, 1, linger_ms=300))
        wire.settle()
        self.leave(wire)
        self.assertLess(len(self.reset_by(peer)), sent)

    def test_s45_with_replies_unread(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(*(wire.receive(op, 1, PIECE) for op in range(1, 65)))
        peer.settimeout(None)
        peer.setblocking(False)
        try:
            for _ in range(64):
                peer.send(os.urandom(PIECE))
        except BlockingIOError:
            pass
        wire.close()

    def test_half_closed_wire(self):
        """A client that only shuts its writing down has said goodbye as well."""
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, b"bye"))
        wire.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_all(peer), b"bye")

    def test_s45_another_client_does_not_notice(self):
        other = self.wire()
        peer = self.pair(other)
        for turn in range(50):
            wire = Wire(self.daemon.path)
            wire.hello()
            wire.send(wire.open(1, 1), wire.open(2, 2), wire.receive(3, 1, 5), b"\x08\0\0\0")
            wire.close()
            other.send(other.make_send(2 * turn + 1, 1, b"ping"), other.receive(2 * turn + 2, 1, 4))
            self.assertEqual(self.read_all(peer, 4), b"ping")
            peer.sendall(b"pong")
            self.assertEqual(other.whole(2 * turn + 2)[1], b"pong")


class LastSocket(EndingTest):
    """A client goes, and later the last socket that lingers for it: with what memory was freed made useless."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.arguments, env={**os.environ, "MALLOC_PERTURB_": "165"})

    def orphans(self, count, linger_ms, sockets=1):
        """Sessions that have gone, each with sockets whose queued sends still wait; the peers of those."""
        peers, wires = [], []
        for _ in range(count):
            wire = self.wire(hello=False)
            wire.hello(queued_max=1 << 20)  # little: all that becomes free is due to be reported
            for number in range(1, sockets + 1):
                peers.append(self.pair(wire, number))
                data = bytes(PIECE)
                while wire.inspect(stats=pb.Stats())[0]["queued"] < number * PIECE:
                    wire.token += 1
                    wire.send(wire.make_send(wire.token, number, data))
                wire.send(wire.make_close(90 + number, number, linger_ms=linger_ms))
            wire.settle()
            wires.append(wire)
        for wire in wires:
            wire.close()
        self.daemon.control.settle()  # it has seen that they have gone
        return peers

    def none_is_left(self):
        self.daemon.settle(self.before)
        self.assertTrue(self.daemon.is_alive())

    def test_s43_runs_out(self):
        peers = self.orphans(8, 1000)
        self.none_is_left()
        for peer in peers:
            self.reset_by(peer)

    def test_s43_drains(self):
        for peer in self.orphans(4, 60000, sockets=2):
            self.read_all(peer)
            peer.close()
        self.none_is_left()

    def test_s43_is_reset_by_the_peer(self):
        for peer in self.orphans(4, 60000, sockets=2):
            peer.close()
        self.none_is_left()

    def test_s55_is_killed(self):
        self.orphans(4, 60000, sockets=2)
        for record in self.daemon.control.inspect(list=pb.List()):
            self.daemon.control.token += 1
            self.daemon.control.send(request(pb.VERB_KILL, self.daemon.control.token, kill=pb.Kill(id=record["id"])))
        self.none_is_left()


class Stop(EndingTest):
    """The daemon stops: every session gets the reason, every op has ended."""

    def test_s46_sessions_are_told(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            daemon = Daemon("--allow-any")
            wires = [self.hold(Wire(daemon.path)) for _ in range(3)]
            for wire in wires:
                wire.hello()
            peer = self.pair(wires[0])
            wires[0].send(wires[0].receive(1, 1, 10))
            wires[0].settle()
            daemon.stop(sig=sig)
            for wire in wires:
                reply, text = wire.ended()
                self.assertEqual(reply.error, pb.ERROR_CONNECTION_ABORTED)
                self.assertTrue(text.decode())
            self.assertEqual(self.read_all(peer), b"")

    def stop_behind(self, *frames, paused):
        """Ends a daemon that has not taken all of this; its peers 1 and 2."""
        daemon = Daemon("--allow-any")
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        peers = self.pair(wire, 1), self.pair(wire, 2)
        if paused:
            suspend(daemon.pid)
            wire.send(*frames)
            os.kill(daemon.pid, signal.SIGTERM)
            os.kill(daemon.pid, signal.SIGCONT)
        else:
            wire.send(wire.sync(1), *frames)
            wire.completion(1)
        daemon.stop()
        return peers

    def test_s42_in_the_middle_of_a_send(self):
        data = Wire.make_send(9, 1, b"x" * 1000)
        one, _ = self.stop_behind(data[:500], paused=False)
        self.reset_by(one)

    def test_s42_with_sends_not_read(self):
        """Taken and whole, or reset: the signal may come first or last."""
        data = [Wire.make_send(op, 1, b"x" * 1000) for op in range(9, 12)]
        one, _ = self.stop_behind(*data, paused=True)
        try:
            self.assertEqual(len(self.read_all(one)), 3000)
        except ConnectionResetError:
            pass


if __name__ == "__main__":
    unittest.main()
