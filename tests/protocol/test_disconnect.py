# SPDX-License-Identifier: LGPL-2.1-or-later
"""DISCONNECT: a socket that connects again (S73)."""

import socket
import struct

from asockd import DaemonTest
from wire import pb, request

MUCH = 8 << 20  # more than two kernels' buffers take


class Disconnect(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()

    def error(self, op):
        return pb.Error.Name(self.client.completion(op).error).removeprefix("ERROR_")

    def disconnect(self, op, number=1, **fields):
        self.client.send(self.client.make_disconnect(op, number, **fields))
        return self.error(op)

    def pending(self, op):
        for _ in range(3):
            self.client.settle()
        self.assertFalse([reply for reply, _ in self.client.kept if reply.op == op])

    def connect_again(self, op, number=1):
        """To another listener; the new peer."""
        listener = self.listener()
        self.client.send(self.client.connect(op, number, listener.getsockname()))
        self.assertEqual(self.error(op), "SUCCESS")
        return self.accept(listener)

    def exchange(self, peer, number=1):
        """The connection works, both ways."""
        self.client.send(self.client.make_send(800, number, b"ping"))
        self.assertEqual(self.error(800), "SUCCESS")
        self.assertEqual(self.read_all(peer, 4), b"ping")
        peer.sendall(b"pong")
        self.client.send(self.client.receive(801, number, 4, pb.RECEIVE_FLAG_WAIT_ALL))
        self.assertEqual(self.client.whole(801)[1], b"pong")

    def stalled(self, number=1, **fields):
        """A peer that does not read, and a send that waits for it: op 500."""
        peer = self.pair(self.client, number)
        data = bytes(range(256)) * (MUCH // 256)
        pieces = [data[at:at + (256 << 10)] for at in range(0, MUCH, 256 << 10)]
        for index, piece in enumerate(pieces[:4]):
            self.client.send(self.client.make_send(500, number, piece, total_len=0 if index else MUCH, more=True, **fields))
        return peer, data, pieces[4:]

    def close(self, number=1):
        self.client.send(self.client.make_close(900, number))
        self.assertEqual(self.error(900), "SUCCESS")

    # ---- one connection after the other

    def test_s73_connects_again(self):
        """To whatever, as often as wanted; the peer gets all, and FIN."""
        self.assertTrue(self.client.welcome.verbs >> pb.VERB_DISCONNECT & 1)
        peer = self.pair(self.client)
        for turn in range(3):
            with self.subTest(turn=turn):
                self.exchange(peer)
                self.client.send(self.client.make_send(10, 1, b"last"))
                self.assertEqual(self.disconnect(11), "SUCCESS")
                self.assertEqual(self.read_all(peer), b"last")
                peer.close()
                peer = self.connect_again(12)
        self.exchange(peer)
        self.close()
        self.assertEqual(self.read_all(peer), b"")

    def test_s73_it_is_like_a_new_one(self):
        self.pair(self.client)
        self.assertEqual(self.disconnect(10), "SUCCESS")
        self.client.send(self.client.make_send(11, 1, b"x"), self.client.receive(12, 1, 1),
                         self.client.shutdown(13, 1, pb.HOW_BOTH), self.client.hangup(14, 1),
                         self.client.make_disconnect(15, 1))
        self.assertEqual([self.error(op) for op in range(11, 16)], 5 * ["NOT_CONNECTED"])
        self.close()

    def test_s73_it_can_listen_instead(self):
        self.pair(self.client)
        self.assertEqual(self.disconnect(10), "SUCCESS")
        self.client.send(self.client.bind(11, 1, ("127.0.0.1", 0)), self.client.listen(12, 1), self.client.accept(13, 1, 2))
        local = self.client.completion(11).connected.local
        peer = self.hold(socket.create_connection(("127.0.0.1", local.port)))
        self.assertEqual((self.error(12), self.error(13)), ("SUCCESS", "SUCCESS"))
        self.exchange(peer, 2)
        # The listener has no connection to end, an accepted one has.
        self.assertEqual((self.disconnect(14), self.disconnect(15, 2)), ("NOT_CONNECTED", "SUCCESS"))
        self.assertEqual(self.read_all(peer), b"")
        self.exchange(self.connect_again(16, 2), 2)

    def test_s73_options_stay(self):
        self.client.send(self.client.open(1, 1))
        for op, (option, value) in enumerate(((pb.OPTION_NO_DELAY, 0), (pb.OPTION_KEEP_ALIVE_TIME, 77), (pb.OPTION_LINGER, 30000)), 20):
            self.set_option(op, option, value)
        listener = self.listener()
        self.client.send(self.client.connect(2, 1, listener.getsockname()))
        self.assertEqual((self.error(2), self.disconnect(3)), ("SUCCESS", "SUCCESS"))
        for again in (False, True):
            with self.subTest(again=again):
                if again:
                    self.connect_again(4)
                self.assertEqual([self.get_option(option) for option in
                                  (pb.OPTION_NO_DELAY, pb.OPTION_KEEP_ALIVE_TIME, pb.OPTION_LINGER)], [0, 77, 30000])

    def set_option(self, op, option, value):
        arm = pb.SetOption(option=option, value=pb.OptionValue(number=value))
        self.client.send(request(pb.VERB_SET_OPTION, op, 1, set_option=arm))
        self.assertEqual(self.error(op), "SUCCESS")

    def get_option(self, option):
        self.client.send(request(pb.VERB_GET_OPTION, 30, 1, get_option=pb.GetOption(option=option)))
        return self.client.completion(30).value.number

    # ---- its turn

    def test_s73_what_was_sent_comes_first(self):
        """It waits for a send that the peer does not take; what came meanwhile can be received."""
        peer, data, rest = self.stalled()
        self.client.send(self.client.make_disconnect(600, 1))
        peer.sendall(b"meanwhile")
        self.client.send(self.client.receive(601, 1, 100), self.client.receive(602, 1, 100), self.client.hangup(603, 1),
                         self.client.make_disconnect(604, 1))
        self.assertEqual(self.client.whole(601)[1], b"meanwhile")
        self.assertEqual(self.error(604), "ALREADY_IN_PROGRESS")
        self.pending(600)
        got = bytearray()
        for index, piece in enumerate(rest):
            got += self.read_all(peer, len(piece))
            self.client.send(self.client.make_send(500, 1, piece, more=index + 1 < len(rest)))
        got += self.read_all(peer)
        self.assertEqual(bytes(got), data)
        self.assertEqual([self.error(op) for op in (500, 602, 603, 600)],
                         ["SUCCESS", "OPERATION_ABORTED", "OPERATION_ABORTED", "SUCCESS"])
        self.exchange(self.connect_again(605))

    def test_s73_it_is_the_last_to_complete(self):
        self.pair(self.client)
        self.client.send(self.client.receive(10, 1, 1), self.client.receive(11, 1, 1), self.client.hangup(12, 1),
                         self.client.make_disconnect(13, 1))
        self.assertEqual(self.error(13), "SUCCESS")
        self.assertEqual(sorted(reply.op for reply, _ in self.client.kept if reply.op in (10, 11, 12)), [10, 11, 12])

    def test_s73_behind_it_nothing_is_sent(self):
        self.stalled()
        self.client.send(self.client.make_send(500, 1, b"", abandon=True))
        self.assertEqual(self.error(500), "OPERATION_ABORTED")
        self.close()
        peer = self.blackhole()
        self.client.send(self.client.open(1, 1), self.client.connect(2, 1, peer.getsockname()), self.client.make_send(3, 1, b"first"),
                         self.client.make_disconnect(4, 1), self.client.make_send(5, 1, b"second"), self.client.connect(6, 1, peer.getsockname()))
        self.assertEqual((self.error(5), self.error(6)), ("SHUTDOWN", "ALREADY_IN_PROGRESS"))
        self.pending(4)
        peer = self.accept_behind(peer)
        self.assertEqual(self.read_all(peer), b"first")
        self.assertEqual([self.error(op) for op in (2, 3, 4)], 3 * ["SUCCESS"])

    def test_s73_a_connect_that_fails(self):
        closed = self.listener()
        where = closed.getsockname()
        closed.close()
        self.client.send(self.client.open(1, 1), self.client.connect(2, 1, where), self.client.make_disconnect(3, 1))
        self.assertEqual((self.error(2), self.error(3)), ("CONNECTION_REFUSED", "OPERATION_ABORTED"))
        self.assertEqual(self.disconnect(4), "OPERATION_ABORTED")
        self.exchange(self.connect_again(5))
        self.client.send(self.client.open(6, 2))
        self.assertEqual((self.disconnect(7, 2), self.disconnect(8, 3)), ("NOT_CONNECTED", "NOT_SOCKET"))

    def test_s73_cancelled_or_late_it_changes_nothing(self):
        peer, data, rest = self.stalled()
        self.client.send(self.client.make_disconnect(600, 1), self.client.cancel(601, 1, 600),
                         self.client.make_disconnect(602, 1, timeout_ms=1))
        self.assertEqual((self.error(600), self.error(602)), ("OPERATION_ABORTED", "TIMED_OUT"))
        got = bytearray()
        for index, piece in enumerate(rest):
            got += self.read_all(peer, len(piece))
            self.client.send(self.client.make_send(500, 1, piece, more=index + 1 < len(rest)))
        got += self.read_all(peer, len(data) - len(got))
        self.assertEqual((bytes(got), self.error(500)), (data, "SUCCESS"))
        self.exchange(peer)

    def test_s73_a_close_ends_it(self):
        for linger in (0, 30000):
            with self.subTest(linger=linger):
                listener = self.blackhole()
                self.client.send(self.client.open(1, 1), self.client.connect(2, 1, listener.getsockname()),
                                 self.client.make_send(3, 1, b"data"), self.client.make_disconnect(4, 1),
                                 self.client.make_close(5, 1, linger_ms=linger))
                self.assertEqual(self.error(4), "OPERATION_ABORTED")
                if linger:
                    peer = self.accept_behind(listener)
                    self.assertEqual(self.read_all(peer), b"data")
                    peer.close()
                self.assertEqual(self.error(5), "SUCCESS")

    # ---- a stream that is not whole

    def reset(self, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    def test_s73_a_reset_connection(self):
        """That is what it says, and the socket connects again."""
        peer = self.pair(self.client)
        self.client.send(self.client.hangup(10, 1))
        self.client.settle()
        self.reset(peer)
        self.assertEqual((self.error(10), self.disconnect(11)), ("CONNECTION_RESET", "CONNECTION_RESET"))
        self.exchange(self.connect_again(12))

    def test_s73_the_peer_has_ended(self):
        peer = self.pair(self.client)
        peer.shutdown(socket.SHUT_WR)
        self.client.send(self.client.receive(10, 1, 10))
        self.assertTrue(self.client.completion(10).flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.assertEqual(self.disconnect(11), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"")

    def test_s73_both_have_ended(self):
        peer = self.pair(self.client)
        peer.shutdown(socket.SHUT_WR)
        self.client.send(self.client.hangup(10, 1), self.client.shutdown(11, 1, pb.HOW_BOTH))
        self.assertEqual((self.error(11), self.error(10)), ("SUCCESS", "SUCCESS"))
        self.assertEqual(self.disconnect(12), "SUCCESS")
        self.exchange(self.connect_again(13))

    def test_s73_a_stream_with_a_hole(self):
        """It gets no FIN."""
        peer, _, _ = self.stalled()
        self.client.send(self.client.make_disconnect(600, 1), self.client.make_send(500, 1, b"", abandon=True))
        self.assertEqual((self.error(500), self.error(600)), ("OPERATION_ABORTED", "OPERATION_ABORTED"))
        self.assertEqual(self.disconnect(601), "CONNECTION_RESET")
        self.reset_by(peer)
        self.exchange(self.connect_again(602))

    def test_s73_with_abort(self):
        """It does not wait. Pieces of a chain that still come are dropped, and their room is free again."""
        peer, _, rest = self.stalled()
        self.client.send(self.client.make_disconnect(600, 1, abort=True), self.client.make_send(500, 1, rest[0], more=True),
                         self.client.make_send(500, 1, b"", abandon=True))
        self.assertEqual((self.error(500), self.error(600)), ("OPERATION_ABORTED", "CONNECTION_RESET"))
        self.reset_by(peer)
        self.exchange(self.connect_again(601))
        self.client.settle()
        self.close()
        self.assertEqual(self.client.freed[1], 5 * (256 << 10) + 4)

    def test_s73_with_abort_behind_a_connect(self):
        listener = self.blackhole()
        self.client.send(self.client.open(1, 1), self.client.connect(2, 1, listener.getsockname()),
                         self.client.make_disconnect(3, 1, abort=True))
        self.pending(3)
        self.accept(listener)  # what has filled it; the other one may be gone before it can be asked who it is
        peer = self.accept(listener)
        self.assertEqual((self.error(2), self.error(3)), ("SUCCESS", "CONNECTION_RESET"))
        self.reset_by(peer)

    def test_s73_option_linger_0_resets(self):
        peer, _, _ = self.stalled()
        self.set_option(20, pb.OPTION_LINGER, 0)
        self.client.send(self.client.make_disconnect(600, 1), self.client.make_send(500, 1, b"", abandon=True))
        self.assertEqual((self.error(500), self.error(600)), ("OPERATION_ABORTED", "CONNECTION_RESET"))
        self.reset_by(peer)
        self.set_option(21, pb.OPTION_LINGER, -1)
        self.exchange(self.connect_again(601))

    def test_s73_a_linger_time_is_patience_for_the_connection_alone(self):
        """The disconnect completes at once; the connection stays until the peer has all."""
        peer = self.pair(self.client)
        self.set_option(20, pb.OPTION_LINGER, 30000)
        data = b"x" * (256 << 10)
        sent = 0
        for op in range(100, 104):
            self.client.send(self.client.make_send(op, 1, data))
            self.assertEqual(self.error(op), "SUCCESS")
            sent += len(data)
        self.assertEqual(self.disconnect(21), "SUCCESS")
        other = self.connect_again(22)
        self.exchange(other)
        self.assertEqual(self.read_all(peer), data * (sent // len(data)))
        peer.close()

    # ---- who looks

    def rows(self):
        return self.daemon.control.inspect(list=pb.List())

    def test_s73_another_socket_in_what_is_listed(self):
        """Each connection has its own number, bytes and end."""
        peer = self.pair(self.client)
        self.exchange(peer)
        before = self.rows()[0]
        self.assertEqual(self.disconnect(10), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"")
        peer.close()
        self.daemon.wait(lambda: self.daemon.stats()["draining"] == 0)
        self.connect_again(11)
        after = self.rows()
        self.assertEqual(len(after), 1)
        self.assertNotEqual(before["id"], after[0]["id"])
        self.assertEqual((before["bytes_out"], after[0]["bytes_out"]), (4, 0))
        self.assertEqual(self.daemon.stats()["sockets"], 1)

    def test_s73_killed_it_stays_dead(self):
        self.pair(self.client)
        number = self.rows()[0]["id"]
        self.daemon.control.inspect(kill=pb.Kill(id=number))
        self.assertEqual(self.disconnect(10), "CONNECTION_ABORTED")

    def test_s73_a_restriction_holds(self):
        """Policy judges each connect."""
        self.pair(self.client)
        self.client.send(request(pb.VERB_RESTRICT, 10, payload=b"[Rules]\nAllow=tcp 192.0.2.1 443\n", restriction=pb.Restrict()))
        self.assertEqual((self.error(10), self.disconnect(11)), ("SUCCESS", "SUCCESS"))
        self.client.send(self.client.connect(12, 1, self.listener().getsockname()))
        self.assertEqual(self.error(12), "ACCESS_DENIED")

    # ---- the ends of sessions

    def test_s73_the_session_ends_while_it_waits(self):
        listener = self.blackhole()
        self.client.send(self.client.open(1, 1), self.client.connect(2, 1, listener.getsockname()), self.client.make_disconnect(3, 1))
        self.client.settle()
        self.client.close()
        self.daemon.settle(self.before)


class Datagrams(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()

    def error(self, op):
        return pb.Error.Name(self.client.completion(op).error).removeprefix("ERROR_")

    def peer(self, family=socket.AF_INET):
        peer = self.hold(socket.socket(family, socket.SOCK_DGRAM))
        peer.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        peer.settimeout(30)
        return peer

    def to(self, peer):
        host, port = peer.getsockname()[:2]
        return pb.Endpoint(address=socket.inet_pton(peer.family, host), port=port)

    def test_s73_a_datagram_socket_loses_its_peer(self):
        """And can send to others, or have another one, of the other family too."""
        client, first, second, third = self.client, self.peer(), self.peer(), self.peer(socket.AF_INET6)
        client.send(client.open(1, 1, type=pb.SOCKET_TYPE_DATAGRAM), client.make_disconnect(2, 1), client.connect(3, 1, first.getsockname()),
                    client.make_send(4, 1, b"one"), client.receive(5, 1, 10))
        self.assertEqual([self.error(op) for op in (2, 3, 4)], ["NOT_CONNECTED", "SUCCESS", "SUCCESS"])
        data, before = first.recvfrom(10)
        client.send(client.make_disconnect(6, 1))
        self.assertEqual((data, self.error(5), self.error(6)), (b"one", "OPERATION_ABORTED", "SUCCESS"))
        client.send(client.make_send(7, 1, b"nobody"), client.make_send(8, 1, b"two", endpoint=self.to(second)))
        self.assertEqual((self.error(7), self.error(8)), ("NOT_CONNECTED", "SUCCESS"))
        data, after = second.recvfrom(10)
        self.assertEqual(data, b"two")
        second.sendto(b"answer", after)
        client.send(client.receive(9, 1, 10))
        self.assertEqual(client.whole(9)[1], b"answer")
        client.send(client.connect(10, 1, second.getsockname()), client.make_disconnect(11, 1), client.connect(12, 1, third.getsockname()),
                    client.make_send(13, 1, b"three"))
        self.assertEqual([self.error(op) for op in (10, 11, 12, 13)], 4 * ["SUCCESS"])
        self.assertEqual(third.recv(10), b"three")
