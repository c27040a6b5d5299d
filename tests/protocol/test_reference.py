# SPDX-License-Identifier: LGPL-2.1-or-later
"""SEND and RECEIVE by reference, multishot and credit, on the wire."""

import mmap
import random
import threading
import unittest

from asockd import DaemonTest
from wire import pb, request, segment

PAGE = mmap.PAGESIZE
KIBI = 1 << 10
MEBI = 1 << 20
PEEK, WAIT_ALL, MULTISHOT = (pb.RECEIVE_FLAG_PEEK, pb.RECEIVE_FLAG_WAIT_ALL,
                             pb.RECEIVE_FLAG_MULTISHOT)
BEYOND = ((0, 0, 1), (2, 0, 1), (64, 0, 1), (65, 0, 1), (1 << 31, 0, 1), ((1 << 32) - 1, 0, 1),
          (1, 0, PAGE + 1), (1, 1, PAGE), (1, PAGE, 1), (1, PAGE + 1, 0), (1, 0, 1 << 63),
          (1, 1 << 63, 1 << 63), (1, (1 << 64) - 1, 1), (1, 1, (1 << 64) - 1),
          (1, (1 << 64) - 1, (1 << 64) - 1), (1, PAGE, (1 << 64) - PAGE))


def pattern(length, seed=1):
    return random.Random(seed).randbytes(length)


class ReferenceTest(DaemonTest):

    def buffer(self, wire, length=MEBI):
        number, memory = wire.register(length)
        self.hold(memory)
        return number, memory

    def start(self, length=MEBI):
        """A client with a connected socket, id 1, and a buffer, id 1; and the peer."""
        wire = self.wire()
        number, memory = self.buffer(wire, length)
        self.assertEqual(number, 1)
        return wire, memory, self.pair(wire)

    def fill(self, wire, op=900):
        """A SEND by which the way to the peer is full, and more."""
        wire.send(wire.make_send(op, 1, b"", segments=[segment(1, 0, len(self.memory))]))
        wire.settle()


