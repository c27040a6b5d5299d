# SPDX-License-Identifier: LGPL-2.1-or-later
"""Multicast and broadcast (S64, S65, S67), over loopback."""

import socket
import struct
import unittest

from test_datagrams import DEADLINE, WithPolicy, address, name
from wire import endpoint, pb, request

GROUP4, GROUP6 = "239.64.65.67", "ff05::6465:67"
LO = socket.if_nametoindex("lo")
TEXT = "this is a multicast or broadcast address, which needs a rule that names only such addresses"


class Groups(WithPolicy):

    def setUp(self):
        super().setUp()
        self.set("Allow=udp 239.64.0.0/16 *", "Allow=udp ff05::/16 *", "Listen=udp * *")

    def set(self, *rules, egress=""):
        self.write_rules(egress + "[Rules]\n" + "".join(rule + "\n" for rule in rules))
        self.reload()

    def set_option(self, option, value, number=1, **fields):
        op = self.next_op()
        self.client.send(request(pb.VERB_SET_OPTION, op, number, set_option=pb.SetOption(
            option=option, value=pb.OptionValue(number=value, **fields))))
        reply, text = self.client.whole(op)
        return text.decode() or name(reply)

    def get_option(self, option, number=1):
        op = self.next_op()
        self.client.send(request(pb.VERB_GET_OPTION, op, number, get_option=pb.GetOption(option=option)))
        reply, _ = self.client.whole(op)
        return name(reply) if reply.error else reply.value.number

    def join(self, group, number=1, interface=LO, option=pb.OPTION_JOIN_GROUP):
        return self.set_option(option, interface, number, endpoint=endpoint((group, 0)))

    def leave(self, group, number=1, interface=LO):
        return self.join(group, number, interface, pb.OPTION_LEAVE_GROUP)

    def bound(self, host="0.0.0.0", number=1, family=pb.FAMILY_INET):
        self.open(number, family=family)
        op = self.next_op()
        self.client.send(self.client.bind(op, number, (host, 0)))
        reply, text = self.client.whole(op)
        self.assertEqual(name(reply), "SUCCESS", text)
        return reply.connected.local.port

    def member(self):
        """A peer in the group."""
        peer = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind(("0.0.0.0", 0))
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                        struct.pack("4s4si", socket.inet_aton(GROUP4), b"\0" * 4, LO))
        return peer, peer.getsockname()[1]

    def speaker(self, kind=socket.AF_INET):
        """A peer that sends to groups by loopback."""
        peer = self.hold(socket.socket(kind, socket.SOCK_DGRAM))
        if kind == socket.AF_INET:
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", b"\0" * 4, b"\0" * 4, LO))
        else:
            peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, LO)
        peer.bind(("127.0.0.1" if kind == socket.AF_INET else "::1", 0))
        return peer

    def test_s64_a_group_needs_a_rule_of_its_own(self):
        self.set("Allow=udp * * +loopback +private +linklocal +local +special", "Allow=udp 0.0.0.0 *")
        self.open()
        for host in (GROUP4, "224.0.0.1", "255.255.255.255"):
            reply, text = self.send(b"x", (host, 9))
            self.assertEqual((name(reply), text.decode().split(":")[0]), ("ACCESS_DENIED", TEXT), host)
        self.assertEqual(name(self.send(b"x", ("0.0.0.0", 9))[0]), "ACCESS_DENIED")
        self.set("Allow=tcp 239.64.0.0/16 *")
        self.assertEqual(name(self.send(b"x", (GROUP4, 9))[0]), "ACCESS_DENIED")

    def test_s64_sends_to_a_group(self):
        peer, port = self.member()
        self.open()
        self.assertEqual(self.set_option(pb.OPTION_MULTICAST_INTERFACE, LO), "SUCCESS")
        self.assertEqual(name(self.send(b"all", (GROUP4, port))[0]), "SUCCESS")
        self.assertEqual(peer.recv(10), b"all")
        self.assertEqual(name(self.send(b"x", ("224.0.0.1", port))[0]), "ACCESS_DENIED")

    def test_s65_hears_the_groups_that_it_has_joined(self):
        port, peer = self.bound(), self.speaker()
        # Others on this host have joined it: what comes for them is not for this socket.
        other = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        other.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                         struct.pack("4s4si", socket.inet_aton("239.64.1.1"), b"\0" * 4, LO))
        self.assertEqual(self.join(GROUP4), "SUCCESS")
        self.assertEqual(self.join(GROUP4), "ADDRESS_ALREADY_IN_USE")
        peer.sendto(b"for others", ("239.64.1.1", port))
        peer.sendto(b"for all", (GROUP4, port))
        reply, data = self.receive()
        self.assertEqual(data, b"for all")
        self.assertEqual((address(reply.datagram.local), reply.datagram.interface), ((GROUP4, port), LO))
        self.assertEqual(self.leave(GROUP4), "SUCCESS")
        self.assertEqual(self.leave(GROUP4), "ADDRESS_NOT_AVAILABLE")
        peer.sendto(b"gone", (GROUP4, port))
        peer.sendto(b"alone", ("127.0.0.1", port))
        self.assertEqual(self.receive()[1], b"alone")

    def test_s65_groups_of_ipv6(self):
        """Loopback has no route for them: that they are joined is seen in the kernel's table."""
        def is_member():
            with open("/proc/net/igmp6", encoding="ascii") as file:
                return any(line.split()[1:3] == ["lo", socket.inet_pton(socket.AF_INET6, GROUP6).hex()] for line in file)
        self.bound("::", 1, pb.FAMILY_INET6)
        self.assertEqual(self.join(GROUP6), "SUCCESS")
        self.assertTrue(is_member())
        self.assertEqual(self.leave(GROUP6), "SUCCESS")
        self.own.wait(lambda: not is_member())

    def test_s65_the_sender_to_a_group_is_judged(self):
        self.set("Allow=udp 239.64.0.0/16 *", "Listen=udp 0.0.0.0 * from 127.0.0.2")
        port, peer = self.bound(), self.speaker()
        self.assertEqual(self.join(GROUP4), "SUCCESS")
        friend = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        friend.bind(("127.0.0.2", 0))
        peer.sendto(b"stranger", (GROUP4, port))
        friend.sendto(b"friend", ("127.0.0.1", port))
        reply, data = self.receive()
        self.assertEqual((data, reply.datagram.refused), (b"friend", 1))

    def test_s67_who_may_not_join(self):
        self.open(2)
        self.assertEqual(self.join(GROUP4, 2), "only a bound socket can be in a multicast group")
        self.bound()
        for group, error in (("224.0.0.251", "no rule for this destination"), ("127.0.0.1", "INVALID_ARGUMENT"),
                             (GROUP6, "ADDRESS_FAMILY_NOT_SUPPORTED")):
            self.assertTrue(self.join(group).startswith(error[:7]), (group, self.join(group)))
        self.assertEqual(self.join(GROUP4, interface=-1), "INVALID_ARGUMENT")
        self.assertEqual(self.set_option(pb.OPTION_JOIN_GROUP, LO, endpoint=endpoint((GROUP4, 1))), "INVALID_ARGUMENT")
        op = self.next_op()
        self.client.send(self.client.open(op, 3))
        self.assertEqual(self.join(GROUP4, 3), "PROTOCOL_OPTION")
        for i in range(16):
            self.assertEqual(self.join(f"239.64.0.{i}"), "SUCCESS")
        self.assertEqual(self.join("239.64.0.16"), "NO_BUFFER_SPACE")

    def test_s67_a_reload_takes_it_out_of_a_group(self):
        port, peer = self.bound(), self.speaker()
        self.assertEqual(self.join(GROUP4), "SUCCESS")
        self.set("Listen=udp * *")
        peer.sendto(b"gone", (GROUP4, port))
        peer.sendto(b"alone", ("127.0.0.1", port))
        self.assertEqual(self.receive()[1], b"alone")
        self.assertEqual(self.leave(GROUP4), "ADDRESS_NOT_AVAILABLE")

    def test_s67_options_of_groups(self):
        self.open()
        for option, default, good, bad in ((pb.OPTION_MULTICAST_HOPS, 1, 255, 256), (pb.OPTION_MULTICAST_LOOP, 1, 0, 2),
                                           (pb.OPTION_MULTICAST_INTERFACE, 0, LO, -1)):
            self.assertEqual(self.get_option(option), default)
            self.assertEqual(self.set_option(option, bad), "INVALID_ARGUMENT")
            self.assertEqual(self.set_option(option, good), "SUCCESS")
            self.assertEqual(self.get_option(option), good)

    def test_s67_broadcast_is_policys_to_allow(self):
        self.set("Allow=udp 127.255.255.255 * +local")
        self.open()
        self.assertIn("[Egress] Options=", self.set_option(pb.OPTION_BROADCAST, 1))
        self.assertEqual(name(self.send(b"x", ("127.255.255.255", 9))[0]), "ACCESS_DENIED")
        self.set("Allow=udp 127.255.255.255 * +local", egress="[Egress]\nOptions=Broadcast\n")
        self.assertEqual(self.set_option(pb.OPTION_BROADCAST, 1), "SUCCESS")
        self.assertEqual(name(self.send(b"x", ("127.255.255.255", self.friend.getsockname()[1]))[0]), "SUCCESS")


if __name__ == "__main__":
    unittest.main()
