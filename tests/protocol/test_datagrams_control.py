# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a datagram is sent with beside its bytes (S64): ECN, source address."""

import socket
import unittest

from test_datagrams import Datagrams, WithPolicy, address, name
from wire import endpoint, pb, request

CLASS_OPTIONS = {socket.AF_INET: (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS),
                 socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)}


def source(host):
    return endpoint((host, 0))


def class_of(peer, kind):
    """Receives a datagram: its traffic class."""
    _, control, _, _ = peer.recvmsg(100, 100)
    for level, what, data in control:
        if (level, what) == (CLASS_OPTIONS[kind][0], CLASS_OPTIONS[kind][2]):
            return data[0]
    raise AssertionError("no traffic class came")


class Ecn(Datagrams):

    def test_s64_ecn_of_one_datagram(self):
        for number, kind in enumerate(CLASS_OPTIONS, 1):
            with self.subTest(kind=kind):
                peer = self.peer(kind)
                peer.setsockopt(CLASS_OPTIONS[kind][0], CLASS_OPTIONS[kind][1], 1)
                self.open(number)
                for ecn in (0, 1, 2, 3, 0):
                    self.assertEqual(name(self.send(b"x", peer.getsockname()[:2], number, ecn=ecn)[0]), "SUCCESS")
                    self.assertEqual(class_of(peer, kind), ecn)

    def test_s64_ecn_leaves_the_rest_of_the_traffic_class(self):
        peer = self.peer()
        peer.setsockopt(*CLASS_OPTIONS[socket.AF_INET][:2], 1)
        self.open()
        op = self.next_op()
        self.client.send(request(pb.VERB_SET_OPTION, op, 1, set_option=pb.SetOption(
            option=pb.OPTION_TRAFFIC_CLASS, value=pb.OptionValue(number=0xb9))))
        self.assertEqual(name(self.client.completion(op)), "SUCCESS")
        for ecn, seen in ((0, 0xb9), (2, 0xba), (0, 0xb9)):
            self.send(b"x", peer.getsockname(), ecn=ecn)
            self.assertEqual(class_of(peer, socket.AF_INET), seen)

    def test_s64_ecn_of_ipv4_by_an_ipv6_socket(self):
        peer = self.peer()
        peer.setsockopt(*CLASS_OPTIONS[socket.AF_INET][:2], 1)
        self.open(family=pb.FAMILY_INET6)
        to = pb.Endpoint(address=b"\0" * 10 + b"\xff\xff" + socket.inet_aton("127.0.0.1"), port=peer.getsockname()[1])
        self.assertEqual(name(self.send(b"x", endpoint=to, ecn=1)[0]), "SUCCESS")
        self.assertEqual(class_of(peer, socket.AF_INET), 1)

    def test_s64_more_than_two_bits(self):
        self.open()
        here = self.peer().getsockname()
        for fields in ({"ecn": 4}, {"ecn": 0xffffffff}, {"source": endpoint(("127.0.0.1", 1))},
                       {"source": source("0.0.0.0")}, {"source": pb.Endpoint(address=b"abc")}):
            self.assertEqual(name(self.send(b"x", here, **fields)[0]), "INVALID_ARGUMENT", fields)

    def test_s64_the_welcome_says_what_a_send_may_have(self):
        welcome = self.client.hello()
        for field in ("ecn", "source"):
            number = pb.Send.DESCRIPTOR.fields_by_name[field].number
            self.assertTrue(welcome.send_fields & 1 << number, field)


