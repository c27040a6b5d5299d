# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over, and a restart by the service manager, with datagram sockets: ports, peers, groups, what waits in both directions."""

import os
import shutil
import socket
import tempfile
import unittest

import asockctl
from asockd import DEADLINE
from managed import Managed
from nameserver import A, AAAA, Name, NameServer
from taking_over import TakeOverTest
from talking import stream
from wire import endpoint, pb, request, segment

GROUP = "239.1.2.3"
LOOPBACK = socket.if_nametoindex("lo")


class DatagramTest(TakeOverTest):
    def peer(self, address="127.0.0.1"):
        peer = self.hold(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind((address, 0))
        return peer

    def opened(self, wire, number=1):
        wire.send(wire.open(10 + number, number, type=pb.SOCKET_TYPE_DATAGRAM))
        self.assertEqual(wire.completion(10 + number).error, pb.ERROR_SUCCESS)

    def connected(self, wire, number=1):
        """A socket with a peer, the peer, and the socket's address."""
        peer = self.peer()
        self.opened(wire, number)
        wire.send(wire.connect(20 + number, number, peer.getsockname()))
        reply = wire.completion(20 + number)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        return peer, ("127.0.0.1", reply.connected.local.port)

    def bound(self, wire, number=1, address="127.0.0.1"):
        self.opened(wire, number)
        wire.send(wire.bind(20 + number, number, (address, 0)))
        reply = wire.completion(20 + number)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        return reply.connected.local.port

    def send_to(self, wire, number, address, data):
        wire.token += 1
        wire.send(wire.make_send(wire.token, number, data, endpoint=endpoint(address)))
        return wire.completion(wire.token).error

    def set_option(self, wire, number, option, value, group=None):
        wire.token += 1
        fields = {"endpoint": pb.Endpoint(address=socket.inet_aton(group))} if group else {}
        wire.send(request(pb.VERB_SET_OPTION, wire.token, number, set_option=pb.SetOption(
            option=option, value=pb.OptionValue(number=value, **fields))))
        return wire.completion(wire.token).error

    def waiting(self, wire, op, number=1, length=70000, **fields):
        wire.send(wire.receive(op, number, length, **fields))
        wire.settle()

    def check_came(self, wire, op, data, address):
        reply, came = wire.whole(op)
        self.assertEqual((reply.error, came), (pb.ERROR_SUCCESS, data))
        self.assertEqual((reply.datagram.length, reply.datagram.remote), (len(data), endpoint(address)))


class Carried(DatagramTest):
    def test_one_that_was_killed(self):
        """Its client has not closed it yet."""
        wire = self.wire()
        self.bound(wire)
        done = asockctl.run("kill", "--yes", "state=bound", "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.succeed()

    def test_one_with_a_peer(self):
        """What came before, while nothing received, and what comes afterwards; each datagram whole, and its own."""
        wire = self.wire()
        peer, address = self.connected(wire)
        data = [stream(1000 * n, length) for n, length in enumerate((1, 0, 9000, 60000, 700))]
        for piece in data[:3]:
            peer.sendto(piece, address)
        self.waiting(wire, 5)
        self.check_came(wire, 5, data[0], peer.getsockname())
        self.succeed()
        for piece in data[3:]:
            peer.sendto(piece, address)
        for n in range(1, 5):
            wire.send(wire.receive(100 + n, 1, 70000))
            self.check_came(wire, 100 + n, data[n], peer.getsockname())
        wire.send(wire.make_send(6, 1, data[3]))
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(peer.recvfrom(70000), (data[3], address))

    def test_receives_that_wait(self):
        """One after the other, one that leaves the datagram there, and one whose time counts on."""
        wire = self.wire()
        peer, address = self.connected(wire)
        other, _ = self.connected(wire, 2)
        wire.send(wire.receive(5, 1, 10), wire.receive(6, 1, 100, flags=pb.RECEIVE_FLAG_PEEK), wire.receive(7, 1, 100),
                  wire.receive(8, 2, 100, timeout_ms=1500))
        wire.settle()
        self.succeed()
        self.succeed()
        peer.sendto(b"first and cut", address)
        peer.sendto(b"second", address)
        reply, came = wire.whole(5)
        self.assertEqual((came, bool(reply.flags & pb.REPLY_FLAG_TRUNCATED), reply.datagram.length),
                         (b"first and ", True, 13))
        for op in (6, 7):
            self.check_came(wire, op, b"second", peer.getsockname())
        self.assertEqual(wire.completion(8).error, pb.ERROR_TIMED_OUT)
        self.assertIsNotNone(other)

    def test_one_without_a_peer(self):
        """It keeps the port that it has sent from; a receive waits for it that came before the first send."""
        wire = self.wire()
        first, second = self.peer(), self.peer()
        self.opened(wire)
        self.waiting(wire, 5)
        self.succeed()
        self.assertEqual(self.send_to(wire, 1, first.getsockname(), b"one"), pb.ERROR_SUCCESS)
        data, address = first.recvfrom(100)
        self.assertEqual(data, b"one")
        self.succeed()
        first.sendto(b"answer", ("127.0.0.1", address[1]))
        self.check_came(wire, 5, b"answer", first.getsockname())
        self.assertEqual(self.send_to(wire, 1, second.getsockname(), b"two"), pb.ERROR_SUCCESS)
        self.assertEqual(second.recvfrom(100), (b"two", address))

    def test_a_peer_comes_afterwards(self):
        """Of one that has sent already: it keeps its port, and hears its peer alone."""
        wire = self.wire()
        first, second = self.peer(), self.peer()
        self.opened(wire)
        self.assertEqual(self.send_to(wire, 1, first.getsockname(), b"one"), pb.ERROR_SUCCESS)
        _, address = first.recvfrom(100)
        self.succeed()
        first.sendto(b"late", address)  # before there is a peer
        wire.send(wire.connect(5, 1, second.getsockname()))
        self.assertEqual(wire.completion(5).connected.local.port, address[1])
        self.waiting(wire, 6)
        self.succeed()
        second.sendto(b"hello", address)
        self.check_came(wire, 6, b"hello", second.getsockname())

    def test_options(self):
        """Those that were set before there was a socket, and those of the socket."""
        wire = self.wire()
        self.opened(wire)
        self.assertEqual(self.set_option(wire, 1, pb.OPTION_TRAFFIC_CLASS, 0x20), pb.ERROR_SUCCESS)
        self.succeed()
        peer = self.peer()
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        for times in range(2):
            wire.send(wire.make_send(5, 1, b"x", endpoint=endpoint(peer.getsockname())))
            self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
            _, ancillary, _, _ = peer.recvmsg(10, 100)
            self.assertEqual(ancillary[0][2], b"\x20", times)
            self.succeed()

    def test_a_multishot_and_its_credit(self):
        wire = self.wire()
        peer, address = self.connected(wire)
        buffer, memory = wire.register(8192)
        self.addCleanup(memory.close)
        slices = [segment(buffer, 1000 * n, 500) for n in range(4)]
        self.waiting(wire, 5, length=0, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=slices[:3])
        for n in range(4):
            self.succeed()
            if n == 2:
                wire.send(wire.credit(6, 1, 5, slices[3:]))
                self.assertTrue(wire.completion(6).flags & pb.REPLY_FLAG_FOUND)
            peer.sendto(stream(n, 100 + n), address)
            reply, _ = wire.take(lambda reply: reply.op == 5)
            self.assertEqual((reply.error, reply.bytes, reply.datagram.segment.offset,
                              bool(reply.flags & pb.REPLY_FLAG_MORE)), (0, 100 + n, 1000 * n, n < 3))
            self.assertEqual(memory[1000 * n:1000 * n + 100 + n], stream(n, 100 + n))

    def test_ipv6(self):
        wire = self.wire()
        peer = self.peer("::1")
        port = self.bound(wire, address="::1")
        self.waiting(wire, 5)
        self.succeed()
        peer.sendto(b"six", ("::1", port))
        self.check_came(wire, 5, b"six", peer.getsockname())
        self.assertEqual(self.send_to(wire, 1, peer.getsockname(), b"back"), pb.ERROR_SUCCESS)
        self.assertEqual(peer.recvfrom(100)[0], b"back")


class WithPolicy(DatagramTest):
    RULES = ""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(dir="/tmp")
        os.chmod(cls.folder, 0o755)
        cls.policy = os.path.join(cls.folder, "policy")
        cls.arguments = ("--policy", cls.policy)
        cls.write_rules(cls.RULES)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.folder)

    @classmethod
    def write_rules(cls, *rules):
        with open(cls.policy, "w", encoding="ascii") as policy:
            policy.write("\n".join(("[Rules]", *rules)) + "\n")

    def begin(self, *rules):
        """Another one takes over, by these rules."""
        self.write_rules(*rules)
        self.succeed()
        return self.wire()


class Bound(WithPolicy):
    """Peers at 127.0.0.1 may send to us, others not; we may send first to none."""

    RULES = "Listen=udp 127.0.0.1 * from 127.0.0.1"

    def test_it_answers_whom_it_has_heard(self):
        """And nobody else; what was refused is counted on."""
        wire = self.begin(self.RULES)
        peers = [self.peer() for _ in range(100)]
        stranger = self.peer("127.0.0.2")
        address = ("127.0.0.1", self.bound(wire))
        stranger.sendto(b"stranger", address)
        for n, peer in enumerate(peers[1:], 1):
            peer.sendto(b"question", address)
            wire.send(wire.receive(100 + n, 1, 100))
            self.check_came(wire, 100 + n, b"question", peer.getsockname())
        heard = [self.send_to(wire, 1, peer.getsockname(), b"before") for peer in peers]
        self.assertEqual((heard[0], heard[-1]), (pb.ERROR_ACCESS_DENIED, pb.ERROR_SUCCESS))
        self.waiting(wire, 5)
        self.succeed()
        self.succeed()
        self.assertEqual([self.send_to(wire, 1, peer.getsockname(), b"after") for peer in peers], heard)
        for n, peer in enumerate(peers):
            for data in (b"before", b"after") if heard[n] == pb.ERROR_SUCCESS else ():
                self.assertEqual(peer.recvfrom(100), (data, address))
        stranger.sendto(b"again", address)
        peers[0].sendto(b"first", address)
        reply, data = wire.whole(5)
        self.assertEqual((data, reply.datagram.refused), (b"first", 2))

    def test_a_policy_that_does_not_let_it_be_bound(self):
        wire = self.begin(self.RULES)
        port = self.bound(wire)
        self.waiting(wire, 5)
        self.write_rules("Allow=udp 127.0.0.1 * +loopback")
        self.succeed()
        self.assertEqual(wire.completion(5).error, pb.ERROR_ACCESS_DENIED)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))

    def test_whom_it_has_sent_to_is_not_new(self):
        """A limit of new destinations within a second does not count it again."""
        wire = self.begin("Allow=udp 127.0.0.1 * +loopback", "[Limits]", "ConnectsPerSecond=1")
        known, new = self.peer(), self.peer()
        self.opened(wire)
        self.assertEqual(self.send_to(wire, 1, known.getsockname(), b"one"), pb.ERROR_SUCCESS)
        self.succeed()
        self.assertEqual([self.send_to(wire, 1, peer.getsockname(), b"two") for peer in (new, known)],
                         [pb.ERROR_SUCCESS] * 2)
        for data in (b"one", b"two"):
            self.assertEqual(known.recvfrom(10)[0], data)


