# SPDX-License-Identifier: LGPL-2.1-or-later
"""Datagram sockets on the wire (S64 to S67)."""

import os
import signal
import socket
import struct
import tempfile
import unittest

from asockd import Daemon, DaemonTest
from wire import DEADLINE, Wire, endpoint, pb, request, segment

FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def name(reply):
    return pb.Error.Name(reply.error).removeprefix("ERROR_")


def address(message):
    """(host, port) of an Endpoint."""
    family = socket.AF_INET6 if len(message.address) == 16 else socket.AF_INET
    return socket.inet_ntop(family, message.address), message.port


class Datagrams(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()
        self.op = 1000

    def next_op(self):
        self.op += 1
        return self.op

    def peer(self, family=socket.AF_INET):
        peer = self.hold(socket.socket(family, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind((FAMILIES[family], 0))
        return peer

    def open(self, number=1, **fields):
        op = self.next_op()
        self.client.send(self.client.open(op, number, type=pb.SOCKET_TYPE_DATAGRAM, **fields))
        self.assertEqual(name(self.client.completion(op)), "SUCCESS")

    def submit_send(self, data, to=None, number=1, timeout_ms=0, **fields):
        op = self.next_op()
        if to:
            fields["endpoint"] = endpoint(to)
        self.client.send(self.client.make_send(op, number, data, timeout_ms, **fields))
        return op

    def send(self, *arguments, **fields):
        return self.client.whole(self.submit_send(*arguments, **fields))

    def submit_receive(self, length=65535, number=1, **fields):
        op = self.next_op()
        self.client.send(self.client.receive(op, number, length, **fields))
        return op

    def receive(self, *arguments, **fields):
        return self.client.whole(self.submit_receive(*arguments, **fields))

    def connect(self, peer, number=1):
        op = self.next_op()
        self.client.send(self.client.connect(op, number, peer.getsockname()))
        reply = self.client.completion(op)
        self.assertEqual(name(reply), "SUCCESS")
        return reply.connected


class Sending(Datagrams):

    def test_s64_one_socket_sends_to_many(self):
        for family in FAMILIES:
            with self.subTest(family=family):
                peers = [self.peer(family) for _ in range(3)]
                number = 1 + (family == socket.AF_INET6)
                self.open(number)
                sources = set()
                for i, peer in enumerate(peers * 2):
                    reply, _ = self.send(b"%d" % i, peer.getsockname(), number)
                    self.assertEqual((name(reply), reply.bytes), ("SUCCESS", 1))
                    data, source = peer.recvfrom(100)
                    self.assertEqual(data, b"%d" % i)
                    sources.add(source)
                self.assertEqual(len(sources), 1)

    def test_s64_an_empty_datagram_is_one(self):
        peer = self.peer()
        self.open()
        reply, _ = self.send(b"", peer.getsockname())
        self.assertEqual(name(reply), "SUCCESS")
        self.assertEqual(peer.recvfrom(10)[0], b"")

    def test_s64_the_longest_and_what_is_longer(self):
        peer = self.peer()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.open()
        data = os.urandom(65507)
        reply, _ = self.send(data, peer.getsockname())
        self.assertEqual((name(reply), reply.bytes), ("SUCCESS", 65507))
        self.assertEqual(peer.recv(65536), data)
        for length in (65508, 65535, 65536, 200000):
            reply, _ = self.send(bytes(length), peer.getsockname())
            self.assertEqual((name(reply), reply.bytes), ("MESSAGE_SIZE", 0))
        reply, _ = self.send(b"after", peer.getsockname())
        self.assertEqual((name(reply), peer.recv(10)), ("SUCCESS", b"after"))
        self.client.settle()
        self.assertEqual(self.client.freed[1], 65507 + 65508 + 65535 + 65536 + 200000 + 5)

    def test_s64_by_reference_in_pieces(self):
        peer = self.peer()
        self.open()
        buffer, memory = self.client.register(65536)
        memory[100:103], memory[5000:5004] = b"one", b"next"
        pieces = [segment(buffer, 100, 3), segment(buffer, 0, 0), segment(buffer, 5000, 4)]
        reply, _ = self.send(b"", peer.getsockname(), segments=pieces)
        self.assertEqual((name(reply), reply.bytes), ("SUCCESS", 7))
        self.assertEqual(peer.recv(100), b"onenext")

    def test_s64_misuse_is_one_ops_error(self):
        peer = self.peer()
        self.open()
        here = peer.getsockname()
        cases = [("NOT_CONNECTED", {}), ("INVALID_ARGUMENT", {"to": (here[0], 0)}),
                 ("INVALID_ARGUMENT", {"to": here, "total_len": 9}),
                 ("INVALID_ARGUMENT", {"to": here, "more": True, "total_len": 9}),
                 ("INVALID_ARGUMENT", {"endpoint": pb.Endpoint(address=b"abc", port=1)}),
                 ("ACCESS_DENIED", {"to": ("224.0.0.1", 9)}),
                 ("ACCESS_DENIED", {"to": ("0.0.0.0", 9)})]
        for error, fields in cases:
            with self.subTest(error=error, fields=fields):
                reply, _ = self.send(b"x", **fields)
                self.assertEqual((name(reply), reply.bytes), (error, 0))
        self.assertEqual(name(self.send(b"well", here)[0]), "SUCCESS")
        self.assertEqual(peer.recv(10), b"well")
        self.assertEqual(name(self.send(b"x", ("::1", 9))[0]), "ADDRESS_FAMILY_NOT_SUPPORTED")
        op = self.next_op()
        self.client.send(self.client.shutdown(op, 1, pb.HOW_SEND))
        self.assertEqual(name(self.client.completion(op)), "OPERATION_NOT_SUPPORTED")
        op = self.next_op()
        self.client.send(self.client.hangup(op, 1))
        self.assertEqual(name(self.client.completion(op)), "OPERATION_NOT_SUPPORTED")

    def test_s64_a_failed_send_harms_no_other(self):
        """Also those that are written behind it at once, in their order."""
        peer = self.peer()
        self.open()
        here = peer.getsockname()
        ops = [self.submit_send(b"%d" % i, here if i % 3 else ("224.0.0.1", 1)) for i in range(30)]
        for i, op in enumerate(ops):
            self.assertEqual(name(self.client.completion(op)), "SUCCESS" if i % 3 else "ACCESS_DENIED")
        self.assertEqual([peer.recv(10) for _ in range(20)], [b"%d" % i for i in range(30) if i % 3])

    def test_s64_what_the_kernel_has_no_room_for_waits_whole_and_in_order(self):
        peer = self.peer()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.open()
        op = self.next_op()
        self.client.send(self.client.sync(op))
        self.client.completion(op)
        ops = []
        for i in range(40):
            ops.append(self.submit_send(struct.pack("<I", i) * 4000, peer.getsockname()))
            if i % 8 == 7:
                for op in ops[-8:]:
                    self.assertEqual(name(self.client.completion(op)), "SUCCESS")
                for k in range(i - 7, i + 1):
                    self.assertEqual(peer.recv(65536), struct.pack("<I", k) * 4000)


class Receiving(Datagrams):

    def start(self, number=1, family=socket.AF_INET):
        """Returns a socket that has sent, its peer and its own address."""
        peer = self.peer(family)
        self.open(number)
        self.assertEqual(name(self.send(b"hello", peer.getsockname(), number)[0]), "SUCCESS")
        return peer, peer.recvfrom(100)[1]

    def test_s65_a_datagram_comes_with_where_it_came_from(self):
        for number, family in enumerate(FAMILIES, 1):
            with self.subTest(family=family):
                peer, own = self.start(number, family)
                peer.sendto(b"answer", own)
                reply, data = self.receive(number=number)
                self.assertEqual((name(reply), data, reply.bytes), ("SUCCESS", b"answer", 6))
                self.assertEqual(address(reply.datagram.remote), peer.getsockname()[:2])
                self.assertEqual(address(reply.datagram.local), own[:2])
                self.assertEqual(reply.datagram.interface, socket.if_nametoindex("lo"))
                self.assertEqual((reply.datagram.length, reply.flags), (6, 0))

    def test_s65_an_empty_datagram_is_no_end_of_stream(self):
        peer, own = self.start()
        for data in (b"", b"", b"more"):
            peer.sendto(data, own)
        for data in (b"", b"", b"more"):
            reply, got = self.receive()
            self.assertEqual((name(reply), got, reply.flags), ("SUCCESS", data, 0))
            self.assertEqual(address(reply.datagram.remote), peer.getsockname())

    def test_s65_what_has_no_room_is_cut_and_says_so(self):
        peer, own = self.start()
        buffer, memory = self.client.register(4096)
        for data in (b"0123456789", b"abcdefghij", b"whole"):
            peer.sendto(data, own)
        reply, data = self.receive(4)
        self.assertEqual((data, reply.bytes, reply.datagram.length), (b"0123", 4, 10))
        self.assertEqual(reply.flags, pb.REPLY_FLAG_TRUNCATED)
        reply, _ = self.receive(0, segments=[segment(buffer, 8, 3), segment(buffer, 0, 2)])
        self.assertEqual((reply.bytes, reply.datagram.length, reply.flags), (5, 10, pb.REPLY_FLAG_TRUNCATED))
        self.assertEqual((memory[8:11], memory[0:2]), (b"abc", b"de"))
        reply, data = self.receive(5)
        self.assertEqual((data, reply.flags), (b"whole", 0))

    def test_s65_one_receive_takes_one_datagram(self):
        """Also with many waiting datagrams and many pending receives."""
        peer, own = self.start()
        waiting = [self.submit_receive() for _ in range(10)]
        for i in range(20):
            peer.sendto(b"%d" % i * (i + 1), own)
        waiting += [self.submit_receive() for _ in range(10)]
        for i, op in enumerate(waiting):
            self.assertEqual(self.client.whole(op)[1], b"%d" % i * (i + 1))

    def test_s65_a_receive_waits_for_the_first_send(self):
        peer = self.peer()
        self.open()
        op = self.submit_receive()
        self.send(bytes(5000), peer.getsockname())  # after a small one the daemon looks for an answer at once
        peer.sendto(b"answer", peer.recvfrom(10)[1])
        self.assertEqual(self.client.whole(op)[1], b"answer")

    def test_s65_peek_probe_cancel_and_timeout_lose_nothing(self):
        peer, own = self.start()
        probe = self.submit_receive(0)
        late = self.submit_receive(timeout_ms=1)
        self.assertEqual(name(self.client.completion(late)), "TIMED_OUT")
        peer.sendto(b"data", own)
        reply = self.client.completion(probe)
        self.assertEqual((name(reply), reply.bytes, reply.HasField("datagram")), ("SUCCESS", 0, False))
        for _ in range(2):
            reply, data = self.receive(flags=pb.RECEIVE_FLAG_PEEK)
            self.assertEqual((data, address(reply.datagram.remote)), (b"data", peer.getsockname()))
        self.assertEqual(self.receive()[1], b"data")
        target, cancel = self.submit_receive(), self.next_op()
        self.client.send(self.client.cancel(cancel, 1, target))
        self.assertEqual(name(self.client.completion(target)), "OPERATION_ABORTED")
        self.assertEqual(name(self.receive(flags=pb.RECEIVE_FLAG_WAIT_ALL)[0]), "INVALID_ARGUMENT")
        peer.sendto(b"next", own)
        self.assertEqual(self.receive()[1], b"next")

    def test_s65_multishot_has_one_in_each_slice(self):
        peer, own = self.start()
        buffer, memory = self.client.register(4096)
        slices = [segment(buffer, i * 8, 8) for i in range(4)]
        op = self.submit_receive(0, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=slices)
        for data in (b"a", b"", b"0123456789", b"last"):
            peer.sendto(data, own)
        wanted = [(b"a", 1, 0), (b"", 0, 0), (b"01234567", 10, pb.REPLY_FLAG_TRUNCATED), (b"last", 4, 0)]
        for i, (data, length, flags) in enumerate(wanted):
            reply, _ = self.client.take(lambda r: r.op == op)
            place = reply.datagram.segment
            self.assertEqual((place.buffer, place.offset, place.length), (buffer, i * 8, len(data)))
            self.assertEqual(memory[i * 8:i * 8 + len(data)], data)
            self.assertEqual((reply.datagram.length, address(reply.datagram.remote)),
                             (length, peer.getsockname()))
            self.assertEqual(reply.flags, flags | (pb.REPLY_FLAG_MORE if i < 3 else 0))

    def test_s65_credit_and_cancel_of_a_multishot(self):
        peer, own = self.start()
        buffer, _ = self.client.register(4096)
        op = self.submit_receive(0, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=[segment(buffer, 0, 64)])
        more = self.next_op()
        self.client.send(self.client.credit(more, 1, op, [segment(buffer, 64, 64)]))
        self.assertTrue(self.client.completion(more).flags & pb.REPLY_FLAG_FOUND)
        peer.sendto(b"one", own)
        reply, _ = self.client.take(lambda r: r.op == op)
        self.assertEqual((reply.flags, reply.bytes), (pb.REPLY_FLAG_MORE, 3))
        self.client.send(self.client.cancel(self.next_op(), 1, op))
        reply = self.client.completion(op)
        self.assertEqual((name(reply), reply.bytes, reply.HasField("datagram")), ("OPERATION_ABORTED", 0, False))

    def test_s65_a_flood_costs_kernel_buffer_only_and_the_loss_is_told(self):
        peer, own = self.start()
        self.client.settle()
        before = self.daemon.memory("VmRSS")
        for _ in range(20000):
            peer.sendto(bytes(1000), own)
        self.client.settle()
        self.check_growth("VmRSS", before, 1 << 20)
        received, dropped = 0, 0
        while True:
            op = self.submit_receive(timeout_ms=200)
            reply = self.client.completion(op)
            if reply.error:
                break
            received += 1
        peer.sendto(b"end", own)
        reply, data = self.receive()
        self.assertEqual(data, b"end")
        self.assertGreater(reply.datagram.dropped, 1000)
        self.assertEqual(received + reply.datagram.dropped, 20000)

    def test_s65_traffic_class_comes_along(self):
        for number, (family, level, option) in enumerate(
                [(socket.AF_INET, socket.IPPROTO_IP, socket.IP_TOS),
                 (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_TCLASS)], 1):
            with self.subTest(family=family):
                peer, own = self.start(number, family)
                for value in (0x00, 0x02, 0x03, 0xb9):
                    peer.setsockopt(level, option, value)
                    peer.sendto(b"x", own)
                    reply, _ = self.receive(number=number)
                    # Over IPv4 the kernel controls the two bits of ECN, but IP_TOS can set them all the same.
                    self.assertEqual(reply.datagram.traffic_class, value)


class Ending(Datagrams):

    def test_s67_close_ends_what_waits_and_frees_all(self):
        peer = self.peer()
        self.open()
        self.send(b"x", peer.getsockname())
        waiting = [self.submit_receive() for _ in range(3)]
        close = self.next_op()
        self.client.send(self.client.make_close(close, 1, linger_ms=5000))
        for op in waiting:
            self.assertEqual(name(self.client.completion(op)), "OPERATION_ABORTED")
        self.assertEqual(name(self.client.completion(close)), "SUCCESS")
        self.open()
        self.assertEqual(name(self.send(b"y", peer.getsockname())[0]), "SUCCESS")
        self.client.close()
        self.daemon.settle(self.daemon.baseline)

    def test_s67_it_has_no_connections_to_take(self):
        peer = self.peer()
        self.open()
        for call in (lambda op: self.client.listen(op, 1), lambda op: self.client.accept(op, 1, 2)):
            op = self.next_op()
            self.client.send(call(op))
            self.assertEqual(name(self.client.completion(op)), "OPERATION_NOT_SUPPORTED")
        self.assertEqual(name(self.send(b"y", peer.getsockname())[0]), "SUCCESS")
        self.open(2)

    def test_s67_list_and_show_tell_of_it(self):
        peer = self.peer()
        self.open()
        self.send(b"12345", peer.getsockname())
        row = self.client.inspect(list=pb.List())[0]
        self.assertEqual((row["protocol"], row["bytes_out"], row["state"]), ("udp", 5, "open"))
        show = self.client.inspect(show=pb.Show(id=row["id"]))[0]
        self.assertEqual((show["datagrams_dropped"], show["datagrams_refused"]), (0, 0))
        self.assertNotIn("tcp_state", show)


RULES = """[Rules]
Deny=udp 127.0.0.1 {denied} "not there"
Allow=udp 127.0.0.1 {allowed} +loopback
Allow=tcp 127.0.0.1 {denied} +loopback
"""


class WithPolicy(Datagrams):
    """A daemon of the test's own, whose policy it can change."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o755)
        self.file = os.path.join(self.folder.name, "a.policy")
        self.friend, self.stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for peer in (self.friend, self.stranger):
            peer.settimeout(DEADLINE)
            peer.bind(("127.0.0.1", 0))
            self.addCleanup(peer.close)
        self.write(self.friend.getsockname()[1], self.stranger.getsockname()[1])
        self.own = Daemon("--policy", self.file)
        self.addCleanup(self.own.stop)
        self.client = Wire(self.own.path)
        self.addCleanup(self.client.close)
        self.client.hello()
        self.op = 1000

    def write(self, allowed, denied):
        self.write_rules(RULES.format(allowed=allowed, denied=denied))

    def write_rules(self, rules):
        with open(self.file, "w", encoding="utf-8") as out:
            out.write(rules)
        os.chmod(self.file, 0o644)

    def reload(self):
        before = int(self.own.stats()["reloads"])
        os.kill(self.own.process.pid, signal.SIGHUP)
        self.own.wait(lambda: int(self.own.stats()["reloads"]) > before)

    def hold(self, thing):
        self.addCleanup(thing.close)
        return thing

    def tearDown(self):
        pass

    @staticmethod
    def drained(port):
        """The kernel's queue of that local port is empty."""
        with open("/proc/net/udp", encoding="ascii") as table:
            rows = [line.split() for line in table][1:]
        return all(row[4].endswith(":00000000") for row in rows if row[1].endswith(f":{port:04X}"))


class Policy(WithPolicy):

    def test_s24_each_destination_is_judged(self):
        self.open()
        reply, text = self.send(b"x", self.stranger.getsockname())
        self.assertEqual((name(reply), text), ("ACCESS_DENIED", b"not there"))
        self.assertEqual(name(self.send(b"x", self.friend.getsockname())[0]), "SUCCESS")
        # What is allowed for TCP is not allowed for UDP, nor the other way round.
        op = self.next_op()
        self.client.send(self.client.open(op, 2), self.client.connect(op + 1, 2, self.friend.getsockname()))
        self.assertEqual(name(self.client.completion(op + 1)), "ACCESS_DENIED")

    def test_s65_what_comes_from_elsewhere_is_dropped_and_counted(self):
        self.open()
        self.send(b"x", self.friend.getsockname())
        own = self.friend.recvfrom(10)[1]
        for _ in range(3):
            self.stranger.sendto(b"stranger", own)
        probe = self.submit_receive(0)
        self.friend.sendto(b"friend", own)
        self.assertEqual(name(self.client.completion(probe)), "SUCCESS")
        reply, data = self.receive()
        self.assertEqual((data, reply.datagram.refused), (b"friend", 3))

    def test_s24_a_reload_holds_for_the_next_datagram(self):
        """Also for a connected socket, and for arriving datagrams."""
        friend, stranger = self.friend.getsockname(), self.stranger.getsockname()
        self.open(1)
        self.open(2)
        self.connect(self.friend, 2)
        for number, to in ((1, friend), (2, None)):
            self.assertEqual(name(self.send(b"x", to, number)[0]), "SUCCESS")
        sources = [self.friend.recvfrom(10)[1] for _ in range(2)]
        self.write(stranger[1], friend[1])
        self.reload()
        for number, to in ((1, friend), (2, None)):
            self.assertEqual(name(self.send(b"x", to, number)[0]), "ACCESS_DENIED")
        self.friend.sendto(b"friend", sources[0])
        self.stranger.sendto(b"stranger", sources[0])
        reply, data = self.receive()
        self.assertEqual((data, reply.datagram.refused), (b"stranger", 1))

    def test_s56_a_restriction_holds_for_the_next_datagram(self):
        self.open()
        self.assertEqual(name(self.send(b"x", self.friend.getsockname())[0]), "SUCCESS")
        op = self.next_op()
        rules = f"[Rules]\nAllow=tcp * *\nAllow=udp 127.0.0.1 1\n".encode()
        self.client.send(request(pb.VERB_RESTRICT, op, payload=rules, restriction=pb.Restrict()))
        self.assertEqual(name(self.client.completion(op)), "SUCCESS")
        self.assertEqual(name(self.send(b"x", self.friend.getsockname())[0]), "ACCESS_DENIED")

    def test_s65_many_strangers_in_front_of_a_friend(self):
        self.open()
        self.send(b"x", self.friend.getsockname())
        own = self.friend.recvfrom(10)[1]
        receive = self.submit_receive()
        for _ in range(20):
            for _ in range(100):
                self.stranger.sendto(b"stranger", own)
            self.client.settle()
            # Datagrams that the kernel has dropped in between do not matter: none is reported.
        self.own.wait(lambda: self.drained(own[1]))
        self.friend.sendto(b"friend", own)
        reply, data = self.client.whole(receive)
        self.assertEqual(data, b"friend")
        self.assertEqual(reply.datagram.refused + reply.datagram.dropped, 2000)


if __name__ == "__main__":
    unittest.main()
