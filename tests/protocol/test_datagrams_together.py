# SPDX-License-Identifier: LGPL-2.1-or-later
"""Datagrams that arrive together, of the client or of the network, leave or are received with one call (S64, S65): what each of
them comes to is what it would come to alone."""

import socket
import unittest

from test_datagrams import Datagrams, WithPolicy, name
from wire import endpoint, pb, segment


class Together(Datagrams):

    def submit_all(self, sends):
        """(data, fields) each, in one write; returns their ops."""
        ops = [self.next_op() for _ in sends]
        self.client.send(*(self.client.make_send(op, 1, data, **fields) for op, (data, fields) in zip(ops, sends)))
        return ops

    def results(self, ops):
        return [name(self.client.completion(op)) for op in ops]

    def test_s64_many_in_one_write_go_in_their_order(self):
        for family in (socket.AF_INET, socket.AF_INET6):
            with self.subTest(family=family):
                peer = self.peer(family)
                self.open()
                sends = [(b"%d" % i * (i % 7), {"endpoint": endpoint(peer.getsockname())}) for i in range(100)]
                self.assertEqual(self.results(self.submit_all(sends)), ["SUCCESS"] * 100)
                self.assertEqual([peer.recv(100) for _ in sends], [data for data, _ in sends])
                self.client.settle()
                op = self.next_op()
                self.client.send(self.client.make_close(op, 1))
                self.client.completion(op)

    def test_s64_one_in_the_middle_fails_alone(self):
        """The kernel's error of one that is not the first of a call."""
        peer = self.peer()
        self.open()
        self.connect(peer)
        sends = [(bytes(65508) if i % 5 == 4 else b"%d" % i, {}) for i in range(20)]
        self.assertEqual(self.results(self.submit_all(sends)),
                         ["MESSAGE_SIZE" if i % 5 == 4 else "SUCCESS" for i in range(20)])
        self.assertEqual([peer.recv(10) for _ in range(16)], [b"%d" % i for i in range(20) if i % 5 < 4])

    def test_s64_other_kinds_in_the_middle(self):
        """By reference, of segments, with ECN, from a source that it may not have."""
        peer = self.peer()
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.open()
        buffer, memory = self.client.register(4096)
        memory[0:4] = b"memo"
        to = {"endpoint": endpoint(peer.getsockname())}
        source = pb.Endpoint(address=socket.inet_aton("127.0.0.2"))
        sends = [(b"first", to), (b"second", to), (b"third", {**to, "ecn": 1}),
                 (b"", {**to, "segments": [segment(buffer, 0, 4)]}), (b"fourth", to),
                 (b"aabbc", {**to, "segment_size": 2}), (b"denied", {**to, "source": source}), (b"last", to)]
        self.assertEqual(self.results(self.submit_all(sends)),
                         ["SUCCESS"] * 6 + ["ACCESS_DENIED", "SUCCESS"])
        came = [peer.recvmsg(100, 100) for _ in range(9)]
        self.assertEqual([data for data, *_ in came],
                         [b"first", b"second", b"third", b"memo", b"fourth", b"aa", b"bb", b"c", b"last"])
        self.assertEqual([control[0][2][0] if control else 0 for _, control, *_ in came], [0, 0, 1] + [0] * 6)

    def test_s67_closed_behind_them_in_the_same_write(self):
        peer = self.peer()
        self.open()
        ops = [self.next_op() for _ in range(9)]
        to = endpoint(peer.getsockname())
        self.client.send(*(self.client.make_send(op, 1, b"x", endpoint=to) for op in ops[:8]),
                         self.client.make_close(ops[8], 1))
        self.assertEqual(self.results(ops), ["SUCCESS"] * 9)
        self.assertEqual([peer.recv(10) for _ in range(8)], [b"x"] * 8)

    def test_s65_many_are_received_into_the_slices(self):
        peer = self.peer()
        self.open()
        self.send(b"hello", peer.getsockname())
        own = peer.recvfrom(10)[1]
        buffer, memory = self.client.register(65536)
        for i in range(70):
            peer.sendto(b"%d" % i, own)
        op = self.submit_receive(0, flags=pb.RECEIVE_FLAG_MULTISHOT,
                                 segments=[segment(buffer, i * 64, 64) for i in range(64)])
        for i in range(64):
            reply, _ = self.client.take(lambda r: r.op == op)
            place = reply.datagram.segment
            self.assertEqual(bytes(memory[place.offset:place.offset + place.length]), b"%d" % i)
            self.assertEqual(bool(reply.flags & pb.REPLY_FLAG_MORE), i < 63)
        self.assertEqual([self.receive()[1] for _ in range(6)], [b"%d" % i for i in range(64, 70)])

    def test_s65_many_behind_those_that_came_alone(self):
        """One at a time for long, then many at once, then one at a time again."""
        peer = self.peer()
        self.open()
        self.connect(peer)
        self.send(b"hello")
        own = peer.recvfrom(10)[1]
        buffer, memory = self.client.register(65536)
        op = self.submit_receive(0, flags=pb.RECEIVE_FLAG_MULTISHOT,
                                 segments=[segment(buffer, i * 64, 64) for i in range(64)])
        sent = 0
        for count in [1] * 12 + [40] + [1] * 12:
            for i in range(sent, sent + count):
                peer.sendto(b"%d" % i, own)
            for i in range(sent, sent + count):
                place = self.client.take(lambda r: r.op == op)[0].datagram.segment
                self.assertEqual(place.offset, i * 64)
                self.assertEqual(bytes(memory[place.offset:place.offset + place.length]), b"%d" % i)
            sent += count