class Groups(WithPolicy):
    RULES = "Listen=udp 0.0.0.0 *"

    def joined(self):
        """A bound socket in the group, and its port."""
        wire = self.begin(self.RULES, f"Allow=udp {GROUP} * +special")
        port = self.bound(wire, address="0.0.0.0")
        self.assertEqual(self.group(wire, pb.OPTION_JOIN_GROUP), pb.ERROR_SUCCESS)
        return wire, port

    def group(self, wire, option):
        return self.set_option(wire, 1, option, LOOPBACK, GROUP)

    def test_it_stays_in_its_group(self):
        wire, port = self.joined()
        self.waiting(wire, 5)
        self.succeed()
        peer = self.peer()
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        peer.sendto(b"to all", (GROUP, port))
        self.check_came(wire, 5, b"to all", peer.getsockname())
        self.assertEqual(self.group(wire, pb.OPTION_JOIN_GROUP), pb.ERROR_ADDRESS_ALREADY_IN_USE)
        self.assertEqual(self.group(wire, pb.OPTION_LEAVE_GROUP), pb.ERROR_SUCCESS)
        self.assertEqual(self.group(wire, pb.OPTION_LEAVE_GROUP), pb.ERROR_ADDRESS_NOT_AVAILABLE)

    def test_a_policy_that_does_not_let_it_be_there(self):
        wire, _ = self.joined()
        self.write_rules(self.RULES)
        self.succeed()
        self.assertEqual(self.group(wire, pb.OPTION_LEAVE_GROUP), pb.ERROR_ADDRESS_NOT_AVAILABLE)