class Send(ReferenceTest):

    def test_s13_list_of_segments(self):
        wire, memory, peer = self.start()
        data = memory[:] = pattern(MEBI)
        places = [(5, 7), (0, 0), (MEBI - 1, 1), (100, 300 * KIBI), (100, 4), (MEBI, 0)]
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, *place) for place in places]))
        expected = b"".join(data[offset:offset + length] for offset, length in places)
        self.assertEqual(self.read_all(peer, len(expected)), expected)
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_SUCCESS, len(expected)))
        # No byte of it was in a frame: none counts against the window.
        self.assertEqual(wire.freed[1], 0)

    def test_s13_larger_than_any_window(self):
        wire, memory, peer = self.start(16 * MEBI)
        memory[:] = pattern(16 * MEBI)
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, 0, 16 * MEBI)]),
                  wire.make_send(2, 1, b"tail"))
        self.assertEqual(self.read_all(peer, 16 * MEBI + 4), memory[:] + b"tail")
        self.assertEqual((wire.completion(1).bytes, wire.completion(2).bytes), (16 * MEBI, 4))

    def test_s13_nothing(self):
        wire, _, _ = self.start()
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, 7, 0), segment(1, MEBI, 0)]))
        reply = wire.completion(1)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_SUCCESS, 0))

    def test_s13_order_with_inline(self):
        wire, memory, peer = self.start()
        expected = b""
        for turn in range(200):
            data = pattern(turn * 25, turn)
            memory[turn * 5000:turn * 5000 + len(data)] = data
            wire.send(wire.make_send(10 + turn, 1, b"", segments=[segment(1, turn * 5000, len(data))])
                      if turn % 3 else wire.make_send(10 + turn, 1, data))
            expected += data
        self.assertEqual(self.read_all(peer, len(expected)), expected)
        for turn in range(200):
            self.assertEqual(wire.completion(10 + turn).error, pb.ERROR_SUCCESS)

    def test_s14_out_of_range(self):
        """Each of them is a failed send: what follows is aborted, the peer gets RST."""
        for place in BEYOND:
            wire, _, peer = self.start(PAGE)
            wire.send(wire.make_send(1, 1, b"", segments=[segment(1, 0, 1), segment(*place)]),
                      wire.make_send(2, 1, b"more"), wire.make_close(3, 1))
            self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT, place)
            self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED, place)
            self.assertEqual(self.reset_by(peer), b"")
            wire.close()

    def test_s14_of_another_session(self):
        owner = self.wire()
        number, memory = self.buffer(owner)
        memory[:6] = b"secret"
        wire = self.wire()
        self.pair(wire)
        wire.send(wire.make_send(1, 1, b"", segments=[segment(number, 0, 6)]),
                  wire.receive(2, 1, segments=[segment(number, 0, 6)]))
        self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(wire.completion(2).error, pb.ERROR_INVALID_ARGUMENT)

    def test_invalid_combinations(self):
        place = [segment(1, 0, 10)]
        for payload, fields in ((b"x", {}), (b"", {"total_len": 10}),
                                (b"", {"total_len": 10, "more": True})):
            wire, _, _ = self.start()
            wire.send(wire.make_send(1, 1, payload, segments=place, **fields))
            self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT)
            wire.close()

    def test_in_a_chain(self):
        wire, _, _ = self.start()
        wire.send(wire.make_send(1, 1, b"x", more=True, total_len=11),
                  wire.make_send(1, 1, b"", segments=[segment(1, 0, 10)]))
        reply, text = wire.ended()
        self.assertEqual((reply.error, text), (pb.ERROR_PROTOCOL_ERROR, b"a piece of a chain refers to shared memory"))

    def test_too_many(self):
        wire, memory, peer = self.start()
        memory[:64] = data = pattern(64)
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, at, 1) for at in range(64)]))
        self.assertEqual(self.read_all(peer, 64), data)
        wire.completion(1)
        many = [segment(1, at, 1) for at in range(65)]
        wire.send(wire.receive(2, 1, segments=many), wire.receive(3, 1, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=many),
                  wire.receive(4, 1, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=many[:1]), wire.credit(5, 1, 4, many))
        for op in (2, 3, 5):
            self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT, op)
        wire.send(wire.make_send(6, 1, b"", segments=many), wire.make_send(7, 1, b"x"))
        self.assertEqual(wire.completion(6).error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(wire.completion(7).error, pb.ERROR_OPERATION_ABORTED)  # the sending side is closed
        peer.sendall(b"x")
        self.assertEqual(wire.take(lambda r: r.op == 4)[0].bytes, 1)

    def test_too_many_in_a_chain(self):
        wire, _, _ = self.start()
        wire.send(wire.make_send(1, 1, b"x", more=True, total_len=66),
                  wire.make_send(1, 1, b"", segments=[segment(1, at, 1) for at in range(65)]))
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)

    def test_s13_cancel_and_timeout(self):
        """As of inline ones (S30): one that has begun breaks the stream, one that has not does not."""
        wire, memory, peer = self.start(64 * MEBI)
        memory[:] = data = pattern(64 * MEBI)
        whole = [segment(1, 0, 64 * MEBI)]
        wire.send(wire.make_send(1, 1, b"", segments=whole),
                  wire.make_send(2, 1, b"", segments=whole),
                  wire.make_send(3, 1, b"", timeout_ms=50, segments=[segment(1, 0, 4)]))
        wire.send(wire.cancel(4, 1, 2))
        reply = wire.completion(2)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_OPERATION_ABORTED, 0))
        reply = wire.completion(3)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_TIMED_OUT, 0))
        wire.send(wire.make_send(5, 1, b"", segments=whole), wire.cancel(6, 1, 1))
        self.assertEqual(wire.completion(5).error, pb.ERROR_OPERATION_ABORTED)
        reply = wire.completion(1)
        self.assertEqual(reply.error, pb.ERROR_OPERATION_ABORTED)
        self.assertLess(0, reply.bytes)
        wire.send(wire.make_close(7, 1))
        got = self.reset_by(peer)
        self.assertEqual(got, data[:len(got)])


