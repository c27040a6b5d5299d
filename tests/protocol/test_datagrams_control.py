# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a datagram is sent with beside its bytes (S64): ECN, source address, segments; and what is received together (S65)."""

import os
import socket
import struct
import unittest

from test_datagrams import Datagrams, WithPolicy, address, name
from wire import endpoint, pb, request, segment

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
        for field in ("ecn", "source", "segment_size"):
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


UDP_SEGMENT, UDP_GRO = 103, 104


class Segments(Datagrams):
    """Several datagrams in one SEND, and in one RECEIVE."""

    def set_option(self, option, value, number=1):
        op = self.next_op()
        self.client.send(request(pb.VERB_SET_OPTION, op, number, set_option=pb.SetOption(
            option=option, value=pb.OptionValue(number=value))))
        return name(self.client.whole(op)[0])

    def get_option(self, option, number=1):
        op = self.next_op()
        self.client.send(request(pb.VERB_GET_OPTION, op, number, get_option=pb.GetOption(option=option)))
        reply, _ = self.client.whole(op)
        return name(reply) if reply.error else reply.value.number

    def roomy(self, kind=socket.AF_INET):
        peer = self.peer(kind)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        return peer

    def test_s64_one_send_of_many_datagrams(self):
        for number, kind in enumerate(CLASS_OPTIONS, 1):
            peer = self.roomy(kind)
            self.open(number)
            for total, size in ((64 * 1000, 1000), (5000, 1200), (1200, 1200), (100, 1200), (64, 1), (65000, 32767)):
                with self.subTest(kind=kind, total=total, size=size):
                    data = os.urandom(total)
                    reply, _ = self.send(data, peer.getsockname()[:2], number, segment_size=size)
                    self.assertEqual((name(reply), reply.bytes), ("SUCCESS", total))
                    for at in range(0, total, size):
                        self.assertEqual(peer.recv(65536), data[at:at + size])

    def test_s64_segments_by_reference_with_ecn_and_to_a_peer(self):
        peer = self.roomy()
        peer.setsockopt(*CLASS_OPTIONS[socket.AF_INET][:2], 1)
        self.open()
        self.connect(peer)
        buffer, memory = self.client.register(65536)
        memory[:3000] = data = os.urandom(3000)
        pieces = [segment(buffer, 0, 1999), segment(buffer, 1999, 1001)]
        reply, _ = self.send(b"", segments=pieces, segment_size=700, ecn=2)
        self.assertEqual((name(reply), reply.bytes), ("SUCCESS", 3000))
        for at in range(0, 3000, 700):
            got, control, _, _ = peer.recvmsg(65536, 100)
            self.assertEqual((got, control[0][2][0]), (data[at:at + 700], 2))

    def test_s64_too_many_and_too_long(self):
        peer = self.roomy()
        self.open()
        here = peer.getsockname()
        cases = ((65 * 10, 10, "MESSAGE_SIZE"), (65, 1, "MESSAGE_SIZE"), (65536, 1200, "MESSAGE_SIZE"),
                 (65535, 1200, "MESSAGE_SIZE"), (10, 65536, "INVALID_ARGUMENT"), (10, 1 << 31, "INVALID_ARGUMENT"))
        for total, size, error in cases:
            with self.subTest(total=total, size=size):
                reply, _ = self.send(bytes(total), here, segment_size=size)
                self.assertEqual((name(reply), reply.bytes), (error, 0))
        self.assertEqual(name(self.send(b"", here, segment_size=1200)[0]), "SUCCESS")
        self.assertEqual(peer.recv(10), b"")

    def test_s64_segments_are_judged_and_charged_as_one_send(self):
        self.open()
        self.assertEqual(name(self.send(bytes(5000), ("224.0.0.1", 9), segment_size=1200)[0]), "ACCESS_DENIED")
        peer = self.roomy()
        for _ in range(3):
            self.send(bytes(5000), peer.getsockname(), segment_size=1200)
        self.client.settle()
        self.assertEqual(self.client.freed[1], 4 * 5000)

    def start(self, number=1, kind=socket.AF_INET):
        peer = self.peer(kind)
        self.open(number)
        self.assertEqual(self.set_option(pb.OPTION_COALESCE, 1, number), "SUCCESS")
        self.assertEqual(name(self.send(b"hello", peer.getsockname()[:2], number)[0]), "SUCCESS")
        own = peer.recvfrom(100)[1]
        return peer, own

    @staticmethod
    def send_many(peer, data, size, to):
        peer.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", size))], 0, to)

    def test_s65_coalesced_datagrams_come_together(self):
        for number, kind in enumerate(CLASS_OPTIONS, 1):
            with self.subTest(kind=kind):
                peer, own = self.start(number, kind)
                data = os.urandom(30 * 1200 + 17)
                self.send_many(peer, data, 1200, own)
                peer.sendto(b"alone", own)
                reply, got = self.receive(number=number)
                self.assertEqual((name(reply), got, reply.datagram.segment_size, reply.datagram.length),
                                 ("SUCCESS", data, 1200, len(data)))
                self.assertEqual(address(reply.datagram.remote), peer.getsockname()[:2])
                reply, got = self.receive(number=number)
                self.assertEqual((got, reply.datagram.segment_size), (b"alone", 0))

    def test_s65_who_did_not_ask_gets_each_alone(self):
        peer = self.peer()
        self.open()
        self.send(b"hello", peer.getsockname())
        data = os.urandom(5000)
        self.send_many(peer, data, 1200, peer.recvfrom(100)[1])
        for at in range(0, 5000, 1200):
            reply, got = self.receive()
            self.assertEqual((got, reply.datagram.segment_size), (data[at:at + 1200], 0))

    def test_s65_coalesced_in_slices_and_cut(self):
        peer, own = self.start()
        buffer, memory = self.client.register(65536)
        shot = self.next_op()
        self.client.send(self.client.receive(shot, 1, 0, pb.RECEIVE_FLAG_MULTISHOT, segments=[
            segment(buffer, 0, 8000), segment(buffer, 8000, 2000), segment(buffer, 10000, 2000)]))
        data = os.urandom(6000)
        for _ in range(2):
            self.send_many(peer, data, 1200, own)
        for start, room in ((0, 8000), (8000, 2000)):
            reply, _ = self.client.take(lambda r: r.op == shot)
            length = min(room, 6000)
            self.assertEqual((reply.bytes, reply.datagram.length, reply.datagram.segment_size), (length, 6000, 1200))
            self.assertEqual(bool(reply.flags & pb.REPLY_FLAG_TRUNCATED), room < 6000)
            self.assertEqual(bytes(memory[start:start + length]), data[:length])

    def test_s67_coalesce_is_an_option_of_datagrams(self):
        self.open()
        self.assertEqual(self.get_option(pb.OPTION_COALESCE), 0)
        self.assertEqual(self.set_option(pb.OPTION_COALESCE, 2), "INVALID_ARGUMENT")
        for value in (1, 0, 1):
            self.assertEqual(self.set_option(pb.OPTION_COALESCE, value), "SUCCESS")
            self.assertEqual(self.get_option(pb.OPTION_COALESCE), value)
        self.send(b"x", self.peer().getsockname())
        self.assertEqual(self.get_option(pb.OPTION_COALESCE), 1)
        self.assertEqual(self.set_option(pb.OPTION_COALESCE, 0), "INVALID_ARGUMENT")
        op = self.next_op()
        self.client.send(self.client.open(op, 2))
        self.assertEqual(self.set_option(pb.OPTION_COALESCE, 1, 2), "PROTOCOL_OPTION")
        self.assertEqual(self.get_option(pb.OPTION_COALESCE, 2), "PROTOCOL_OPTION")


if __name__ == "__main__":
    unittest.main()