class Behind(DatagramTest):
    """Sends that wait for a connect, whose name is looked up."""

    @classmethod
    def setUpClass(cls):
        cls.names = NameServer({"peer.test": Name(a=("127.0.0.1",), held=(A, AAAA))}, port=0)
        cls.folder = tempfile.mkdtemp(dir="/tmp")
        os.chmod(cls.folder, 0o755)
        conf = os.path.join(cls.folder, "conf")
        with open(conf, "w", encoding="ascii") as file:
            file.write(f"[Resolver]\nServers=127.0.0.1:{cls.names.port}\n")
        cls.arguments = ("--allow-any", "--config", conf)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.names.close()
        shutil.rmtree(cls.folder)

    def test_each_leaves_once_in_its_order(self):
        """Also those out of shared memory, of several datagrams, and of none; one that is cancelled does not."""
        wire, peer = self.wire(), self.peer()
        buffer, memory = wire.register(4096)
        self.addCleanup(memory.close)
        memory[:] = stream(7, 4096)
        data = [stream(100 * n, length) for n, length in enumerate((1200, 0, 9000, 50000, 33))]
        self.opened(wire)
        wire.send(request(pb.VERB_CONNECT, 5, 1, connect=pb.Connect(host="peer.test", service=str(peer.getsockname()[1]))),
                  *(wire.make_send(10 + n, 1, piece) for n, piece in enumerate(data)),
                  wire.make_send(20, 1, b"cancelled"),
                  wire.make_send(21, 1, b"", segments=[segment(buffer, 0, 1000), segment(buffer, 3000, 500)]),
                  wire.make_send(22, 1, stream(3, 2500), segment_size=1000))
        wire.settle()
        self.names.wait_for(lambda questions: len(questions) >= 2)
        self.succeed()
        self.succeed()
        wire.send(wire.cancel(23, 1, 20))
        self.assertEqual(wire.completion(20).error, pb.ERROR_OPERATION_ABORTED)
        for kind in (A, AAAA):
            self.names.release("peer.test", kind)
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
        expected = [*data, memory[:1000] + memory[3000:3500], stream(3, 2500)[:1000], stream(3, 2500)[1000:2000], stream(3, 2500)[2000:]]
        self.assertEqual([peer.recv(70000) for _ in expected], expected)
        for op, length in ((10, 1200), (11, 0), (12, 9000), (13, 50000), (14, 33), (21, 1500), (22, 2500)):
            reply = wire.completion(op)
            self.assertEqual((reply.error, reply.bytes), (pb.ERROR_SUCCESS, length))
        self.assertEqual(sum(wire.freed.values()), sum(map(len, data)) + len(b"cancelled") + 2500)


class Stored(DatagramTest):
    """The same in the store of the service manager."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Managed(*cls.arguments)

    def succeed(self, *arguments):
        self.daemon.restart()

    test_one_with_a_peer = Carried.test_one_with_a_peer
    test_one_without_a_peer = Carried.test_one_without_a_peer


if __name__ == "__main__":
    unittest.main()
