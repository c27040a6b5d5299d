# SPDX-License-Identifier: LGPL-2.1-or-later
"""Datagram sockets with a local address of the client's (S61, S65)."""

import socket
import unittest

from test_datagrams import DEADLINE, WithPolicy, address, name
from wire import Wire, pb, request


class Bound(WithPolicy):
    """Peers at 127.0.0.1 may send to us, those at 127.0.0.2 may not; we may send first to none."""

    def setUp(self):
        super().setUp()
        self.rules = "[Rules]\nListen=udp 127.0.0.1 * from 127.0.0.1\nListen=tcp 127.0.0.1 *\n"
        self.set(self.rules)
        self.peer, self.other = self.at("127.0.0.1"), self.at("127.0.0.2")

    def set(self, rules):
        self.write_rules(rules)
        self.reload()

    def at(self, host):
        peer = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind((host, 0))
        return peer

    def bind(self, to=("127.0.0.1", 0), number=1, client=None):
        op, client = self.next_op(), client or self.client
        client.send(client.bind(op, number, to))
        return client.whole(op)

    def start(self, number=1):
        self.open(number)
        reply, text = self.bind(number=number)
        self.assertEqual((name(reply), text), ("SUCCESS", b""))
        own = address(reply.connected.local)
        self.assertGreater(own[1], 0)
        return own

    def test_s65_it_hears_and_answers_whom_the_rule_lets_come(self):
        own = self.start()
        reply, _ = self.send(b"unasked", self.peer.getsockname())
        self.assertEqual(name(reply), "ACCESS_DENIED")
        self.other.sendto(b"stranger", own)
        self.peer.sendto(b"question", own)
        reply, data = self.receive()
        self.assertEqual((data, reply.datagram.refused), (b"question", 1))
        self.assertEqual((address(reply.datagram.remote), address(reply.datagram.local)), (self.peer.getsockname(), own))
        for text in (b"one", b"two"):
            self.assertEqual(name(self.send(text, self.peer.getsockname())[0]), "SUCCESS")
            self.assertEqual(self.peer.recvfrom(10), (text, own))
        for to in (self.other.getsockname(), ("127.0.0.1", self.other.getsockname()[1])):
            self.assertEqual(name(self.send(b"x", to)[0]), "ACCESS_DENIED")
        self.assertEqual(name(self.send(b"x")[0]), "NOT_CONNECTED")

    def test_s65_what_it_sends_unasked_has_policys_source(self):
        self.set("[Egress]\nSource=127.0.0.1\n[Rules]\nListen=udp * *\nAllow=udp 127.0.0.1 * +loopback\n")
        for number, (host, error) in enumerate((("127.0.0.1", "SUCCESS"), ("127.0.0.2", "ACCESS_DENIED"),
                                                ("0.0.0.0", "ACCESS_DENIED")), 1):
            self.open(number)
            reply, _ = self.bind((host, 0), number)
            self.assertEqual(name(reply), "SUCCESS")
            self.assertEqual(name(self.send(b"unasked", self.peer.getsockname(), number=number)[0]), error, host)
            self.other.sendto(b"question", ("127.0.0.1" if number == 3 else host, address(reply.connected.local)[1]))
            self.receive(number=number)
            self.assertEqual(name(self.send(b"answer", self.other.getsockname(), number=number)[0]), "SUCCESS", host)

    def test_s65_many_peers_are_remembered(self):
        own = self.start()
        peers = [self.at("127.0.0.1") for _ in range(100)]
        for peer in peers:
            peer.sendto(b"question", own)
            self.receive()
        answered = [name(self.send(b"answer", peer.getsockname())[0]) == "SUCCESS" for peer in peers]
        self.assertGreater(sum(answered), 90)
        self.assertTrue(all(answered[-8:]))

    def test_s61_tcp_and_udp_are_two(self):
        """A rule for one is none for the other, and so is a port that is in use."""
        self.set("[Rules]\nListen=udp 127.0.61.1 *\nListen=tcp 127.0.61.1 *\n")  # no other client has a port there
        self.open(1)
        reply, _ = self.bind(("127.0.61.1", 0))
        self.assertEqual(name(reply), "SUCCESS")
        op = self.next_op()
        self.client.send(self.client.open(op, 2))
        self.assertEqual(name(self.bind(address(reply.connected.local), 2)[0]), "SUCCESS")
        self.set("[Rules]\nListen=tcp 127.0.0.1 *\n")
        self.open(3)
        self.assertEqual(name(self.bind(number=3)[0]), "ACCESS_DENIED")

    def test_s61_a_port_is_one_clients(self):
        own = self.start()
        other = self.hold(Wire(self.own.path))
        other.hello()
        other.send(other.open(1, 1, type=pb.SOCKET_TYPE_DATAGRAM))
        self.assertEqual(name(self.bind(own, client=other)[0]), "ADDRESS_ALREADY_IN_USE")
        reply, _ = self.bind(client=other)
        self.assertEqual(name(reply), "SUCCESS")

    def test_s61_misuse(self):
        own = self.start()
        self.assertEqual(name(self.bind()[0]), "INVALID_ARGUMENT")
        op = self.next_op()
        self.client.send(self.client.connect(op, 1, self.peer.getsockname()))
        self.assertEqual(name(self.client.completion(op)), "OPERATION_NOT_SUPPORTED")
        op = self.next_op()
        self.client.send(self.client.listen(op, 1))
        self.assertEqual(name(self.client.completion(op)), "OPERATION_NOT_SUPPORTED")
        self.set(self.rules + "Allow=udp 127.0.0.1 * +loopback\n")
        self.open(2)
        self.assertEqual(name(self.send(b"x", self.peer.getsockname(), 2)[0]), "SUCCESS")
        self.assertEqual(name(self.bind(number=2)[0]), "INVALID_ARGUMENT")
        self.peer.recv(10)
        self.peer.sendto(b"still", own)
        self.assertEqual(self.receive()[1], b"still")

    def test_s61_what_policy_takes_back_is_unbound(self):
        own = self.start()
        waiting = [self.submit_receive() for _ in range(2)]
        self.set("[Rules]\nAllow=udp 127.0.0.1 * +loopback\n")
        for op in waiting:
            self.assertEqual(name(self.client.completion(op)), "ACCESS_DENIED")
        self.assertEqual(name(self.receive()[0]), "OPERATION_ABORTED")
        self.assertEqual(name(self.send(b"x", self.peer.getsockname())[0]), "OPERATION_ABORTED")
        again = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        again.bind(own)
        connected = self.connect(self.peer)
        self.assertEqual(name(self.send(b"y")[0]), "SUCCESS")
        self.assertEqual(self.peer.recvfrom(10), (b"y", address(connected.local)))

    def test_s67_list_tells_of_it_and_nothing_is_left(self):
        own = self.start()
        row = self.client.inspect(list=pb.List())[0]
        self.assertEqual((row["protocol"], row["state"], row["local"]), ("udp", "bound", "%s:%d" % own))
        self.submit_receive()
        self.client.close()
        self.own.settle()


if __name__ == "__main__":
    unittest.main()
