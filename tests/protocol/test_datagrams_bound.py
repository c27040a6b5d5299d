# SPDX-License-Identifier: LGPL-2.1-or-later
"""Datagram sockets with a local address of the client's (S61, S65)."""

import socket
import unittest

from asockd import Daemon
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

    def reserve(self, *reserved):
        """Ports that are somebody else's; this client may listen everywhere."""
        self.set("[Rules]\nListen=udp * *\nListen=tcp * *\n")
        with open(self.file + ".others.policy", "w", encoding="utf-8") as file:
            file.write("[Match]\nUser=4294967290\n[Rules]\n" + "".join(f"Reserve={line}\n" for line in reserved))
        self.client.close()
        self.own.stop()
        self.own = Daemon("--policy", self.file, "--policy", self.file + ".others.policy")
        self.addCleanup(self.own.stop)
        self.client = self.hold(Wire(self.own.path))
        self.client.hello()

    @staticmethod
    def free_port():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def outcomes(self, *cases):
        """Of each a socket of its own, which is bound to the address."""
        found = []
        for number, (host, port, family) in enumerate(cases, 1):
            self.open(number, family=family)
            reply, text = self.bind((host, port), number)
            found.append(text.decode() or name(reply))
            op = self.next_op()
            self.client.send(self.client.make_close(op, number))
            self.client.completion(op)
        return found

    def test_s61_a_reserved_udp_port_is_its_clients_alone(self):
        text = "this port is reserved for another client"
        tcp = socket.socket()  # keeps the port from everyone else, but not from a bind with SO_REUSEADDR
        self.addCleanup(tcp.close)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        self.reserve(f"udp 127.0.0.1 {port}")
        self.assertEqual(self.outcomes(("127.0.0.1", port, 0), ("0.0.0.0", port, 0), ("::", port, 0),
                                       ("::", port, pb.FAMILY_INET6), ("127.0.0.2", port, 0)),
                         [text, text, text, "SUCCESS", "SUCCESS"])
        op = self.next_op()
        self.client.send(self.client.open(op, 9))
        self.client.completion(op)
        self.assertEqual(name(self.bind(("127.0.0.1", port), 9)[0]), "SUCCESS")  # of TCP it is not

    def test_s61_a_port_that_is_reserved_for_tcp_is_free_for_udp(self):
        port = self.free_port()
        self.reserve(f"tcp * {port}")
        self.assertEqual(self.outcomes(("127.0.0.1", port, 0)), ["SUCCESS"])

    def test_s61_the_kernels_choice_keeps_clear_of_reserved_udp_ports(self):
        self.reserve("udp 127.0.0.1 *")
        self.assertEqual(self.outcomes(("127.0.0.1", 0, 0), ("127.0.0.2", 0, 0)), ["ADDRESS_ALREADY_IN_USE", "SUCCESS"])

    def set_dual(self, number, value):
        op = self.next_op()
        self.client.send(request(pb.VERB_SET_OPTION, op, number, set_option=pb.SetOption(
            option=pb.OPTION_DUAL_MODE, value=pb.OptionValue(number=value))))
        return name(self.client.whole(op)[0])

    def test_s61_dual_mode_of_datagrams(self):
        """Policy has to allow both families; each peer is judged by the rule of its own."""
        self.set("[Rules]\nListen=udp :: *\n")
        self.open(1)
        self.assertEqual(name(self.bind(("::", 0))[0]), "ACCESS_DENIED")
        self.assertEqual(self.set_dual(1, 0), "SUCCESS")
        reply, _ = self.bind(("::", 0))
        self.assertEqual(name(reply), "SUCCESS")
        self.peer.sendto(b"not heard", ("127.0.0.1", reply.connected.local.port))
        six = self.hold(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        six.sendto(b"six", ("::1", reply.connected.local.port))
        self.assertEqual(self.receive()[1], b"six")
        self.assertEqual(self.set_dual(1, 1), "INVALID_ARGUMENT")

    def test_s65_each_family_of_a_dual_socket_has_its_peers(self):
        self.set("[Rules]\nListen=udp :: * from ::1\nListen=udp 0.0.0.0 * from 127.0.0.2\n")
        self.open(1, family=pb.FAMILY_INET6)
        self.assertEqual(self.set_dual(1, 1), "SUCCESS")
        reply, _ = self.bind(("::", 0))
        self.assertEqual(name(reply), "SUCCESS")
        port = reply.connected.local.port
        self.peer.sendto(b"stranger", ("127.0.0.1", port))
        self.other.sendto(b"question", ("127.0.0.1", port))
        reply, data = self.receive()
        self.assertEqual((data, reply.datagram.refused), (b"question", 1))
        mapped = b"\0" * 10 + b"\xff\xff" + socket.inet_aton("127.0.0.2")
        self.assertEqual(reply.datagram.remote.address, mapped)
        self.assertEqual(name(self.send(b"answer", endpoint=reply.datagram.remote, source=pb.Endpoint(
            address=reply.datagram.local.address))[0]), "SUCCESS")
        self.assertEqual(self.other.recvfrom(10), (b"answer", ("127.0.0.1", port)))
        stranger = pb.Endpoint(address=mapped[:12] + socket.inet_aton("127.0.0.1"), port=self.peer.getsockname()[1])
        self.assertEqual(name(self.send(b"x", endpoint=stranger)[0]), "ACCESS_DENIED")

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