class Receive(ReferenceTest):

    def test_s13_into_a_list(self):
        wire, memory, peer = self.start(4 * PAGE)
        data = pattern(1000)
        places = [segment(1, 3 * PAGE, 10), segment(1, 0, 0), segment(1, 5, 90),
                  segment(1, PAGE, 2000)]
        peer.sendall(data)
        wire.send(wire.receive(1, 1, flags=WAIT_ALL, timeout_ms=30000, segments=places[:3]))
        reply, payload = wire.whole(1)
        self.assertEqual((reply.error, reply.bytes, payload), (pb.ERROR_SUCCESS, 100, b""))
        self.assertEqual(memory[3 * PAGE:3 * PAGE + 10] + memory[5:95], data[:100])
        wire.send(wire.receive(2, 1, segments=places))
        reply = wire.completion(2)
        self.assertEqual(reply.bytes, 900)
        self.assertEqual(memory[3 * PAGE:3 * PAGE + 10] + memory[5:95] + memory[PAGE:PAGE + 800],
                         data[100:])
        self.assertEqual(memory[PAGE + 800:PAGE + 2000], bytes(1200))

    def test_s13_large_is_one_reply(self):
        wire, memory, peer = self.start(8 * MEBI)
        data = pattern(8 * MEBI)
        sender = threading.Thread(target=peer.sendall, args=(data,))
        wire.send(wire.receive(1, 1, flags=WAIT_ALL, segments=[segment(1, 0, 8 * MEBI)]))
        sender.start()
        reply, _ = wire.take(lambda r: r.op == 1)
        sender.join()
        self.assertEqual((reply.error, reply.bytes, reply.flags), (pb.ERROR_SUCCESS, 8 * MEBI, 0))
        self.assertEqual(memory[:], data)

    def test_s13_ends(self):
        """Probe, peek, timeout with what had come, end of stream, reset: as inline ones."""
        wire, memory, peer = self.start(PAGE)
        place = [segment(1, 0, 100)]
        peer.sendall(b"hello")
        wire.send(wire.receive(1, 1, segments=[segment(1, 50, 0)]))
        self.assertEqual(wire.completion(1).bytes, 0)
        wire.send(wire.receive(2, 1, flags=PEEK, segments=place))
        self.assertEqual((wire.completion(2).bytes, memory[:5]), (5, b"hello"))
        memory[:5] = bytes(5)
        wire.send(wire.receive(3, 1, flags=WAIT_ALL, timeout_ms=50, segments=place))
        reply = wire.completion(3)
        self.assertEqual((reply.error, reply.bytes, memory[:5]), (pb.ERROR_TIMED_OUT, 5, b"hello"))
        wire.send(wire.receive(4, 1, segments=place), wire.receive(5, 1, segments=place),
                  wire.cancel(6, 1, 4))
        self.assertEqual(wire.completion(4).error, pb.ERROR_OPERATION_ABORTED)
        peer.sendall(b"x")
        self.assertEqual((wire.completion(5).bytes, memory[:1]), (1, b"x"))
        wire.send(wire.receive(7, 1, flags=WAIT_ALL, segments=place))
        peer.sendall(b"rest")
        peer.close()
        reply = wire.completion(7)
        self.assertEqual((reply.error, reply.bytes, reply.flags, memory[:4]),
                         (pb.ERROR_SUCCESS, 4, pb.REPLY_FLAG_END_OF_STREAM, b"rest"))

    def test_s14_out_of_range(self):
        wire, _, peer = self.start(PAGE)
        peer.sendall(b"still there")
        for place in BEYOND:
            wire.send(wire.receive(1, 1, segments=[segment(1, 0, 1), segment(*place)]))
            self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT, place)
        wire.send(wire.receive(1, 1, 100))
        self.assertEqual(wire.whole(1)[1], b"still there")

    def test_invalid_combinations(self):
        wire, _, _ = self.start()
        place = [segment(1, 0, 10)]
        for frame in (wire.receive(1, 1, 10, segments=place),
                      wire.receive(1, 1, flags=PEEK | WAIT_ALL, segments=place),
                      wire.receive(1, 1, flags=PEEK, segments=[segment(1, 0, MEBI)]),
                      wire.receive(1, 1, flags=8, segments=place),
                      wire.receive(1, 1, segments=[segment(1, 0, 1 << 62)] * 4),
                      request(pb.VERB_RECEIVE, 1, 1, b"payload",
                              receive=pb.Receive(segments=place))):
            wire.send(frame)
            self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT)

    def test_the_same_place_twice(self):
        """Its own bytes are all that a client can spoil."""
        wire, memory, peer = self.start(PAGE)
        peer.sendall(b"abcdefgh")
        wire.send(wire.receive(1, 1, flags=WAIT_ALL, segments=[segment(1, 0, 4)] * 2))
        self.assertEqual((wire.completion(1).bytes, memory[:4]), (8, b"efgh"))