class Source(WithPolicy):

    def setUp(self):
        super().setUp()
        self.set("Listen=udp * *\nAllow=udp 127.0.0.0/8 * +loopback\nAllow=udp ::1 * +loopback\n")

    def set(self, rules, egress=""):
        self.write_rules(egress + "[Rules]\n" + rules)
        self.reload()

    def bind(self, number, to):
        self.open(number)
        op = self.next_op()
        self.client.send(self.client.bind(op, number, to))
        reply, _ = self.client.whole(op)
        self.assertEqual(name(reply), "SUCCESS")
        return reply.connected.local.port

    def try_send(self, number, host, to=None):
        reply, text = self.send(b"x", to or self.friend.getsockname(), number, source=source(host))
        return name(reply), text.decode()

    def test_s64_a_socket_bound_to_all_addresses_has_any_of_them(self):
        port = self.bind(1, ("0.0.0.0", 0))
        for host in ("127.0.0.1", "127.0.0.7", "127.3.2.1"):
            self.assertEqual(self.try_send(1, host), ("SUCCESS", ""))
            self.assertEqual(self.friend.recvfrom(10), (b"x", (host, port)))
        # Linux does not say of IPv4 which of both addresses is wrong.
        self.assertEqual(self.try_send(1, "192.0.2.77")[0], "NETWORK_UNREACHABLE")
        self.assertEqual(self.try_send(1, "::1")[0], "ADDRESS_FAMILY_NOT_SUPPORTED")
        self.assertEqual(self.try_send(1, "127.0.0.1"), ("SUCCESS", ""))

    def test_s64_ipv6_too(self):
        peer = self.peer(socket.AF_INET6)
        self.bind(1, ("::", 0))
        self.assertEqual(self.try_send(1, "::1", peer.getsockname()[:2]), ("SUCCESS", ""))
        self.assertEqual(peer.recvfrom(10)[1][0], "::1")
        self.assertEqual(self.try_send(1, "2001:db8::1", peer.getsockname()[:2])[0], "ADDRESS_NOT_AVAILABLE")

    def test_s64_an_answer_comes_from_where_the_question_went(self):
        """What a receive tells as local is what a send takes as source."""
        self.set("Listen=udp * *\n")
        port = self.bind(1, ("0.0.0.0", 0))
        for host in ("127.0.0.3", "127.0.0.4"):
            self.stranger.sendto(b"question", (host, port))
            reply, _ = self.receive()
            local = pb.Endpoint(address=reply.datagram.local.address)
            self.send(b"answer", endpoint=reply.datagram.remote, source=local)
            self.assertEqual(self.stranger.recvfrom(10), (b"answer", (host, port)))

    def test_s64_a_bound_socket_keeps_its_address(self):
        self.bind(1, ("127.0.0.5", 0))
        self.assertEqual(self.try_send(1, "127.0.0.5"), ("SUCCESS", ""))
        self.assertEqual(self.try_send(1, "127.0.0.1"),
                         ("ACCESS_DENIED", "the socket is bound to another address"))
        self.assertEqual(self.friend.recvfrom(10)[1][0], "127.0.0.5")

    def test_s64_who_is_not_bound_has_no_choice(self):
        text = "only a bound socket may choose its source address"
        self.open(1)
        self.assertEqual(self.try_send(1, "127.0.0.1"), ("ACCESS_DENIED", text))
        self.assertEqual(name(self.send(b"x", self.friend.getsockname())[0]), "SUCCESS")
        self.assertEqual(self.try_send(1, "127.0.0.2"), ("ACCESS_DENIED", text))
        self.open(2)
        own = address(self.connect(self.friend, 2).local)
        for host, error in ((own[0], "SUCCESS"), ("127.0.0.2", "ACCESS_DENIED")):
            self.assertEqual(name(self.send(b"x", number=2, source=source(host))[0]), error)

    def test_s64_policys_source_is_kept(self):
        egress = "[Egress]\nSource=127.0.0.9\n"
        self.set("Listen=udp * * from 127.0.0.0/8\nAllow=udp 127.0.0.1 %d +loopback\n" % self.friend.getsockname()[1],
                 egress)
        self.open(1)
        self.assertEqual(self.try_send(1, "127.0.0.9"), ("SUCCESS", ""))
        self.assertEqual(self.friend.recvfrom(10)[1][0], "127.0.0.9")
        self.assertEqual(self.try_send(1, "127.0.0.1")[0], "ACCESS_DENIED")
        port = self.bind(2, ("0.0.0.0", 0))
        self.assertEqual(self.try_send(2, "127.0.0.9")[0], "ACCESS_DENIED")  # unasked, and bound elsewhere
        self.stranger.sendto(b"question", ("127.0.0.4", port))
        self.receive(number=2)
        self.assertEqual(self.try_send(2, "127.0.0.4", self.stranger.getsockname()), ("SUCCESS", ""))
        self.assertEqual(self.stranger.recvfrom(10), (b"x", ("127.0.0.4", port)))


if __name__ == "__main__":
    unittest.main()