class TogetherWithPolicy(WithPolicy):

    def test_s65_what_is_dropped_uses_no_slice(self):
        self.open()
        self.send(b"x", self.friend.getsockname())
        own = self.friend.recvfrom(10)[1]
        for data in (b"0", b"stranger", b"1", b"stranger", b"stranger", b"2", b"3", b"4"):
            (self.stranger if data == b"stranger" else self.friend).sendto(data, own)
        buffer, memory = self.client.register(4096)
        op = self.submit_receive(0, flags=pb.RECEIVE_FLAG_MULTISHOT,
                                 segments=[segment(buffer, i * 64, 64) for i in range(4)])
        places = []
        for i in range(4):
            reply, _ = self.client.take(lambda r: r.op == op)
            place = reply.datagram.segment
            places.append(place.offset)
            self.assertEqual(bytes(memory[place.offset:place.offset + place.length]), b"%d" % i)
            self.assertEqual(bool(reply.flags & pb.REPLY_FLAG_MORE), i < 3)
        self.assertEqual((places, reply.datagram.refused), ([0, 64, 128, 192], 3))
        self.assertEqual(self.receive()[1], b"4")
        self.assertNotIn(b"tranger", memory[:])

    def test_s65_what_is_dropped_is_never_in_the_clients_memory(self):
        """Of receives by reference, too, and of what had come from others before there was a peer."""
        self.open()
        self.send(b"x", self.friend.getsockname())
        own = self.friend.recvfrom(10)[1]
        buffer, memory = self.client.register(4096)
        for flags in (0, pb.RECEIVE_FLAG_MULTISHOT):
            for data in (b"stranger", b"1", b"stranger"):
                (self.stranger if data == b"stranger" else self.friend).sendto(data, own)
            op = self.submit_receive(0, flags=flags, segments=[segment(buffer, 0, 64)])
            self.client.completion(op)
            self.assertEqual(memory[:2], b"1\0")
            self.assertNotIn(b"tranger", memory[:])
        self.friend.sendto(b"2", own)
        self.connect(self.friend)
        op = self.submit_receive(0, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=[segment(buffer, 0, 64)])
        self.client.completion(op)
        self.assertEqual(memory[:2], b"2\0")
        self.assertNotIn(b"tranger", memory[:])

    def test_s24_each_of_them_is_judged(self):
        self.open()
        to = [self.stranger if i % 3 == 0 else self.friend for i in range(30)]
        ops = [self.next_op() for _ in to]
        self.client.send(*(self.client.make_send(op, 1, b"%d" % i, endpoint=endpoint(peer.getsockname()))
                           for i, (op, peer) in enumerate(zip(ops, to))))
        for op, peer in zip(ops, to):
            self.assertEqual(name(self.client.completion(op)),
                             "SUCCESS" if peer is self.friend else "ACCESS_DENIED")
        self.assertEqual([self.friend.recv(10) for _ in range(20)], [b"%d" % i for i in range(30) if i % 3])
        self.assertEqual(int(self.own.stats()["connects_denied"]), 10)


if __name__ == "__main__":
    unittest.main()