class Deferred(ReferenceTest):
    """UNREGISTER while an op uses the buffer."""

    def test_s14_waits_for_a_send(self):
        wire, memory, peer = self.start(32 * MEBI)
        memory[:] = data = pattern(32 * MEBI)
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, 0, 32 * MEBI)]),
                  wire.unregister(2, 1), wire.make_send(3, 1, b"", segments=[segment(1, 0, 1)]),
                  wire.unregister(4, 1))
        # Given back it is for new ops, though not gone.
        self.assertEqual(wire.completion(3).error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(wire.completion(4).error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.daemon.stats()["buffers"], 1)
        self.assertEqual(self.read_all(peer, len(data)), data)
        first, second = wire.take(lambda r: r.op in (1, 2))[0], wire.take(lambda r: r.op in (1, 2))[0]
        self.assertEqual((first.op, first.bytes), (1, len(data)))
        self.assertEqual((second.op, second.error), (2, pb.ERROR_SUCCESS))
        self.assertEqual(memory[:], bytes(len(memory)))

    def test_s14_waits_for_receives(self):
        wire, memory, peer = self.start(PAGE)
        wire.send(wire.receive(1, 1, segments=[segment(1, 0, 10)]),
                  wire.receive(2, 1, flags=MULTISHOT, segments=[segment(1, 10, 10)]),
                  wire.unregister(3, 1), wire.credit(4, 1, 2, [segment(1, 20, 10)]))
        self.assertEqual(wire.completion(4).error, pb.ERROR_INVALID_ARGUMENT)
        wire.settle()
        peer.sendall(b"x")
        self.assertEqual((wire.completion(1).bytes, memory[:1]), (1, b"x"))
        wire.settle()
        self.assertFalse([reply for reply, _ in wire.kept if reply.op == 3])
        wire.send(wire.cancel(5, 1, 2))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        self.assertEqual(memory[:], bytes(PAGE))

    def test_s14_cancelled_or_timed_out(self):
        """That ends the waiting; the buffer goes all the same."""
        wire, memory, _ = self.start(PAGE)
        self.buffer(wire, PAGE)
        wire.send(wire.receive(1, 1, segments=[segment(1, 0, 10), segment(2, 0, 10)]),
                  wire.unregister(2, 1), wire.cancel(3, 0, 2),
                  wire.unregister(4, 2, timeout_ms=50))
        self.assertEqual(wire.completion(2).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(4).error, pb.ERROR_TIMED_OUT)
        memory[:4] = b"text"
        wire.send(wire.cancel(5, 1, 1))
        wire.completion(1)
        while wire.inspect(show=pb.Show())[0]["buffers"]:
            pass
        self.assertEqual(memory[:], bytes(PAGE))

    def test_s45_client_gone_while_ops_use_it(self):
        wire, memory, peer = self.start(32 * MEBI)
        memory[:] = data = pattern(32 * MEBI)
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, 0, 32 * MEBI)]),
                  wire.receive(2, 1, segments=[segment(1, 0, 10)]),
                  wire.receive(3, 1, flags=MULTISHOT, segments=[segment(1, 0, 10)] * 9),
                  wire.unregister(4, 1))
        wire.settle()
        wire.close()
        got = self.reset_by(peer)
        self.assertEqual(got, data[:len(got)])
        self.daemon.settle(self.before)
        self.assertEqual(memory[:], bytes(len(memory)))

    def test_s43_lingers_without_the_client(self):
        """A close with time for its sends outlives the client, and so does what they are taken from."""
        wire, memory, peer = self.start(32 * MEBI)
        memory[:] = data = pattern(32 * MEBI)
        wire.send(wire.make_send(1, 1, b"", segments=[segment(1, 0, 32 * MEBI)]),
                  wire.make_close(2, 1, linger_ms=600000))
        wire.settle()
        wire.close()
        self.assertEqual(self.read_all(peer), data)


