# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the peer sees, captured as it is sent: FIN, RST, or nothing (S24, S39, S40, S42, S43)."""

import socket
import unittest

import network
from asockd import DaemonTest
from wire import pb, request

PIECE = 256 * 1024

network.enter()


class Packets(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()

    def connect(self, number=1, small=False):
        """A pair, its capture, and the ports of both."""
        listener = self.listener()
        if small:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.capture = self.hold(network.Capture())
        self.client.send(self.client.open(1000, number),
                         self.client.connect(1001, number, listener.getsockname()))
        self.assertEqual(self.client.completion(1001).error, pb.ERROR_SUCCESS)
        peer = self.accept(listener)
        self.port, self.own = peer.getsockname()[1], peer.getpeername()[1]
        return peer

    def sent(self):
        """What the daemon's end has sent."""
        return [p for p in self.capture.now() if (p.sport, p.dport) == (self.own, self.port)]

    def wait(self, flag):
        """Until the daemon's end has sent that flag."""
        self.capture.wait(lambda p: (p.sport, p.dport) == (self.own, self.port) and flag in p.flags)

    def flags(self):
        return "".join(p.flags for p in self.sent())

    def stalled(self, peer):
        """More is accepted than goes out; tokens from 1."""
        del peer
        op, sent = 1, 0
        while sent + PIECE <= self.client.welcome.send_window + self.client.freed[1]:
            self.client.send(self.client.make_send(op, 1, bytes(PIECE)))
            sent += PIECE
            op += 1
            self.client.settle()
        return op

    def drained(self):
        """Until no socket of the daemon waits for its peer's end any more."""
        while self.daemon.stats()["draining"]:
            pass

    def close(self, op=500, **how):
        self.client.send(self.client.make_close(op, 1, **how))
        return self.client.completion(op)

    # ------------------------------------------------------------------------------- close

    def test_s42_all_sent_is_data_then_fin(self):
        peer = self.connect()
        self.client.send(self.client.make_send(1, 1, b"whole"))
        self.close()
        self.assertEqual(self.read_all(peer), b"whole")
        peer.close()
        self.wait("F")
        self.assertNotIn("R", self.flags())
        self.assertEqual(sum(p.length for p in self.sent()), 5)

    def test_s42_unread_input_is_fin_all_the_same(self):
        peer = self.connect()
        peer.sendall(b"nobody reads this")
        self.client.send(self.client.receive(1, 1, 0))
        self.client.completion(1)
        self.client.send(self.client.make_send(2, 1, b"whole"))
        self.close()
        self.assertEqual(self.read_all(peer), b"whole")
        peer.sendall(b"nor this")
        peer.close()
        self.wait("F")
        self.drained()
        self.assertIn("F", self.flags())
        self.assertNotIn("R", self.flags())

    def test_s42_half_sent_is_rst_without_fin(self):
        peer = self.connect(small=True)
        self.stalled(peer)
        self.close()
        self.wait("R")
        self.assertNotIn("F", self.flags())
        self.reset_by(peer)

    def test_s42_queued_behind_is_rst(self):
        """What was wholly taken does not make up for what was queued behind it."""
        peer = self.connect(small=True)
        last = self.stalled(peer)
        self.client.send(self.client.cancel(400, 1, last - 1))
        self.client.completion(400)
        self.close()
        self.wait("R")
        self.assertNotIn("F", self.flags())

    def test_s42_client_that_goes_is_a_close(self):
        peer = self.connect()
        self.client.send(self.client.make_send(1, 1, b"whole"))
        self.client.completion(1)
        self.client.close()
        self.assertEqual(self.read_all(peer), b"whole")
        peer.close()
        self.wait("F")
        self.assertNotIn("R", self.flags())

    def test_s42_client_that_goes_with_half_a_send(self):
        peer = self.connect(small=True)
        self.stalled(peer)
        self.client.close()
        self.wait("R")
        self.assertNotIn("F", self.flags())
        self.reset_by(peer)

    def test_s42_nothing_sent_is_fin(self):
        peer = self.connect()
        self.client.send(self.client.receive(1, 1, 10))
        self.close()
        self.assertEqual(self.client.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(self.read_all(peer), b"")
        peer.close()
        self.wait("F")
        self.assertNotIn("R", self.flags())

    def test_s42_connect_given_up_is_silence(self):
        """Only SYN is sent to an address that has not answered."""
        capture = self.hold(network.Capture())
        self.client.send(self.client.open(1, 1),
                         self.client.connect(2, 1, (network.SILENT4, 7)))
        capture.wait(lambda p: p.target == network.SILENT4)
        self.close()
        self.assertEqual(self.client.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual({p.flags for p in capture.to(7)}, {"S"})

    def test_s43_abort_is_rst(self):
        peer = self.connect()
        self.client.send(self.client.make_send(1, 1, b"whole"))
        self.assertEqual(self.client.completion(1).error, pb.ERROR_SUCCESS)
        self.close(abort=True)
        self.wait("R")
        self.assertNotIn("F", self.flags())
        self.reset_by(peer)

    def test_s43_linger_is_all_of_it_then_fin(self):
        peer = self.connect(small=True)
        self.stalled(peer)
        self.client.send(self.client.make_close(500, 1, linger_ms=600000))
        self.client.settle()
        total = len(self.read_all(peer))
        self.assertEqual(self.client.completion(500).error, pb.ERROR_SUCCESS)
        peer.close()
        self.wait("F")
        self.assertNotIn("R", self.flags())
        self.assertEqual(total % PIECE, 0)
        self.assertGreater(total, 0)

    def test_s43_linger_runs_out_is_rst(self):
        peer = self.connect(small=True)
        self.stalled(peer)
        self.assertEqual(self.close(linger_ms=50).error, pb.ERROR_TIMED_OUT)
        self.wait("R")
        self.assertNotIn("F", self.flags())
        self.reset_by(peer)

    def test_s55_killed_is_rst(self):
        peer = self.connect()
        row = self.client.inspect(list=pb.List())[0]
        control = self.daemon.control
        control.token += 1
        control.send(request(pb.VERB_KILL, control.token, kill=pb.Kill(id=row["id"])))
        self.assertEqual(control.completion(control.token).error, pb.ERROR_SUCCESS)
        self.wait("R")
        self.assertNotIn("F", self.flags())
        self.reset_by(peer)

    # ---------------------------------------------------------------------------- shutdown

    def test_s39_half_close(self):
        """FIN goes out, what comes after it is acknowledged and received."""
        peer = self.connect()
        self.client.send(self.client.make_send(1, 1, b"question"),
                         self.client.shutdown(2, 1, pb.HOW_SEND))
        self.assertEqual(self.client.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer), b"question")
        self.wait("F")
        peer.sendall(b"answer")
        self.client.send(self.client.receive(3, 1, 100))
        self.assertEqual(self.client.whole(3)[1], b"answer")
        peer.close()
        self.client.send(self.client.receive(4, 1, 100))
        self.assertTrue(self.client.completion(4).flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.close()
        self.assertNotIn("R", self.flags())
        self.assertEqual(self.flags().count("F"), 1)

    def test_s40_shutdown_receive_tells_the_peer_nothing(self):
        peer = self.connect()
        before = len(self.sent())
        self.client.send(self.client.shutdown(1, 1, pb.HOW_RECEIVE), self.client.receive(2, 1, 1))
        self.assertEqual(self.client.completion(1).error, pb.ERROR_SUCCESS)
        self.assertTrue(self.client.completion(2).flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.assertEqual(len(self.sent()), before)
        self.client.send(self.client.make_send(3, 1, b"still"))
        self.assertEqual(self.read_all(peer, 5), b"still")
        self.assertNotIn("F", self.flags())
        self.assertNotIn("R", self.flags())

    def test_s27_empty_send_is_no_packet(self):
        self.connect()
        before = len(self.sent())
        self.client.send(self.client.make_send(1, 1, b""))
        self.assertEqual(self.client.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(len(self.sent()), before)

    def test_s22_data_of_connect_is_the_first_of_the_stream(self):
        listener = self.listener()
        port = listener.getsockname()[1]
        capture = self.hold(network.Capture())
        self.client.send(self.client.open(1, 1),
                         self.client.connect(2, 1, listener.getsockname(), b"first"),
                         self.client.make_send(3, 1, b"second"))
        self.assertEqual(self.client.completion(3).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(self.accept(listener), 11), b"firstsecond")
        self.assertEqual([p.length for p in capture.to(port) if p.length], [5, 6])


class Denied(DaemonTest):
    arguments = ()

    def test_s24_denied_address_gets_no_packet(self):
        client = self.wire()
        capture = self.hold(network.Capture())
        listener = self.listener()
        op = 0
        for address in (listener.getsockname(), ("127.0.0.1", 9), (network.OWN4, 9),
                        (network.SILENT4, 9), ("198.51.100.1", 9), ("::1", 9), (network.SILENT6, 9)):
            client.send(client.open(op + 1, 1), client.connect(op + 2, 1, address, b"data"))
            self.assertEqual(client.completion(op + 2).error, pb.ERROR_ACCESS_DENIED, address)
            client.send(client.make_close(op + 3, 1))
            op += 3
        client.settle()
        self.assertEqual(capture.now(), [])


if __name__ == "__main__":
    unittest.main()
