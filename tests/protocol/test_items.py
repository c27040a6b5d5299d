# SPDX-License-Identifier: LGPL-2.1-or-later
"""Promises of docs/SEMANTICS.md that the library could keep on the daemon's behalf: here there is no library."""

import socket
import unittest

from asockd import DaemonTest
from wire import pb, request

PIECE = 256 * 1024


class Items(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()
        self.op = 0

    def ask(self, make, *arguments, **more):
        """Sends one request; its token."""
        self.op += 1
        self.client.send(make(self.op, 1, *arguments, **more))
        return self.op

    def ends(self, op, error, count=0):
        reply = self.client.completion(op)
        self.assertEqual((pb.Error.Name(reply.error), reply.bytes), (pb.Error.Name(error), count))
        return reply

    def says(self, error, make, *arguments, count=0, **more):
        return self.ends(self.ask(make, *arguments, **more), error, count)

    def refused(self):
        """An address without a listener, now and later."""
        holder = self.hold(socket.socket())
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()

    def reset(self, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()

    def fill(self):
        """Sends until the kernel takes no more, within the window; the tokens of what is pending."""
        ops, sent = [], 0
        while sent + PIECE <= self.client.welcome.send_window + self.client.freed[1]:
            ops.append(self.ask(self.client.make_send, bytes(PIECE)))
            sent += PIECE
            self.client.settle()
        done = {reply.op for reply, _ in self.client.kept}
        return [op for op in ops if op not in done]

    # ---------------------------------------------------------------------------- connect

    def test_s16_connect_while_connecting_and_when_connected(self):
        c = self.client
        hole = self.blackhole()
        self.ask(c.open)
        first = self.ask(c.connect, hole.getsockname())
        self.says(pb.ERROR_ALREADY_IN_PROGRESS, c.connect, hole.getsockname())
        self.says(pb.ERROR_ALREADY_IN_PROGRESS, c.connect, self.refused())
        self.ask(c.cancel, first)
        self.ends(first, pb.ERROR_OPERATION_ABORTED)
        listener = self.listener()
        self.says(pb.ERROR_SUCCESS, c.connect, listener.getsockname())
        peer = self.accept(listener)
        self.says(pb.ERROR_IS_CONNECTED, c.connect, self.refused(), b"not sent")
        self.says(pb.ERROR_SUCCESS, c.make_send, b"unharmed", count=8)
        self.assertEqual(self.read_all(peer, 8), b"unharmed")

    def test_s17_after_a_failed_connect(self):
        c = self.client
        self.ask(c.open)
        for op in (c.make_send(101, 1, b"x"), c.receive(102, 1, 1),
                   c.shutdown(103, 1, pb.HOW_BOTH)):
            c.send(op)
        for op in (101, 102, 103):
            self.ends(op, pb.ERROR_NOT_CONNECTED)
        self.says(pb.ERROR_CONNECTION_REFUSED, c.connect, self.refused())
        self.says(pb.ERROR_OPERATION_ABORTED, c.make_send, b"x")
        self.says(pb.ERROR_OPERATION_ABORTED, c.receive, 1)
        for how in (pb.HOW_SEND, pb.HOW_RECEIVE, pb.HOW_BOTH):
            self.says(pb.ERROR_OPERATION_ABORTED, c.shutdown, how)
        listener = self.listener()
        self.says(pb.ERROR_SUCCESS, c.connect, listener.getsockname())
        peer = self.accept(listener)
        self.says(pb.ERROR_SUCCESS, c.make_send, b"now", count=3)
        self.assertEqual(self.read_all(peer, 3), b"now")

    def test_s23_everything_behind_a_connect_that_fails(self):
        c = self.client
        for how in (pb.HOW_SEND, pb.HOW_RECEIVE, pb.HOW_BOTH):
            c.send(c.open(900, 1), c.connect(901, 1, self.refused(), b"data"), c.receive(902, 1, 5),
                   c.make_send(903, 1, b"x"), c.receive(904, 1, 0), c.shutdown(905, 1, how),
                   c.receive(906, 1, 5), c.make_close(907, 1))
            reply = c.completion(901)
            self.assertIn(reply.error, (pb.ERROR_CONNECTION_REFUSED, pb.ERROR_OPERATION_ABORTED))
            for op in range(902, 907):
                self.ends(op, pb.ERROR_OPERATION_ABORTED)
            self.ends(907, pb.ERROR_SUCCESS)
            c.completion(900)

    # ------------------------------------------------------------------------------- send

    def test_s26_in_order_whoever_waits(self):
        c = self.client
        peer = self.pair(c)
        ops = [self.ask(c.make_send, bytes([n]) * 1000) for n in range(100)]
        self.assertEqual(self.read_all(peer, 100000), b"".join(bytes([n]) * 1000 for n in range(100)))
        told = [c.take(lambda r: r.op in ops)[0] for _ in ops]
        self.assertEqual([(r.op, r.error, r.bytes) for r in told], [(op, 0, 1000) for op in ops])

    def test_s28_what_failed_and_what_is_behind_it(self):
        c = self.client
        peer = self.pair(c)
        receive = self.ask(c.receive, 10)
        pending = self.fill()
        self.assertGreater(len(pending), 1)
        self.reset(peer)
        first = c.completion(pending[0])
        self.assertEqual(first.error, pb.ERROR_CONNECTION_RESET)
        self.assertLess(first.bytes, PIECE)
        for op in pending[1:]:
            self.ends(op, pb.ERROR_OPERATION_ABORTED)
        self.says(pb.ERROR_OPERATION_ABORTED, c.make_send, b"x")
        self.says(pb.ERROR_OPERATION_ABORTED, c.shutdown, pb.HOW_SEND)
        # A receive still reports the reset; it is not an end of stream (S32).
        reply = self.ends(receive, pb.ERROR_CONNECTION_RESET)
        self.assertFalse(reply.flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.says(pb.ERROR_CONNECTION_RESET, c.receive, 10)

    def test_s29_send_where_there_is_no_sending(self):
        c = self.client
        peer = self.pair(c)
        self.says(pb.ERROR_SUCCESS, c.shutdown, pb.HOW_SEND)
        self.says(pb.ERROR_SHUTDOWN, c.make_send, b"x")
        self.says(pb.ERROR_SHUTDOWN, c.make_send, b"")
        peer.sendall(b"goes on")
        op = self.ask(c.receive, 10)
        self.assertEqual(c.whole(op)[1], b"goes on")

    def test_s49_refused_send_is_a_failed_send(self):
        """Over the window: no hole, everything behind it is refused, too; receiving goes on."""
        c = self.client
        peer = self.pair(c)
        self.fill()
        self.says(pb.ERROR_NO_BUFFER_SPACE, c.make_send, bytes(PIECE))
        self.says(pb.ERROR_OPERATION_ABORTED, c.make_send, b"x")
        peer.sendall(b"heard")
        op = self.ask(c.receive, 10)
        self.assertEqual(c.whole(op)[1], b"heard")
        self.says(pb.ERROR_SUCCESS, c.make_close)
        self.reset_by(peer)

    # ---------------------------------------------------------------------------- receive

    def test_s36_cancelled_receive_in_the_middle(self):
        c = self.client
        peer = self.pair(c)
        ops = [self.ask(c.receive, 2) for _ in range(5)]
        self.ask(c.cancel, ops[1])
        self.ask(c.cancel, ops[3])
        for op in (ops[1], ops[3]):
            self.ends(op, pb.ERROR_OPERATION_ABORTED)
        peer.sendall(b"aabbcc")
        self.assertEqual([c.whole(op)[1] for op in (ops[0], ops[2], ops[4])], [b"aa", b"bb", b"cc"])

    # --------------------------------------------------------------------- shutdown, close

    def test_s40_shutdowns_have_a_bound(self):
        c = self.client
        self.pair(c)
        self.fill()
        ops = [self.ask(c.shutdown, pb.HOW_SEND) for _ in range(4)]
        self.says(pb.ERROR_NO_BUFFER_SPACE, c.shutdown, pb.HOW_SEND)
        close = self.ask(c.make_close)
        for op in ops:
            self.ends(op, pb.ERROR_OPERATION_ABORTED)
        self.ends(close, pb.ERROR_SUCCESS)

    def test_s41_shutdown_when_all_is_over(self):
        c = self.client
        peer = self.pair(c)
        peer.close()
        reply = self.says(pb.ERROR_SUCCESS, c.receive, 1)
        self.assertTrue(reply.flags & pb.REPLY_FLAG_END_OF_STREAM)
        for how in (pb.HOW_SEND, pb.HOW_BOTH, pb.HOW_RECEIVE, pb.HOW_SEND):
            self.says(pb.ERROR_SUCCESS, c.shutdown, how)

    def test_s44_close_twice_and_after(self):
        c = self.client
        self.pair(c)
        self.says(pb.ERROR_SUCCESS, c.make_close)
        self.says(pb.ERROR_NOT_SOCKET, c.make_close)
        self.says(pb.ERROR_NOT_SOCKET, c.make_send, b"x")
        self.says(pb.ERROR_NOT_SOCKET, c.receive, 1)
        self.says(pb.ERROR_NOT_SOCKET, c.connect, self.refused())
        self.says(pb.ERROR_NOT_SOCKET, c.shutdown, pb.HOW_SEND)

    def test_s54_sync_waits_for_no_op(self):
        c = self.client
        peer = self.pair(c)
        receive = self.ask(c.receive, 1)
        self.fill()
        c.settle()
        self.assertNotIn(receive, {reply.op for reply, _ in c.kept})
        # What failed at once was reported before it.
        bad = self.ask(lambda op, number: request(pb.VERB_SEND, op, 99, b"x", send=pb.Send()))
        c.settle()
        self.assertIn(bad, {reply.op for reply, _ in c.kept})
        peer.sendall(b"x")
        self.ends(receive, pb.ERROR_SUCCESS, 1)


if __name__ == "__main__":
    unittest.main()