class Multishot(ReferenceTest):

    def shot(self, wire, op):
        """The next completion, and what it says."""
        reply, payload = wire.take(lambda r: r.kind == pb.KIND_COMPLETION and r.op == op)
        self.assertEqual(payload, b"")
        self.assertEqual(reply.bytes, reply.segment.length)
        return reply

    def data_of(self, memory, reply):
        return memory[reply.segment.offset:reply.segment.offset + reply.segment.length]

    def drain(self, wire, memory, op, length, ops=None):
        """So many bytes of its completions; returns them and the last reply."""
        data = b""
        while len(data) < length:
            reply = self.shot(wire, op)
            self.assertEqual((reply.error, reply.segment.buffer), (pb.ERROR_SUCCESS, 1))
            data += self.data_of(memory, reply)
            if ops is not None:
                ops.append(reply)
            if not reply.flags & pb.REPLY_FLAG_MORE:
                break
        return data, reply

    def test_s38_many_completions(self):
        wire, memory, peer = self.start()
        slices = [segment(1, at * 1000, 100) for at in range(10)]
        wire.send(wire.receive(1, 1, flags=MULTISHOT, segments=slices))
        for turn in range(9):
            data = pattern(1 + turn * 10, turn)
            peer.sendall(data)
            reply = self.shot(wire, 1)
            self.assertEqual((reply.error, reply.flags), (pb.ERROR_SUCCESS, pb.REPLY_FLAG_MORE))
            self.assertEqual((reply.segment.buffer, reply.segment.offset), (1, turn * 1000))
            self.assertEqual(self.data_of(memory, reply), data)
        self.assertEqual(wire.ops_freed[1], 2)  # OPEN and CONNECT: the op goes on
        peer.sendall(b"last")
        reply = self.shot(wire, 1)
        self.assertEqual((reply.flags, self.data_of(memory, reply)), (0, b"last"))
        self.assertEqual(wire.ops_freed[1], 3)

    def test_s38_never_outruns_its_credit(self):
        wire, memory, peer = self.start()
        data = pattern(5000)
        peer.sendall(data)
        wire.send(wire.receive(1, 1, flags=MULTISHOT,
                               segments=[segment(1, 100, 1000), segment(1, 5000, 500)]))
        got, reply = self.drain(wire, memory, 1, 5000)
        self.assertEqual((got, reply.flags), (data[:1500], 0))
        wire.settle()
        used = memory[100:1100] + memory[5000:5500]
        self.assertEqual(used, data[:1500])
        memory[100:1100], memory[5000:5500] = bytes(1000), bytes(500)
        self.assertEqual(memory[:], bytes(MEBI))
        wire.send(wire.receive(2, 1, 9999))
        self.assertEqual(wire.whole(2)[1], data[1500:])

    def test_s38_credit_is_renewed(self):
        """A stream through two slices that go to and fro."""
        wire, memory, peer = self.start()
        data = pattern(MEBI)
        sender = threading.Thread(target=peer.sendall, args=(data,))
        wire.send(wire.receive(1, 1, flags=MULTISHOT,
                               segments=[segment(1, 0, 4096), segment(1, 4096, 4096)]))
        sender.start()
        op, token, got = 1, 1, b""
        while len(got) < len(data):
            reply = self.shot(wire, op)
            got += self.data_of(memory, reply)
            place = segment(1, reply.segment.offset, 4096)
            token += 1
            if reply.flags & pb.REPLY_FLAG_MORE:
                wire.send(wire.credit(token, 1, op, [place]))
                answer = wire.completion(token)
                self.assertEqual(answer.error, pb.ERROR_SUCCESS)
                if answer.flags & pb.REPLY_FLAG_FOUND:
                    continue
                reply = self.shot(wire, op)
                self.assertFalse(reply.flags & pb.REPLY_FLAG_MORE)
                got += self.data_of(memory, reply)
                token += 1
            op = token
            wire.send(wire.receive(op, 1, flags=MULTISHOT,
                                   segments=[segment(1, 0, 4096), segment(1, 4096, 4096)]))
        sender.join()
        self.assertEqual(got, data)

    def test_s38_many_slices_of_one_read(self):
        wire, memory, peer = self.start()
        data = pattern(60 * 1000)
        peer.sendall(data)
        ops = []
        wire.send(wire.receive(1, 1, flags=MULTISHOT,
                               segments=[segment(1, at * 2000, 1000) for at in range(64)]))
        got, reply = self.drain(wire, memory, 1, len(data), ops)
        self.assertEqual((got, reply.flags), (data, pb.REPLY_FLAG_MORE))
        self.assertEqual([r.segment.offset for r in ops], sorted(r.segment.offset for r in ops))

    def test_s38_holds_the_head_of_the_queue(self):
        wire, memory, peer = self.start()
        wire.send(wire.receive(1, 1, flags=MULTISHOT, segments=[segment(1, at, 1) for at in range(3)]),
                  wire.receive(2, 1, 10), wire.receive(3, 1, 10))
        for byte in (b"a", b"b"):
            peer.sendall(byte)
            self.assertEqual(self.data_of(memory, self.shot(wire, 1)), byte)
        self.assertFalse([r for r, _ in wire.kept if r.op in (2, 3)])
        peer.sendall(b"cd")
        self.assertEqual(self.shot(wire, 1).flags, 0)
        self.assertEqual(wire.whole(2)[1], b"d")
        peer.sendall(b"e")
        self.assertEqual(wire.whole(3)[1], b"e")

    def test_s38_ends(self):
        """Cancel, timeout, end of stream, reset, shutdown, close: each with nothing lost before it."""
        slices = [segment(1, at * 10, 10) for at in range(5)]

        def run(end, error, flags=0, **fields):
            wire, memory, peer = self.start(PAGE)
            peer.sendall(b"data")  # before a receive that times out begins
            wire.send(wire.receive(1, 1, flags=MULTISHOT, segments=slices, **fields))
            self.assertEqual(self.data_of(memory, self.shot(wire, 1)), b"data")
            end(wire, peer)
            reply = self.shot(wire, 1)
            self.assertEqual((reply.error, reply.flags, reply.bytes), (error, flags, 0))
            self.assertFalse(reply.HasField("segment"))
            wire.send(wire.credit(50, 1, 1, slices))
            self.assertFalse(wire.completion(50).flags)
            wire.close()

        end_of_stream = pb.REPLY_FLAG_END_OF_STREAM
        run(lambda wire, peer: wire.send(wire.cancel(2, 1, 1)), pb.ERROR_OPERATION_ABORTED)
        run(lambda wire, peer: None, pb.ERROR_TIMED_OUT, timeout_ms=300)
        run(lambda wire, peer: peer.close(), pb.ERROR_SUCCESS, end_of_stream)
        run(lambda wire, peer: wire.send(wire.shutdown(2, 1, pb.HOW_RECEIVE)), pb.ERROR_SUCCESS,
            end_of_stream)
        run(lambda wire, peer: wire.send(wire.make_close(2, 1)), pb.ERROR_OPERATION_ABORTED)

    def test_s38_what_is_no_multishot(self):
        wire, _, _ = self.start(PAGE)
        place = [segment(1, 0, 10)]
        for fields in ({"segments": []}, {"segments": place, "length": 10},
                       {"segments": place + [segment(1, 0, 0)]}, {"segments": [], "length": 10}):
            wire.send(wire.receive(1, 1, flags=MULTISHOT, **fields))
            self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT, fields)
        for flags in (PEEK, WAIT_ALL, PEEK | WAIT_ALL):
            wire.send(wire.receive(1, 1, flags=MULTISHOT | flags, segments=place))
            self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT)

    def test_s53_credit_works_at_every_limit(self):
        wire = self.hold(self.wire(hello=False))
        wire.hello(ops=64)
        self.buffer(wire, PAGE)
        peer = self.pair(wire)
        place = [segment(1, 0, 10)]
        wire.send(wire.receive(1, 1, flags=MULTISHOT, segments=place),
                  *(wire.receive(10 + n, 1, 1) for n in range(wire.welcome.ops + 5)),
                  wire.credit(2, 1, 1, place))
        reply = wire.completion(2)
        self.assertEqual((reply.error, reply.flags, reply.ops_freed),
                         (pb.ERROR_SUCCESS, pb.REPLY_FLAG_FOUND, 0) if False else
                         (pb.ERROR_SUCCESS, pb.REPLY_FLAG_FOUND, reply.ops_freed))
        peer.close()

    def test_s38_credit_has_bounds(self):
        """No flood of it makes the daemon hold more than 64 slices."""
        wire, _, peer = self.start()
        slices = [segment(1, at, 1) for at in range(64)]
        wire.send(wire.receive(1, 1, flags=MULTISHOT, segments=slices[:1]))
        frames = [wire.credit(10 + n, 1, 1, slices[:9]) for n in range(2000)]
        wire.send(*frames[:7], *(wire.credit(9000 + n, 1, 1, slices[:1], flags=1) for n in range(3)))
        for n in range(7):
            self.assertEqual((wire.completion(10 + n).error), pb.ERROR_SUCCESS)
        self.assertEqual([wire.completion(9000 + n).error for n in range(3)],
                         [pb.ERROR_NO_BUFFER_SPACE] * 3)
        wire.send(*frames[7:])
        errors = {wire.completion(10 + n).error for n in range(7, 2000)}
        self.assertEqual(errors, {pb.ERROR_NO_BUFFER_SPACE})
        peer.sendall(bytes(100))
        taken = 0
        while self.shot(wire, 1).flags & pb.REPLY_FLAG_MORE:
            taken += 1
        self.assertEqual(taken, 63)

    def test_s38_credit_that_is_refused(self):
        """None of it is taken, and the multishot goes on."""
        wire, memory, peer = self.start(PAGE)
        place = segment(1, 0, 10)
        wire.send(wire.receive(1, 1, flags=MULTISHOT, segments=[place] * 2), wire.receive(2, 1, 10))
        for target, segments in ((1, []), (1, [place, segment(1, 0, 0)]), (2, [place]),
                                 *((1, [place, segment(*wrong)]) for wrong in BEYOND)):
            wire.send(wire.credit(3, 1, target, segments))
            self.assertEqual(wire.completion(3).error, pb.ERROR_INVALID_ARGUMENT)
        for number, target in ((1, 99), (1, 3)):
            wire.send(wire.credit(3, number, target, [place]))
            reply = wire.completion(3)
            self.assertEqual((reply.error, reply.flags), (pb.ERROR_SUCCESS, 0))
        wire.send(wire.credit(3, 2, 1, [place]))
        self.assertEqual(wire.completion(3).error, pb.ERROR_NOT_SOCKET)
        self.pair(wire, 2)
        wire.send(wire.credit(3, 2, 1, [place]))
        self.assertEqual(wire.completion(3).flags, 0)
        peer.sendall(b"0123456789")
        self.assertEqual(self.shot(wire, 1).flags, pb.REPLY_FLAG_MORE)
        peer.sendall(b"abcdefghijklm")
        self.assertEqual(self.shot(wire, 1).flags, 0)
        self.assertEqual((memory[:10], wire.whole(2)[1]), (b"abcdefghij", b"klm"))

    def test_s50_client_that_does_not_read(self):
        """Its slices fill, its replies wait, and the daemon holds no more than they are."""
        wire, memory, peer = self.start()
        data = pattern(64)
        before = self.daemon.memory("VmRSS")
        for number in range(2, 200):
            other = self.pair(wire, number)
            other.sendall(data)
            wire.send(wire.receive(5000 + number, number, flags=MULTISHOT,
                                   segments=[segment(1, number * 64 + at, 1) for at in range(64)]))
        for number in range(2, 200):
            got, reply = self.drain(wire, memory, 5000 + number, 64)
            self.assertEqual((got, reply.flags), (data, 0))
        self.check_growth("VmRSS", before, 8 * MEBI)
        peer.close()


if __name__ == "__main__":
    unittest.main()
